package testsite_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMovingFromSendmail follows etc/doc/moving-from-sendmail.md: it makes /etc/mail as Debian's package does, below a
// directory of its own, and runs every command block of the page there, in their order. Each must succeed.
func TestMovingFromSendmail(t *testing.T) {
	if err := build(); err != nil {
		t.Fatal(err)
	}
	base, err := os.UserCacheDir() // files below /tmp are not trusted
	if err == nil {
		err = os.MkdirAll(base, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.MkdirTemp(base, "waybill-moving-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	debianMail(t, root)
	page, err := os.ReadFile("../../../etc/doc/moving-from-sendmail.md")
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("/etc/mail/", root+"/etc/mail/", "/etc/waybill/", root+"/etc/waybill/", "/tmp/", root+"/tmp/")
	blocks := strings.Split(string(page), "```sh\n")[1:]
	if len(blocks) < 8 {
		t.Fatalf("only %d blocks of commands", len(blocks))
	}
	told := map[string]string{}
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		for command := range strings.Lines(block) {
			command = strings.TrimSpace(command)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			cmd := exec.CommandContext(ctx, "/bin/sh", "-c", "set -e; "+here.Replace(command))
			cmd.Dir = root
			cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "HOME=" + root, "USER=root", "LOGNAME=root"}
			var out, says bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &says
			start := time.Now()
			err := cmd.Run()
			cancel()
			t.Logf("%6.2fs %s", time.Since(start).Seconds(), command)
			if err != nil && !(strings.HasPrefix(command, "waybill cf report") && cmd.ProcessState.ExitCode() == 1) {
				t.Errorf("%s: %v\n%s%s", command, err, &out, &says)
			}
			told[command] = out.String()
		}
	}
	expect := func(command, what string) {
		t.Helper()
		for c, out := range told {
			if strings.HasPrefix(c, command) {
				if !strings.Contains(out, what) {
					t.Errorf("%s does not say %q:\n%s", c, what, out)
				}
				return
			}
		}
		t.Errorf("the page has no %s", command)
	}
	expect("waybill cf report", "exact")
	expect("waybill rules diff", "0 of 3 addresses differ")
	expect("waybill explain -C /etc/mail/sendmail.cf", "sendmail.cf:")
	expect("sendmail -C /etc/waybill/waybill.rules -bv root", "root... deliverable: mailer local, user root")
	for file, lines := range map[string][2]int{"converted.rules": {800, 3000}, "short.rules": {10, 150}} {
		text, err := os.ReadFile(filepath.Join(root, "etc/waybill", file))
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(text, []byte("\n")); n < lines[0] || n > lines[1] {
			t.Errorf("%s has %d lines", file, n)
		}
	}
}

// debianMail makes etc/mail below root of Debian's sendmail.mc, with m4 as sendmailconfig does it.
func debianMail(t *testing.T, root string) {
	t.Helper()
	peers := os.Getenv("PEERS") // where "make peers" unpacks them
	if peers == "" {
		peers, _ = filepath.Abs("../../../run/peers")
	}
	library := filepath.Join(peers, "sendmail/usr/share/sendmail/cf")
	copied := filepath.Join(root, "usr/share/sendmail/cf")
	for _, dir := range []string{"etc/mail", "etc/waybill", "tmp", "spool"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(library, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(library, name)
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		to := filepath.Join(copied, rel)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, bytes.ReplaceAll(data, []byte("/usr/share/sendmail/cf"), []byte(copied)), 0o644)
	})
	if err != nil {
		t.Fatalf("sendmail's macros are not here; run make peers: %v", err)
	}
	mc, err := os.ReadFile(filepath.Join(copied, "debian/sendmail.mc"))
	if err != nil {
		t.Fatal(err)
	}
	mail := filepath.Join(root, "etc/mail")
	if _, err := user.Lookup("smmta"); err != nil { // Debian's package makes it, and its configuration trusts it
		mc = append([]byte("define(`confTRUSTED_USER', `root')dnl\n"), mc...)
	}
	for name, text := range map[string]string{
		"m4/dialup.m4": "", "m4/provider.m4": "", "local-host-names": "localhost\n", "aliases": "postmaster: root\n", "access": "Connect:127.0.0.1 RELAY\n",
		"sendmail.mc": strings.ReplaceAll(string(mc), "/etc/mail/", mail+"/"),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(mail, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(mail, name), text)
	}
	made, err := exec.Command("m4", filepath.Join(mail, "sendmail.mc")).Output()
	if err != nil {
		t.Fatalf("m4: %v", err)
	}
	text := strings.ReplaceAll(string(made), mail+"/", "/etc/mail/") // some names were replaced before
	text = strings.NewReplacer("/etc/mail/", mail+"/", "/var/spool/mqueue", root+"/spool").Replace(text)
	put(t, filepath.Join(mail, "sendmail.cf"), text)
}
