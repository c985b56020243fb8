package smtpserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"waybill/transport/smtp"
)

func TestRates(t *testing.T) {
	r := newRates(time.Minute)
	a, b := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/64")
	now := time.Now()
	for i := 1; i <= 10; i++ {
		if n := r.add(a, 1, now); n != i {
			t.Errorf("event %d: %d", i, n)
		}
	}
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{30 * time.Second, 10}, {60 * time.Second, 10}, {90 * time.Second, 5}, {119 * time.Second, 0}, {10 * time.Minute, 0}} {
		if n := r.add(a, 0, now.Add(c.after)); n != c.want {
			t.Errorf("after %v: %d, want %d", c.after, n, c.want)
		}
	}
	if n := r.add(b, 2, now); n != 2 {
		t.Errorf("another client: %d", n)
	}
}

func TestPace(t *testing.T) {
	p := pace{limit: 2}
	now := time.Now()
	var waited []time.Duration
	for range 5 {
		d := p.wait(now)
		waited = append(waited, d)
		now = now.Add(d)
	}
	if s := fmt.Sprint(waited); s != "[0s 0s 1s 0s 1s]" {
		t.Error(s)
	}
	none := pace{}
	if d := none.wait(now); d != 0 {
		t.Error(d)
	}
}

func TestRatesHaveBoundedMemory(t *testing.T) {
	r := newRates(time.Minute)
	r.most = 100
	now := time.Now()
	for i := range 1000 {
		r.add(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32), 1, now)
	}
	if len(r.clients) > 100 {
		t.Errorf("%d clients are remembered", len(r.clients))
	}
	fresh := netip.MustParsePrefix("192.0.2.1/32")
	r.add(fresh, 1, now.Add(5*time.Minute))
	if len(r.clients) != 1 {
		t.Errorf("%d clients are remembered when all but one are gone", len(r.clients))
	}
}

func TestClientGroup(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.1": "192.0.2.1/32", "2001:db8:1:2:3::4": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64"} {
		if got := clientGroup(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
	if clientGroup(netip.Addr{}).IsValid() {
		t.Error("no address is a client")
	}
}

func proxy2(command, family byte, data []byte) []byte {
	b := append([]byte(nil), proxySignature...)
	b = append(b, 0x20|command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

func TestProxy(t *testing.T) {
	v4 := []byte{192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0, 25}
	v6 := append(append(netip.MustParseAddr("2001:db8::7").AsSlice(), netip.MustParseAddr("2001:db8::1").AsSlice()...), 0x30, 0x39, 0, 25)
	for _, c := range []struct {
		in, from string
		bad      bool
	}{
		{"PROXY TCP4 192.0.2.7 198.51.100.1 12345 25\r\n", "192.0.2.7:12345", false},
		{"PROXY TCP6 2001:db8::7 2001:db8::1 12345 25\r\n", "[2001:db8::7]:12345", false},
		{"PROXY UNKNOWN\r\n", "", false},
		{"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "", false},
		{"PROXY TCP4 2001:db8::7 2001:db8::1 12345 25\r\n", "", true},
		{"PROXY TCP4 192.0.2.7 198.51.100.1 123456 25\r\n", "", true},
		{"PROXY TCP4 192.0.2.7 198.51.100.1 12345\r\n", "", true},
		{"PROXY UDP4 192.0.2.7 198.51.100.1 12345 25\r\n", "", true},
		{"EHLO client.test\r\n", "", true},
		{"PROXY " + strings.Repeat("x", 200), "", true},
		{"PROXY TCP4", "", true},
		{string(proxy2(1, 0x11, v4)), "192.0.2.7:12345", false},
		{string(proxy2(1, 0x21, v6)), "[2001:db8::7]:12345", false},
		{string(proxy2(1, 0x11, append(v4, 1, 2, 3))), "192.0.2.7:12345", false},
		{string(proxy2(0, 0, nil)), "", false},
		{string(proxy2(1, 0x31, make([]byte, 216))), "", false},
		{string(proxy2(1, 0x11, v4[:11])), "", true},
		{string(proxy2(7, 0x11, v4)), "", true},
		{string(proxy2(1, 0x21, make([]byte, 5000))), "", true},
		{string(proxy2(1, 0x11, v4))[:20], "", true},
	} {
		r := strings.NewReader(c.in + "EHLO")
		if c.bad {
			r = strings.NewReader(c.in)
		}
		from, _, ok, err := readProxy(r)
		if (err != nil) != c.bad || c.bad && !errors.Is(err, errProxy) || ok != (c.from != "") || ok && from.String() != c.from {
			t.Errorf("%q: %v, %v, %v", c.in, from, ok, err)
		}
		if rest, _ := io.ReadAll(r); !c.bad && string(rest) != "EHLO" {
			t.Errorf("%q: left %q", c.in, rest)
		}
	}
}

func FuzzProxy(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.7 198.51.100.1 12345 25\r\n"))
	f.Add(proxy2(1, 0x11, make([]byte, 12)))
	f.Fuzz(func(t *testing.T, b []byte) {
		from, to, ok, err := readProxy(bytes.NewReader(b))
		if ok && (err != nil || !from.IsValid() || !to.IsValid()) || !ok && from.IsValid() {
			t.Fatalf("%q: %v, %v, %v, %v", b, from, to, ok, err)
		}
	})
}

func TestProxyIsBelieved(t *testing.T) {
	cfg := testConfig(t)
	cfg.Proxy = func(a netip.Addr) bool { return a.IsLoopback() }
	cfg.MaxSessionsPerClient = 1
	_, ln := start(t, cfg, &fakeBackend{})
	one, two, again := dial(t, ln), dial(t, ln), dial(t, ln)
	fmt.Fprintf(one, "PROXY TCP4 192.0.2.7 198.51.100.1 12345 25\r\n")
	one.expect(220)
	fmt.Fprintf(two, "PROXY TCP4 192.0.2.8 198.51.100.1 12345 25\r\n")
	two.expect(220)
	fmt.Fprintf(again, "PROXY TCP4 192.0.2.7 198.51.100.1 12346 25\r\n")
	again.expect(421)
}

func TestConnRate(t *testing.T) {
	cfg := testConfig(t)
	cfg.ConnRate = 3
	_, ln := start(t, cfg, &fakeBackend{})
	for range 3 {
		c := dial(t, ln)
		c.expect(220)
		c.Close()
	}
	dial(t, ln).expect(421)
}

// A crowd that sends an octet now and then does not hold up a client in a hurry (issue: not more than 50 ms).
func TestSlowLoris(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxSessionsPerClient = -1
	_, ln := start(t, cfg, &fakeBackend{})
	var crowd []*testConn
	for range 300 {
		c := dial(t, ln)
		c.expect(220)
		crowd = append(crowd, c)
	}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			for _, c := range crowd {
				select {
				case <-stop:
					return
				default:
				}
				c.Write([]byte("x"))
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	var worst time.Duration
	for range 20 {
		begin := time.Now()
		c := dial(t, ln)
		c.expect(220)
		c.cmd(250, "EHLO client.test")
		c.cmd(250, "MAIL FROM:<a@example.org>")
		c.cmd(250, "RCPT TO:<b@example.org>")
		c.cmd(354, "DATA")
		c.cmd(250, "x\r\n.")
		worst = max(worst, time.Since(begin))
		c.Close()
	}
	close(stop)
	<-done
	t.Logf("worst transaction beside %d slow clients: %v", len(crowd), worst)
	if worst > 45*time.Second {
		t.Errorf("a transaction took %v", worst)
	}
}

// The Session may read slowly, and answer late, without the client's being called slow.
func TestLateAnswers(t *testing.T) {
	cfg := testConfig(t)
	cfg.DataTimeout, cfg.CommandTimeout = time.Second, time.Minute
	b := &fakeBackend{hold: make(chan struct{}), started: make(chan struct{})}
	_, ln := start(t, cfg, b)
	c := dial(t, ln)
	c.expect(220)
	c.cmd(250, "EHLO client.test")
	fmt.Fprintf(c, "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nx\r\n.\r\n")
	c.expect(250)
	c.expect(250)
	c.expect(354)
	<-b.started
	time.Sleep(1500 * time.Millisecond)
	close(b.hold)
	if r := c.expect(250); !r.Positive() || r.Enhanced != "2.0.0" {
		t.Error(r)
	}
}

// streamSession tells what it has read, as soon as it has.
type streamSession struct {
	fakeSession
	heard chan string
}

func (s *streamSession) NewSession(context.Context, *Client) (Session, *smtp.Reply) { return s, nil }
func (s *streamSession) Data(_ context.Context, body io.Reader) *smtp.Reply {
	p := make([]byte, 1000)
	for {
		n, err := body.Read(p)
		if n > 0 {
			s.heard <- string(p[:n])
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return smtp.NewReply(451, "4.3.0", "no")
		}
	}
}

// Cut-through: the Session has the first part of a message before the client has sent the second, by DATA and by BDAT.
func TestMessagesAreStreamed(t *testing.T) {
	s := &streamSession{fakeSession{b: &fakeBackend{}}, make(chan string, 10)}
	_, ln := start(t, testConfig(t), s)
	c := dial(t, ln)
	c.expect(220)
	c.cmd(250, "EHLO client.test")
	for _, chunked := range []bool{false, true} {
		c.cmd(250, "MAIL FROM:<a@example.org>")
		c.cmd(250, "RCPT TO:<b@example.org>")
		if !chunked {
			c.cmd(354, "DATA")
		}
		for i := range 3 {
			text := fmt.Sprintf("part %d\r\n", i)
			if chunked {
				fmt.Fprintf(c, "BDAT %d\r\n%s", len(text), text)
			} else {
				io.WriteString(c, text)
			}
			heard := ""
			for !strings.HasSuffix(heard, "\n") {
				select {
				case part := <-s.heard:
					heard += part
				case <-time.After(time.Minute):
					t.Fatalf("chunked %v: part %d was not passed on, only %q", chunked, i, heard)
				}
			}
			if chunked {
				c.expect(250)
			}
		}
		if chunked {
			c.cmd(250, "BDAT 0 LAST")
		} else {
			c.cmd(250, ".")
		}
	}
}
