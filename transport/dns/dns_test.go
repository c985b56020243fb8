package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"waybill/transport/dns"
	"waybill/transport/dns/dnstest"
)

const zoneText = `
example.org.        MX    20 b.example.org.
example.org.        MX    10 a.example.org.
example.org.        MX    10 A2.Example.org.
example.org.        TXT   "v=spf1 " "-all \"x\"\\"
a.example.org.      A     192.0.2.1
a.example.org.      AAAA  2001:db8::1
a2.example.org.     A     192.0.2.2
b.example.org.      A     192.0.2.3
plain.example.org.  A     192.0.2.9
nullmx.example.org. MX    0 .
mixed.example.org.  MX    0 .
mixed.example.org.  MX    5 a.example.org.
alias.example.org.  CNAME example.org.
lost.example.org.   CNAME gone.example.net.
host.example.org.   CNAME a.example.org.
loop1.example.org.  CNAME loop2.example.org.
loop2.example.org.  CNAME loop1.example.org.
deep.empty.example.org. A 192.0.2.4
*.wild.example.org. MX    7 a.example.org.
1.2.0.192.in-addr.arpa. PTR a.example.org.
_25._tcp.a.example.org. TLSA 3 1 1 0011223344556677889900112233445566778899001122334455667788990011
!servfail fail.example.org
!refused refused.example.org
!drop silent.example.org
!secure secure.example.org
!truncate big.example.org
!lie lied.example.org
!delay 300ms late.example.org
secure.example.org. MX 1 m.secure.example.org.
lied.example.org.   MX 1 true.example.org.
late.example.org.   MX 1 m.late.example.org.
short.example.org. 4 A 192.0.2.6
`

func bigZone() string {
	var b strings.Builder
	b.WriteString(zoneText)
	for i := range 100 {
		fmt.Fprintf(&b, "big.example.org. MX %d host-number-%d.big.example.org.\n", i, i)
	}
	return b.String()
}

// resolvers gives each test both kinds: the fake, and the real one against a real server.
func resolvers(t *testing.T) (map[string]*dns.Resolver, *dnstest.Server) {
	zone, err := dns.ParseZone(bigZone())
	if err != nil {
		t.Fatal(err)
	}
	server, err := dnstest.Start(bigZone(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	real, err := dns.New(dns.Config{Servers: []string{server.Addr()}, Hosts: "-", Timeout: time.Minute, Tries: 1})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*dns.Resolver{"static": dns.Static(zone), "real": real}, server
}

func TestMX(t *testing.T) {
	both, _ := resolvers(t)
	for kind, r := range both {
		for _, c := range []struct {
			domain string
			want   dns.MXs
			hosts  string
			err    bool
		}{
			{"example.org", dns.MXs{Existence: dns.Found, Canonical: "example.org"}, "a:10 a2:10 b:20", false},
			{"EXAMPLE.org.", dns.MXs{Existence: dns.Found, Canonical: "example.org"}, "a:10 a2:10 b:20", false},
			{"plain.example.org", dns.MXs{Existence: dns.Found, Implicit: true, Canonical: "plain.example.org"}, "plain:0", false},
			{"nullmx.example.org", dns.MXs{Existence: dns.Found, Null: true, Canonical: "nullmx.example.org"}, "", false},
			{"mixed.example.org", dns.MXs{Existence: dns.Found, Canonical: "mixed.example.org"}, "a:5", false},
			{"alias.example.org", dns.MXs{Existence: dns.Found, Canonical: "example.org"}, "a:10 a2:10 b:20", false},
			{"x.y.wild.example.org", dns.MXs{Existence: dns.Found, Canonical: "x.y.wild.example.org"}, "a:7", false},
			{"empty.example.org", dns.MXs{Existence: dns.Found, Implicit: true, Canonical: "empty.example.org"}, "empty:0", false},
			{"nothing.example.org", dns.MXs{Existence: dns.NoDomain, Canonical: "nothing.example.org"}, "", false},
			{"lost.example.org", dns.MXs{Existence: dns.NoDomain, Canonical: "gone.example.net"}, "", false},
			{"a..b", dns.MXs{Existence: dns.NoDomain, Canonical: "a..b"}, "", false},
			{"a b.example.org", dns.MXs{Existence: dns.NoDomain, Canonical: "a b.example.org"}, "", false},
			{strings.Repeat("a", 64) + ".org", dns.MXs{Existence: dns.NoDomain, Canonical: strings.Repeat("a", 64) + ".org"}, "", false},
			{"secure.example.org", dns.MXs{Existence: dns.Found, Secure: true, Canonical: "secure.example.org"}, "m.secure:1", false},
			{"lied.example.org", dns.MXs{Existence: dns.Found, Canonical: "lied.example.org"}, "true:1", false},
			{"loop1.example.org", dns.MXs{}, "", true},
			{"fail.example.org", dns.MXs{}, "", true},
			{"refused.example.org", dns.MXs{}, "", true},
			{"silent.example.org", dns.MXs{}, "", true},
		} {
			ctx, cancel := t.Context(), func() {}
			if c.domain == "silent.example.org" {
				ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
			}
			got, err := r.MX(ctx, c.domain)
			cancel()
			if (err != nil) != c.err || (err != nil && !errors.Is(err, dns.ErrTemporary)) {
				t.Errorf("%s: MX %s: error %v", kind, c.domain, err)
			}
			hosts := map[string]bool{}
			var order []string
			for i, h := range got.Hosts {
				word := fmt.Sprintf("%s:%d", strings.TrimSuffix(h.Host, ".example.org"), h.Pref)
				hosts[word] = true
				order = append(order, word)
				if i > 0 && h.Pref < got.Hosts[i-1].Pref {
					t.Errorf("%s: MX %s: order %v", kind, c.domain, got.Hosts)
				}
			}
			for _, want := range strings.Fields(c.hosts) {
				if !hosts[want] {
					t.Errorf("%s: MX %s: hosts %v, want %s", kind, c.domain, order, c.hosts)
				}
			}
			if len(order) != len(strings.Fields(c.hosts)) {
				t.Errorf("%s: MX %s: hosts %v, want %s", kind, c.domain, order, c.hosts)
			}
			got.Hosts = nil
			if diff := cmp.Diff(c.want, got); diff != "" && !c.err {
				t.Errorf("%s: MX %s (-want +got):\n%s", kind, c.domain, diff)
			}
		}
	}
}

func TestMXOrderIsRandomInsideAPreference(t *testing.T) {
	both, _ := resolvers(t)
	first := map[string]int{}
	for range 200 {
		m, err := both["static"].MX(t.Context(), "example.org")
		if err != nil {
			t.Fatal(err)
		}
		first[m.Hosts[0].Host]++
	}
	if first["a.example.org"] < 40 || first["a2.example.org"] < 40 {
		t.Errorf("hosts of one preference are not tried evenly: %v", first)
	}
}

func TestAddrs(t *testing.T) {
	both, _ := resolvers(t)
	for kind, r := range both {
		for _, c := range []struct {
			host, want string
			existence  dns.Existence
			err        bool
		}{
			{"a.example.org", "[2001:db8::1 192.0.2.1]", dns.Found, false},
			{"host.example.org", "[2001:db8::1 192.0.2.1]", dns.Found, false},
			{"a2.example.org", "[192.0.2.2]", dns.Found, false},
			{"example.org", "[]", dns.NoData, false},
			{"no.example.org", "[]", dns.NoDomain, false},
			{"192.0.2.77", "[192.0.2.77]", dns.Found, false},
			{"::ffff:192.0.2.77", "[192.0.2.77]", dns.Found, false},
			{"localhost", "[127.0.0.1 ::1]", dns.Found, false},
			{"fail.example.org", "[]", dns.Unknown, true},
		} {
			got, err := r.Addrs(t.Context(), c.host)
			if (err != nil) != c.err || got.Existence != c.existence || fmt.Sprint(got.Addrs) != c.want {
				t.Errorf("%s: Addrs %s = %v %v, %v; want %s %v", kind, c.host, got.Addrs, got.Existence, err, c.want, c.existence)
			}
		}
	}
}

func TestOtherTypes(t *testing.T) {
	both, _ := resolvers(t)
	for kind, r := range both {
		txt, ex, err := r.TXT(t.Context(), "example.org")
		if diff := cmp.Diff([]string{`v=spf1 -all "x"\`}, txt); diff != "" || ex != dns.Found || err != nil {
			t.Errorf("%s: TXT: %s %v %v", kind, diff, ex, err)
		}
		ptr, ex, err := r.PTR(t.Context(), netip.MustParseAddr("192.0.2.1"))
		if diff := cmp.Diff([]string{"a.example.org"}, ptr); diff != "" || ex != dns.Found || err != nil {
			t.Errorf("%s: PTR: %s %v %v", kind, diff, ex, err)
		}
		tlsa, err := r.TLSA(t.Context(), 25, "a.example.org")
		if err != nil || len(tlsa.Records) != 1 || tlsa.Records[0].Usage != 3 || len(tlsa.Records[0].Data) != 32 || tlsa.Secure {
			t.Errorf("%s: TLSA: %+v %v", kind, tlsa, err)
		}
		for _, c := range []struct {
			name, typ, want string
			found, err      bool
		}{
			{"example.org", "MX", "[a.example.org a2.example.org b.example.org]", true, false},
			{"host.example.org", "a", "[192.0.2.1]", true, false},
			{"host.example.org", "CNAME", "[a.example.org]", true, false},
			{"example.org", "CNAME", "[]", false, false},
			{"gone.example.org", "A", "[]", false, false},
			{"fail.example.org", "A", "[]", false, true},
			{"example.org", "NOSUCH", "[]", false, true},
		} {
			v, found, err := r.Lookup(t.Context(), c.name, c.typ)
			if c.typ == "MX" && len(v) == 3 && v[0] > v[1] {
				v[0], v[1] = v[1], v[0]
			}
			if fmt.Sprint(v) != c.want || found != c.found || (err != nil) != c.err {
				t.Errorf("%s: Lookup(%s, %s) = %v %v %v", kind, c.name, c.typ, v, found, err)
			}
		}
		for _, c := range []struct {
			name, want string
			found, err bool
		}{
			{"alias.example.org", "example.org", true, false},
			{"host.example.org", "a.example.org", true, false},
			{"nothing.example.org", "", false, false},
			{"fail.example.org", "", false, true},
		} {
			v, found, err := r.Canonical(t.Context(), c.name)
			if v != c.want || found != c.found || (err != nil) != c.err {
				t.Errorf("%s: Canonical(%s) = %q %v %v", kind, c.name, v, found, err)
			}
		}
	}
}

func TestTruncatedAnswersComeOverTCP(t *testing.T) {
	both, _ := resolvers(t)
	m, err := both["real"].MX(t.Context(), "big.example.org")
	if err != nil || len(m.Hosts) != 100 || m.Hosts[99].Pref != 99 {
		t.Errorf("%d hosts, %v", len(m.Hosts), err)
	}
}

func TestCacheHonoursTTLAndNegativeAnswers(t *testing.T) {
	both, server := resolvers(t)
	r := both["real"]
	ask := func(name string) int {
		before := server.Queries()
		r.Lookup(t.Context(), name, "A")
		return server.Queries() - before
	}
	for _, c := range []struct {
		name          string
		first, second int
	}{{"a.example.org", 1, 0}, {"nothing.example.org", 1, 0}, {"example.org", 1, 0}, {"fail.example.org", 1, 0}} {
		began := time.Now()
		// a failure is believed for a second, which a busy machine may take for two questions
		if first, second := ask(c.name), ask(c.name); first != c.first || second != c.second && time.Since(began) < time.Second {
			t.Errorf("%s: %d and %d questions, want %d and %d", c.name, first, second, c.first, c.second)
		}
	}
	began := time.Now()
	if n := ask("short.example.org") + ask("short.example.org"); n != 1 && time.Since(began) < 4*time.Second {
		t.Errorf("short.example.org: %d questions inside its TTL", n)
	}
	time.Sleep(4100 * time.Millisecond)
	if n := ask("short.example.org"); n != 1 {
		t.Errorf("short.example.org: %d questions after its TTL", n)
	}
	if n := ask("fail.example.org"); n != 1 {
		t.Errorf("fail.example.org: %d questions after four seconds", n)
	}
}

func TestCacheIsBounded(t *testing.T) {
	server, err := dnstest.Start("*.example. A 192.0.2.1", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	r, err := dns.New(dns.Config{Servers: []string{server.Addr()}, Hosts: "-", CacheSize: 10})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		r.Lookup(t.Context(), fmt.Sprintf("h%d.example", i), "A")
	}
	before := server.Queries()
	r.Lookup(t.Context(), "h49.example", "A")
	if server.Queries() != before {
		t.Error("the last answer was forgotten")
	}
	r.Lookup(t.Context(), "h0.example", "A")
	if server.Queries() == before {
		t.Error("the first of 50 answers is still kept by a cache of 10")
	}
}

func TestOneQuestionForManyWhoAsk(t *testing.T) {
	both, server := resolvers(t)
	before := server.Queries()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if m, err := both["real"].MX(context.Background(), "late.example.org"); err != nil || len(m.Hosts) != 1 {
				t.Errorf("%v %v", m, err)
			}
		})
	}
	wg.Wait()
	if n := server.Queries() - before; n != 1 {
		t.Errorf("%d questions", n)
	}
}

func TestTheNextServerIsAsked(t *testing.T) {
	broken, err := dnstest.Start("!servfail .", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer broken.Close()
	silent, err := dnstest.Start("!drop .", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	good, err := dnstest.Start(zoneText, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()
	r, err := dns.New(dns.Config{Servers: []string{silent.Addr(), broken.Addr(), good.Addr()}, Hosts: "-", Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.MX(t.Context(), "example.org")
	for try := 0; err != nil && try < 30; try++ { // on a busy machine the good one may need more than its second
		time.Sleep(1100 * time.Millisecond) // a failure is believed for a second
		m, err = r.MX(t.Context(), "example.org")
	}
	if err != nil || len(m.Hosts) != 3 {
		t.Errorf("%v %v", m, err)
	}
	wrong := ""
	for try := range 30 { // likewise
		before := silent.Queries()
		_, err := r.MX(t.Context(), fmt.Sprintf("x%d.wild.example.org", try))
		if wrong = fmt.Sprint(err); err == nil && silent.Queries() == before {
			return
		}
	}
	t.Errorf("the silent server was asked again, before the others: %s", wrong)
}

func TestAnEndedContextIsTemporary(t *testing.T) {
	both, _ := resolvers(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := both["real"].MX(ctx, "silent.example.org"); !errors.Is(err, dns.ErrTemporary) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestHostsFileAndResolvConf(t *testing.T) {
	server, err := dnstest.Start(zoneText, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	hosts := filepath.Join(t.TempDir(), "hosts")
	os.WriteFile(hosts, []byte("# c\n192.0.2.50 relay.example.net relay # x\n2001:db8::50\trelay\nbad line\n127.0.0.1 localhost\n"), 0o644)
	r, err := dns.New(dns.Config{Servers: []string{server.Addr()}, Hosts: hosts})
	if err != nil {
		t.Fatal(err)
	}
	a, err := r.Addrs(t.Context(), "RELAY")
	if fmt.Sprint(a.Addrs) != "[192.0.2.50 2001:db8::50]" || a.Canonical != "relay.example.net" || err != nil {
		t.Errorf("%+v %v", a, err)
	}
	if c, found, err := r.Canonical(t.Context(), "relay"); c != "relay.example.net" || !found || err != nil {
		t.Errorf("%q %v %v", c, found, err)
	}
	if m, err := r.MX(t.Context(), "relay"); err != nil || !m.Implicit || m.Hosts[0].Host != "relay" {
		t.Errorf("%+v %v", m, err)
	}
	if names, _, err := r.PTR(t.Context(), netip.MustParseAddr("192.0.2.50")); fmt.Sprint(names) != "[relay.example.net relay]" || err != nil {
		t.Errorf("%v %v", names, err)
	}
	if _, err := dns.New(dns.Config{Servers: []string{"ns.example.org"}}); err == nil {
		t.Error("a server by name was taken")
	}
}

func TestZoneErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"a. A 192.0.2.1\n!explode a.": "line 2",
		"a. A 192.0.2.1\n\nb. A nope": "line: 3",
		"!delay soon a.":              "line 1",
		"!drop":                       "line 1",
	} {
		if _, err := dns.ParseZone(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q in it", text, err, want)
		}
	}
}
