package queue

import (
	"testing"
	"testing/synctest"
	"time"

	"waybill/transport/envelope"
)

// A held message that is tried and does not go stays held, for the reason that was given last.
func TestHeldMailIsTriedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := spokenRig(t)
		id := r.accept("m", mail("alice@here.test", envelope.WhenQueue, "bob")).ID
		for _, why := range []string{"odd", "worse"} {
			if err := r.q.Hold(id, why); err != nil {
				t.Fatal(err)
			}
		}
		m, err := r.q.spool.LoadHeld(id)
		if err != nil || m.HeldFor != "worse" {
			t.Fatalf("held for %q: %v", m.HeldFor, err)
		}
		m.Close()
		if err := r.q.TryHeld(t.Context(), id, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := r.world.copies("m bob"); n != 1 {
			t.Errorf("%d copies", n)
		}
		if err := r.q.TryHeld(t.Context(), id, nil); err == nil {
			t.Error("it is still there")
		}
		r.closeQueue()
		r.quiet()
	})
}
