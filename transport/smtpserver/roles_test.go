package smtpserver

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"waybill/transport/smtp"
)

// A listener has its own configuration, and shares the limits with the others.
func TestRoles(t *testing.T) {
	b := &fakeBackend{}
	srv, ln := start(t, testConfig(t), b)
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.ServeAs(context.Background(), other, Role{Name: "mailbox", Change: func(c *Config) { c.LMTP = true }})
	if got := dial(t, ln).reply(); !strings.HasPrefix(got, "220 mx.test ESMTP") {
		t.Error(got)
	}
	if got := dial(t, other).reply(); !strings.HasPrefix(got, "220 mx.test LMTP") {
		t.Error(got)
	}
	bad, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.ServeAs(context.Background(), bad, Role{ImplicitTLS: true}); err == nil {
		t.Error("TLS without a certificate")
	}
}

// When all places are taken, the client that has waited longest between transactions makes room; one in a transaction
// does not.
func TestIdleClientsMakeRoom(t *testing.T) {
	full := func(enough time.Duration) (ln net.Listener, busy, idle *testConn) {
		cfg := testConfig(t)
		cfg.MaxSessions, cfg.IdleEnough, cfg.Trusted = 2, enough, nil
		_, ln = start(t, cfg, &fakeBackend{})
		busy, idle = dial(t, ln), dial(t, ln)
		busy.reply()
		idle.reply()
		for _, line := range []string{"EHLO c.test", "MAIL FROM:<a@b.test>"} {
			busy.send(line)
			busy.reply()
		}
		return ln, busy, idle
	}
	ln, _, _ := full(time.Hour)
	if got := dial(t, ln).reply(); !strings.HasPrefix(got, "421 4.3.2 mx.test has too many") {
		t.Errorf("nobody was idle long enough: %s", got)
	}
	ln, busy, idle := full(100 * time.Millisecond)
	for range 1000 {
		got := dial(t, ln).reply()
		if strings.HasPrefix(got, "220") {
			break
		}
		if !strings.HasPrefix(got, "421") {
			t.Error(got)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if got := idle.reply(); !strings.HasPrefix(got, "421 4.3.2") {
		t.Error(got)
	}
	busy.send("RCPT TO:<c@d.test>")
	if got := busy.reply(); !strings.HasPrefix(got, "250") {
		t.Error(got)
	}
}

// A session says what it offers.
func TestChooser(t *testing.T) {
	_, ln := start(t, testConfig(t), choosy{&fakeBackend{}})
	c := dial(t, ln)
	c.reply()
	c.send("EHLO c.test")
	if got := c.reply(); strings.Contains(got, "DSN") || strings.Contains(got, "PIPELINING") || !strings.Contains(got, "8BITMIME") {
		t.Error(got)
	}
	c.send("MAIL FROM:<a@b.test> RET=FULL")
	if got := c.reply(); !strings.HasPrefix(got, "555") {
		t.Error(got)
	}
}

// Each client may have a pause of its own.
func TestPauseFor(t *testing.T) {
	cfg := testConfig(t)
	cfg.Trusted = func(netip.Addr) bool { return false }
	var pause atomic.Int64
	pause.Store(int64(time.Second))
	cfg.PauseFor = func(context.Context, *Client) time.Duration { return time.Duration(pause.Load()) }
	_, ln := start(t, cfg, &fakeBackend{})
	began := time.Now()
	dial(t, ln).reply()
	if time.Since(began) < 900*time.Millisecond {
		t.Error("no pause")
	}
	pause.Store(int64(time.Hour)) // on a busy machine who talks early may be late
	early := dial(t, ln)
	early.send("EHLO early.test")
	if got := early.reply(); !strings.HasPrefix(got, "554") {
		t.Error(got)
	}
}

type choosy struct{ *fakeBackend }

func (c choosy) NewSession(ctx context.Context, client *Client) (Session, *smtp.Reply) {
	s, r := c.fakeBackend.NewSession(ctx, client)
	return noDSN{s}, r
}

type noDSN struct{ Session }

func (noDSN) Offers(word string) bool { return word != "DSN" && word != "PIPELINING" }

func (c *testConn) send(line string) { c.Write([]byte(line + "\r\n")) }

// reply is the next reply as it stands on the wire.
func (c *testConn) reply() string {
	c.t.Helper()
	var all strings.Builder
	for {
		line, err := c.br.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			c.t.Fatalf("%q, %v", all.String(), err)
		}
		if len(line) > 3 && line[3] == ' ' {
			return all.String()
		}
	}
}
