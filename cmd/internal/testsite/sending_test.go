package testsite_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill/cmd/internal/testsite"
)

// sent is how a message left: outcome and TLS, as the log says.
func sent(t *testing.T, s *testsite.Site, to string) string {
	t.Helper()
	if r, err := s.Sendmail(strings.NewReader("Subject: x\n\nx\n"), "-f", "alice@"+s.Host, to); err != nil || r.Exit != 0 {
		t.Fatal(r, err)
	}
	var line string
	waitFor(t, "mail for "+to+" in the log", func() bool {
		text, _ := os.ReadFile(s.LogFile)
		for l := range strings.Lines(string(text)) {
			if strings.Contains(l, "to=<"+to+">") && strings.HasSuffix(l, "\n") {
				line = l
			}
		}
		return line != ""
	})
	return line
}

// TestTLSBetweenSites sends mail with every policy about TLS, between two real daemons and a DNS whose answers are
// validated.
func TestTLSBetweenSites(t *testing.T) {
	needs(t, "openssl")
	dir := workDir(t)
	var w *world
	setup := func(zone func(leaf []byte) string, rules string) {
		w = newWorld(t, func(a, b *testsite.Options) {
			for _, o := range []*testsite.Options{a, b} {
				if err := os.MkdirAll(o.Dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			sh(t, &testsite.Site{Options: *b}, b.Dir, strings.ReplaceAll(makeCert, "a.example.test", "b.example.test"))
			pair, err := tls.LoadX509KeyPair(filepath.Join(b.Dir, "cert.pem"), filepath.Join(b.Dir, "key.pem"))
			if err != nil {
				t.Fatal(err)
			}
			host, _, _ := strings.Cut(b.Addr, ":")
			dns, stop, err := testsite.ServeDNS(strings.NewReplacer("PORT", fmt.Sprint(b.SMTPPort), "ADDR", host).Replace(zone(pair.Leaf.RawSubjectPublicKeyInfo)))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(stop)
			a.Resolver = dns
			a.Settings = "set retry 20s\n"
			b.Settings = strings.ReplaceAll("set retry 1s\nset tls-cert DIR/cert.pem\nset tls-key DIR/key.pem\n", "DIR", b.Dir)
			b.Local = []string{"dane.test", "bad.test", "plain.test"}
			a.Rules = strings.NewReplacer("PORT", fmt.Sprint(b.SMTPPort), "DIR", a.Dir, "CERT", filepath.Join(b.Dir, "cert.pem")).Replace(rules)
			a.Route = "$user+ < @ $d+ > => out $d $user@$d\n"
		})
	}
	zone := func(leaf []byte) string {
		good, bad := sha256.Sum256(leaf), sha256.Sum256([]byte("another key"))
		return fmt.Sprintf(`
dane.test.            MX 10 mx.dane.test.
mx.dane.test.         A  ADDR
_PORT._tcp.mx.dane.test. TLSA 3 1 1 %x
bad.test.             MX 10 mx.bad.test.
mx.bad.test.          A  ADDR
_PORT._tcp.mx.bad.test. TLSA 3 1 1 %x
plain.test.           MX 10 b.example.test.
b.example.test.       A  ADDR
!secure .
`, good, bad)
	}
	_ = dir
	setup(zone, `table policy text DIR/policy
transport out smtp { port PORT; tls-policy policy; tls-ca CERT }
`)
	if err := os.WriteFile(filepath.Join(w.a.Dir, "policy"), []byte("plain.test verified\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, w.a, w.b)
	for to, want := range map[string][]string{
		"bob@dane.test":  {"stat=Sent", "TLSv1.3", "verify=TRUSTED"},
		"bob@bad.test":   {"stat=Deferred", "dsn=4.7.5"},
		"bob@plain.test": {"stat=Sent", "TLSv1.3", "verify=OK"},
	} {
		line := sent(t, w.a, to)
		text, _ := os.ReadFile(w.a.LogFile)
		for _, x := range want {
			if !strings.Contains(line, x) && !strings.Contains(string(text), x) {
				t.Errorf("%s: no %q in %s", to, x, line)
			}
		}
		if !strings.Contains(line, "stat=Sent") {
			continue
		}
		_, id, _ := strings.Cut(line, "]: ")
		id, _, _ = strings.Cut(id, ":")
		var r testsite.Result
		if err := testsite.Wait(soon(t), func() bool { // it is in the log a moment before it is out of the queue
			var err error
			r, err = w.a.Waybill("explain", "-C", w.a.Rules, id)
			return err == nil && r.Exit == 0 && strings.Contains(r.Out, "tls=TLSv1.3 TLS_") && strings.Contains(r.Out, " verified")
		}); err != nil {
			t.Errorf("explain %s: %+v", id, r)
		}
	}
	if err := os.WriteFile(filepath.Join(w.a.Dir, "policy"), []byte("plain.test dane\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := w.a.Stop(); err != nil {
		t.Fatal(err)
	}
	start(t, w.a)
	if line := sent(t, w.a, "alice@plain.test"); !strings.Contains(line, "dsn=4.7.5") {
		t.Errorf("dane without records: %s", line)
	}
}

// TestTLSReports counts sessions with a domain that wants to hear of them, and has the report sent (RFC 8460).
func TestTLSReports(t *testing.T) {
	w := newWorld(t, func(a, _ *testsite.Options) {
		host, _, _ := strings.Cut(a.Addr, ":")
		sink := strings.Replace(host, "127.0.0.3", "127.0.0.2", 1)
		dns, stop, err := testsite.ServeDNS(fmt.Sprintf(`
sink.test.           MX 10 mx.sink.test.
mx.sink.test.        A  %s
_smtp._tls.sink.test. TXT "v=TLSRPTv1; rua=mailto:tls@sink.test"
`, sink))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		a.Resolver = dns
		a.Settings = "set retry 1s\nset tls-reports yes\nset tls-report-sender tls@a.example.test\n"
	})
	start(t, w.a)
	if line := sent(t, w.a, "x@sink.test"); !strings.Contains(line, "stat=Sent") {
		t.Fatal(line)
	}
	if r, err := w.a.Waybill("tlsreport", "-C", w.a.Rules); err != nil || r.Exit != 0 || r.Out != "sink.test tls@sink.test\n" {
		t.Fatal(r, err)
	}
	waitFor(t, "the report", func() bool { return len(w.sink.For("tls@sink.test")) == 1 })
	got := w.sink.For("tls@sink.test")[0]
	mail := strings.ReplaceAll(string(got.Data), "\r\n", "\n")
	for _, want := range []string{"TLS-Report-Domain: sink.test\n", "TLS-Required: No\n", "From: <tls@a.example.test>\n"} {
		if !strings.Contains(mail, want) {
			t.Errorf("%q is not in it:\n%s", want, mail)
		}
	}
	_, part, _ := strings.Cut(mail, "application/tlsrpt+gzip")
	_, data, _ := strings.Cut(part, "\n\n")
	data, _, _ = strings.Cut(data, "\n\n")
	zipped, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(data, "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Policies []struct {
			Summary map[string]int64 `json:"summary"`
			Details []map[string]any `json:"failure-details"`
		} `json:"policies"`
	}
	if err := json.NewDecoder(z).Decode(&report); err != nil {
		t.Fatal(err)
	}
	if len(report.Policies) != 1 || report.Policies[0].Summary["total-failure-session-count"] != 1 || report.Policies[0].Details[0]["result-type"] != "starttls-not-supported" {
		t.Errorf("%+v", report)
	}

	// hoststat and purgestat of the same daemon
	r, err := w.a.Command(nil, "sendmail", "-C", w.a.Rules, "-bh")
	if err != nil || r.Exit != 0 || !strings.Contains(r.Out, "mx.sink.test") || !strings.Contains(r.Out, " OK") {
		t.Errorf("hoststat: %+v %v", r, err)
	}
	if r, err = w.a.Command(nil, "sendmail", "-C", w.a.Rules, "-bH"); err != nil || r.Exit != 0 {
		t.Errorf("purgestat: %+v %v", r, err)
	}
	if r, err = w.a.Command(nil, "sendmail", "-C", w.a.Rules, "-bh"); err != nil || strings.Contains(r.Out, "mx.sink.test") {
		t.Errorf("hoststat: %+v %v", r, err)
	}
}
