package queue

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"waybill/queue/spool"
	"waybill/transport"
	"waybill/transport/envelope"
)

func TestDropsAreTakenOver(t *testing.T) {
	r := newRig(t)
	drop := func(id string, e *envelope.Envelope) string {
		e.ID = id
		id, err := spool.DropIn(r.fs, "/spool", e, strings.NewReader(message(id, 100)))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	good := mail("alice@here.test", envelope.WhenBackground, "bob@there.test")
	good.Origin.Auth = "forged"
	drop("kAK31Xxp000001", good)
	drop("kAK31Xxp000002", mail("alice@here.test", envelope.WhenBackground, "bob@there.test"))
	drop("kAK31Xxp000003", mail("alice@here.test", envelope.WhenBackground, "bob@there.test"))
	r.fs.Edit("/spool/drop/kAK31Xxp000003", func(b []byte) []byte { b[len(b)-20] ^= 1; return b })
	loop := mail("alice@here.test", envelope.WhenBackground, "bob@there.test")
	loop.ID = "kAK31Xxp000004"
	loop.Hops = 30
	drop("kAK31Xxp000004", loop)
	if err := r.q.RunOnce(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	r.q.RunOnce(context.Background(), nil)
	r.closeQueue()
	want := map[string]int{"kAK31Xxp000001 bob@there.test": 1, "kAK31Xxp000002 bob@there.test": 1, "notice-kAK31Xxp000004 alice": 1}
	if diff := cmp.Diff(want, r.world.got()); diff != "" {
		t.Error(diff)
	}
	if names := r.fs.Names("/spool/drop"); len(names) != 0 {
		t.Errorf("left in drop: %v", names)
	}
	if names := r.fs.Names("/spool/bad"); len(names) != 1 {
		t.Errorf("set aside: %v", names)
	}
	if id := r.log.all().accepted[0].Envelope.Origin.Auth; id != "" {
		t.Error("a dropped envelope kept its claim of authentication")
	}
}

// A front end still has its lock when the drop directory is read: the message is taken over a moment later, not with
// the next regular look.
func TestDropThatIsStillLocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		e := mail("alice@here.test", envelope.WhenBackground, "bob@there.test")
		id, err := spool.DropIn(r.fs, "/spool", e, strings.NewReader(message("x", 10)))
		if err != nil {
			t.Fatal(err)
		}
		f, err := r.fs.Open("/spool/drop/"+id, false)
		if err != nil {
			t.Fatal(err)
		}
		f.TryLock()
		ctx, cancel := context.WithCancel(context.Background())
		go r.q.Run(ctx)
		time.Sleep(20 * time.Millisecond)
		f.Close()
		time.Sleep(time.Second)
		if r.world.copies("x bob@there.test") != 1 {
			t.Error("the message was not taken over")
		}
		cancel()
		r.closeQueue()
	})
}

func TestDamagedFilesStopNothing(t *testing.T) {
	for name, hurt := range map[string]func([]byte) []byte{
		"empty":       func(b []byte) []byte { return nil },
		"half":        func(b []byte) []byte { return b[:len(b)/2] },
		"no end":      func(b []byte) []byte { return b[:len(b)-7] },
		"first line":  func(b []byte) []byte { b[3] ^= 1; return b },
		"length":      func(b []byte) []byte { copy(b[20:], "99999999"); return b },
		"envelope":    func(b []byte) []byte { b[150] ^= 1; return b },
		"body":        func(b []byte) []byte { b[len(b)-30] ^= 1; return b },
		"zero middle": func(b []byte) []byte { clear(b[len(b)/2 : len(b)-1]); return b },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			bad := r.accept("bad", mail("alice@here.test", envelope.WhenQueue, "bob@there.test")).ID
			r.accept("good", mail("alice@here.test", envelope.WhenQueue, "bob@there.test"))
			r.fs.Edit("/spool/queue/"+bad, hurt)
			r.fs = r.fs.Crash(0, nil)
			r.open()
			if err := r.q.RunOnce(context.Background(), nil); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]int{"good bob@there.test": 1}, r.world.got()); diff != "" {
				t.Error(diff)
			}
			if names := r.fs.Names("/spool/bad"); len(names) != 1 || names[0] != bad {
				t.Errorf("set aside: %v", names)
			}
			if log := strings.Join(r.slog.bad(), "\n"); !strings.Contains(log, bad) {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// Garbage behind the message costs the journal, not the message.
func TestGarbageInTheJournal(t *testing.T) {
	r := newRig(t)
	r.world.answer = func(id, user string, try int) transport.Status {
		if user == "later@there.test" && try == 1 {
			return deferred()
		}
		return ok()
	}
	id := r.accept("x", mail("alice@here.test", envelope.WhenNow, "bob@there.test", "later@there.test")).ID
	r.fs.Edit("/spool/queue/"+id, func(b []byte) []byte { return append(b, "\n\xff\x00garbage\n\xff torn"...) })
	r.q.RunOnce(context.Background(), nil)
	if diff := cmp.Diff(map[string]int{"x bob@there.test": 1, "x later@there.test": 1}, r.world.got()); diff != "" {
		t.Error(diff)
	}
}

// A disk that cannot be written loses nothing, and nothing is delivered twice because of it.
func TestReadOnlyAndFull(t *testing.T) {
	for _, disk := range []error{syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE} {
		t.Run(disk.Error(), func(t *testing.T) {
			r := newRig(t)
			r.accept("x", mail("alice@here.test", envelope.WhenQueue, "a@there.test", "later@there.test", "bad@there.test"))
			r.world.answer = func(id, user string, try int) transport.Status {
				switch {
				case strings.HasPrefix(user, "later") && try < 3:
					return deferred()
				case strings.HasPrefix(user, "bad"):
					return failed()
				}
				return ok()
			}
			r.fs.FailAll(disk)
			if _, err := r.q.Accept(context.Background(), mail("a@b", 0, "c@d"), strings.NewReader(message("y", 1)), Options{}); !errors.Is(err, disk) {
				t.Errorf("accept: %v", err)
			}
			for range 3 {
				r.q.RunOnce(context.Background(), nil)
			}
			r.fs.FailAll(nil)
			r.q.RunOnce(context.Background(), nil)
			r.q.RunOnce(context.Background(), nil)
			r.closeQueue()
			want := map[string]int{"x a@there.test": 1, "x later@there.test": 1, "notice-x alice": 1}
			if diff := cmp.Diff(want, r.world.got()); diff != "" {
				t.Error(diff)
			}
			if names := r.queued(); len(names) != 0 {
				t.Errorf("the spool has %v", names)
			}
			if n := r.world.tries()["x bad@there.test"]; n != 1 {
				t.Errorf("the recipient that failed was tried %d times", n)
			}
		})
	}
}

func TestOperators(t *testing.T) {
	r := newRig(t)
	a := r.accept("a", mail("alice@here.test", envelope.WhenQueue, "x y@there.test")).ID
	b := r.accept("b", mail("", envelope.WhenQueue, "bob@there.test")).ID
	var lines []string
	control := func(words ...string) error {
		lines = nil
		return r.q.Control(context.Background(), "root", words, func(l string) error { lines = append(lines, l); return nil })
	}
	if err := control("hold", a); err != nil {
		t.Fatal(err)
	}
	if err := control("priority", b, "-20"); err != nil {
		t.Fatal(err)
	}
	r.q.RunOnce(context.Background(), Selection{{'I', false, a}})
	if err := control("list"); err != nil {
		t.Fatal(err)
	}
	var got []Listed
	l := Lister{F: func(l Listed) error {
		l.Arrival = time.Time{}
		if want := DefaultWeights().Job(l.Given, l.Priority, len(l.Recipients), l.Attempts); l.Job != want {
			t.Errorf("job priority %d, want %d", l.Job, want)
		}
		l.Size, l.Given, l.Job = 0, 0, 0
		got = append(got, l)
		return nil
	}}
	for _, line := range lines {
		if err := l.Line(line); err != nil {
			t.Fatal(err)
		}
	}
	l.End()
	want := []Listed{
		{ID: b, Priority: -20, Recipients: []ListedRecipient{{Name: "bob@there.test"}}},
		{ID: a, Sender: "alice@here.test", Held: true, Quarantine: "held", Recipients: []ListedRecipient{{Name: "x y@there.test"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := control("release", a); err != nil {
		t.Fatal(err)
	}
	if err := control("remove", b); err != nil {
		t.Fatal(err)
	}
	r.q.RunOnce(context.Background(), nil)
	if diff := cmp.Diff(map[string]int{"a x y@there.test": 1}, r.world.got()); diff != "" {
		t.Error(diff)
	}
	if err := control("hold", a); err == nil {
		t.Error("a message that is gone was held")
	}
	if len(r.log.all().removed) != 1 || r.log.all().removed[0].ID != b {
		t.Errorf("removed: %v", r.log.all().removed)
	}
}

func TestCloseWaitsForDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.world.enter = func(*transport.Request) { time.Sleep(5 * time.Second) }
		r.accept("x", mail("alice@here.test", envelope.WhenBackground, "bob@there.test"))
		synctest.Wait()
		start := time.Now()
		r.closeQueue()
		if time.Since(start) != 5*time.Second || r.world.copies("x bob@there.test") != 1 || len(r.queued()) != 0 {
			t.Errorf("closed after %v with %d copies", time.Since(start), r.world.copies("x bob@there.test"))
		}
		if _, err := r.q.Accept(context.Background(), mail("a@b", 0, "c@d"), strings.NewReader("x\n"), Options{}); err == nil {
			t.Error("a closed queue accepted a message")
		}
	})
}

func TestSelection(t *testing.T) {
	m := &spool.Message{ID: "kAK31Xxp000001", Envelope: &envelope.Envelope{Sender: "alice@here.test"}, Recipients: []spool.Recipient{
		{Recipient: envelope.Recipient{Addr: "bob@there.test"}},
		{Recipient: envelope.Recipient{Addr: "done@else.test"}, Status: spool.Status{Outcome: spool.Delivered}},
	}}
	for words, want := range map[string]bool{
		"": true, "R=bob": true, "R=BOB": true, "R=carol": false, "R=carol R=bob": true, "R=bob S=alice": true, "R=bob S=carol": false,
		"!R=bob": false, "!R=carol": true, "I=0001": true, "R=else": false, "kAK31Xxp000001": true, "kAK31Xxp000002": false, "!kAK31Xxp000002": true,
		"O=1h": true, "O=2h": false, "Y=2h": true, "O=1h Y=100m": true, "H=there.test": true, "H=@TEST": true, "H=ere.test": false, "H=other.test": true,
		"M=ESMTP": true, "M=smtp": false, "E=refused": true, "!E=refused": false, "Q=held": false,
	} {
		s, err := ParseSelection(strings.Fields(words))
		l := Listed{ID: m.ID}
		(&Queue{}).describe(&l, m)
		l.Arrival = time.Now().Add(-90 * time.Minute)
		l.Recipients[0].Host, l.Recipients[0].Mailer, l.Recipients[0].Reason = "mx.other.test", "esmtp", "Connection refused"
		if err != nil || s.Matches(l, time.Now()) != want {
			t.Errorf("%q: %v, want %v", words, err, want)
		}
	}
	if _, err := ParseSelection([]string{"Z=x"}); err == nil {
		t.Error("Z= was understood")
	}
}
