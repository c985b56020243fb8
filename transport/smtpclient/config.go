package smtpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"waybill/transport"
	"waybill/transport/dns"
)

// Resolver is what the client asks of the DNS; *dns.Resolver is one.
type Resolver interface {
	MX(ctx context.Context, domain string) (dns.MXs, error)
	Addrs(ctx context.Context, host string) (dns.Addresses, error)
}

// TLSPolicy says what happens about STARTTLS. A larger one demands more.
type TLSPolicy uint8

const (
	TLSMay    TLSPolicy = iota // use it where it is offered and works; the certificate is not looked at (RFC 7435)
	TLSNever                   // do not use it
	TLSMust                    // no delivery without it; the certificate is not looked at
	TLSVerify                  // no delivery without it and a certificate for the name of the host
	TLSDANE                    // no delivery without it and TLSA records that the certificate matches (RFC 7672 6)
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
	Host     string   // where everything goes, in the form of a decision's host; empty: where the decision says
	Fallback string   // hosts tried when all others failed, in the form of a decision's host (FallbackMXhost)
	// LastResort are hosts tried behind those, and for domains that the DNS does not know (FallbackSmartHost).
	LastResort string

	OwnName   func(host string) bool                                               // is this name in an MX list ourselves? nil: no
	OwnAddr   func(at netip.AddrPort) bool                                         // is this address ourselves? nil: no
	LoopCheck bool                                                                 // a peer that greets EHLO with our own name is ourselves (without mailer flag k)
	ConnectTo string                                                               // ADDR:PORT to connect to in place of every address: for tests
	Dial      func(ctx context.Context, network, address string) (net.Conn, error) // default: net.Dialer

	TLS TLSPolicy
	// TLSFor is the policy for single destinations; found false, or nil: TLS. An error means that the host cannot be used
	// now.
	TLSFor    func(ctx context.Context, domain, host string) (policy TLSPolicy, found bool, err error)
	TLSNames  []string    // more names that a certificate may be for, where it is verified
	DANE      bool        // obey TLSA records (RFC 7672); Resolver must be a TLSAResolver
	MTASTS    Policies    // obey MTA-STS (RFC 8461); nil: no
	Reports   Reporter    // count TLS sessions for TLSRPT (RFC 8460); nil: no
	TLSConfig *tls.Config // roots, client certificates, versions; ServerName and verification are ours. Default: Go's

	ImplicitTLS bool // TLS from the first octet, as on port 465 (RFC 8314)
	// Auth gives the credentials for a host; false, or nil: none are shown. An error means that the host cannot be used
	// now.
	Auth func(ctx context.Context, p Peer) (cred Credentials, found bool, err error)
	// Approve is asked about each new session before mail goes over it; a status other than the zero one refuses it. nil:
	// all are good.
	Approve func(ctx context.Context, p Peer) (refusal transport.Status, ok bool)

	// ApproveRcpt is asked about each recipient that a host is to be told of. nil: all may be told.
	ApproveRcpt func(ctx context.Context, p Peer, rcpt string) (refusal transport.Status, ok bool)

	Family           string     // "4" or "6" is tried first; default: as the DNS answers, IPv6 first
	Source4, Source6 netip.Addr // our end of connections; default: the system's choice

	MaxIdle     int           // connections kept open for the next message; default 1000, negative: none
	IdleTime    time.Duration // how long; default 30s
	MaxMessages int           // on one connection; default 100 (mailer m=)
	MaxAge      time.Duration // of a connection that gets another message; default 5m
	MaxPerHost  int           // deliveries at one host at a time, others wait; default 20, negative: no limit
	HostStatus  time.Duration // longest time that an address is left alone after failures; default 30s, negative: none

	// Sendmail keeps to the dialogue of sendmail, which logs and transcripts of other hosts show: "MAIL From:" and
	// "RCPT To:", and RCPT waits for the reply to MAIL.
	Sendmail bool
	// Size is what SIZE announces (RFC 1870); nil: the size of the body.
	Size func(req *transport.Request) int64

	LineLimit     int  // longest line in octets without CRLF; default 998, negative: no limit. sendmail's L= is 990
	NoChunking    bool // do not use BDAT (RFC 3030)
	MaxRecipients int  // in one transaction; default 100 (RFC 5321 4.5.3.1.8: every host takes as many)
	MaxAddresses  int  // tried for one message; default 10
	Timeouts      Timeouts
}

// Peer is a host with whom a session has begun.
type Peer struct {
	Domain, Host string
	Addr         netip.Addr           // not valid for a socket
	TLS          *tls.ConnectionState // nil without TLS
	Verify       string               // NONE without TLS; OK: an authority signed the certificate; TRUSTED: a TLSA record matches; FAIL; NO: there is none
}

// New checks conf and returns a Client.
func New(conf Config) (*Client, error) {
	if conf.Hello == "" || strings.ContainsAny(conf.Hello, " \r\n\t") {
		return nil, errors.New("smtpclient: our own name is missing or bad")
	}
	if conf.Resolver == nil {
		conf.Resolver = dns.Static(&dns.Zone{})
	}
	if conf.Dial == nil {
		conf.Dial = dialer(conf.Source4, conf.Source6)
	}
	if conf.TLSConfig == nil {
		conf.TLSConfig = &tls.Config{}
	}
	if conf.TLSConfig.ClientSessionCache == nil { // a resumed session is checked as any other: it brings its certificates
		conf.TLSConfig = conf.TLSConfig.Clone()
		conf.TLSConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1000)
	}
	if conf.Host != "" {
		if _, err := parseHost(conf.Host); err != nil {
			return nil, errors.New("smtpclient: host: " + err.Error())
		}
	}
	if conf.LastResort != "" {
		if _, err := parseHost(conf.LastResort); err != nil {
			return nil, errors.New("smtpclient: last resort: " + err.Error())
		}
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
	setDefault(&conf.MaxIdle, 1000)
	setDefault(&conf.IdleTime, 30*time.Second)
	setDefault(&conf.MaxMessages, 100)
	setDefault(&conf.MaxAge, 5*time.Minute)
	setDefault(&conf.MaxPerHost, 20)
	setDefault(&conf.HostStatus, 30*time.Second)
	c := &Client{conf: conf, memory: memory{most: max(conf.HostStatus, 0), byAddr: map[netip.AddrPort]*mark{}}}
	c.pool = newPool(max(conf.MaxIdle, 0), max(conf.MaxPerHost, 0), conf.IdleTime, c.bye)
	c.buffers.New = func() any { return new([copyBuffer]byte) }
	c.chunks.New = func() any { return new([chunkSize]byte) }
	return c, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
