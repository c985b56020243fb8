package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"waybill/compat/rewrite"
	"waybill/transport"
	"waybill/transport/smtp"
	"waybill/transport/smtpclient"
	"waybill/transport/smtpserver"
)

// authorities are the certificates of CACertFile and CACertPath; nil where neither names any.
func (c *cfSite) authorities() *x509.CertPool {
	var files []string
	if f := c.text("CACertFile", "", ""); f != "" {
		files = append(files, f)
	}
	if dir := c.text("CACertPath", "", ""); dir != "" {
		more, _ := filepath.Glob(filepath.Join(dir, "*.[0-9]")) // the names that openssl rehash makes
		files = append(files, more...)
	}
	var pool *x509.CertPool
	for _, f := range files {
		pem, err := os.ReadFile(f)
		if err != nil {
			continue // sendmail says so in its log, and goes on without
		}
		if pool == nil {
			pool = x509.NewCertPool()
		}
		pool.AppendCertsFromPEM(pem)
	}
	return pool
}

// askClients makes a server ask for certificates as sendmail does: any is welcome, and the rulesets hear in {verify} what it
// is worth.
func (c *cfSite) askClients(conf *smtpserver.Config) {
	if conf.TLS == nil {
		return
	}
	c.roots = c.authorities()
	conf.TLS.ClientAuth, conf.TLS.ClientCAs = tls.RequestClientCert, c.roots
	conf.VerifiedAs = c.clientVerified
	if strings.Contains(" "+strings.ToUpper(c.text("AuthMechanisms", "", ""))+" ", " EXTERNAL ") {
		conf.AuthExternal = func(state *tls.ConnectionState) (string, bool) {
			if c.clientVerified(state) != "OK" {
				return "", false
			}
			return distinguished(state.PeerCertificates[0].Subject), true
		}
	}
}

// clientVerified is {verify} of a client (Operations Guide, "Macros"): nothing without TLS, NO without a certificate, OK
// or FAIL with one.
func (c *cfSite) clientVerified(state *tls.ConnectionState) string {
	switch {
	case state == nil:
		return "" // the macro has no value
	case len(state.PeerCertificates) == 0:
		return "NO"
	}
	between := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		between.AddCert(cert)
	}
	roots := c.roots
	if roots == nil {
		roots = x509.NewCertPool()
	}
	if _, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return "FAIL"
	}
	return "OK"
}

// tlsMacros are what the rulesets may ask about a session with TLS.
func tlsMacros(m rewrite.Message, state *tls.ConnectionState, verify string) {
	m["verify"] = verify
	if state == nil {
		return
	}
	m["tls_version"] = strings.Replace(tls.VersionName(state.Version), "TLS 1.", "TLSv1.", 1)
	m["cipher"] = tls.CipherSuiteName(state.CipherSuite)
	bits := "256"
	if strings.Contains(m["cipher"], "AES_128") {
		bits = "128"
	}
	m["cipher_bits"], m["alg_bits"] = bits, bits
	if len(state.PeerCertificates) == 0 {
		return
	}
	leaf := state.PeerCertificates[0]
	m["cert_subject"], m["cert_issuer"] = distinguished(leaf.Subject), distinguished(leaf.Issuer)
	m["cn_subject"], m["cn_issuer"] = encodedName(leaf.Subject.CommonName), encodedName(leaf.Issuer.CommonName)
}

// shortNames are the attributes of a distinguished name as OpenSSL writes them (RFC 4519, RFC 2985).
var shortNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "street", "2.5.4.10": "O", "2.5.4.11": "OU",
	"2.5.4.12": "title", "2.5.4.42": "GN", "1.2.840.113549.1.9.1": "emailAddress", "0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID",
}

// distinguished writes a name on one line, "/C=DE/O=Example/CN=host", in the form in which access tables have it.
func distinguished(n pkix.Name) string {
	var b strings.Builder
	for _, a := range n.Names {
		value, _ := a.Value.(string)
		fmt.Fprintf(&b, "/%s=%s", attribute(a.Type), value)
	}
	return encodedName(b.String())
}

func attribute(id asn1.ObjectIdentifier) string {
	if short, ok := shortNames[id.String()]; ok {
		return short
	}
	return id.String()
}

// encodedName writes what is special in an address as "+" and two hexadecimal digits (cf/README, "STARTTLS").
func encodedName(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`<>()"+`, c) >= 0 {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// StartedTLS asks tls_client whether the session is good enough (Operations Guide, "tls_client"). At MAIL check_mail asks
// it again.
func (s cfSession) StartedTLS(ctx context.Context) *smtp.Reply {
	p := cfPolicy{s.site.cf, s.client, s.reverse}
	m := p.macros(s.query(""))
	refused, _, err := p.rw.Check(ctx, "tls_client", []string{m["verify"], "STARTTLS"}, m)
	switch {
	case err != nil:
		return smtp.NewReply(454, "4.3.0", "Temporary failure")
	case refused != nil && !refused.Discard:
		s.logRefusal("tls_client", m["verify"], "reject", refused.Text)
		return smtp.NewReply(refused.Code, refused.Enhanced, refused.Text)
	}
	return nil
}

// tryTLS asks whether STARTTLS is to be used with a host (Operations Guide, "try_tls").
func (c *cfSite) tryTLS(ctx context.Context, _, host string) (smtpclient.TLSPolicy, bool, error) {
	refused, _, err := c.rw.Check(ctx, "try_tls", []string{host}, rewrite.Message{"server_name": host})
	return smtpclient.TLSNever, refused != nil, err
}

// serverMacros are what the rulesets may ask about a host to which mail goes.
func serverMacros(p smtpclient.Peer) rewrite.Message {
	m := rewrite.Message{"server_name": p.Host}
	if p.Addr.IsValid() {
		m["server_addr"] = cfAddr(p.Addr)
	}
	tlsMacros(m, p.TLS, p.Verify)
	return m
}

// tlsServer asks whether mail may go over a session (Operations Guide, "tls_server").
func (c *cfSite) tlsServer(ctx context.Context, p smtpclient.Peer) (transport.Status, bool) {
	return c.askTLS(ctx, "tls_server", p.Verify, p)
}

// tlsRcpt asks whether a recipient may be told over a session (Operations Guide, "tls_rcpt").
func (c *cfSite) tlsRcpt(ctx context.Context, p smtpclient.Peer, rcpt string) (transport.Status, bool) {
	return c.askTLS(ctx, "tls_rcpt", rcpt, p)
}

func (c *cfSite) askTLS(ctx context.Context, ruleset, arg string, p smtpclient.Peer) (transport.Status, bool) {
	refused, _, err := c.rw.Check(ctx, ruleset, []string{arg}, serverMacros(p))
	switch {
	case err != nil:
		return transport.NewStatus(transport.Deferred, "4.7.0", ruleset+" cannot be asked now"), false
	case refused == nil:
		return transport.Status{}, true
	}
	return cfRefusal(refused), false
}

// authInfo finds the login for a host: what the ruleset authinfo says, "U:user" and so on, or what stands in the file
// DefaultAuthInfo (Operations Guide, "authinfo").
func (c *cfSite) authInfo(ctx context.Context, p smtpclient.Peer) (smtpclient.Credentials, bool, error) {
	m := serverMacros(p)
	words, ok, err := c.rw.Answer(ctx, "authinfo", []string{p.Host, m["server_addr"]}, m)
	if err != nil {
		return smtpclient.Credentials{}, false, err
	}
	var cred smtpclient.Credentials
	if ok {
		for _, w := range words {
			if w, err = strconv.Unquote(w); err == nil {
				readAuthInfo(&cred, w)
			}
		}
	} else if file := c.text("DefaultAuthInfo", "", ""); file != "" {
		if cred, err = defaultAuthInfo(file); err != nil {
			return cred, false, err
		}
	}
	if cred.User == "" {
		cred.User, cred.Identity = cred.Identity, ""
	}
	cred.Clear = true // as sendmail does; AuthMechanisms says what must not be
	return cred, cred.User != "", nil
}
