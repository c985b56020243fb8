package smtpclient

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill/transport/dns"
	"waybill/transport/dns/dnstest"
	"waybill/transport/mtasts"
	"waybill/transport/tlsrpt"
)

// The whole of transport security over real sockets: our DNS server, whose answers carry the AD bit, a web server with
// an MTA-STS policy, mail hosts with certificates of an authority that only this test knows, and the reports at the end.
func TestTransportSecurityOverRealSockets(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	daneCert := stranger.issue(t, "mx.dane.example", -time.Hour, time.Hour)
	good := tlsPeer(t, ca.issue(t, "mx.sts.example", -time.Hour, time.Hour))
	dane := tlsPeer(t, daneCert)
	evil := tlsPeer(t, stranger.issue(t, "mx.sts.example", -time.Hour, time.Hour))

	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "version: STSv1\nmode: enforce\nmx: mx.sts.example\nmax_age: 86400\n")
	}))
	web.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "mta-sts.sts.example", -time.Hour, time.Hour)}}
	web.StartTLS()
	defer web.Close()

	at := map[string]string{"127.77.0.1:25": good.addr(), "127.77.0.2:25": dane.addr(), "127.77.0.3:25": evil.addr(), "127.77.0.4:443": web.Listener.Addr().String()}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		to, ok := at[address]
		if !ok {
			return nil, &net.OpError{Op: "dial", Err: refusedErr}
		}
		return new(net.Dialer).DialContext(ctx, network, to)
	}
	serve := func(zone string) *dns.Resolver {
		server, err := dnstest.Start(zone, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		r, err := dns.New(dns.Config{Servers: []string{server.Addr()}, Hosts: "-"})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	const stsHosts = "sts.example. MX 10 mx.sts.example.\nmta-sts.sts.example. A 127.77.0.4\n"
	daneZone := "dane.example. MX 10 mx.dane.example.\nmx.dane.example. A 127.77.0.2\n_25._tcp.mx.dane.example. " + tlsa(3, 1, 1, daneCert.Leaf) + "\n!secure dane.example\n"

	dir := t.TempDir()
	reports, err := tlsrpt.Open(filepath.Join(dir, "reports"))
	if err != nil {
		t.Fatal(err)
	}
	client := func(zone string) *Client {
		resolver := serve(zone)
		store, err := mtasts.New(mtasts.Config{Dir: filepath.Join(dir, "sts"), Resolver: resolver, TLSConfig: &tls.Config{RootCAs: ca.pool()}, Dial: dial})
		if err != nil {
			t.Fatal(err)
		}
		c, err := New(Config{Hello: "client.example", Resolver: resolver, DANE: true, MTASTS: store, Reports: reports, TLSConfig: &tls.Config{RootCAs: ca.pool()}, Dial: dial, Timeouts: slow})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	send := func(c *Client, domain, want, how string) {
		t.Helper()
		got := c.Deliver(t.Context(), request(domain, "x\n", "bob@"+domain))
		if outcomes(got) != want || !strings.HasSuffix(got[0].TLS, how) {
			t.Errorf("%s: %s over %q (%s), want %s over %q", domain, outcomes(got), got[0].TLS, got[0].Text(), want, how)
		}
	}

	day1 := client(daneZone + stsHosts + "mx.sts.example. A 127.77.0.1\n_mta-sts.sts.example. TXT \"v=STSv1; id=1\"\n")
	send(day1, "sts.example", "relayed 2.0.0", " verified")
	send(day1, "dane.example", "relayed 2.0.0", " verified-dane")

	// A new process. An attacker forges the DNS: the mail host is his, and the MTA-STS record is gone.
	day2 := client("dane.example. MX 10 mx.dane.example.\nmx.dane.example. A 127.77.0.3\n_25._tcp.mx.dane.example. " + tlsa(3, 1, 1, daneCert.Leaf) +
		"\n!secure dane.example\n" + stsHosts + "mx.sts.example. A 127.77.0.3\n")
	send(day2, "sts.example", "deferred 4.7.5", "")
	send(day2, "dane.example", "deferred 4.7.5", "")
	if len(evil.got()) != 0 || len(good.got()) != 1 || len(dane.got()) != 1 {
		t.Errorf("messages: good %d, dane %d, evil %d", len(good.got()), len(dane.got()), len(evil.got()))
	}

	if err := reports.Save(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "reports")); err != nil || info.Size() == 0 {
		t.Error(err)
	}
	var text strings.Builder
	for _, r := range reports.Take(time.Now().Add(48*time.Hour), "us", "postmaster@client.example", "client.example") {
		data, err := r.JSON()
		if err != nil {
			t.Fatal(err)
		}
		text.Write(data)
	}
	for _, want := range []string{`"policy-type": "tlsa"`, `"policy-type": "sts"`, `"result-type": "certificate-not-trusted"`, `"result-type": "validation-failure"`,
		`"receiving-mx-hostname": "mx.sts.example"`, `"receiving-ip": "127.77.0.3"`, `"total-successful-session-count": 1`, `"total-failure-session-count": 1`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("reports without %s:\n%s", want, text.String())
		}
	}
}
