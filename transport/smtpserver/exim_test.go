package smtpserver

import (
	"context"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// revealing is clear, and shows its password: with CRAM-MD5.
type revealing struct{ clear }

func (revealing) Reveal(_ context.Context, user string) (string, bool, error) {
	return "hunter2", user == "tester", nil
}

const eximClient = `primary_hostname = client.example.org
spool_directory = DIR/spool
log_file_path = DIR/log/%slog
exim_user = 65534
exim_group = 65534
trusted_users = root
keep_environment =
host_lookup =
begin routers
next:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = next
begin transports
next:
  driver = smtp
  port = PORT
  hosts_require_tls = *
  tls_verify_certificates = DIR/ca.pem
  tls_verify_cert_hostnames =
  hosts_require_auth = *
  hosts_try_chunking = CHUNKING
begin authenticators
MECH
`

// A real Exim delivers to us: STARTTLS, AUTH, PIPELINING, BDAT or DATA. What we read is what it was given.
func TestEximAsClient(t *testing.T) {
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
	for name, mech := range map[string]string{
		"PLAIN":    "plain:\n  driver = plaintext\n  public_name = PLAIN\n  client_send = ^tester^hunter2\n",
		"LOGIN":    "login:\n  driver = plaintext\n  public_name = LOGIN\n  client_send = : tester : hunter2\n",
		"CRAM-MD5": "cram:\n  driver = cram_md5\n  public_name = CRAM-MD5\n  client_name = tester\n  client_secret = hunter2\n",
	} {
		for _, chunking := range []string{"", "*"} {
			server, _ := testTLS(t)
			cfg := testConfig(t)
			cfg.TLS, cfg.Auth = server, revealing{}
			b := &fakeBackend{}
			_, ln := start(t, cfg, b)
			_, port, _ := net.SplitHostPort(ln.Addr().String())
			dir := t.TempDir()
			conf := strings.NewReplacer("DIR", dir, "PORT", port, "CHUNKING", chunking, "MECH", mech).Replace(eximClient)
			if err := os.WriteFile(filepath.Join(dir, "exim.conf"), []byte(conf), 0o644); err != nil {
				t.Fatal(err)
			}
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificates[0].Certificate[0]})
			if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600); err != nil {
				t.Fatal(err)
			}
			for _, sub := range []string{"", "log", "spool"} {
				os.Mkdir(filepath.Join(dir, sub), 0o700)
				if err := os.Chown(filepath.Join(dir, sub), 65534, 65534); err != nil {
					t.Fatal(err)
				}
			}
			os.Chown(filepath.Join(dir, "ca.pem"), 65534, 65534)
			os.Chmod(filepath.Dir(dir), 0o711)
			cmd := exec.Command(exim, "-C", filepath.Join(dir, "exim.conf"), "-odi", "-i", "-f", "a@example.org", "b@example.org", "c@example.org")
			cmd.Stdin = strings.NewReader("Subject: x\n\n.\n..dots\nlast\n")
			out, err := cmd.CombinedOutput()
			calls := strings.Join(b.take(), "\n")
			if err != nil || !strings.Contains(calls, "mail <a@example.org>") || !strings.Contains(calls, "rcpt <c@example.org>") ||
				!strings.Contains(calls, "data ESMTPSA ") || !strings.Contains(calls, "err=<nil>") {
				log, _ := os.ReadFile(filepath.Join(dir, "log/mainlog"))
				t.Errorf("%s, chunking %q: %v\n%s%s%s", name, chunking, err, out, calls, log)
			}
			if b.chunked != (chunking != "") {
				t.Errorf("chunking %q: BDAT %v", chunking, b.chunked)
			}
		}
	}
}
