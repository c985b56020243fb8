package smtpclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waybill/transport"
	"waybill/transport/dns"
	"waybill/transport/envelope"
)

// peer is a server that follows a script: a reply per stage. "close" closes, "hang" says nothing, several lines are
// joined by "\n". "second MAIL" answers all but the first in a session, "after" is said behind a message, and ends the connection. A key "RCPT bob@x" is for that recipient, "DOT 2" for the second reply to the dot.
type peer struct {
	script map[string]string
	ext    []string // keywords of EHLO
	lmtp   bool
	tls    *tls.Config                      // STARTTLS works
	mutate func(stage, reply string) string // changes replies

	mu       sync.Mutex
	conns    int
	commands []string
	messages []string // as received, with CRLF and stuffing undone
	acked    []string // those of them that were answered 250
	ln       net.Listener
	wg       sync.WaitGroup
}

func startPeer(t *testing.T, script map[string]string, ext ...string) *peer {
	t.Helper()
	p := &peer{script: script, ext: ext}
	var err error
	if p.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop); p.ln.Close(); p.wg.Wait() })
	go func() {
		for {
			c, err := p.ln.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns++
			p.mu.Unlock()
			p.wg.Add(1)
			go func() {
				defer p.wg.Done()
				defer c.Close()
				done := make(chan struct{})
				defer close(done)
				go func() {
					select {
					case <-stop:
						c.Close()
					case <-done:
					}
				}()
				p.serve(c, stop)
			}()
		}
	}()
	return p
}

// set changes a peer before anybody connects.
func (p *peer) set(change func(*peer)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func (p *peer) addr() string { return p.ln.Addr().String() }

func (p *peer) serve(c net.Conn, stop chan struct{}) {
	br := bufio.NewReader(c)
	message := "" // the last one
	say := func(usual string, keys ...string) bool {
		r := usual
		for _, k := range keys {
			if s, ok := p.script[k]; ok {
				r = s
				break
			}
		}
		if p.mutate != nil && len(keys) > 0 {
			r = p.mutate(keys[len(keys)-1], r)
		}
		switch r {
		case "close":
			return false
		case "hang":
			<-stop
			return false
		}
		if len(keys) > 0 && keys[0] == "DOT" && strings.HasPrefix(r, "250") {
			p.mu.Lock()
			p.acked = append(p.acked, message)
			p.mu.Unlock()
		}
		_, err := c.Write([]byte(strings.ReplaceAll(r, "\n", "\r\n") + "\r\n"))
		return err == nil && !strings.HasPrefix(r, "421")
	}
	if !say("220 peer.example ESMTP", "greeting") {
		return
	}
	rcpts, mails := 0, 0
	var body strings.Builder // of BDAT
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		p.mu.Lock()
		p.commands = append(p.commands, line)
		p.mu.Unlock()
		verb, _, _ := strings.Cut(line, " ")
		ok := true
		switch verb {
		case "EHLO", "LHLO":
			ok = say(strings.Join(ehlo(p.ext), "\n"), "EHLO")
		case "HELO":
			ok = say("250 peer.example", "HELO")
		case "MAIL":
			rcpts = 0
			if mails++; mails > 1 && p.script["second MAIL"] != "" {
				ok = say(p.script["second MAIL"])
				break
			}
			ok = say("250 2.1.0 sender ok", "MAIL")
		case "RCPT":
			addr := line[strings.Index(line, "<")+1 : strings.Index(line, ">")]
			if _, refused := p.script["RCPT "+addr]; !refused {
				rcpts++
			}
			ok = say("250 2.1.5 recipient ok", "RCPT "+addr, "RCPT")
		case "DATA":
			if rcpts == 0 && p.script["DATA"] == "" {
				ok = say("503 5.5.1 no recipients")
				break
			}
			if ok = say("354 go", "DATA"); !ok || (p.script["DATA"] != "" && !strings.HasPrefix(p.script["DATA"], "354")) {
				break
			}
			if p.script["body"] == "close" {
				br.Discard(1000)
				return
			}
			var b strings.Builder
			for {
				line, err := br.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				b.WriteString(strings.TrimPrefix(line, "."))
			}
			p.mu.Lock()
			message = b.String()
			p.messages = append(p.messages, message)
			p.mu.Unlock()
			if !p.lmtp {
				ok = say("250 2.0.0 queued as 1", "DOT")
				if r := p.script["after"]; r != "" { // the connection ends while it is idle
					if r != "close" {
						say(r)
					}
					return
				}
				break
			}
			for n := range rcpts {
				if ok = say("250 2.0.0 delivered", "DOT "+string(rune('1'+n))); !ok {
					break
				}
			}
		case "BDAT":
			n, last := 0, ""
			fmt.Sscan(strings.TrimPrefix(line, "BDAT "), &n, &last)
			chunk := make([]byte, n)
			if _, err := io.ReadFull(br, chunk); err != nil {
				return
			}
			body.Write(chunk)
			if last != "LAST" {
				ok = say("250 2.0.0 more", "BDAT")
				break
			}
			p.mu.Lock()
			message = body.String()
			p.messages = append(p.messages, message)
			p.mu.Unlock()
			body.Reset()
			ok = say("250 2.0.0 queued as 1", "DOT")
		case "STARTTLS":
			if ok = say("220 2.0.0 go ahead", "STARTTLS"); ok && p.tls != nil {
				secure := tls.Server(c, p.tls)
				if secure.Handshake() != nil {
					return
				}
				p.mu.Lock()
				p.commands = append(p.commands, "(TLS)")
				p.mu.Unlock()
				c, br = secure, bufio.NewReader(secure)
			}
		case "RSET":
			ok = say("250 2.0.0 reset", "RSET")
		case "QUIT":
			say("221 2.0.0 bye", "QUIT")
			return
		default:
			ok = say("500 5.5.2 what?")
		}
		if !ok {
			return
		}
	}
}

func ehlo(ext []string) []string {
	lines := []string{"250-peer.example"}
	for _, e := range ext {
		lines = append(lines, "250-"+e)
	}
	last := len(lines) - 1
	lines[last] = "250 " + lines[last][4:]
	return lines
}

func (p *peer) log() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.commands...)
}

func (p *peer) said(prefix string) bool {
	for _, c := range p.log() {
		if strings.HasPrefix(c, prefix) {
			return true
		}
	}
	return false
}

func (p *peer) got() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.messages...)
}

// slow is for peers that work, on a machine that is busy.
var slow = Timeouts{30 * time.Second, 30 * time.Second, 30 * time.Second, 30 * time.Second, 30 * time.Second, 30 * time.Second, 30 * time.Second, 30 * time.Second, 200 * time.Millisecond}

// shortAt is for a peer that hangs at a stage.
func shortAt(stage string, wait time.Duration) Timeouts {
	t := slow
	switch stage {
	case "greeting":
		t.Greeting = wait
	case "EHLO":
		t.Hello = wait
	case "MAIL":
		t.Mail = wait
	case "RCPT":
		t.Rcpt = wait
	case "DATA":
		t.DataInit = wait
	case "DOT":
		t.DataFinal = wait
	}
	return t
}

// world gives the client a zone, and leads the addresses 192.0.2.N to peers.
type world struct {
	zone  string
	peers map[string]*peer // by address and port, "192.0.2.1:25"
}

func (w world) client(t *testing.T, change func(*Config)) *Client {
	t.Helper()
	zone, err := dns.ParseZone(w.zone)
	if err != nil {
		t.Fatal(err)
	}
	conf := Config{Hello: "client.example", Resolver: dns.Static(zone), Timeouts: slow, TLS: TLSNever,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			var d net.Dialer
			p := w.peers[address]
			if p == nil {
				return nil, &net.OpError{Op: "dial", Net: network, Err: refusedErr}
			}
			return d.DialContext(ctx, "tcp", p.addr())
		}}
	if change != nil {
		change(&conf)
	}
	c, err := New(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func request(host, body string, rcpts ...string) *transport.Request {
	r := &transport.Request{Envelope: &envelope.Envelope{ID: "t1", Sender: "alice@example.org"}, Host: host, Body: envelope.BytesBody(body)}
	for _, a := range rcpts {
		r.Recipients = append(r.Recipients, transport.Recipient{User: a, Orig: envelope.Recipient{Addr: envelope.Address(a)}})
	}
	return r
}

func outcomes(list []transport.Status) string {
	var words []string
	for _, s := range list {
		words = append(words, s.Outcome().String()+" "+s.Code())
	}
	return strings.Join(words, ", ")
}

func countingDial(dial func(context.Context, string, string) (net.Conn, error), n *atomic.Int64) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		n.Add(1)
		return dial(ctx, network, address)
	}
}
