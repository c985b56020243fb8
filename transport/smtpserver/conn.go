package smtpserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"waybill/transport/envelope"
	"waybill/transport/smtp"
)

// conn is one connection: the state, and the loop that reads commands, looks them up in the table of states.go, and
// runs them.
type conn struct {
	srv     *Server
	cfg     *Config
	log     *slog.Logger
	w       *wire
	client  *Client
	session Session

	peer    netip.Addr // who connected, whatever XCLIENT says
	group   netip.Prefix
	trusted bool
	counted netip.Prefix // the client that the server counts this connection for

	implicitTLS bool // TLS comes before the greeting (RFC 8314 3.3)

	denied   *smtp.Reply // the client is not served: what it asks for is answered with this, until it goes
	state    state
	verb     string // the command that is being run, for the log
	utf8     bool   // the transaction has SMTPUTF8
	bodyType envelope.BodyType
	rcpts    int // recipients that the Session took
	refused  int // recipients of this transaction that were not taken

	messages, errors, junk, badRcpts int // since the last message, but for messages
	badCommands                      int // of sendmail.go
	authFailures                     int

	err error // why the connection is of no more use

	ctx     context.Context
	cancel  context.CancelFunc
	cutOnce sync.Once
	rw      io.ReadWriter
}

func newConn(ctx context.Context, s *Server, cfg *Config, rw io.ReadWriter, client *Client) *conn {
	c := &conn{srv: s, cfg: cfg, w: newWire(rw, cfg), client: client, rw: rw, state: fresh}
	c.ctx, c.cancel = context.WithCancel(ctx)
	if (cfg.Lenient || cfg.Sendmail) && !cfg.LMTP {
		c.state = ready
	}
	c.peer = client.Remote.Addr()
	c.identify()
	return c
}

// identify works out what follows from the address of the client.
func (c *conn) identify() {
	addr := c.client.Remote.Addr()
	c.group = clientGroup(addr)
	// a client without an address is a program of this host, on a pipe or a Unix socket
	c.trusted = !addr.IsValid() || c.cfg.Trusted != nil && c.cfg.Trusted(addr)
	c.log = c.cfg.Log
	if addr.IsValid() {
		c.log = c.log.With("client", addr.String())
	}
}

// cut ends the connection wherever it is.
func (c *conn) cut() {
	c.cutOnce.Do(func() {
		c.cancel()
		if cl, ok := c.rw.(io.Closer); ok {
			_ = cl.Close()
		}
	})
}

// serve runs the dialogue from the greeting to the end. The error says what ended it, nil being QUIT or the client's
// going away between transactions.
func (c *conn) serve() (err error) {
	ctx := c.ctx
	defer c.cancel()
	stopCut := context.AfterFunc(ctx, c.cut)
	defer stopCut()
	defer func() {
		if p := recover(); p != nil {
			// one client must not end the service for all; what the Session did is its own to undo in Close
			c.log.Error("panic in an SMTP session", "command", c.verb, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
			defer func() { _ = recover() }() // Close may trip over the same mistake
			c.closeSession()
		}
	}()
	if nc, ok := c.netConn(); ok && c.implicitTLS {
		c.handshake(ctx, nc)
	}
	if c.state != closing && c.greet(ctx) {
		for c.state != closing {
			c.next(ctx)
		}
	}
	c.closeSession()
	if ferr := c.w.bw.Flush(); c.err == nil {
		c.err = ferr
	}
	c.goodbye()
	return c.err
}

// netConn is the connection that TLS can be put on; a pipe is none.
func (c *conn) netConn() (net.Conn, bool) {
	nc, ok := c.rw.(net.Conn)
	return nc, ok
}

func (c *conn) closeSession() {
	if c.session != nil {
		s := c.session
		c.session = nil
		s.Reset()
		s.Close()
	}
}

func (c *conn) greet(ctx context.Context) bool {
	pause := c.cfg.GreetPause
	if c.cfg.PauseFor != nil && !c.trusted {
		pause = c.cfg.PauseFor(ctx, c.client)
	}
	if pause > 0 && !c.trusted && c.talksEarly(pause) {
		return c.denied != nil
	}
	return c.open(ctx)
}

// open asks for a Session and greets.
func (c *conn) open(ctx context.Context) bool {
	session, refusal := c.srv.backend.NewSession(ctx, c.client)
	c.session = session
	switch {
	case refusal != nil && c.cfg.Sendmail && refusal.Code != 421:
		// sendmail greets, and says no to whatever is asked
		c.log.Info("client refused", "reply", refusal.String())
		c.denied = refusal
		c.send(smtp.NewReply(220, "", c.cfg.Hostname+" "+c.cfg.Greeting))
		return true
	case refusal != nil && refusal.Permanent():
		// RFC 5321 3.1: 554 in place of the greeting, and then we wait for QUIT.
		c.log.Info("client refused", "reply", refusal.String())
		c.denied = refusal
		c.send(smtp.NewReply(554, "", c.cfg.Hostname+" "+refusal.Text()))
		return true
	case refusal != nil && !refusal.Positive():
		c.log.Info("client refused", "reply", refusal.String())
		c.close(c.in(smtp.NewReply(421, refusal.Enhanced, c.cfg.Hostname+" "+refusal.Text()), refusal)) // RFC 5321 3.8
		return false
	case session == nil:
		c.log.Error("no session for a client that was not refused")
		c.close(smtp.NewReply(421, "4.3.0", c.cfg.Hostname+" is out of order"))
		return false
	}
	if s, ok := session.(Speaker); ok {
		s.Speak(func(line string) { c.say(line) })
	}
	c.judgeTLS(ctx) // of implicit TLS
	c.send(smtp.NewReply(220, "", c.cfg.Hostname+" "+c.cfg.Greeting))
	return true
}

// talksEarly waits for the greeting pause to pass. RFC 5321 3.1, 4.3.1: a client waits for the greeting; one that does
// not is no mail server.
func (c *conn) talksEarly(pause time.Duration) bool {
	c.w.lineEnd = time.Now().Add(pause)
	_, err := c.w.br.Peek(1)
	switch {
	case err == nil:
		c.log.Info("client talked before the greeting")
		if c.cfg.Sendmail { // which goes on, and says no to whatever is asked
			c.denied = smtp.NewReply(550, "5.0.0", "Command rejected")
			c.send(smtp.NewReply(554, "", c.cfg.Hostname+" ESMTP not accepting messages"))
			return true
		}
		c.close(smtp.NewReply(554, "5.5.1", "you talked before the greeting"))
		return true
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false
	}
	c.fail(err)
	return true
}

// next reads one command and runs it.
func (c *conn) next(ctx context.Context) {
	idle := c.state == fresh || c.state == ready
	if stopping := c.w.setIdle(idle); idle && stopping {
		c.fail(errStopping)
		return
	}
	most := smtp.MaxCommandLine
	if c.cfg.Sendmail {
		most = sendmailLine
	}
	line, err := c.w.line(most, c.cfg.Lenient)
	c.w.setIdle(false)
	switch {
	case c.cfg.Sendmail && errors.Is(err, errOctet): // sendmail takes CR for white space, and NUL for the end
		c.run(ctx, sevenBits(line))
	case err != nil:
		c.fail(err)
		return
	case c.cfg.Sendmail:
		c.run(ctx, sevenBits(line))
	default:
		c.run(ctx, string(line))
	}
	c.checkBudgets()
}

// run executes one command line.
func (c *conn) run(ctx context.Context, line string) {
	verb, arg, _ := strings.Cut(line, " ")
	if i := strings.IndexAny(line, white); c.cfg.Sendmail && i >= 0 {
		verb, arg = line[:i], strings.TrimLeft(line[i:], white)
	}
	verb = strings.ToUpper(verb)
	arg = strings.TrimRight(arg, " ") // RFC 5321 4.1.1: trailing white space SHOULD be tolerated
	if speaksHTTP(verb) && !(c.cfg.Sendmail && c.trusted) {
		// cross-protocol scripting: a browser that was told to send us a form
		c.log.Info("client speaks HTTP")
		c.close(smtp.NewReply(421, "4.7.0", "this is not a web server"))
		return
	}
	if c.denied != nil {
		c.deny(verb, line)
		return
	}
	cmd, known := c.srv.commands[verb]
	if c.cfg.Sendmail {
		if done := c.runAsSendmail(ctx, verb, arg, line); done {
			return
		}
	}
	if !known {
		c.verb = "?"
		c.unknown(verb)
		return
	}
	c.verb = verb
	if cmd.junk {
		c.junk++
	}
	switch {
	case cmd.legal&c.state == 0:
		c.reply(c.outOfOrder())
	case cmd.arg == argNone && arg != "" && !c.cfg.Sendmail:
		c.reply(smtp.NewReply(501, "5.5.4", verb+" takes no argument"))
	case cmd.arg == argNeed && arg == "" && !(c.cfg.Sendmail && saysItself(verb)):
		c.reply(smtp.NewReply(501, "5.5.4", verb+" needs an argument"))
	default:
		cmd.run(c, ctx, arg)
	}
}

// deny answers a client that is not served: RFC 5321 3.1 asks for 503 to whatever is not QUIT; sendmail repeats why.
func (c *conn) deny(verb, line string) {
	_, known := c.srv.commands[verb]
	switch {
	case c.cfg.Sendmail && (verb == "EHLO" || verb == "HELO") && c.w.br.Buffered() > 0:
		c.reply(smtp.NewReply(554, "5.5.0", "SMTP protocol error"))
	case c.cfg.Sendmail && verb == "RSET":
		c.reply(smtp.NewReply(250, "2.0.0", "Reset state"))
	case c.cfg.Sendmail && !known && verb != "VERB" && verb != "ETRN":
		c.noSuch(line)
	case verb == "QUIT":
		c.quit(c.ctx, "")
	case c.cfg.Sendmail && (verb == "EHLO" || verb == "HELO"):
		reply := &smtp.Reply{Code: 250, Lines: []string{c.cfg.Hostname + " Hello " + c.deniedName() + ", pleased to meet you"}}
		if verb == "EHLO" {
			reply.Lines = append(reply.Lines, "ENHANCEDSTATUSCODES")
		}
		c.reply(reply)
	case c.cfg.Sendmail && verb == "NOOP":
		c.reply(smtp.NewReply(250, "2.0.0", "OK"))
	default:
		c.reply(c.in(smtp.NewReply(503, c.denied.Enhanced, c.denied.Text()), c.denied))
	}
}

// deniedName is how sendmail calls a client in its answer to EHLO.
func (c *conn) deniedName() string {
	addr := "[" + c.client.Remote.Addr().String() + "]"
	if c.client.Name == "" {
		return addr
	}
	return c.client.Name + " " + addr
}

// outOfOrder says which command was expected (RFC 5321 4.3.2).
func (c *conn) outOfOrder() *smtp.Reply {
	if c.cfg.Sendmail {
		if r := c.sendmailOrder(); r != nil {
			return r
		}
	}
	hello := "EHLO"
	if c.cfg.LMTP {
		hello = "LHLO"
	}
	switch {
	case c.state == fresh:
		return smtp.NewReply(503, "5.5.1", "say "+hello+" first")
	case c.state == ready && c.client.Helo == "":
		return smtp.NewReply(503, "5.5.1", "say "+hello+" or MAIL first")
	case c.state == ready:
		return smtp.NewReply(503, "5.5.1", "say MAIL first")
	case c.state == mail && c.refused > 0:
		return smtp.NewReply(554, "5.5.1", "no valid recipients") // RFC 5321 3.3
	case c.state == mail:
		return smtp.NewReply(503, "5.5.1", "say RCPT first")
	}
	return smtp.NewReply(503, "5.5.1", "not in the middle of a transaction")
}

func (c *conn) unknown(verb string) {
	switch verb {
	case "SEND", "SOML", "SAML", "TURN", "BURL", "ATRN", "VERB", "ONEX":
		c.reply(smtp.NewReply(502, "5.5.1", "command not implemented"))
	default:
		c.reply(smtp.NewReply(500, "5.5.1", "command not recognized")) // nothing of it is echoed
	}
}

func speaksHTTP(verb string) bool {
	switch verb {
	case "GET", "POST", "PUT", "HEAD", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
		"HOST:", "USER-AGENT:", "COOKIE:", "REFERER:", "CONTENT-LENGTH:", "CONTENT-TYPE:", "ACCEPT:":
		return true
	}
	return false
}

// reply answers a command. A 5yz answer counts against the budget of errors.
func (c *conn) reply(r *smtp.Reply) {
	if r.Permanent() {
		c.errors++
	}
	c.send(r)
}

// answer sends what a Session said, or ok where it said nothing, and reports whether that was consent. A reply that
// the Session had no right to give, 1yz, 3yz or none at all, is temporary: it must not pass for consent.
func (c *conn) answer(r *smtp.Reply, ok *smtp.Reply) bool {
	r = settle(r, ok)
	c.reply(r)
	if r.Code == 421 {
		c.state = closing // RFC 5321 3.8
	}
	return r.Positive()
}

func settle(r, ok *smtp.Reply) *smtp.Reply {
	switch {
	case r == nil:
		return ok
	case r.Positive() || r.Temporary() || r.Permanent():
		return r
	}
	return smtp.NewReply(451, "4.3.0", "internal error")
}

func (c *conn) send(r *smtp.Reply) {
	if c.cfg.SoftBounce {
		r = soften(r)
	}
	if err := c.w.send(r, c.utf8); err != nil {
		c.lost(err)
	}
}

// close sends the last reply.
func (c *conn) close(r *smtp.Reply) {
	c.send(r)
	c.state = closing
}

// lost notes that the connection is gone: nothing can be said any more.
func (c *conn) lost(err error) {
	if c.err == nil {
		c.err = err
	}
	c.state = closing
}

// fail treats an error of reading: a line that is no command, a wait that was too long, an end. Every one of them has
// its answer here.
func (c *conn) fail(err error) {
	name := c.cfg.Hostname
	switch {
	case errors.Is(err, errLongLine) && c.cfg.Sendmail:
		c.close(smtp.NewReply(421, "4.7.0", name+" Command too long, possible attack "+c.peerName()))
	case errors.Is(err, errLongLine):
		c.reply(smtp.NewReply(500, "5.5.2", "line too long")) // RFC 5321 4.5.3.1.9
	case errors.Is(err, errOctet):
		c.reply(smtp.NewReply(500, "5.5.2", "CR or NUL in a command line"))
	case errors.Is(err, errFlood):
		c.close(smtp.NewReply(421, "4.5.2", name+" waits for a line end no longer"))
	case errors.Is(err, errBareLine):
		c.close(smtp.NewReply(421, "4.5.2", "lines must end in CRLF"))
	case errors.Is(err, errOusted), c.w.wasOusted(err):
		c.log.Info("idle client sent away: all places are taken")
		c.close(smtp.NewReply(421, "4.3.2", name+" needs your place, come again"))
	case errors.Is(err, errStopping), c.stopped(err):
		c.close(smtp.NewReply(421, "4.3.2", name+" is shutting down"))
		c.err = errStopping
	case errors.Is(err, errTooSlow), errors.Is(err, os.ErrDeadlineExceeded):
		c.log.Info("timeout", "state", c.state.String(), "command", c.verb)
		c.close(smtp.NewReply(421, "4.4.2", name+" waited too long"))
		c.err = err
	case errors.Is(err, io.EOF) && (c.state == fresh || c.state == ready):
		c.state = closing
	default:
		c.log.Info("connection lost", "state", c.state.String(), "command", c.verb, "err", err)
		c.lost(err)
	}
}

// stopped tells a deadline that stop set from one that has passed.
func (c *conn) stopped(err error) bool {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	return errors.Is(err, os.ErrDeadlineExceeded) && c.w.stopping && (c.state == fresh || c.state == ready)
}

// checkBudgets ends a session that leads nowhere. RFC 5321 has no such limits; every server has.
func (c *conn) checkBudgets() {
	if c.state == closing || c.trusted {
		return
	}
	why := ""
	switch {
	case over(c.authFailures, c.cfg.MaxAuthFailures):
		why = "too many failed authentications"
	case over(c.errors, c.cfg.MaxErrors):
		why = "too many errors"
	case over(c.badRcpts, c.cfg.MaxBadRecipients):
		why = "too many unknown recipients"
	case over(c.junk, c.cfg.MaxJunk):
		why = "too many commands without a message"
	default:
		return
	}
	c.log.Info("session ended", "why", why)
	c.close(smtp.NewReply(421, "4.7.0", c.cfg.Hostname+" closes the connection: "+why))
}
