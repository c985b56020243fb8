package smtpclient

import (
	"bufio"
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"waybill/transport"
	"waybill/transport/smtp"
	"waybill/transport/sysexits"
)

// session is one connection that has been greeted.
type session struct {
	conf    *Config
	hop     hop
	conn    net.Conn
	br      *bufio.Reader
	bw      *bufio.Writer
	verbose func(string)
	ext     extensions
	helloed time.Time // when ext was learned
	last    string    // the command that was sent last, until it is in lines
	intro   bool      // lines has said with whom we talk
	lines   []string  // of the transcript, until somebody takes them
	tls     string    // as in transport.Status
	state   *tls.ConnectionState
	peer    Peer
	trouble error // why TLS failed, for the log
	dead    bool  // nothing more may be sent
	release func() bool

	key   string // what the pool knows it by
	print string // of the demand that it fulfils
	born  time.Time
	sent  int  // transactions that ended well
	used  bool // it came from the pool, and has said nothing since
	stale bool // it came from the pool and was dead
	place *list.Element
	timer *time.Timer
}

// extensions is what the peer offered in its last EHLO reply.
type extensions struct {
	esmtp      bool
	pipelining bool
	enhanced   bool
	eightBit   bool
	dsn        bool
	utf8       bool
	startTLS   bool
	requireTLS bool
	deliverBy  bool
	chunking   bool
	auth       map[string]bool // mechanisms
	size       bool
	maxSize    int64 // 0: no limit was named
	maxMails   int   // in a session; 0: no limit was named
	maxRcpts   int   // in a transaction; 0: no limit was named
}

// wire sets a deadline before each write, so that a peer that stops reading is noticed (RFC 5321 4.5.3.2.5).
type wire struct {
	net.Conn
	timeout time.Duration
}

func (w wire) Write(p []byte) (int, error) {
	if err := w.Conn.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}

// Sizes of the buffers of a session: a reply line must fit the first, and the second makes large writes.
const (
	readBuffer  = 4096
	writeBuffer = 16384
)

// begin speaks on a new connection up to the point where MAIL may be sent. The connection is closed when ctx ends,
// whatever is being waited for.
func (c *Client) begin(ctx context.Context, conn net.Conn, h hop, dem *demand, verbose func(string)) (*session, *verdict) {
	s := &session{conf: &c.conf, hop: h, born: time.Now(), print: dem.print()}
	s.attach(conn)
	s.bind(ctx, verbose)
	if v := c.greet(ctx, s, dem); v != nil {
		c.close(s)
		return nil, v
	}
	return s, nil
}

// bind gives the session to a delivery.
func (s *session) bind(ctx context.Context, verbose func(string)) {
	s.verbose = verbose
	s.release = context.AfterFunc(ctx, func() { s.conn.Close() })
}

// attach sets up the buffers. Those of an idle session are given back: it costs no more than its socket.
func (s *session) attach(conn net.Conn) {
	s.conn = conn
	s.br = readers.Get().(*bufio.Reader)
	s.br.Reset(conn)
	s.bw = writers.Get().(*bufio.Writer)
	s.bw.Reset(wire{conn, s.conf.Timeouts.DataBlock})
}

func (s *session) detach() {
	if s.br != nil {
		s.br.Reset(nil)
		s.bw.Reset(nil)
		readers.Put(s.br)
		writers.Put(s.bw)
		s.br, s.bw = nil, nil
	}
}

// The buffers of all sessions are alike, and hold nothing between two uses.
var (
	readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }}
	writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, writeBuffer) }}
)

// greet waits for 220, says EHLO or HELO, starts TLS as it is demanded, and logs in where we have to.
func (c *Client) greet(ctx context.Context, s *session, dem *demand) *verdict {
	if c.conf.ImplicitTLS && dem.level != TLSNever { // RFC 8314 3
		if v := c.handshake(ctx, s, dem); v != nil {
			return v
		}
	}
	r, v := s.expect(ctx, atGreeting, s.conf.Timeouts.Greeting)
	if v != nil {
		return v
	}
	if r.Code != 220 {
		v := judge(atGreeting, r, s)
		return &v
	}
	if v := s.hello(ctx); v != nil {
		return v
	}
	if dem.level != TLSNever && s.tls == "" {
		if v := c.startTLS(ctx, s, dem); v != nil {
			return v
		}
		if s.tls != "" {
			if v := s.hello(ctx); v != nil { // RFC 3207 4.2: what was learned before is forgotten
				return v
			}
		}
	}
	s.peer = Peer{Domain: dem.report.Domain, Host: s.hop.name, Addr: s.hop.addr, Verify: "NONE"}
	if s.state != nil {
		s.peer.TLS, s.peer.Verify = s.state, s.verifiedAs(c.conf.TLSConfig.RootCAs)
	}
	if c.conf.Auth != nil {
		cred, ok, err := c.conf.Auth(ctx, s.peer)
		if err != nil {
			v := verdict{status: transport.NewStatus(transport.Deferred, "4.7.0", "our login for "+s.hop.name+" cannot be looked up now"), next: true}
			return &v
		}
		if ok {
			if v := s.authenticate(ctx, cred); v != nil {
				return v
			}
		}
	}
	if c.conf.Approve != nil {
		if status, ok := c.conf.Approve(ctx, s.peer); !ok {
			s.sign(&status, nil)
			return &verdict{status: status, next: true}
		}
	}
	if dem.require && !s.ext.requireTLS { // RFC 8689 4.2.1
		v := verdict{status: refused("5.7.30", s.hop.name+" does not support REQUIRETLS", sysexits.Unavailable), next: true}
		s.sign(&v.status, nil)
		return &v
	}
	return nil
}

// hello says EHLO (LHLO in LMTP), and HELO to those who do not know it.
func (s *session) hello(ctx context.Context) *verdict {
	word := "EHLO "
	if s.conf.LMTP {
		word = "LHLO " // RFC 2033 4.1
	}
	s.ext, s.helloed = extensions{}, time.Now()
	r, v := s.ask(ctx, atHello, s.conf.Timeouts.Hello, word+s.conf.Hello)
	if v != nil {
		return v
	}
	switch {
	case r.Code == 250:
		s.ext = parseExtensions(r.Lines)
	case r.Permanent() && !s.conf.LMTP:
		if r, v = s.ask(ctx, atHello, s.conf.Timeouts.Hello, "HELO "+s.conf.Hello); v != nil {
			return v
		}
		if r.Code != 250 {
			v := judge(atHello, r, s)
			return &v
		}
	default:
		v := judge(atHello, r, s)
		return &v
	}
	// A peer with our own name is ourselves, reached through an MX that should not point here.
	name, _, _ := strings.Cut(r.Lines[0], " ")
	if s.conf.LoopCheck && strings.Contains(name, ".") && strings.EqualFold(strings.TrimSuffix(name, "."), s.conf.Hello) {
		v := loop(s.hop.name)
		return &v
	}
	return nil
}

// parseExtensions reads the lines of an EHLO reply behind the first (RFC 5321 4.1.1.1).
func parseExtensions(lines []string) (e extensions) {
	e.esmtp = true
	for _, line := range lines[min(1, len(lines)):] {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if mechanisms, ok := cutFold(word, "AUTH="); ok { // as servers wrote it before RFC 2554
			word, rest = "AUTH", mechanisms+" "+rest
		}
		switch strings.ToUpper(word) {
		case "ENHANCEDSTATUSCODES": // RFC 2034
			e.enhanced = true
		case "PIPELINING": // RFC 2920
			e.pipelining = true
		case "8BITMIME": // RFC 6152
			e.eightBit = true
		case "DSN": // RFC 3461
			e.dsn = true
		case "SMTPUTF8": // RFC 6531
			e.utf8 = true
		case "STARTTLS": // RFC 3207
			e.startTLS = true
		case "AUTH": // RFC 4954
			if e.auth == nil {
				e.auth = map[string]bool{}
			}
			for m := range strings.FieldsSeq(strings.ToUpper(rest)) {
				e.auth[m] = true
			}
		case "CHUNKING": // RFC 3030
			e.chunking = true
		case "LIMITS": // RFC 9422
			for limit := range strings.FieldsSeq(rest) {
				name, value, _ := strings.Cut(limit, "=")
				n, err := strconv.Atoi(value)
				switch {
				case err != nil || n < 1:
				case strings.EqualFold(name, "MAILMAX"):
					e.maxMails = n
				case strings.EqualFold(name, "RCPTMAX"):
					e.maxRcpts = n
				}
			}
		case "DELIVERBY": // RFC 2852
			e.deliverBy = true
		case "REQUIRETLS": // RFC 8689
			e.requireTLS = true
		case "SIZE": // RFC 1870
			e.size = true
			if n, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64); err == nil && n > 0 {
				e.maxSize = n
			}
		}
	}
	return e
}

func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

// send writes one command line into the buffer.
func (s *session) send(line string) {
	if s.verbose != nil {
		s.verbose(">>> " + line)
	}
	s.last = line
	s.bw.WriteString(line)
	s.bw.WriteString("\r\n")
}

// write keeps a reply that is not a plain "go on" for the transcript of a notice.
func (s *session) write(r *smtp.Reply) {
	if !s.conf.Sendmail || r.Code < 400 {
		return
	}
	if !s.intro {
		s.lines, s.intro = append(s.lines, "... while talking to "+s.hop.verbose()+":"), true
	}
	if s.last != "" {
		s.lines, s.last = append(s.lines, ">>> "+s.last), ""
	}
	for i, line := range asSent(r) {
		s.lines = append(s.lines[:len(s.lines):len(s.lines)], "<<< "+line)
		if i > 20 {
			break
		}
	}
}

// asSent are the lines of a reply as they came.
func asSent(r *smtp.Reply) []string {
	lines := make([]string, len(r.Lines))
	for i, line := range r.Lines {
		sep := "-"
		if i == len(r.Lines)-1 {
			sep = " "
		}
		if r.Enhanced != "" {
			line = r.Enhanced + " " + line
		}
		lines[i] = strconv.Itoa(r.Code) + sep + line
	}
	return lines
}

// take gives the transcript away.
func (s *session) take() []string {
	lines := s.lines
	s.lines = nil
	return lines
}

// ask sends one command and waits for its reply.
func (s *session) ask(ctx context.Context, at stage, timeout time.Duration, line string) (*smtp.Reply, *verdict) {
	s.send(line)
	return s.expect(ctx, at, timeout)
}

// expect flushes what was sent and waits for one reply. A verdict means that the connection is of no more use.
func (s *session) expect(ctx context.Context, at stage, timeout time.Duration) (*smtp.Reply, *verdict) {
	err := s.bw.Flush()
	var r *smtp.Reply
	if err == nil {
		if err = s.conn.SetReadDeadline(time.Now().Add(timeout)); err == nil {
			r, err = smtp.ReadReply(s.br)
		}
	}
	if err != nil {
		s.dead = true
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		v := lost(at, err, s)
		return nil, &v
	}
	s.show(r)
	s.write(r)
	if r.Code == 421 { // RFC 5321 3.8: the peer closes
		s.dead = true
	}
	return r, nil
}

func (s *session) show(r *smtp.Reply) {
	if s.verbose == nil {
		return
	}
	for _, line := range asSent(r) {
		s.verbose(line)
	}
}

// sign writes into st who said it.
func (s *session) sign(st *transport.Status, r *smtp.Reply) {
	st.Remote = s.hop.String()
	st.TLS = s.tls
	if r != nil {
		st.Reply = clip(r.String(), 900)
		if s.conf.Sendmail {
			st.Reply = clip(asSent(r)[0], 900)
		}
		st.Diagnostic = "smtp"
	}
}

// close ends the session, or keeps it for the next delivery when it is at rest.
func (c *Client) close(s *session) {
	if !s.release() { // the context has ended, and the connection is closed
		s.dead = true
	}
	s.verbose, s.intro, s.lines = nil, false, nil
	if s.dead {
		s.conn.Close()
		s.detach()
		return
	}
	if s.key != "" && (s.sent > 0 || s.conf.Sendmail) && s.sent < c.conf.MaxMessages && (s.ext.maxMails == 0 || s.sent < s.ext.maxMails) && time.Since(s.born) < c.conf.MaxAge && s.br.Buffered() == 0 {
		s.detach()
		if c.pool.park(s) {
			return
		}
	}
	c.bye(s)
}

// Farewell ends the idle connections, the youngest first, and shows it to say: the end of sendmail -v.
func (c *Client) Farewell(say func(line string)) {
	for s := c.pool.youngest(); s != nil; s = c.pool.youngest() {
		say("Closing connection to " + s.hop.verbose())
		s.conn.SetDeadline(time.Now().Add(c.conf.Timeouts.Quit))
		s.attach(s.conn)
		s.verbose = say
		s.send("QUIT")
		if s.bw.Flush() == nil {
			if r, err := smtp.ReadReply(s.br); err == nil {
				s.show(r)
			}
		}
		s.detach()
		s.conn.Close()
	}
}

// bye says QUIT (RFC 5321 4.1.1.10), in the background, so that nobody waits for a peer's good-bye.
func (c *Client) bye(s *session) {
	s.dead = true
	c.quits.Go(func() {
		defer s.conn.Close()
		s.conn.SetDeadline(time.Now().Add(c.conf.Timeouts.Quit))
		if s.br == nil {
			s.attach(s.conn)
		}
		defer s.detach()
		s.send("QUIT")
		if s.bw.Flush() == nil {
			smtp.ReadReply(s.br)
		}
	})
}
