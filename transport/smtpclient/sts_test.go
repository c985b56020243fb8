package smtpclient

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"waybill/transport/dns"
	"waybill/transport/dns/dnstest"
	"waybill/transport/mtasts"
	"waybill/transport/tlsrpt"
)

// MTA-STS and DANE with nothing faked but the world: a name server on loopback, a web server with the policy, an SMTP
// host with STARTTLS, the real store of policies and the real counts for reports.
func TestPoliciesOfDomains(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	policy := atomic.Pointer[string]{}
	text := "version: STSv1\nmode: enforce\nmx: mx1.example.com\nmax_age: 1000\n"
	policy.Store(&text)
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "mta-sts.example.com" || r.URL.Path != "/.well-known/mta-sts.txt" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, *policy.Load())
	}))
	web.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "mta-sts.example.com", -time.Hour, time.Hour)}}
	web.StartTLS()
	defer web.Close()

	good := tlsPeer(t, ca.issue(t, "mx1.example.com", -time.Hour, time.Hour))
	foreign := other.issue(t, "mx1.example.com", -time.Hour, time.Hour)
	forged := tlsPeer(t, foreign)
	zone := "example.com. MX 10 mx1.example.com.\nmx1.example.com. A 192.0.2.1\n_mta-sts.example.com. TXT \"v=STSv1; id=1\"\nmta-sts.example.com. A 192.0.2.80\n"
	dir := filepath.Join(t.TempDir(), "mta-sts")
	deliver := func(zone string, p *peer, reports *tlsrpt.Recorder) string {
		t.Helper()
		at, stop, err := dnstest.Serve(zone, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		resolver, err := dns.New(dns.Config{Servers: []string{at}})
		if err != nil {
			t.Fatal(err)
		}
		dial := func(to string) func(context.Context, string, string) (net.Conn, error) {
			return func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", to)
			}
		}
		store, err := mtasts.New(mtasts.Config{Dir: dir, Resolver: resolver, TLSConfig: &tls.Config{RootCAs: ca.pool()}, Dial: dial(web.Listener.Addr().String())})
		if err != nil {
			t.Fatal(err)
		}
		c, err := New(Config{Hello: "client.example", Resolver: resolver, Timeouts: slow, Dial: dial(p.addr()), DANE: true, MTASTS: store, Reports: reports, TLSConfig: &tls.Config{RootCAs: ca.pool()}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got := c.Deliver(t.Context(), request("example.com", "x\n", "bob@example.com"))
		return outcomes(got) + " " + got[0].TLS[strings.LastIndex(got[0].TLS, " ")+1:]
	}
	reports, err := tlsrpt.Open("")
	if err != nil {
		t.Fatal(err)
	}
	if got := deliver(zone, good, reports); got != "relayed 2.0.0 verified" {
		t.Error(got)
	}
	if got := deliver(zone, forged, reports); !strings.HasPrefix(got, "deferred 4.7.5") {
		t.Error(got)
	}
	// The policy is known although neither the record nor the web server can be had (RFC 8461 3.3).
	web.Close()
	if got := deliver(strings.ReplaceAll(zone, "_mta-sts", "_gone"), forged, reports); !strings.HasPrefix(got, "deferred 4.7.5") {
		t.Errorf("the policy on disk does not count: %s", got)
	}
	// DANE comes first: a certificate that its records name is right, whatever MTA-STS would say (RFC 8461 2).
	if got := deliver(zone+"_25._tcp.mx1.example.com. "+tlsa(3, 1, 1, foreign.Leaf)+"\n!secure .\n", forged, reports); got != "relayed 2.0.0 verified-dane" {
		t.Error(got)
	}
	for _, r := range reports.Take(time.Now().AddDate(0, 0, 1), "us", "mailto:us@us.test", "us.test") {
		data, err := r.JSON()
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`"policy-type": "sts"`, `"policy-type": "tlsa"`, `"certificate-not-trusted"`, `"total-failure-session-count": 2`} {
			if !strings.Contains(string(data), want) {
				t.Errorf("%s is not in the report:\n%s", want, data)
			}
		}
	}
}
