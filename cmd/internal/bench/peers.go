package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"waybill/cmd/internal/testsite"
)

// Postfix and sendmail, as make peers unpacked them, submit the same messages in the same run. They find the paths that
// are built into them in a mount namespace of this program's own, where Postfix's tree and an etc with the users that
// they want lie over /etc, /usr and /var; the whole program runs there, so that nothing is started differently for them.

// insideVar says that this process runs in the namespace, and where its directory is.
const insideVar = "WAYBILL_BENCH_INSIDE"

// users are those of the peers, and bob, who gets the mail.
const users = `mkdir "$0/etc"
(cat /etc/passwd; echo 'postfix:x:20101:20101::/:/bin/false'; echo 'smmta:x:20103:20103::/:/bin/false'; echo 'smmsp:x:20104:20104::/:/bin/false'; echo 'bob:x:20105:20105::/:/bin/sh') >"$0/etc/passwd"
(cat /etc/group; echo 'postfix:x:20101:'; echo 'postdrop:x:20102:'; echo 'smmta:x:20103:'; echo 'smmsp:x:20104:'; echo 'bob:x:20105:') >"$0/etc/group"
printf '127.0.0.1 localhost\n127.0.0.2 bench.example.test\n' >"$0/etc/hosts"`

// enterNamespace runs this program again in the namespace and does not return; it returns where that cannot be.
func enterNamespace() {
	trees, err := filepath.Abs(os.Getenv("PEERS"))
	if err != nil || os.Getenv("PEERS") == "" || os.Getuid() != 0 || os.Getenv(insideVar) != "" {
		return
	}
	for _, needed := range []string{"postfix/usr/sbin/sendmail", "sendmail/usr/libexec/sendmail/sendmail", "sendmail/usr/share/sendmail/cf/m4/cf.m4"} {
		if _, err := os.Stat(filepath.Join(trees, needed)); err != nil {
			return
		}
	}
	self, err := os.Executable()
	if err != nil {
		return
	}
	dir, err := os.MkdirTemp("", "waybill-bench-peers")
	if err != nil {
		return
	}
	os.Chmod(dir, 0o755)
	if out, err := exec.Command("sh", "-ec", users, dir).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: no users for the peers: %v %s\n", err, out)
		return
	}
	c := testsite.AsInstalled(dir, filepath.Join(trees, "postfix"), "bench.example.test", append([]string{self}, os.Args[1:]...)...)
	c.Env = append(os.Environ(), insideVar+"="+dir)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = c.Run()
	os.RemoveAll(dir)
	if c.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "bench: no namespace for the peers:", err)
		return
	}
	os.Exit(c.ProcessState.ExitCode())
}

// mailServer is a peer with a daemon.
type mailServer struct {
	contestant
	serve []string // the daemon's command
	conf  string
	queue []string // directories where messages wait
	stuck []string // messages that are not waited for
	run   *exec.Cmd
}

// settle waits until nothing is under way. What a peer could not deliver at once waits for its next queue run, an hour
// from now: after a second it is left out of account.
func (m *mailServer) settle(ctx context.Context) error {
	patient, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if testsite.Wait(patient, func() bool { return len(m.waiting()) == 0 }) != nil {
		m.stuck = append(m.stuck, m.waiting()...)
	}
	return ctx.Err()
}

// waiting lists the messages that wait for the daemon.
func (m *mailServer) waiting() (names []string) {
	for _, dir := range m.queue {
		files, _ := os.ReadDir(dir)
		for _, f := range files {
			if !slices.Contains(m.stuck, f.Name()) {
				names = append(names, f.Name())
			}
		}
	}
	return names
}

// mailServers sets both up where this process is in the namespace; nil elsewhere.
func mailServers() ([]*mailServer, error) {
	dir := os.Getenv(insideVar)
	if dir == "" {
		return nil, nil
	}
	trees, err := filepath.Abs(os.Getenv("PEERS"))
	if err != nil {
		return nil, err
	}
	text := strings.NewReplacer("@DIR", dir, "@TREE", filepath.Join(trees, "sendmail"))
	for name, content := range map[string]string{
		"postfix/main.cf": `compatibility_level = 3.6
myhostname = bench.example.test
mydestination = bench.example.test
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
queue_directory = @DIR/postfix/q
data_directory = @DIR/postfix/data
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
shlib_directory = /usr/lib/postfix
mail_spool_directory = @DIR/postfix/mail
recipient_delimiter = +
alias_maps =
alias_database =
maillog_file = @DIR/postfix/log
maillog_file_prefixes = /
disable_dns_lookups = yes
notify_classes =
`,
		"postfix/master.cf": postfixServices,
		"sendmail/a.mc": "divert(0)dnl\nVERSIONID(`bench')\nOSTYPE(`linux')dnl\ndefine(`confDOMAIN_NAME',`bench.example.test')dnl\ndefine(`QUEUE_DIR',`@DIR/sendmail/q')dnl\n" +
			"define(`ALIAS_FILE',`')dnl\ndefine(`STATUS_FILE',`@DIR/sendmail/statistics')dnl\ndefine(`confPID_FILE',`@DIR/sendmail/pid')dnl\n" +
			"define(`confHOSTS_FILE',`/etc/hosts')dnl\nundefine(`confCW_FILE')dnl\nLOCAL_DOMAIN(`bench.example.test')dnl\n" +
			"define(`confREFUSE_LA',`1000')dnl\ndefine(`confQUEUE_LA',`1000')dnl\ndefine(`confDELAY_LA',`1000')dnl\nFEATURE(`no_default_msa')dnl\nFEATURE(`nocanonify')dnl\nFEATURE(`local_lmtp',`@TREE/usr/libexec/sendmail/mail.local')dnl\n" +
			"DAEMON_OPTIONS(`Name=MTA, Family=inet, Addr=127.0.0.1, Port=20025')dnl\nMAILER(`local')dnl\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, []byte(text.Replace(content)), 0o644); err != nil {
			return nil, err
		}
	}
	setup := exec.Command("sh", "-ec", text.Replace(`cd @DIR/postfix
mkdir -p q data mail
chmod 1777 mail
chown postfix data
/usr/sbin/postfix -c @DIR/postfix check 2>said || { cat said; exit 1; }
cd @DIR/sendmail
mkdir -p q
chmod 700 q
m4 -D_CF_DIR_=@TREE/usr/share/sendmail/cf/ @TREE/usr/share/sendmail/cf/m4/cf.m4 a.mc | sed '/^O AliasFile/d' >a.cf`)) // it has no aliases: with an empty AliasFile its mail waits for ever
	if out, err := setup.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("setting the peers up: %w\n%s", err, out)
	}
	real := filepath.Join(trees, "sendmail/usr/libexec/sendmail/sendmail")
	cf := filepath.Join(dir, "sendmail/a.cf")
	return []*mailServer{
		{contestant: contestant{name: "Postfix: sendmail -t", args: []string{"/usr/sbin/sendmail", "-C", dir + "/postfix", "-i", "-t"}},
			serve: []string{"/usr/sbin/postfix", "-c", dir + "/postfix", "start-fg"},
			queue: []string{dir + "/postfix/q/maildrop", dir + "/postfix/q/incoming", dir + "/postfix/q/active"}},
		{contestant: contestant{name: "sendmail: sendmail -t", args: []string{real, "-C", cf, "-i", "-t"}},
			serve: []string{real, "-C", cf, "-bD", "-q1h"}, conf: cf, queue: []string{dir + "/sendmail/q"}},
	}, nil
}

// start runs the daemon and gives it time to be there.
func (m *mailServer) start(ctx context.Context) error {
	m.run = exec.Command(m.serve[0], m.serve[1:]...)
	if err := m.run.Start(); err != nil {
		return err
	}
	file := filepath.Join(os.Getenv(insideVar), "sendmail/pid")
	if m.conf == "" {
		file = filepath.Join(os.Getenv(insideVar), "postfix/q/public/qmgr")
	}
	return testsite.Wait(ctx, func() bool { _, err := os.Stat(file); return err == nil })
}

// stop ends it.
func (m *mailServer) stop() {
	if m.run == nil {
		return
	}
	m.run.Process.Signal(syscall.SIGTERM)
	ended := time.AfterFunc(10*time.Second, func() { m.run.Process.Kill() })
	m.run.Wait()
	ended.Stop()
	m.run = nil
}

// postfixServices is what a Postfix that relays and delivers needs of its master.cf, but for the SMTP server.
const postfixServices = `postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
`
