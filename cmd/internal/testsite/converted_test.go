package testsite_test

import (
	"context"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// conversionCF is a sendmail.cf with all that a conversion must carry over to deliver the same: options, headers,
// mailers with their rulesets, classes, a map and a policy.
const conversionCF = `V10/Berkeley
# who we are
Djmail.conv.example
Cwlocalhost mail.conv.example conv.example
Khops text -k0 -v1 DIR/hops
O OperatorChars=.:%@!^/[]+
O BlankSub=.
O QueueDirectory=DIR/q
O AliasFile=DIR/aliases
O DaemonPortOptions=Port=PORT, Addr=127.0.0.24, Name=MTA
O MaxMessageSize=100000
O DeliveryMode=i
O ForwardPath=
O DefaultUser=root
Troot daemon
Pfirst-class=0
HReceived: from $_ by $j (site) id $i; $b
H?D?Date: $a
H?M?X-Carrier: $j for $?{client_addr}${client_addr}$|nobody$.
H?F?From: $?x$x <$g>$|$g$.
H?x?X-Never: never
Scanonify=3
R$* < $* > $*	$2	basic form
R$+ @ $+	$: $1 < @ $2 >
R$+ < @ $=w >	$: $1 < @ $j . >
Sparse=0
R$+ < @ $j . >	$#local $: $1
R$+ < @ $+ >	$: < $(hops $2 $: NO $) > $1 < @ $2 >
R< NO > $+ < @ $+ >	$#error $@ 5.1.2 $: "550 no route"
R< $+ > $+ < @ $+ >	$#carrier $@ $1 $: $2 < @ $3 >
R$+	$#local $: $1
Sfinal=4
R$+ < @ $+ . >	$1 @ $2
R$+ < @ $+ >	$1 @ $2
SFromCarrier
R$+ < @ $j . >	$@ $1 < @ outside.example >
R$-	$@ $1 < @ outside.example >
SToCarrier
R$+ < @ $+ >	$@ $1 % $2 < @ gate >
Scheck_rcpt
R$*	$: $>canonify $1
Rblocked < @ $* >	$#error $@ 5.7.1 $: "550 blocked here"
Mlocal,	P=DIR/deliver, F=lsDFMAw5:/|@qPn9S, A=deliver local $u $g
Mprog,	P=/bin/sh, F=lsDFMoqeu9, A=sh -c $u
Mcarrier,	P=DIR/deliver, F=DFMmSn, S=FromCarrier, R=ToCarrier, E=\n, A=deliver carrier $h $g $u
`

// TestConvertedSiteDelivers serves a sendmail.cf and what rules convert makes of it, brings both the same mail by the
// command and by SMTP, and compares what the mailers' programs get.
func TestConvertedSiteDelivers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mailers change users")
	}
	if err := build(); err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, kind := range []string{"cf", "rules"} {
		got[kind] = deliveredBy(t, kind)
	}
	a, b := strings.Join(got["cf"], "\n=====\n"), strings.Join(got["rules"], "\n=====\n")
	if len(got["cf"]) != 4 {
		t.Errorf("the sendmail.cf delivered %d times:\n%s", len(got["cf"]), a)
	}
	for _, want := range []string{"carrier hop.example root@outside.example bob%far.example@gate", "X-Carrier: mail.conv.example for 127.0.0.1"} {
		if !strings.Contains(b, want) {
			t.Errorf("no %q in what the converted site delivered:\n%s", want, b)
		}
	}
	if a != b {
		t.Errorf("=== the sendmail.cf:\n%s\n=== converted:\n%s", a, b)
	}
}

// deliveredBy runs a site and returns what its mailers got.
func deliveredBy(t *testing.T, kind string) []string {
	t.Helper()
	base, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(base, "waybill-converted-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, sub := range []string{"q", "part", "out"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.24:0") // an address of its own: nobody's connections come from there, so the port stays free
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	put(t, filepath.Join(dir, "hops"), "far.example hop.example\n")
	put(t, filepath.Join(dir, "aliases"), "postmaster: root\nteam: root, bob@far.example\n")
	put(t, filepath.Join(dir, "deliver"), fmt.Sprintf("#!/bin/sh\nf=$(mktemp %s/part/XXXXXX)\n{ echo \"$@\"; cat; } >$f && mv $f %s/out/\n", dir, dir))
	if err := os.Chmod(filepath.Join(dir, "deliver"), 0o755); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "site.cf")
	put(t, config, strings.NewReplacer("DIR", dir, "PORT", fmt.Sprint(port)).Replace(conversionCF))
	waybill := func(args ...string) *exec.Cmd {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		t.Cleanup(cancel)
		cmd := exec.CommandContext(ctx, filepath.Join(bin, args[0]), args[1:]...)
		cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "HOME=/root", "USER=root", "LOGNAME=root"}
		return cmd
	}
	if kind == "rules" {
		out, err := waybill("waybill", "rules", "convert", config).Output()
		if err != nil {
			t.Fatalf("convert: %v\n%s", err, out)
		}
		os.Remove(config)
		config = filepath.Join(dir, "site.rules")
		put(t, config, string(out))
	}
	daemon := waybill("waybill", "serve", "-C", config)
	var says strings.Builder
	daemon.Stderr = &says
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		daemon.Process.Signal(os.Interrupt)
		daemon.Wait()
	}()
	addr := fmt.Sprintf("127.0.0.24:%d", port)
	var client *smtp.Client
	for range 600 {
		if client, err = smtp.Dial(addr); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		t.Fatalf("the daemon does not answer: %v\n%s", err, &says)
	}
	submit := waybill("sendmail", "-C", config, "-f", "root", "team", "bob@far.example")
	submit.Stdin = strings.NewReader("Subject: by the command\nMessage-Id: <1@conv.example>\nTo: team\n\nbody\n")
	if out, err := submit.CombinedOutput(); err != nil {
		t.Errorf("sendmail: %v %s", err, out)
	}
	step := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	step(client.Hello("client.example"))
	step(client.Mail("x@far.example"))
	step(client.Rcpt("daemon@conv.example"))
	if err := client.Rcpt("blocked@conv.example"); err == nil || !strings.Contains(err.Error(), "blocked here") {
		t.Errorf("%s: a refused recipient: %v", kind, err)
	}
	step(client.Rcpt("dave@far.example"))
	w, err := client.Data()
	step(err)
	fmt.Fprintf(w, "Subject: by SMTP\r\nMessage-Id: <2@conv.example>\r\nDate: Sun, 01 Nov 2026 12:04:05 +0000\r\nFrom: x@far.example\r\nTo: daemon@conv.example\r\n\r\nbody\r\n")
	step(w.Close())
	client.Quit()
	for range 1200 {
		if files, _ := filepath.Glob(filepath.Join(dir, "out/??????")); len(files) >= 4 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	var out []string
	for _, text := range recorded(t, filepath.Join(dir, "out")) {
		out = append(out, strings.ReplaceAll(text, dir, "DIR"))
	}
	return out
}
