package queue

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"waybill/transport/envelope"
)

// A queue run that is asked for while the first attempt at a message decides that it waits for one is not lost on it.
func TestQueueRunDuringTheFirstAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.route = func(q Question) (Decision, error) {
			time.Sleep(100 * time.Millisecond)
			d, err := plainRoute(q)
			d.When = envelope.WhenQueue
			return d, err
		}
		ctx, cancel := context.WithCancel(context.Background())
		go r.q.Run(ctx)
		time.Sleep(time.Second)
		r.accept("m", mail("alice@here.test", envelope.WhenBackground, "bob@there.test"))
		time.Sleep(10 * time.Millisecond)
		if n, err := r.q.Flush(ctx, nil); n != 1 || err != nil {
			t.Errorf("flush: %d %v", n, err)
		}
		time.Sleep(10 * time.Second)
		if n := r.world.copies("m bob@there.test"); n != 1 {
			t.Errorf("%d copies after the queue run", n)
		}
		r.q.mu.Lock()
		if len(r.q.asked)+len(r.q.resting)+len(r.q.forced) > 0 {
			t.Errorf("kept: %v %v %v", r.q.asked, r.q.resting, r.q.forced)
		}
		r.q.mu.Unlock()
		cancel()
		r.closeQueue()
		r.quiet()
	})
}
