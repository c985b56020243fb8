package smtpserver

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"waybill/transport/smtp"
	"waybill/transport/smtpserver/sasl"
)

// testTLS is a certificate for mx.test, made for this run, and what a client needs to check it.
func testTLS(t testing.TB) (*tls.Config, *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.test"}, DNSNames: []string{"mx.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	pair := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven},
		&tls.Config{RootCAs: pool, ServerName: "mx.test"}
}

// clear is a store with one user.
type clear struct{}

func (clear) Verify(_ context.Context, user, password string) (bool, error) {
	return user == "tester" && password == "hunter2", nil
}

var _ sasl.Store = clear{}

func (c *testConn) startTLS(cfg *tls.Config) *testConn {
	c.t.Helper()
	c.cmd(220, "STARTTLS")
	tc := tls.Client(c.Conn, cfg)
	if err := tc.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	return &testConn{tc, c.t, bufio.NewReader(tc)}
}

func tlsServer(t *testing.T, change func(*Config)) (*fakeBackend, net.Listener, *tls.Config) {
	server, client := testTLS(t)
	cfg := testConfig(t)
	cfg.TLS, cfg.Auth, cfg.AuthDelay = server, clear{}, time.Millisecond
	if change != nil {
		change(&cfg)
	}
	b := &fakeBackend{}
	_, ln := start(t, cfg, b)
	return b, ln, client
}

func TestStartTLS(t *testing.T) {
	b, ln, client := tlsServer(t, nil)
	c := dial(t, ln)
	c.expect(220)
	r := c.cmd(250, "EHLO client.test")
	if text := r.Text(); !strings.Contains(text, "STARTTLS") || strings.Contains(text, "AUTH") {
		t.Errorf("offered in clear: %s", text)
	}
	c.cmd(501, "STARTTLS now")
	c.cmd(538, "AUTH PLAIN AGEAYg==")
	c.cmd(250, "MAIL FROM:<a@example.org>")
	c.cmd(250, "RCPT TO:<b@example.org>")
	c = c.startTLS(client)
	// RFC 3207 4.2: the transaction and the name are forgotten
	c.cmd(503, "DATA")
	c.cmd(503, "MAIL FROM:<a@example.org>")
	r = c.cmd(250, "EHLO again.test")
	if text := r.Text(); strings.Contains(text, "STARTTLS") || !strings.Contains(text, "AUTH PLAIN LOGIN") {
		t.Errorf("offered inside TLS: %s", text)
	}
	c.cmd(503, "STARTTLS")
	c.cmd(235, "AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00tester\x00hunter2")))
	c.cmd(503, "AUTH PLAIN AGEAYg==")
	if r = c.cmd(250, "EHLO again.test"); strings.Contains(r.Text(), "AUTH") {
		t.Errorf("AUTH offered again: %s", r.Text())
	}
	c.cmd(250, "MAIL FROM:<a@example.org> AUTH=<>")
	c.cmd(250, "RCPT TO:<b@example.org>")
	c.cmd(354, "DATA")
	c.cmd(250, "x\r\n.")
	c.cmd(221, "QUIT")
	if _, err := c.br.ReadByte(); err != io.EOF {
		t.Errorf("TLS was not ended in order: %v", err)
	}
	if calls := strings.Join(b.take(), "; "); !strings.Contains(calls, "data ESMTPSA 2 octets") {
		t.Error(calls)
	}
}

// CVE-2011-0411: what came in clear behind STARTTLS is not obeyed inside TLS.
func TestStartTLSForgetsWhatCameBefore(t *testing.T) {
	for _, inject := range []string{"NOOP\r\n", "EHLO x\r\nMAIL FROM:<a@example.org>\r\n", "NO"} {
		_, ln, client := tlsServer(t, nil)
		c := dial(t, ln)
		c.expect(220)
		c.cmd(250, "EHLO client.test")
		fmt.Fprintf(c, "STARTTLS\r\n%s", inject)
		c.expect(220)
		if c.br.Buffered() > 0 {
			t.Error("more than one reply in clear")
		}
		tc := tls.Client(c.Conn, client)
		if err := tc.Handshake(); err != nil {
			continue // the octets came too late to be forgotten: that is as good
		}
		c = &testConn{tc, t, bufio.NewReader(tc)}
		if inject == "NO" {
			c.cmd(500, "OP")
		}
		c.cmd(221, "QUIT")
	}
}

func TestStartTLSWithNonsense(t *testing.T) {
	_, ln, _ := tlsServer(t, nil)
	c := dial(t, ln)
	c.expect(220)
	c.cmd(220, "STARTTLS")
	fmt.Fprintf(c, "NOOP\r\nEHLO again.test\r\n")
	if b, _ := io.ReadAll(c.br); strings.Contains(string(b), "250") {
		t.Errorf("obeyed in clear: %q", b)
	}
}

func TestImplicitTLS(t *testing.T) {
	server, client := testTLS(t)
	cfg := testConfig(t)
	cfg.TLS = server
	srv, err := New(cfg, &fakeBackend{})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.ServeTLS(t.Context(), ln)
	t.Cleanup(func() { srv.Shutdown(context.Background()) })
	c := dial(t, ln)
	tc := tls.Client(c.Conn, client)
	c = &testConn{tc, t, bufio.NewReader(tc)}
	c.expect(220)
	if r := c.cmd(250, "EHLO client.test"); strings.Contains(r.Text(), "STARTTLS") {
		t.Error("STARTTLS inside TLS")
	}
	c.cmd(221, "QUIT")
	c = dial(t, ln)
	fmt.Fprintf(c, "EHLO x\r\n")
	if b, _ := io.ReadAll(c.br); len(b) > 2 && b[0] == '2' {
		t.Errorf("answered in clear: %q", b)
	}
}

func TestAuth(t *testing.T) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	_, ln, client := tlsServer(t, func(cfg *Config) { cfg.MaxAuthFailures, cfg.MaxErrors = 2, 100 })
	c := dial(t, ln)
	c.expect(220)
	c = c.startTLS(client)
	c.cmd(503, "AUTH PLAIN")
	c.cmd(250, "EHLO client.test")
	c.cmd(501, "AUTH")
	c.cmd(504, "AUTH X-NONE")
	c.cmd(504, "AUTH CRAM-MD5")
	c.cmd(501, "AUTH PLAIN !!!!")
	c.cmd(501, "AUTH PLAIN =")
	c.cmd(501, "AUTH PLAIN %s", strings.Repeat("A", 1999))
	c.cmd(501, "AUTH PLAIN %s", b64("nonulshere"))
	c.cmd(334, "AUTH PLAIN")
	c.cmd(501, "*")
	c.cmd(334, "AUTH PLAIN")
	c.cmd(501, "\x80\xff$$")
	c.cmd(334, "AUTH PLAIN")
	c.cmd(501, "%s", strings.Repeat("A", 13000))
	c.cmd(250, "MAIL FROM:<>")
	c.cmd(503, "AUTH PLAIN AGEAYg==")
	c.cmd(250, "RSET")
	if r := c.cmd(334, "AUTH LOGIN"); r.Text() != "VXNlcm5hbWU6" {
		t.Error(r)
	}
	if r := c.cmd(334, b64("tester")); r.Text() != "UGFzc3dvcmQ6" {
		t.Error(r)
	}
	a := c.cmd(535, b64("wrong"))
	b := c.cmd(535, "AUTH PLAIN %s", b64("\x00nobody\x00x"))
	if a.String() != b.String() {
		t.Errorf("%v, %v", a, b)
	}
	c.cmd(535, "AUTH PLAIN %s", b64("root\x00tester\x00hunter2"))
	c.expect(421)

	c = dial(t, ln)
	c.expect(220)
	c = c.startTLS(client)
	c.cmd(250, "EHLO client.test")
	c.cmd(334, "AUTH PLAIN")
	fmt.Fprintf(c, "%s\r\n", strings.Repeat("A", 1<<20))
	if r, err := smtp.ReadReply(c.br); err == nil && r.Code != 421 {
		t.Errorf("a megabyte: %v", r)
	}
}

func TestAuthExternal(t *testing.T) {
	var pair []tls.Certificate
	_, ln, client := tlsServer(t, func(cfg *Config) {
		pair = cfg.TLS.Certificates
		cfg.AuthExternal = func(s *tls.ConnectionState) (string, bool) {
			if len(s.VerifiedChains) == 0 {
				return "", false
			}
			return s.PeerCertificates[0].Subject.CommonName, true
		}
	})
	c := dial(t, ln)
	c.expect(220)
	c = c.startTLS(client)
	if r := c.cmd(250, "EHLO client.test"); strings.Contains(r.Text(), "EXTERNAL") {
		t.Error("EXTERNAL without a certificate")
	}
	c.cmd(504, "AUTH EXTERNAL =")

	client.Certificates = pair
	c = dial(t, ln)
	c.expect(220)
	c = c.startTLS(client)
	if r := c.cmd(250, "EHLO client.test"); !strings.Contains(r.Text(), "EXTERNAL") {
		t.Errorf("no EXTERNAL: %s", r.Text())
	}
	c.cmd(535, "AUTH EXTERNAL %s", base64.StdEncoding.EncodeToString([]byte("root")))
	c.cmd(334, "AUTH EXTERNAL")
	c.cmd(235, "")
}

func TestSubmissionNeedsTLSAndAuth(t *testing.T) {
	_, ln, client := tlsServer(t, func(cfg *Config) { cfg.NeedTLS, cfg.NeedAuth = true, true })
	c := dial(t, ln)
	c.expect(220)
	c.cmd(250, "EHLO client.test")
	c.cmd(530, "MAIL FROM:<a@example.org>")
	c = c.startTLS(client)
	c.cmd(250, "EHLO client.test")
	c.cmd(530, "MAIL FROM:<a@example.org>")
	c.cmd(235, "AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00tester\x00hunter2")))
	c.cmd(250, "MAIL FROM:<a@example.org>")
}
