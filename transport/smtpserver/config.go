package smtpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"waybill/transport/smtp"
	"waybill/transport/smtpserver/sasl"
)

// Config is how a Server behaves. The zero value of a field is its default; where a limit can be lifted, a negative
// value lifts it.
type Config struct {
	Hostname string       // our name in the greeting; required
	Greeting string       // text behind the name in the greeting; default "ESMTP Waybill", or "LMTP Waybill"
	Log      *slog.Logger // required
	LMTP     bool         // speak LMTP (RFC 2033) instead of SMTP

	// Lenient is for a local program on a pipe (sendmail -bs): lines of commands may end in LF alone, and MAIL may
	// come without EHLO. The message itself is read as strictly as ever.
	Lenient bool

	// Sendmail makes replies, keywords and leniency those of sendmail, for sites and programs that know no other: see
	// sendmail.go. The Greeting is then that of the site.
	Sendmail bool

	AllowBogusHelo bool // with Sendmail: EHLO and HELO need no name

	// SoftBounce makes each permanent refusal a temporary one (sendmail's option of that name).
	SoftBounce bool

	// TLS makes STARTTLS possible, and is needed for ServeTLS; nil: no TLS. It must bring a certificate. Versions before
	// 1.2 are never spoken.
	TLS *tls.Config

	Auth        sasl.Store // who may authenticate; nil: AUTH is not offered
	AuthInClear bool       // offer AUTH without TLS too: passwords can be read on the way
	NeedTLS     bool       // refuse MAIL without TLS (RFC 3207 4): never on a public port 25
	NeedAuth    bool       // refuse MAIL without AUTH (RFC 6409 4.3): the submission port
	// AuthExternal tells who a client is by its certificate, which it must have verified (AUTH EXTERNAL); nil: not
	// offered.
	AuthExternal func(*tls.ConnectionState) (user string, ok bool)
	// VerifiedAs is the word for the log about a client's certificate; nil: NO without one that was verified, OK with it.
	VerifiedAs      func(*tls.ConnectionState) string
	AuthDelay       time.Duration // before the answer to a wrong password; default 1s
	MaxAuthFailures int           // wrong passwords in a session; default 3; then 421

	MaxSize       int64     // largest message in octets with CRLF line ends, offered as SIZE; default 0: no limit
	MaxLine       int       // longest line of a message in octets without CRLF; default 0: no limit
	Bare          smtp.Bare // what happens to bare CR, bare LF and NUL in a message; default: the message is refused
	MaxRecipients int       // recipients of a message; default 1000, at least 100 (RFC 5321 4.5.3.1.8); then 452
	MaxMessages   int       // messages of a session; default: no limit; then 421

	MaxSessions          int // connections at once; default 2000; then 421
	MaxSessionsPerClient int // connections at once of one IPv4 address or one IPv6 /64; default 50; then 421

	// IdleEnough is how long a client must have waited between transactions before it loses its place to a new one, when
	// MaxSessions are there; default 10s, negative: never.
	IdleEnough time.Duration

	// Trusted tells clients that no limit per client, rate, pause or error budget is applied to; nil: none. Local
	// programs, on a pipe or a Unix socket, never have such limits.
	Trusted func(netip.Addr) bool

	MaxErrors        int           // 5xx replies to commands since the last message; default 20; then 421
	MaxJunk          int           // commands beside MAIL, RCPT and DATA since the last message; default 25; then 421
	MaxBadRecipients int           // refused recipients since the last message; default 100; then 421
	BadRcptThrottle  int           // refused recipients behind which each answer is delayed; default 20
	BadRcptDelay     time.Duration // the delay; default 1s

	// TotalConnRate is how many new connections a second are taken, over all clients; those beyond wait their turn; 0:
	// no limit.
	TotalConnRate int

	// Rates of one client (an IPv4 address, an IPv6 /64) over a sliding minute; 0: no limit.
	ConnRate      int // connections; then 421
	MessageRate   int // MAIL commands; then 450
	RecipientRate int // RCPT commands; then 450
	// AuthFailureRate is how many wrong passwords a client may send in ten minutes, over all its connections; then AUTH
	// is answered 454 without looking; default 30.
	AuthFailureRate int

	UTF8       bool // offer SMTPUTF8 (RFC 6531); the Session must know what to do with such addresses
	DeliverBy  bool // offer DELIVERBY (RFC 2852)
	RequireTLS bool // offer REQUIRETLS inside TLS (RFC 8689); the Session must keep the promise

	// XClient tells the clients that may say, with XCLIENT, for whom they speak; nil: none.
	XClient func(netip.Addr) bool
	// Proxy tells the peers whose connections begin with a PROXY header, version 1 or 2; nil: none.
	Proxy func(netip.Addr) bool

	// PauseFor is the pause for one client in place of GreetPause; nil: all have the same.
	PauseFor   func(ctx context.Context, client *Client) time.Duration
	GreetPause time.Duration // wait before the greeting; a client that talks meanwhile is sent away; default 0

	// CommandTimeout is how long a whole command line may take to come, and how long a reply may take to go; default
	// 5m (RFC 5321 4.5.3.2.7).
	CommandTimeout time.Duration
	// DataTimeout is how long a piece of a message may take to come; default 5m (RFC 5321 4.5.3.2.5 has clients wait
	// 3m).
	DataTimeout time.Duration
	// MinRate is the slowest message in octets per second, over the time that we waited for it beyond DataTimeout;
	// default 100.
	MinRate int64
}

func (c *Config) setDefaults() error {
	switch {
	case c.Hostname == "":
		return errors.New("smtpserver: no host name")
	case !smtp.ValidHelo(c.Hostname, true):
		return fmt.Errorf("smtpserver: %q is no host name", c.Hostname)
	case c.Log == nil:
		return errors.New("smtpserver: no logger")
	case c.MaxRecipients > 0 && c.MaxRecipients < 100 && !c.Sendmail: // which leaves it to its configuration
		return fmt.Errorf("smtpserver: %d recipients are fewer than the 100 of RFC 5321 4.5.3.1.8", c.MaxRecipients)
	}
	for _, s := range []string{c.Hostname, c.Greeting} {
		if s != smtp.Printable(s) {
			return fmt.Errorf("smtpserver: control character in %q", s)
		}
	}
	if c.Greeting == "" {
		c.Greeting = "ESMTP Waybill"
		if c.LMTP {
			c.Greeting = "LMTP Waybill"
		}
	}
	c.TLS = tlsConfig(c.TLS)
	defaultTo(&c.MaxRecipients, 1000)
	defaultTo(&c.MaxSessions, 2000)
	defaultTo(&c.MaxSessionsPerClient, 50)
	defaultTo(&c.IdleEnough, 10*time.Second)
	defaultTo(&c.MaxErrors, 20)
	defaultTo(&c.MaxJunk, 25)
	defaultTo(&c.MaxBadRecipients, 100)
	defaultTo(&c.BadRcptThrottle, 20)
	defaultTo(&c.BadRcptDelay, time.Second)
	defaultTo(&c.AuthDelay, time.Second)
	defaultTo(&c.MaxAuthFailures, 3)
	defaultTo(&c.AuthFailureRate, 30)
	defaultTo(&c.CommandTimeout, 5*time.Minute)
	defaultTo(&c.DataTimeout, 5*time.Minute)
	defaultTo(&c.MinRate, 100)
	return nil
}

func defaultTo[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// over reports whether n has passed limit; a negative limit is none.
func over(n, limit int) bool { return limit >= 0 && n > limit }
