package testsite_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"waybill/cmd/internal/testsite"
)

// edit replaces text in the rules file, as an editor does: a new file over the old one.
func edit(t *testing.T, s *testsite.Site, old, new string) {
	t.Helper()
	text, err := os.ReadFile(s.Rules)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%q is not in the rules", old)
	}
	if err := os.WriteFile(s.Rules+".new", []byte(strings.Replace(string(text), old, new, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.Rules+".new", s.Rules); err != nil {
		t.Fatal(err)
	}
}

const forBob = "\t$user+                       => local $user\n"

func TestRulesAreReloaded(t *testing.T) {
	w := newWorld(t, nil)
	start(t, w.a)
	submit(t, w.a, 0, "Subject: one\n\nx\n", "bob")
	mailbox(t, w.a, "bob", "Subject: one")

	edit(t, w.a, forBob, "\tbob => local alice\n"+forBob)
	deadline := time.Now().Add(time.Minute)
	for n := 0; ; n++ { // there is no promise how soon, but that no mail is lost meanwhile
		submit(t, w.a, 0, fmt.Sprintf("Subject: moved %d.\n\nx\n", n), "-odi", "bob")
		if all, _ := w.a.Mailbox("alice"); len(all) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the new rules are not used\n", w.a.Trouble())
		}
		time.Sleep(100 * time.Millisecond)
	}

	// broken rules: the old ones stay, and every error is told
	edit(t, w.a, "\tbob => local alice\n", "\tbob => nosuchmailer alice\n\t$user+ < @ $domain=nosuchclass > => local $usre\n")
	if _, err := w.a.WaitLog(soon(t), `nosuchmailer`); err != nil {
		t.Fatal(err)
	}
	if _, err := w.a.WaitLog(soon(t), `nosuchclass`); err != nil {
		t.Error(err)
	}
	submit(t, w.a, 0, "Subject: still alice\n\nx\n", "-odi", "bob")
	mailbox(t, w.a, "alice", "still alice")
	edit(t, w.a, "\tbob => nosuchmailer alice\n\t$user+ < @ $domain=nosuchclass > => local $usre\n", "")
	for n := 0; ; n++ {
		submit(t, w.a, 0, fmt.Sprintf("Subject: repaired %d.\n\nx\n", n), "-odi", "bob")
		if m, _ := w.a.Mailbox("bob"); len(m) > 0 && strings.Contains(string(m[len(m)-1].Data), "repaired") {
			break
		}
		if time.Now().After(deadline.Add(time.Minute)) {
			t.Fatal("the repaired rules are not used\n", w.a.Trouble())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestBrokenRulesDoNotStart(t *testing.T) {
	w := newWorld(t, nil)
	edit(t, w.a, forBob, "\t$user+ => nosuchmailer $user\n\t$user+ < @ $domain=nosuchclass > => local $usre\n")
	for _, args := range [][]string{{"serve", "-C", w.a.Rules}, {"rules", "check", w.a.Rules}} {
		r, err := w.a.Waybill(args...)
		if err != nil {
			t.Fatal(err)
		}
		text := r.Out + r.Err
		if r.Exit != 78 {
			t.Errorf("waybill %v: exit %d, want 78\n%s", args, r.Exit, text)
		}
		for _, want := range []string{"nosuchmailer", "nosuchclass", "usre", "waybill.rules:", "^"} {
			if !strings.Contains(text, want) {
				t.Errorf("waybill %v does not tell %q:\n%s", args, want, text)
			}
		}
	}
	r, err := w.a.Waybill("serve", "-C", filepath.Join(w.a.Dir, "no.rules"))
	if err != nil || r.Exit == 0 || r.Out+r.Err == "" {
		t.Errorf("rules that do not exist: exit %d, %q %v", r.Exit, r.Out+r.Err, err)
	}
}

func TestOverQuota(t *testing.T) {
	w := newWorld(t, func(a, _ *testsite.Options) { a.Quota = "20K" })
	start(t, w.a)
	submit(t, w.a, 0, "Subject: small\n\nx\n", "-f", "alice", "bob")
	mailbox(t, w.a, "bob", "Subject: small")
	before, err := os.ReadFile(filepath.Join(w.a.Dir, "mail", "bob"))
	if err != nil {
		t.Fatal(err)
	}
	submit(t, w.a, 0, "Subject: too much\nPrecedence: bulk\n\n"+strings.Repeat("all work and no play\n", 2000), "-f", "alice", "bob")
	contains(t, mailbox(t, w.a, "alice", "too much"), "Status: 5.2.2", "The mailbox is full.", "text/rfc822-headers")
	if after, err := os.ReadFile(filepath.Join(w.a.Dir, "mail", "bob")); err != nil || string(after) != string(before) {
		t.Errorf("the full mailbox was changed: %d octets, before %d (%v)", len(after), len(before), err)
	}
	submit(t, w.a, 0, "Subject: small again\n\nx\n", "bob")
	mailbox(t, w.a, "bob", "small again")
}

func TestSpoolThatCannotBeWritten(t *testing.T) {
	w := newWorld(t, nil)
	if err := os.WriteFile(filepath.Join(w.a.Dir, "spool"), []byte("a file\n"), 0o644); err != nil { // not even root can write below it
		t.Fatal(err)
	}
	r, err := w.a.Sendmail(strings.NewReader("Subject: x\n\nx\n"), "-odq", "bob")
	if err != nil {
		t.Fatal(err)
	}
	if r.Exit != 73 && r.Exit != 75 || strings.Count(strings.TrimSpace(r.Out+r.Err), "\n") > 1 || !strings.Contains(r.Out+r.Err, "spool") {
		t.Errorf("exit %d, want 73 or 75, and one clear line:\n%s%s", r.Exit, r.Out, r.Err)
	}
	d, err := w.a.Waybill("serve", "-C", w.a.Rules)
	if err != nil || d.Exit == 0 || !strings.Contains(d.Out+d.Err, "spool") {
		t.Errorf("serve: exit %d %v\n%s%s", d.Exit, err, d.Out, d.Err)
	}
}

func TestDamagedSpoolFile(t *testing.T) {
	w := newWorld(t, nil)
	makeSpool(t, w.a)
	for i := range 3 { // no daemon: they wait in the spool
		submit(t, w.a, 0, fmt.Sprintf("Subject: message %d.\n\nx\n", i), "-odq", "bob")
	}
	waiting := w.a.Spooled()
	if len(waiting) != 3 {
		t.Fatalf("%d files wait: %v", len(waiting), waiting)
	}
	file := filepath.Join(w.a.Dir, "spool", waiting[1])
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 0x20
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, w.a)
	if _, err := w.a.WaitLog(soon(t), `bad/|set aside|damaged`); err != nil {
		t.Fatal(err)
	}
	if r, err := w.a.Sendmail(nil, "-q"); err != nil || r.Exit != 0 {
		t.Errorf("sendmail -q: %+v %v", r, err)
	}
	if err := testsite.Wait(soon(t), func() bool { all, _ := w.a.Mailbox("bob"); return len(all) == 2 }); err != nil {
		t.Fatal("the others do not arrive\n", w.a.Trouble())
	}
	if err := w.a.WaitEmpty(soon(t)); err != nil {
		t.Error(err)
	}
	aside := filepath.Join(w.a.Dir, "spool", "bad", filepath.Base(file))
	if kept, err := os.ReadFile(aside); err != nil || string(kept) != string(text) {
		t.Errorf("the damaged file is not kept as it was: %v, %v", err, w.a.Spooled())
	}
}

func TestWithoutADaemon(t *testing.T) {
	w := newWorld(t, nil)
	makeSpool(t, w.a)
	submit(t, w.a, 0, "Subject: at once\n\nx\n", "-odi", "bob", "carol@sink.test")
	if all, err := w.a.Mailbox("bob"); err != nil || len(all) != 1 {
		t.Errorf("%d messages (%v)\n%s", len(all), err, w.a.Trouble())
	}
	atSink(t, w, "carol@sink.test")
	submit(t, w.a, 0, "Subject: background\n\nx\n", "-odb", "bob")
	mailbox(t, w.a, "bob", "Subject: background")
	if err := w.a.WaitEmpty(soon(t)); err != nil { // a delivered message leaves the spool a moment later
		t.Error(err)
	}
	submit(t, w.a, 0, "Subject: waits\n\nx\n", "-odq", "-f", "alice", "bob")
	if all := w.a.Spooled(); len(all) != 1 {
		t.Errorf("in the spool: %v", all)
	}
	if r, err := w.a.Sendmail(nil, "-bp"); err != nil || !strings.Contains(r.Out, "bob") || !strings.Contains(r.Out, "alice") {
		t.Errorf("mailq: %+v %v", r, err)
	}
	if r, err := w.a.Sendmail(nil, "-q"); err != nil || r.Exit != 0 {
		t.Errorf("-q: %+v %v", r, err)
	}
	mailbox(t, w.a, "bob", "Subject: waits")
	if err := w.a.WaitEmpty(soon(t)); err != nil {
		t.Error(err)
	}
}

// TestLoop has two sites that each believe that the other has the domain.
func TestLoop(t *testing.T) {
	w := newWorld(t, func(a, b *testsite.Options) {
		a.Settings = "set max-hops 25\nset retry 1s\n"
		a.Route = "\t$user+ < @ loop.test > => esmtp b.example.test $user@loop.test\n"
		b.Route = "\t$user+ < @ loop.test > => esmtp a.example.test $user@loop.test\n"
	})
	start(t, w.a, w.b)
	submit(t, w.a, 0, "Subject: round and round\n\nx\n", "-f", "alice@a.example.test", "bob@loop.test")
	got := mailbox(t, w.a, "alice", "round and round")
	contains(t, got, "Final-Recipient: RFC822; bob@loop.test", "Action: failed", "Status: 5.4.6")
	for _, s := range []*testsite.Site{w.a, w.b} {
		if err := s.WaitEmpty(soon(t)); err != nil {
			t.Error(err)
		}
	}
	many := strings.Repeat("Received: from x.example by y.example; Sat, 21 Nov 2026 22:00:00 +0000\n", 30)
	if r := submit(t, w.a, 69, many+"Subject: long way\n\nx\n", "-odi", "-f", "alice", "bob"); !strings.Contains(r.Out+r.Err, "hops") {
		t.Errorf("sendmail does not say why: %q", r.Out+r.Err)
	}
}

// TestDelayAndGivingUp lets a host refuse for now: a warning, once, then a bounce.
func TestDelayAndGivingUp(t *testing.T) {
	w := newWorld(t, func(a, _ *testsite.Options) {
		a.Settings = "set retry 1s 1s\nset warn-after 2s\nset give-up 12s\n"
	})
	w.sink.Answer(func(line string) string {
		if strings.HasPrefix(line, "RCPT") {
			return "451 4.7.1 greylisted, come again"
		}
		return ""
	})
	start(t, w.a)
	submit(t, w.a, 0, "Subject: patience\n\nx\n", "-f", "alice", "bob@sink.test")
	if err := testsite.Wait(soon(t), func() bool {
		r, err := w.a.Sendmail(nil, "-bp")
		return err == nil && strings.Contains(r.Out, "greylisted") && strings.Contains(r.Out, "bob@sink.test")
	}); err != nil {
		t.Error("mailq does not show why it waits\n", w.a.Trouble())
	}
	contains(t, mailbox(t, w.a, "alice", "Warning: could not send message"), "Action: delayed", "Status: 4.7.1", "Will-Retry-Until: ", "greylisted, come again")
	contains(t, mailbox(t, w.a, "alice", "Action: failed"), "Status: 4.4.7", "could not be delivered", "greylisted, come again")
	if err := w.a.WaitEmpty(soon(t)); err != nil {
		t.Error(err)
	}
	if all, err := w.a.Mailbox("alice"); err != nil || len(all) != 2 {
		t.Errorf("%d notices, want one warning and one bounce (%v)", len(all), err)
	}
}

// TestKilledWhileWaiting: what was accepted survives SIGKILL.
func TestKilledWhileWaiting(t *testing.T) {
	w := newWorld(t, nil)
	if err := w.a.Start(soon(t)); err != nil {
		t.Fatal(err)
	}
	w.sink.Answer(func(line string) string {
		if strings.HasPrefix(line, "MAIL") {
			return "451 4.3.2 not now"
		}
		return ""
	})
	for i := range 5 {
		submit(t, w.a, 0, fmt.Sprintf("Subject: survivor %d.\n\nx\n", i), fmt.Sprintf("r%d@sink.test", i))
	}
	if err := w.a.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := testsite.Wait(soon(t), func() bool { return !w.a.Running() }); err != nil {
		t.Fatal(err)
	}
	w.sink.Close()
	sink, err := testsite.StartSink(fmt.Sprintf("%s:%d", w.addrs[0], w.port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sink.Close)
	w.sink = sink
	start(t, w.a)
	for i := range 5 {
		contains(t, atSink(t, w, fmt.Sprintf("r%d@sink.test", i)).Data, fmt.Sprintf("Subject: survivor %d.", i))
	}
}

// TestStopBreaksNothingOff: SIGTERM while the next hop thinks about the end of a message. Whoever waits is told the
// truth, and nobody gets the message twice.
func TestStopBreaksNothingOff(t *testing.T) {
	for _, how := range []string{"-odi", "-odb"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t, nil)
			thinking := make(chan struct{}, 10)
			w.sink.Answer(func(line string) string {
				if line == "." {
					thinking <- struct{}{}
					time.Sleep(2 * time.Second)
				}
				return ""
			})
			start(t, w.a)
			done := make(chan testsite.Result, 1)
			go func() {
				r, err := w.a.Sendmail(strings.NewReader("Subject: once\n\nx\n"), how, "carol@sink.test")
				if err != nil {
					t.Error(err)
				}
				done <- r
			}()
			select {
			case <-thinking:
			case <-time.After(time.Minute):
				t.Fatal("the message does not get there\n", w.a.Trouble())
			}
			if err := w.a.Stop(); err != nil {
				t.Error(err)
			}
			if r := <-done; r.Exit != 0 {
				t.Errorf("sendmail: %+v", r)
			}
			start(t, w.a)
			if err := w.a.WaitEmpty(soon(t)); err != nil {
				t.Error(err)
			}
			if n := len(w.sink.For("carol@sink.test")); n != 1 {
				t.Errorf("the message came %d times\n%s", n, w.a.Trouble())
			}
		})
	}
}
