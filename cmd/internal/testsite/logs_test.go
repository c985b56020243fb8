package testsite_test

import (
	"crypto/tls"
	"encoding/base64"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"waybill/cmd/internal/testsite"
)

// TestAttackersAreLogged lets a client ask for unknown users and guess a password, and looks whether fail2ban's filters
// for sendmail see it.
func TestAttackersAreLogged(t *testing.T) {
	needs(t, "fail2ban-regex", "openssl")
	w := newWorld(t, func(a, _ *testsite.Options) {
		a.Settings = "set retry 1s\nset passwords DIR/passwords\nset tls-cert DIR/cert.pem\nset tls-key DIR/key.pem\n"
		a.Settings = strings.ReplaceAll(a.Settings, "DIR", a.Dir)
	})
	sh(t, w.a, w.a.Dir, `printf 'tester:PLAIN$secret\n' >passwords
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=a.example.test -keyout key.pem -out cert.pem 2>/dev/null
chmod 600 passwords key.pem`)
	start(t, w.a)
	c, err := net.Dial("tcp", w.a.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	say := func(line, want string) {
		t.Helper()
		if line != "" {
			if _, err := c.Write([]byte(line + "\r\n")); err != nil {
				t.Fatal(err)
			}
		}
		var got strings.Builder
		for buf := make([]byte, 4096); !regexp.MustCompile(`(?m)^\d\d\d .*\n`).MatchString(got.String()); {
			n, err := c.Read(buf)
			if err != nil {
				t.Fatalf("%s: %q, %v", line, got.String(), err)
			}
			got.Write(buf[:n])
		}
		if !strings.HasPrefix(got.String(), want) {
			t.Errorf("%s: %q, want %s", line, got.String(), want)
		}
	}
	say("", "220")
	say("EHLO attacker.test", "250")
	say("STARTTLS", "220")
	c = tls.Client(c, &tls.Config{InsecureSkipVerify: true}) // the attacker does not care
	say("EHLO attacker.test", "250")
	say("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00tester\x00guess")), "535")
	say("MAIL FROM:<x@attacker.test>", "250")
	say("RCPT TO:<nosuch@a.example.test>", "550 5.1.1 <nosuch@a.example.test>... User unknown")
	say("QUIT", "221")
	for _, filter := range []string{"sendmail-reject", "sendmail-auth"} {
		out, _ := exec.Command("fail2ban-regex", w.a.LogFile, filter).CombinedOutput()
		if !regexp.MustCompile(`(?m)^Lines: .* 1 matched`).Match(out) {
			text, _ := os.ReadFile(filepath.Join(w.a.LogFile))
			t.Errorf("%s does not see it:\n%s\n%s", filter, text, out)
		}
	}
}
