package installed

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const repository = "../../.."

// build makes the commands, without cgo, as "make build" does.
func build(t *testing.T) (bin string) {
	t.Helper()
	bin = t.TempDir()
	cmd := exec.Command("go", "build", "-trimpath", "-o", bin+"/", "waybill/cmd/waybill", "waybill/cmd/sendmail", "waybill/cmd/mail.local", "waybill/cmd/waybill-ldap", "waybill/cmd/waybill-bt")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// script runs one of etc/packaging.
func script(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(repository, "etc/packaging", name), args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && path != dir {
			names = append(names, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestInstallAndUninstall(t *testing.T) {
	bin, root := build(t), t.TempDir()
	theirs := filepath.Join(root, "usr/share/man/man8/theirs.8")
	if err := os.MkdirAll(filepath.Dir(theirs), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(theirs, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	before := files(t, root)
	env := []string{"DESTDIR=" + root, "PREFIX=/usr", "BIN=" + bin}
	script(t, env, "install.sh", "install")
	script(t, env, "install.sh", "install") // an update

	// Every name leads to a program, and every manual page has its program or file.
	for _, name := range []string{"sbin/sendmail", "sbin/waybill", "sbin/waybill-ldap", "sbin/waybill-bt", "lib/sendmail", "bin/mailq", "bin/newaliases", "bin/rmail", "bin/vacation", "sbin/hoststat",
		"sbin/purgestat", "sbin/praliases", "sbin/makemap", "sbin/editmap", "sbin/mailstats", "libexec/sendmail/mail.local", "libexec/sendmail/smrsh", "libexec/sendmail/sendmail"} {
		if info, err := os.Stat(filepath.Join(root, "usr", name)); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v", name, err)
		}
	}
	pages, err := filepath.Glob(filepath.Join(repository, "etc/man/*.[1-9]"))
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		if _, err := os.Stat(filepath.Join(root, "usr/share/man/man"+page[len(page)-1:], filepath.Base(page))); err != nil {
			t.Error(err)
		}
	}
	// The front end finds the engine where it was installed.
	out, err := exec.Command(filepath.Join(root, "usr/bin/mailq"), "-C", filepath.Join(root, "nothing.rules")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "nothing.rules") {
		t.Errorf("mailq with rules that are missing: %v, %q", err, out)
	}
	script(t, env, "install.sh", "uninstall")
	if after := files(t, root); !slices.Equal(after, before) {
		t.Errorf("left behind: %v", after)
	}
}

// Somebody else's sendmail is not written over.
func TestInstallLeavesOthersAlone(t *testing.T) {
	bin, root := build(t), t.TempDir()
	other := filepath.Join(root, "usr/bin/mailq")
	if err := os.MkdirAll(filepath.Dir(other), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, []byte("theirs"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(repository, "etc/packaging/install.sh"), "install")
	cmd.Env = append(os.Environ(), "DESTDIR="+root, "PREFIX=/usr", "BIN="+bin)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 73 || !strings.Contains(string(out), "mailq belongs to another mail system") {
		t.Errorf("%v: %s", err, out)
	}
	if text, err := os.ReadFile(other); err != nil || string(text) != "theirs" {
		t.Errorf("%q, %v", text, err)
	}
}

// A Debian host gets the package with apt, in the place of the mail system that it had, and then cron, at, mailx of two
// kinds, mutt, git, PHP and Python send mail as root and as an ordinary user, before the daemon runs and while it does.
// The daemon is an ordinary user, too, with the two capabilities of its unit. All of it must arrive.
func TestPrograms(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: name spaces, overlay mounts, apt")
	}
	peers := os.Getenv("PEERS")
	if peers == "" {
		peers = filepath.Join(repository, "run/peers")
	}
	debs, err := filepath.Abs(filepath.Join(peers, "debs"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(debs); err != nil {
		t.Fatalf("%v; \"make peers\" downloads the packages", err)
	}
	bin := build(t)
	deb := filepath.Join(t.TempDir(), "waybill.deb")
	script(t, []string{"BIN=" + bin}, "deb.sh", deb)
	host, err := filepath.Abs("testdata/host.sh")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 11*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--pid", "--net", "--uts", "--fork", "--kill-child", "sh", host, t.TempDir(), deb, debs)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sent, arrived, done := map[string]bool{}, map[string]bool{}, false
	for in := bufio.NewScanner(strings.NewReader(string(out))); in.Scan(); {
		switch words := strings.Fields(in.Text()); {
		case len(words) == 0:
		case words[0] == "sent":
			sent[words[1]] = true
		case words[0] == "arrived":
			arrived[words[1]] = true
		case words[0] == "failed:":
			t.Error(in.Text())
		case words[0] == "mode" && !slices.Equal(words[1:], []string{"2755", "root:waybill", "1770", "waybill:waybill"}):
			t.Errorf("front end and drop directory: %s", in.Text())
		case words[0] == "done":
			done = true
		}
	}
	for _, phase := range []string{"nodaemon", "daemon"} {
		for _, user := range []string{"root", "alice"} {
			for _, program := range []string{"bsdmailx", "snail", "mutt", "git", "php", "python", "at", "cron"} {
				name := program + "-" + phase + "-" + user
				switch {
				case !sent[name]:
					t.Errorf("%s was not sent", name)
				case !arrived[name]:
					t.Errorf("%s did not arrive", name)
				}
			}
		}
	}
	if !done {
		t.Error("the script did not come to its end")
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}
