package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// setgidWorld runs a shell script as an ordinary user in a mount namespace where sendmail is set-group-ID, the spool is at
// its default place, and "waybill" tells with which rights and environment it was started.
//
// $BIN is the folder of the programs. The script's standard output and error come back together.
func setgidWorld(t *testing.T, script string) string {
	t.Helper()
	return setgidWorldWith(t, "", script)
}

// setgidWorldWith is setgidWorld after another script, as root.
func setgidWorldWith(t *testing.T, prepare, script string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can make a set-group-ID program of another group")
	}
	for _, tool := range []string{"unshare", "setpriv", "prlimit"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "setgid")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "sendmail"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	build = exec.Command("go", "build", "-o", filepath.Join(dir, "uids"), "testdata/uids/main.go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files := map[string]string{
		"waybill": "#!/bin/sh\ngrep -E '^[UG]id' /proc/self/status | tr '\\t' ' '\nenv\nls /proc/self/fd | tr '\\n' ' '; echo\n",
		"script":  script,
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	setup := `set -eu
BIN=` + dir + `; export BIN
mount -t tmpfs -o mode=755,size=8m tmpfs /var/spool
test ! -d /etc/mail || mount -t tmpfs tmpfs /etc/mail
test ! -d /etc/waybill || mount -t tmpfs tmpfs /etc/waybill
mount -t tmpfs -o suid,mode=755,size=64m tmpfs /mnt
cp $BIN/sendmail $BIN/waybill $BIN/script $BIN/uids /mnt; BIN=/mnt
mkdir -p /var/spool/waybill/drop
chgrp 65533 /var/spool/waybill/drop /mnt/sendmail
chmod 1770 /var/spool/waybill/drop
chmod 2755 /mnt/sendmail
echo 'host secret.example.org' > /mnt/secret.rules; chgrp 65533 /mnt/secret.rules; chmod 640 /mnt/secret.rules
mkdir /mnt/mine; chown 65534 /mnt/mine; cd /mnt/mine
mkdir /mnt/suid; cp /mnt/sendmail /mnt/suid; cp /mnt/uids /mnt/suid/waybill; chown 0:0 /mnt/suid/sendmail; chmod 4755 /mnt/suid/sendmail
ln /mnt/suid/sendmail /mnt/mine/sendmail
` + prepare + `
setpriv --reuid 65534 --regid 65534 --clear-groups sh /mnt/script 2>&1
find /var/spool/waybill/drop -type f -printf '%f %m %U %G\n' | sed 's/^[0-9A-Za-z]\{14\} /ID /'
cat /var/spool/waybill/drop/* 2>/dev/null || true
`
	cmd := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-c", setup)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return out.String()
}

// A set-user-ID front end is nothing that we install, but hosts have had one for decades.
func TestSetuidKeepsRootFromItsCaller(t *testing.T) {
	out := setgidWorld(t, `cd /mnt/mine
cp /mnt/waybill /mnt/mine/waybill # the caller's own, beside a hard link to the set-user-ID program
echo = queue; /mnt/suid/sendmail -bp | grep Uid:
echo = queue of mine; /mnt/suid/sendmail -C /mnt/mine/x.cf -bp | grep Uid:
echo = smtp; /mnt/suid/sendmail -bs | grep Uid:
echo = message; echo hi | /mnt/suid/sendmail -X /mnt/mine/log bob; echo status $?
echo = link; /mnt/mine/sendmail -bp; echo status $?
echo = link with a message; echo hi | /mnt/mine/sendmail -odi bob; echo status $?
`)
	wants(t, out, "= queue\nUid: 65534 0 0 0\n", "= queue of mine\nUid: 65534 65534 65534 65534\n", "= smtp\nUid: 65534 65534 65534 65534\n",
		"= link\nsendmail: cannot start waybill: /mnt/mine/waybill is not root's alone\nstatus 72\n")
	if _, after, _ := strings.Cut(out, "= link with a message\n"); strings.Contains(after, "Uid:") || !strings.Contains(after, "status 73\n") {
		t.Errorf("the caller's waybill was started:\n%s", out)
	}
}

func wants(t *testing.T, out string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains("\n"+out, "\n"+l) {
			t.Errorf("no line %q in\n%s", l, out)
		}
	}
}

func TestSetgidSubmission(t *testing.T) {
	out := setgidWorld(t, `umask 0
printf 'Subject: hello\n\nbody\n' | NAME='Any Body' LD_PRELOAD=/tmp/x.so TZ=/mnt/secret.rules $BIN/sendmail bob
echo status $?
`)
	wants(t, out, "status 0\n", "ID 640 65534 65533\n", "rcpt addr=<bob>\n", "Subject: hello\n", "From: Any Body <")
}

func TestSetgidWithClosedDescriptors(t *testing.T) {
	out := setgidWorld(t, `$BIN/sendmail bob <&- >&- 2>&-
echo status $?
`)
	wants(t, out, "status 0\n", "ID 640 65534 65533\n", "Waybill-Spool 1 ", "rcpt addr=<bob>\n")
}

func TestSetgidReadsNoConfigurationForItsCaller(t *testing.T) {
	out := setgidWorld(t, `$BIN/sendmail -C /mnt/secret.rules bob </dev/null
echo status $?
`)
	wants(t, out, "sendmail: configuration: open /mnt/secret.rules: permission denied\n", "status 78\n")
	if strings.Contains(out, "secret.example.org") || strings.Contains(out, "\nID ") {
		t.Error(out)
	}
}

func TestSetgidUnsafeOptionsWriteWithTheCallersRights(t *testing.T) {
	out := setgidWorld(t, `echo hi | $BIN/sendmail -X /var/spool/waybill/drop/log bob
echo status $?
echo hi | $BIN/sendmail -X /mnt/mine/log bob
echo status $?
echo hi | $BIN/sendmail -O QueueDirectory=/mnt/mine bob
echo status $?
`)
	if strings.Contains(out, "\nID ") || strings.Contains(out, "log 6") || strings.Contains(out, "status 0") {
		t.Error(out)
	}
}

func TestEngineGetsNoPrivilege(t *testing.T) {
	out := setgidWorld(t, `exec 9</dev/null
LD_PRELOAD=/x PATH=/mnt/mine:$PATH EVIL=1 $BIN/sendmail -bp 2>&1 | grep -v '^PWD=\|^_='
`)
	wants(t, out, "Uid: 65534 65534 65534 65534\n", "Gid: 65534 65534 65534 65534\n", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin\n", "0 1 2 3 \n")
	for _, bad := range []string{"LD_PRELOAD", "EVIL", "65533"} {
		if strings.Contains(out, bad) {
			t.Errorf("%s in\n%s", bad, out)
		}
	}
}

func TestFileSizeLimitLeavesNothing(t *testing.T) {
	out := setgidWorld(t, `head -c 300000 /dev/zero | tr '\0' x > big
prlimit --fsize=100000:100000 $BIN/sendmail bob < big
echo status $?
prlimit --fsize=0:100000000 $BIN/sendmail bob < big
echo status $?
`)
	wants(t, out, "sendmail: the message is not accepted: ", "status 75\n", "status 0\n")
	if strings.Count(out, "\nID ") != 1 {
		t.Error(out)
	}
}

func TestFullDiskLeavesNothing(t *testing.T) {
	out := setgidWorld(t, `head -c 9000000 /dev/zero | tr '\0' x > big
$BIN/sendmail bob < big
echo status $?
echo small | $BIN/sendmail bob
echo status $?
`)
	wants(t, out, "sendmail: the message is not accepted: ", "status 75\n", "status 0\n")
	if strings.Count(out, "\nID ") != 1 || strings.Contains(out, "\n.") {
		t.Error(out[:min(len(out), 2000)])
	}
}

func TestChrootWithoutPasswd(t *testing.T) {
	out := setgidWorld(t, `unshare -r -m sh -c '
mkdir -p root/dev root/var/spool/waybill/drop root/etc
cp /mnt/sendmail root/
touch root/dev/null
mount --bind /dev/null root/dev/null
echo hello | LOGNAME=carol chroot root /sendmail bob
echo status $?
cat root/var/spool/waybill/drop/*'
`)
	if strings.Contains(out, "unshare: ") {
		t.Skip("user namespaces are switched off here")
	}
	wants(t, out, "status 0\n", "rcpt addr=<bob>\n", "from <root@")
}
