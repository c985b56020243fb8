package app

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"time"

	"waybill/compat/flags"
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
	if c.conf.Prog.Ruleset("tls_rcpt") != nil {
		conf.ApproveRcpt = c.tlsRcpt
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
	conf.RootCAs = c.authorities()
	return conf, nil
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
