package queue

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"waybill/transport"
	"waybill/transport/envelope"
)

func TestDelivered(t *testing.T) {
	r := newRig(t)
	e := mail("alice@here.test", envelope.WhenNow, "bob@there.test")
	receipt := r.accept("one", e)
	if len(receipt.Statuses) != 1 || receipt.Statuses[0].Outcome() != transport.Relayed {
		t.Errorf("statuses %v", receipt.Statuses)
	}
	want := regexp.MustCompile(`^Received: from client\.test \(client\.test \[192\.0\.2\.1\]\)\n\tby mx\.here\.test \(Waybill\) with ESMTP id ` + receipt.ID +
		`\n\tfor <bob@there\.test>; \w+, \d+ \w+ \d+ \d\d:\d\d:\d\d [-+]\d{4}\nFrom: `)
	body := r.world.bodies()["one bob@there.test"]
	if !want.MatchString(body) || !strings.HasSuffix(body, message("one", 100)) {
		t.Errorf("got %q", body)
	}
	if left := r.queued(); len(left) > 0 {
		t.Errorf("left in the spool: %v", left)
	}
	if diff := cmp.Diff(map[string]int{receipt.ID + " bob@there.test": 1}, r.log.finals()); diff != "" {
		t.Error(diff)
	}
	r.quiet()
}

func TestReceivedHidesWhatCannotBeThere(t *testing.T) {
	e := mail("a@b", envelope.WhenNow, "c@d", "e@f")
	e.Origin.Helo, e.Origin.ClientName = "x) by evil; (\r\nX: y", ""
	got := received(e, "kAK31Xxp018717", "mx.here.test")
	if strings.Count(got, "\n") != 2 || strings.Contains(got, "for <") || strings.Contains(got, "\r") || strings.Count(got, ";") != 1 {
		t.Errorf("got %q", got)
	}
	e.Origin = envelope.Origin{User: "uucp", UID: 10, Protocol: "UUCP", Helo: "alpha.UUCP", ClientName: "alpha.UUCP"} // rmail
	if got = received(e, "kAK31Xxp018717", "mx.here.test"); !strings.HasPrefix(got, "Received: from alpha.UUCP (uucp@localhost)\n\tby mx.here.test (Waybill) with UUCP id kAK31Xxp018717; ") {
		t.Errorf("got %q", got)
	}
	e.Origin = envelope.Origin{User: "alice", UID: 1000, Protocol: "local"}
	if got = received(e, "kAK31Xxp018717", "mx.here.test"); !strings.HasPrefix(got, "Received: (from alice@localhost)\n\tby mx.here.test (Waybill) id kAK31Xxp018717; ") {
		t.Errorf("got %q", got)
	}
}

func TestRefusedBeforeAnythingIsKept(t *testing.T) {
	hop := "Received: from a by b; now\n"
	own := "Received: from a by MX.here.test (Waybill) id kAK31Xxp018717; now\n"
	for name, c := range map[string]struct {
		env  *envelope.Envelope
		text string
		code string
	}{
		"hops":       {mail("a@b", 0, "c@d"), strings.Repeat(hop, 26) + message("x", 1), "5.4.6"},
		"own":        {mail("a@b", 0, "c@d"), strings.Repeat(own, 4) + message("x", 1), "5.4.6"},
		"none":       {mail("a@b", 0), message("x", 1), "5.5.1"},
		"controls":   {mail("a@b", 0, "c\n@d"), message("x", 1), "5.1.3"},
		"sender":     {mail("a\r@b", 0, "c@d"), message("x", 1), "5.1.7"},
		"program":    {&envelope.Envelope{Recipients: []envelope.Recipient{{Command: "rm"}}}, message("x", 1), "5.1.3"},
		"large":      {mail("a@b", 0, "c@d"), message("x", 300_000), "5.3.4"},
		"large once": {mail("a@b", 0, "c@d"), message("x", 201_000), "5.3.4"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.q.cfg.MaxSize = 200_000
			_, err := r.q.Accept(context.Background(), c.env, strings.NewReader(c.text), Options{})
			var refused *RefusedError
			if !errors.As(err, &refused) || refused.Status.Code() != c.code {
				t.Errorf("got %v, want %s", err, c.code)
			}
			if left := r.queued(); len(left) > 0 {
				t.Errorf("left in the spool: %v", left)
			}
		})
	}
	r := newRig(t)
	if _, err := r.q.Accept(context.Background(), mail("a@b", 0, "c@d"), strings.NewReader(strings.Repeat(hop, 25)+message("x", 1)), Options{}); err != nil {
		t.Errorf("25 hops: %v", err)
	}
	r.closeQueue()
}

// The life of a message that nobody takes, with the default schedule: a warning after four hours, a bounce after five
// days, and retries that grow.
func TestFiveDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.world.answer = func(id, user string, try int) transport.Status {
			if strings.HasSuffix(user, "there.test") {
				return deferred()
			}
			return ok()
		}
		ctx, cancel := context.WithCancel(context.Background())
		go r.q.Run(ctx)
		receipt := r.accept("slow", mail("alice@here.test", envelope.WhenBackground, "bob@there.test"))
		time.Sleep(3*time.Hour + 30*time.Minute)
		if n := r.world.copies("warning-slow alice"); n != 0 {
			t.Errorf("%d warnings before their time", n)
		}
		time.Sleep(5 * time.Hour)
		if n := r.world.copies("warning-slow alice"); n != 1 {
			t.Errorf("%d warnings", n)
		}
		time.Sleep(5*24*time.Hour - 9*time.Hour)
		if n := r.world.copies("notice-slow alice"); n != 0 {
			t.Errorf("%d bounces before their time", n)
		}
		if names := r.queued(); len(names) != 1 || names[0] != receipt.ID {
			t.Errorf("the spool has %v", names)
		}
		time.Sleep(6 * time.Hour)
		if n := r.world.copies("notice-slow alice"); n != 1 {
			t.Errorf("%d bounces", n)
		}
		if n := r.world.copies("warning-slow alice"); n != 1 {
			t.Errorf("%d warnings at the end", n)
		}
		if names := r.queued(); len(names) != 0 {
			t.Errorf("the spool has %v", names)
		}
		if n := r.world.tries()["slow bob@there.test"]; n < 33 || n > 42 {
			t.Errorf("%d attempts", n)
		}
		if n := r.log.finals()[receipt.ID+" bob@there.test"]; n != 1 {
			t.Errorf("%d final log lines", n)
		}
		cancel()
		r.closeQueue()
		r.quiet()
	})
}

// A daemon that restarts in the middle keeps the schedule, and a clock that jumps does not stop it.
func TestRestartKeepsTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var shift atomic.Int64
		r.cfg.Now = func() time.Time { return time.Now().Add(time.Duration(shift.Load())).Round(0) }
		r.open()
		r.world.answer = func(id, user string, try int) transport.Status { return deferred() }
		run := func() context.CancelFunc {
			ctx, cancel := context.WithCancel(context.Background())
			go r.q.Run(ctx)
			return cancel
		}
		cancel := run()
		r.accept("x", mail("alice@here.test", envelope.WhenBackground, "bob@there.test"))
		time.Sleep(10 * time.Minute) // tries at 0, 1, 6 minutes
		tries := r.world.tries()["x bob@there.test"]
		if tries != 3 {
			t.Errorf("%d tries in ten minutes", tries)
		}
		cancel()
		r.closeQueue()
		r.open()
		cancel = run()
		time.Sleep(time.Minute)
		if n := r.world.tries()["x bob@there.test"]; n != 3 {
			t.Errorf("%d tries right after the restart", n)
		}
		cancel()
		r.closeQueue()
		shift.Store(int64(-72 * time.Hour)) // the clock was three days fast
		r.open()
		cancel = run()
		time.Sleep(20 * time.Minute)
		if n := r.world.tries()["x bob@there.test"]; n < 4 {
			t.Errorf("%d tries after the clock was set back", n)
		}
		cancel()
		r.closeQueue()
	})
}

func TestExpansion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.users.lists["team"] = Expansion{Members: []Member{{Addr: "bob"}, {Addr: "BOB@here.test"}, {Addr: "carol@there.test"}, {Command: "/bin/prog x", As: "nobody"}, {File: "/var/log/mail"}, {Addr: "inner"}}}
		r.users.lists["inner"] = Expansion{Members: []Member{{Addr: "dave+box"}, {Addr: "gone@there.test"}, {File: "/var/log/mail"}}, HasOwner: true, Owner: "owner@here.test"}
		r.users.lists["loop"] = Expansion{Members: []Member{{Addr: "loop"}}}
		r.users.unknown["nobody"] = true
		r.world.answer = func(id, user string, try int) transport.Status {
			if user == "gone@there.test" {
				return failed()
			}
			if user == "carol@there.test" && try == 1 {
				return deferred()
			}
			return ok()
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go r.q.Run(ctx)
		r.accept("l", mail("alice@here.test", envelope.WhenBackground, "team", "loop", "nobody"))
		time.Sleep(10 * time.Minute)
		var got []string
		for k, n := range r.world.got() {
			got = append(got, fmt.Sprint(k, " ", n))
		}
		sort.Strings(got)
		want := []string{"l /var/log/mail 1", "l bob 1", "l carol@there.test 1", "l dave 1", "l |/bin/prog x 1", "notice-l alice 1", "notice-l owner 1"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if n := r.world.bodies()["notice-l alice"]; !strings.Contains(n, "loop") || !strings.Contains(n, "nobody") || strings.Contains(n, "gone@") {
			t.Errorf("notice to the sender: %s", n)
		}
		if names := r.queued(); len(names) != 0 {
			t.Errorf("the spool has %v", names)
		}
		for k, n := range r.log.finals() {
			if n != 1 && !strings.HasSuffix(k, " loop") && !strings.HasSuffix(k, "/var/log/mail") {
				t.Errorf("%s has %d final log lines", k, n)
			}
		}
		cancel()
		r.closeQueue()
		r.quiet()
	})
}

func TestNotNowIsNeverNo(t *testing.T) {
	r := newRig(t)
	trouble := errors.New("the name server does not answer")
	r.route = func(Question) (Decision, error) { return Decision{}, trouble }
	receipt := r.accept("x", mail("alice@here.test", envelope.WhenNow, "bob@there.test"))
	if s := receipt.Statuses[0]; s.Outcome() != transport.Deferred || strings.Contains(s.Text(), "name server") {
		t.Errorf("%v %s", s.Outcome(), s.Text())
	}
	r.route = func(Question) (Decision, error) { return Decision{Mailer: "nosuch"}, nil }
	if s := r.accept("y", mail("alice@here.test", envelope.WhenNow, "bob@there.test")).Statuses[0]; s.Outcome() != transport.Deferred {
		t.Error(s.Outcome())
	}
	r.route, r.users.err = plainRoute, trouble
	if s := r.accept("z", mail("alice@here.test", envelope.WhenNow, "bob")).Statuses[0]; s.Outcome() != transport.Deferred {
		t.Error(s.Outcome())
	}
	if _, s := r.q.Verify(context.Background(), mail("a@b", 0, "bob"), envelope.Recipient{Addr: "bob"}); s.Outcome() != transport.Deferred {
		t.Error(s.Outcome())
	}
	r.users.err = nil
	r.world.enter = func(*transport.Request) { panic("transport") }
	if s := r.accept("p", mail("alice@here.test", envelope.WhenNow, "bob")).Statuses[0]; s.Outcome() != transport.Deferred {
		t.Error(s.Outcome())
	}
	if n := len(r.queued()); n != 4 {
		t.Errorf("%d messages in the spool", n)
	}
}

func TestWhenRulesSayQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		night := time.Now().Add(8 * time.Hour)
		r.route = func(q Question) (Decision, error) {
			d, _ := plainRoute(q)
			switch d.Host {
			case "uucp.test":
				d.When = envelope.WhenQueue
			case "night.test":
				d.NotBefore = night
			}
			return d, nil
		}
		ctx, cancel := context.WithCancel(context.Background())
		go r.q.Run(ctx)
		r.accept("q", mail("alice@here.test", envelope.WhenBackground, "a@uucp.test", "b@night.test", "c@there.test"))
		r.accept("d", mail("alice@here.test", envelope.WhenQueue, "c@there.test"))
		time.Sleep(time.Minute)
		if diff := cmp.Diff(map[string]int{"q c@there.test": 1}, r.world.tries()); diff != "" {
			t.Error(diff)
		}
		if n, err := r.q.Flush(ctx, Selection{{'R', false, "uucp"}}); n != 1 || err != nil {
			t.Errorf("flush: %d %v", n, err)
		}
		time.Sleep(time.Minute)
		if diff := cmp.Diff(map[string]int{"q c@there.test": 1, "q a@uucp.test": 1}, r.world.tries()); diff != "" {
			t.Error(diff)
		}
		time.Sleep(time.Hour)
		if n := r.world.copies("d c@there.test"); n != 1 {
			t.Errorf("the queued message has %d copies after an hour", n)
		}
		if n := r.world.copies("q b@night.test"); n != 0 {
			t.Error("the window was not respected")
		}
		time.Sleep(8 * time.Hour)
		if n := r.world.copies("q b@night.test"); n != 1 {
			t.Error("the window was missed")
		}
		cancel()
		r.closeQueue()
		r.quiet()
	})
}

func TestHigherPriorityFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.Deliveries = 1
		r.open()
		r.world.enter = func(*transport.Request) { time.Sleep(time.Second) }
		accept := func(id, head string) {
			if _, err := r.q.Accept(context.Background(), mail("alice@here.test", envelope.WhenBackground, "b@there.test"), strings.NewReader(head+message(id, 1)), Options{}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		go r.q.Run(ctx)
		synctest.Wait()
		accept("first", "")
		synctest.Wait() // it has the only place
		accept("bulk", "Precedence: bulk\n")
		accept("plain", "")
		accept("urgent", "Priority: urgent\n")
		time.Sleep(time.Minute)
		want := []string{"first b@there.test", "urgent b@there.test", "plain b@there.test", "bulk b@there.test"}
		if diff := cmp.Diff(want, r.world.order()); diff != "" {
			t.Error(diff)
		}
		cancel()
		r.closeQueue()
	})
}

// A destination without room parks its messages and nobody else's.
func TestConcurrencyPerDestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		running, most := 0, 0
		r.world.enter = func(req *transport.Request) {
			if req.Host == "slow.test" {
				r.world.mu.Lock()
				running++
				most = max(most, running)
				r.world.mu.Unlock()
				time.Sleep(10 * time.Second)
				r.world.mu.Lock()
				running--
				r.world.mu.Unlock()
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		go r.q.Run(ctx)
		for i := range 60 {
			r.accept(fmt.Sprint("s", i), mail("alice@here.test", envelope.WhenBackground, "b@slow.test"))
		}
		r.accept("fast", mail("alice@here.test", envelope.WhenBackground, "b@there.test"))
		synctest.Wait()
		if r.world.copies("fast b@there.test") != 1 {
			t.Error("the fast destination waited for the slow one")
		}
		time.Sleep(75 * time.Second)
		r.world.mu.Lock()
		peak := most
		r.world.mu.Unlock()
		if peak != DefaultConcurrency {
			t.Errorf("%d deliveries at a time", peak)
		}
		if n := len(r.queued()); n != 0 {
			t.Errorf("%d messages are left", n)
		}
		if n := r.q.limits.busy(); n != 0 {
			t.Errorf("%d destinations are still counted", n)
		}
		cancel()
		r.closeQueue()
		r.quiet()
	})
}
