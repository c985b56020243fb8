package app

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"waybill/rules/compile"
	"waybill/transport/smtp"
	"waybill/transport/smtpserver"
	"waybill/transport/smtpserver/authsock"
	"waybill/transport/smtpserver/passfile"
	"waybill/transport/smtpserver/sasl"
)

// server makes the SMTP server. onPipe is for a local program on standard input and output, which needs no password.
func (s *site) server(onPipe bool) (*smtpserver.Server, error) {
	conf := smtpserver.Config{
		Hostname:       s.settings.Host,
		Log:            s.log,
		MaxSize:        s.settings.MaxSize,
		MaxRecipients:  s.settings.MaxRecipients,
		MaxSessions:    s.settings.Sessions,
		CommandTimeout: s.settings.IdleTimeout,
		DataTimeout:    s.settings.IdleTimeout,
		Trusted:        s.trusted,
		Lenient:        onPipe,
	}
	var err error
	if s.cf != nil && s.settings.TLSCert == "" {
		s.settings.TLSCert, s.settings.TLSKey = s.cf.text("ServerCertFile", "", ""), s.cf.text("ServerKeyFile", "", "")
	}
	if !onPipe {
		if conf.TLS, err = s.serverTLS(); err != nil {
			return nil, err
		}
		if conf.Auth, err = s.passwords(); err != nil {
			return nil, err
		}
	}
	if s.cf != nil {
		s.cf.receiving(&conf)
		s.cf.askClients(&conf)
		if !onPipe && s.cf.conf.Prog.Ruleset("greet_pause") != nil {
			conf.PauseFor = s.cfPause
		}
	} else {
		s.receiving(&conf)
	}
	return smtpserver.New(conf, smtpBackend{s})
}

// receiving puts the settings of a rules file about receiving into conf. Their values were checked when the rules were
// read.
func (s *site) receiving(conf *smtpserver.Config) {
	number := func(name string, to *int) {
		if n, err := strconv.Atoi(s.first(name)); err == nil {
			*to = n
		}
	}
	span := func(name string, to *time.Duration) {
		if d, err := compile.Duration(s.first(name)); err == nil {
			*to = d
		}
	}
	number("connection-rate", &conf.TotalConnRate)
	number("client-rate", &conf.ConnRate)
	number("client-connections", &conf.MaxSessionsPerClient)
	number("client-messages", &conf.MessageRate)
	number("client-recipients", &conf.RecipientRate)
	number("session-messages", &conf.MaxMessages)
	number("bad-recipients", &conf.BadRcptThrottle)
	span("bad-recipient-delay", &conf.BadRcptDelay)
	span("greet-pause", &conf.GreetPause)
	span("data-timeout", &conf.DataTimeout)
	if n, err := compile.Size(s.first("min-rate")); err == nil {
		conf.MinRate = n
	}
	if s.first("bare") == "replace" {
		conf.Bare = smtp.BareReplace
	}
	conf.AuthInClear = s.yes("auth-without-tls", false)
	conf.UTF8 = s.yes("smtputf8", true)
	conf.DeliverBy = s.yes("deliver-by", true)
	conf.RequireTLS = s.yes("require-tls", true)
	conf.XClient, conf.Proxy = s.networks("xclient"), s.networks("proxy")
	if conf.TLS != nil && s.first("tls-client-ca") != "" {
		conf.AuthExternal = certificateName
	}
}

func (s *site) first(name string) string { return strings.Join(s.settings.Get(name), " ") }

func (s *site) yes(name string, otherwise bool) bool {
	switch s.first(name) {
	case "yes":
		return true
	case "no":
		return false
	}
	return otherwise
}

// networks is a test for the addresses that a setting lists; nil when it lists none.
func (s *site) networks(name string) func(netip.Addr) bool {
	var list []netip.Prefix
	for _, v := range s.settings.Get(name) {
		if a, err := netip.ParseAddr(v); err == nil {
			list = append(list, netip.PrefixFrom(a, a.BitLen()))
		} else if p, err := netip.ParsePrefix(v); err == nil {
			list = append(list, p.Masked())
		}
	}
	if len(list) == 0 {
		return nil
	}
	return func(a netip.Addr) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
	}
}

// trusted tells the clients that are not throttled: this host itself, and those that the settings name.
func (s *site) trusted(a netip.Addr) bool {
	if a == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || a == netip.IPv6Loopback() {
		return true
	}
	more := s.networks("unlimited-clients")
	return more != nil && more(a)
}

// serverTLS reads the certificate; nil where there is none. It is read again when the files change, so that renewing it
// needs no restart.
func (s *site) serverTLS() (*tls.Config, error) {
	if s.settings.TLSCert == "" {
		return nil, nil
	}
	pair := &certificate{cert: s.settings.TLSCert, key: cmp.Or(s.settings.TLSKey, s.settings.TLSCert)}
	if _, err := pair.get(nil); err != nil {
		return nil, fmt.Errorf("TLS certificate %s: %w", s.settings.TLSCert, err)
	}
	conf := &tls.Config{GetCertificate: pair.get}
	if file := s.first("tls-client-ca"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("tls-client-ca: %w", err)
		}
		conf.ClientCAs = x509.NewCertPool()
		if !conf.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls-client-ca: %s holds no certificate", file)
		}
		conf.ClientAuth = tls.VerifyClientCertIfGiven // most clients have none
	}
	return conf, nil
}

// certificateName is who a client is by its certificate: the mail address in it, otherwise the common name.
func certificateName(state *tls.ConnectionState) (string, bool) {
	if len(state.VerifiedChains) == 0 {
		return "", false
	}
	leaf := state.VerifiedChains[0][0]
	name := leaf.Subject.CommonName
	if len(leaf.EmailAddresses) > 0 {
		name = leaf.EmailAddresses[0]
	}
	return name, name != "" && name == smtp.Printable(name)
}

// passwords is who knows passwords: a file, or a daemon of this host behind a socket; nil where nobody may log in.
func (s *site) passwords() (sasl.Store, error) {
	where := s.settings.Passwords
	if s.cf != nil {
		if store := s.cf.sasl(); store != nil {
			return store, nil
		}
	}
	if where == "" {
		return nil, nil
	}
	if path, ok := strings.CutPrefix(where, "dovecot:"); ok {
		return authsock.Dovecot{Path: path}, nil
	}
	if path, ok := strings.CutPrefix(where, "saslauthd:"); ok {
		return authsock.Saslauthd{Path: path}, nil
	}
	file, err := passfile.Open(where)
	if err != nil {
		return nil, err
	}
	return file.Store(), nil
}

// The roles of listeners in a rules file. The names are also those of sockets that are passed on (LISTEN_FDNAMES).
const (
	roleSMTP        = "smtp"
	roleSMTPS       = "smtps"       // SMTP with TLS from the first octet
	roleSubmission  = "submission"  // RFC 6409: with a password only
	roleSubmissions = "submissions" // the same with TLS from the first octet (RFC 8314 7.3)
	roleLMTP        = "lmtp"        // RFC 2033
)

// roles are what the listeners of the settings do.
func (s *site) roles() map[string]smtpserver.Role {
	submission := func(c *smtpserver.Config) { c.NeedAuth = true } // RFC 6409 4.3
	return map[string]smtpserver.Role{
		roleSMTP:        {Name: roleSMTP},
		roleSMTPS:       {Name: roleSMTPS, ImplicitTLS: true},
		roleSubmission:  {Name: roleSubmission, Change: submission},
		roleSubmissions: {Name: roleSubmissions, ImplicitTLS: true, Change: submission},
		roleLMTP: {Name: roleLMTP, Change: func(c *smtpserver.Config) {
			c.LMTP, c.TLS, c.Auth, c.AuthExternal, c.GreetPause = true, nil, nil, nil, 0
		}},
	}
}

// checkRole tells what a role lacks.
func (s *site) checkRole(name string) error {
	submits := name == roleSubmission || name == roleSubmissions
	switch {
	case (name == roleSMTPS || name == roleSubmissions) && s.settings.TLSCert == "":
		return fmt.Errorf("a listener for %s needs tls-cert", name)
	case submits && s.settings.Passwords == "" && s.first("tls-client-ca") == "":
		return errors.New("a listener for submission needs passwords (or tls-client-ca): nobody could log in")
	case submits && s.settings.TLSCert == "" && !s.yes("auth-without-tls", false):
		return errors.New("a listener for submission needs tls-cert, or auth-without-tls yes: nobody could log in")
	}
	return nil
}
