package testsite_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill/cmd/internal/testsite"
	"waybill/transport/dns/dnstest"
)

// TestClientCertificates logs in with openssl s_client: AUTH EXTERNAL (RFC 4422) by a certificate, on the submission port
// with STARTTLS and on the one where TLS begins at once (RFC 8314), and not without one, nor with one of a stranger.
func TestClientCertificates(t *testing.T) {
	needs(t, "openssl")
	submission, submissions := freePort(t), freePort(t)
	w := newWorld(t, func(a, _ *testsite.Options) {
		a.Settings = strings.NewReplacer("DIR", a.Dir, "PORTS", submissions, "PORT", submission).Replace("set retry 1s\nset tls-cert DIR/cert.pem\nset tls-key DIR/key.pem\nset tls-client-ca DIR/clients/authority.pem\nset listen-submission PORT\nset listen-submissions PORTS\n")
		a.Rules = "accept rcpt { auth ok }\n"
	})
	clients, strangers := filepath.Join(w.a.Dir, "clients"), filepath.Join(w.a.Dir, "strangers")
	for _, dir := range []string{clients, strangers} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		certificates(t, dir, "alice.example.test")
	}
	sh(t, w.a, w.a.Dir, makeCert)
	start(t, w.a)
	talk := func(addr string, options ...string) string {
		cmd := exec.Command("openssl", append([]string{"s_client", "-connect", addr, "-quiet", "-crlf", "-ign_eof"}, options...)...)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stop := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
		defer stop.Stop()
		for _, line := range []string{"EHLO client.test", "AUTH EXTERNAL =", "MAIL FROM:<alice@a.example.test>", "rCPT TO:<x@sink.test>", "DATA", "Subject: x\n\nx\n.", "quit"} {
			time.Sleep(100 * time.Millisecond)
			fmt.Fprintln(in, line)
		}
		cmd.Wait()
		return out.String()
	}
	pair := func(dir string) []string {
		return []string{"-cert", filepath.Join(dir, "cert.pem"), "-key", filepath.Join(dir, "key.pem")}
	}
	sent := 0
	for _, port := range []struct {
		addr    string
		options []string
	}{{submission, []string{"-starttls", "smtp"}}, {submissions, nil}} {
		out := talk(port.addr, append(pair(clients), port.options...)...)
		if !strings.Contains(out, "EXTERNAL") || !strings.Contains(out, "235 2.7.0") || !strings.Contains(out, "Message accepted") {
			t.Errorf("%s with a certificate:\n%s", port.addr, out)
		}
		sent++
		if out := talk(port.addr, port.options...); strings.Contains(out, "235 ") || strings.Contains(out, "250 2.1.0") {
			t.Errorf("%s without a certificate:\n%s", port.addr, out)
		}
		if out := talk(port.addr, append(pair(strangers), port.options...)...); strings.Contains(out, "235 ") || strings.Contains(out, "250 2.1.0") {
			t.Errorf("%s with a stranger's certificate:\n%s", port.addr, out)
		}
	}
	waitFor(t, "what was sent", func() bool { return len(w.sink.For("x@sink.test")) == sent })
	if got := string(w.sink.For("x@sink.test")[0].Data); !strings.Contains(got, "with ESMTPSA") {
		t.Errorf("%s", got)
	}
}

// TestBlackList asks a black list in the DNS about clients, with the rules of "use dnsbl".
func TestBlackList(t *testing.T) {
	addrs, _, err := testsite.Ports(1)
	if err != nil {
		t.Fatal(err)
	}
	server, err := dnstest.Start("40.2.0.192.bl.test. A 127.0.0.2\n!servfail 42.2.0.192.bl.test\n", addrs[0]+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	w := newWorld(t, func(a, _ *testsite.Options) {
		a.Resolver = server.Addr()
		a.Rules = "use dnsbl bl.test\n"
		a.Settings = "set retry 1s\nset xclient 127.0.0.1\n"
	})
	start(t, w.a)
	for from, want := range map[string]string{"192.0.2.40": "550 5.7.1", "192.0.2.41": "250 2.1.5", "192.0.2.42": "451 4.3.0", "127.0.0.9": "250 2.1.5"} {
		k := dialFrom(t, "127.0.0.1", "tcp", w.a.Addr)
		k.say("", "220")
		k.say("XCLIENT ADDR="+from+" NAME=[UNAVAILABLE]", "220")
		k.say("EHLO client.test", "250")
		k.say("MAIL FROM:<x@elsewhere.test>", "250")
		if got := k.say("RCPT TO:<alice@a.example.test>", want); strings.HasPrefix(want, "550") && !strings.Contains(got, "192.0.2.40 is refused, see bl.test") {
			t.Errorf("%q", got)
		}
		k.say("QUIT", "221")
	}
	if server.Queries() == 0 {
		t.Error("nobody asked")
	}
}
