package smtpclient

import (
	"net/netip"
	"testing"
)

func TestWhereMailGoes(t *testing.T) {
	const zone = twoHosts + `
plain.example. A 192.0.2.1
null.example. MX 0 .
nohost.example. MX 10 gone.example.
empty.example. TXT "no address"
half.example. MX 10 gone.example.
half.example. MX 20 mx2.example.com.
self.example. MX 10 client.example.
self.example. MX 20 mx2.example.com.
backup.example. MX 10 mx2.example.com.
backup.example. MX 20 client.example.
backup.example. MX 30 mx1.example.com.
client.example. A 192.0.2.9
byaddr.example. MX 10 other-name.example.
other-name.example. A 192.0.2.9
!servfail broken.example
halfbroken.example. MX 10 mx.broken.example.
halfbroken.example. MX 20 gone.example.
cname.example. CNAME example.com.
six.example. AAAA 2001:db8::1
`
	for _, c := range []struct {
		host, want, at string // at: the peers that got it, by their addresses
	}{
		{"example.com", "relayed 2.0.0", "1"},
		{"EXAMPLE.com.", "relayed 2.0.0", "1"},
		{"cname.example", "relayed 2.0.0", "1"},
		{"plain.example", "relayed 2.0.0", "1"},
		{"null.example", "failed 5.1.10", ""},
		{"unknown.example", "failed 5.1.2", ""},
		{"nohost.example", "failed 5.4.4", ""},
		{"empty.example", "failed 5.4.4", ""},
		{"half.example", "relayed 2.0.0", "2"},
		{"self.example", "failed 5.4.6", ""},
		{"backup.example", "relayed 2.0.0", "2"},
		{"byaddr.example", "failed 5.4.6", ""},
		{"broken.example", "deferred 4.4.3", ""},
		{"halfbroken.example", "deferred 4.4.3", ""},
		{"six.example", "deferred 4.4.1", ""},
		{"[192.0.2.2]", "relayed 2.0.0", "2"},
		{"192.0.2.2", "relayed 2.0.0", "2"},
		{"[192.0.2.9]", "failed 5.4.6", ""},
		{"[192.0.2.77]", "deferred 4.4.1", ""},
		{"[IPv6:2001:db8::2]", "relayed 2.0.0", "6"},
		{"[2001:db8::2]", "relayed 2.0.0", "6"},
		{"[mx2.example.com]", "relayed 2.0.0", "2"},
		{"[example.com]", "failed 5.4.4", ""}, // no MX is looked for
		{"[unknown.example]:mx2.example.com", "relayed 2.0.0", "2"},
		{"unknown.example:broken.example:mx2.example.com", "relayed 2.0.0", "2"},
		{"unknown.example:broken.example", "deferred 4.4.3", ""},
		{"broken.example:unknown.example", "deferred 4.4.3", ""},
		{"[192.0.2.77]:[192.0.2.2]", "relayed 2.0.0", "2"},
		{"[192.0.2.77],[192.0.2.2]", "relayed 2.0.0", "2"},
		{"[192.0.2.1]:587", "relayed 2.0.0", "s"},
		{"plain.example:587", "relayed 2.0.0", "s"},
		{"", "failed 5.1.2", ""},
		{"a::b", "failed 5.1.2", ""},
		{"[192.0.2.1", "failed 5.1.2", ""},
		{"a b", "failed 5.1.2", ""},
	} {
		t.Run(c.host, func(t *testing.T) {
			t.Parallel()
			peers := map[string]*peer{"192.0.2.1:25": startPeer(t, nil), "192.0.2.2:25": startPeer(t, nil), "192.0.2.1:587": startPeer(t, nil), "[2001:db8::2]:25": startPeer(t, nil)}
			w := world{zone, peers}
			client := w.client(t, func(conf *Config) {
				conf.OwnName = func(s string) bool { return s == "client.example" }
				conf.OwnAddr = func(a netip.AddrPort) bool { return a == netip.MustParseAddrPort("192.0.2.9:25") }
			})
			got := client.Deliver(t.Context(), request(c.host, "Subject: x\n\nx\n", "bob@example.com"))
			at := ""
			for addr, p := range peers {
				if len(p.got()) > 0 {
					at += map[string]string{"192.0.2.1:25": "1", "192.0.2.2:25": "2", "192.0.2.1:587": "s", "[2001:db8::2]:25": "6"}[addr]
				}
			}
			if outcomes(got) != c.want || at != c.at {
				t.Errorf("%s at %q (%s), want %s at %q", outcomes(got), at, got[0].Text(), c.want, c.at)
			}
		})
	}
}

func TestFallbackHost(t *testing.T) {
	p := startPeer(t, nil)
	w := world{twoHosts + "!servfail broken.example\nnull.example. MX 0 .\n", map[string]*peer{"192.0.2.2:25": p}}
	c := w.client(t, func(conf *Config) { conf.Fallback = "[mx2.example.com]" })
	for host, want := range map[string]string{"broken.example": "relayed 2.0.0", "null.example": "failed 5.1.10", "unknown.example": "failed 5.1.2", "mx1.example.com": "relayed 2.0.0"} {
		if got := c.Deliver(t.Context(), request(host, "x\n", "bob@broken.example")); outcomes(got) != want {
			t.Error(host, outcomes(got), got[0].Text())
		}
	}
	if got := c.Deliver(t.Context(), request("mx1.example.com", "x\n")); len(got) != 0 {
		t.Error(got)
	}
	// sendmail has its fallback host for an exchanger of every name, and the last resort as well.
	for name, more := range map[string]func(*Config){
		"as sendmail": func(conf *Config) { conf.Sendmail, conf.Fallback = true, "[mx2.example.com]" },
		"last resort": func(conf *Config) { conf.LastResort = "[mx2.example.com]" },
	} {
		c := w.client(t, more)
		for host, want := range map[string]string{"broken.example": "relayed 2.0.0", "null.example": "failed 5.1.10", "unknown.example": "relayed 2.0.0", "mx1.example.com": "relayed 2.0.0"} {
			if got := c.Deliver(t.Context(), request(host, "x\n", "bob@broken.example")); outcomes(got) != want {
				t.Error(name, host, outcomes(got), got[0].Text())
			}
		}
	}
}

// As sendmail: an address without brackets is the name of nobody, and the next exchanger is asked where one had the whole
// message and said "not now".
func TestNextHostAsSendmail(t *testing.T) {
	busy, free := startPeer(t, map[string]string{"DOT": "451 4.3.0 try later"}), startPeer(t, nil)
	w := world{twoHosts, map[string]*peer{"192.0.2.1:25": busy, "192.0.2.2:25": free}}
	c := w.client(t, func(conf *Config) { conf.Sendmail = true })
	for host, want := range map[string]string{"192.0.2.2": "failed 5.1.2", "[192.0.2.2]": "relayed 2.0.0", "mx1.example.com:mx2.example.com": "relayed 2.0.0", "[192.0.2.1]": "deferred 4.3.0"} {
		if got := c.Deliver(t.Context(), request(host, "Subject: x\n\nx\n", "bob@example.com")); outcomes(got) != want {
			t.Error(host, outcomes(got), got[0].Text())
		}
	}
	if n := len(free.got()); n != 2 {
		t.Errorf("the other host got %d messages, want 2", n)
	}
}
