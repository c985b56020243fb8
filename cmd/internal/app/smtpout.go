package app

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"waybill/rules"
	"waybill/transport/mtasts"
	"waybill/transport/smtpclient"
)

// smtp makes a transport of kind smtp or lmtp.
func (s *site) smtp(router *rules.Router, p *params) (*smtpclient.Client, error) {
	conf := smtpclient.Config{
		Name:          p.Name,
		Hello:         p.text("helo", s.settings.Host),
		Resolver:      s.resolver,
		LMTP:          p.Kind == "lmtp",
		Socket:        p.text("socket", ""),
		Host:          p.text("host", ""),
		Fallback:      p.text("fallback", ""),
		NoMX:          !p.yes("mx", true),
		LoopCheck:     true,
		OwnAddr:       s.ownAddr,
		ImplicitTLS:   p.yes("implicit-tls", false),
		DANE:          p.yes("dane", true),
		NoChunking:    !p.yes("chunking", true),
		Family:        p.text("family", ""),
		LineLimit:     p.number("line-limit"),
		MaxRecipients: p.number("max-recipients"),
		MaxAddresses:  p.number("max-addresses"),
		MaxPerHost:    p.number("concurrency"),
		TLSConfig:     &tls.Config{},
	}
	port := p.number("port")
	if port > 65535 {
		p.fail("port", "%d is no port", port)
	}
	conf.Port = uint16(port)
	level, ok := tlsLevels[p.text("tls", "opportunistic")]
	if !ok {
		p.fail("tls", "%q is none of no, opportunistic, required, verified, dane", p.Params["tls"])
	}
	conf.TLS = level
	conf.TLSNames = p.words("tls-name")
	if name := p.text("tls-policy", ""); name != "" {
		table, ok := router.Table(name)
		if !ok {
			p.fail("tls-policy", "there is no table %s", name)
		}
		conf.TLSFor = tlsFor(table)
	}
	conf.MaxIdle, conf.IdleTime = p.number("idle-connections"), p.duration("idle-time")
	conf.MaxMessages, conf.HostStatus = p.number("connection-messages"), p.duration("host-status")
	for name, off := range map[string]func(){"idle-connections": func() { conf.MaxIdle = -1 }, "host-status": func() { conf.HostStatus = -1 }} {
		if v, set := p.Params[name]; set && strings.Trim(v, "0smhd") == "" { // 0 is none, and not the default
			off()
		}
	}
	conf.OwnName = s.ownName(router)
	if p.yes("mta-sts", !conf.LMTP) {
		if policies, err := s.policies(); err != nil {
			p.fail("mta-sts", "%v", err)
		} else {
			conf.MTASTS = policies
		}
	}
	if reports, err := s.recorder(); err != nil {
		return nil, err
	} else if reports != nil {
		conf.Reports = reports
	}
	s.certificates(p, conf.TLSConfig)
	for _, a := range p.words("source") {
		addr, err := netip.ParseAddr(a)
		switch {
		case err != nil:
			p.fail("source", "%q is no IP address", a)
		case addr.Is4():
			conf.Source4 = addr
		default:
			conf.Source6 = addr
		}
	}
	if file := p.text("auth", ""); file != "" {
		logins, err := readLogins(file)
		if err != nil {
			p.fail("auth", "%v", err)
		}
		conf.Auth = logins.find
	}
	if d := p.duration("timeout"); d > 0 {
		conf.Timeouts = smtpclient.Timeouts{Greeting: d, Hello: d, Mail: d, Rcpt: d, DataInit: d, DataBlock: d, DataFinal: d}
	}
	conf.Timeouts.Connect = p.duration("connect-timeout")
	if d := p.duration("final-timeout"); d > 0 {
		conf.Timeouts.DataFinal = d
	}
	if p.err != nil {
		return nil, p.err
	}
	return smtpclient.New(conf)
}

// tlsLevels are the words for what happens about TLS.
var tlsLevels = map[string]smtpclient.TLSPolicy{
	"opportunistic": smtpclient.TLSMay, "may": smtpclient.TLSMay,
	"no": smtpclient.TLSNever, "none": smtpclient.TLSNever, "never": smtpclient.TLSNever,
	"required": smtpclient.TLSMust, "must": smtpclient.TLSMust,
	"verified": smtpclient.TLSVerify, "verify": smtpclient.TLSVerify,
	"dane": smtpclient.TLSDANE,
}

// tlsFor looks for the policy of a destination in a table: for the host, the domain, and the domains above it with a dot
// in front. A table that does not answer, or answers with no policy, means "not now".
func tlsFor(table rules.Table) func(ctx context.Context, domain, host string) (smtpclient.TLSPolicy, bool, error) {
	return func(ctx context.Context, domain, host string) (smtpclient.TLSPolicy, bool, error) {
		keys := []string{host, domain}
		for up := domain; ; {
			_, rest, ok := strings.Cut(up, ".")
			if !ok {
				break
			}
			keys, up = append(keys, "."+rest), rest
		}
		for _, key := range append(keys, "*") {
			word, found, err := table.Lookup(ctx, strings.ToLower(key))
			if err != nil {
				return 0, false, err
			}
			if found {
				level, ok := tlsLevels[strings.TrimSpace(word)]
				if !ok {
					return 0, false, fmt.Errorf("%q is no policy for TLS", word)
				}
				return level, true, nil
			}
		}
		return 0, false, nil
	}
}

// ownName tells the names that are ours where an MX list has them (RFC 5321 5.1): the host's, and those in the classes
// that own-names lists, which is the class local unless it says otherwise.
func (s *site) ownName(router *rules.Router) func(string) bool {
	classes := s.settings.Get("own-names")
	if classes == nil {
		classes = []string{"local"}
	}
	return func(name string) bool {
		name = strings.TrimSuffix(name, ".")
		return strings.EqualFold(name, s.settings.Host) || slices.ContainsFunc(classes, func(c string) bool { return router.InClass(c, name) })
	}
}

// policies are the MTA-STS policies that the site has seen, kept in the spool. Transports share them.
func (s *site) policies() (*mtasts.Store, error) {
	if s.sts == nil {
		store, err := mtasts.New(mtasts.Config{Dir: filepath.Join(s.settings.Spool, "mta-sts"), Resolver: s.resolver, Log: s.log})
		if err != nil {
			return nil, err
		}
		s.sts = store
	}
	return s.sts, nil
}

// certificates reads roots and the client certificate.
func (s *site) certificates(p *params, conf *tls.Config) {
	if file := p.text("tls-ca", ""); file != "" {
		pem, err := os.ReadFile(file)
		pool := x509.NewCertPool()
		switch {
		case err != nil:
			p.fail("tls-ca", "%v", err)
		case !pool.AppendCertsFromPEM(pem):
			p.fail("tls-ca", "%s holds no certificate", file)
		}
		conf.RootCAs = pool
	}
	if file := p.text("tls-cert", ""); file != "" {
		cert, err := tls.LoadX509KeyPair(file, cmp.Or(p.text("tls-key", ""), file))
		if err != nil {
			p.fail("tls-cert", "%v", err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	p.used["tls-key"] = true
}

// ownAddr tells whether an address is one that we listen on: mail to it would come back.
func (s *site) ownAddr(at netip.AddrPort) bool {
	for _, l := range s.settings.Listen {
		host, port, err := net.SplitHostPort(l)
		if err != nil || port != strconv.Itoa(int(at.Port())) {
			continue
		}
		if host == "" || host == "*" {
			return at.Addr().IsLoopback() || ownInterface(at.Addr())
		}
		if a, err := netip.ParseAddr(host); err == nil && (a == at.Addr() || a.IsUnspecified() && ownInterface(at.Addr())) {
			return true
		}
	}
	return false
}

func ownInterface(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, own := range addrs {
		if prefix, err := netip.ParsePrefix(own.String()); err == nil && prefix.Addr() == a {
			return true
		}
	}
	return false
}

// logins is a file with what we show to other hosts: lines of host (or domain, or "*"), user, password; or as the text of
// sendmail's authinfo has them: AuthInfo:host "U:user" "P:password", and without a host for all.
type logins map[string]smtpclient.Credentials

// readLogins reads one. It must not be readable by others: it holds passwords.
func readLogins(file string) (logins, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s holds passwords and may be read by others: chmod 600", file)
	}
	l := logins{}
	in := bufio.NewScanner(f)
	for n := 1; in.Scan(); n++ {
		words := strings.Fields(in.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if host, ok := cutFold(words[0], "AuthInfo:"); ok {
			cred, err := authInfoLine(quotedWords.FindAllString(strings.TrimSpace(in.Text())[len(words[0]):], -1))
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", file, n, err)
			}
			l[strings.ToLower(cmp.Or(host, "*"))] = cred
			continue
		}
		if len(words) != 3 {
			return nil, fmt.Errorf("%s:%d: want a host, a user and a password", file, n)
		}
		l[strings.ToLower(words[0])] = smtpclient.Credentials{User: words[1], Password: words[2]}
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	if len(l) == 0 {
		return nil, errors.New(file + " holds no login")
	}
	return l, nil
}

var quotedWords = regexp.MustCompile(`"[^"]*"|\S+`)

// cutFold is strings.CutPrefix for a prefix in any case.
func cutFold(s, prefix string) (rest string, found bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// authInfoLine reads the words of a line of authinfo: the user "U:", who authenticates "I:", the password "P:", mechanisms "M:".
func authInfoLine(words []string) (cred smtpclient.Credentials, err error) {
	for _, w := range words {
		text, err := strconv.Unquote(w)
		if err != nil {
			text = w
		}
		readAuthInfo(&cred, text)
	}
	if cred.User == "" {
		cred.User, cred.Identity = cred.Identity, ""
	}
	if cred.User == "" || cred.Password == "" {
		return cred, errors.New("a login has a user, \"U:name\", and a password, \"P:secret\"")
	}
	return cred, nil
}

func (l logins) find(_ context.Context, p smtpclient.Peer) (smtpclient.Credentials, bool, error) {
	for _, name := range []string{p.Host, p.Domain, "*"} {
		if c, ok := l[strings.ToLower(name)]; ok {
			return c, true, nil
		}
	}
	return smtpclient.Credentials{}, false, nil
}
