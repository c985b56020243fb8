package testsite_test

import (
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill/cmd/internal/testsite"
)

// certificates makes an authority, and a certificate of it for names; files are the PEM files of both.
func certificates(t *testing.T, dir string, names ...string) (authority string, cert tls.Certificate) {
	t.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	root, leaf := key(), key()
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the test's authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rootDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &root.PublicKey, root)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, ca, &leaf.PublicKey, root)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(leaf)
	if err != nil {
		t.Fatal(err)
	}
	write("cert.pem", "CERTIFICATE", der)
	write("key.pem", "PRIVATE KEY", keyDER)
	return write("authority.pem", "CERTIFICATE", rootDER), tls.Certificate{Certificate: [][]byte{der}, PrivateKey: leaf}
}

// TestPoliciesAndReportsOverHTTPS lets the daemon read MTA-STS policies from a web server (RFC 8461), in each mode, and
// upload its report about TLS to another (RFC 8460 5.4).
func TestPoliciesAndReportsOverHTTPS(t *testing.T) {
	var mu sync.Mutex
	modes := map[string]string{"enforce.test": "enforce", "other.test": "enforce", "testing.test": "testing", "none.test": "none"}
	asked := map[string]int{}
	var reports []map[string]any
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		domain := strings.TrimPrefix(r.Host, "mta-sts.")
		switch {
		case r.URL.Path == "/report" && r.Method == http.MethodPost && r.Header.Get("Content-Type") == "application/tlsrpt+gzip":
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			var report map[string]any
			if err := json.NewDecoder(z).Decode(&report); err != nil {
				t.Error(err)
			}
			reports = append(reports, report)
			w.WriteHeader(http.StatusCreated)
		case r.URL.Path == "/.well-known/mta-sts.txt" && modes[domain] != "":
			asked[domain]++
			mx := "b.example.test"
			if domain != "enforce.test" {
				mx = "elsewhere." + domain
			}
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprintf(w, "version: STSv1\r\nmode: %s\r\nmx: %s\r\nmax_age: 86400\r\n", modes[domain], mx)
		default:
			http.NotFound(w, r)
		}
	})
	var w *world
	var stopWeb func()
	w = newWorld(t, func(a, b *testsite.Options) {
		for _, o := range []*testsite.Options{a, b} {
			if err := os.MkdirAll(o.Dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		names := []string{"b.example.test", "reports.test"}
		zone := ""
		host, _, _ := net.SplitHostPort(b.Addr)
		for domain := range modes {
			names = append(names, "mta-sts."+domain)
			b.Local = append(b.Local, domain)
			zone += fmt.Sprintf("%s. MX 10 b.example.test.\nmta-sts.%s. A %s\n_mta-sts.%s. TXT \"v=STSv1; id=1\"\n_smtp._tls.%s. TXT \"v=TLSRPTv1; rua=https://reports.test/report\"\n",
				domain, domain, host, domain, domain)
		}
		dns, stop, err := testsite.ServeDNS(zone + fmt.Sprintf("b.example.test. A %s\nreports.test. A %s\n", host, host))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		authority, cert := certificates(t, b.Dir, names...)
		t.Setenv("SSL_CERT_FILE", authority) // the daemon's roots
		ln, err := net.Listen("tcp", net.JoinHostPort(host, "443"))
		if err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skipf("port 443 is not ours: %v", err)
		}
		server := &http.Server{Handler: handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
		go server.ServeTLS(ln, "", "")
		stopWeb = func() { server.Close() }
		a.Resolver = dns
		a.Settings = "set retry 20s\nset tls-reports yes\n"
		a.Rules = fmt.Sprintf("transport out smtp { port %d }\n", b.SMTPPort)
		a.Route = "$user+ < @ $d+ > => out $d $user@$d\n"
		b.Settings = strings.ReplaceAll("set retry 1s\nset tls-cert DIR/cert.pem\nset tls-key DIR/key.pem\n", "DIR", b.Dir)
	})
	defer func() { stopWeb() }()
	start(t, w.a, w.b)
	for _, c := range []struct{ to, want string }{
		{"bob@enforce.test", "stat=Sent"},
		{"bob@other.test", "dsn=4.7.0"},
		{"bob@testing.test", "stat=Sent"},
		{"bob@none.test", "stat=Sent"},
	} {
		if line := sent(t, w.a, c.to); !strings.Contains(line, c.want) {
			t.Errorf("%s: %s", c.to, line)
		}
	}
	text, _ := os.ReadFile(w.a.LogFile)
	contains(t, text, "verify=OK")

	// The policy is on disk and holds while nobody can ask the web server, in another process too.
	stopWeb()
	if err := w.a.Stop(); err != nil {
		t.Fatal(err)
	}
	if kept, _ := filepath.Glob(filepath.Join(w.a.Dir, "spool/mta-sts/*.test")); len(kept) != len(modes) {
		t.Errorf("kept: %v", kept)
	}
	start(t, w.a)
	for to, want := range map[string]string{"alice@enforce.test": "stat=Sent", "alice@other.test": "dsn=4.7.0"} {
		if line := sent(t, w.a, to); !strings.Contains(line, want) {
			t.Errorf("%s, policy from disk: %s", to, line)
		}
	}
	mu.Lock()
	for domain := range modes {
		if asked[domain] != 1 {
			t.Errorf("the policy of %s was read %d times", domain, asked[domain])
		}
	}
	mu.Unlock()

	// The report goes to the web server that the domain names.
	host, _, _ := net.SplitHostPort(w.b.Addr)
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "443"))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(w.b.Dir, "cert.pem"), filepath.Join(w.b.Dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}, ErrorLog: nil}
	go server.ServeTLS(ln, "", "")
	stopWeb = func() { server.Close() }
	if r, err := w.a.Waybill("tlsreport", "-C", w.a.Rules); err != nil || r.Exit != 0 || !strings.Contains(r.Out, "enforce.test https://reports.test/report\n") {
		t.Fatal(r, err)
	}
	mu.Lock()
	defer mu.Unlock()
	found := false
	for _, r := range reports {
		data, _ := json.Marshal(r)
		for _, want := range []string{`"policy-type":"sts"`, `"policy-domain":"enforce.test"`, `"total-successful-session-count":2`} {
			if !strings.Contains(string(data), want) {
				found = false
				break
			}
			found = true
		}
		if found {
			break
		}
	}
	if !found {
		text, _ := json.MarshalIndent(reports, "", " ")
		t.Errorf("no report about enforce.test as it should be:\n%s", text)
	}
}
