package smtpclient

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"waybill/transport"
	"waybill/transport/smtp"
	"waybill/transport/sysexits"
)

// What every reply and every failure means. This is the only place that decides it.
//
// An answer is about one of three things: the host (it does not serve us now), the message (sender or content), or one
// recipient. And it is yes, no, or not now. Whatever is not one of the answers listed here is "not now": it never
// costs anybody a message.
//
// Connection. Refused, timed out, unreachable, lost before the final dot, not SMTP at all: about the host, not now. The
// next host is tried; when none is left the recipients wait.
//
// Greeting and EHLO/HELO. 2yz goes on. 5yz to EHLO is answered with HELO (RFC 5321 4.1.1.1). Any other 4yz or 5yz is
// about the host: the next one is tried. When none is left, and all said 5yz, the message is returned (RFC 5321 3.1:
// 554 means that there is no service here; RFC 7504: 521); had one of them anything temporary to say, it waits.
//
// 421, at any time before the final dot: the host closes (RFC 5321 3.8). Not now; next host.
//
// STARTTLS and AUTH. What goes wrong there is about the host or about our configuration: not now; next host. Only where
// TLS was not demanded, mail goes in clear instead.
//
// MAIL. 2yz goes on. 5yz is about the sender: no, for all recipients. 4yz is about the host: next host.
//
// RCPT. 2yz is yes (251 and 252 too). 5yz is no, for this recipient. 552 is the old way to say "too many recipients"
// (RFC 5321 4.5.3.1.10) and counts as 452. 452, after the host took some recipients, leaves the others for another
// transaction on the same connection. Any other 4yz: not now, and the next host is asked.
//
// DATA. 354 goes on. 5yz is no, for the recipients that were accepted. 4yz: not now; next host.
//
// During the message. When the connection breaks, a reply that came before the break counts as the one to the final
// dot, if it is 4yz or 5yz. When our own file cannot be read, the connection is cut, so that half a message is never
// taken for a whole one; not now.
//
// BDAT. The reply to a chunk that is not the last is judged as the one to the final dot; 2yz goes on. A connection lost
// before the last chunk is like one lost during the message: next host.
//
// Final dot, or the last chunk. 2yz: the host has it. 5yz: no. 4yz: not now, and no other host is asked: it would judge the same content.
// A connection lost here leaves open what happened. The recipients wait: a second copy is better than none (RFC 1047),
// and no other host is asked, as it would make that second copy certain.
//
// 503 "bad sequence" where we keep the sequence, 5yz to a command after 421, 1yz, 3yz where none belongs, and anything
// from 600: not understood, so not now.
type stage uint8

const (
	atConnect stage = iota
	atGreeting
	atHello
	atTLS
	atAuth
	atMail
	atRcpt
	atData
	atBody // between 354 and the final dot
	atDot
)

var stageWords = [...]string{"connect", "greeting", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "message", "end of message"}

func (s stage) String() string { return stageWords[s] }

// A verdict is what an answer means for the recipients that it is about.
type verdict struct {
	status transport.Status
	next   bool // another host may say something better
	tls    bool // the handshake failed: in clear it might work
	down   bool // the address itself is of no use now, whoever wants to send what: worth remembering
}

// judge says what a reply that is not a plain "go on" means.
func judge(at stage, r *smtp.Reply, s *session) verdict {
	outcome := transport.Deferred
	switch {
	case r.Code == 421, r.Code == 503, at == atTLS, at == atAuth:
	case at == atRcpt && r.Code == 552: // RFC 5321 4.5.3.1.10
	case r.Permanent():
		outcome = transport.Failed
	}
	v := verdict{status: transport.NewStatus(outcome, s.codeFor(outcome, at, r), remoteSaid(s, r, at))}
	v.status.Exit = exit(outcome, at, r.Code)
	v.down = at == atGreeting
	v.next = at < atMail || (outcome == transport.Deferred && (at < atDot || at == atDot && s.conf.Sendmail)) // it has not got the message, and sendmail asks the next
	s.sign(&v.status, r)
	if s.conf.Sendmail && at == atData && outcome == transport.Failed { // which it takes for its own mistake
		v.status.Reply, v.status.Diagnostic = "", ""
	}
	return v
}

// codeFor is the enhanced code for a reply. sendmail believes a host that does not promise such codes about recipients
// only, and has its own for DATA.
func (s *session) codeFor(o transport.Outcome, at stage, r *smtp.Reply) string {
	switch {
	case !s.conf.Sendmail || o != transport.Failed:
	case at == atData:
		return "5.5.0"
	case at == atDot && !s.ext.enhanced:
		return "5.0.0"
	}
	return enhanced(o, at, r)
}

func remoteSaid(s *session, r *smtp.Reply, at stage) string {
	if s.conf.Sendmail {
		return clip(asSent(r)[0], 400)
	}
	return s.hop.name + " said: " + clip(r.String(), 400) + " (at " + at.String() + ")"
}

// enhanced is the code that the host gave, where its class fits the outcome; otherwise the nearest one of RFC 3463.
func enhanced(o transport.Outcome, at stage, r *smtp.Reply) string {
	class := map[transport.Outcome]byte{transport.Deferred: '4', transport.Failed: '5', transport.Relayed: '2', transport.Delivered: '2'}[o]
	if len(r.Enhanced) > 1 && r.Enhanced[0] == class && transport.ValidCode(r.Enhanced) {
		return r.Enhanced
	}
	detail := ".0.0"
	switch code := r.Code % 100; {
	case r.Code == 421:
		detail = ".3.2" // system not accepting messages
	case at == atAuth:
		detail = ".7.8" // authentication credentials invalid (RFC 4954 6)
	case r.Code == 530 || r.Code == 535 || r.Code == 538 || r.Code == 534:
		detail = ".7.0"
	case code == 0 || code == 1 || code == 2 || code == 3 || code == 4:
		detail = ".5.0"
	case at == atRcpt && r.Code == 552:
		detail = ".5.3" // too many recipients
	case at == atRcpt && code == 50:
		detail = ".1.1"
	case at == atRcpt && code == 51:
		detail = ".1.6"
	case at == atRcpt && code == 53:
		detail = ".1.3"
	case at == atMail && (code == 50 || code == 53):
		detail = ".1.8" // bad sender's address
	case code == 52 && r.Code == 552:
		detail = ".2.2" // mailbox full; a message too large has an enhanced code of its own
	case code == 52:
		detail = ".3.1"
	case at <= atTLS:
		detail = ".3.2"
	}
	return string(class) + detail
}

// exit is what sendmail -odi would end with.
func exit(o transport.Outcome, at stage, code int) int {
	switch {
	case o == transport.Deferred:
		return sysexits.TempFail
	case at == atMail:
		return sysexits.DataErr
	case at == atRcpt && (code == 550 || code == 551 || code == 553):
		return sysexits.NoUser
	}
	return sysexits.Unavailable
}

// lost says what a broken connection means. The text is ours: a bounce may carry it.
func lost(at stage, err error, s *session) verdict {
	code, text := "4.4.2", "Connection lost to "
	var netErr net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		text = "Delivery was interrupted while talking to "
	case errors.Is(err, smtp.ErrReplySyntax), errors.Is(err, smtp.ErrReplyLength), errors.Is(err, errProtocol):
		code, text = "4.5.0", "Protocol error by "
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		text = "Connection timed out with "
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		text = "Connection reset by "
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		text = "Connection closed by "
	}
	text += s.hop.name + " (at " + at.String() + ")"
	if at == atDot {
		text += "; it may have the message"
	}
	if s.conf.Sendmail {
		text = "reply: read error from " + s.hop.verbose()
	}
	v := verdict{status: transport.NewStatus(transport.Deferred, code, text), next: at < atDot, down: at == atGreeting}
	v.status.Exit = sysexits.TempFail
	s.sign(&v.status, nil)
	return v
}

var errProtocol = errors.New("the peer broke the protocol")

// unreached says what a connection that never came about means.
func (c *Client) unreached(h hop, err error) verdict {
	text := "Connection failed to "
	var netErr net.Error
	switch {
	case errors.Is(err, context.Canceled):
		text = "Delivery was interrupted before reaching "
	case errors.Is(err, syscall.ECONNREFUSED):
		text = "Connection refused by "
	case c.conf.Sendmail && errors.Is(err, syscall.ENETUNREACH):
		text = h.name + ": Network is unreachable"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		text = "No route to "
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		text = "Connection timed out with "
	}
	st := transport.NewStatus(transport.Deferred, "4.4.1", text+h.name)
	if c.conf.Sendmail {
		st = transport.NewStatus(transport.Deferred, "4.4.1", text+h.verbose())
		switch {
		case strings.HasPrefix(text, "No route"):
			st = transport.NewStatus(transport.Deferred, "4.4.1", "No route to host")
		case strings.HasSuffix(text, " is unreachable"):
			st = transport.NewStatus(transport.Deferred, "4.4.1", text)
		}
	}
	st.Remote = h.String()
	st.Exit = sysexits.TempFail
	return verdict{status: st, next: true, down: true}
}

// calledBy is a failure to reach an address by another of its names.
func calledBy(s transport.Status, h hop) transport.Status {
	for _, word := range []string{" by ", " with "} {
		if text, _, ok := strings.Cut(s.Text(), word); ok && s.Reply == "" {
			out := transport.NewStatus(s.Outcome(), s.Code(), text+word+h.verbose())
			out.Remote, out.Exit = h.String(), s.Exit
			return out
		}
	}
	return s
}

// ours says what a failure of our own means while a message is on its way.
func ours(text string) verdict {
	st := transport.NewStatus(transport.Deferred, "4.3.0", text)
	st.Exit = sysexits.TempFail
	return verdict{status: st}
}

// refused is a "no" that we say ourselves.
func refused(code, text string, exit int) transport.Status {
	st := transport.NewStatus(transport.Failed, code, text)
	st.Exit = exit
	return st
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "..."
	}
	return s
}
