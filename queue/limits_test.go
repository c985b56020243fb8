package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"waybill/queue/sched"
	"waybill/queue/spool"
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

// hundredOfThousand makes a world in which nine hundred destinations hang for ten minutes.
func hundredOfThousand(r *rig) {
	r.world.enter = func(req *transport.Request) {
		if strings.HasPrefix(req.Host, "dead") {
			time.Sleep(10 * time.Minute)
		} else {
			time.Sleep(20 * time.Millisecond)
		}
	}
	r.world.answer = func(id, user string, try int) transport.Status {
		if strings.Contains(user, "@dead") {
			return transport.NewStatus(transport.Deferred, "4.4.1", "Connection timed out")
		}
		return ok()
	}
}

func hostOf(d int) string {
	if d%10 == 0 {
		return fmt.Sprintf("well%d.test", d)
	}
	return fmt.Sprintf("dead%d.test", d)
}

// The same in one queue run, with as few deliveries at a time as a site has that sets nothing. What hangs is waited for
// to the end of its only try, and every message for it has been tried then or has heard of it.
func TestHangingDestinationsInAQueueRun(t *testing.T) {
	took := func(t *testing.T, dead bool) (healthy, all time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.cfg.Deliveries = 20
			r.open()
			hundredOfThousand(r)
			const each = 5
			for n := range each {
				for d := range 1000 {
					if host := hostOf(d); dead || strings.HasPrefix(host, "well") {
						r.accept(fmt.Sprint(n), mail("alice@here.test", envelope.WhenQueue, "b@"+host))
					}
				}
			}
			r.closeQueue()
			r.open()
			start := time.Now()
			done := make(chan struct{})
			go func() { r.q.RunOnce(context.Background(), nil); close(done) }()
			for len(r.world.order()) < 100*each && time.Since(start) < time.Hour {
				time.Sleep(10 * time.Millisecond)
			}
			healthy = time.Since(start)
			<-done
			all = time.Since(start)
			if dead && len(r.queued()) != 900*each {
				t.Errorf("%d messages are left", len(r.queued()))
			}
			deadTries := 0
			for key, n := range r.world.tries() {
				if strings.Contains(key, "@dead") {
					deadTries += n
				}
			}
			if deadTries > 900*2 {
				t.Errorf("%d tries for 900 dead destinations", deadTries)
			}
			for _, id := range r.queued() {
				if m, err := r.q.spool.Peek(id, false); err != nil || m.Recipients[0].Status.Outcome != spool.Deferred {
					t.Fatalf("%s was not tried: %v", id, err)
				} else {
					m.Close()
				}
			}
			r.closeQueue()
		})
		return
	}
	alone, _ := took(t, false)
	beside, all := took(t, true)
	t.Logf("500 messages for 100 destinations: alone %v, beside 900 that hang %v; the run took %v", alone, beside, all)
	if beside > alone+30*time.Second {
		t.Errorf("healthy destinations took %v instead of %v", beside, alone)
	}
	if all > 25*time.Minute {
		t.Errorf("the run took %v", all)
	}
}

// A queue run in sendmail's order goes on while messages hang, and tries a host that hangs once.
func TestHangingDestinationsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		hundredOfThousand(r)
		for n := range 3 {
			for d := range 100 {
				r.accept(fmt.Sprint(n), mail("alice@here.test", envelope.WhenQueue, "b@"+hostOf(d)))
			}
		}
		r.closeQueue()
		r.open()
		start := time.Now()
		done := make(chan struct{})
		go func() {
			r.q.RunInOrder(context.Background(), nil, func(a, b Listed) int { return strings.Compare(a.ID, b.ID) }, func(string, int, int) {}, nil)
			close(done)
		}()
		for len(r.world.order()) < 30 && time.Since(start) < time.Hour {
			time.Sleep(time.Second)
		}
		healthy := time.Since(start)
		<-done
		t.Logf("30 healthy messages after %v, the run took %v", healthy, time.Since(start))
		if healthy > 2*time.Minute || time.Since(start) > 15*time.Minute {
			t.Errorf("30 healthy messages after %v, the run took %v", healthy, time.Since(start))
		}
		for key, n := range r.world.tries() {
			if n > 1 {
				t.Errorf("%s was tried %d times", key, n)
			}
		}
		r.closeQueue()
	})
}

// Destinations that were healthy keep the rate that they had, while 900 hang, with 20 deliveries at a time.
func TestHealthyDestinationsKeepTheirRate(t *testing.T) {
	rate := func(t *testing.T, dead bool) (took time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.cfg.Deliveries = 20
			r.open()
			hundredOfThousand(r)
			ctx, cancel := context.WithCancel(context.Background())
			go r.q.Run(ctx)
			for d := 0; d < 1000; d += 10 {
				r.accept("known", mail("alice@here.test", envelope.WhenBackground, "b@"+hostOf(d)))
			}
			time.Sleep(time.Minute)
			if dead {
				for n := range 3 {
					for d := range 1000 {
						if d%10 != 0 {
							r.accept(fmt.Sprint(n), mail("alice@here.test", envelope.WhenBackground, "b@"+hostOf(d)))
						}
					}
				}
				time.Sleep(time.Second)
			}
			start := time.Now()
			for n := range 20 {
				for d := 0; d < 1000; d += 10 {
					r.accept(fmt.Sprint("more", n), mail("alice@here.test", envelope.WhenBackground, "b@"+hostOf(d)))
				}
			}
			for len(r.world.order()) < 2100 && time.Since(start) < time.Hour {
				time.Sleep(time.Millisecond)
			}
			took = time.Since(start)
			cancel()
			stop, done := context.WithCancel(context.Background())
			done()
			r.q.Close(stop)
		})
		return took
	}
	alone, beside := rate(t, false), rate(t, true)
	t.Logf("2000 messages for 100 destinations: alone %v, while 900 hang %v", alone, beside)
	if beside > alone*13/10 {
		t.Errorf("%v instead of %v", beside, alone)
	}
}

// One message for a thousand destinations, of which nine hundred hang: those that do not get it at once.
func TestOneMessageForManyDestinations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Deliveries = 20
		r.open()
		hundredOfThousand(r)
		var to []string
		for d := range 1000 {
			to = append(to, "b@"+hostOf(d))
		}
		ctx, cancel := context.WithCancel(context.Background())
		go r.q.Run(ctx)
		r.accept("many", mail("alice@here.test", envelope.WhenBackground, to...))
		time.Sleep(45 * time.Second)
		if n := len(r.world.order()); n != 100 {
			t.Errorf("%d of 100 recipients have it after 45 seconds", n)
		}
		time.Sleep(20 * time.Minute)
		for key, n := range r.world.got() {
			if n != 1 {
				t.Errorf("%s: %d copies", key, n)
			}
		}
		cancel()
		stop, done := context.WithCancel(context.Background())
		done()
		r.q.Close(stop)
	})
}

// The window of a destination grows with what it takes, and shrinks when it says that it has enough.
func TestWindow(t *testing.T) {
	l := newLimits(100, time.Minute, func(sched.ID) bool { return true })
	b := bound{limit: 20}
	round := func(s transport.Status) int {
		var tickets []*ticket
		for p := l.admit("smtp\x00x", b); p != nil; p = l.admit("smtp\x00x", b) {
			tickets = append(tickets, p)
		}
		for _, p := range tickets {
			l.done(p, []transport.Status{s})
		}
		return len(tickets)
	}
	busy := transport.NewStatus(transport.Deferred, "4.4.5", "busy")
	busy.Reply = "421 4.4.5 too many connections"
	full := transport.NewStatus(transport.Deferred, "4.2.2", "full")
	full.Reply = "452 4.2.2 mailbox full"
	var sizes []int
	for _, s := range []transport.Status{ok(), ok(), ok(), ok(), ok(), full, busy, ok(), ok(), ok(), deferred(), deferred(), ok()} {
		sizes = append(sizes, round(s))
	}
	if want := []int{1, 2, 4, 8, 16, 20, 20, 10, 10, 11, 12, 6, 3}; !slices.Equal(sizes, want) {
		t.Errorf("rounds of %v, want %v", sizes, want)
	}
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
