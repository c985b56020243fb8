package app

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"waybill/compat/flags"
	"waybill/compat/rewrite"
	"waybill/transport"
	"waybill/transport/smtpclient"
)

// sending puts the options about sending into conf (Operations Guide, "Options"), and the rulesets that are asked about
// TLS and passwords.
func (c *cfSite) sending(conf *smtpclient.Config) error {
	t := &conf.Timeouts
	for sub, to := range map[string]*time.Duration{
		"connect": &t.Connect, "initial": &t.Greeting, "helo": &t.Hello, "mail": &t.Mail, "rcpt": &t.Rcpt, "datainit": &t.DataInit,
		"datablock": &t.DataBlock, "datafinal": &t.DataFinal, "quit": &t.Quit,
	} {
		*to = c.timeout(sub, *to)
	}
	if n := c.number("ConnectionCacheSize", 0); n > 0 {
		conf.MaxIdle = n
	} else if c.text("ConnectionCacheSize", "", "") == "0" {
		conf.MaxIdle = -1
	}
	if d, ok := flags.Duration(c.text("ConnectionCacheTimeout", "", ""), time.Minute); ok && d > 0 {
		conf.IdleTime = d
	}
	conf.DANE = c.conf.Bool("DANE", false)
	var err error
	if conf.TLSConfig, err = c.clientTLS(); err != nil {
		return err
	}
	if c.conf.Prog.Ruleset("try_tls") != nil {
		conf.TLSFor = c.tryTLS
	}
	if c.conf.Prog.Ruleset("tls_server") != nil {
		conf.Approve = c.tlsServer
	}
	file := c.text("DefaultAuthInfo", "", "")
	if c.conf.Prog.Ruleset("authinfo") != nil || file != "" {
		conf.Auth = c.authInfo
	}
	return nil
}

// clientTLS reads the certificate that we show, and the authorities that we believe.
func (c *cfSite) clientTLS() (*tls.Config, error) {
	conf := &tls.Config{}
	cert, key := c.text("ClientCertFile", "", ""), c.text("ClientKeyFile", "", "")
	if cert != "" && key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("ClientCertFile: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	var files []string
	if f := c.text("CACertFile", "", ""); f != "" {
		files = append(files, f)
	}
	if dir := c.text("CACertPath", "", ""); dir != "" {
		more, _ := filepath.Glob(filepath.Join(dir, "*.[0-9]")) // the names that openssl rehash makes
		files = append(files, more...)
	}
	for _, f := range files {
		pem, err := os.ReadFile(f)
		if err != nil {
			continue // sendmail says so in its log, and goes on without
		}
		if conf.RootCAs == nil {
			conf.RootCAs = x509.NewCertPool()
		}
		conf.RootCAs.AppendCertsFromPEM(pem)
	}
	return conf, nil
}

// tryTLS asks whether STARTTLS is to be used with a host (Operations Guide, "try_tls").
func (c *cfSite) tryTLS(ctx context.Context, _, host string) (smtpclient.TLSPolicy, bool, error) {
	refused, _, err := c.rw.Check(ctx, "try_tls", []string{host}, rewrite.Message{"server_name": host})
	return smtpclient.TLSNever, refused != nil, err
}

// tlsServer asks whether mail may go over a session (Operations Guide, "tls_server").
func (c *cfSite) tlsServer(ctx context.Context, p smtpclient.Peer) (transport.Status, bool) {
	m := rewrite.Message{"server_name": p.Host, "verify": p.Verify}
	if p.Addr.IsValid() {
		m["server_addr"] = cfAddr(p.Addr)
	}
	if p.TLS != nil {
		m["tls_version"], m["cipher"], m["cipher_bits"] = strings.Replace(tls.VersionName(p.TLS.Version), "TLS 1.", "TLSv1.", 1), tls.CipherSuiteName(p.TLS.CipherSuite), "256"
		if strings.Contains(m["cipher"], "AES_128") {
			m["cipher_bits"] = "128"
		}
		if len(p.TLS.PeerCertificates) > 0 {
			leaf := p.TLS.PeerCertificates[0]
			m["cn_subject"], m["cn_issuer"], m["cert_subject"], m["cert_issuer"] = leaf.Subject.CommonName, leaf.Issuer.CommonName, leaf.Subject.String(), leaf.Issuer.String()
		}
	}
	refused, _, err := c.rw.Check(ctx, "tls_server", []string{p.Verify}, m)
	switch {
	case err != nil:
		return transport.NewStatus(transport.Deferred, "4.7.0", "tls_server cannot be asked now"), false
	case refused == nil:
		return transport.Status{}, true
	}
	return cfRefusal(refused), false
}

// authInfo finds the login for a host: what the ruleset authinfo says, "U:user" and so on, or what stands in the file
// DefaultAuthInfo (Operations Guide, "authinfo").
func (c *cfSite) authInfo(ctx context.Context, _, host string) (smtpclient.Credentials, bool, error) {
	words, ok, err := c.rw.Answer(ctx, "authinfo", []string{host, ""}, rewrite.Message{"server_name": host})
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

// readAuthInfo reads one word: a letter, ":" and a value, or "=" and a value in base64.
func readAuthInfo(cred *smtpclient.Credentials, w string) {
	if len(w) < 2 {
		return
	}
	value := w[2:]
	if w[1] == '=' {
		raw, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return
		}
		value = string(raw)
	} else if w[1] != ':' {
		return
	}
	switch w[0] {
	case 'I': // the one who authenticates
		cred.User = value
	case 'U': // the one to act as
		cred.Identity = value
	case 'P':
		cred.Password = value
	case 'M':
		cred.Mechanisms = strings.Fields(value)
	}
	if cred.User == cred.Identity {
		cred.Identity = ""
	}
}

// defaultAuthInfo reads the file: the user to act as, the one who authenticates, the password, the realm, mechanisms.
func defaultAuthInfo(file string) (cred smtpclient.Credentials, err error) {
	f, err := os.Open(file)
	if err != nil {
		return cred, err
	}
	defer f.Close()
	letters := "UIPRM"
	for in := bufio.NewScanner(f); in.Scan() && letters != ""; letters = letters[1:] {
		readAuthInfo(&cred, letters[:1]+":"+in.Text())
	}
	return cred, nil
}
