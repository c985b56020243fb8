package testsite_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// movingHost makes, in name spaces of its own, a host on which Debian's sendmail is installed and configured: its
// programs and macros where Debian has them, /etc/mail made of Debian's sendmail.mc, its tables by its own makemap.
const movingHost = `set -e
work=$1 peers=$2
mount --make-rprivate /
over() { # DIRECTORY LOWER
	mkdir -p "$work/up/$1" "$work/work/$1"
	mount -t overlay overlay -o "lowerdir=$2,upperdir=$work/up/$1,workdir=$work/work/$1" "/$1"
}
over etc /etc
over usr/libexec "$peers/sendmail/usr/libexec:/usr/libexec"
over usr/share "$peers/sendmail/usr/share:/usr/share"
over var/spool /var/spool
ip link set lo up
hostname mail.example.org
printf '127.0.0.1 localhost\n192.0.2.10 mail.example.org mail\n192.0.2.20 example.com\n' >/etc/hosts # in the place of DNS
printf 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n' >/etc/resolv.conf
for u in smmta:991 smmsp:992; do # as Debian's package makes them
	grep -q "^${u%:*}:" /etc/passwd || echo "${u%:*}:x:${u#*:}:${u#*:}::/var/spool:/usr/sbin/nologin" >>/etc/passwd
	grep -q "^${u%:*}:" /etc/group || echo "${u%:*}:x:${u#*:}:" >>/etc/group
done
rm -rf /etc/mail /etc/waybill /var/spool/mqueue
mkdir -p /etc/mail/m4 /etc/mail/tls /etc/waybill /var/spool/mqueue
: >/etc/mail/m4/dialup.m4; : >/etc/mail/m4/provider.m4; : >/etc/mail/tls/starttls.m4
: >/etc/mail/sasl; mkdir -p /etc/mail/sasl.d
echo 'localhost' >/etc/mail/local-host-names
echo 'Connect:127.0.0.1 RELAY' >/etc/mail/access
echo 'postmaster: root' >/etc/aliases
ln -s ../aliases /etc/mail/aliases
cp /usr/share/sendmail/cf/debian/sendmail.mc /etc/mail/sendmail.mc
m4 /etc/mail/sendmail.mc >/etc/mail/sendmail.cf
/usr/libexec/sendmail/makemap hash /etc/mail/access </etc/mail/access
/usr/libexec/sendmail/sendmail -bi -C /etc/mail/sendmail.cf >/dev/null
set +e
`

// TestMovingOnADebianHost follows etc/doc/moving-from-sendmail.md, with the commands and the paths that it has, on a host
// with Debian's sendmail, and compares with that sendmail where the page says so.
func TestMovingOnADebianHost(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root, for mounts of its own")
	}
	if err := build(); err != nil {
		t.Fatal(err)
	}
	peers := os.Getenv("PEERS")
	if peers == "" {
		peers, _ = filepath.Abs("../../../run/peers")
	}
	work, err := os.MkdirTemp("/var/lib", "waybill-moving-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(work) })
	for _, dir := range []string{work, filepath.Join(work, "tmp")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		os.Chmod(dir, 0o755)
	}
	// An overlay on a file system that is one itself may not work: what it writes lies in memory.
	script := "mount -t tmpfs tmpfs \"$1\" && mkdir \"$1/tmp\"\n" + movingHost
	page, err := os.ReadFile("../../../etc/doc/moving-from-sendmail.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := commandsOf(t, string(page))
	for _, c := range commands {
		script += "echo '@@@'\n( " + strings.ReplaceAll(c, "/tmp/", work+"/tmp/") + " )\necho \"@status $?\"\n"
	}
	script += "echo '@@@'\nwc -l </etc/waybill/converted.rules\nwc -l </etc/waybill/short.rules\n"
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "-m", "-u", "-n", "--", "/bin/sh", "-c", script, "sh", work, peers)
	cmd.Env = []string{"PATH=" + bin + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "LOGNAME=root"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	parts := strings.Split(out.String(), "@@@\n")
	if err != nil || len(parts) != len(commands)+2 {
		t.Fatalf("%v, %d answers to %d commands\n%.3000s", err, len(parts)-2, len(commands), &out)
	}
	compared := false
	for i, c := range commands {
		text, status, _ := strings.Cut(parts[i+1], "@status ")
		status = strings.TrimSpace(status)
		if status != "0" && !(strings.HasPrefix(c, "waybill cf report") && status == "1") {
			t.Errorf("%s: exit status %s\n%.2000s", c, status, text)
		}
		compared = compared || strings.HasPrefix(c, "/usr/libexec/sendmail/sendmail -bt")
	}
	if !compared {
		t.Error("the page does not say how to compare with sendmail")
	}
	// Debian's own file, with its tables made by makemap, folds as a whole.
	if lines := strings.Fields(parts[len(parts)-1]); len(lines) != 2 || len(lines[0]) < 4 || len(lines[1]) > 2 {
		t.Errorf("lines of the converted and the short file: %q", lines)
	}
	t.Logf("lines of the converted and the short file: %s", strings.Join(strings.Fields(parts[len(parts)-1]), ", "))
}

// commandsOf are the commands of a page, in their order: those of its blocks, and those of sendmail's own program in its
// text, which need sendmail.
func commandsOf(t *testing.T, page string) (list []string) {
	t.Helper()
	for i, part := range strings.Split(page, "```sh\n") {
		block, text, closed := strings.Cut(part, "```")
		if i == 0 || !closed {
			text = part
		} else {
			for c := range strings.Lines(block) {
				if c = strings.TrimSpace(c); c != "" {
					list = append(list, c)
				}
			}
		}
		for _, piece := range strings.Split(text, "`") {
			if strings.HasPrefix(piece, "/usr/libexec/sendmail/sendmail -bt") {
				list = append(list, piece)
			}
		}
	}
	if len(list) < 12 {
		t.Fatalf("only %d commands", len(list))
	}
	return list
}
