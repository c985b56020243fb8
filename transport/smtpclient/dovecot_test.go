package smtpclient

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const dovecotConf = `base_dir = DIR/run
state_dir = DIR/state
log_path = DIR/log
protocols = lmtp
ssl = no
mail_location = maildir:DIR/mail/%n
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
passdb {
  driver = static
  args = nopassword
}
userdb {
  driver = passwd-file
  args = DIR/users
}
service lmtp {
  unix_listener DIR/lmtp {
    mode = 0666
  }
}
service anvil {
  chroot =
}
service stats {
  chroot =
}
`

// Dovecot's LMTP server over a Unix socket: one reply per recipient, several messages on one connection, and what
// arrives is what was sent.
func TestDovecotLMTP(t *testing.T) {
	if _, err := os.Stat("/usr/lib/dovecot/lmtp"); err != nil || os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("Dovecot is not there: run make peers as root")
		}
		t.Skip("needs Dovecot, and root to run it with a configuration of ours")
	}
	dir, err := os.MkdirTemp("", "dovecot") // short: the path of a socket has a limit
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o755)
	for _, d := range []string{"mail", "run", "state"} {
		os.Mkdir(filepath.Join(dir, d), 0o777)
		os.Chmod(filepath.Join(dir, d), 0o777)
	}
	conf := filepath.Join(dir, "conf")
	os.WriteFile(conf, []byte(strings.ReplaceAll(dovecotConf, "DIR", dir)), 0o644)
	os.WriteFile(filepath.Join(dir, "users"), []byte("bob:::::::\ncarol:::::::\n"), 0o644)
	cmd := exec.Command("/usr/sbin/dovecot", "-F", "-c", conf)
	var out strings.Builder
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	}()
	socket := filepath.Join(dir, "lmtp")
	for i := 0; ; i++ {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			break
		}
		if i == 1500 {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatalf("Dovecot does not answer: %s %s", out.String(), log)
		}
		time.Sleep(20 * time.Millisecond)
	}
	c, err := New(Config{Hello: "client.example", LMTP: true, Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	body := "Subject: x\n\n.\n..dots\n" + strings.Repeat("0123456789\n", 20000)
	for range 3 {
		got := c.Deliver(t.Context(), request("", body, "bob", "nobody", "carol"))
		if outcomes(got) != "delivered 2.0.0, failed 5.1.1, delivered 2.0.0" {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatalf("%s (%s; %s)\n%s", outcomes(got), got[0].Text(), got[1].Text(), log)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "mail/*/new/*"))
	if err != nil || len(files) != 6 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.ReplaceAll(string(data), "\r\n", "\n"); !strings.HasSuffix(text, body) {
			t.Errorf("%s arrived changed: %.300q", file, text)
		}
	}
}
