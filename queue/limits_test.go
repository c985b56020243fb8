package queue

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"waybill/transport"
	"waybill/transport/envelope"
)

// A thousand destinations of which nine hundred hang for a minute and then fail: what goes to the other hundred is
// delivered as if they were alone.
func TestHangingDestinationsDelayNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.world.enter = func(req *transport.Request) {
			if strings.HasPrefix(req.Host, "dead") {
				time.Sleep(time.Minute)
			} else {
				time.Sleep(20 * time.Millisecond)
			}
		}
		r.world.answer = func(id, user string, try int) transport.Status {
			if strings.Contains(user, "@dead") {
				return deferred()
			}
			return ok()
		}
		ctx, cancel := context.WithCancel(context.Background())
		go r.q.Run(ctx)
		const each = 5
		for n := range each {
			for d := range 1000 {
				host := fmt.Sprintf("dead%d.test", d)
				if d%10 == 0 {
					host = fmt.Sprintf("well%d.test", d)
				}
				r.accept(fmt.Sprint(n), mail("alice@here.test", envelope.WhenBackground, "b@"+host))
			}
		}
		delivered := func() int { return len(r.world.order()) }
		start := time.Now()
		for delivered() < 100*each && time.Since(start) < 5*time.Minute {
			time.Sleep(100 * time.Millisecond)
		}
		first := time.Since(start)
		t.Logf("%d messages for 100 unknown destinations among 900 that hang: %v", 100*each, first)
		if first > 30*time.Second {
			t.Errorf("it took %v", first)
		}
		// Now that they are known, they have half of the places for themselves.
		for n := range each {
			for d := 0; d < 1000; d += 10 {
				r.accept(fmt.Sprint("again", n), mail("alice@here.test", envelope.WhenBackground, fmt.Sprintf("b@well%d.test", d)))
			}
		}
		start = time.Now()
		for delivered() < 200*each && time.Since(start) < 5*time.Minute {
			time.Sleep(10 * time.Millisecond)
		}
		t.Logf("%d messages for the same destinations, later: %v", 100*each, time.Since(start))
		if since := time.Since(start); since > time.Second {
			t.Errorf("it took %v", since)
		}
		cancel()
		stop, done := context.WithCancel(context.Background())
		done()
		r.q.Close(stop)
	})
}

// A destination that refuses connections is not asked by each message that waits for it, and is found again.
func TestDeadDestinationIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		up := false
		r.world.answer = func(id, user string, try int) transport.Status {
			if up {
				return ok()
			}
			return deferred()
		}
		asked := 0
		r.world.enter = func(*transport.Request) { r.world.mu.Lock(); asked++; r.world.mu.Unlock() }
		ctx, cancel := context.WithCancel(context.Background())
		go r.q.Run(ctx)
		for i := range 500 {
			r.accept(fmt.Sprint(i), mail("alice@here.test", envelope.WhenBackground, "b@down.test"))
		}
		time.Sleep(10 * time.Second)
		r.world.mu.Lock()
		if asked > 10 {
			t.Errorf("the dead destination was asked %d times for 500 messages", asked)
		}
		up = true
		r.world.mu.Unlock()
		if n := len(r.queued()); n != 500 {
			t.Errorf("%d messages in the spool", n)
		}
		time.Sleep(3 * time.Minute)
		if n := len(r.queued()); n != 0 {
			t.Errorf("%d messages are left after it came back", n)
		}
		cancel()
		r.closeQueue()
		r.quiet()
	})
}
