package smtpclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"strings"
	"time"

	"waybill/transport"
	"waybill/transport/dns"
	"waybill/transport/envelope"
	"waybill/transport/mtasts"
	"waybill/transport/tlsrpt"
)

// demand is what a connection to one host must fulfil before a message goes over it.
//
// Whoever asks for most wins: the policy of the rules, the message itself (REQUIRETLS), the domain's DANE records or,
// where the host has none, its MTA-STS policy (RFC 8461 2: DANE is never overridden by MTA-STS).
type demand struct {
	level   TLSPolicy
	tlsa    []dns.TLSA // DANE: the certificate must match one of them
	names   []string   // that a certificate may be for: the host; with DANE also the domain (RFC 7672 3.2.2)
	sni     string
	testing bool // an MTA-STS policy in mode testing: failures are reported and otherwise ignored
	require bool // REQUIRETLS (RFC 8689): the host must promise it for its part

	report tlsrpt.Session // Domain, Kind, Policy and MX of what is counted
}

// TLSAResolver is what DANE asks of the DNS beyond Resolver; *dns.Resolver is one.
type TLSAResolver interface {
	TLSA(ctx context.Context, port uint16, host string) (dns.TLSAs, error)
	SecureAlias(ctx context.Context, host string) (bool, error)
}

// Policies knows the MTA-STS policies of domains; *mtasts.Store is one.
type Policies interface {
	Policy(ctx context.Context, domain string) (mtasts.Policy, bool)
}

// Reporter counts TLS sessions; *tlsrpt.Recorder is one.
type Reporter interface {
	Record(tlsrpt.Session)
}

// demand finds out what is demanded of host x. A verdict means that the host must not be used now.
func (d *delivery) demand(ctx context.Context, x exchange, a dns.Addresses) (demand, *verdict) {
	c := d.client
	name := x.name
	if x.addr.IsValid() {
		name = x.addr.String()
	}
	dem := demand{level: c.conf.TLS, names: []string{name}, sni: name, report: tlsrpt.Session{Domain: x.domain, Kind: tlsrpt.NoPolicy}}
	dem.names = append(dem.names, c.conf.TLSNames...)
	if c.conf.TLSFor != nil {
		level, ok, err := c.conf.TLSFor(ctx, x.domain, name)
		if err != nil {
			d.log.Warn("no policy for TLS can be found now", "host", name, "err", err)
			return dem, &verdict{status: transport.NewStatus(transport.Deferred, "4.7.0", "the policy for TLS with "+name+" cannot be looked up"), next: true}
		}
		if ok {
			dem.level = level
		}
	}
	if d.requireTLS() {
		dem.require = true
		dem.level = max(dem.level, TLSMust)
	}
	if dem.level != TLSDANE && (dem.level == TLSNever || x.addr.IsValid() || c.conf.LMTP) {
		return d.requireVerified(dem), nil
	}
	if c.conf.DANE || dem.level == TLSDANE {
		ruled, mandatory := dem.level, dem.level == TLSDANE
		found, v := c.dane(ctx, &dem, x, a)
		if mandatory && v == nil && len(dem.tlsa) == 0 {
			return dem, &verdict{status: transport.NewStatus(transport.Deferred, "4.7.5", x.name+" has no usable TLSA records, and the policy demands them"), next: true}
		}
		if found && !mandatory && d.tlsOptional() {
			dem.level, dem.tlsa = ruled, nil
			return dem, nil
		}
		if v != nil || found {
			return dem, v
		}
	}
	if c.conf.MTASTS != nil && x.mx {
		if p, ok := c.conf.MTASTS.Policy(ctx, x.domain); ok && !d.tlsOptional() {
			if v := c.sts(&dem, x, &p); v != nil {
				return dem, v
			}
		}
	}
	return d.requireVerified(dem), nil
}

// requireVerified: REQUIRETLS wants a certificate that verifies, or DANE (RFC 8689 4.2.1).
func (d *delivery) requireVerified(dem demand) demand {
	if dem.require {
		dem.level = TLSVerify
	}
	return dem
}

// dane looks for TLSA records (RFC 7672 2.2). found means that DANE decides about this host. A lookup that fails makes
// the host unusable: whoever can make it fail could otherwise switch DANE off (RFC 7672 2.1.1).
func (c *Client) dane(ctx context.Context, dem *demand, x exchange, a dns.Addresses) (found bool, v *verdict) {
	resolver, ok := c.conf.Resolver.(TLSAResolver)
	if !ok || (x.mx && !x.secure) {
		return false, nil // RFC 7672 2.2.1: only where the MX records were validated
	}
	unknown := func() (bool, *verdict) {
		st := transport.NewStatus(transport.Deferred, "4.7.5", "TLSA records of "+x.name+" cannot be looked up")
		c.count(*dem, tlsrpt.DNSSECInvalid, nil, "")
		return true, &verdict{status: st, next: true}
	}
	port := x.port
	if port == 0 {
		port = c.conf.Port
	}
	bases := []string{x.name}
	alias := a.Canonical != "" && a.Canonical != x.name
	switch {
	case a.Secure && alias:
		bases = []string{a.Canonical, x.name} // RFC 7672 2.2.2: the end of the CNAME chain first
	case !a.Secure && alias: // a validated alias of a host that is not: the records of the alias count (RFC 7672 2.2.2)
		signed, err := resolver.SecureAlias(ctx, x.name)
		if err != nil {
			return unknown()
		}
		if !signed {
			return false, nil
		}
	case !a.Secure:
		return false, nil // RFC 7672 2.2.2: only where the address records were validated
	}
	for _, base := range bases {
		t, err := resolver.TLSA(ctx, port, base)
		if err != nil {
			return unknown()
		}
		if t.Existence != dns.Found || !t.Secure {
			continue
		}
		dem.report.Kind = tlsrpt.DANE
		for _, r := range t.Records {
			dem.report.Policy = append(dem.report.Policy, fmt.Sprintf("%d %d %d %x", r.Usage, r.Selector, r.Matching, r.Data))
			if usable(r) {
				dem.tlsa = append(dem.tlsa, r)
			}
		}
		dem.level = TLSMust // RFC 7672 2.2: TLS, even where no record is usable
		if len(dem.tlsa) > 0 {
			dem.level = TLSVerify
			dem.sni = base // RFC 7672 8.1
			dem.names = []string{base, x.name, x.domain}
		}
		return true, nil
	}
	return false, nil
}

// sts applies an MTA-STS policy (RFC 8461 4).
func (c *Client) sts(dem *demand, x exchange, p *mtasts.Policy) *verdict {
	dem.report.Kind, dem.report.Policy, dem.report.MX = tlsrpt.MTASTS, p.Text, p.MX
	matches := p.Match(x.name)
	if !matches {
		c.count(*dem, tlsrpt.HostMismatch, &hop{name: x.name}, "")
	}
	switch {
	case p.Mode == mtasts.Testing:
		dem.testing = true
	case !matches:
		st := transport.NewStatus(transport.Deferred, "4.7.0", x.name+" is not in the MTA-STS policy of "+x.domain)
		return &verdict{status: st, next: true}
	default:
		dem.level = TLSVerify
	}
	return nil
}

// print is the same for connections that may stand in for each other.
func (dem *demand) print() string {
	h := fnv.New64a()
	for _, t := range dem.tlsa {
		fmt.Fprintf(h, "%d %d %d %x\n", t.Usage, t.Selector, t.Matching, t.Data)
	}
	return fmt.Sprintf("%d %v %v %x %s", dem.level, dem.testing, dem.require, h.Sum64(), dem.report.Domain)
}

// fulfilled checks a TLS session against the demand. word describes it for the log; failure is a failure type of
// RFC 8460 beside a non-nil error.
func (dem *demand) fulfilled(state *tls.ConnectionState, roots *x509.CertPool) (word, failure string, err error) {
	switch {
	case len(dem.tlsa) > 0:
		if err := matchTLSA(dem.tlsa, state.PeerCertificates, dem.names, time.Now()); err != nil {
			return "", tlsrpt.Handshake, err
		}
		return "verified-dane", "", nil
	case dem.level == TLSVerify || dem.testing:
		var err error
		for _, name := range dem.names {
			if failure, err = verifyPKIX(state.PeerCertificates, name, roots); err == nil {
				return "verified", "", nil
			}
		}
		return "unverified", failure, err
	}
	return "unverified", "", nil
}

func verifyPKIX(chain []*x509.Certificate, name string, roots *x509.CertPool) (failure string, err error) {
	if len(chain) == 0 {
		return tlsrpt.NotTrusted, errors.New("no certificate")
	}
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between})
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return "", nil
	case errors.As(err, &host):
		return tlsrpt.HostMismatch, err
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return tlsrpt.Expired, err
	}
	return tlsrpt.NotTrusted, err
}

// count reports the outcome of one session.
func (c *Client) count(dem demand, failure string, h *hop, source string) {
	if c.conf.Reports == nil || dem.report.Domain == "" {
		return
	}
	r := dem.report
	if r.Failure = failure; failure != "" {
		if h != nil {
			r.ReceivingMX = strings.Trim(h.name, "[]")
			if h.addr.IsValid() {
				r.ReceivingIP = h.addr.String()
			}
		}
		r.SendingIP = source
	}
	c.conf.Reports.Record(r)
}

// startTLS encrypts the session where the peer offers it (RFC 3207). On success everything that was said before is
// forgotten.
func (c *Client) startTLS(ctx context.Context, s *session, dem *demand) *verdict {
	refuse := func(why string) *verdict {
		c.count(*dem, tlsrpt.NoSTARTTLS, &s.hop, s.source())
		if dem.level == TLSMay {
			return nil // in clear, as if TLS did not exist (RFC 7435)
		}
		v := verdict{status: transport.NewStatus(transport.Deferred, "4.7.4", s.hop.name+" "+why+", and TLS is required"), next: true}
		s.sign(&v.status, nil)
		return &v
	}
	if !s.ext.startTLS {
		return refuse("does not offer STARTTLS")
	}
	r, v := s.ask(ctx, atTLS, s.conf.Timeouts.Hello, "STARTTLS")
	if v != nil {
		return v
	}
	if r.Code != 220 {
		if s.dead {
			v := judge(atTLS, r, s)
			return &v
		}
		return refuse("refused STARTTLS")
	}
	if s.br.Buffered() > 0 { // what stands behind 220 in clear was not said by the one at the other end of TLS (CVE-2011-0411)
		s.dead = true
		v := lost(atTLS, errProtocol, s)
		return &v
	}
	return c.handshake(ctx, s, dem)
}

// handshake turns TLS on, checks the peer, and says EHLO again where STARTTLS came before.
func (c *Client) handshake(ctx context.Context, s *session, dem *demand) *verdict {
	conf := s.conf.TLSConfig.Clone()
	conf.ServerName = dem.sni
	conf.InsecureSkipVerify = true // fulfilled decides, by the demand
	conf.VerifyConnection, conf.VerifyPeerCertificate = nil, nil
	secure := tls.Client(s.conn, conf)
	deadline, cancel := context.WithTimeout(ctx, s.conf.Timeouts.Hello)
	defer cancel()
	fail := func(failure, code, text string, clear bool) *verdict {
		s.dead = true
		c.count(*dem, failure, &s.hop, s.source())
		v := verdict{status: transport.NewStatus(transport.Deferred, code, text), next: true, tls: clear}
		s.sign(&v.status, nil)
		return &v
	}
	if err := secure.HandshakeContext(deadline); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			s.dead = true
			v := lost(atTLS, cause, s)
			return &v
		}
		s.trouble = err
		return fail(tlsrpt.Handshake, "4.7.5", "TLS handshake with "+s.hop.name+" failed", dem.level == TLSMay && !c.conf.ImplicitTLS)
	}
	state := secure.ConnectionState()
	word, failure, err := dem.fulfilled(&state, conf.RootCAs)
	if err != nil && !dem.testing {
		s.trouble = err
		return fail(failure, "4.7.5", "certificate of "+s.hop.name+" cannot be verified ("+failure+")", false)
	}
	c.count(*dem, failure, &s.hop, s.source())
	s.detach()
	s.attach(secure)
	s.tls, s.state = describe(&state, word), &state
	return nil
}

// verifiedAs tells how far the certificate of the peer is to be believed, whatever was demanded.
func (s *session) verifiedAs(roots *x509.CertPool) string {
	switch chain := s.state.PeerCertificates; {
	case strings.HasSuffix(s.tls, " verified-dane"):
		return "TRUSTED"
	case len(chain) == 0:
		return "NO"
	default:
		if _, err := verifyPKIX(chain, strings.Trim(s.hop.name, "[]"), roots); err != nil {
			return "FAIL"
		}
		return "OK"
	}
}

// source is our address on this connection, for reports.
func (s *session) source() string {
	if a := s.conn.LocalAddr(); a != nil {
		if host, _, err := net.SplitHostPort(a.String()); err == nil {
			return host
		}
	}
	return ""
}

func describe(state *tls.ConnectionState, word string) string {
	version := strings.Replace(tls.VersionName(state.Version), "TLS 1.", "TLSv1.", 1)
	return version + " " + tls.CipherSuiteName(state.CipherSuite) + " " + word
}

// tlsOptional reports whether the sender of the message says that it matters more that it arrives than that nobody reads
// it (RFC 8689 5): then what the domain publishes about TLS does not count. What the rules demand does.
func (d *delivery) tlsOptional() bool {
	if d.req.Envelope.RequireTLS || d.req.Body.Size() < 0 {
		return false
	}
	h, err := envelope.HeaderOf(d.req.Body)
	return err == nil && strings.EqualFold(strings.TrimSpace(h.Value("TLS-Required")), "no")
}

// requireTLS reports whether the message came with REQUIRETLS.
func (d *delivery) requireTLS() bool { return d.req.Envelope.RequireTLS }
