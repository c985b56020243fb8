package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// relayPostfix starts a Postfix of its own below dir that relays all mail to next; stop ends it. It runs where peers.go
// has put its tree.
func relayPostfix(ctx context.Context, dir, next string) (w *way, stop func(), err error) {
	addr, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	err = layOut(dir, addr, next, map[string]string{
		"main.cf": `compatibility_level = 3.6
myhostname = bench.example.test
mydestination =
mynetworks = 127.0.0.1/32
inet_protocols = ipv4
relayhost = [127.0.0.1]:@NEXTPORT
disable_dns_lookups = yes
queue_run_delay = 2s
minimal_backoff_time = 1s
maximal_backoff_time = 3s
queue_directory = @DIR/q
data_directory = @DIR/data
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
shlib_directory = /usr/lib/postfix
alias_maps =
alias_database =
local_recipient_maps =
maillog_file = @DIR/log
maillog_file_prefixes = /
notify_classes =
`,
		"master.cf": `@ADDR inet n - n - 300 smtpd
` + postfixServices,
	}, "mkdir q data; chown postfix data; /usr/sbin/postfix -c @DIR check")
	if err != nil {
		return nil, nil, err
	}
	stop, err = serveUntil(ctx, addr, "/usr/sbin/postfix", "-c", dir, "start-fg")
	return &way{name: "Postfix", addr: addr}, stop, err
}

// relaySendmail does the same with sendmail. Its listen backlog is raised as an administrator of a relay would.
func relaySendmail(ctx context.Context, dir, next string) (w *way, stop func(), err error) {
	addr, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	trees, err := filepath.Abs(os.Getenv("PEERS"))
	if err != nil {
		return nil, nil, err
	}
	tree := filepath.Join(trees, "sendmail")
	err = layOut(dir, addr, next, map[string]string{
		"a.mc": "divert(0)dnl\nVERSIONID(`bench')\nOSTYPE(`linux')dnl\ndefine(`confDOMAIN_NAME',`bench.example.test')dnl\ndefine(`QUEUE_DIR',`@DIR/q')dnl\n" +
			"define(`ALIAS_FILE',`')dnl\ndefine(`STATUS_FILE',`@DIR/statistics')dnl\ndefine(`confPID_FILE',`@DIR/pid')dnl\ndefine(`confHOSTS_FILE',`/etc/hosts')dnl\nundefine(`confCW_FILE')dnl\n" +
			"define(`confREFUSE_LA',`1000')dnl\ndefine(`confQUEUE_LA',`1000')dnl\ndefine(`confDELAY_LA',`1000')dnl\ndefine(`confMIN_QUEUE_AGE',`0')dnl\ndefine(`confTO_IDENT',`0')dnl\n" +
			"define(`confSERVICE_SWITCH_FILE',`@DIR/switch')dnl\ndefine(`RELAY_MAILER_ARGS',`TCP $h @NEXTPORT')dnl\ndefine(`SMART_HOST',`relay:[127.0.0.1]')dnl\n" +
			"FEATURE(`no_default_msa')dnl\nFEATURE(`accept_unresolvable_domains')dnl\nFEATURE(`nocanonify')dnl\nDAEMON_OPTIONS(`Name=MTA, Family=inet, Addr=127.0.0.1, Port=@PORT, Listen=512')dnl\n" +
			"FEATURE(`local_lmtp',`@TREE/usr/libexec/sendmail/mail.local')dnl\nMAILER(`local')dnl\nMAILER(`smtp')dnl\nRELAY_DOMAIN(`sink.test')dnl\n",
		"switch": "hosts\tfiles\naliases\tfiles\n",
	}, "mkdir q; chmod 700 q; m4 -D_CF_DIR_="+tree+"/usr/share/sendmail/cf/ "+tree+"/usr/share/sendmail/cf/m4/cf.m4 a.mc >a.cf", "@TREE", tree)
	if err != nil {
		return nil, nil, err
	}
	stop, err = serveUntil(ctx, addr, filepath.Join(tree, "usr/libexec/sendmail/sendmail"), "-C", filepath.Join(dir, "a.cf"), "-bD", "-q1s")
	return &way{name: "sendmail", addr: addr}, stop, err
}

// layOut writes a peer's files and runs a shell command in its directory.
func layOut(dir, addr, next string, files map[string]string, command string, more ...string) error {
	_, port, _ := net.SplitHostPort(addr)
	_, nextPort, _ := net.SplitHostPort(next)
	fill := strings.NewReplacer(append([]string{"@DIR", dir, "@ADDR", addr, "@PORT", port, "@NEXTPORT", nextPort}, more...)...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fill.Replace(text)), 0o644); err != nil {
			return err
		}
	}
	c := exec.Command("sh", "-ec", fill.Replace(command))
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("setting up %s: %w\n%s", dir, err, out)
	}
	return nil
}

// serveUntil runs a daemon that answers at addr, until stop.
func serveUntil(ctx context.Context, addr string, command ...string) (stop func(), err error) {
	c := exec.Command(command[0], command[1:]...)
	if err := c.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		c.Process.Signal(syscall.SIGTERM)
		ended := time.AfterFunc(10*time.Second, func() { c.Process.Kill() })
		c.Wait()
		ended.Stop()
	}
	if err := answers(ctx, addr); err != nil {
		stop()
		return nil, fmt.Errorf("%v: %w", command, err)
	}
	return stop, nil
}
