package testsite_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill/cmd/internal/testsite"
)

var bin = filepath.Join(os.TempDir(), fmt.Sprintf("waybill-bin-%d", os.Getpid())) // for the built commands

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(bin)
	os.Exit(code)
}

// build builds the commands once, as they are shipped: without cgo, and without the race detector.
var build = sync.OnceValue(func() error {
	c := exec.Command("go", "build", "-o", bin+"/", "waybill/cmd/waybill", "waybill/cmd/sendmail")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("building the commands: %w\n%s", err, out)
	}
	return nil
})

// world is two sites, a and b, that know each other by DNS, and a foreign host that records what it gets.
type world struct {
	a, b  *testsite.Site
	sink  *testsite.Sink
	addrs []string
	port  int
	dns   string
}

// newWorld lays it out; nothing runs but DNS and sink. change may alter what the sites are made of.
func newWorld(t *testing.T, change func(a, b *testsite.Options)) *world {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	addrs, port, err := testsite.Ports(3)
	if err != nil {
		t.Fatal(err)
	}
	at := func(i int) string { return fmt.Sprintf("%s:%d", addrs[i], port) }
	dns, stop, err := testsite.ServeDNS(fmt.Sprintf(`
sink.test.           MX 10 mx.sink.test.
mx.sink.test.        A  %s
a.example.test.      MX 10 a.example.test.
a.example.test.      A  %s
b.example.test.      MX 10 b.example.test.
b.example.test.      A  %s
nomail.test.         MX 0 .
dead.test.           A  127.0.0.99
`, addrs[0], addrs[1], addrs[2]))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	sink, err := testsite.StartSink(at(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sink.Close)
	dir := workDir(t)
	a := testsite.Options{Bin: bin, Dir: filepath.Join(dir, "a"), Host: "a.example.test", Addr: at(1), Resolver: dns, SMTPPort: port}
	b := testsite.Options{Bin: bin, Dir: filepath.Join(dir, "b"), Host: "b.example.test", Addr: at(2), Resolver: dns, SMTPPort: port}
	if change != nil {
		change(&a, &b)
	}
	w := &world{sink: sink, addrs: addrs, port: port, dns: dns}
	if w.a, err = testsite.Layout(a); err != nil {
		t.Fatal(err)
	}
	if w.b, err = testsite.Layout(b); err != nil {
		t.Fatal(err)
	}
	return w
}

// workDir is a temporary directory that stays when the test fails.
func workDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "waybill-site")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("kept:", dir)
			return
		}
		os.RemoveAll(dir)
	})
	return dir
}

func start(t *testing.T, sites ...*testsite.Site) {
	t.Helper()
	for _, s := range sites {
		if err := s.Start(soon(t)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// soon is a context for waiting: a minute, because the machine may be busy.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// submit runs sendmail and checks its exit status.
func submit(t *testing.T, s *testsite.Site, exit int, message string, args ...string) testsite.Result {
	t.Helper()
	r, err := s.Sendmail(strings.NewReader(message), args...)
	if err != nil {
		t.Fatal(err)
	}
	if r.Exit != exit {
		t.Fatalf("sendmail %s: exit %d, want %d\n%s%s%s", strings.Join(args, " "), r.Exit, exit, r.Out, r.Err, s.Trouble())
	}
	return r
}

// makeSpool makes the spool of a site whose daemon never ran.
func makeSpool(t *testing.T, s *testsite.Site) {
	t.Helper()
	if r, err := s.Waybill("queue", "-C", s.Rules, "list"); err != nil || r.Exit != 0 {
		t.Fatalf("waybill queue list: %+v %v", r, err)
	}
}

func mailbox(t *testing.T, s *testsite.Site, user, text string) []byte {
	t.Helper()
	m, err := s.WaitMailbox(soon(t), user, text)
	if err != nil {
		t.Fatal(err)
	}
	return m.Data
}

// atSink waits for the one message for addr.
func atSink(t *testing.T, w *world, addr string) testsite.Delivery {
	t.Helper()
	if err := testsite.Wait(soon(t), func() bool { return len(w.sink.For(addr)) > 0 }); err != nil {
		t.Fatalf("nothing came for %s\n%s", addr, w.a.Trouble())
	}
	all := w.sink.For(addr)
	if len(all) != 1 {
		t.Fatalf("%d messages came for %s", len(all), addr)
	}
	return all[0]
}

func same(t *testing.T, sent string, got []byte, c testsite.Changes) {
	t.Helper()
	if err := testsite.Compare([]byte(sent), got, c); err != nil {
		t.Errorf("%v\nsent:\n%.3000s\narrived:\n%.3000s", err, sent, got)
	}
}

func contains(t *testing.T, text []byte, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

var inMailbox = testsite.Changes{Quoted: true}

func TestMailFlows(t *testing.T) {
	w := newWorld(t, func(a, _ *testsite.Options) { a.Aliases = "team: alice, bob@b.example.test\n" })
	start(t, w.a, w.b)

	t.Run("cron", func(t *testing.T) {
		sent := "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@a> /usr/local/bin/backup --all\nMIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n" +
			"Content-Transfer-Encoding: 8bit\nX-Cron-Env: <SHELL=/bin/sh>\nX-Cron-Env: <HOME=/root>\nX-Cron-Env: <PATH=/usr/bin:/bin>\n\nSicherung: 12 Dateien übertragen\n.\nFrom here on: nothing\n"
		submit(t, w.a, 0, sent, "-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root")
		same(t, sent, mailbox(t, w.a, "root", "Sicherung"), inMailbox)
	})
	t.Run("lines that mean something", func(t *testing.T) {
		sent := "To: carol@sink.test, bob\nSubject: lines\nFrom: alice@a.example.test\n\nFrom here\n.\n..\n.x\n>From quoted\n\nFrom behind an empty line\n.\n"
		submit(t, w.a, 0, sent, "-i", "-f", "alice@a.example.test", "carol@sink.test", "bob")
		d := atSink(t, w, "carol@sink.test")
		same(t, sent, testsite.LF(d.Data), testsite.Changes{})
		if !strings.HasPrefix(strings.TrimSpace(d.From), "<alice@a.example.test>") || bytes.Count(d.Data, []byte("\n")) != bytes.Count(d.Data, []byte("\r\n")) {
			t.Errorf("MAIL FROM:%s, bare LF in %q", d.From, d.Data)
		}
		same(t, sent, mailbox(t, w.a, "bob", "Subject: lines"), testsite.Changes{Quoted: true, Replaced: []string{"to"}})
	})
	t.Run("a lone dot ends it", func(t *testing.T) {
		submit(t, w.a, 0, "Subject: dot\n\nbefore\n.\nafter\n", "bob")
		if got := mailbox(t, w.a, "bob", "Subject: dot"); bytes.Contains(got, []byte("after")) {
			t.Errorf("what stood behind the dot arrived too:\n%s", got)
		}
	})
	t.Run("8 bit", func(t *testing.T) {
		sent := "To: utf8@sink.test\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nZwölf Boxkämpfer 🥊 jagen Viktor\n"
		submit(t, w.a, 0, sent, "-t", "-i", "-B8BITMIME")
		d := atSink(t, w, "utf8@sink.test")
		same(t, sent, testsite.LF(d.Data), testsite.Changes{})
		if !strings.Contains(d.From, "BODY=8BITMIME") {
			t.Errorf("MAIL FROM:%s does not declare 8BITMIME", d.From)
		}
	})
	t.Run("an alias of two", func(t *testing.T) {
		submit(t, w.a, 0, "Subject: for the team\nTo: team\n\nx\n", "team")
		mailbox(t, w.a, "alice", "for the team")
		mailbox(t, w.b, "bob", "for the team")
	})
	t.Run("two sites", func(t *testing.T) {
		sent := "From: alice@a.example.test\nTo: bob@b.example.test\nSubject: relayed\n\nhello\n"
		submit(t, w.a, 0, sent, "-t", "-f", "alice@a.example.test")
		got := mailbox(t, w.b, "bob", "Subject: relayed")
		same(t, sent, got, inMailbox)
		if n := bytes.Count(got, []byte("\nReceived: ")) + bytes.Count(got[:10], []byte("Received: ")); n != 2 {
			t.Errorf("%d Received fields, want 2:\n%s", n, got)
		}
		contains(t, got, "by a.example.test", "by b.example.test", "Return-Path: <alice@a.example.test>", "Message-Id: <", "Date: ")
	})
	t.Run("UUCP", func(t *testing.T) {
		sent := "To: host!user\nSubject: by telephone\n\nFrom here\n"
		submit(t, w.a, 0, sent, "-i", "host!user")
		var list testsite.Result
		if err := testsite.Wait(soon(t), func() bool { // what was delivered before may still be listed for a moment
			var err error
			list, err = w.a.Command(nil, "waybill", "queue", "-C", w.a.Rules, "list")
			return err == nil && strings.Contains(list.Out, "Total requests: 1\n") && strings.Contains(list.Out, "host!user")
		}); err != nil {
			t.Errorf("what goes by telephone must wait for a queue run; in the queue: %v", list)
		}
		if r, err := w.a.Sendmail(nil, "-q"); err != nil || r.Exit != 0 {
			t.Errorf("sendmail -q: %+v %v", r, err)
		}
		uucp(t, w.a, sent)
	})
	t.Run("no recipients", func(t *testing.T) {
		if r := submit(t, w.a, 64, "Subject: x\n\nx\n"); r.Out+r.Err == "" {
			t.Error("not a word about what is missing")
		}
	})
	t.Run("unknown user here", func(t *testing.T) {
		submit(t, w.a, 67, "Subject: typo\n\nx\n", "-oem", "-f", "alice", "nosuch")
		contains(t, mailbox(t, w.a, "alice", "typo"), "Final-Recipient: RFC822; nosuch@a.example.test", "Action: failed", "Status: 5.1.1",
			"From: Mail Delivery Subsystem <MAILER-DAEMON@a.example.test>", "Return-Path: <>\n", "There is no such user.")
	})
	t.Run("unknown user there", func(t *testing.T) {
		submit(t, w.a, 0, "Subject: typo there\n\nx\n", "-odb", "-f", "alice", "nosuch@b.example.test")
		contains(t, mailbox(t, w.a, "alice", "typo there"), "Final-Recipient: RFC822; nosuch@b.example.test", "Status: 5.1.1", "Remote-MTA: dns; b.example.test", "Diagnostic-Code: smtp; 550 5.1.1")
	})
	t.Run("unknown user there, waiting for it", func(t *testing.T) {
		submit(t, w.a, 67, "Subject: typo awaited\n\nx\n", "-odi", "-oem", "-f", "alice", "nosuch@b.example.test")
		mailbox(t, w.a, "alice", "typo awaited")
	})
	t.Run("no such domain", func(t *testing.T) {
		submit(t, w.a, 0, "Subject: no domain\n\nx\n", "-f", "alice", "bob@nosuch.test")
		contains(t, mailbox(t, w.a, "alice", "no domain"), "Final-Recipient: RFC822; bob@nosuch.test", "Action: failed", "Status: 5.1.2")
		submit(t, w.a, 68, "Subject: no domain, awaited\n\nx\n", "-odi", "-f", "alice", "bob@nosuch.test")
	})
	t.Run("a domain without mail", func(t *testing.T) {
		submit(t, w.a, 0, "Subject: null MX\n\nx\n", "-f", "alice", "bob@nomail.test")
		contains(t, mailbox(t, w.a, "alice", "null MX"), "Final-Recipient: RFC822; bob@nomail.test", "Status: 5.1.10")
	})
	t.Run("receipt", func(t *testing.T) {
		submit(t, w.a, 0, "Subject: please confirm\n\nx\n", "-Nsuccess", "-f", "alice", "bob")
		contains(t, mailbox(t, w.a, "alice", "please confirm"), "Subject: Return receipt", "Final-Recipient: RFC822; bob@a.example.test", "Action: delivered", "Status: 2.")
		submit(t, w.a, 0, "Subject: confirm from afar\n\nx\n", "-Nsuccess", "-f", "alice@a.example.test", "bob@b.example.test")
		contains(t, mailbox(t, w.a, "alice", "confirm from afar"), "Reporting-MTA: dns; b.example.test", "Action: delivered")
	})
	t.Run("a null sender gets no notice", func(t *testing.T) {
		submit(t, w.a, 0, "Subject: from nobody\n\nx\n", "-f", "<>", "bob@nosuch.test")
		if _, err := w.a.WaitLog(soon(t), `^to=<bob@nosuch\.test>.*stat=Host unknown`); err != nil {
			t.Fatal(err)
		}
	})
	for _, s := range []*testsite.Site{w.a, w.b} {
		if err := s.WaitEmpty(soon(t)); err != nil {
			t.Error(err)
		}
	}
}

// uucp checks the job of the last message to host!user: a C. file that names the other two, in the layout that Taylor
// UUCP reads, and a D. file with the message.
func uucp(t *testing.T, s *testsite.Site, sent string) {
	t.Helper()
	var control, execute, data []string
	find := func() bool {
		control, execute, data = nil, nil, nil
		filepath.Walk(filepath.Join(s.Dir, "uucp"), func(path string, info os.FileInfo, err error) error {
			if err != nil || info.IsDir() {
				return nil
			}
			text, _ := os.ReadFile(path)
			switch {
			case strings.HasPrefix(info.Name(), "C."):
				control = append(control, string(text))
			case strings.HasPrefix(info.Name(), "D.") && bytes.Contains(text, []byte("\nC rmail ")):
				execute = append(execute, string(text))
			case strings.HasPrefix(info.Name(), "D."):
				data = append(data, string(text))
			}
			return nil
		})
		return len(control) == 1 && len(execute) == 1 && len(data) == 1
	}
	if _, err := s.WaitLog(soon(t), `mailer=uucp`); err != nil {
		t.Fatal(err)
	}
	if err := testsite.Wait(soon(t), find); err != nil {
		t.Fatalf("UUCP spool: C. %q, X. %q, D. %q\n%s", control, execute, data, s.Trouble())
	}
	if !strings.Contains(execute[0], "\nC rmail user\n") || strings.Count(control[0], "S ") != 2 {
		t.Errorf("C. file:\n%s\nX. file:\n%s", control[0], execute[0])
	}
	from, message, _ := strings.Cut(data[0], "\n")
	if !strings.HasPrefix(from, "From ") || !strings.Contains(from, " remote from a") {
		t.Errorf("the message begins with %q", from)
	}
	same(t, sent, []byte(message), testsite.Changes{})
}
