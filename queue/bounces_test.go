package queue

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"waybill/queue/dsn"
	"waybill/transport"
	"waybill/transport/envelope"
)

// TestNobodyHearsOfDoubleBounces has an empty DoubleBounceAddress.
func TestNobodyHearsOfDoubleBounces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.closeQueue()
		r.cfg.NoDouble = true
		r.open()
		r.world.answer = func(id, user string, try int) transport.Status { return failed() }
		r.accept("bad", mail("alice@there.test", envelope.WhenBackground, "bob@there.test"))
		synctest.Wait()
		if diff := cmp.Diff(map[string]int{"bad bob@there.test": 1, "notice-bad alice@there.test": 1}, r.world.tries()); diff != "" {
			t.Error(diff)
		}
		if names := r.queued(); len(names) != 0 {
			t.Errorf("the spool has %v", names)
		}
	})
}

func TestBouncesEndSomewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.world.answer = func(id, user string, try int) transport.Status { return failed() }
		r.accept("bad", mail("alice@there.test", envelope.WhenBackground, "bob@there.test"))
		synctest.Wait()
		// bob fails: notice to alice; that fails: notice to the postmaster; that fails: the end.
		want := map[string]int{"bad bob@there.test": 1, "notice-bad alice@there.test": 1, "double-bad postmaster": 1}
		if diff := cmp.Diff(want, r.world.tries()); diff != "" {
			t.Error(diff)
		}
		if names := r.queued(); len(names) != 0 {
			t.Errorf("the spool has %v", names)
		}
		// A notice is noted when the attempt that made it ends, which may be after the attempt at the notice itself.
		var ends []Noticed
		for _, n := range r.log.all().noticed {
			if n.New == "" {
				ends = append(ends, n)
			}
		}
		if len(ends) != 1 || ends[0].Kind != dsn.Double {
			t.Errorf("notices that end here: %+v", ends)
		}
		for k, n := range r.log.finals() {
			if n != 1 {
				t.Errorf("%s has %d final log lines", k, n)
			}
		}
		r.quiet()
	})
}

// What nobody can get, not even the postmaster, is handed to Wiring.Lost, once and whole.
func TestLostNotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.world.answer = func(id, user string, try int) transport.Status { return failed() }
		var lost []string
		w := *r.q.wiring.Load()
		w.Lost = func(e *envelope.Envelope, body envelope.Body) {
			in, err := body.Open()
			if err != nil {
				t.Error(err)
				return
			}
			defer in.Close()
			text, err := io.ReadAll(in)
			lost = append(lost, string(e.Sender)+" "+string(e.Recipients[0].Addr)+"\n"+string(text))
			if err != nil {
				t.Error(err)
			}
		}
		if err := r.q.Use(w); err != nil {
			t.Fatal(err)
		}
		r.accept("bad", mail("alice@there.test", envelope.WhenBackground, "bob@there.test"))
		synctest.Wait()
		if len(lost) != 1 || !strings.HasPrefix(lost[0], " postmaster\n") || !strings.Contains(lost[0], "Subject: t-bad") {
			t.Errorf("%d lost notices: %.200q", len(lost), lost)
		}
		r.quiet()
	})
}

func TestNotifyIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.world.answer = func(id, user string, try int) transport.Status {
			if strings.HasPrefix(user, "bad") {
				return failed()
			}
			return ok()
		}
		e := mail("alice@here.test", envelope.WhenBackground, "bad1@there.test", "bad2@there.test", "good1@there.test", "good2@there.test")
		e.Recipients[0].Notify = envelope.NotifyNever
		e.Recipients[2].Notify = envelope.NotifySuccess
		r.accept("n", e)
		synctest.Wait()
		notice, receipt := r.world.bodies()["notice-n alice"], r.world.bodies()["receipt-n alice"]
		if strings.Contains(notice, "bad1@") || !strings.Contains(notice, "bad2@") {
			t.Errorf("notice: %s", notice)
		}
		if !strings.Contains(receipt, "good1@") || strings.Contains(receipt, "good2@") {
			t.Errorf("receipt: %s", receipt)
		}
		r.quiet()
	})
}

// A sender who asks for a receipt hears that an alias became several, or that a list has it, and nothing more; of an
// alias for one he hears when that one has it (RFC 3461 5.2.7).
func TestReceiptsOfAliases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		go r.q.Run(context.Background()) // several go to one host, which gets one delivery at a time at first
		r.users.lists["team"] = Expansion{Members: []Member{{Addr: "a@there.test"}, {Addr: "b@there.test"}, {Addr: "bad@there.test"}}}
		r.users.lists["list"] = Expansion{Members: []Member{{Addr: "bad@list.test"}}, Owner: "owner@here.test", HasOwner: true}
		r.users.lists["one"] = Expansion{Members: []Member{{Addr: "c@there.test"}}}
		r.world.answer = func(id, user string, try int) transport.Status {
			if strings.HasPrefix(user, "bad@") {
				return failed()
			}
			return ok()
		}
		for _, to := range []string{"team", "list", "one"} {
			e := mail("alice@here.test", envelope.WhenBackground, to)
			e.Recipients[0].Notify = envelope.NotifySuccess | envelope.NotifyFailure
			e.EnvID = "QQ314"
			r.accept(to, e)
		}
		e := mail("alice@here.test", envelope.WhenBackground, "team")
		e.Recipients[0].Notify = envelope.NotifySuccess
		r.accept("only", e)
		time.Sleep(time.Minute)
		for key, want := range map[string]int{
			"receipt-team alice": 1, "notice-team alice": 1, "receipt-list alice": 1, "notice-list alice": 0, "notice-list owner": 1, "receipt-one alice": 1,
			"receipt-only alice": 1, "notice-only alice": 0, "team a@there.test": 1, "team b@there.test": 1, "one c@there.test": 1,
		} {
			if got := r.world.copies(key); got != want {
				t.Errorf("%s: %d, want %d", key, got, want)
			}
		}
		for key, want := range map[string]string{
			"receipt-team alice": "Action: expanded", "receipt-list alice": "Action: delivered (to mailing list)", "receipt-one alice": "Action: relayed", "notice-team alice": "Original-Envelope-Id: QQ314",
		} {
			if text := r.world.bodies()[key]; !strings.Contains(text, want) {
				t.Errorf("%s does not say %q:\n%s", key, want, text)
			}
		}
		if text := r.world.bodies()["notice-list owner"]; strings.Contains(text, "QQ314") {
			t.Error("the owner is told the sender's envelope id")
		}
		r.closeQueue()
		r.quiet()
	})
}
