package smtpserver

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// openssl talks to ln with s_client and returns all that it printed.
func openssl(t *testing.T, ln net.Listener, server *tls.Config, input string, options ...string) string {
	t.Helper()
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl is not installed: ", err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificates[0].Certificate[0]})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"s_client", "-connect", ln.Addr().String(), "-CAfile", ca, "-verify_return_error", "-servername", "mx.test", "-crlf"}, options...)
	cmd := exec.Command(program, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := &heard{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	// s_client takes what comes together for one line: each waits for the answer to the one before.
	from := out.wait(ended, 0, `(?s)Verify return code.*?\n2[25]0 [^\n]*\n`) // the greeting, or the end of what it heard before STARTTLS
	for line := range strings.Lines(input) {
		in.Write([]byte(line))
		from = out.wait(ended, from, `(?m)^[2-5]\d\d [^\n]*\n|RENEGOTIATING`)
	}
	<-ended
	return string(out.since(0))
}

// heard is what a program prints, while it prints it.
type heard struct {
	mu   sync.Mutex
	text []byte
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text = append(h.text, p...)
	return len(p), nil
}

func (h *heard) since(from int) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return bytes.Clone(h.text[from:])
}

// wait waits until the pattern is in what was printed since from, and returns where it ends.
func (h *heard) wait(ended chan struct{}, from int, pattern string) int {
	re := regexp.MustCompile(pattern)
	for {
		if at := re.FindIndex(h.since(from)); at != nil {
			return from + at[1]
		}
		select {
		case <-ended:
			return from
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestOpenssl(t *testing.T) {
	server, _ := testTLS(t)
	cfg := testConfig(t)
	cfg.TLS = server
	b := &fakeBackend{}
	srv, ln := start(t, cfg, b)
	implicit, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.ServeTLS(t.Context(), implicit)
	const talk = "EHLO client.test\nMAIL FROM:<a@example.org>\nNOOP\nquit\n"
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		out := openssl(t, ln, server, talk, "-starttls", "smtp", version)
		if !strings.Contains(out, "Verify return code: 0 (ok)") || !strings.Contains(out, "250 2.1.0 sender ok") || !strings.Contains(out, "221 2.0.0") {
			t.Errorf("STARTTLS %s:\n%s", version, out)
		}
		out = openssl(t, implicit, server, talk, version)
		if !strings.Contains(out, "250 2.1.0 sender ok") || strings.Contains(out, "STARTTLS") {
			t.Errorf("implicit TLS %s:\n%s", version, out)
		}
	}
	// CVE-2009-3555: no renegotiation. s_client takes R for its own command.
	if out := openssl(t, ln, server, "EHLO client.test\nR\nNOOP\nquit\n", "-starttls", "smtp", "-tls1_2"); !strings.Contains(out, "RENEGOTIATING") || strings.Contains(out, "221 2.0.0") {
		t.Errorf("renegotiated, or not tried:\n%s", out)
	}
	if out := openssl(t, ln, server, talk, "-starttls", "smtp", "-tls1_1", "-cipher", "ALL@SECLEVEL=0"); strings.Contains(out, "250 2.1.0") {
		t.Errorf("TLS 1.1:\n%s", out)
	}
}

// smtpSource is Postfix's load generator, installed or unpacked.
func smtpSource(t testing.TB, args ...string) *exec.Cmd {
	peers := os.Getenv("PEERS") // where "make peers" unpacks them
	for _, dir := range []string{"/usr/sbin", filepath.Join(peers, "postfix/usr/sbin")} {
		if _, err := os.Stat(filepath.Join(dir, "smtp-source")); err == nil {
			cmd := exec.Command(filepath.Join(dir, "smtp-source"), args...)
			cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(peers, "postfix/usr/lib/postfix"))
			return cmd
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("smtp-source of Postfix is not there: run make peers")
	}
	t.Skip("smtp-source of Postfix is not there")
	return nil
}

func TestSMTPSource(t *testing.T) {
	cfg := testConfig(t)
	b := &fakeBackend{}
	_, ln := start(t, cfg, b)
	for _, lmtp := range []bool{false, true} {
		if lmtp {
			cfg.LMTP = true
			_, ln = start(t, cfg, b)
		}
		args := []string{"-s", "10", "-m", "200", "-l", "10240", "-r", "3", "-f", "a@example.org", "-t", "b@example.org"}
		if lmtp {
			args = append(args, "-L")
		}
		if out, err := smtpSource(t, append(args, ln.Addr().String())...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		n := 0
		for _, call := range b.take() {
			if strings.HasPrefix(call, "data ") && strings.HasSuffix(call, "err=<nil>") {
				n++
			}
		}
		if n != 200 {
			t.Errorf("lmtp %v: %d messages of 200", lmtp, n)
		}
	}
}
