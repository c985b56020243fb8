package queue

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"waybill/queue/dsn"
	"waybill/transport"
	"waybill/transport/envelope"
)

// spokenRig is a queue of a site with a sendmail.cf.
func spokenRig(t *testing.T) *rig {
	r := newRig(t)
	err := r.q.Use(Wiring{
		Router:  router(func(q Question) (Decision, error) { return r.route(q) }),
		Mailers: map[string]Mailer{"smtp": {Transport: r.world}, "local": {Transport: r.world, Local: true}},
		Program: Mailer{Transport: r.world}, File: Mailer{Transport: r.world},
		Expander: r.users, Notifier: dsn.Classic{Composer: dsn.Composer{Host: "mx.here.test", Bare: true}}, Spoken: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What is to wait for a queue run waits as those whom an alias made of it; who does not exist is reported at once.
func TestQueuedMailIsExpanded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := spokenRig(t)
		r.users.lists["team"] = Expansion{Members: []Member{{Addr: "bob"}, {Addr: "BOB"}, {Addr: "x@there.test"}, {Addr: "gone"}, {Addr: "gone"}, {Command: `"|/bin/p a"`}}}
		r.users.lists["void"] = Expansion{Members: []Member{{Addr: "gone"}}}
		r.users.unknown["gone"] = true
		id := r.accept("t", mail("alice@here.test", envelope.WhenQueue, "team")).ID
		r.accept("v", mail("alice@here.test", envelope.WhenQueue, "void"))
		time.Sleep(time.Minute)
		m, err := r.q.spool.Peek(id, false)
		if err != nil {
			t.Fatal(err)
		}
		var left []string
		for _, rc := range m.Recipients {
			if !rc.Final() {
				left = append(left, rc.Name())
			}
		}
		m.Close()
		if got := strings.Join(left, ", "); got != `bob, x@there.test, "|/bin/p a"` {
			t.Errorf("waiting: %s", got)
		}
		for key, want := range map[string]int{"t bob": 0, "notice-t alice": 1, "notice-v alice": 1} {
			if got := r.world.copies(key); got != want {
				t.Errorf("%s: %d, want %d", key, got, want)
			}
		}
		if n := strings.Count(r.world.bodies()["notice-t alice"], "Final-Recipient"); n != 2 { // the alias, which was expanded, and who failed of it
			t.Errorf("%d recipients in the notice", n)
		}
		if _, err := r.q.spool.Peek(id, false); err != nil || len(r.queued()) != 1 {
			t.Errorf("%v, queue %v", err, r.queued())
		}
		r.closeQueue()
		r.quiet()
	})
}

// Who is on a list and a recipient, too, gets one copy. What leads back to itself is forgotten where somebody is left.
func TestOneCopyAndLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := spokenRig(t)
		broken := transport.NewStatus(transport.Failed, "5.4.6", "aliasing/forwarding loop broken")
		r.users.lists["list"] = Expansion{Members: []Member{{Addr: "dave@there.test"}}, Owner: "owner@here.test", HasOwner: true}
		r.users.lists["loop"] = Expansion{Status: &broken, Loop: true}
		r.users.lists["mixed"] = Expansion{Members: []Member{{Addr: "loop"}, {Addr: "bob"}}}
		r.accept("one", mail("alice@here.test", envelope.WhenBackground, "list", "dave@there.test"))
		r.accept("mixed", mail("alice@here.test", envelope.WhenBackground, "mixed"))
		r.accept("after", mail("alice@here.test", envelope.WhenBackground, "carol", "loop"))
		r.accept("before", mail("alice@here.test", envelope.WhenBackground, "loop", "carol"))
		time.Sleep(time.Minute)
		for key, want := range map[string]int{
			"one dave@there.test": 1, "mixed bob": 1, "notice-mixed alice": 0, "after carol": 1, "notice-after alice": 0, "before carol": 1, "notice-before alice": 1,
		} {
			if got := r.world.copies(key); got != want {
				t.Errorf("%s: %d, want %d", key, got, want)
			}
		}
		r.closeQueue()
		r.quiet()
	})
}

// sendmail tells a sender of failures and deliveries in one notice; of an alias it says that it has become several, and
// asks the next hop for nothing. What is this site's fault goes to the postmaster as well.
func TestNoticesOfSendmail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := spokenRig(t)
		r.users.lists["team"] = Expansion{Members: []Member{{Addr: "bob"}, {Addr: "x@there.test"}}}
		r.world.answer = func(id, user string, try int) transport.Status {
			switch {
			case strings.HasPrefix(user, "bad"):
				return failed()
			case user == "soft":
				s := transport.NewStatus(transport.Failed, "5.3.0", "Internal error")
				s.Reply, s.Diagnostic = "70", "x-unix"
				return s
			case user == "bob":
				return transport.NewStatus(transport.Delivered, "2.0.0", "Sent")
			}
			s := ok()
			s.DSN = true
			return s
		}
		r.world.enter = func(req *transport.Request) {
			for _, rc := range req.Recipients {
				if rc.User == "x@there.test" && rc.Orig.Notify != 0 {
					t.Errorf("NOTIFY=%s for a member", rc.Orig.Notify)
				}
			}
		}
		for id, to := range map[string][]string{"two": {"bob", "bad"}, "team": {"team"}, "soft": {"soft"}} {
			e := mail("alice@here.test", envelope.WhenBackground, to...)
			for i := range e.Recipients {
				e.Recipients[i].Notify = envelope.NotifySuccess | envelope.NotifyFailure
			}
			r.accept(id, e)
		}
		time.Sleep(time.Minute)
		for key, want := range map[string]int{"notice-two alice": 1, "receipt-two alice": 0, "receipt-team alice": 1, "notice-soft alice": 1, "notice-soft postmaster": 1} {
			if got := r.world.copies(key); got != want {
				t.Errorf("%s: %d, want %d", key, got, want)
			}
		}
		for key, want := range map[string]string{
			"notice-two alice": "successfully delivered to mailbox", "receipt-team alice": "<team>... expanded to multiple addresses\n<bob>... Successfully delivered\n\n", "notice-soft postmaster": "To: <alice@here.test>\nTo: postmaster\n",
		} {
			if text := r.world.bodies()[key]; !strings.Contains(text, want) {
				t.Errorf("%s does not say %q:\n%s", key, want, text)
			}
		}
		if text := r.world.bodies()["receipt-team alice"]; strings.Contains(text, "Final-Recipient") {
			t.Errorf("an alias has a status:\n%s", text)
		}
		r.closeQueue()
		r.quiet()
	})
}

// sendmail takes "tell nobody" for the members of a list with an owner, too, and does not pass it on. Where the sender of
// a message does not exist, the postmaster hears what failed.
func TestNobodyToTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := spokenRig(t)
		r.users.lists["list"] = Expansion{Members: []Member{{Addr: "bad@there.test"}}, Owner: "owner@here.test", HasOwner: true}
		r.users.unknown["ghost"] = true
		r.world.answer = func(id, user string, try int) transport.Status {
			if strings.HasPrefix(user, "bad") {
				return failed()
			}
			return transport.NewStatus(transport.Delivered, "2.0.0", "Sent")
		}
		r.world.enter = func(req *transport.Request) {
			for _, rc := range req.Recipients {
				if rc.User == "bad@there.test" && rc.Orig.Notify != 0 {
					t.Errorf("NOTIFY=%s for a member", rc.Orig.Notify)
				}
			}
		}
		never := mail("alice@here.test", envelope.WhenBackground, "list")
		never.Recipients[0].Notify = envelope.NotifyNever
		r.accept("never", never)
		r.accept("from", mail("ghost", envelope.WhenBackground, "bad"))
		time.Sleep(time.Minute)
		for key, want := range map[string]int{"notice-never owner": 0, "notice-never alice": 0, "notice-from ghost": 0, "double-from postmaster": 1} {
			if got := r.world.copies(key); got != want {
				t.Errorf("%s: %d, want %d", key, got, want)
			}
		}
		if text := r.world.bodies()["double-from postmaster"]; !strings.Contains(text, "Subject: Postmaster notify") || !strings.Contains(text, "<ghost>... ") {
			t.Errorf("the postmaster hears:\n%s", text)
		}
		r.closeQueue()
		r.quiet()
	})
}
