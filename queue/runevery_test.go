package queue

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"waybill/queue/spool"
	"waybill/transport/envelope"
)

// A message that another process tries while a queue runner finds it waits no longer than from one queue run to the next,
// whatever that process writes into its journal.
func TestRunEveryOfABusyMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.closeQueue()
		r.cfg.RunEvery = time.Minute
		r.open()
		d, err := r.q.spool.Create(mail("alice@here.test", envelope.WhenBackground, "bob@there.test"))
		if err != nil {
			t.Fatal(err)
		}
		d.Write([]byte(message("m", 100)))
		m, err := d.Commit() // it is locked now
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		go r.q.Run(ctx)
		time.Sleep(time.Second)
		now := time.Now()
		later := now.Add(time.Hour)
		m.Note(spool.OutcomeOf{Index: 0, Status: spool.Status{Outcome: spool.Deferred, Code: "4.4.1", Text: "Connection refused", At: now, Next: later}}, spool.Try{Number: 1, At: now, Next: later})
		if err := m.Flush(true); err != nil {
			t.Fatal(err)
		}
		m.Close()
		time.Sleep(2 * time.Minute)
		if n := r.world.copies("m bob@there.test"); n != 1 {
			t.Errorf("%d copies after two minutes", n)
		}
		cancel()
		r.closeQueue()
		r.quiet()
	})
}
