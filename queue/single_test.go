package queue

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waybill/transport/envelope"
)

// A single recipient is removed and queued anew; the others of the message are not touched.
func TestOneRecipientOfAMessage(t *testing.T) {
	r := newRig(t)
	a := r.accept("a", mail("alice@here.test", envelope.WhenQueue, "bob@there.test", "carol@there.test", "dave@there.test")).ID
	b := r.accept("b", mail("alice@here.test", envelope.WhenQueue, "bob@there.test")).ID
	c := r.accept("c", mail("alice@here.test", envelope.WhenQueue, "bobby@there.test")).ID
	r.accept("d", mail("alice@here.test", envelope.WhenQueue, "more.bob@there.test"))
	control := func(words ...string) error {
		return r.q.Control(context.Background(), "root", words, func(string) error { return nil })
	}
	if err := control("hold", "rcpt=bob@there.test", a); err == nil {
		t.Error("a single recipient was held")
	}
	if err := control("remove", "rcpt=nobody@there.test", a); err == nil {
		t.Error("a recipient that is not there was removed")
	}
	if err := control("remove", "rcpt=CAROL@there.test", a); err != nil {
		t.Error(err)
	}
	if err := control("requeue", "rcpt=dave@there.test", a); err != nil {
		t.Error(err)
	}
	if err := control("hold", b); err != nil {
		t.Error(err)
	}
	if err := control("remove", "rcpt=bob@there.test"); err != nil { // of a, and of b, which is held
		t.Error(err)
	}
	if err := control("remove", "rcpt=bob@there.test"); err == nil {
		t.Error("a recipient was removed twice")
	}
	if removed := r.log.all().removed; len(removed) != 1 || removed[0].ID != b {
		t.Errorf("removed: %v", removed)
	}
	r.q.RunOnce(context.Background(), nil)
	if diff := cmp.Diff(map[string]int{"a dave@there.test": 1, "c bobby@there.test": 1, "d more.bob@there.test": 1}, r.world.got()); diff != "" {
		t.Error(diff, c)
	}
	if n := len(r.log.all().noticed); n > 0 {
		t.Errorf("%d notices: nobody is told", n)
	}
}
