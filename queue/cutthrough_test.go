package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"waybill/transport"
	"waybill/transport/envelope"
)

// through accepts a message that the rules want to pass on at once.
func through(r *rig, id string, size int, opt Options, to ...string) (Receipt, error) {
	if !r.passes { // later, attempts look at the route
		r.passes = true
		r.route = func(q Question) (Decision, error) {
			d, err := plainRoute(q)
			d.When = envelope.WhenNow
			return d, err
		}
	}
	opt.CutThrough = true
	return r.q.Accept(context.Background(), mail("alice@far.test", envelope.WhenDefault, to...), iotest.OneByteReader(strings.NewReader(message(id, size))), opt)
}

func TestCutThrough(t *testing.T) {
	for _, size := range []int{100, 3 * tapeMemory} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			receipt, err := through(r, "a", size, Options{}, "x@there.test", "y@there.test")
			if err != nil {
				t.Fatal(err)
			}
			// What the client was told must be true at that moment, and without the disk.
			if r.world.copies("a x@there.test") != 1 || r.world.copies("a y@there.test") != 1 || len(r.queued()) != 0 {
				t.Errorf("got %v, in the spool: %v", r.world.got(), r.queued())
			}
			body := r.world.bodies()["a x@there.test"]
			if !strings.HasPrefix(body, "Received: from client.test") || !strings.Contains(body, receipt.ID) || !strings.HasSuffix(body, message("a", size)) {
				t.Errorf("arrived: %.300q", body)
			}
			if n := r.log.finals(); len(r.log.all().accepted) != 1 || n[receipt.ID+" x@there.test"] != 1 || n[receipt.ID+" y@there.test"] != 1 {
				t.Errorf("log: %d accepted, finals %v", len(r.log.all().accepted), n)
			}
			r.closeQueue()
			r.quiet()
		})
	}
}

func TestCutThroughFallsBackToTheSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ctx, cancel := context.WithCancel(context.Background())
		go r.q.Run(ctx)
		r.world.answer = func(_, user string, try int) transport.Status {
			if user == "late@there.test" && try < 3 {
				return deferred()
			}
			return ok()
		}
		receipt, err := through(r, "b", 3*tapeMemory, Options{}, "soon@there.test", "late@there.test")
		if err != nil {
			t.Fatal(err)
		}
		if r.world.copies("b soon@there.test") != 1 {
			t.Error("one recipient had no trouble and has no copy")
		}
		time.Sleep(time.Hour)
		if r.world.copies("b late@there.test") != 1 || r.world.copies("b soon@there.test") != 1 {
			t.Errorf("copies %v, want one each", r.world.got())
		}
		if !strings.HasSuffix(r.world.bodies()["b late@there.test"], message("b", 3*tapeMemory)) {
			t.Error("what came from the spool differs")
		}
		if n := r.log.finals(); n[receipt.ID+" soon@there.test"] != 1 || n[receipt.ID+" late@there.test"] != 1 {
			t.Errorf("finals %v", n)
		}
		cancel()
		r.closeQueue()
		r.quiet()
	})
}

func TestCutThroughTellsTheClientNo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.world.answer = func(string, string, int) transport.Status { return failed() }
		_, err := through(r, "c", 100, Options{}, "x@there.test", "y@there.test")
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Status.Code() != "5.1.1" {
			t.Errorf("got %v, want the next hop's refusal", err)
		}
		if len(r.queued()) != 0 || len(r.log.all().noticed) != 0 {
			t.Errorf("spool %v, notices %v: the client was told, nobody else has to be", r.queued(), r.log.all().noticed)
		}
		r.closeQueue()
	})
}

func TestCutThroughDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.q.Use(Wiring{
			Router: router(func(q Question) (Decision, error) { return r.route(q) }), Expander: r.users, Notifier: r.q.wiring.Load().Notifier,
			Mailers: map[string]Mailer{"smtp": {Transport: &hangsOnce{then: r.world}}},
		})
		ctx, cancel := context.WithCancel(context.Background())
		go r.q.Run(ctx)
		start := time.Now()
		if _, err := through(r, "d", 100, Options{}, "x@there.test"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 2*slowNextHop {
			t.Errorf("the client waited %v", took)
		}
		if len(r.queued()) != 1 {
			t.Error("the message is not in the spool")
		}
		start = time.Now()
		if _, err := through(r, "dd", 100, Options{}, "x@there.test"); err != nil || time.Since(start) > time.Second {
			t.Errorf("the next client waited %v for a host that does not answer, %v", time.Since(start), err)
		}
		time.Sleep(time.Hour)
		if r.world.copies("d x@there.test") != 1 || r.world.copies("dd x@there.test") != 1 {
			t.Errorf("delivered from the spool: %v", r.world.got())
		}
		cancel()
		r.closeQueue()
	})
}

// hangsOnce is a next hop that does not answer the first time.
type hangsOnce struct {
	tries atomic.Int32
	then  transport.Transport
}

func (h *hangsOnce) Deliver(ctx context.Context, req *transport.Request) []transport.Status {
	if h.tries.Add(1) > 1 {
		return h.then.Deliver(ctx, req)
	}
	<-ctx.Done()
	return transport.All(len(req.Recipients), deferred())
}

// takes is a next hop that needs its time for each message, and notes how many it had at once.
type takes struct {
	time      time.Duration
	now, most atomic.Int32
	then      transport.Transport
}

func (x *takes) Deliver(ctx context.Context, req *transport.Request) []transport.Status {
	n := x.now.Add(1)
	defer x.now.Add(-1)
	for most := x.most.Load(); n > most && !x.most.CompareAndSwap(most, n); most = x.most.Load() {
	}
	time.Sleep(x.time)
	return x.then.Deliver(ctx, req)
}

func TestCutThroughWaitsForAPlace(t *testing.T) {
	for _, slow := range []time.Duration{10 * time.Millisecond, 4 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			hop := &takes{time: slow, then: r.world}
			r.q.Use(Wiring{
				Router: router(func(q Question) (Decision, error) { return r.route(q) }), Expander: r.users, Notifier: r.q.wiring.Load().Notifier,
				Mailers: map[string]Mailer{"smtp": {Transport: hop, Concurrency: 3}},
			})
			ctx, cancel := context.WithCancel(context.Background())
			go r.q.Run(ctx)
			if _, err := through(r, "first", 100, Options{}, "x@there.test"); err != nil {
				t.Fatal(err)
			}
			var wait sync.WaitGroup
			var longest atomic.Int64
			for i := range 20 {
				wait.Go(func() {
					start := time.Now()
					opt := Options{CutThrough: true}
					_, err := r.q.Accept(ctx, mail("alice@far.test", envelope.WhenDefault, "x@there.test"), strings.NewReader(message(fmt.Sprint("m", i), 100)), opt)
					if err != nil {
						t.Error(err)
					}
					if took := int64(time.Since(start)); took > longest.Load() {
						longest.Store(took)
					}
				})
			}
			wait.Wait()
			spooled := len(r.queued())
			if hop.most.Load() > 3 {
				t.Errorf("%d deliveries at a time, want 3 at most", hop.most.Load())
			}
			if slow < time.Second && spooled > 0 {
				t.Errorf("%d messages went to the disk although the next hop was only busy", spooled)
			}
			if slow > time.Second && (spooled == 0 || time.Duration(longest.Load()) > placePatience+2*slow) {
				t.Errorf("%d in the spool, and clients waited %v", spooled, time.Duration(longest.Load()))
			}
			time.Sleep(time.Hour)
			if got := len(r.world.got()); got != 21 {
				t.Errorf("%d copies, want 21", got)
			}
			cancel()
			r.closeQueue()
		})
	}
}

// A client that dawdles over a small message keeps nobody else from the next hop.
func TestCutThroughSlowClientTakesNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		hop := &takes{then: r.world}
		r.q.Use(Wiring{
			Router: router(func(q Question) (Decision, error) { return r.route(q) }), Expander: r.users, Notifier: r.q.wiring.Load().Notifier,
			Mailers: map[string]Mailer{"smtp": {Transport: hop, Concurrency: 1}},
		})
		in, out := io.Pipe()
		var wait sync.WaitGroup
		r.route = func(q Question) (Decision, error) {
			d, err := plainRoute(q)
			d.When = envelope.WhenNow
			return d, err
		}
		wait.Go(func() {
			if _, err := r.q.Accept(context.Background(), mail("slow@far.test", envelope.WhenDefault, "x@there.test"), in, Options{CutThrough: true}); err != nil {
				t.Error(err)
			}
		})
		io.WriteString(out, "Subject: slow\n\n")
		start := time.Now()
		if _, err := r.q.Accept(context.Background(), mail("alice@far.test", envelope.WhenDefault, "x@there.test"), strings.NewReader(message("q", 100)), Options{CutThrough: true}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > time.Second || len(r.queued()) != 0 {
			t.Errorf("the other client waited %v, %d in the spool", took, len(r.queued()))
		}
		io.WriteString(out, "end\n")
		out.Close()
		wait.Wait()
		if len(r.queued()) != 0 {
			t.Error("the slow client's message went to the disk")
		}
		r.closeQueue()
	})
}

// What cut-through sees of a host counts for the deliveries from the spool, and the other way round.
func TestCutThroughTeachesTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for i := range 8 {
			if _, err := through(r, fmt.Sprint("w", i), 100, Options{}, "x@there.test"); err != nil {
				t.Fatal(err)
			}
		}
		seen := func() destination {
			r.q.limits.mu.Lock()
			defer r.q.limits.mu.Unlock()
			if d := r.q.limits.dest[destinationKey("smtp", "there.test")]; d != nil {
				return *d
			}
			return destination{}
		}
		if d := seen(); !d.proven || d.window < 8 || d.running != 0 {
			t.Fatalf("after eight messages: %+v", d)
		}
		r.world.answer = func(string, string, int) transport.Status {
			return transport.NewStatus(transport.Deferred, "4.4.1", "connection refused")
		}
		for i := range deadAfter {
			if _, err := through(r, fmt.Sprint("v", i), 100, Options{}, "x@there.test"); err != nil {
				t.Fatal(err)
			}
		}
		if _, dead := r.q.limits.dead(destinationKey("smtp", "there.test"), time.Time{}); !dead || seen().window > 4 || seen().failures < deadAfter {
			t.Errorf("after %d failures the host is not left alone: %+v", deadAfter, seen())
		}
		r.closeQueue()
	})
}

func TestCutThroughForgetsWhatWasNotSentWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.route = func(q Question) (Decision, error) {
			d, err := plainRoute(q)
			d.When = envelope.WhenNow
			return d, err
		}
		lost := errors.New("connection lost")
		body := io.MultiReader(strings.NewReader(message("e", 3*tapeMemory)), iotest.ErrReader(lost))
		_, err := r.q.Accept(context.Background(), mail("alice@far.test", envelope.WhenDefault, "x@there.test"), body, Options{CutThrough: true})
		if !errors.Is(err, lost) {
			t.Errorf("got %v", err)
		}
		if len(r.world.got()) != 0 || len(r.queued()) != 0 {
			t.Errorf("half a message was delivered to %v, spooled as %v", r.world.got(), r.queued())
		}
		r.closeQueue()
	})
}

func TestCutThroughOnlyForOneNextHop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		if _, err := through(r, "f", 100, Options{}, "x@there.test", "y@elsewhere.test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if r.world.copies("f x@there.test") != 1 || r.world.copies("f y@elsewhere.test") != 1 {
			t.Errorf("copies %v", r.world.got())
		}
		r.closeQueue()
	})
}

func TestCutThroughHeldMessagesStayHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		receipt, err := through(r, "g", 100, Options{Hold: func() bool { return true }}, "x@there.test")
		if err != nil {
			t.Fatal(err)
		}
		if len(r.world.got()) != 0 {
			t.Error("a held message was passed on")
		}
		if held := r.fs.Names("/spool/hold"); len(held) != 1 || held[0] != receipt.ID {
			t.Errorf("held: %v", held)
		}
		refusal := &RefusedError{transport.NewStatus(transport.Failed, "5.7.1", "no")}
		_, err = through(r, "h", 100, Options{Whole: func(int64) error { return refusal }}, "x@there.test")
		if !errors.Is(err, refusal) || len(r.world.got()) != 0 {
			t.Errorf("a refused message: %v, passed on to %v", err, r.world.got())
		}
		r.closeQueue()
	})
}
