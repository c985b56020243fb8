package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"waybill/queue/dsn"
	"waybill/queue/sched"
	"waybill/queue/spool"
	"waybill/transport"
	"waybill/transport/envelope"
)

// TestFailureInWords holds the classes of temporary failures that rules know.
func TestFailureInWords(t *testing.T) {
	status := func(code, text, reply string) transport.Status {
		s := transport.NewStatus(transport.Deferred, code, text)
		s.Reply = reply
		return s
	}
	for _, c := range []struct {
		s    transport.Status
		want string
	}{
		{status("4.4.1", "Connection refused by mx", ""), "4.4.1 connect network"},
		{status("4.4.1", "Connection timed out with mx", ""), "4.4.1 connect network timeout"},
		{status("4.4.3", "Name server: x: host name lookup failure", ""), "4.4.3 dns network"},
		{status("4.4.2", "Connection lost to mx", ""), "4.4.2 lost network"},
		{status("4.2.2", "mailbox is full", "452 4.2.2 full"), "4.2.2 452 mailbox reply"},
		{status("4.7.1", "later", "450 4.7.1 Greylisted, come back"), "4.7.1 450 greylist policy reply"},
		{status("4.3.2", "busy", "421 4.3.2 too many"), "4.3.2 421 load reply system"},
		{transport.NewStatus(transport.Failed, "5.1.1", "no"), ""},
	} {
		if got := strings.Join(Failure(c.s), " "); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.s.Code(), c.s.Text(), got, c.want)
		}
	}
}

// planner answers by host.
type planner func(q Question, d Decision, failure []string) Plan

func (p planner) Plan(_ context.Context, q Question, d Decision, failure []string) (Plan, error) {
	return p(q, d, failure), nil
}

func (r *rig) plan(p planner) {
	r.t.Helper()
	w := *r.q.wiring.Load()
	w.Planner = p
	if err := r.q.Use(w); err != nil {
		r.t.Fatal(err)
	}
}

// One message, recipients with different schedules: each is tried in its own time and returned in its own time, also
// across restarts.
func TestSchedulesOfRecipients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		start := time.Now()
		when := map[string][]time.Duration{}
		r.world.answer = func(id, user string, try int) transport.Status {
			if !strings.Contains(user, "@") {
				return ok() // a notice
			}
			when[user] = append(when[user], time.Since(start).Round(time.Minute))
			if strings.HasSuffix(user, "full.test") {
				return transport.NewStatus(transport.Deferred, "4.2.2", "Mailbox full")
			}
			return deferred()
		}
		plans := planner(func(q Question, d Decision, failure []string) Plan {
			switch {
			case d.Host == "slow.test":
				return Plan{Retry: sched.Delays{4 * time.Hour}, GiveUp: 10 * 24 * time.Hour}
			case slices.Contains(failure, "mailbox"):
				return Plan{Retry: sched.Delays{time.Hour}, GiveUp: 5 * time.Hour, WarnAfter: -1}
			}
			return Plan{}
		})
		r.plan(plans)
		ctx, cancel := context.WithCancel(context.Background())
		go r.q.Run(ctx)
		r.accept("x", mail("alice@here.test", envelope.WhenBackground, "a@slow.test", "b@full.test", "c@fast.test"))
		time.Sleep(3 * time.Hour)
		restart := func() {
			cancel()
			r.closeQueue()
			r.open()
			r.plan(plans)
			ctx, cancel = context.WithCancel(context.Background())
			go r.q.Run(ctx)
		}
		restart()
		time.Sleep(21 * time.Hour)
		count := func(user string, least, most int) {
			t.Helper()
			r.world.mu.Lock()
			defer r.world.mu.Unlock()
			if n := len(when[user]); n < least || n > most {
				t.Errorf("%s was tried %d times in a day, want %d to %d: %v", user, n, least, most, when[user])
			}
		}
		count("a@slow.test", 6, 8) // every four hours
		count("b@full.test", 5, 7) // hourly, for five hours
		count("c@fast.test", 10, 13)
		r.world.mu.Lock()
		tried := when["a@slow.test"]
		r.world.mu.Unlock()
		if got := tried; len(got) > 1 && (got[1] < 3*time.Hour+30*time.Minute || got[1] > 4*time.Hour+30*time.Minute) {
			t.Errorf("the second try of a@slow.test after %v", got[1])
		}
		if n := r.world.copies("notice-x alice"); n != 1 {
			t.Errorf("%d bounces after a day, want that of b@full.test", n)
		}
		time.Sleep(5 * 24 * time.Hour)
		if n := r.world.copies("notice-x alice"); n != 2 {
			t.Errorf("%d bounces after six days", n)
		}
		time.Sleep(5 * 24 * time.Hour)
		if n := r.world.copies("notice-x alice"); n != 3 || len(r.queued()) != 0 {
			t.Errorf("%d bounces after eleven days, spool %v", n, r.queued())
		}
		cancel()
		r.closeQueue()
		r.quiet()
	})
}

// A rate holds for messages that come at once, and keeps no others waiting.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.plan(func(q Question, d Decision, failure []string) Plan {
			if d.Host == "metered.test" {
				return Plan{Rate: sched.Rate{N: 10, Per: time.Minute}}
			}
			return Plan{}
		})
		ctx, cancel := context.WithCancel(context.Background())
		go r.q.Run(ctx)
		for n := range 100 {
			r.accept(fmt.Sprint("m", n), mail("alice@here.test", envelope.WhenBackground, "b@metered.test"))
			r.accept(fmt.Sprint("f", n), mail("alice@here.test", envelope.WhenBackground, "b@free.test"))
		}
		counts := func() (metered, free int) {
			for _, key := range r.world.order() {
				if strings.HasSuffix(key, "metered.test") {
					metered++
				} else {
					free++
				}
			}
			return
		}
		time.Sleep(time.Minute)
		if m, f := counts(); m < 9 || m > 12 || f != 100 {
			t.Errorf("%d of the metered and %d of the free destination in a minute", m, f)
		}
		time.Sleep(4 * time.Minute)
		if m, _ := counts(); m < 48 || m > 52 {
			t.Errorf("%d of the metered destination in five minutes", m)
		}
		time.Sleep(6 * time.Minute)
		if m, _ := counts(); m != 100 {
			t.Errorf("%d of the metered destination in eleven minutes", m)
		}
		cancel()
		r.closeQueue()
		r.quiet()
	})
}

// Urgent mail that waits for a busy destination goes before bulk mail that has waited longer, but bulk mail goes, too.
func TestUrgentFirstWhereMailWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.plan(func(Question, Decision, []string) Plan { return Plan{Concurrency: 1} })
		r.world.enter = func(*transport.Request) { time.Sleep(10 * time.Second) }
		ctx, cancel := context.WithCancel(context.Background())
		go r.q.Run(ctx)
		send := func(id string, priority int) {
			e := mail("alice@here.test", envelope.WhenBackground, "b@busy.test")
			e.Priority = priority
			r.accept(id, e)
		}
		send("first", 0)
		time.Sleep(time.Second)
		send("second", 0)
		send("bulk", -10)
		for n := range 200 {
			time.Sleep(10 * time.Second)
			send(fmt.Sprint("mail", n), 0)
		}
		send("urgent", 100)
		time.Sleep(time.Hour)
		order := r.world.order()
		bulk, urgent := slices.Index(order, "bulk b@busy.test"), slices.Index(order, "urgent b@busy.test")
		if len(order) != 204 || bulk < 55 || bulk > 65 || urgent > 202 {
			t.Errorf("bulk came out as %d, urgent as %d of %d", bulk, urgent, len(order))
		}
		cancel()
		r.closeQueue()
	})
}

// TestFiveDaysOfSchedules lets destinations of every kind of trouble go through five days, with notices to real people.
func TestFiveDaysOfSchedules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		w := *r.q.wiring.Load()
		w.Notifier = dsn.Composer{Host: "mx.here.test"}
		r.q.Use(w)
		r.world.answer = func(id, user string, try int) transport.Status {
			switch {
			case strings.HasPrefix(user, "greylisted") && try < 3:
				return transport.NewStatus(transport.Deferred, "4.7.1", "Greylisted")
			case strings.HasPrefix(user, "down"):
				return deferred()
			}
			return ok()
		}
		up := time.Now().Add(3 * 24 * time.Hour)
		r.world.enter = func(req *transport.Request) {
			if strings.HasPrefix(req.Host, "hang") && time.Now().Before(up) {
				time.Sleep(5 * time.Minute)
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		go r.q.Run(ctx)
		for n := range 50 {
			r.accept(fmt.Sprint("g", n), mail("alice@here.test", envelope.WhenBackground, fmt.Sprintf("greylisted@g%d.test", n)))
			r.accept(fmt.Sprint("d", n), mail("bob@here.test", envelope.WhenBackground, fmt.Sprintf("down@d%d.test", n%5)))
			r.accept(fmt.Sprint("h", n), mail("carol@here.test", envelope.WhenBackground, "x@hang.test"))
		}
		time.Sleep(5*24*time.Hour + 5*time.Hour)
		got := r.world.got()
		for n := range 50 {
			if got[fmt.Sprintf("g%d greylisted@g%d.test", n, n)] != 1 || got[fmt.Sprintf("h%d x@hang.test", n)] != 1 || got[fmt.Sprintf("notice-d%d bob", n)] != 1 || got[fmt.Sprintf("warning-d%d bob", n)] != 1 {
				t.Errorf("message %d: %v", n, got)
				break
			}
		}
		if names := r.queued(); len(names) != 0 {
			t.Errorf("the spool has %d", len(names))
		}
		cancel()
		r.closeQueue()
		r.quiet()
	})
}

// A recipient rests until its time comes, but not until one that a clock that was wrong has set. The message may have been
// tried for others of its recipients meanwhile, while this one waited for a place at its host.
func TestRestEndsWhenTheClockWasSetBack(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		at, lastTry time.Duration
		rests       bool
	}{
		"tried a moment ago":                    {-time.Minute, -time.Minute, true},
		"within the same second":                {time.Second, 0, true},
		"two days ahead":                        {48 * time.Hour, 48 * time.Hour, false},
		"two days ahead, others tried since it": {48 * time.Hour, -time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			due := now.Add(c.at + time.Hour)
			a := &try{how: &how{}, now: now, m: &spool.Message{LastTry: now.Add(c.lastTry), NextTry: due}}
			r := &spool.Recipient{Status: spool.Status{Outcome: spool.Deferred, At: now.Add(c.at), Next: due}}
			want := time.Time{}
			if c.rests {
				want = due
			}
			if got := a.resting(r); !got.Equal(want) {
				t.Errorf("rests until %v, want %v", got, want)
			}
		})
	}
}
