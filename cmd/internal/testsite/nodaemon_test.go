package testsite_test

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill/cmd/internal/testsite"
	"waybill/queue/spool"
)

// takenOver waits until nothing is left to do for the engine that takes drops over.
func takenOver(t *testing.T, s *testsite.Site) {
	t.Helper()
	dir := filepath.Join(s.Dir, "spool")
	if err := testsite.Wait(soon(t), func() bool {
		lock, err := spool.TryTaking(dir)
		if lock != nil {
			lock.Close()
		}
		return lock != nil && err == nil
	}); err != nil {
		t.Fatalf("an engine does not end\n%s", s.Trouble())
	}
	if left, _ := filepath.Glob(dir + "/drop/*"); len(left) > 0 {
		t.Errorf("left in the drop directory: %v\n%s", left, s.Trouble())
	}
}

// Where no daemon runs, an engine is asked about the first message to somebody. Later ones are dropped and delivered by
// one engine in the background, until something changes that may make a recipient unknown.
func TestMailWithoutDaemon(t *testing.T) {
	w := newWorld(t, func(a, _ *testsite.Options) { a.Aliases = "team: alice\n" })
	aliases := filepath.Join(w.a.Dir, "aliases")
	known := func() bool {
		_, err := os.Stat(filepath.Join(w.a.Dir, "spool", "known"))
		return err == nil
	}
	makeSpool(t, w.a)
	submit(t, w.a, 67, "Subject: nobody\n\n", "nosuch")
	submit(t, w.a, 0, "Subject: queued\n\n", "-odq", "bob")
	submit(t, w.a, 0, "Subject: watched\n\n", "-odi", "bob")
	if known() {
		t.Error("known without a message in the background that was accepted")
	}
	submit(t, w.a, 0, "Subject: first.\n\n", "bob", "team", "x@sink.test")
	if !known() {
		t.Errorf("nothing was noted\n%s", w.a.Trouble())
	}
	const n = 30
	results := make(chan error, n)
	for i := range n {
		go func() {
			r, err := w.a.Sendmail(strings.NewReader(fmt.Sprintf("To: bob\nSubject: more %d.\n\nx\n", i)), "-t", "team", "x@sink.test")
			if err == nil && (r.Exit != 0 || r.Out+r.Err != "") {
				err = fmt.Errorf("exit %d: %s%s", r.Exit, r.Out, r.Err)
			}
			results <- err
		}()
	}
	for range n {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if err := testsite.Wait(soon(t), func() bool {
		bob, _ := w.a.Mailbox("bob")
		alice, _ := w.a.Mailbox("alice")
		return len(bob) == n+2 && len(alice) == n+1 && len(w.sink.For("x@sink.test")) == n+1
	}); err != nil {
		t.Fatal(w.a.Trouble())
	}
	takenOver(t, w.a)
	for i := range n {
		got := mailbox(t, w.a, "bob", fmt.Sprintf("Subject: more %d.", i))
		contains(t, got, "Received: (from ", "\nTo: bob\n")
	}

	// An alias goes: its name is unknown from then on.
	put(t, aliases, "other: alice\n")
	submit(t, w.a, 67, "Subject: gone\n\n", "team")
	submit(t, w.a, 0, "Subject: other.\n\n", "other")
	mailbox(t, w.a, "alice", "Subject: other.")

	// What fails after all is returned by mail, also with the error mode that tells the caller.
	for _, args := range [][]string{{"-oep"}, {"-oem"}, {"-odb"}} {
		for range 2 {
			submit(t, w.a, 0, "Subject: refused\n\n", append(args, "x@nomail.test")...)
		}
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if err := testsite.Wait(soon(t), func() bool { notices, _ := w.a.Mailbox(me.Username); return len(notices) == 6 }); err != nil {
		t.Fatalf("not all notices came back\n%s", w.a.Trouble())
	}
	takenOver(t, w.a)
}

// A message that was dropped while the engine was about to end is not left behind.
func TestDropAtTheEndOfAnEngine(t *testing.T) {
	w := newWorld(t, nil)
	makeSpool(t, w.a)
	submit(t, w.a, 0, "Subject: first\n\n", "bob")
	n := 1
	for _, pause := range []time.Duration{230, 240, 245, 250, 255, 260, 270, 280} {
		submit(t, w.a, 0, "Subject: next\n\n", "bob")
		time.Sleep(pause * time.Millisecond)
		submit(t, w.a, 0, "Subject: next\n\n", "bob")
		n += 2
	}
	if err := testsite.Wait(soon(t), func() bool { all, _ := w.a.Mailbox("bob"); return len(all) == n }); err != nil {
		t.Fatal(w.a.Trouble())
	}
	takenOver(t, w.a)
}

// Rules that became wrong: the message is safe, and a queue run delivers it when they are mended.
func TestDropWithWrongRules(t *testing.T) {
	w := newWorld(t, nil)
	makeSpool(t, w.a)
	text, err := os.ReadFile(w.a.Rules)
	if err != nil {
		t.Fatal(err)
	}
	submit(t, w.a, 0, "Subject: first\n\n", "bob")
	put(t, w.a.Rules, string(text)+"\nno such statement\n")
	submit(t, w.a, 0, "Subject: second.\n\n", "bob")
	submit(t, w.a, 0, "Subject: third.\n\n", "x@sink.test")
	put(t, w.a.Rules, string(text))
	if err := testsite.Wait(soon(t), func() bool {
		lock, _ := spool.TryTaking(filepath.Join(w.a.Dir, "spool"))
		if lock != nil {
			lock.Close()
		}
		return lock != nil
	}); err != nil {
		t.Fatal("an engine does not end")
	}
	if r, err := w.a.Waybill("queue", "-C", w.a.Rules, "run"); err != nil || r.Exit != 0 {
		t.Fatal(r, err)
	}
	mailbox(t, w.a, "bob", "Subject: second.")
	atSink(t, w, "x@sink.test")
	takenOver(t, w.a)
}
