package smtpclient

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill/transport"
	"waybill/transport/mtasts"
	"waybill/transport/tlsrpt"
)

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issue makes a certificate for a name, with the authority's behind it.
func (a *authority) issue(t *testing.T, name string, from, until time.Duration) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: leaf}
}

func tlsPeer(t *testing.T, cert tls.Certificate, ext ...string) *peer {
	p := startPeer(t, nil, append([]string{"PIPELINING", "STARTTLS"}, ext...)...)
	p.set(func(p *peer) { p.tls = &tls.Config{Certificates: []tls.Certificate{cert}} })
	return p
}

func tlsa(usage, selector, matching int, cert *x509.Certificate) string {
	data := cert.Raw
	if selector == 1 {
		data = cert.RawSubjectPublicKeyInfo
	}
	switch matching {
	case 1:
		sum := sha256.Sum256(data)
		data = sum[:]
	case 2:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return fmt.Sprintf("TLSA %d %d %d %x", usage, selector, matching, data)
}

// tally is a Reporter that remembers.
type tally struct {
	mu   sync.Mutex
	list []string
}

func (r *tally) Record(s tlsrpt.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, strings.TrimSpace(string(s.Kind)+" "+s.Failure))
}

func (r *tally) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.list, ", ")
}

// stsPolicies are MTA-STS policies by domain.
type stsPolicies map[string]string

func (s stsPolicies) Policy(_ context.Context, domain string) (mtasts.Policy, bool) {
	p, err := mtasts.Parse(s[domain])
	return p, err == nil
}

func stsPolicy(mode, mx string) stsPolicies {
	return stsPolicies{"example.com": "version: STSv1\nmode: " + mode + "\nmx: " + mx + "\nmax_age: 1000\n"}
}

func TestTLSPolicies(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	good := ca.issue(t, "mx1.example.com", -time.Hour, time.Hour)
	wrong := ca.issue(t, "other.example", -time.Hour, time.Hour)
	old := ca.issue(t, "mx1.example.com", -2*time.Hour, -time.Hour)
	forged := other.issue(t, "mx1.example.com", -time.Hour, time.Hour)
	const zone = "example.com. MX 10 mx1.example.com.\nmx1.example.com. A 192.0.2.1\n"
	secureZone := func(records ...string) string {
		z := zone + "!secure .\n"
		for _, r := range records {
			z += "_25._tcp.mx1.example.com. " + r + "\n"
		}
		return z
	}
	for _, c := range []struct {
		name   string
		zone   string
		peer   func() *peer
		change func(*Config)
		want   string // outcome, and how it went over the wire
		report string
	}{
		{"opportunistic", zone, func() *peer { return tlsPeer(t, forged) }, nil, "relayed 2.0.0 unverified", "no-policy-found"},
		{"opportunistic without", zone, func() *peer { return startPeer(t, nil) }, nil, "relayed 2.0.0", "no-policy-found starttls-not-supported"},
		{"opportunistic refused", zone, func() *peer { return startPeer(t, map[string]string{"STARTTLS": "454 no"}, "STARTTLS") }, nil, "relayed 2.0.0",
			"no-policy-found starttls-not-supported"},
		{"opportunistic broken", zone, func() *peer {
			p := tlsPeer(t, good)
			p.set(func(p *peer) {
				p.tls = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, fmt.Errorf("no") }}
			})
			return p
		}, nil, "relayed 2.0.0", "no-policy-found validation-failure"},
		{"injected", zone, func() *peer { return startPeer(t, map[string]string{"STARTTLS": "220 go\n250 evil"}, "STARTTLS") }, nil, "deferred 4.5.0", ""},
		{"never", zone, func() *peer { return tlsPeer(t, good) }, func(c *Config) { c.TLS = TLSNever }, "relayed 2.0.0", ""},
		{"must", zone, func() *peer { return tlsPeer(t, forged) }, func(c *Config) { c.TLS = TLSMust }, "relayed 2.0.0 unverified", "no-policy-found"},
		{"must without", zone, func() *peer { return startPeer(t, nil) }, func(c *Config) { c.TLS = TLSMust }, "deferred 4.7.4", "no-policy-found starttls-not-supported"},
		{"verify", zone, func() *peer { return tlsPeer(t, good) }, func(c *Config) { c.TLS = TLSVerify }, "relayed 2.0.0 verified", "no-policy-found"},
		{"verify wrong name", zone, func() *peer { return tlsPeer(t, wrong) }, func(c *Config) { c.TLS = TLSVerify }, "deferred 4.7.5", "no-policy-found certificate-host-mismatch"},
		{"verify expired", zone, func() *peer { return tlsPeer(t, old) }, func(c *Config) { c.TLS = TLSVerify }, "deferred 4.7.5", "no-policy-found certificate-expired"},
		{"verify forged", zone, func() *peer { return tlsPeer(t, forged) }, func(c *Config) { c.TLS = TLSVerify }, "deferred 4.7.5", "no-policy-found certificate-not-trusted"},
		{"by rule", zone, func() *peer { return tlsPeer(t, forged) }, func(c *Config) {
			c.TLSFor = func(_ context.Context, domain, host string) (TLSPolicy, bool, error) {
				return TLSVerify, domain == "example.com" && host == "mx1.example.com", nil
			}
		}, "deferred 4.7.5", "no-policy-found certificate-not-trusted"},

		{"dane-ee key", secureZone(tlsa(3, 1, 1, old.Leaf)), func() *peer { return tlsPeer(t, old) }, nil, "relayed 2.0.0 verified-dane", "tlsa"},
		{"dane-ee cert", secureZone(tlsa(3, 0, 2, forged.Leaf)), func() *peer { return tlsPeer(t, forged) }, nil, "relayed 2.0.0 verified-dane", "tlsa"},
		{"dane-ee full", secureZone(tlsa(3, 1, 0, good.Leaf)), func() *peer { return tlsPeer(t, good) }, nil, "relayed 2.0.0 verified-dane", "tlsa"},
		{"dane-ee mismatch", secureZone(tlsa(3, 1, 1, good.Leaf)), func() *peer { return tlsPeer(t, forged) }, nil, "deferred 4.7.5", "tlsa validation-failure"},
		{"dane-ee one of two", secureZone(tlsa(3, 1, 1, good.Leaf), tlsa(3, 1, 1, forged.Leaf)), func() *peer { return tlsPeer(t, forged) }, nil, "relayed 2.0.0 verified-dane", "tlsa"},
		{"dane-ta", secureZone(tlsa(2, 0, 1, other.cert)), func() *peer { return tlsPeer(t, forged) }, nil, "relayed 2.0.0 verified-dane", "tlsa"},
		{"dane-ta in the record", secureZone(tlsa(2, 0, 0, other.cert)), func() *peer {
			return tlsPeer(t, tls.Certificate{Certificate: forged.Certificate[:1], PrivateKey: forged.PrivateKey})
		},
			nil, "relayed 2.0.0 verified-dane", "tlsa"},
		{"dane-ta wrong name", secureZone(tlsa(2, 0, 1, ca.cert)), func() *peer { return tlsPeer(t, wrong) }, nil, "deferred 4.7.5", "tlsa validation-failure"},
		{"dane-ta expired", secureZone(tlsa(2, 0, 1, ca.cert)), func() *peer { return tlsPeer(t, old) }, nil, "deferred 4.7.5", "tlsa validation-failure"},
		{"dane behind a cname", "example.com. MX 10 mx1.example.com.\nmx1.example.com. CNAME real.example.com.\nreal.example.com. A 192.0.2.1\n_25._tcp.real.example.com. " +
			tlsa(2, 0, 1, other.cert) + "\n!secure .\n", func() *peer { return tlsPeer(t, forged) }, nil, "relayed 2.0.0 verified-dane", "tlsa"},
		{"dane without starttls", secureZone(tlsa(3, 1, 1, good.Leaf)), func() *peer { return startPeer(t, nil) }, nil, "deferred 4.7.4", "tlsa starttls-not-supported"},
		{"dane unusable", secureZone(tlsa(1, 1, 1, good.Leaf)), func() *peer { return tlsPeer(t, forged) }, nil, "relayed 2.0.0 unverified", "tlsa"},
		{"dane unusable without", secureZone(tlsa(0, 1, 1, good.Leaf)), func() *peer { return startPeer(t, nil) }, nil, "deferred 4.7.4", "tlsa starttls-not-supported"},
		{"dane not validated", strings.ReplaceAll(secureZone(tlsa(3, 1, 1, good.Leaf)), "!secure .\n", ""), func() *peer { return tlsPeer(t, forged) }, nil,
			"relayed 2.0.0 unverified", "no-policy-found"},
		{"dane lookup fails", secureZone() + "!servfail _25._tcp.mx1.example.com\n", func() *peer { return tlsPeer(t, good) }, nil, "deferred 4.7.5", "no-policy-found dnssec-invalid"},
		{"dane by rule", secureZone(tlsa(3, 1, 1, forged.Leaf)), func() *peer { return tlsPeer(t, forged) }, func(c *Config) { c.TLS, c.DANE = TLSDANE, false },
			"relayed 2.0.0 verified-dane", "tlsa"},
		{"dane by rule without records", secureZone(), func() *peer { return tlsPeer(t, good) }, func(c *Config) { c.TLS = TLSDANE }, "deferred 4.7.5", ""},
		{"dane by rule, no record usable", secureZone(tlsa(1, 1, 1, good.Leaf)), func() *peer { return tlsPeer(t, good) }, func(c *Config) { c.TLS = TLSDANE }, "deferred 4.7.5", ""},
		{"no policy to be had", zone, func() *peer { return tlsPeer(t, good) }, func(c *Config) {
			c.TLSFor = func(context.Context, string, string) (TLSPolicy, bool, error) {
				return TLSMay, false, fmt.Errorf("later")
			}
		}, "deferred 4.7.0", ""},
		{"verify another name", zone, func() *peer { return tlsPeer(t, wrong) }, func(c *Config) { c.TLS, c.TLSNames = TLSVerify, []string{"other.example"} },
			"relayed 2.0.0 verified", "no-policy-found"},
		{"dane none", secureZone(), func() *peer { return tlsPeer(t, forged) }, nil, "relayed 2.0.0 unverified", "no-policy-found"},

		{"sts enforce", zone, func() *peer { return tlsPeer(t, good) }, func(c *Config) { c.MTASTS = stsPolicy("enforce", "*.example.com") }, "relayed 2.0.0 verified", "sts"},
		{"sts enforce forged", zone, func() *peer { return tlsPeer(t, forged) }, func(c *Config) { c.MTASTS = stsPolicy("enforce", "*.example.com") }, "deferred 4.7.5",
			"sts certificate-not-trusted"},
		{"sts enforce without", zone, func() *peer { return startPeer(t, nil) }, func(c *Config) { c.MTASTS = stsPolicy("enforce", "mx1.example.com") }, "deferred 4.7.4",
			"sts starttls-not-supported"},
		{"sts enforce other mx", zone, func() *peer { return tlsPeer(t, good) }, func(c *Config) { c.MTASTS = stsPolicy("enforce", "mx2.example.com") }, "deferred 4.7.0",
			"sts certificate-host-mismatch"},
		{"sts testing forged", zone, func() *peer { return tlsPeer(t, forged) }, func(c *Config) { c.MTASTS = stsPolicy("testing", "*.example.com") }, "relayed 2.0.0 unverified",
			"sts certificate-not-trusted"},
		{"sts testing without", zone, func() *peer { return startPeer(t, nil) }, func(c *Config) { c.MTASTS = stsPolicy("testing", "*.example.com") }, "relayed 2.0.0",
			"sts starttls-not-supported"},
		{"dane before sts", secureZone(tlsa(3, 1, 1, forged.Leaf)), func() *peer { return tlsPeer(t, forged) }, func(c *Config) { c.MTASTS = stsPolicy("enforce", "mx2.example.com") },
			"relayed 2.0.0 verified-dane", "tlsa"},
		{"bad dane is not saved by sts", secureZone(tlsa(3, 1, 1, forged.Leaf)), func() *peer { return tlsPeer(t, good) },
			func(c *Config) { c.MTASTS = stsPolicy("enforce", "mx1.example.com") }, "deferred 4.7.5", "tlsa validation-failure"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var reports tally
			w := world{c.zone, map[string]*peer{"192.0.2.1:25": c.peer()}}
			client := w.client(t, func(conf *Config) {
				conf.TLS, conf.DANE, conf.Reports, conf.TLSConfig = TLSMay, true, &reports, &tls.Config{RootCAs: ca.pool()}
				if c.change != nil {
					c.change(conf)
				}
			})
			got := client.Deliver(t.Context(), request("example.com", "x\n", "bob@example.com"))
			how := outcomes(got)
			if i := strings.LastIndex(got[0].TLS, " "); i >= 0 && got[0].Outcome() == transport.Relayed {
				how += got[0].TLS[i:]
				if !strings.HasPrefix(got[0].TLS, "TLSv1.3 TLS_") {
					t.Errorf("TLS %q", got[0].TLS)
				}
			}
			if how != c.want || reports.String() != c.report {
				t.Errorf("%s (%s), reports %q; want %s, %q", how, got[0].Text(), reports.String(), c.want, c.report)
			}
		})
	}
}

// The session is used again only by those whose demands it fulfils.
func TestAnUnverifiedSessionIsNotShared(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	p := tlsPeer(t, other.issue(t, "mx.example.com", -time.Hour, time.Hour))
	level := TLSMay
	w := world{"mx.example.com. A 192.0.2.1", map[string]*peer{"192.0.2.1:25": p}}
	c := w.client(t, func(conf *Config) {
		conf.TLS, conf.TLSConfig = TLSMay, &tls.Config{RootCAs: ca.pool()}
		conf.TLSFor = func(context.Context, string, string) (TLSPolicy, bool, error) { return level, true, nil }
	})
	if got := c.Deliver(t.Context(), request("[mx.example.com]", "x\n", "bob@x")); outcomes(got) != "relayed 2.0.0" {
		t.Fatal(outcomes(got))
	}
	level = TLSVerify
	if got := c.Deliver(t.Context(), request("[mx.example.com]", "x\n", "bob@x")); outcomes(got) != "deferred 4.7.5" {
		t.Error(outcomes(got), got[0].Text())
	}
}

func TestRequireTLS(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.issue(t, "mx.example.com", -time.Hour, time.Hour)
	for _, c := range []struct{ ext, want string }{{"REQUIRETLS", "relayed 2.0.0"}, {"8BITMIME", "failed 5.7.30"}} {
		p := tlsPeer(t, cert, c.ext)
		w := world{"mx.example.com. A 192.0.2.1", map[string]*peer{"192.0.2.1:25": p}}
		client := w.client(t, func(conf *Config) { conf.TLS, conf.TLSConfig = TLSMay, &tls.Config{RootCAs: ca.pool()} })
		req := request("[mx.example.com]", "x\n", "bob@x")
		req.Envelope.RequireTLS = true
		got := client.Deliver(t.Context(), req)
		if outcomes(got) != c.want || p.said("MAIL FROM:<alice@example.org> REQUIRETLS") != (c.ext == "REQUIRETLS") {
			t.Errorf("%s: %s (%s), %q", c.ext, outcomes(got), got[0].Text(), p.log())
		}
	}
}

func TestClientCertificate(t *testing.T) {
	ca := newAuthority(t)
	p := tlsPeer(t, ca.issue(t, "mx.example.com", -time.Hour, time.Hour))
	p.set(func(p *peer) { p.tls.ClientAuth, p.tls.ClientCAs = tls.RequireAndVerifyClientCert, ca.pool() })
	mine := ca.issue(t, "client.example", -time.Hour, time.Hour)
	w := world{"mx.example.com. A 192.0.2.1", map[string]*peer{"192.0.2.1:25": p}}
	c := w.client(t, func(conf *Config) {
		conf.TLS, conf.TLSConfig = TLSVerify, &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{mine}}
	})
	if got := c.Deliver(t.Context(), request("[mx.example.com]", "x\n", "bob@x")); outcomes(got) != "relayed 2.0.0" {
		t.Error(outcomes(got), got[0].Text())
	}
}

// RFC 8689 5: a message that says "TLS-Required: No" goes although DANE or MTA-STS would keep it back; what the rules
// demand stays.
func TestTLSRequiredNo(t *testing.T) {
	ca := newAuthority(t)
	forged := newAuthority(t).issue(t, "mx1.example.com", -time.Hour, time.Hour)
	const zone = "example.com. MX 10 mx1.example.com.\nmx1.example.com. A 192.0.2.1\n"
	for _, c := range []struct {
		name, zone string
		change     func(*Config)
		want       string
	}{
		{"dane", zone + "!secure .\n_25._tcp.mx1.example.com. " + tlsa(3, 1, 1, ca.cert) + "\n", func(*Config) {}, "relayed 2.0.0"},
		{"sts", zone, func(c *Config) { c.MTASTS = stsPolicy("enforce", "*.example.com") }, "relayed 2.0.0"},
		{"rule", zone, func(c *Config) { c.TLS = TLSVerify }, "deferred 4.7.5"},
	} {
		w := world{c.zone, map[string]*peer{"192.0.2.1:25": tlsPeer(t, forged)}}
		client := w.client(t, func(conf *Config) {
			conf.TLS, conf.DANE, conf.TLSConfig = TLSMay, true, &tls.Config{RootCAs: ca.pool()}
			c.change(conf)
		})
		if got := client.Deliver(t.Context(), request("example.com", "TLS-Required: No\n\nx\n", "bob@example.com")); outcomes(got) != c.want {
			t.Errorf("%s: %s (%s)", c.name, outcomes(got), got[0].Text())
		}
		if got := client.Deliver(t.Context(), request("example.com", "Subject: x\n\nx\n", "bob@example.com")); outcomes(got) != "deferred 4.7.5" {
			t.Errorf("%s, without the field: %s (%s, %s)", c.name, outcomes(got), got[0].Text(), got[0].TLS)
		}
	}
}
