package smtpclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill/transport/envelope"
)

const eximConf = `primary_hostname = mx.example.com
spool_directory = DIR/spool
log_file_path = DIR/log/%slog
pid_file_path = DIR/pid
exim_user = root
never_users =
tls_advertise_hosts = *
tls_certificate = DIR/cert.pem
tls_privatekey = DIR/key.pem
chunking_advertise_hosts = *
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *
host_lookup =
rfc1413_hosts =
keep_environment =
queue_only
acl_smtp_rcpt = rcpt
acl_smtp_data = accept
begin acl
rcpt:
  deny  local_parts = no
        message = no such user
  deny  !authenticated = *
        message = log in first
  accept
begin routers
all:
  driver = accept
  transport = file
begin transports
file:
  driver = appendfile
  file = DIR/mbox
  user = root
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_condition = ${if and{{eq{$auth2}{tester}}{eq{$auth3}{secret}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = <| Username: | Password:
  server_condition = ${if and{{eq{$auth1}{tester}}{eq{$auth2}{secret}}}}
  server_set_id = $auth1
cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = ${if eq{$auth1}{tester}{secret}fail}
  server_set_id = $auth1
`

// A real Exim as next hop: STARTTLS with a certificate that verifies, AUTH, BDAT, DATA, DSN, several messages on one
// connection. What it has in its spool is what we sent.
func TestEximAsNextHop(t *testing.T) {
	exim := "/usr/sbin/exim4"
	if _, err := os.Stat(exim); err != nil {
		unpacked := os.Getenv("PEERS") // where "make peers" unpacks them
		exim = filepath.Join(unpacked, "exim/usr/sbin/exim4")
	}
	if _, err := os.Stat(exim); err != nil || os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("Exim is not there: run make peers as root")
		}
		t.Skip("needs Exim, and root to run it with a configuration of ours")
	}
	dir := t.TempDir()
	ca := newAuthority(t)
	cert := ca.issue(t, "mx.example.com", -time.Hour, time.Hour)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))
	write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	write("exim.conf", []byte(strings.ReplaceAll(eximConf, "DIR", dir)))
	os.Mkdir(filepath.Join(dir, "log"), 0o700)

	ln, err := net.Listen("tcp", "127.0.0.21:0") // an address of its own: nobody's connections come from there, so the port stays free
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(exim, "-C", filepath.Join(dir, "exim.conf"), "-bdf", "-oX", "127.0.0.21."+port)
	var out strings.Builder
	cmd.Stderr, cmd.Stdout = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	for i := 0; ; i++ {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			break
		}
		if i == 1500 {
			t.Fatalf("Exim does not answer: %s", out.String())
		}
		time.Sleep(20 * time.Millisecond)
	}

	body := "Subject: ü\nFrom: alice@example.org\n\n.\n..dots\nFrom here\n" + strings.Repeat("0123456789\n", 30000) + "end\n"
	for _, mechanism := range []string{"PLAIN", "LOGIN", "CRAM-MD5"} {
		for _, noChunks := range []bool{false, true} {
			w := world{"mx.example.com. A 192.0.2.1", nil}
			c := w.client(t, func(conf *Config) {
				conf.TLS, conf.TLSConfig, conf.NoChunking = TLSVerify, &tls.Config{RootCAs: ca.pool()}, noChunks
				conf.Dial, conf.ConnectTo, conf.Timeouts = new(net.Dialer).DialContext, addr, Timeouts{}
				conf.Auth = func(context.Context, Peer) (Credentials, bool, error) {
					return Credentials{User: "tester", Password: "secret", Mechanisms: []string{mechanism}}, true, nil
				}
			})
			for range 3 {
				req := request("[mx.example.com]", body, "bob@example.com", "no@example.com")
				req.Envelope.BodyType, req.Envelope.Ret, req.Envelope.EnvID = envelope.Body8BitMIME, envelope.RetHeaders, "Q1"
				got := c.Deliver(t.Context(), req)
				if outcomes(got) != "relayed 2.0.0, failed 5.1.1" || !got[0].DSN || !strings.HasSuffix(got[0].TLS, " verified") {
					t.Fatalf("%s: %s (%s) %q", mechanism, outcomes(got), got[0].Text(), got[0].TLS)
				}
			}
			c.Close()
		}
	}
	wrong := world{"mx.example.com. A 192.0.2.1", nil}.client(t, func(conf *Config) {
		conf.TLSConfig, conf.TLS = &tls.Config{}, TLSMust
		conf.Dial, conf.ConnectTo, conf.Timeouts = new(net.Dialer).DialContext, addr, Timeouts{}
		conf.Auth = func(context.Context, Peer) (Credentials, bool, error) {
			return Credentials{User: "tester", Password: "wrong"}, true, nil
		}
	})
	if got := wrong.Deliver(t.Context(), request("[mx.example.com]", body, "bob@example.com")); outcomes(got) != "deferred 4.7.8" {
		t.Errorf("wrong password: %s (%s)", outcomes(got), got[0].Text())
	}

	spooled, err := filepath.Glob(filepath.Join(dir, "spool/input/*-D"))
	if err != nil || len(spooled) != 18 {
		t.Fatalf("%d messages in Exim's spool, want 18", len(spooled))
	}
	_, want, _ := strings.Cut(body, "\n\n")
	for _, file := range spooled {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, got, _ := strings.Cut(string(data), "\n") // the first line is the id
		if strings.ReplaceAll(got, "\r\n", "\n") != want {
			t.Errorf("%s: arrived changed (%d octets, sent %d)", file, len(got), len(want))
		}
	}
}
