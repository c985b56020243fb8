package smtpserver

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"waybill/transport/smtp"
)

// start runs a server on loopback.
func start(t testing.TB, cfg Config, b Backend) (*Server, net.Listener) {
	t.Helper()
	srv, err := New(cfg, b)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.Background(), ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; !errors.Is(err, ErrStopped) {
			t.Errorf("serve: %v", err)
		}
	})
	return srv, ln
}

type testConn struct {
	net.Conn
	t  testing.TB
	br *bufio.Reader
}

func dial(t testing.TB, ln net.Listener) *testConn {
	t.Helper()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(time.Minute))
	t.Cleanup(func() { nc.Close() })
	return &testConn{nc, t, bufio.NewReader(nc)}
}

func (c *testConn) expect(code int) *smtp.Reply {
	c.t.Helper()
	r, err := smtp.ReadReply(c.br)
	if err != nil {
		c.t.Fatalf("waiting for %d: %v", code, err)
	}
	if r.Code != code {
		c.t.Fatalf("got %v, want %d", r, code)
	}
	return r
}

func (c *testConn) cmd(code int, format string, args ...any) *smtp.Reply {
	c.t.Helper()
	fmt.Fprintf(c, format+"\r\n", args...)
	return c.expect(code)
}

func (c *testConn) closed() {
	c.t.Helper()
	if b, err := io.ReadAll(c.br); err != nil || len(b) > 0 {
		c.t.Errorf("the connection should be closed: %q, %v", b, err)
	}
}

func TestLimitsOfConnections(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxSessions, cfg.MaxSessionsPerClient = 4, 2
	srv, ln := start(t, cfg, &fakeBackend{})
	a, b := dial(t, ln), dial(t, ln)
	a.expect(220)
	b.expect(220)
	c := dial(t, ln)
	c.expect(421)
	c.closed()
	a.cmd(221, "QUIT")
	a.closed()
	a.Close()
	for range 6000 {
		if srv.Sessions() == 1 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	dial(t, ln).expect(220)
}

func TestTrustedClientsHaveNoLimits(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxSessionsPerClient, cfg.MaxErrors = 1, 1
	cfg.Trusted = func(a netip.Addr) bool { return a.IsLoopback() }
	_, ln := start(t, cfg, &fakeBackend{})
	for range 3 {
		c := dial(t, ln)
		c.expect(220)
		for range 5 {
			c.cmd(500, "BOGUS")
		}
	}
}

func TestLocalProgramsHaveNoLimits(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxErrors, cfg.GreetPause = 1, time.Hour
	srv, err := New(cfg, &fakeBackend{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := srv.ServeConn(t.Context(), script{strings.NewReader(strings.Repeat("BOGUS\r\n", 50) + "QUIT\r\n"), &out}, Client{}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(), "\r\n221 ") {
		t.Error(out.String())
	}
}

// The last reply must not be lost because the client had more to say.
func TestLastReplyArrives(t *testing.T) {
	_, ln := start(t, testConfig(t), &fakeBackend{})
	c := dial(t, ln)
	c.expect(220)
	go func() {
		io.WriteString(c, "GET / HTTP/1.1\r\n")
		c.Write(bytes.Repeat([]byte("Header: x\r\n"), 50000))
	}()
	c.expect(421)
	c.closed()
}

func TestShutdownFinishesTheTransaction(t *testing.T) {
	cfg := testConfig(t)
	b := &fakeBackend{hold: make(chan struct{}), started: make(chan struct{})}
	srv, err := New(cfg, b)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(context.Background(), ln)
	idle, busy := dial(t, ln), dial(t, ln)
	idle.expect(220)
	busy.expect(220)
	busy.cmd(250, "EHLO client.test")
	busy.cmd(250, "MAIL FROM:<a@example.org>")
	busy.cmd(250, "RCPT TO:<b@example.org>")
	busy.cmd(354, "DATA")
	<-b.started
	done := make(chan error)
	go func() { done <- srv.Shutdown(context.Background()) }()
	idle.expect(421)
	idle.closed()
	if _, err := net.DialTimeout("tcp", ln.Addr().String(), time.Second); err == nil {
		t.Error("the listener is still open")
	}
	fmt.Fprintf(busy, "the message\r\n.\r\n")
	close(b.hold)
	busy.expect(250)
	busy.expect(421)
	busy.closed()
	busy.Close()
	idle.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShutdownCutsWhatTakesTooLong(t *testing.T) {
	srv, err := New(testConfig(t), &fakeBackend{})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(context.Background(), ln)
	c := dial(t, ln)
	c.expect(220)
	c.cmd(250, "EHLO client.test")
	c.cmd(250, "MAIL FROM:<a@example.org>")
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

type panics struct{ fakeSession }

func (panics) NewSession(context.Context, *Client) (Session, *smtp.Reply) {
	return &panics{fakeSession{b: &fakeBackend{}}}, nil
}
func (*panics) Mail(context.Context, MailFrom) *smtp.Reply { panic("a mistake") }

func TestPanicEndsOneSession(t *testing.T) {
	cfg := testConfig(t)
	cfg.Log = slog.New(testLog{t: t, quiet: true})
	_, ln := start(t, cfg, panics{})
	c := dial(t, ln)
	c.expect(220)
	c.cmd(250, "EHLO client.test")
	fmt.Fprintf(c, "MAIL FROM:<>\r\n")
	c.closed()
	dial(t, ln).expect(220)
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []Config{
		{Log: slog.Default()}, {Hostname: "mx.test"}, {Hostname: "mx test", Log: slog.Default()},
		{Hostname: "mx.test", Log: slog.Default(), MaxRecipients: 50}, {Hostname: "mx.test", Log: slog.Default(), Greeting: "a\r\n220 b"},
	} {
		if _, err := New(cfg, &fakeBackend{}); err == nil {
			t.Errorf("%+v passed", cfg)
		}
	}
}

// endless yields n octets of a message without holding them.
type endless struct {
	head, line, tail string
	n                int
	r                io.Reader
}

func (e *endless) Read(p []byte) (int, error) {
	for {
		if e.r != nil {
			n, err := e.r.Read(p)
			if n > 0 || err == nil {
				return n, nil
			}
		}
		switch {
		case e.head != "":
			e.r, e.head = strings.NewReader(e.head), ""
		case e.n > 0:
			e.r = strings.NewReader(e.line)
			e.n -= len(e.line)
		case e.tail != "":
			e.r, e.tail = strings.NewReader(e.tail), ""
		default:
			return 0, io.EOF
		}
	}
}

// countSession reads with a buffer of its own and counts.
type countSession struct {
	fakeSession
	n   int64
	buf [32 << 10]byte
}

func (s *countSession) NewSession(context.Context, *Client) (Session, *smtp.Reply) { return s, nil }
func (s *countSession) Mail(context.Context, MailFrom) *smtp.Reply                 { return nil }
func (s *countSession) Rcpt(context.Context, RcptTo) *smtp.Reply                   { return nil }
func (s *countSession) Data(_ context.Context, body io.Reader) *smtp.Reply {
	for {
		n, err := body.Read(s.buf[:])
		s.n += int64(n)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return smtp.NewReply(451, "4.3.0", "no")
		}
	}
}

// Everything that is allocated while 50 MB pass through is less than the bound on one connection.
func TestMemoryDoesNotGrowWithTheMessage(t *testing.T) {
	for _, c := range []struct {
		name, line string
		size       int
	}{
		{"lines of 70", strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", 14), 50 << 20},
		{"one line", strings.Repeat("x", 1024), 5 << 20},
		{"empty lines", strings.Repeat("\r\n", 512), 5 << 20},
		{"dots", strings.Repeat("..\r\n", 256), 5 << 20},
	} {
		name, line := c.name, c.line
		s := &countSession{fakeSession: fakeSession{b: &fakeBackend{}}}
		srv, err := New(testConfig(t), s)
		if err != nil {
			t.Fatal(err)
		}
		least := int64(math.MaxInt64)
		for range 5 { // others of this process may allocate, too
			s.n = 0
			in := &endless{head: leadRcpt + "DATA\r\n", line: line, n: c.size, tail: "\r\n.\r\nQUIT\r\n"}
			var out bytes.Buffer
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			err = srv.ServeConn(t.Context(), script{in, &out}, testClient)
			runtime.ReadMemStats(&after)
			if err != nil || s.n < int64(c.size)/4 {
				t.Errorf("%s: a message of %d, %v", name, s.n, err)
			}
			if !strings.HasSuffix(out.String(), "250 2.0.0 message accepted\r\n221 2.0.0 mx.test closes the connection\r\n") {
				t.Errorf("%s: %q", name, out.String())
			}
			// strings.NewReader in the test itself allocates 32 octets each time
			least = min(least, int64(after.TotalAlloc-before.TotalAlloc)-int64(c.size/len(line)*32))
			if least <= 64<<10 {
				break
			}
		}
		if least > 64<<10 {
			t.Errorf("%s: %d octets allocated for a message of %d", name, least, s.n)
		}
	}
}

// An idle connection, and one whose client fills what it can, have at most 64 KB.
func TestMemoryOfAConnection(t *testing.T) {
	const n = 500
	srv, err := New(testConfig(t), &fakeBackend{})
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // what tests before this one left in pools
	runtime.ReadMemStats(&before)
	for range n {
		client, server := net.Pipe()
		t.Cleanup(func() { client.Close() })
		go srv.ServeConn(t.Context(), server, testClient)
		client.Read(make([]byte, 100))
		client.Write(bytes.Repeat([]byte("x"), 10000))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse)) / n
	if each > 64<<10 {
		t.Errorf("%d octets for a connection", each)
	}
	t.Logf("%d octets for a connection", each)
}

func BenchmarkReceive(b *testing.B) {
	const size = 10 << 20
	s := &countSession{fakeSession: fakeSession{b: &fakeBackend{}}}
	srv, err := New(testConfig(b), s)
	if err != nil {
		b.Fatal(err)
	}
	line := strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", 14)
	b.SetBytes(size)
	for b.Loop() {
		srv.ServeConn(b.Context(), script{&endless{head: leadRcpt + "DATA\r\n", line: line, n: size, tail: ".\r\nQUIT\r\n"}, io.Discard}, testClient)
	}
}
