package smtpclient

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill/transport"
	"waybill/transport/dns"
	"waybill/transport/dns/dnstest"
)

// validating starts Debian's Unbound, which make peers unpacks, in front of our name servers, trusting those that are
// signed, and returns a resolver that asks it.
func validating(t *testing.T, signed *dnstest.Signed, signedName string, plain *dnstest.Server, plainName string) *dns.Resolver {
	t.Helper()
	peers := os.Getenv("PEERS")
	if peers == "" {
		peers, _ = filepath.Abs("../../run/peers")
	}
	unbound := filepath.Join(peers, "unbound/usr/sbin/unbound")
	if _, err := os.Stat(unbound); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("Unbound is not there: run make peers as root")
		}
		t.Skip("needs Unbound, which make peers unpacks")
	}
	dir := t.TempDir()
	ln, err := net.ListenPacket("udp", "127.0.0.22:0") // an address of its own: nobody's connections come from there, so the port stays free
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.LocalAddr().String()
	ln.Close()
	_, port, _ := net.SplitHostPort(addr)
	at := func(addr string) string { return strings.Replace(addr, ":", "@", 1) }
	conf := fmt.Sprintf(`server:
 directory: %q
 username: ""
 chroot: ""
 pidfile: ""
 use-syslog: no
 logfile: ""
 interface: 127.0.0.22
 port: %s
 do-ip6: no
 do-daemonize: no
 num-threads: 1
 do-not-query-localhost: no
 module-config: "validator iterator"
 trust-anchor: %q
 val-log-level: 2
remote-control:
 control-enable: no
stub-zone:
 name: %q
 stub-addr: %s
stub-zone:
 name: %q
 stub-addr: %s
`, dir, port, signed.Anchor(), signedName, at(signed.Addr()), plainName, at(plain.Addr()))
	if err := os.WriteFile(filepath.Join(dir, "unbound.conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(unbound, "-d", "-c", filepath.Join(dir, "unbound.conf"))
	said := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	r, err := dns.New(dns.Config{Servers: []string{addr}, Hosts: "-", Timeout: time.Second, Tries: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range 600 {
		if _, _, err := r.TXT(t.Context(), "up."+plainName); err == nil {
			r, err = dns.New(dns.Config{Servers: []string{addr}, Hosts: "-", Timeout: time.Minute, Tries: 1}) // a busy machine takes its time to validate
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("Unbound does not answer")
	return nil
}

// TestDANEBehindAValidatingResolver sends mail to domains of a zone that is signed here, and of others, with a real
// resolver that validates between it and us.
func TestDANEBehindAValidatingResolver(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.issue(t, "*.signed.example", -time.Hour, time.Hour)
	other := ca.issue(t, "*.signed.example", -time.Hour, time.Hour)
	peer := tlsPeer(t, cert)

	// A domain NAME.ZONE with one host mx-NAME.ZONE, and perhaps a TLSA record.
	host := func(zone, name, record string) string {
		text := fmt.Sprintf("%s.%s. MX 10 mx-%s.%s.\nmx-%s.%s. A 192.0.2.1\n", name, zone, name, zone, name, zone)
		if record != "" {
			text += fmt.Sprintf("_25._tcp.mx-%s.%s. %s\n", name, zone, record)
		}
		return text
	}
	const zone = "signed.example"
	text := host(zone, "none", "") + host(zone, "nodata", "TXT \"no TLSA here\"") +
		host(zone, "wrong", tlsa(3, 1, 1, other.Leaf)) + host(zone, "unusable0", tlsa(0, 0, 1, cert.Leaf)) + host(zone, "unusable1", tlsa(1, 1, 1, cert.Leaf)) +
		host(zone, "unusable9", "TLSA 3 1 9 00") + host(zone, "short", "TLSA 3 1 1 abcd") +
		host(zone, "bogus", tlsa(3, 1, 1, cert.Leaf)) + "!forged _25._tcp.mx-bogus.signed.example\n" +
		host(zone, "stripped", tlsa(3, 1, 1, cert.Leaf)) + "!missing _25._tcp.mx-stripped.signed.example\n" +
		host(zone, "late", tlsa(3, 1, 1, cert.Leaf)) + "!expired _25._tcp.mx-late.signed.example\n" +
		host(zone, "badmx", tlsa(3, 1, 1, cert.Leaf)) + "!forged badmx.signed.example\n" +
		host(zone, "badaddr", tlsa(3, 1, 1, cert.Leaf)) + "!forged mx-badaddr.signed.example\n" +
		"ta.signed.example. MX 10 mx.signed.example.\nmx.signed.example. A 192.0.2.1\n_25._tcp.mx.signed.example. " + tlsa(2, 0, 1, ca.cert) + "\n" +
		"cname.signed.example. MX 10 alias.signed.example.\nalias.signed.example. CNAME real.signed.example.\nreal.signed.example. A 192.0.2.1\n" +
		"_25._tcp.real.signed.example. " + tlsa(3, 1, 1, cert.Leaf) + "\n_25._tcp.alias.signed.example. " + tlsa(3, 1, 1, other.Leaf) + "\n" +
		"cname2.signed.example. MX 10 alias2.signed.example.\nalias2.signed.example. CNAME real2.signed.example.\nreal2.signed.example. A 192.0.2.1\n" +
		"_25._tcp.alias2.signed.example. " + tlsa(3, 1, 1, cert.Leaf) + "\n" +
		"cname3.signed.example. MX 10 alias3.signed.example.\nalias3.signed.example. CNAME mx-away.plain.example.\n_25._tcp.alias3.signed.example. " + tlsa(3, 1, 1, other.Leaf) + "\n" +
		"tlsacname.signed.example. MX 10 mx-tlsacname.signed.example.\nmx-tlsacname.signed.example. A 192.0.2.1\n_25._tcp.mx-tlsacname.signed.example. CNAME keys.signed.example.\nkeys.signed.example. " + tlsa(3, 1, 1, cert.Leaf) + "\n" +
		"away.signed.example. MX 10 mx-away.plain.example.\n" +
		"implicit.signed.example. A 192.0.2.1\n_25._tcp.implicit.signed.example. " + tlsa(3, 1, 1, cert.Leaf) + "\n" +
		"child.signed.example. NS ns.signed.example.\n" + host("child.signed.example", "sub", tlsa(3, 1, 1, other.Leaf))
	for _, usage := range []int{2, 3} {
		for selector := range 2 {
			for matching := range 3 {
				record := tlsa(usage, selector, matching, cert.Leaf)
				if usage == 2 {
					record = tlsa(2, selector, matching, ca.cert)
				}
				text += fmt.Sprintf("v%d%d%d.signed.example. MX 10 h%d%d%d.signed.example.\nh%d%d%d.signed.example. A 192.0.2.1\n_25._tcp.h%d%d%d.signed.example. %s\n",
					usage, selector, matching, usage, selector, matching, usage, selector, matching, usage, selector, matching, record)
			}
		}
	}
	signed, err := dnstest.StartSigned(zone, text, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(signed.Close)
	plain, err := dnstest.Start("up.plain.example. TXT \"yes\"\nplain.example. NS ns.plain.example.\n"+host("plain.example", "away", tlsa(3, 1, 1, other.Leaf))+
		"back.plain.example. MX 10 mx-wrong.signed.example.\n", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plain.Close)
	resolver := validating(t, signed, zone, plain, "plain.example")

	type result struct{ domain, want string }
	cases := []result{
		{"none.signed.example", "relayed 2.0.0 unverified"},      // it is proven that there is no such name
		{"nodata.signed.example", "relayed 2.0.0 unverified"},    // there is, but no TLSA
		{"wrong.signed.example", "deferred 4.7.5"},               // another key
		{"unusable0.signed.example", "relayed 2.0.0 unverified"}, // RFC 7672 3.1.3: TLS, but nothing to check
		{"unusable1.signed.example", "relayed 2.0.0 unverified"},
		{"unusable9.signed.example", "relayed 2.0.0 unverified"},
		{"short.signed.example", "relayed 2.0.0 unverified"},
		{"bogus.signed.example", "deferred 4.7.5"}, // RFC 7672 2.1.1: who can make the look-up fail must not switch DANE off
		{"stripped.signed.example", "deferred 4.7.5"},
		{"late.signed.example", "deferred 4.7.5"},
		{"badmx.signed.example", "deferred 4.4.3"},
		{"badaddr.signed.example", "deferred 4.4.3"},
		{"ta.signed.example", "relayed 2.0.0 verified-dane"},
		{"cname.signed.example", "relayed 2.0.0 verified-dane"},     // RFC 7672 2.2.2: at the expanded name
		{"cname2.signed.example", "relayed 2.0.0 verified-dane"},    // none there: at the name in the MX record
		{"cname3.signed.example", "deferred 4.7.5"},                 // the expansion is not signed: at the name in the MX record
		{"tlsacname.signed.example", "relayed 2.0.0 verified-dane"}, // the TLSA name is an alias itself
		{"implicit.signed.example", "relayed 2.0.0 verified-dane"},  // no MX record
		{"away.signed.example", "relayed 2.0.0 unverified"},         // the host's zone is not signed
		{"back.plain.example", "relayed 2.0.0 unverified"},          // the domain's zone is not signed
		{"away.plain.example", "relayed 2.0.0 unverified"},
		{"sub.child.signed.example", "relayed 2.0.0 unverified"}, // a delegation without DS
	}
	for _, usage := range []int{2, 3} {
		for selector := range 2 {
			for matching := range 3 {
				cases = append(cases, result{fmt.Sprintf("v%d%d%d.signed.example", usage, selector, matching), "relayed 2.0.0 verified-dane"})
			}
		}
	}
	run := func(level TLSPolicy, cases []result) {
		c, err := New(Config{Hello: "client.example", Resolver: resolver, DANE: true, TLS: level, Timeouts: slow, TLSConfig: &tls.Config{}, HostStatus: -1,
			Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, peer.addr())
			}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, x := range cases {
			got := c.Deliver(t.Context(), request(x.domain, "x\n", "bob@"+x.domain))
			how := outcomes(got)
			if i := strings.LastIndex(got[0].TLS, " "); i >= 0 && got[0].Outcome() == transport.Relayed {
				how += got[0].TLS[i:]
			}
			if how != x.want {
				t.Errorf("%s: %s (%s), want %s", x.domain, how, got[0].Text(), x.want)
			}
		}
	}
	run(TLSMay, cases)
	run(TLSDANE, []result{ // the rules demand it
		{"ta.signed.example", "relayed 2.0.0 verified-dane"},
		{"none.signed.example", "deferred 4.7.5"},
		{"away.plain.example", "deferred 4.7.5"},
		{"unusable1.signed.example", "deferred 4.7.5"},
	})
}
