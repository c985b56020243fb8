package testsite_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill/cmd/internal/testsite"
	"waybill/transport/dns/dnstest"
)

const besideMC = "divert(0)dnl\nVERSIONID(`test')\nOSTYPE(`linux')dnl\n" +
	"define(`confDOMAIN_NAME',`mx.peer.test')dnl\ndefine(`QUEUE_DIR',`DIR/q')dnl\ndefine(`ALIAS_FILE',`/etc/peer/aliases')dnl\ndefine(`STATUS_FILE',`DIR/statistics')dnl\n" +
	"define(`confPID_FILE',`DIR/pid')dnl\ndefine(`confCW_FILE',`/etc/peer/cw')dnl\ndefine(`confTRUSTED_USER',`root')dnl\ndefine(`HELP_FILE',`/etc/peer/help')dnl\n" +
	"define(`confTO_IDENT',`0')dnl\ndefine(`confSERVER_CERT',`/etc/peer/cert.pem')dnl\ndefine(`confSERVER_KEY',`/etc/peer/key.pem')dnl\ndefine(`confCACERT',`/etc/peer/authority.pem')dnl\ndefine(`confCACERT_PATH',`/etc/peer')dnl\n" +
	"define(`confREFUSE_LA',`1000')dnl\ndefine(`confQUEUE_LA',`1000')dnl\ndefine(`confBAD_RCPT_THROTTLE',`2')dnl\ndefine(`confMAX_RCPTS_PER_MESSAGE',`3')dnl\n" +
	"define(`confPRIVACY_FLAGS',`')dnl\nFEATURE(`no_default_msa')dnl\nFEATURE(`accept_unresolvable_domains')dnl\nFEATURE(`nocanonify')dnl\nFEATURE(`access_db',`hash -T<TMPF> /etc/peer/access')dnl\n" +
	"FEATURE(`greet_pause',`0')dnl\nFEATURE(`ratecontrol',`nodelay',`terminate')dnl\nFEATURE(`conncontrol',`nodelay',`terminate')dnl\nFEATURE(`dnsbl',`bl.peer.test')dnl\n" +
	"FEATURE(`enhdnsbl',`e.peer.test',`\"550 listed: \"$&{client_addr}',`t',`127.0.0.3.')dnl\n" +
	"DAEMON_OPTIONS(`Name=MTA, Family=inet, Addr=OWN, Port=LISTEN')dnl\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n"

const besideAccess = `GreetPause:127.0.0.21	1500
ClientConn:127.0.0.22	1
ClientRate:127.0.0.23	1
Srv_Features:127.0.0.24	S V
Srv_Features:127.0.0.29	X E d p b
TLS_Clt:127.0.0.25	ENCR:112
TLS_Clt:127.0.0.26	VERIFY
TLS_Clt:127.0.0.27	PERM+ENCR:512
TLS_Clt:127.0.0.28	VERIFY:128+CN:client.test
Connect:127.0.0.30	RELAY
Connect:127.0.0.31	REJECT
Connect:127.0.0.32	ERROR:"550 5.7.1 go away"
Connect:127.0.0.33	DISCARD
From:bad@sender.test	REJECT
From:later@sender.test	ERROR:4.7.1:"450 not now"
From:never@sender.test	ERROR:5.7.1:"550 never"
To:later@mx.peer.test	ERROR:4.2.0:"450 not now"
To:gone@mx.peer.test	ERROR:5.1.1:"550 no longer here"
Spam:x@mx.peer.test	FRIEND
`

// exchange is one dialogue with a server: lines of the client, "*tls" for the handshake, "*cert" for one with a
// certificate, "*early" for what is said before the greeting, "*again" for another connection beside the first.
type exchange struct {
	from  string
	lines []string
}

func besideCases() map[string]exchange {
	mail := []string{"EHLO client.test", "MAIL FROM:<a@sender.test>", "RCPT TO:<root@mx.peer.test>", "QUIT"}
	withTLS := append([]string{"EHLO client.test", "STARTTLS", "*tls"}, mail...)
	withCert := append([]string{"EHLO client.test", "STARTTLS", "*cert"}, mail...)
	return map[string]exchange{
		"plain":                  {"127.0.0.19", mail},
		"dnsbl":                  {"127.0.0.20", mail},
		"dnsbl fails":            {"127.0.0.40", mail},
		"enhdnsbl":               {"127.0.0.41", mail},
		"enhdnsbl, other answer": {"127.0.0.42", mail},
		"enhdnsbl fails":         {"127.0.0.43", mail},
		"early talker":           {"127.0.0.21", append([]string{"*early"}, mail...)},
		"patient":                {"127.0.0.21", mail},
		"too many connections":   {"127.0.0.22", append([]string{"*again"}, mail...)},
		"too often":              {"127.0.0.23", append([]string{"*again"}, mail...)},
		"no STARTTLS":            {"127.0.0.24", []string{"EHLO client.test", "STARTTLS", "QUIT"}},
		"features":               {"127.0.0.29", []string{"EHLO client.test", "EXPN root", "ETRN x.test", "VERB", "QUIT"}},
		"needs TLS, has none":    {"127.0.0.25", mail},
		"needs TLS, has it":      {"127.0.0.25", withTLS},
		"needs a certificate":    {"127.0.0.26", withTLS},
		"certificate":            {"127.0.0.26", withCert},
		"certificate, no TLS":    {"127.0.0.26", mail},
		"too few bits":           {"127.0.0.27", withTLS},
		"name of certificate":    {"127.0.0.28", withCert},
		"other name":             {"127.0.0.28", withTLS},
		"relay":                  {"127.0.0.30", []string{"EHLO client.test", "MAIL FROM:<a@sender.test>", "RCPT TO:<x@other.test>", "RCPT TO:<gone@mx.peer.test>", "QUIT"}},
		"no relay":               {"127.0.0.19", []string{"HELO client.test", "MAIL FROM:<a@sender.test>", "RCPT TO:<x@other.test>", "RCPT TO:<gone@mx.peer.test>", "RCPT TO:<x%other.test@mx.peer.test>", "DATA", "QUIT"}},
		"rejected":               {"127.0.0.31", mail},
		"error":                  {"127.0.0.32", mail},
		"discarded":              {"127.0.0.33", mail},
		"bad sender":             {"127.0.0.19", []string{"EHLO client.test", "MAIL FROM:<bad@sender.test>", "RCPT TO:<root@mx.peer.test>", "QUIT"}},
		"sender later":           {"127.0.0.19", []string{"EHLO client.test", "MAIL FROM:<later@sender.test>", "MAIL FROM:<never@sender.test>", "MAIL FROM:<a@sender.test>", "RCPT TO:<later@mx.peer.test>", "QUIT"}},
		"recipients": {"127.0.0.19", []string{"EHLO client.test", "MAIL FROM:<a@sender.test>", "RCPT TO:<root@mx.peer.test>", "RCPT TO:<one@mx.peer.test>", "RCPT TO:<two@mx.peer.test>",
			"RCPT TO:<three@mx.peer.test>", "RSET", "MAIL FROM:<a@sender.test>", "RCPT TO:<nobody1@mx.peer.test>", "RCPT TO:<nobody2@mx.peer.test>", "RCPT TO:<nobody3@mx.peer.test>", "QUIT"}},
		"vrfy": {"127.0.0.19", []string{"HELO client.test", "VRFY root", "VRFY <one@mx.peer.test>", "VRFY nobody1", "VRFY list", "VRFY x@other.test", "VRFY", "EXPN list", "EXPN <list@mx.peer.test>", "EXPN root",
			"EXPN nobody1", "EXPN", "HELP", "HELP mail", "HELP nothing", "NOOP", "NOOP x", "RSET", "ETRN x.test", "ETRN", "VERB", "QUIT"}},
		"vrfy of several": {"127.0.0.19", []string{"HELO client.test", "VRFY <>", "VRFY /etc/passwd", "VRFY |prog", "VRFY :include:/x", "VRFY root one", "VRFY one,root", "EXPN list root", "VRFY One <one@mx.peer.test>", "QUIT"}},
	}
}

// converse runs a dialogue and returns what the server said, with a mark where it took its time.
func converse(t *testing.T, addr string, x exchange, cert tls.Certificate) string {
	d := net.Dialer{Timeout: 30 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(x.from)}}
	dial := func() net.Conn {
		c, err := d.Dial("tcp", addr)
		if err != nil {
			t.Error(err)
			return nil
		}
		c.SetDeadline(time.Now().Add(2 * time.Minute))
		return c
	}
	c := dial()
	if c == nil {
		return "no connection"
	}
	defer func() { c.Close() }()
	in := bufio.NewReader(c)
	var said strings.Builder
	hear := func() bool {
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				said.WriteString("(closed)\n")
				return false
			}
			said.WriteString(strings.TrimRight(line, "\r\n") + "\n")
			if len(line) > 3 && line[3] == ' ' {
				break
			}
		}
		return true
	}
	lines := x.lines
	if lines[0] == "*early" {
		fmt.Fprint(c, "EHLO early.test\r\n")
		lines = lines[1:]
		if !hear() {
			return said.String()
		}
		hear()
	} else if !hear() {
		return said.String()
	}
	if lines[0] == "*again" {
		lines = lines[1:]
		first := c
		defer first.Close()
		if c = dial(); c == nil {
			return "no second connection"
		}
		in = bufio.NewReader(c)
		if !hear() {
			return said.String()
		}
	}
	for _, line := range lines {
		switch line {
		case "*tls", "*cert":
			conf := &tls.Config{InsecureSkipVerify: true}
			if line == "*cert" {
				conf.Certificates = []tls.Certificate{cert}
			}
			secure := tls.Client(c, conf)
			if err := secure.Handshake(); err != nil {
				said.WriteString("(no TLS: " + err.Error() + ")\n")
				return said.String()
			}
			c, in = secure, bufio.NewReader(secure)
			continue
		}
		said.WriteString("> " + line + "\n")
		fmt.Fprint(c, line+"\r\n")
		if !hear() {
			break
		}
	}
	return said.String()
}

// TestBesideSendmail runs the real sendmail and Waybill with one sendmail.cf that has the access table's entries about
// clients, TLS, rates and black lists, and holds every reply of ours against the real one's.
func TestBesideSendmail(t *testing.T) {
	needs(t, "openssl", "unshare", "m4")
	if os.Getuid() != 0 {
		t.Skip("needs root for namespaces; CI is root")
	}
	if err := build(); err != nil {
		t.Fatal(err)
	}
	trees := peersDir(t)
	zone := "20.0.0.127.bl.peer.test. A 127.0.0.2\n!servfail 40.0.0.127.bl.peer.test\n41.0.0.127.e.peer.test. A 127.0.0.3\n42.0.0.127.e.peer.test. A 127.0.0.4\n!servfail 43.0.0.127.e.peer.test\nmx.peer.test. A 127.0.0.2\n"
	var hosts strings.Builder
	hosts.WriteString("127.0.0.1 localhost\n127.0.0.2 mx.peer.test\n")
	for i := 19; i < 50; i++ {
		fmt.Fprintf(&hosts, "127.0.0.%d c%d.client.test\n", i, i)
		zone += fmt.Sprintf("%d.0.0.127.in-addr.arpa. PTR c%d.client.test.\nc%d.client.test. A 127.0.0.%d\n", i, i, i, i)
	}
	addrs, _, err := testsite.Ports(1)
	if err != nil {
		t.Fatal(err)
	}
	server, err := dnstest.Start(zone, addrs[0]+":53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)

	base := workDir(t)
	os.Chmod(base, 0o755)
	cf := filepath.Join(trees, "sendmail", "usr/share/sendmail/cf")
	var certificate tls.Certificate
	at := map[string]string{}
	for _, who := range []string{"sendmail", "waybill"} {
		dir := filepath.Join(base, who)
		etc := filepath.Join(dir, "etc/peer")
		for _, d := range []string{etc, filepath.Join(dir, "q")} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		os.Chmod(filepath.Join(dir, "q"), 0o700)
		addr := freePort(t)
		at[who] = addr
		own, port, _ := net.SplitHostPort(addr)
		for name, text := range map[string]string{
			"a.mc": strings.NewReplacer("DIR", dir, "OWN", own, "LISTEN", port).Replace(besideMC), "etc/peer/access.txt": besideAccess, "etc/peer/cw": "",
			"etc/peer/aliases": "list: root, one, x@other.test\none: root\ntwo: root\nthree: root\n", "etc/hosts": hosts.String(),
			"etc/peer/help": "#vers\t2\nsmtp\tThis is the help\nsmtp\tof $j\nmail\tMAIL FROM:<sender>\n", "etc/resolv.conf": "nameserver " + addrs[0] + "\n", "etc/nsswitch.conf": "hosts: files dns\npasswd: files\n",
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		s := &testsite.Site{Options: testsite.Options{Bin: bin, Dir: dir}}
		if who == "sendmail" {
			_, certificate = certificates(t, etc, "client.test")
		} else {
			sh(t, s, etc, "cp ../../../sendmail/etc/peer/*.pem .")
		}
		sh(t, s, dir, fmt.Sprintf(`m4 -D_CF_DIR_=%s/ %s/m4/cf.m4 a.mc >a.cf
(cat /etc/passwd; echo 'smmta:x:20103:20103::/:/bin/false'; echo 'smmsp:x:20104:20104::/:/bin/false') >etc/passwd
(cat /etc/group; echo 'smmta:x:20103:'; echo 'smmsp:x:20104:') >etc/group
%s -C /dev/null hash etc/peer/access <etc/peer/access.txt
chmod 600 etc/peer/key.pem`, cf, cf, filepath.Join(trees, "sendmail/usr/libexec/sendmail/makemap")))
		command := []string{filepath.Join(bin, "waybill"), "serve", "-C", filepath.Join(dir, "a.cf")}
		if who == "sendmail" {
			command = []string{"sh", "-c", fmt.Sprintf("/usr/libexec/sendmail/sendmail -C %s/a.cf -bi >/dev/null; exec /usr/libexec/sendmail/sendmail -C %s/a.cf -bD", dir, dir)}
		}
		startPeer(t, dir, filepath.Join(trees, "sendmail"), addr, command...)
	}
	var wait sync.WaitGroup
	few := make(chan struct{}, 4) // sendmail's queue of connections is short
	for name, x := range besideCases() {
		wait.Go(func() {
			few <- struct{}{}
			defer func() { <-few }()
			var said [2]string
			for i, who := range []string{"sendmail", "waybill"} {
				said[i] = likeness.ReplaceAllString(converse(t, at[who], x, certificate), "$1")
			}
			if said[0] != said[1] {
				t.Errorf("%s: sendmail said\n%swaybill said\n%s", name, said[0], said[1])
			}
		})
	}
	wait.Wait()
}

// likeness takes away what cannot be the same: times and version in the greeting, and the mechanisms of Cyrus SASL.
var likeness = regexp.MustCompile(`(?m)^(220 mx\.peer\.test ESMTP Sendmail ).*$|^250-AUTH .*\n`)
