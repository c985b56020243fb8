package queue

import (
	"testing"
	"testing/synctest"
	"time"

	"waybill/transport/envelope"
)

// Who waits and wants to tell failures alone gets no notice, also of those behind an alias that waits for a queue run;
// but the owner of a list is somebody else, who is told.
func TestWhoWaitsTellsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := spokenRig(t)
		r.users.unknown["gone"] = true
		r.users.lists["team"] = Expansion{Members: []Member{{Addr: "bob"}, {Addr: "gone"}}}
		r.users.lists["list"] = Expansion{Members: []Member{{Addr: "bob"}, {Addr: "gone"}}, Owner: "owner@here.test", HasOwner: true}
		for _, to := range []string{"team", "list"} {
			e := mail("alice@here.test", envelope.WhenQueue, to)
			e.Untold = true
			receipt := r.accept("m-"+to, e)
			if want := to == "team"; receipt.Untold != want {
				t.Errorf("%s: untold %v, want %v", to, receipt.Untold, want)
			}
		}
		time.Sleep(time.Minute)
		r.closeQueue()
		if n := r.world.copies("notice-m-team alice"); n != 0 {
			t.Errorf("%d notices to who tells it", n)
		}
		if n := r.world.copies("notice-m-list owner"); n != 1 {
			t.Errorf("%d notices to the owner", n)
		}
		r.quiet()
	})
}
