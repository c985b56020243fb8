package testsite_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"waybill/cmd/internal/testsite"
)

// peersDir is where make peers has unpacked other mail servers.
func peersDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("PEERS")
	if dir == "" {
		dir = "../../../run/peers"
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		_, err = os.Stat(filepath.Join(dir, "postfix", "usr"))
	}
	if err != nil {
		t.Fatalf("other mail servers are not here; run make peers: %v", err)
	}
	return dir
}

// startPeer runs a mail server in the namespace, and waits until it answers on addr.
func startPeer(t *testing.T, dir, tree, addr string, command ...string) {
	t.Helper()
	c := testsite.AsInstalled(dir, tree, "mx.peer.test", command...)
	said, err := os.Create(filepath.Join(dir, "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	c.Stdout, c.Stderr = said, said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	log := func() string {
		text, _ := os.ReadFile(said.Name())
		more, _ := os.ReadFile(filepath.Join(dir, "log"))
		return string(text) + string(more)
	}
	t.Cleanup(func() {
		// the first process of the namespace is a child of unshare; with it all others go
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", c.Process.Pid, c.Process.Pid))
		for _, word := range strings.Fields(string(children)) {
			if pid, err := strconv.Atoi(word); err == nil {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		c.Process.Kill()
		c.Wait()
		if t.Failed() {
			t.Logf("%s said: %s", command[0], log())
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := testsite.Wait(ctx, func() bool {
		k, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return false
		}
		defer k.Close()
		k.SetDeadline(time.Now().Add(30 * time.Second))
		line := make([]byte, 3)
		n, _ := k.Read(line)
		return string(line[:n]) == "220"
	}); err != nil {
		t.Fatalf("%s does not answer on %s: %v\n%s", command[0], addr, err, log())
	}
}

// etcFor makes an etc with the users that a server wants, and the passwords of its clients.
func etcFor(t *testing.T, s *testsite.Site, dir string) {
	t.Helper()
	sh(t, s, s.Dir, strings.ReplaceAll(`mkdir -p DIR/etc/peer
(cat /etc/passwd; echo 'postfix:x:20101:20101::/:/bin/false'; echo 'smmta:x:20103:20103::/:/bin/false'; echo 'smmsp:x:20104:20104::/:/bin/false') >DIR/etc/passwd
(cat /etc/group; echo 'postfix:x:20101:'; echo 'postdrop:x:20102:'; echo 'smmta:x:20103:'; echo 'smmsp:x:20104:') >DIR/etc/group
printf '127.0.0.1 localhost\n127.0.0.2 mx.peer.test\n' >DIR/etc/hosts
echo secret | saslpasswd2 -p -c -f DIR/etc/sasldb2 -u mx.peer.test waybill
chmod 644 DIR/etc/sasldb2
cp cert.pem key.pem DIR/
cp cert.pem key.pem DIR/etc/peer/
chmod 755 DIR`, "DIR", dir))
}

// TestOtherServers sends a message by Waybill to a real server, with STARTTLS and a password, and takes it back from that
// server, as its client, with STARTTLS and a password.
func TestOtherServers(t *testing.T) {
	needs(t, "openssl", "unshare", "saslpasswd2", "m4")
	if os.Getuid() != 0 {
		t.Skip("needs root for namespaces; CI is root")
	}
	trees := peersDir(t)
	for name, setup := range map[string]func(t *testing.T, w *world, dir, addr, submission string) []string{"postfix": postfix, "sendmail": realSendmail} {
		t.Run(name, func(t *testing.T) {
			submission, peer := freePort(t), freePort(t)
			_, peerPort, _ := net.SplitHostPort(peer)
			w := newWorld(t, func(a, _ *testsite.Options) {
				a.Settings = strings.NewReplacer("DIR", a.Dir, "PORT", submission).Replace("set retry 2s\nset passwords DIR/passwords\nset tls-cert DIR/cert.pem\nset tls-key DIR/key.pem\nset listen-submission PORT\n")
				a.Rules = strings.NewReplacer("DIR", a.Dir, "PORT", peerPort).Replace("transport peer smtp { host [127.0.0.2]; port PORT; tls required; auth DIR/logins }\naccept rcpt { auth ok }\n")
				a.Route = "$user+ < @ sink . test > where tls => esmtp sink.test $user@sink.test\n$user+ < @ sink . test > => peer sink.test $user@sink.test\n"
			})
			sh(t, w.a, w.a.Dir, makeCert+"; echo '* waybill secret' >logins; chmod 600 logins")
			if r, err := w.a.Command(strings.NewReader("secret\n"), "waybill", "password", "-f", filepath.Join(w.a.Dir, "passwords"), "peer"); err != nil || r.Exit != 0 {
				t.Fatal(r, err)
			}
			dir := filepath.Join(filepath.Dir(w.a.Dir), name)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			os.Chmod(filepath.Dir(dir), 0o755)
			command := setup(t, w, dir, peer, submission)
			startPeer(t, dir, filepath.Join(trees, name), peer, command...)
			start(t, w.a)
			if r, err := w.a.Sendmail(strings.NewReader("Subject: round trip\n\nhello\n.\nworld\n"), "-i", "-f", "alice@a.example.test", "x@sink.test", "y@sink.test"); err != nil || r.Exit != 0 {
				t.Fatal(r, err)
			}
			waitFor(t, "the message at the sink", func() bool { return len(w.sink.For("x@sink.test")) == 1 && len(w.sink.For("y@sink.test")) == 1 })
			got := string(w.sink.For("x@sink.test")[0].Data)
			if strings.Count(got, "with ESMTPSA") != 2 || strings.Count(got, "with ESMTPS") != 2 {
				t.Errorf("the hops are not all with TLS and a password:\n%s", got)
			}
			if !strings.Contains(got, "hello\r\n.\r\nworld\r\n") || !strings.Contains(got, "mx.peer.test") {
				t.Errorf("%s", got)
			}
			// a refusal of the peer comes back as a notice
			if r, err := w.a.Sendmail(strings.NewReader("Subject: no\n\n"), "-f", "alice@a.example.test", strings.Repeat("x", 70)+"@sink.test", "z@sink.test"); err != nil || r.Exit != 0 {
				t.Fatal(r, err)
			}
			waitFor(t, "the message to z", func() bool { return len(w.sink.For("z@sink.test")) == 1 })
		})
	}
}

func postfix(t *testing.T, w *world, dir, addr, submission string) []string {
	etcFor(t, w.a, dir)
	host, port, _ := net.SplitHostPort(submission)
	conf := filepath.Join(dir, "conf")
	for _, d := range []string{conf, filepath.Join(dir, "q"), filepath.Join(dir, "data")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	os.Chown(filepath.Join(dir, "data"), 20101, 20101)
	text := strings.NewReplacer("DIR", dir, "HOST", host, "PORT", port, "ADDR", addr)
	for name, content := range map[string]string{
		"main.cf": `compatibility_level = 3.6
myhostname = mx.peer.test
mydestination =
mynetworks =
inet_protocols = ipv4
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
queue_directory = DIR/q
data_directory = DIR/data
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
shlib_directory = /usr/lib/postfix
alias_maps =
alias_database =
maillog_file = DIR/log
maillog_file_prefixes = /
disable_dns_lookups = yes
smtpd_tls_cert_file = DIR/cert.pem
smtpd_tls_key_file = DIR/key.pem
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_local_domain = mx.peer.test
relayhost = [HOST]:PORT
smtp_tls_security_level = encrypt
smtp_sasl_auth_enable = yes
smtp_sasl_security_options = noanonymous
smtp_sasl_password_maps = texthash:DIR/conf/logins
notify_classes =
`,
		"logins": "[HOST]:PORT peer:secret\n",
		"master.cf": `ADDR inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
`} {
		if err := os.WriteFile(filepath.Join(conf, name), []byte(text.Replace(content)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"/usr/sbin/postfix", "-c", conf, "start-fg"}
}

func realSendmail(t *testing.T, w *world, dir, addr, submission string) []string {
	etcFor(t, w.a, dir)
	trees := peersDir(t)
	host, port, _ := net.SplitHostPort(submission)
	own, ownPort, _ := net.SplitHostPort(addr)
	text := strings.NewReplacer("DIR", dir, "TOHIM", host, "PORT", port, "OWN", own, "LISTEN", ownPort).Replace("divert(0)dnl\nVERSIONID(`test')\nOSTYPE(`linux')dnl\n" +
		"define(`confDOMAIN_NAME',`mx.peer.test')dnl\ndefine(`QUEUE_DIR',`DIR/q')dnl\ndefine(`ALIAS_FILE',`DIR/aliases')dnl\ndefine(`STATUS_FILE',`DIR/statistics')dnl\n" +
		"define(`confPID_FILE',`DIR/pid')dnl\ndefine(`confCW_FILE',`DIR/cw')dnl\ndefine(`confSERVICE_SWITCH_FILE',`DIR/switch')dnl\ndefine(`confTRUSTED_USER',`root')dnl\n" +
		"define(`confTO_IDENT',`0')dnl\ndefine(`confSERVER_CERT',`/etc/peer/cert.pem')dnl\ndefine(`confSERVER_KEY',`/etc/peer/key.pem')dnl\ndefine(`confCACERT',`/etc/peer/cert.pem')dnl\ndefine(`confCACERT_PATH',`/etc/peer')dnl\n" +
		"define(`confAUTH_MECHANISMS',`PLAIN LOGIN')dnl\ndefine(`confAUTH_OPTIONS',`A p y')dnl\nTRUST_AUTH_MECH(`PLAIN LOGIN')dnl\ndefine(`confREFUSE_LA',`1000')dnl\ndefine(`confQUEUE_LA',`1000')dnl\n" +
		"define(`RELAY_MAILER_ARGS',`TCP $h PORT')dnl\ndefine(`SMART_HOST',`relay:[TOHIM]')dnl\nFEATURE(`no_default_msa')dnl\nFEATURE(`accept_unresolvable_domains')dnl\nFEATURE(`nocanonify')dnl\n" +
		"FEATURE(`access_db',`text -T<TMPF> /etc/peer/access')dnl\nFEATURE(`authinfo',`hash -T<TMPF> /etc/peer/authinfo')dnl\nDAEMON_OPTIONS(`Name=MTA, Family=inet, Addr=OWN, Port=LISTEN')dnl\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n")
	cf := filepath.Join(trees, "sendmail", "usr/share/sendmail/cf")
	for name, content := range map[string]string{
		"a.mc": text, "aliases": "", "cw": "", "etc/peer/access": "", "switch": "hosts\tfiles\naliases\tfiles\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "q"), 0o700); err != nil {
		t.Fatal(err)
	}
	// the password of its client side, in a database of its own makemap
	sh(t, w.a, dir, fmt.Sprintf("printf 'AuthInfo:\\t\"U:peer\" \"I:peer\" \"P:secret\" \"M:PLAIN\"\\n' | %s -C /dev/null hash etc/peer/authinfo && chmod 600 etc/peer/authinfo.db", filepath.Join(trees, "sendmail/usr/libexec/sendmail/makemap")))
	sh(t, w.a, dir, fmt.Sprintf("m4 -D_CF_DIR_=%s/ %s/m4/cf.m4 a.mc >a.cf", cf, cf))
	return []string{"/usr/libexec/sendmail/sendmail", "-C", filepath.Join(dir, "a.cf"), "-bD", "-q2s"}
}

// TestSwaks has swaks talk to us: TLS, every way to log in, PROXY and XCLIENT, and what a stranger must not do.
func TestSwaks(t *testing.T) {
	needs(t, "swaks", "openssl")
	submission := freePort(t)
	w := newWorld(t, func(a, _ *testsite.Options) {
		a.Settings = strings.NewReplacer("DIR", a.Dir, "PORT", submission).Replace("set retry 1s\nset passwords DIR/passwords\nset tls-cert DIR/cert.pem\nset tls-key DIR/key.pem\nset listen-submission PORT\nset xclient 127.0.0.1\n")
		a.Rules = "accept rcpt { auth ok }\n"
	})
	sh(t, w.a, w.a.Dir, makeCert+"; printf 'tester:PLAIN$secret\\n' >passwords; chmod 600 passwords")
	start(t, w.a)
	n := 0
	for _, c := range []struct {
		to   string
		exit int
		args []string
	}{
		{"alice@a.example.test", 0, []string{"--server", w.a.Addr}},
		{"alice@a.example.test", 0, []string{"--server", w.a.Addr, "--tls"}},
		{"alice@a.example.test", 0, []string{"--server", w.a.Addr, "--pipeline"}},
		{"x@sink.test", 0, []string{"--server", submission, "--tls", "--auth", "PLAIN", "--auth-user", "tester", "--auth-password", "secret"}},
		{"x@sink.test", 0, []string{"--server", submission, "--tls", "--auth", "LOGIN", "--auth-user", "tester", "--auth-password", "secret"}},
		{"x@sink.test", 0, []string{"--server", submission, "--tls", "--auth", "CRAM-MD5", "--auth-user", "tester", "--auth-password", "secret"}},
		{"x@sink.test", 28, []string{"--server", submission, "--tls", "--auth", "PLAIN", "--auth-user", "tester", "--auth-password", "wrong"}},
		{"x@sink.test", 23, []string{"--server", submission, "--tls"}},
		{"x@sink.test", 24, []string{"--server", w.a.Addr, "--xclient-addr", "192.0.2.9", "--xclient-name", "evil.test"}},
	} {
		args := append([]string{"--from", "sender@a.example.test", "--to", c.to, "--helo", "client.test", "--timeout", "20"}, c.args...)
		out, err := exec.Command("swaks", args...).CombinedOutput()
		exit := 0
		if e, ok := err.(*exec.ExitError); ok {
			exit = e.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if exit != c.exit {
			t.Errorf("swaks %s: exit %d, want %d\n%s", strings.Join(c.args, " "), exit, c.exit, out)
		}
		if c.to == "x@sink.test" && c.exit == 0 {
			n++
		}
	}
	waitFor(t, "what swaks sent", func() bool { return len(w.sink.For("x@sink.test")) == n })
}
