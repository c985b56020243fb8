package testsite_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"waybill/cmd/internal/testsite"
)

// talk is a conversation with an SMTP server.
type talk struct {
	t  *testing.T
	c  net.Conn
	br *bufio.Reader
}

// dialFrom connects from a loopback address: who comes from 127.0.0.1 has no limits.
func dialFrom(t *testing.T, from, network, to string) *talk {
	t.Helper()
	d := net.Dialer{Timeout: 30 * time.Second}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := d.Dial(network, to)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	t.Cleanup(func() { c.Close() })
	return &talk{t, c, bufio.NewReader(c)}
}

// say sends a line, unless it is empty, and wants a reply that begins so. It returns the reply.
func (k *talk) say(line, want string) string {
	k.t.Helper()
	if line != "" {
		if _, err := k.c.Write([]byte(line + "\r\n")); err != nil {
			k.t.Fatalf("%s: %v", line, err)
		}
	}
	var reply strings.Builder
	for {
		l, err := k.br.ReadString('\n')
		reply.WriteString(l)
		if err != nil {
			k.t.Fatalf("%s: %q, %v", line, reply.String(), err)
		}
		if len(l) > 3 && l[3] == ' ' {
			break
		}
	}
	if !strings.HasPrefix(reply.String(), want) {
		k.t.Errorf("%s: got %q, want %s", line, reply.String(), want)
	}
	return reply.String()
}

func (k *talk) tls() {
	k.t.Helper()
	c := tls.Client(k.c, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		k.t.Fatal(err)
	}
	k.c, k.br = c, bufio.NewReader(c)
}

func plain(user, password string) string {
	return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password))
}

const makeCert = `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=a.example.test -addext subjectAltName=DNS:a.example.test -keyout key.pem -out cert.pem 2>/dev/null; chmod 600 key.pem`

// freePort is a port of 127.0.0.2 that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestSubmission hands mail in on port 587 and 465, as a mail program would.
func TestSubmission(t *testing.T) {
	needs(t, "openssl")
	plainPort, tlsPort := freePort(t), freePort(t)
	w := newWorld(t, func(a, _ *testsite.Options) {
		a.Settings = strings.NewReplacer("DIR", a.Dir, "PORT1", plainPort, "PORT2", tlsPort).Replace(
			"set retry 1s\nset passwords DIR/passwords\nset tls-cert DIR/cert.pem\nset tls-key DIR/key.pem\nset listen-submission PORT1\nset listen-submissions PORT2\n")
		a.Rules = "accept rcpt { auth ok }\n"
	})
	sh(t, w.a, w.a.Dir, makeCert)
	file := filepath.Join(w.a.Dir, "passwords")
	if r, err := w.a.Command(strings.NewReader("secret\n"), "waybill", "password", "-f", file, "alice"); err != nil || r.Exit != 0 {
		t.Fatal(r, err)
	}
	start(t, w.a)
	message := func(k *talk) {
		k.say("MAIL FROM:<alice>", "250")
		k.say("RCPT TO:<x@host>", "554 5.1.2")
		k.say("RCPT TO:<x@sink.test>", "250")
		k.say("DATA", "354")
		k.say("Subject: hi\r\n\r\nhello\r\n.", "250")
		k.say("QUIT", "221")
	}
	k := dialFrom(t, "127.0.0.9", "tcp", plainPort)
	k.say("", "220")
	k.say("EHLO c.test", "250")
	k.say("MAIL FROM:<alice@a.example.test>", "530 5.7.0")
	k.say("STARTTLS", "220")
	k.tls()
	k.say("EHLO c.test", "250")
	k.say("MAIL FROM:<alice@a.example.test>", "530 5.7.0")
	k.say(plain("alice", "secret"), "235")
	message(k)

	k = dialFrom(t, "127.0.0.9", "tcp", tlsPort)
	k.tls()
	k.say("", "220")
	k.say("EHLO c.test", "250")
	k.say(plain("alice", "wrong"), "535")
	k.say(plain("alice", "secret"), "235")
	message(k)

	waitFor(t, "both messages at the sink", func() bool { return len(w.sink.For("x@sink.test")) == 2 })
	got := w.sink.For("x@sink.test")[0]
	for _, want := range []string{"\nDate: ", "\nMessage-Id: <", "From: alice@a.example.test", "with ESMTPSA"} { // RFC 6409 8
		if !strings.Contains(string(got.Data), want) {
			t.Errorf("%q is not in the message:\n%s", want, got.Data)
		}
	}
	if !strings.HasPrefix(got.From, "<alice@a.example.test>") { // RFC 6409 6.2
		t.Errorf("sender %q", got.From)
	}
}

// TestLMTPListener gives mail to the daemon by LMTP on a Unix socket.
func TestLMTPListener(t *testing.T) {
	var socket string
	w := newWorld(t, func(a, _ *testsite.Options) {
		socket = filepath.Join(a.Dir, "lmtp.sock")
		a.Settings = "set retry 1s\nset listen-lmtp " + socket + "\n"
	})
	start(t, w.a)
	k := dialFrom(t, "", "unix", socket)
	k.say("", "220")
	k.say("EHLO c.test", "500")
	k.say("LHLO c.test", "250")
	k.say("MAIL FROM:<x@sink.test>", "250")
	k.say("RCPT TO:<alice@a.example.test>", "250")
	k.say("RCPT TO:<nosuch@a.example.test>", "550 5.1.1")
	k.say("RCPT TO:<bob@a.example.test>", "250")
	k.say("DATA", "354")
	k.say("Subject: hi\r\n\r\nhello\r\n.", "250")
	k.say("", "250") // RFC 2033 4.2: one for each recipient
	k.say("QUIT", "221")
	for _, user := range []string{"alice", "bob"} {
		waitFor(t, user+"'s mail", func() bool {
			text, _ := os.ReadFile(filepath.Join(w.a.Dir, "mail", user))
			return bytes.Contains(text, []byte("with LMTP"))
		})
	}
}

// TestLimitsAreSettings sets what a client may do, and does more.
func TestLimitsAreSettings(t *testing.T) {
	w := newWorld(t, func(a, _ *testsite.Options) {
		a.Settings = `set retry 1s
set greet-pause 1s
set client-rate 6
set client-connections 2
set client-messages 2
set bad-recipients 1
set bad-recipient-delay 1s
set session-messages 100
set xclient 127.0.0.77
set proxy 127.0.0.78
set vrfy yes
set expn yes
set etrn no
set bare replace
`
		a.Aliases = "team: alice, bob\n"
	})
	start(t, w.a)
	from := func(addr string) *talk { return dialFrom(t, addr, "tcp", w.a.Addr) }

	for try := 0; ; try++ { // RFC 5321 3.1: a client waits for the greeting
		began := time.Now()
		k := from(fmt.Sprintf("127.0.0.%d", 100+try))
		k.c.Write([]byte("EHLO early.test\r\n"))
		if late := time.Since(began) > 900*time.Millisecond; late && try < 30 { // a busy machine: it was not early
			continue
		}
		k.say("", "554 5.5.1")
		break
	}

	k := from("127.0.0.11")
	began := time.Now()
	k.say("", "220")
	if time.Since(began) < 900*time.Millisecond {
		t.Error("no pause before the greeting")
	}
	hello := k.say("EHLO c.test", "250")
	for _, word := range []string{"EXPN", "SMTPUTF8", "DELIVERBY", "CHUNKING", "BINARYMIME", "DSN", "LIMITS MAILMAX=100 RCPTMAX=1000"} {
		if !strings.Contains(hello, word) {
			t.Errorf("no %s in %q", word, hello)
		}
	}
	if strings.Contains(hello, "ETRN") || strings.Contains(hello, "XCLIENT") {
		t.Errorf("offered all the same: %q", hello)
	}
	k.say("ETRN a.example.test", "502")
	k.say("XCLIENT ADDR=10.0.0.1", "502")
	k.say("VRFY alice", "250 2.1.5 Alice Example <alice@a.example.test>")
	k.say("VRFY nosuch", "550 5.1.1")
	if list := k.say("EXPN team", "250-2.1.5"); !strings.Contains(list, "alice@") || !strings.Contains(list, "bob@") {
		t.Errorf("EXPN: %q", list)
	}
	k.say("MAIL FROM:<x@sink.test>", "250")
	k.say("RCPT TO:<no1@a.example.test>", "550")
	began = time.Now()
	k.say("RCPT TO:<no2@a.example.test>", "550")
	if time.Since(began) < 900*time.Millisecond {
		t.Error("guessing is not slowed down")
	}
	k.say("RCPT TO:<alice@a.example.test>", "250")
	k.say("DATA", "354")
	k.say("Subject: bare\r\n\r\none\ntwo\rthree\r\n.", "250")
	waitFor(t, "the message with blanks", func() bool {
		text, _ := os.ReadFile(filepath.Join(w.a.Dir, "mail", "alice"))
		return bytes.Contains(text, []byte("one two three\n"))
	})
	k.say("MAIL FROM:<x@sink.test>", "250")
	k.say("RSET", "250")
	k.say("MAIL FROM:<x@sink.test>", "450 4.7.1")
	from("127.0.0.11").say("", "220")
	from("127.0.0.11").say("", "421 4.7.0")
	k.say("QUIT", "221")
	for i := 0; i < 3; i++ {
		dialFrom(t, "127.0.0.11", "tcp", w.a.Addr).c.Close()
	}
	from("127.0.0.11").say("", "421 4.7.0 a.example.test has had too many connections")

	k = from("127.0.0.77") // a filter speaks for another client, who may not relay
	k.say("", "220")
	k.say("EHLO filter.test", "250")
	k.say("XCLIENT NAME=evil.test ADDR=192.0.2.66", "220")
	k.say("EHLO evil.test", "250")
	k.say("MAIL FROM:<x@sink.test>", "250")
	k.say("RCPT TO:<x@sink.test>", "550 5.7.1 <x@sink.test>... Relaying denied")
	k.say("QUIT", "221")

	k = from("127.0.0.78")
	k.c.Write([]byte("PROXY TCP4 192.0.2.67 192.0.2.1 5555 25\r\n"))
	k.say("", "220")
	k.say("EHLO c.test", "250")
	k.say("MAIL FROM:<x@sink.test>", "250")
	k.say("RCPT TO:<x@sink.test>", "550 5.7.1")
	k.say("RCPT TO:<alice@a.example.test>", "250")
	k.say("DATA", "354")
	k.say("Subject: proxied\r\n\r\n.", "250")
	waitFor(t, "the client's true address in Received", func() bool {
		text, _ := os.ReadFile(filepath.Join(w.a.Dir, "mail", "alice"))
		return bytes.Contains(text, []byte("[192.0.2.67]"))
	})
}

// TestInternationalMail brings a message with addresses outside of ASCII to a mailbox, a program and a next hop that
// cannot take it (RFC 6531).
func TestInternationalMail(t *testing.T) {
	w := newWorld(t, func(a, _ *testsite.Options) {
		a.Settings = "set retry 1s\n"
		a.Users = []string{"root", "alice", "jörg"}
		a.Aliases = "prögramm: \"|tee " + filepath.Join(a.Dir, "program") + "\"\n"
	})
	start(t, w.a)
	k := dialFrom(t, "127.0.0.1", "tcp", w.a.Addr)
	k.say("", "220")
	k.say("EHLO c.test", "250")
	k.say("MAIL FROM:<grüße@sink.test>", "553 5.6.7")
	k.say("MAIL FROM:<grüße@sink.test> SMTPUTF8", "250")
	k.say("RCPT TO:<jörg@a.example.test>", "250")
	k.say("RCPT TO:<prögramm@a.example.test>", "250")
	k.say("RCPT TO:<päul@sink.test>", "250")
	k.say("DATA", "354")
	k.say("Subject: Grüße\r\nFrom: <grüße@sink.test>\r\n\r\nhallo\r\n.", "250")
	waitFor(t, "jörg's mail", func() bool {
		text, _ := os.ReadFile(filepath.Join(w.a.Dir, "mail", "jörg"))
		return bytes.Contains(text, []byte("Subject: Grüße\n")) && bytes.Contains(text, []byte("with UTF8SMTP"))
	})
	waitFor(t, "the program's copy", func() bool {
		text, _ := os.ReadFile(filepath.Join(w.a.Dir, "program"))
		return bytes.Contains(text, []byte("Subject: Grüße\n")) && bytes.Contains(text, []byte("From: <grüße@sink.test>\n")) && bytes.HasSuffix(text, []byte("hallo\n"))
	})
	waitFor(t, "the failure in the log", func() bool { // the sink has no SMTPUTF8: returned, never mangled (RFC 6531 3.2)
		text, _ := os.ReadFile(w.a.LogFile)
		return bytes.Contains(text, []byte("dsn=5.6.7"))
	})
	if got := w.sink.For("päul@sink.test"); len(got) != 0 {
		t.Errorf("it was sent: %q", got[0].Data)
	}
}

// TestDeliverBy sends mail that must be delivered within a time (RFC 2852).
func TestDeliverBy(t *testing.T) {
	w := newWorld(t, func(a, _ *testsite.Options) { a.Settings = "set retry 1s\n" })
	start(t, w.a)
	k := dialFrom(t, "127.0.0.1", "tcp", w.a.Addr)
	k.say("", "220")
	k.say("EHLO c.test", "250")
	send := func(by, to string) {
		k.say("MAIL FROM:<alice@a.example.test> BY="+by, "250")
		k.say("RCPT TO:<"+to+">", "250")
		k.say("DATA", "354")
		k.say("Subject: by "+by+"\r\n\r\n.", "250")
	}
	mailbox := func(want string) func() bool {
		return func() bool {
			text, _ := os.ReadFile(filepath.Join(w.a.Dir, "mail", "alice"))
			return bytes.Contains(text, []byte(want))
		}
	}
	send("100;R", "x@sink.test") // the sink does not know DELIVERBY
	waitFor(t, "the message back", mailbox("Status: 5.3.3"))
	send("2;R", "x@dead.test") // nobody listens there
	waitFor(t, "the message back when its time is over", mailbox("Status: 5.4.7"))
	send("2;N", "y@dead.test")
	waitFor(t, "a notice of the delay", mailbox("Action: delayed"))
	if got := w.sink.For("x@sink.test"); len(got) != 0 {
		t.Errorf("it was sent: %q", got[0].Data)
	}
}

// TestSocketActivation starts the daemon with a socket that is open already, as systemd does.
func TestSocketActivation(t *testing.T) {
	w := newWorld(t, nil)
	l, err := net.Listen("tcp", w.a.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	other, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	c := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=first:lmtp exec "$0" serve -C "$1"`, filepath.Join(bin, "waybill"), w.a.Rules)
	for _, l := range []net.Listener{l, other} {
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c.ExtraFiles = append(c.ExtraFiles, f)
	}
	var errs bytes.Buffer
	c.Stderr = &errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	k := dialFrom(t, "", "tcp", w.a.Addr) // the kernel takes it, whether or not the daemon is up
	k.say("", "220 a.example.test ESMTP")
	k.say("EHLO c.test", "250")
	m := dialFrom(t, "", "tcp", other.Addr().String())
	m.say("", "220 a.example.test LMTP")
	k.say("MAIL FROM:<x@sink.test>", "250")
	k.say("RCPT TO:<alice@a.example.test>", "250")
	k.say("DATA", "354")

	// A stop waits for the transaction; who has none is told to go.
	c.Process.Signal(syscall.SIGTERM)
	m.say("", "421 4.3.2")
	k.say("Subject: last\r\n\r\n.", "250")
	k.say("", "421 4.3.2")
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("%v\n%s", err, errs.String())
		}
	case <-time.After(2 * time.Minute):
		c.Process.Kill()
		t.Error("the daemon does not stop")
	}
	if list, err := w.a.Waybill("queue", "-C", w.a.Rules, "list"); err != nil || list.Exit != 0 {
		t.Error(list, err)
	}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := testsite.Wait(ctx, done); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
