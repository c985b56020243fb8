package dns

import (
	"bufio"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func FuzzParseZone(f *testing.F) {
	f.Add("a.example. MX 10 b.example.\n*.example. A 192.0.2.1\n!delay 1s a.example\nb.example. CNAME b.example.\n", "a.example")
	f.Add("!secure .\n$TTL 5\n@ TXT \"x\"\n$INCLUDE /etc/passwd\n", "x")
	f.Fuzz(func(t *testing.T, text, name string) {
		z, err := ParseZone(text)
		if err != nil {
			return
		}
		r := Static(z)
		m, err := r.MX(context.Background(), name)
		if err == nil && m.Existence == Unknown {
			t.Errorf("%q: neither an answer nor an error", name)
		}
		a, err := r.Addrs(context.Background(), name)
		if err == nil && (a.Existence == Found) != (len(a.Addrs) > 0) {
			t.Errorf("%q: %+v", name, a)
		}
		r.Canonical(context.Background(), name)
	})
}

func FuzzHostsAndResolvConf(f *testing.F) {
	f.Add("127.0.0.1 localhost # x\n::1%lo a b\n")
	f.Add("nameserver 127.0.0.1\nnameserver fe80::1%eth0\noptions trust-ad ndots:1\n")
	f.Fuzz(func(t *testing.T, text string) {
		h := &hostsFile{}
		h.parse(bufio.NewScanner(strings.NewReader(text)))
		for name, addrs := range h.addrs {
			if name != strings.ToLower(name) || len(addrs) == 0 {
				t.Errorf("%q: %v", name, addrs)
			}
		}
		if c := parseResolvConf(bufio.NewScanner(strings.NewReader(text))); len(c.servers) > 3 {
			t.Errorf("%d servers", len(c.servers))
		}
	})
}

// Whatever a server sends, an answer to another question is not ours, and the rest does not hurt.
func FuzzAnswer(f *testing.F) {
	z, err := ParseZone("a.example. CNAME b.example.\nb.example. MX 10 c.example.\n")
	if err != nil {
		f.Fatal(err)
	}
	q := new(dns.Msg)
	q.SetQuestion("a.example.", dns.TypeMX)
	q.Id = 1
	m, _ := z.Answer(q)
	wire, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wire)
	f.Fuzz(func(t *testing.T, wire []byte) {
		m := new(dns.Msg)
		if m.Unpack(wire) != nil {
			return
		}
		if !answers(m, q) {
			return
		}
		if len(m.Question) == 1 && !strings.EqualFold(m.Question[0].Name, "a.example.") {
			t.Errorf("taken for an answer: %v", m)
		}
		r := newResolver(Config{CacheSize: -1}, canned{m})
		setDefaults(&r.conf)
		r.log = r.conf.Log
		r.MX(context.Background(), "a.example")
		r.Addrs(context.Background(), "a.example")
		r.Lookup(context.Background(), "a.example", "TXT")
	})
}

type canned struct{ m *dns.Msg }

func (c canned) exchange(context.Context, *dns.Msg) (*dns.Msg, bool, error) { return c.m, true, nil }

func TestResolvConf(t *testing.T) {
	c := parseResolvConf(bufio.NewScanner(strings.NewReader("# x\nnameserver 192.0.2.1\nnameserver  ::1\nnameserver bad\nsearch a b\noptions timeout:1 attempts:99 trust-ad rotate\n")))
	if strings.Join(c.servers, " ") != "192.0.2.1:53 [::1]:53" || !c.trustAD || c.timeout != time.Second || c.tries != 5 {
		t.Errorf("%+v", c)
	}
	s := &servers{file: "/nonexistent"}
	if c := s.current(); c.servers[0] != "127.0.0.1:53" || c.timeout != defaultTimeout || c.tries != defaultTries {
		t.Errorf("%+v", c)
	}
}
