package queue

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"waybill/queue/spool"
	"waybill/transport"
	"waybill/transport/envelope"
)

// Users who ask for queue runs without end do not have mail tried without end.
func TestNudgesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var tries atomic.Int64
		r.world.answer = func(string, string, int) transport.Status { tries.Add(1); return deferred() }
		ctx, cancel := context.WithCancel(context.Background())
		go r.q.Run(ctx)
		r.accept("a", mail("alice@here.test", envelope.WhenBackground, "bob@there.test"))
		for tries.Load() < 4 { // the next will not be for a while
			time.Sleep(time.Second)
		}
		time.Sleep(nudgeRest)
		before := tries.Load()
		n, err := r.q.Nudge(ctx, nil)
		time.Sleep(time.Second)
		if n != 1 || err != nil || tries.Load() != before+1 {
			t.Errorf("%d messages, %v, %d tries: the first to ask is heard", n, err, tries.Load()-before)
		}
		start := time.Now()
		var wait sync.WaitGroup
		var refused atomic.Int64
		for range 50 {
			wait.Go(func() {
				n, err := r.q.Nudge(ctx, nil)
				var no *spool.RefusedError
				if errors.As(err, &no) {
					refused.Add(1)
				}
				if n != 0 {
					t.Errorf("%d messages were tried again at once", n)
				}
			})
		}
		wait.Wait()
		if took := time.Since(start); refused.Load() < 50-nudgesInWait-1 || took < (nudgesInWait-1)*nudgeGap {
			t.Errorf("%d refused, %v", refused.Load(), took)
		}
		if tries.Load() != before+1 {
			t.Errorf("%d tries", tries.Load()-before)
		}
		time.Sleep(nudgeRest)
		if n, _ := r.q.Nudge(ctx, nil); n != 1 {
			t.Errorf("%d messages after a minute", n)
		}
		cancel()
		r.closeQueue()
	})
}
