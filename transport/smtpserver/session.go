// Package smtpserver receives mail by SMTP and LMTP. Octets of a connection flow in; calls of the Session interface,
// which this package defines and its caller implements, flow out, and the Session's replies flow back. It reads and
// writes the protocol of RFC 5321 with PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152), DSN (RFC 3461),
// ENHANCEDSTATUSCODES (RFC 2034), STARTTLS (RFC 3207), AUTH (RFC 4954), CHUNKING (RFC 3030), SMTPUTF8 (RFC 6531),
// DELIVERBY (RFC 2852), REQUIRETLS (RFC 8689), LIMITS (RFC 9422), ETRN (RFC 1985), and LMTP (RFC 2033).
//
// It knows nothing of queues, rules or users: whether a sender, a recipient or a message is welcome is for the Session
// to say. What it guards is the protocol: the order of commands (states.go), lines, octets, sizes, times, numbers.
package smtpserver

import (
	"context"
	"crypto/tls"
	"io"
	"net/netip"

	"waybill/transport/envelope"
	"waybill/transport/smtp"
)

// Backend makes a Session for each connection.
type Backend interface {
	// NewSession is called before the greeting. A reply refuses the client: a negative one is sent instead of the
	// greeting, and the connection is closed behind it. The client stays valid, and is kept up to date by the
	// server, until the Session is closed; only Name may be set by the Backend.
	NewSession(ctx context.Context, client *Client) (Session, *smtp.Reply)
}

// Session is what the server asks. Its methods are called one after the other, never at once. A nil reply is consent
// with the usual words. ctx ends when the server is stopped the hard way or the connection has failed.
type Session interface {
	// Mail begins a transaction.
	Mail(ctx context.Context, from MailFrom) *smtp.Reply
	// Rcpt adds a recipient to it.
	Rcpt(ctx context.Context, to RcptTo) *smtp.Reply
	// Data ends the transaction: body is the message with LF line ends, read from the connection as it arrives. Only
	// io.EOF from it is the end of the message; after any other error the message must be forgotten, and the server
	// answers in place of the Session. A positive reply is a promise: it must come after the message is safe. The
	// Session may take its time, also between reads. What it does not read is discarded; behind Data body is not read.
	Data(ctx context.Context, body io.Reader) *smtp.Reply
	// Reset ends the transaction without a message: RSET, EHLO, STARTTLS, a failure. It is also called behind Data.
	Reset()
	// Close is the last call.
	Close()
}

// Greeter is a Session that wants to see, and may refuse, the name in HELO, EHLO or LHLO.
// A positive reply's text is what the server says behind its own name.
type Greeter interface {
	Helo(ctx context.Context, name string) *smtp.Reply
}

// RecipientData is a Session that answers for each recipient of an LMTP transaction (RFC 2033 4.2): as many replies
// as recipients it accepted, in order. Without it the reply of Data is given once for each.
type RecipientData interface {
	DataLMTP(ctx context.Context, body io.Reader) []*smtp.Reply
}

// Verifier is a Session that answers VRFY. Without it VRFY is answered 252 for everybody (RFC 5321 7.3).
type Verifier interface {
	Vrfy(ctx context.Context, name string) *smtp.Reply
}

// Expander is a Session that answers EXPN. Without it EXPN is not offered, and answered 502.
type Expander interface {
	Expn(ctx context.Context, list string) *smtp.Reply
}

// QueueRunner is a Session that answers ETRN (RFC 1985). node is a domain, "@" and a domain, or "#" and a queue name.
// Without it ETRN is not offered.
type QueueRunner interface {
	Etrn(ctx context.Context, node string) *smtp.Reply
}

// TLSJudge is a Session that is asked about each TLS session that has begun. A negative reply is what the client hears to
// all that it asks for from then on.
type TLSJudge interface {
	StartedTLS(ctx context.Context) *smtp.Reply
}

// Chooser is a Session that does not offer all that it could: AUTH, STARTTLS, ETRN, EXPN, VERB, VRFY, or the keyword of an
// extension, DSN, PIPELINING, 8BITMIME. What is not offered is not in the answer to EHLO, and a command is answered 502.
type Chooser interface {
	Offers(word string) bool
}

// Verboser is a Session that answers VERB (sendmail.go). Without it VERB is answered 502.
type Verboser interface {
	Verb(ctx context.Context) *smtp.Reply
}

// Helper is a Session with a help text of its own; topic is what stands behind HELP, or empty.
type Helper interface {
	Help(ctx context.Context, topic string) *smtp.Reply
}

// PathReader is a Session that reads the paths of MAIL and RCPT itself, where Config.Sendmail is set. text is what stands
// behind the colon; shown is the path as it came, and rest, the parameters, stands behind it in text. A reply refuses the
// path.
type PathReader interface {
	ReadPath(ctx context.Context, verb, text string) (addr envelope.Address, shown, rest string, refusal *smtp.Reply)
}

// Named is a Session that says how sendmail calls the client in its replies.
type Named interface {
	Peer() string
}

// Speaker is a Session that has more to say before a reply to DATA, line by line; say sends one.
type Speaker interface {
	Speak(say func(line string))
}

// MailFrom is a MAIL command that was well-formed. BODY=BINARYMIME does not reach the Session: it is told 8BITMIME, and
// reads a message whose binary parts have become base64.
type MailFrom struct {
	Addr envelope.Address
	Text string // the path as it came
	smtp.MailParams
}

// RcptTo is a RCPT command that was well-formed.
type RcptTo struct {
	Addr envelope.Address
	Text string // the path as it came
	smtp.RcptParams
}

// Client is what is known about the other side.
type Client struct {
	Remote netip.AddrPort // zero when the client is a local program on a pipe
	Local  netip.AddrPort
	Name   string               // verified name; set by the Backend, or by XCLIENT
	Helo   string               // as in the last HELO, EHLO or LHLO; empty before
	ESMTP  bool                 // it was EHLO or LHLO
	TLS    *tls.ConnectionState // nil without TLS
	Auth   string               // authenticated identity; empty without
	LMTP   bool
	Role   string // of the listener that it came to (Role.Name)

	Rate        int // connections of this client (an IPv4 address, an IPv6 /64) within a minute, this one included
	Connections int // of this client that are open, this one included
}

// Protocol is the word behind "with" in Received (RFC 3848, RFC 6531 4.3). utf8 says that the transaction has SMTPUTF8.
func (c *Client) Protocol(utf8 bool) string {
	word := "SMTP"
	switch {
	case c.LMTP && utf8:
		word = "UTF8LMTP"
	case c.LMTP:
		word = "LMTP"
	case utf8:
		word = "UTF8SMTP"
	case c.ESMTP:
		word = "ESMTP"
	default:
		return word
	}
	if c.TLS != nil {
		word += "S"
	}
	if c.Auth != "" {
		word += "A"
	}
	return word
}

// TLSText is the version and cipher for Received and logs, "TLSv1.3 TLS_AES_128_GCM_SHA256"; empty without TLS.
func (c *Client) TLSText() string {
	if c.TLS == nil {
		return ""
	}
	version := map[uint16]string{tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3"}[c.TLS.Version]
	if version == "" {
		version = "TLS"
	}
	return version + " " + tls.CipherSuiteName(c.TLS.CipherSuite)
}
