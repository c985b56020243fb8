package testsite_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill/cmd/internal/testsite"
)

// A daemon that is killed leaves mail in its log; the next one takes it over whatever its layout is, "waybill queue"
// sees it in between, and a second daemon refuses.
func TestLayoutOfTheQueueChanges(t *testing.T) {
	if err := build(); err != nil {
		t.Fatal(err)
	}
	addrs, port, err := testsite.Ports(1)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "site")
	s, err := testsite.Layout(testsite.Options{
		Bin: bin, Dir: dir, Host: "here.example", Addr: fmt.Sprintf("%s:%d", addrs[0], port), SMTPPort: port,
		Settings: "set retry 1s\nset queue log\n", Rules: "send {\n\totherwise queue\n}\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	inQueue := func() int {
		names, _ := filepath.Glob(filepath.Join(dir, "spool/queue/*"))
		return len(names)
	}
	start := func(layout string) {
		t.Helper()
		text, err := os.ReadFile(s.Rules)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range []string{"log", "files"} {
			text = []byte(strings.ReplaceAll(string(text), "set queue "+l+"\n", "set queue "+layout+"\n"))
		}
		put(t, s.Rules, string(text))
		if err := s.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	submit := func(subject string) {
		t.Helper()
		if r, err := s.Sendmail(strings.NewReader("Subject: "+subject+"\n\nx\n"), "-C", s.Rules, "bob"); err != nil || r.Exit != 0 {
			t.Fatalf("%v %+v", err, r)
		}
	}
	listed := func(want int) {
		t.Helper()
		r, err := s.Waybill("queue", "-C", s.Rules, "list")
		if err != nil || strings.Count(r.Out, " bob\n") != want {
			t.Errorf("%d are to be listed: %v %+v", want, err, r)
		}
	}
	began := time.Now()
	young := func() bool { return time.Since(began) < 8*time.Second } // after ten, what waits becomes a file
	start("log")
	defer s.Kill()
	submit("one")
	if n := inQueue(); n != 0 && young() {
		t.Fatalf("%d files at once: the log does not work", n)
	}
	listed(1)
	if r, err := s.Waybill("serve", "-C", s.Rules); err != nil || r.Exit == 0 {
		t.Errorf("a second daemon: %v %+v", err, r)
	}
	s.Kill()
	start("log")
	submit("two")
	listed(2)
	if n := inQueue(); n != 0 && young() {
		t.Errorf("a restart with the log made %d files", n)
	}
	s.Kill()
	listed(2) // without a daemon, which makes files of what the dead one had
	if n := inQueue(); n != 2 {
		t.Errorf("%d files", n)
	}
	start("log")
	submit("three")
	s.Kill()
	start("files")
	if n := inQueue(); n != 3 {
		t.Errorf("%d files after the change to files", n)
	}
	submit("four")
	if n := inQueue(); n != 4 {
		t.Errorf("%d files in the layout of files", n)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	start("log")
	submit("five")
	if r, err := s.Waybill("queue", "-C", s.Rules, "run"); err != nil || r.Exit != 0 {
		t.Errorf("%v %+v", err, r)
	}
	for _, subject := range []string{"one", "two", "three", "four", "five"} {
		if _, err := s.WaitMailbox(ctx, "bob", "Subject: "+subject); err != nil {
			t.Errorf("%s: %v", subject, err)
		}
	}
	if got, err := s.Mailbox("bob"); err != nil || len(got) != 5 {
		t.Errorf("%d messages, %v", len(got), err)
	}
}
