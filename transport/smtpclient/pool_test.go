package smtpclient

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waybill/transport/dns"
	"waybill/transport/dns/dnstest"
	"waybill/transport/envelope"
)

func (p *peer) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns
}

func TestOneConnectionCarriesManyMessages(t *testing.T) {
	p := startPeer(t, map[string]string{"RCPT no@x": "550 5.1.1 who?"}, "PIPELINING")
	w := world{"", map[string]*peer{"192.0.2.1:25": p}}
	c := w.client(t, func(conf *Config) { conf.MaxMessages = 10 })
	for i := range 25 {
		if got := c.Deliver(t.Context(), request("[192.0.2.1]", fmt.Sprintf("%d\n", i), "b@x", "no@x")); outcomes(got) != "relayed 2.0.0, failed 5.1.1" {
			t.Fatal(outcomes(got), got[0].Text())
		}
	}
	if len(p.got()) != 25 || p.count() != 3 {
		t.Errorf("%d messages on %d connections, want 25 on 3", len(p.got()), p.count())
	}
	c.Close()
	quits := 0
	for try := 0; quits != 3 && try < 6000; try++ { // nobody waits long for a peer to hear QUIT
		time.Sleep(5 * time.Millisecond)
		quits = 0
		for _, line := range p.log() {
			if line == "QUIT" {
				quits++
			}
		}
	}
	if quits != 3 {
		t.Errorf("%d QUITs", quits)
	}
}

// The peer closes idle connections; the next message must get through all the same, and once.
func TestAnIdleConnectionThatDiedIsReplaced(t *testing.T) {
	for _, how := range []string{"close", "421 4.4.2 idle too long", "second MAIL"} {
		for _, ext := range [][]string{nil, {"PIPELINING"}} {
			script := map[string]string{"after": how}
			if how == "second MAIL" {
				script = map[string]string{how: "452 4.3.0 enough of you"}
			}
			p := startPeer(t, script, ext...)
			w := world{"", map[string]*peer{"192.0.2.1:25": p}}
			c := w.client(t, nil)
			for i := range 5 {
				if got := c.Deliver(t.Context(), request("[192.0.2.1]", "x\n", "a@x", "b@x")); outcomes(got) != "relayed 2.0.0, relayed 2.0.0" {
					t.Errorf("%s: message %d: %s (%s)", how, i, outcomes(got), got[0].Text())
				}
			}
			if len(p.got()) != 5 || p.count() != 5 {
				t.Errorf("%s: %d messages on %d connections", how, len(p.got()), p.count())
			}
		}
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	p := startPeer(t, nil)
	w := world{"", map[string]*peer{"192.0.2.1:25": p}}
	c := w.client(t, func(conf *Config) { conf.IdleTime = 20 * time.Millisecond })
	c.Deliver(t.Context(), request("[192.0.2.1]", "1\n", "b@x"))
	for range 6000 {
		if p.said("QUIT") {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Error("no QUIT after the idle time")
}

func TestIdleConnectionsAreBounded(t *testing.T) {
	p := startPeer(t, nil)
	peers := map[string]*peer{}
	for i := range 10 {
		peers[fmt.Sprintf("192.0.2.%d:25", i)] = p
	}
	w := world{"", peers}
	c := w.client(t, func(conf *Config) { conf.MaxIdle = 3 })
	for i := range 10 {
		c.Deliver(t.Context(), request(fmt.Sprintf("[192.0.2.%d]", i), "1\n", "b@x"))
	}
	if n := c.pool.order.Len(); n != 3 {
		t.Errorf("%d idle connections", n)
	}
}

func TestDeliveriesAtOneHostAreLimited(t *testing.T) {
	p := startPeer(t, nil, "PIPELINING")
	var open, most atomic.Int32
	w := world{"", map[string]*peer{"192.0.2.1:25": p}}
	c := w.client(t, func(conf *Config) {
		conf.MaxPerHost = 3
		dial := conf.Dial
		conf.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			for n := open.Add(1); n > most.Load(); n = open.Load() {
				most.Store(n)
			}
			time.Sleep(10 * time.Millisecond)
			return dial(ctx, network, address)
		}
	})
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			if got := c.Deliver(t.Context(), request("[192.0.2.1]", "1\n", "b@x")); outcomes(got) != "relayed 2.0.0" {
				t.Error(outcomes(got))
			}
		})
	}
	wg.Wait()
	if n := p.count(); n > 3 {
		t.Errorf("%d connections", n)
	}
}

func TestABrokenFamilyCostsOneDelay(t *testing.T) {
	p := startPeer(t, nil)
	var six atomic.Int32
	w := world{"both.example. AAAA 2001:db8::1\nboth.example. A 192.0.2.1\n", map[string]*peer{"192.0.2.1:25": p}}
	c := w.client(t, func(conf *Config) {
		conf.MaxIdle = -1
		dial := conf.Dial
		conf.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "[2001") {
				six.Add(1)
				<-ctx.Done() // packets vanish
				return nil, ctx.Err()
			}
			return dial(ctx, network, address)
		}
	})
	for range 3 {
		start := time.Now()
		if got := c.Deliver(t.Context(), request("both.example", "1\n", "b@x")); outcomes(got) != "relayed 2.0.0" || got[0].Remote != "both.example [192.0.2.1]" {
			t.Error(outcomes(got), got[0].Remote)
		}
		if took := time.Since(start); took > 10*time.Second { // a connection to an address that is silent may take a minute
			t.Errorf("took %v", took)
		}
	}
	if n := six.Load(); n != 1 {
		t.Errorf("IPv6 was tried %d times, its failure was not remembered", n)
	}
}

func TestADeadHostIsLeftAloneForAWhile(t *testing.T) {
	var dials atomic.Int32
	w := world{twoHosts, nil}
	c := w.client(t, func(conf *Config) {
		dial := conf.Dial
		conf.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			return dial(ctx, network, address)
		}
	})
	for try := 0; ; try++ {
		began := time.Now()
		for range 20 {
			if got := c.Deliver(t.Context(), request("example.com", "1\n", "b@x")); outcomes(got) != "deferred 4.4.1" {
				t.Error(outcomes(got))
			}
		}
		n := dials.Load()
		if n == 2 {
			break
		}
		if time.Since(began) < time.Second || try == 30 { // a second is how long they are left alone
			t.Fatalf("%d dials, want one for each address", n)
		}
		c.ForgetHosts()
		dials.Store(0)
	}
	list := c.Hosts()
	if len(list) != 2 || list[0].Host != "mx1.example.com" || list[0].Failures != 1 || !strings.Contains(list[0].Why, "refused") {
		t.Errorf("%+v", list)
	}
	time.Sleep(1100 * time.Millisecond)
	c.Deliver(t.Context(), request("example.com", "1\n", "b@x"))
	if n := dials.Load(); n != 4 {
		t.Errorf("%d dials after a second, want 4", n)
	}
	c.ForgetHosts()
	if len(c.Hosts()) != 0 {
		t.Error("not forgotten")
	}
}

// The figure of the issue: 10,000 messages to 1,000 domains that repeat, through our DNS, need at least 5 times fewer
// connections than messages.
func TestConnectionsForManyDomains(t *testing.T) {
	messages, domains := 10000, 1000
	if testing.Short() {
		messages, domains = 1000, 100
	}
	var zone strings.Builder
	for i := range domains {
		fmt.Fprintf(&zone, "d%d.example. MX 10 a.d%d.example.\nd%d.example. MX 10 b.d%d.example.\n", i, i, i, i)
		fmt.Fprintf(&zone, "a.d%d.example. A 127.1.%d.%d\nb.d%d.example. A 127.2.%d.%d\n", i, i/250, i%250+1, i, i/250, i%250+1)
	}
	server, err := dnstest.Start(zone.String(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	resolver, err := dns.New(dns.Config{Servers: []string{server.Addr()}, Hosts: "-"})
	if err != nil {
		t.Fatal(err)
	}
	p := startPeer(t, nil, "PIPELINING")
	var dials atomic.Int32
	c, err := New(Config{Hello: "client.example", Resolver: resolver, IdleTime: time.Hour, MaxAge: time.Hour, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		dials.Add(1)
		return new(net.Dialer).DialContext(ctx, network, p.addr())
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	start := time.Now()
	jobs := make(chan int)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for i := range jobs {
				if got := c.Deliver(t.Context(), request(fmt.Sprintf("d%d.example", i%domains), "Subject: x\n\nx\n", "b@x")); outcomes(got) != "relayed 2.0.0" {
					t.Error(outcomes(got), got[0].Text())
				}
			}
		})
	}
	for i := range messages {
		jobs <- i
	}
	close(jobs)
	wg.Wait()
	took := time.Since(start)
	t.Logf("%d messages to %d domains: %d connections, %d questions, %v (%.0f messages/s)", messages, domains, dials.Load(), server.Queries(), took.Round(time.Millisecond), float64(messages)/took.Seconds())
	if int(dials.Load())*5 > messages {
		t.Errorf("%d connections for %d messages", dials.Load(), messages)
	}
}

// A host that stops offering 8BITMIME between two messages gets the second one in 7 bits: before mail that needs an
// extension goes over an old connection, EHLO is said again.
func TestOffersAreNotBelievedForLong(t *testing.T) {
	p := startPeer(t, nil, "PIPELINING", "8BITMIME")
	w := world{"", map[string]*peer{"192.0.2.1:25": p}}
	c := w.client(t, nil)
	send := func() string {
		req := request("[192.0.2.1]", "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\nMIME-Version: 1.0\n\ngr\u00fc\u00dfe\n", "b@x")
		req.Envelope.BodyType = envelope.Body8BitMIME
		return outcomes(c.Deliver(t.Context(), req))
	}
	if got := send(); got != "relayed 2.0.0" {
		t.Fatal(got)
	}
	time.Sleep(helloAge + 20*time.Millisecond)
	p.set(func(p *peer) { p.ext = []string{"PIPELINING"} })
	if got := send(); got != "relayed 2.0.0" {
		t.Fatal(got)
	}
	got := p.got()
	if len(got) != 2 || p.count() != 1 {
		t.Fatalf("%d messages on %d connections", len(got), p.count())
	}
	if !strings.Contains(got[0], "gr\u00fc") || strings.Contains(got[1], "\u00fc") {
		t.Errorf("%q", got)
	}
}
