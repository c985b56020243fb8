package app

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"waybill/compat/cf"
	"waybill/compat/convert"
	"waybill/rules/eval"
)

// partSinks are .mc files that have what the parts of the library for converted files stand for, with tables full of it.
var partSinks = []string{
	"FEATURE(`access_db', `text -T<TMPF> $DIR/access')dnl\nFEATURE(`delay_checks')dnl\nFEATURE(`mailertable', `text -k0 -v1 $DIR/hops')dnl\ndefine(`SMART_HOST', `relay:hub.example.net')dnl\n",
	"FEATURE(`access_db', `text -T<TMPF> $DIR/access')dnl\nFEATURE(`lookupdotdomain')dnl\nFEATURE(`greet_pause', `2000')dnl\nFEATURE(`blocklist_recipients')dnl\ndefine(`MAIL_HUB', `esmtp:hub.example.net')dnl\n",
}

const partAccess = `Connect:192.0.2	REJECT
Connect:198.18.0.9	RELAY
Connect:2001:db8	OK
IPv6:2001:db8	REJECT
127.0.0.1	OK
10	DISCARD
GreetPause:host.example.com	5000
GreetPause:192.0	0
Connect:com	RELAY
Connect:.example.com	OK
.sub.example.com	REJECT
From:bob@example.com	REJECT
From:bob@	OK
From:alice+*@example.com	ERROR:5.7.1:550 no
From:root+*@	DISCARD
alice@	REJECT
tag@example.com	OK
From:example	REJECT
To:example.com	RELAY
To:postmaster@	OK
To:a.b.c.d.example	ERROR:"550 closed"
Spam:alice@example.com	FRIEND
example.net	SKIP
`

const partHops = `example.com	esmtp:[relay.example]
.example.com	esmtp:gate.example.net
.d.example	smtp:%2.gate.example
.uucp	error:5.1.2:550 no UUCP
host	local:alice
.	relay:%1.default.example
`

// partConfiguration makes a configuration with a sink.
func partConfiguration(t *testing.T, library, sink string) (file, text string, conf, marked, whole *cf.Config) {
	t.Helper()
	mc := "OSTYPE(`linux')dnl\n" + sink + "MAILER(`local')dnl\nMAILER(`smtp')dnl\n"
	dir := unpack(t, &txtar.Archive{Files: []txtar.File{{Name: "mc", Data: []byte(mc)}, {Name: "access", Data: []byte(partAccess)}, {Name: "hops", Data: []byte(partHops)}}})
	file = runM4(t, library, dir, "sink")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = strings.ReplaceAll(string(data), "Kaccess text -T<TMPF> ", "Kaccess text -k0 -v1 -T<TMPF> ")
	read := func(how cf.Options) *cf.Config {
		c, err := cf.Read(strings.NewReader(text), file, how)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	how := cf.Options{Host: oracleHost, CheckTable: eval.CheckTable, NoFiles: true}
	conf, marked = read(how), read(convert.Marked(how))
	how.NoFiles, how.Mode = false, "m"
	return file, text, conf, marked, read(how)
}

// TestParts holds the parts of the library that stand in the place of m4's rulesets against these: with tables that have
// something to find, every answer must be the same. UPDATE=1 writes the list of the rulesets that each may stand for.
func TestParts(t *testing.T) {
	library := macroLibrary(t)
	listed, err := os.ReadFile("../../../compat/convert/pieces.txt")
	if err != nil {
		t.Fatal(err)
	}
	var good []string
	seen := map[string]bool{}
	for _, sink := range partSinks {
		file, text, conf, marked, whole := partConfiguration(t, library, sink)
		commands := probes(whole, rand.New(rand.NewPCG(7, 7)), 900)
		want := outcomes(convert.File(text, conf, marked).Text, file, commands, whole)
		if len(want) != len(commands) || len(want) < 600 {
			t.Fatalf("%d answers to %d commands", len(want), len(commands))
		}
		sections := convert.Sections(text)
		for _, p := range convert.Pieces {
			if sections[p.Rulesets[0]].Rules == 0 {
				continue
			}
			parts := []convert.Piece{p}
			if strings.HasPrefix(p.Name, "sendmail-access-") {
				parts = []convert.Piece{convert.Pieces[0], p}
			}
			got := outcomes(convert.Folded(text, conf, marked, parts).Text, file, commands, whole)
			differ := 0
			for i := range want {
				if i >= len(got) || got[i] != want[i] {
					if differ++; differ < 5 {
						t.Logf("%s: %s\n was %s\n is  %s", p.Name, commands[i], want[i], slices.Concat(got, want)[min(i, len(got))])
					}
				}
			}
			known := true
			for _, name := range p.Rulesets {
				line := p.Name + " " + name + " " + sections[name].Hash
				known = known && strings.Contains(string(listed), line+"\n")
				if differ == 0 {
					good = append(good, line)
				}
			}
			if known && differ > 0 {
				t.Errorf("%s: %d of %d answers differ", p.Name, differ, len(want))
			}
			seen[p.Name] = seen[p.Name] || differ == 0
		}
	}
	for _, p := range convert.Pieces {
		if !seen[p.Name] {
			t.Errorf("%s is never the same as what m4 writes", p.Name)
		}
	}
	slices.Sort(good)
	text := strings.Join(slices.Compact(good), "\n") + "\n"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile("../../../compat/convert/pieces.txt", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if text != string(listed) {
		t.Errorf("pieces.txt is not up to date: UPDATE=1 go test -run Parts ./cmd/internal/app")
	}
}

// TestFoldPartly folds the parts of files that do not fold as a whole, and keeps what somebody changed.
func TestFoldPartly(t *testing.T) {
	library := macroLibrary(t)
	file, text, _, _, _ := partConfiguration(t, library, partSinks[0])
	changed := strings.Replace(text, "\nSMailertable=90\n", "\nSMailertable=90\nR$* < $* . special.example > $*\t$#esmtp $@ special.example $: $3\n", 1)
	changed = strings.Replace(changed, "\nSBasic_check_rcpt\n", "\nSBasic_check_rcpt\nR< $* @ friend.example >\t$@ OK\n", 1)
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	out, says, folded := foldFile(t, file)
	if folded {
		t.Fatalf("folded as a whole:\n%s", says)
	}
	for _, want := range []string{"folded: use sendmail-access in place of", "folded: use sendmail-access-domains", "folded: use sendmail-mailer-host", "not folded: sendmail-mailertable: ruleset Mailertable=90, line"} {
		if !strings.Contains(says, want) || !strings.Contains(out, "# "+want) {
			t.Errorf("no %q in\n%s", want, says)
		}
	}
	for want, there := range map[string]bool{"\nuse sendmail-access\n": true, "\nuse sendmail-mailertable\n": false, "friend . example": true, "special . example": true, "ruleset SearchList": false, "ruleset Mailertable 90": true} {
		if strings.Contains(out, want) != there {
			t.Errorf("%q: want %v", want, there)
		}
	}
	converted := filepath.Join(filepath.Dir(file), "partly.rules")
	if err := os.WriteFile(converted, []byte(out), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readCF(converted, cf.Options{Host: oracleHost, CheckTable: eval.CheckTable}); err != nil {
		t.Error(err)
	}
}
