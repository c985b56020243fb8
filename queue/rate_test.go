package queue

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"waybill/queue/sched"
	"waybill/transport/envelope"
)

// An attempt that comes a little sooner after its turn than the one before it does not lose the turn.
func TestRateWhereAttemptsTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.plan(func(Question, Decision, []string) Plan {
			return Plan{Rate: sched.Rate{N: 10, Per: time.Minute}, Concurrency: 1}
		})
		r.route = func(q Question) (Decision, error) {
			time.Sleep(time.Duration(len(r.world.order())%2) * 5 * time.Millisecond)
			return plainRoute(q)
		}
		ctx, cancel := context.WithCancel(context.Background())
		go r.q.Run(ctx)
		for n := range 100 {
			r.accept(fmt.Sprint("m", n), mail("alice@here.test", envelope.WhenBackground, "b@metered.test"))
		}
		time.Sleep(5 * time.Minute)
		if n := len(r.world.order()); n < 48 || n > 52 {
			t.Errorf("%d messages in five minutes, of ten a minute", n)
		}
		cancel()
		r.closeQueue()
		r.quiet()
	})
}
