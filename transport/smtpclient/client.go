// Package smtpclient hands messages to other hosts by SMTP (RFC 5321), and to local delivery by LMTP (RFC 2033). A
// transport.Request flows in: an envelope, recipients for one next hop, and a body with LF line ends. A status per
// recipient flows out. On the wire goes strict CRLF, dots stuffed; a line longer than LineLimit is cut as sendmail cuts
// it ("!", line end, blank), so that no line of more than 1000 octets ever leaves (RFC 5321 4.5.3.1.6).
//
// What each reply means is written in trouble.go, and where a message goes in route.go.
package smtpclient

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/recode"
	"waybill/transport/sysexits"
)

// Client is a Transport. Close it when no delivery is under way any more.
type Client struct {
	conf    Config
	quits   sync.WaitGroup
	buffers sync.Pool // of *[copyBuffer]byte
	chunks  sync.Pool // of *[chunkSize]byte
	pool    *pool
	memory  memory
}

var _ transport.Transport = (*Client)(nil)

// Close says good-bye on idle connections and waits for the end of that.
func (c *Client) Close() {
	c.pool.close()
	c.quits.Wait()
}

// delivery is one call of Deliver.
type delivery struct {
	client *Client
	req    *transport.Request
	log    *slog.Logger
	status []transport.Status
	done   []bool           // the status is final
	known  []bool           // the status says something
	tries  int              // addresses that were tried
	lines  map[int][]string // of the transcript, by recipient
	took   map[int]string   // replies to RCPT, by recipient
	plan   *recode.Plan     // how the message becomes 7-bit; nil: nobody needed it yet
	isMIME *bool            // found out when a peer asks
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
	for i, lines := range d.lines {
		d.status[i].Transcript = lines
	}
	for i, reply := range d.took {
		d.status[i].Taken = reply
	}
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
	if len(d.open()) == 0 {
		return
	}
	if d.client.conf.Socket != "" {
		h := hop{name: d.req.Host, socket: d.client.conf.Socket}
		if h.name == "" {
			h.name = h.socket
		}
		d.tryHost(ctx, h.socket, []hop{h}, &demand{level: TLSNever})
		return
	}
	host := cmp.Or(d.client.conf.Host, d.req.Host)
	groups, err := parseHost(host)
	if d.client.conf.Sendmail {
		named(groups)
	}
	if err != nil {
		d.settle(d.open(), verdict{status: refused("5.1.2", "host of the mailer is malformed: "+err.Error(), sysexits.NoHost)})
		return
	}
	own := len(groups)
	if d.client.conf.Fallback != "" {
		more, _ := parseHost(d.client.conf.Fallback)
		groups = append(groups, more...)
	}
	last := len(groups)
	if d.client.conf.LastResort != "" {
		more, _ := parseHost(d.client.conf.LastResort)
		groups = append(groups, more...)
	}
	for i, group := range groups {
		if i >= last && d.nowhere("5.1.10", "5.4.6") {
			return
		}
		if i >= own && i < last && (d.nowhere("5.1.10", "5.1.2", "5.4.6") && !(d.client.conf.Sendmail && d.nowhere("5.1.2"))) {
			continue // sendmail knows its fallback host for a low exchanger of every name, also of one that the DNS does not have
		}
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

// nowhere reports whether the domain itself says that it takes no mail, or does not exist, or is ours, as these codes have
// it: no fallback host knows better.
func (d *delivery) nowhere(codes ...string) bool {
	for _, i := range d.open() {
		if !slices.Contains(codes, d.status[i].Code()) {
			return false
		}
	}
	return true
}

// tryAll tries the hosts of one group, each with all its addresses.
func (d *delivery) tryAll(ctx context.Context, domain string, list []exchange) {
	c := d.client
	// Of hosts with one preference, one to which a connection is open comes first.
	slices.SortStableFunc(list, func(a, b exchange) int {
		if a.pref != b.pref || !a.mx || !b.mx {
			return int(a.pref) - int(b.pref)
		}
		return c.pool.rank(c.key(b)) - c.pool.rank(c.key(a))
	})
	for _, x := range list {
		hops, addrs, v := c.hops(ctx, x)
		if v != nil {
			d.settle(d.open(), *v)
			continue
		}
		if slices.ContainsFunc(hops, c.own) {
			// RFC 5321 5.1: this host is ourselves; those behind it would only send the message back
			d.settle(d.open(), d.client.loop(domain))
			return
		}
		dem, v := d.demand(ctx, x, addrs)
		if v != nil {
			d.settle(d.open(), *v)
			continue
		}
		d.tryHost(ctx, c.key(x), hops, &dem)
		if len(d.open()) == 0 || context.Cause(ctx) != nil || d.tries >= c.conf.MaxAddresses {
			return
		}
	}
}

// key is what connections to a host are known by in the pool.
func (c *Client) key(x exchange) string {
	port := x.port
	if port == 0 {
		port = c.conf.Port
	}
	return x.name + ":" + strconv.Itoa(int(port))
}

// tryHost delivers what is open to one host: over an idle connection if there is one, otherwise over a new one to the
// address that answers first; when that one turns out to be of no use, to the others.
func (d *delivery) tryHost(ctx context.Context, key string, hops []hop, dem *demand) {
	c := d.client
	leave, err := c.pool.enter(ctx, key)
	if err != nil {
		d.settle(d.open(), d.client.unreached(hops[0], err))
		return
	}
	defer leave()
	print := dem.print()
	for s := c.pool.take(key, print); s != nil; s = c.pool.take(key, print) {
		s.attach(s.conn)
		s.bind(ctx, d.req.Verbose)
		s.used = true
		if d.wantsExtension() && time.Since(s.helloed) > helloAge {
			// RFC 5321 4.1.4 allows EHLO at any time: what a host offered a while ago it may not offer now, and mail that
			// needs it must not go on the strength of an old answer.
			if v := s.hello(ctx); v != nil {
				s.dead = true
				c.close(s)
				continue
			}
		}
		d.show("Using cached ESMTP connection to " + s.hop.verbose() + " via " + c.conf.Name + "...")
		if !d.use(ctx, s) {
			return
		}
	}
	left, down := c.memory.usable(hops, time.Now())
	if down != nil {
		if c.conf.Sendmail {
			down.status = calledBy(down.status, hops[0])
		}
		d.settle(d.open(), *down)
	}
	left = interleave(left, c.conf.Family)
	for len(left) > 0 && d.tries < c.conf.MaxAddresses && context.Cause(ctx) == nil {
		if c.conf.Dial != nil && c.conf.LMTP { // a program on a pipe
			d.show("Connecting to " + c.conf.Name + "...")
		} else {
			d.show("Connecting to " + left[0].verbose() + " via " + c.conf.Name + "...")
		}
		s, gone := d.connect(ctx, left[:min(len(left), c.conf.MaxAddresses-d.tries)], dem)
		d.tries += len(gone)
		left = slices.DeleteFunc(left, func(h hop) bool { return slices.Contains(gone, h) })
		if s == nil {
			continue
		}
		s.key = key
		d.use(ctx, s)
		if len(d.open()) == 0 {
			return
		}
	}
}

// connect opens a connection to one of list. gone are the addresses that are used up, for good or bad.
func (d *delivery) connect(ctx context.Context, list []hop, dem *demand) (s *session, gone []hop) {
	c := d.client
	conn, h, failed := c.race(ctx, list)
	for _, x := range list {
		if err := failed[x.at()]; err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			d.unusable(ctx, x, d.client.unreached(x, err))
			gone = append(gone, x)
		}
	}
	if conn == nil {
		if cause := context.Cause(ctx); cause != nil && len(gone) == 0 {
			d.settle(d.open(), d.client.unreached(list[0], cause))
		}
		return nil, list
	}
	gone = append(gone, h)
	s, v := c.begin(ctx, conn, h, dem, d.req.Verbose)
	if v != nil && v.tls && context.Cause(ctx) == nil {
		d.log.Info("TLS failed, going on in clear", "id", d.req.Envelope.ID, "host", h.String())
		if conn, err := c.dial(ctx, h); err == nil {
			plain := *dem
			plain.level = TLSNever
			if s, v = c.begin(ctx, conn, h, &plain, d.req.Verbose); s != nil {
				s.print = dem.print() // the next one would end here, too
			}
		}
	}
	if v != nil {
		d.unusable(ctx, h, *v)
		return nil, gone
	}
	c.memory.reached(h, time.Now())
	d.logTLS(s)
	return s, gone
}

// logTLS writes sendmail's line about a new session: the version, the cipher, and how far the certificate is believed (OK:
// an authority signed it for this name; TRUSTED: a TLSA record matches; FAIL: neither was looked for or found).
func (d *delivery) logTLS(s *session) {
	word := strings.Fields(s.tls)
	if len(word) != 3 {
		return
	}
	verify := map[string]string{"verified": "OK", "verified-dane": "TRUSTED"}[word[2]]
	d.log.Info("STARTTLS=client", "id", d.req.Envelope.ID, "relay", s.hop.String(), "version", word[0], "verify", cmp.Or(verify, "FAIL"), "cipher", word[1])
}

// unusable records that an address could not be used.
func (d *delivery) unusable(ctx context.Context, h hop, v verdict) {
	level := slog.LevelInfo
	if d.client.conf.Sendmail { // the lines of sendmail's log tell of it
		level = slog.LevelDebug
	}
	d.log.Log(ctx, level, "host not usable", "id", d.req.Envelope.ID, "host", h.String(), "status", v.status.Code(), "why", v.status.Text())
	if v.down && context.Cause(ctx) == nil {
		d.client.memory.failed(h, v, time.Now())
	}
	d.settle(d.open(), v)
}

// helloAge is how long the answer to EHLO counts for mail that needs an extension.
const helloAge = 100 * time.Millisecond

// wantsExtension reports whether the message needs more of a host than RFC 5321 promises.
func (d *delivery) wantsExtension() bool {
	e := d.req.Envelope
	return e.BodyType == envelope.Body8BitMIME || e.BodyType == envelope.BodyBinaryMIME || e.RequireTLS || d.needsUTF8()
}

// use delivers what is open over s, in as many transactions as it takes; stale tells that the peer had left, and nothing
// was sent. s may be somebody else's when it returns.
func (d *delivery) use(ctx context.Context, s *session) (stale bool) {
	defer d.client.close(s)
	open := d.open()
	for len(open) > 0 && !s.dead {
		most := d.client.conf.MaxRecipients
		if s.ext.maxRcpts > 0 {
			most = min(most, s.ext.maxRcpts)
		}
		batch := open[:min(len(open), most)]
		again := d.transact(ctx, s, batch)
		if s.stale {
			return true
		}
		open = append(again, open[len(batch):]...)
	}
	if len(open) > 0 {
		d.settle(open, lost(atMail, io.EOF, s))
	}
	return false
}

func (d *delivery) show(text string) {
	if open := d.open(); d.req.Verbose != nil && len(open) > 0 {
		who := d.req.Recipients[open[0]].User
		if d.client.conf.Sendmail {
			for _, i := range open[1:] {
				who += "," + d.req.Recipients[i].User
			}
		}
		d.req.Verbose(who + "... " + text)
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
