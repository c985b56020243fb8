package queue

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"waybill/queue/dsn"
	"waybill/transport/envelope"
)

// fails is a Notifier that cannot compose for a while.
type fails struct {
	Notifier
	err error
}

func (f *fails) Compose(n dsn.Notice) (dsn.Message, error) {
	if f.err != nil {
		return dsn.Message{}, f.err
	}
	return f.Notifier.Compose(n)
}

// The receipt for a recipient that became several survives a full disk, and a restart.
func TestReceiptsOfAliasesAreOwed(t *testing.T) {
	t.Run("full disk", func(t *testing.T) {
		r := newRig(t)
		r.users.lists["team"] = Expansion{Members: []Member{{Addr: "a@there.test"}, {Addr: "b@there.test"}}}
		e := mail("alice@here.test", envelope.WhenQueue, "team")
		e.Recipients[0].Notify = envelope.NotifySuccess
		r.accept("team", e)
		r.fs.FailAll(syscall.ENOSPC)
		for range 3 {
			r.q.RunOnce(context.Background(), nil)
		}
		if n := r.world.copies("team a@there.test"); n != 1 {
			t.Errorf("%d copies while the disk was full", n)
		}
		r.fs.FailAll(nil)
		for range 3 {
			r.q.RunOnce(context.Background(), nil)
		}
		for _, key := range []string{"team a@there.test", "team b@there.test", "receipt-team alice"} {
			if n := r.world.copies(key); n != 1 {
				t.Errorf("%s: %d copies", key, n)
			}
		}
		if left := r.queued(); len(left) > 0 {
			t.Errorf("%v left", left)
		}
	})
	t.Run("restart", func(t *testing.T) {
		r := newRig(t)
		r.users.lists["list"] = Expansion{Members: []Member{{Addr: "a@there.test"}}, Owner: "owner@here.test", HasOwner: true}
		w := *r.q.wiring.Load()
		n := &fails{Notifier: w.Notifier, err: errors.New("not now")}
		w.Notifier = n
		r.q.Use(w)
		e := mail("alice@here.test", envelope.WhenQueue, "list")
		e.Recipients[0].Notify = envelope.NotifySuccess
		r.accept("list", e)
		r.q.RunOnce(context.Background(), nil)
		if r.world.copies("list a@there.test") != 1 || len(r.queued()) != 1 {
			t.Errorf("delivered %v, queued %v", r.world.got(), r.queued())
		}
		r.closeQueue()
		r.open()
		r.q.RunOnce(context.Background(), nil)
		r.q.RunOnce(context.Background(), nil)
		if r.world.copies("receipt-list alice") != 1 || r.world.copies("list a@there.test") != 1 || len(r.queued()) != 0 {
			t.Errorf("after a restart: %v, queued %v", r.world.got(), r.queued())
		}
		r.closeQueue()
	})
}
