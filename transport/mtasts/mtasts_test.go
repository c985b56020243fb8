package mtasts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waybill/transport/dns"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmax_age: 86400\n": "enforce [mail.example.com *.example.net] 24h0m0s",
		"version: STSv1\r\nmode: testing\r\nmx: A.example.\r\nmax_age: 1\r\nnew: thing\r\n":        "testing [a.example] 1s",
		"version: STSv1\nmode: none\nmax_age: 99999999\n":                                          "none [] 8766h0m0s",
		"version: STSv1\nmode: enforce\nmode: none\nmx: a.example\nmax_age: 5":                     "enforce [a.example] 5s",
		"mode: enforce\nmx: a.example\nmax_age: 5":                                                 "error",
		"version: STSv2\nmode: enforce\nmx: a.example\nmax_age: 5":                                 "error",
		"version: STSv1\nmode: maybe\nmx: a.example\nmax_age: 5":                                   "error",
		"version: STSv1\nmode: enforce\nmax_age: 5":                                                "error",
		"version: STSv1\nmode: enforce\nmx: a/../b\nmax_age: 5":                                    "error",
		"version: STSv1\nmode: enforce\nmx: a.example\nmax_age: -5":                                "error",
		"version: STSv1\nmode: enforce\nmx: a.example\n":                                           "error",
		"<html>":                        "error",
		"":                              "error",
		strings.Repeat("x: y\n", 20000): "error",
		"version: STSv1\nmode: enforce\nmax_age: 5\n" + strings.Repeat("mx: a.example\n", maxMX+1): "error",
	} {
		p, err := Parse(text)
		got := "error"
		if err == nil {
			got = fmt.Sprintf("%s %v %v", p.Mode, p.MX, p.MaxAge)
		}
		if got != want {
			t.Errorf("%.40q: %s, want %s (%v)", text, got, want, err)
		}
	}
}

func TestMatch(t *testing.T) {
	p := Policy{MX: []string{"mail.example.com", "*.example.net"}}
	for host, want := range map[string]bool{"mail.example.com": true, "MAIL.Example.COM.": true, "x.mail.example.com": false, "a.example.net": true,
		"a.b.example.net": false, "example.net": false, "": false, "com": false} {
		if p.Match(host) != want {
			t.Errorf("%q: %v", host, !want)
		}
	}
}

func TestRecordID(t *testing.T) {
	for _, c := range []struct {
		records []string
		id      string
	}{
		{[]string{"v=STSv1; id=20160831085700Z;"}, "20160831085700Z"},
		{[]string{"v=spf1 -all", "v=STSv1;id=1"}, "1"},
		{[]string{"v=STSv1; id=1", "v=STSv1; id=2"}, ""},
		{[]string{"v=STSv1; id="}, ""},
		{[]string{"v=STSv1"}, ""},
		{[]string{"v=STSv1; id=a/b"}, ""},
		{nil, ""},
	} {
		if id, ok := recordID(c.records); id != c.id || ok != (c.id != "") {
			t.Errorf("%q: %q %v", c.records, id, ok)
		}
	}
}

// site is a web server and a zone that a test can change.
type site struct {
	mu     sync.Mutex
	text   string
	kind   string
	status int
	hits   atomic.Int32
	server *httptest.Server
	zone   string
}

func newSite(t *testing.T) *site {
	s := &site{kind: "text/plain; charset=utf-8", status: 200}
	s.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.URL.Path != "/.well-known/mta-sts.txt" || r.Host != "mta-sts.example.com" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", s.kind)
		if s.status == 302 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(s.status)
		w.Write([]byte(s.text))
	}))
	t.Cleanup(s.server.Close)
	return s
}

func (s *site) store(t *testing.T, dir string) *Store {
	zone, err := dns.ParseZone(s.zone + "\nmta-sts.example.com. A 192.0.2.1\nmta-sts.other.example. A 192.0.2.1\n")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.server.Certificate()) // valid for example.com and *.example.com
	store, err := New(Config{Dir: dir, Resolver: dns.Static(zone), TLSConfig: &tls.Config{RootCAs: roots},
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.server.Listener.Addr().String())
		}})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

const enforce = "version: STSv1\nmode: enforce\nmx: mail.example.com\nmax_age: 1000\n"

func TestStore(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(t.TempDir(), "sts")
	s.zone, s.text = `_mta-sts.example.com. TXT "v=STSv1; id=1"`, enforce
	store := s.store(t, dir)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if p, ok := store.Policy(t.Context(), "Example.COM"); !ok || p.Mode != Enforce || p.ID != "1" {
				t.Errorf("%+v %v", p, ok)
			}
		})
	}
	wg.Wait()
	if n := s.hits.Load(); n != 1 {
		t.Errorf("%d downloads", n)
	}
	// A new process, and an attacker who hides the record: the policy on disk holds.
	s.zone = ""
	if p, ok := s.store(t, dir).Policy(t.Context(), "example.com"); !ok || p.Mode != Enforce {
		t.Errorf("hidden record: %+v %v", p, ok)
	}
	// One who blocks the download of what the record announces.
	s.zone, s.status = `_mta-sts.example.com. TXT "v=STSv1; id=2"`, 500
	store = s.store(t, dir)
	before := s.hits.Load()
	for range 3 {
		if p, ok := store.Policy(t.Context(), "example.com"); !ok || p.ID != "1" {
			t.Errorf("blocked download: %+v %v", p, ok)
		}
	}
	if n := s.hits.Load() - before; n != 1 {
		t.Errorf("a failed download was repeated: %d", n)
	}
	// The domain ends its policy.
	s.status, s.text = 200, "version: STSv1\nmode: none\nmax_age: 1000\n"
	if p, ok := s.store(t, dir).Policy(t.Context(), "example.com"); ok || p.Mode != None {
		t.Errorf("ended policy: %+v %v", p, ok)
	}
	// Its time is over.
	os.WriteFile(filepath.Join(dir, "example.com"), []byte("1\n"+time.Now().Add(-time.Hour).Format(time.RFC3339)+"\n"+enforce), 0o600)
	s.zone = ""
	if p, ok := s.store(t, dir).Policy(t.Context(), "example.com"); ok {
		t.Errorf("old policy: %+v", p)
	}
	// A damaged file stops nothing.
	os.WriteFile(filepath.Join(dir, "example.com"), []byte("garbage"), 0o600)
	if _, ok := s.store(t, dir).Policy(t.Context(), "example.com"); ok {
		t.Error("garbage is a policy")
	}
}

func TestBadDownloads(t *testing.T) {
	for name, change := range map[string]func(*site) string{
		"redirect":        func(s *site) string { s.status = 302; return "example.com" },
		"not found":       func(s *site) string { s.status = 404; return "example.com" },
		"html":            func(s *site) string { s.kind = "text/html"; return "example.com" },
		"bad policy":      func(s *site) string { s.text = "hello"; return "example.com" },
		"endless":         func(s *site) string { s.text = strings.Repeat(enforce, 2000); return "example.com" },
		"bad certificate": func(*site) string { return "other.example" },
		"bad domain":      func(*site) string { return "../etc/passwd" },
		"servfail":        func(s *site) string { s.zone = "!servfail example.com"; return "example.com" },
	} {
		s := newSite(t)
		s.server.Config.ErrorLog = nil
		s.zone, s.text = "_mta-sts.example.com. TXT \"v=STSv1; id=1\"\n_mta-sts.other.example. TXT \"v=STSv1; id=1\"", enforce
		domain := change(s)
		if p, ok := s.store(t, "").Policy(t.Context(), domain); ok {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(enforce)
	f.Add("version: STSv1\r\nmode: none\r\nmax_age: 1\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(strings.Join(p.Text, "\n"))
		if err != nil || again.Mode != p.Mode || again.MaxAge != p.MaxAge || len(again.MX) != len(p.MX) {
			t.Errorf("%q is read as %+v, and what is kept of it as %+v, %v", text, p, again, err)
		}
	})
}
