package maillog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"waybill/queue"
	"waybill/queue/dsn"
	"waybill/transport"
	"waybill/transport/envelope"
)

// prefix is what stands in front of each line: time, host, tag, process id.
var prefix = regexp.MustCompile(`(?m)^[A-Z][a-z]{2} [ 123][0-9] [0-9:]{8} mail sendmail\[[0-9]+\]: `)

func newLog(w io.Writer) *Log {
	return logTo(&stream{w: w, opt: Options{Tag: "sendmail", Host: "mail"}}, Options{})
}

func status(o transport.Outcome, code, text, remote, reply string) transport.Status {
	s := transport.NewStatus(o, code, text)
	s.Remote, s.Reply = remote, reply
	return s
}

func TestGolden(t *testing.T) {
	var out bytes.Buffer
	l := newLog(&out)
	smtp := envelope.Origin{Protocol: "ESMTP", ClientName: "client.example.net", ClientAddr: "192.0.2.7", UID: -1}
	local := envelope.Origin{Protocol: "local", User: "root"}
	bob := envelope.Recipient{Addr: "bob@example.org"}

	l.From(From{Envelope: &envelope.Envelope{ID: "6ALMsB01", Sender: "alice@example.net", Recipients: []envelope.Recipient{bob, bob}, BodyType: envelope.Body8BitMIME, Origin: smtp},
		Size: 1234, MessageID: "<1@example.net>", Daemon: "MTA"})
	l.From(From{Envelope: &envelope.Envelope{ID: "6ALMsB02", Recipients: []envelope.Recipient{bob}, Origin: local}, Size: 10, Class: -60})
	l.Accepted(queue.Accepted{ID: "6ALMsB03", Envelope: &envelope.Envelope{Sender: "root", Recipients: []envelope.Recipient{bob}, Origin: local}, Size: 99, MessageID: "<2@mail.example.org>"})
	l.From(From{Envelope: &envelope.Envelope{ID: "6ALMsB04", Sender: "a\r\nb\x1b[2J\u202e\x85\xff", Origin: envelope.Origin{Protocol: "SMTP", ClientName: "[192.0.2.9]", ClientAddr: "192.0.2.9"}}, MessageID: "<x\n6ALMsB01: to=<root>, stat=Sent>"})

	to := func(control, mailer, relay string, s transport.Status, recipients ...string) {
		l.To(To{ID: "6ALMsB01", Recipients: recipients, Control: control, Delay: 65 * time.Second, XDelay: 1500 * time.Millisecond, Mailer: mailer, Priority: 31234, Relay: relay, Status: s})
	}
	mx := "mx.example.org. [192.0.2.1]"
	to("", "esmtp", "", status(transport.Relayed, "2.0.0", "ok", mx, "250 2.0.0 Ok: queued as 4F1"), "bob@example.org", "carol@example.org")
	to("", "esmtp", "example.org", status(transport.Deferred, "4.4.1", "Connection refused by mx.example.org.", "", ""), "bob@example.org")
	to("", "esmtp", "", status(transport.Deferred, "4.7.1", "451 4.7.1 greylisted", mx, "451 4.7.1 greylisted"), "bob@example.org")
	to("", "esmtp", "", status(transport.Failed, "5.1.1", "no such user", mx, "550 5.1.1 <bob@example.org>: unknown"), "bob@example.org")
	to("", "esmtp", "", status(transport.Failed, "5.1.2", "Name server: host not found", "", ""), "bob@example.org")
	to("", "local", "", status(transport.Failed, "5.1.1", "User unknown", "", ""), "bob")
	to("", "local", "", status(transport.Failed, "5.2.2", "mailbox is full", "", ""), "bob")
	to("<robot@example.org> (daemon)", "prog", "", status(transport.Delivered, "2.0.0", "ok", "", ""), "|/usr/bin/robot -x")
	to("", "*file*", "", status(transport.Delivered, "2.0.0", "ok", "", ""), "/var/mail/archive")
	to("", "", "", status(transport.Discarded, "2.0.0", "a rule said so", "", ""), "bob")
	to("", "local", "", transport.Status{}, "bob")
	l.To(To{ID: "6ALMsB01", Recipients: []string{"bob"}, Delay: 26*time.Hour + time.Minute, Status: transport.Status{}})

	l.Tried(queue.Tried{ID: "6ALMsB05", To: "|/bin/x", Orig: bob, As: "bob", Mailer: "prog", Priority: 100, Status: status(transport.Delivered, "2.0.0", "ok", "", "")})
	l.Tried(queue.Tried{ID: "6ALMsB05", To: "bob@example.org", Orig: bob, Mailer: "local", Expanded: true, Status: status(transport.Delivered, "2.0.0", "expanded", "", "")})
	l.Noticed(queue.Noticed{ID: "6ALMsB01", New: "6ALMsB09", Kind: dsn.Failure, Cause: "User unknown"})
	l.Noticed(queue.Noticed{ID: "6ALMsB01", New: "6ALMsB10", Kind: dsn.Delay, Cause: "could not send message for past 4 hours"})
	l.Noticed(queue.Noticed{ID: "6ALMsB01", Kind: dsn.Double, Cause: "User unknown"})
	l.Removed(queue.Removed{ID: "6ALMsB01", By: "root"})
	l.Reject(Reject{Ruleset: "check_rcpt", Arg: "<x@example.com>", Relay: Relay(smtp), Text: "550 5.7.1 <x@example.com>... Relaying denied"})
	l.Line("6ALMsB01", "lost input channel")

	log := slog.New(l.Handler(slog.LevelInfo)).With("id", "6ALMsB01")
	log.Debug("not shown")
	log.Info("rules reloaded", "file", "/etc/waybill/waybill.rules")
	log.WithGroup("dns").Warn("no answer", "name", "a b", slog.Group("q", "type", "MX"), "err", errors.New("timeout\nx"))
	slog.New(l.Handler(slog.LevelInfo)).Error("the spool is full")

	if got, want := len(prefix.FindAllString(out.String(), -1)), strings.Count(out.String(), "\n"); got != want {
		t.Errorf("%d of %d lines have the prefix", got, want)
	}
	got := prefix.ReplaceAllString(out.String(), "")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile("testdata/lines.log", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/lines.log")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Error(d)
	}
}

func TestManyRecipientsTakeSeveralLines(t *testing.T) {
	var out bytes.Buffer
	var all []string
	for i := range 200 {
		all = append(all, fmt.Sprintf("user%d@example.org", i))
	}
	newLog(&out).To(To{ID: "X", Recipients: all})
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) < 5 {
		t.Errorf("%d lines", len(lines))
	}
	for _, l := range lines {
		if len(l) > 900 || !strings.HasSuffix(l, "dsn=4.3.0, stat=Deferred: no status was given") {
			t.Errorf("line of %d octets: %s", len(l), l)
		}
	}
	for _, r := range all {
		if strings.Count(out.String(), "<"+r+">") != 1 {
			t.Errorf("%s is not logged once", r)
		}
	}
}

func TestFileIsReopened(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "mail.log")
	l, err := Open(file, Options{Tag: "t", Host: "mail.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 50 {
				l.Line("A", strings.Repeat("x", 100))
			}
		})
	}
	wait.Wait()
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	l.Line("A", "last")
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Line("B", "first")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l.Line("B", "after the end")
	old, _ := os.ReadFile(file + ".1")
	recent, _ := os.ReadFile(file)
	whole := regexp.MustCompile(`(?m)^[A-Z][a-z]{2} [ 123][0-9] [0-9:]{8} mail t\[[0-9]+\]: A: (x{100}|last)$`)
	if got := len(whole.FindAll(old, -1)); got != 201 || bytes.Count(old, []byte("\n")) != 201 {
		t.Errorf("%d whole lines in the old file", got)
	}
	if bytes.Count(recent, []byte("\n")) != 1 || !bytes.HasSuffix(recent, []byte("B: first\n")) {
		t.Errorf("the new file holds %q", recent)
	}
	if _, err := Open(filepath.Join(dir, "missing", "mail.log"), Options{}); err == nil {
		t.Error("a log in a directory that does not exist")
	}
}

func listen(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func receive(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	buf := make([]byte, 8192)
	c.SetReadDeadline(time.Now().Add(time.Minute))
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestSyslog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	s := &syslog{path: path, opt: Options{Tag: "sendmail"}}
	l := logTo(s, Options{})
	l.Line("A", "nobody listens yet") // must not block, and is not lost
	server := listen(t, path)
	s.retry = time.Time{}
	l.Line("A", "two")
	form := regexp.MustCompile(`^<22>[A-Z][a-z]{2} [ 123][0-9] [0-9:]{8} sendmail\[[0-9]+\]: A: (.*)$`)
	for _, want := range []string{"nobody listens yet", "two"} {
		if got := form.FindStringSubmatch(receive(t, server)); got == nil || got[1] != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	slog.New(l.Handler(slog.LevelInfo)).Error("bad")
	if got := receive(t, server); !strings.HasPrefix(got, "<19>") {
		t.Errorf("an error came as %q", got)
	}

	server.Close() // the system's log is restarted
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	l.Line("A", "while it is away")
	server = listen(t, path)
	s.retry = time.Time{}
	l.Line("A", "again")
	for _, want := range []string{"while it is away", "again"} {
		if got := form.FindStringSubmatch(receive(t, server)); got == nil || got[1] != want {
			t.Errorf("after a restart: got %q, want %q", got, want)
		}
	}

	done := make(chan struct{})
	go func() { // a log that does not read must not stop mail
		for i := range 3 * maxBacklog {
			l.Line("A", fmt.Sprint("flood ", i))
		}
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("writing blocks")
	}
	if s.lost == 0 || len(s.backlog) != maxBacklog {
		t.Errorf("%d lines lost, %d kept", s.lost, len(s.backlog))
	}
	lost := s.lost
	for range 5 {
		receive(t, server)
	}
	l.Line("A", "more")
	for range 3 * maxBacklog {
		if got := receive(t, server); strings.HasSuffix(got, fmt.Sprintf(": %d log lines were lost", lost+1)) || strings.HasSuffix(got, fmt.Sprintf(": %d log lines were lost", lost)) {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			return
		}
	}
	t.Error("the loss was not reported")
}

// FuzzLine holds that a line is one line of printable text, whatever is in it.
func FuzzLine(f *testing.F) {
	f.Add("id", "a\nb", "\x1b[2J", "550 x\r\n y")
	f.Add("\x00", "\u2028", "|\xff\xfe", "\u009b31m")
	f.Fuzz(func(t *testing.T, id, from, to, reply string) {
		var out bytes.Buffer
		l := newLog(&out)
		l.From(From{Envelope: &envelope.Envelope{ID: id, Sender: envelope.Address(from)}, MessageID: reply})
		l.To(To{ID: id, Recipients: []string{to}, Status: status(transport.Failed, "5.1.1", "x"+reply, to, reply)})
		lines := strings.Split(out.String(), "\n")
		if len(lines) != 3 || lines[2] != "" {
			t.Fatalf("%q", out.String())
		}
		for _, line := range lines[:2] {
			if strings.ToValidUTF8(line, "") != line || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }) {
				t.Fatalf("%q", line)
			}
		}
	})
}
