package app

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"waybill/etc"
	"waybill/rules"
	"waybill/transport/sysexits"
)

// foldFile runs waybill rules convert --fold.
func foldFile(t *testing.T, file string) (out, says string, folded bool) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	exit := rulesCommand(stdio{strings.NewReader(""), &stdout, &stderr}, []string{"convert", "--fold", file})
	if exit != sysexits.OK {
		t.Errorf("%s: exit status %d\n%s", file, exit, &stderr)
	}
	return stdout.String(), stderr.String(), !strings.Contains(stderr.String(), "not folded as a whole")
}

// TestFold folds what m4 made: what has a counterpart in the library becomes a file that a newcomer reads, Debian's own
// among them; for what has none the command says why, and converts line by line.
func TestFold(t *testing.T) {
	files := madeByM4(t)
	for name, want := range map[string]bool{"debian": true, "client": true, "satellite": true, "department": true, "gateway": false, "lists": false, "bangs": false} {
		out, says, folded := foldFile(t, files[name])
		if folded != want {
			t.Errorf("%s: folded %v\n%s", name, folded, says)
			continue
		}
		lines := strings.Count(out, "\n")
		if folded && lines > 150 || !folded && lines < 500 {
			t.Errorf("%s: %d lines", name, lines)
		}
		if folded && !strings.Contains(out, "\nuse standard\n") {
			t.Errorf("%s: nothing of the library is used:\n%s", name, out)
		}
		if _, err := rules.Load(name+".rules", rules.Options{Text: []byte(out), Library: etc.Library(), Hostname: oracleHost.Name, SkipTests: true}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFoldSeesWhatSomebodyChanged changes one line of a file that would be folded.
func TestFoldSeesWhatSomebodyChanged(t *testing.T) {
	file := madeByM4(t)["debian"]
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "SParse1") })
	own := "R$* < @ special.example . > $*\t$#esmtp $@ elsewhere.example $: $1 < @ special.example . > $2"
	if at < 0 {
		t.Fatal("no SParse1")
	}
	for name, changed := range map[string][]string{
		"a rule of their own goes along": slices.Insert(slices.Clone(lines), at+1, own),
		"a stock rule that is changed":   slices.Insert(slices.Clone(lines), slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "SBasic_check_rcpt") })+1, "R< $* @ friend.example >\t$@ OK"),
	} {
		changedFile := filepath.Join(t.TempDir(), "changed.cf")
		if err := os.WriteFile(changedFile, []byte(strings.Join(changed, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
		out, says, folded := foldFile(t, changedFile)
		if strings.Contains(name, "along") {
			if !folded || !strings.Contains(out, "special.example") {
				t.Errorf("%s: folded %v\n%s%s", name, folded, says, out[:min(len(out), 2000)])
			}
		} else if folded {
			t.Errorf("%s: folded\n%s", name, out)
		}
	}
}

// foldedSites are hubs with every common table, and entries that one finds in tables.
var foldedSites = map[string]string{
	"hub": "FEATURE(`mailertable', `text -k0 -v1 $DIR/hops')dnl\nFEATURE(`virtusertable', `text -k0 -v1 -z| $DIR/virt')dnl\nVIRTUSER_DOMAIN(`virt.example.com')dnl\nFEATURE(`access_db', `text -T<TMPF> -k0 -v1 -z| $DIR/access')dnl\nFEATURE(`blocklist_recipients')dnl\n" +
		"FEATURE(`redirect')dnl\nFEATURE(`nouucp', `reject')dnl\nFEATURE(`greet_pause', `5000')dnl\nFEATURE(`always_add_domain')dnl\nMASQUERADE_AS(`example.org')dnl\nFEATURE(`masquerade_envelope')dnl\nLOCAL_DOMAIN(`hub.example.org')dnl\nMAILER(`procmail')dnl\n",
	"isp": "FEATURE(`access_db', `text -T<TMPF> -k0 -v1 -z| $DIR/access')dnl\nFEATURE(`delay_checks', `hater')dnl\nFEATURE(`blocklist_recipients')dnl\nFEATURE(`lookupdotdomain')dnl\nFEATURE(`greet_pause')dnl\nFEATURE(`nopercenthack', `reject')dnl\nFEATURE(`ratecontrol', , `terminate')dnl\nFEATURE(`conncontrol', `nodelay')dnl\n" +
		"FEATURE(`mailertable', `text -k0 -v1 $DIR/hops')dnl\nFEATURE(`relay_entire_domain')dnl\nFEATURE(`rhsbl', `rhs.example.net')dnl\nFEATURE(`local_procmail')dnl\nLOCAL_DOMAIN(`isp.example.org')dnl\nMAILER(`procmail')dnl\n",
	"client": "FEATURE(`nullclient', `esmtp:[mail.example.org]')dnl\n",
}

const (
	foldedHops = "one.example.net\tesmtp:[mx.one.example.net]\n.one.example.net\trelay:[192.0.2.9]\nplain.example.net\thost.example.net\nproc.example.net\tprocmail:/etc/procmailrcs/x\nno.example.net\tnosuch:x\nthrown.example.net\tdiscard:x\nclosed.example.net\terror:5.7.0:550 closed\n.\trelay:default.example.net\n"
	foldedVirt = "info@virt.example.com|alice\ntwo@virt.example.com|a@x.example.net,b@y.example.net\nself@virt.example.com|self@virt.example.com\nlist+*@virt.example.com|list-%2\npostmaster@hub.example.org|pm@post.example.net\n@virt.example.com|%1@elsewhere.example.net\n"
	foldedAcc  = "To:nobody@|ERROR:5.1.1:550 no such user\nskip.example.com|SKIP\nTo:friend.example.com|RELAY\nspam.example.com|REJECT\nConnect:198.51.100|RELAY\n10.9|REJECT\nTo:quar@hub.example.org|QUARANTINE:why\n"
)

// TestFoldOfWholeSites: what m4 makes of a hub and of an ISP becomes a file that a person can read.
func TestFoldOfWholeSites(t *testing.T) {
	library := macroLibrary(t)
	for name, sink := range foldedSites {
		mc := "OSTYPE(`linux')dnl\n" + sink
		if name != "client" {
			mc += "MAILER(`local')dnl\nMAILER(`smtp')dnl\n"
			mc = strings.Replace(mc, "MAILER(`procmail')dnl\n", "", 1) + "MAILER(`procmail')dnl\n"
		}
		dir := unpack(t, &txtar.Archive{Files: []txtar.File{{Name: "mc", Data: []byte(mc)}, {Name: "hops", Data: []byte(foldedHops)}, {Name: "virt", Data: []byte(foldedVirt)}, {Name: "access", Data: []byte(foldedAcc)}}})
		out, says, folded := foldFile(t, runM4(t, library, dir, name))
		if lines := strings.Count(out, "\n"); !folded || lines > 60 {
			t.Errorf("%s: folded %v, %d lines\n%s", name, folded, lines, says)
			continue
		}
		if _, err := rules.Load(name+".rules", rules.Options{Text: []byte(out), Library: etc.Library(), Hostname: oracleHost.Name}); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		for _, want := range map[string][]string{"hub": {"use mailertable", "use virtusertable", "use access", "transport procmail"}, "isp": {"use mailertable", "use access", "use rhsbl rhs.example.net"}, "client": {"use nullclient [mail.example.org]"}}[name] {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in\n%s", name, want, out)
			}
		}
	}
}
