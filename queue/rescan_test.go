package queue

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"waybill/transport/envelope"
)

// A process that worked while no daemon ran puts a message into the queue just after the daemon has looked, and dies.
func TestMailOfADyingProcessIsFoundSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ctx, cancel := context.WithCancel(context.Background())
		go r.q.Run(ctx)
		time.Sleep(time.Second)
		d, err := r.q.spool.Create(mail("alice@here.test", envelope.WhenBackground, "bob@there.test"))
		if err != nil {
			t.Fatal(err)
		}
		d.Write([]byte(message("left", 100)))
		m, err := d.Commit()
		if err != nil {
			t.Fatal(err)
		}
		m.Close()
		time.Sleep(5 * time.Second)
		if n := r.world.copies("left bob@there.test"); n != 1 {
			t.Errorf("%d copies", n)
		}
		cancel()
		r.closeQueue()
	})
}
