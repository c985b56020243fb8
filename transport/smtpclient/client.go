// Package smtpclient hands messages to other hosts by SMTP (RFC 5321), and to local delivery by LMTP (RFC 2033). A
// transport.Request flows in: an envelope, recipients for one next hop, and a body with LF line ends. A status per
// recipient flows out. On the wire goes strict CRLF, dots stuffed; a line longer than LineLimit is cut as sendmail cuts
// it ("!", line end, blank), so that no line of more than 1000 octets ever leaves (RFC 5321 4.5.3.1.6).
//
// What each reply means is written in trouble.go, and where a message goes in route.go.
package smtpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"waybill/transport"
	"waybill/transport/dns"
	"waybill/transport/sysexits"
)

// Resolver is what the client asks of the DNS; *dns.Resolver is one.
type Resolver interface {
	MX(ctx context.Context, domain string) (dns.MXs, error)
	Addrs(ctx context.Context, host string) (dns.Addresses, error)
}

// TLSPolicy says what happens about STARTTLS.
type TLSPolicy uint8

const (
	TLSMay    TLSPolicy = iota // use it where it is offered and works; the certificate is not looked at (RFC 7435)
	TLSNever                   // do not use it
	TLSMust                    // no delivery without it; the certificate is not looked at
	TLSVerify                  // no delivery without it and a certificate for the name of the MX host
)

// Timeouts are the longest waits; RFC 5321 4.5.3.2 gives the least values, which are the defaults.
type Timeouts struct {
	Connect   time.Duration // one address; default 30s
	Greeting  time.Duration // 5m
	Hello     time.Duration // EHLO, HELO, STARTTLS and the handshake: 5m
	Mail      time.Duration // 5m
	Rcpt      time.Duration // 5m
	DataInit  time.Duration // reply to DATA: 2m
	DataBlock time.Duration // until the peer takes the next block: 3m
	DataFinal time.Duration // reply to the final dot: 10m
	Quit      time.Duration // RSET and QUIT: 10s
}

// Config sets up a Client.
type Config struct {
	Name     string   // of the mailer, for the lines of sendmail -v; default "smtp" or "lmtp"
	Hello    string   // our name in EHLO; required
	Resolver Resolver // required, unless every host is a literal or Socket is set
	LMTP     bool     // LMTP instead of SMTP; hosts are not looked up as MX
	Port     uint16   // default 25, and 24 for LMTP
	NoMX     bool     // never look for MX records (mailer flag 0)
	Socket   string   // connect to this Unix socket, whatever the host
	Fallback string   // hosts tried when all others failed, in the form of a decision's host (FallbackMXhost)

	OwnName   func(host string) bool                                               // is this name in an MX list ourselves? nil: no
	OwnAddr   func(at netip.AddrPort) bool                                         // is this address ourselves? nil: no
	LoopCheck bool                                                                 // a peer that greets EHLO with our own name is ourselves (without mailer flag k)
	ConnectTo string                                                               // ADDR:PORT to connect to in place of every address: for tests
	Dial      func(ctx context.Context, network, address string) (net.Conn, error) // default: net.Dialer

	TLS       TLSPolicy
	TLSConfig *tls.Config // roots, client certificates, versions; ServerName and verification are ours. Default: Go's

	LineLimit     int // longest line in octets without CRLF; default 998, negative: no limit. sendmail's L= is 990
	MaxRecipients int // in one transaction; default 100 (RFC 5321 4.5.3.1.8: every host takes as many)
	MaxAddresses  int // tried for one message; default 10
	Timeouts      Timeouts
}

// Client is a Transport. Close it when no delivery is under way any more.
type Client struct {
	conf    Config
	quits   sync.WaitGroup
	buffers sync.Pool
}

var _ transport.Transport = (*Client)(nil)

// New checks conf and returns a Client.
func New(conf Config) (*Client, error) {
	if conf.Hello == "" || strings.ContainsAny(conf.Hello, " \r\n\t") {
		return nil, errors.New("smtpclient: our own name is missing or bad")
	}
	if conf.Resolver == nil {
		conf.Resolver = dns.Static(&dns.Zone{})
	}
	if conf.Dial == nil {
		conf.Dial = new(net.Dialer).DialContext
	}
	if conf.TLSConfig == nil {
		conf.TLSConfig = &tls.Config{}
	}
	if conf.Fallback != "" {
		if _, err := parseHost(conf.Fallback); err != nil {
			return nil, errors.New("smtpclient: fallback host: " + err.Error())
		}
	}
	port, name := uint16(25), "smtp"
	if conf.LMTP {
		port, name = 24, "lmtp"
	}
	setDefault(&conf.Port, port)
	setDefault(&conf.Name, name)
	setDefault(&conf.LineLimit, 998)
	conf.LineLimit = max(conf.LineLimit, 0)
	setDefault(&conf.MaxRecipients, 100)
	setDefault(&conf.MaxAddresses, 10)
	t := &conf.Timeouts
	setDefault(&t.Connect, 30*time.Second)
	setDefault(&t.Greeting, 5*time.Minute)
	setDefault(&t.Hello, 5*time.Minute)
	setDefault(&t.Mail, 5*time.Minute)
	setDefault(&t.Rcpt, 5*time.Minute)
	setDefault(&t.DataInit, 2*time.Minute)
	setDefault(&t.DataBlock, 3*time.Minute)
	setDefault(&t.DataFinal, 10*time.Minute)
	setDefault(&t.Quit, 10*time.Second)
	c := &Client{conf: conf}
	c.buffers.New = func() any { return new([copyBuffer]byte) }
	return c, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Close waits for the connections that are saying good-bye.
func (c *Client) Close() { c.quits.Wait() }

// delivery is one call of Deliver.
type delivery struct {
	client *Client
	req    *transport.Request
	log    *slog.Logger
	status []transport.Status
	done   []bool // the status is final
	known  []bool // the status says something
	tries  int    // addresses that were tried
}

// Deliver tries the hosts in order until each recipient has an answer.
func (c *Client) Deliver(ctx context.Context, req *transport.Request) []transport.Status {
	n := len(req.Recipients)
	d := &delivery{client: c, req: req, log: req.Log, status: make([]transport.Status, n), done: make([]bool, n), known: make([]bool, n)}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.checkPaths()
	d.run(ctx)
	return d.status
}

// checkPaths settles what can be said on no wire.
func (d *delivery) checkPaths() {
	if !validPath(string(d.req.Envelope.Sender)) {
		d.settle(d.open(), verdict{status: refused("5.1.7", "sender address cannot be written in SMTP", sysexits.DataErr)})
		return
	}
	for i, r := range d.req.Recipients {
		if r.User == "" || !validPath(r.User) {
			d.settle([]int{i}, verdict{status: refused("5.1.3", "recipient address cannot be written in SMTP", sysexits.DataErr)})
		}
	}
}

func (d *delivery) run(ctx context.Context) {
	if d.client.conf.Socket != "" {
		d.try(ctx, hop{name: d.req.Host, socket: d.client.conf.Socket})
		return
	}
	host := d.req.Host
	groups, err := parseHost(host)
	if err != nil {
		d.settle(d.open(), verdict{status: refused("5.1.2", "host of the mailer is malformed: "+err.Error(), sysexits.NoHost)})
		return
	}
	if d.client.conf.Fallback != "" {
		more, _ := parseHost(d.client.conf.Fallback)
		groups = append(groups, more...)
	}
	for _, group := range groups {
		exchanges, v := d.client.exchanges(ctx, group)
		if v != nil {
			d.settle(d.open(), *v)
		}
		d.tryAll(ctx, group[0].name, exchanges)
		if len(d.open()) == 0 || context.Cause(ctx) != nil {
			return
		}
	}
}

// tryAll tries the hosts of one group, each with all its addresses.
func (d *delivery) tryAll(ctx context.Context, domain string, list []exchange) {
	for _, x := range list {
		hops, v := d.client.hops(ctx, x)
		if v != nil {
			d.settle(d.open(), *v)
			continue
		}
		for _, h := range hops {
			if d.client.own(h) {
				// RFC 5321 5.1: this host is ourselves; those behind it would only send the message back
				d.settle(d.open(), loop(domain))
				return
			}
			if d.tries++; d.tries > d.client.conf.MaxAddresses {
				return
			}
			d.try(ctx, h)
			if len(d.open()) == 0 || context.Cause(ctx) != nil {
				return
			}
		}
	}
}

// try delivers what is open to one address.
func (d *delivery) try(ctx context.Context, h hop) {
	open := d.open()
	if len(open) == 0 {
		return
	}
	if d.req.Verbose != nil {
		d.req.Verbose(d.req.Recipients[open[0]].User + "... Connecting to " + h.verbose() + " via " + d.client.conf.Name + "...")
	}
	s, v := d.client.open(ctx, h, false, d.req.Verbose)
	if v != nil && d.client.conf.TLS == TLSMay && v.tls {
		d.log.Info("TLS failed, going on in clear", "id", d.req.Envelope.ID, "host", h.String())
		s, v = d.client.open(ctx, h, true, d.req.Verbose)
	}
	if v != nil {
		d.log.Info("host not usable", "id", d.req.Envelope.ID, "host", h.String(), "status", v.status.Code(), "why", v.status.Text())
		d.settle(open, *v)
		return
	}
	defer d.client.close(s)
	for len(open) > 0 && !s.dead {
		batch := open[:min(len(open), d.client.conf.MaxRecipients)]
		open = open[len(batch):]
		again := d.transact(ctx, s, batch)
		open = append(again, open...)
	}
	if len(open) > 0 {
		d.settle(open, lost(atMail, io.EOF, s))
	}
}

// open lists the recipients that have no final status.
func (d *delivery) open() []int {
	var list []int
	for i, done := range d.done {
		if !done {
			list = append(list, i)
		}
	}
	return list
}

// settle records a verdict. One that another host may better stays open; of several such, "not now" outlives "no".
func (d *delivery) settle(list []int, v verdict) {
	for _, i := range list {
		if d.done[i] {
			continue
		}
		if v.next && d.known[i] && d.status[i].Outcome() == transport.Deferred && v.status.Outcome() == transport.Failed {
			continue
		}
		d.status[i] = v.status
		d.known[i] = true
		d.done[i] = !v.next
	}
}
