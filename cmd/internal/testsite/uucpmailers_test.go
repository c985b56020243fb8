package testsite_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"
)

// uucpMC is a configuration with neighbours for each of sendmail's UUCP mailers, by class and by mailertable.
const uucpMC = `divert(0)dnl
OSTYPE(` + "`linux'" + `)dnl
define(` + "`QUEUE_DIR', `DIR/q'" + `)dnl
define(` + "`ALIAS_FILE', `DIR/aliases'" + `)dnl
define(` + "`STATUS_FILE', `DIR/statistics'" + `)dnl
define(` + "`confSERVICE_SWITCH_FILE', `DIR/switch'" + `)dnl
define(` + "`confDONT_BLAME_SENDMAIL', `GroupWritableDirPathSafe,WorldWritableAliasFile,AssumeSafeChown,TrustStickyBit'" + `)dnl
define(` + "`confTO_IDENT', `0'" + `)dnl
define(` + "`confDOMAIN_NAME', `here.example'" + `)dnl
define(` + "`confQUEUE_LA', `10000'" + `)dnl
define(` + "`confREFUSE_LA', `10000'" + `)dnl
define(` + "`UUCP_MAILER_PATH', `DIR/uux'" + `)dnl
FEATURE(` + "`nocanonify'" + `)dnl
FEATURE(` + "`uucpdomain', `text -k0 -v1 DIR/uudomain'" + `)dnl
FEATURE(` + "`bitdomain', `text -k0 -v1 DIR/bitdomain'" + `)dnl
FEATURE(` + "`mailertable', `text -k0 -v1 DIR/mailertable'" + `)dnl
define(` + "`_CLASS_U_', `'" + `)define(` + "`_CLASS_Y_', `'" + `)dnl
MAILER(` + "`local'" + `)dnl
MAILER(` + "`smtp'" + `)dnl
MAILER(` + "`uucp'" + `)dnl
LOCAL_CONFIG
Dkherenode
CU oldnbr
CY newnbr
Cw herenode.UUCP
`

// uucpRules is the same site in the rule language.
const uucpRules = `host here.example
spool DIR/spool
set users /etc/passwd
set log DIR/log
class local { here.example herenode localhost }
table bitdomain text DIR/bitdomain
transport local mbox { path "DIR/mail/$user" }
transport old uucp { address old; node herenode; sites oldnbr newnbr; spool DIR/out; uux DIR/uux }
transport new uucp { address new; node herenode; sites oldnbr newnbr; spool DIR/out; uux DIR/uux }
transport suucp uucp { address new; node herenode; sites newnbr; spool DIR/out; uux DIR/uux }
transport uudom uucp { address uudom; node herenode; sites uudnbr oldnbr newnbr; spool DIR/out; uux DIR/uux }
transport dom uucp { address dom; node herenode; sites domnbr oldnbr newnbr; spool DIR/out; uux DIR/uux }
route {
    $user+ < @ herenode . UUCP >  -> once call canonify $user
    $user+ < @ $site- . BITNET > where bitdomain($site) is $domain -> once $user < @ $domain >
    $user+ < @ dom . example >    => dom    domnbr  $user@dom.example
    $user+ < @ bit . example >    => dom    domnbr  $user@bit.example
    $user+ < @ uud . example >    => uudom  uudnbr  $user@uud.example
    $user+ < @ old . example >    => old    oldnbr  $user@old.example
    $user+ < @ new . example >    => new    newnbr  $user@new.example
    $user+ < @ $x- . far . example > => suucp newnbr $user@$x.far.example
    $user+ < @ oldnbr . UUCP >    => old    oldnbr  oldnbr!$user
    $user+ < @ newnbr . UUCP >    => new    newnbr  newnbr!$user
}
use standard
`

// alone runs a program in a world where the host has a name, and no name server answers.
const alone = `hostname here.example; mount --bind "$0/hosts" /etc/hosts; mount --bind "$0/resolv.conf" /etc/resolv.conf; exec "$@"`

// TestUUCPMailers runs a sendmail.cf made with MAILER(uucp), and sendmail beside it: what both hand to uux, for the
// four mailers and many forms of addresses, must be the same, octet by octet but for dates, ids and the version. The UUCP
// transport of the rule language, with the address form of the same name, must show the next site the same addresses.
func TestUUCPMailers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("sendmail wants to be root")
	}
	peers := os.Getenv("PEERS") // where "make peers" unpacks them
	if peers == "" {
		peers, _ = filepath.Abs("../../../run/peers")
	}
	reference, macros := filepath.Join(peers, "sendmail/usr/libexec/sendmail/sendmail"), filepath.Join(peers, "sendmail/usr/share/sendmail/cf")
	if _, err := os.Stat(reference); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if err := build(); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/srv", "uucp-mailers") // every component must be one that only root may write
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kept in %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"q", "out", "spool", "mail"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "out"), 0o777); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"hosts": "127.0.0.1 here.example localhost\n", "resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
		"aliases": "", "switch": "hosts files\naliases files\n", "uudomain": "mapped mapped.example\n", "bitdomain": "bitsite bit.example\n",
		"mailertable": "dom.example uucp-dom:domnbr\nuud.example uucp-uudom:uudnbr\nold.example uucp-old:oldnbr\nnew.example uucp-new:newnbr\nmapped.example uucp-new:newnbr\nbit.example uucp-dom:domnbr\n.far.example suucp:newnbr\n",
		"config.mc":   strings.ReplaceAll(uucpMC, "DIR/", dir+"/"),
	} {
		put(t, filepath.Join(dir, name), text)
	}
	uux := filepath.Join(dir, "uux")
	put(t, uux, fmt.Sprintf("#!/bin/sh\nf=$(mktemp %s/out/XXXXXX)\n{ id -un; for a; do printf '<%%s>\\n' \"$a\"; done; echo --; cat; } >$f\n", dir))
	if err := os.Chmod(uux, 0o755); err != nil {
		t.Fatal(err)
	}
	config, err := exec.Command("m4", "-D_CF_DIR_="+macros+"/", filepath.Join(macros, "m4/cf.m4"), filepath.Join(dir, "config.mc")).Output()
	if err != nil {
		t.Fatal(err)
	}
	cf := filepath.Join(dir, "sendmail.cf")
	put(t, cf, string(config))
	native := filepath.Join(dir, "waybill.rules")
	put(t, native, strings.ReplaceAll(uucpRules, "DIR/", dir+"/"))
	for _, c := range []struct{ sender, header, rcpts string }{
		{"alice@here.example", "From: Alice <alice@here.example>\nTo: oldnbr!bob, Carol <carol@new.example>\nCc: dave@uud.example, eve@elsewhere.example", "oldnbr!bob"},
		{"alice", "From: alice\nTo: bob@oldnbr.UUCP, newnbr!x!carol", "bob@oldnbr.UUCP newnbr!x!carol"},
		{"alice@far.away.example", "From: Alice <alice@far.away.example>\nTo: bob@new.example, carol@new.example", "bob@new.example carol@new.example newnbr!dave"},
		{"other!site!alice", "From: other!site!alice\nTo: oldnbr!a!b@uud.example", "oldnbr!a!b a!b@uud.example c%d@uud.example"},
		{"alice@other.UUCP", "From: alice@other.UUCP\nTo: bob@dom.example", "bob@dom.example carol@dom.example"},
		{"alice@here.example", "From: alice@here.example\nTo: bob@uud.example", "bob@uud.example carol@uud.example"},
		{"<>", "From: mailer-daemon\nTo: oldnbr!a", "oldnbr!a newnbr!b bob@dom.example c@uud.example"},
		{"oldnbr!alice", "From: alice@oldnbr.UUCP\nTo: oldnbr!bob", "oldnbr!bob oldnbr!x!bob"},
		{"alice%x@here.example", "From: alice\nTo: b%c@newnbr.UUCP", "b%c@newnbr.UUCP newnbr!b%c@d.example a!b@c.far.example"},
		{"alice@here.example", "From: alice\nTo: mapped!bob", "mapped!bob bob@bitsite.BITNET"},
		{"alice@here.example", "From: alice\nTo: bob@host.far.example", "bob@host.far.example herenode!newnbr!carol"},
		// One neighbour at a time: for the sender, sendmail's $h is that of the delivery before, so that the form of a path that
		// begins with a neighbour depends on what else is delivered. Ours is that of the delivery.
		{"newnbr!alice", "From: newnbr!alice\nReply-To: Al <newnbr!alice>\nTo: list:;\nCc: \"Quoted Name\" <a!b@oldnbr.UUCP>", "oldnbr!bob"},
		{"newnbr!alice", "From: newnbr!alice\nReply-To: Al <newnbr!alice>\nTo: list:;\nCc: \"Quoted Name\" <a!b@oldnbr.UUCP>", "newnbr!bob"},
		{"newnbr!alice", "From: newnbr!alice\nReply-To: Al <newnbr!alice>\nTo: list:;\nCc: \"Quoted Name\" <a!b@oldnbr.UUCP>", "bob@uud.example bob@dom.example"},
		{`"a b"@here.example`, "From: \"a b\"@here.example\nTo: oldnbr!bob", "oldnbr!bob newnbr!bob bob@uud.example bob@dom.example"},
	} {
		message := c.header + "\nSubject: x\nMessage-Id: <1@here.example>\nDate: Sun, 01 Nov 2026 12:04:05 +0000\n\nFrom the body.\n>From x\n.\n"
		send := func(program, config string) []string {
			args := append([]string{"-um", "/bin/sh", "-c", alone, dir, program, "-C", config, "-odi", "-oem", "-i", "-f", c.sender}, strings.Fields(c.rcpts)...)
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "unshare", args...)
			cmd.Stdin = strings.NewReader(message)
			cmd.Dir = dir
			cmd.Env = []string{"PATH=/usr/bin:/bin", "TZ=UTC", "USER=root", "LOGNAME=root", "HOME=/root"}
			if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
				t.Logf("%s -f %s %s: %v %s", filepath.Base(filepath.Dir(program)), c.sender, c.rcpts, err, out)
			}
			return recorded(t, filepath.Join(dir, "out"))
		}
		want := send(reference, cf)
		got := send(filepath.Join(bin, "sendmail"), cf)
		if len(want) == 0 {
			t.Errorf("-f %s %s: sendmail called no uux", c.sender, c.rcpts)
		}
		if a, b := strings.Join(want, "\n"), strings.Join(got, "\n"); a != b {
			t.Errorf("-f %s %s\n=== sendmail:\n%s=== Waybill:\n%s", c.sender, c.rcpts, a, b)
		}
		if c.sender == "<>" || strings.Contains(c.sender, " ") || strings.Contains(c.rcpts, "mapped!") {
			continue // ours has "-n" for the null sender, lets no blanks into arguments, and no uucpdomain table for headers
		}
		got = send(filepath.Join(bin, "sendmail"), native)
		if a, b := addresses(want), addresses(got); a != b {
			t.Errorf("rules: -f %s %s\n=== sendmail:\n%s\n=== Waybill:\n%s", c.sender, c.rcpts, a, b)
		}
	}
}

// recorded takes what the stand-in for uux has written down, in a settled order and without what is different each time.
func recorded(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		os.Remove(name)
		s := string(text)
		for _, r := range []struct{ what, with string }{
			{`[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}`, "DATE"},
			{`[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \S+( \([A-Z]+\))?`, "DATE"},
			{`\(8\.\S+\)`, "(VERSION)"}, {`\bid \w{14,15}\b`, "id ID"},
		} {
			s = regexp.MustCompile(r.what).ReplaceAllString(s, r.with)
		}
		all = append(all, s)
	}
	sort.Strings(all)
	return all
}

// addresses is what the next site sees of the addresses: in the arguments, the From line, and the header.
func addresses(records []string) string {
	var all []string
	for _, record := range records {
		var seen []string
		call, message, _ := strings.Cut(record, "\n--\n")
		for _, arg := range strings.Split(call, "\n")[1:] { // behind who it runs as
			if strings.HasPrefix(arg, "<-a") || !strings.HasPrefix(arg, "<-") {
				seen = append(seen, arg)
			}
		}
		header, _, _ := strings.Cut(message, "\n\n")
		header = regexp.MustCompile(`\n[ \t]+`).ReplaceAllString(header, " ")
		for _, field := range strings.Split(header, "\n") {
			switch name, _, _ := strings.Cut(field, " "); name {
			case "From", "From:", "To:", "Cc:", "Reply-To:":
				seen = append(seen, strings.ReplaceAll(field, "  DATE", " DATE"))
			}
		}
		all = append(all, strings.Join(seen, "\n"))
	}
	sort.Strings(all)
	return strings.Join(all, "\n---\n")
}
