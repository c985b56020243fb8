package rules

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waybill/etc"
	"waybill/rules/compile"
)

// other are rules of a site that has its own, and not the default ones.
const other = `
class inside { 127.0.0.1 ::1 }
class local { ${host} ${short} localhost }
table aliases aliases ?/nonexistent/aliases
transport local mbox
transport esmtp smtp
transport uucp uucp
ruleset canonify {
    $site- ! $user+     -> $user < @ $site . UUCP >
    $user+ @ $domain+   -> $user < @ $domain >
}
ruleset uncanonify { $user+ < @ $domain+ > -> return $user @ $domain }
route {
    $user+ < @ $=local >   => local $user
    $user+ < @ $domain+ >  => esmtp gate.site.example $user@$domain
    $user+                 => local $user
}
accept rcpt {
    auth          ok
    mailer local  ok
    otherwise     reject 554 5.7.0 "another text"
}
`

// behind says what each part leaves to the default rules.
var behind = map[string]string{
	"domaintable":  "bob@other.example => esmtp other.example bob@other.example",
	"mailertable":  "bob@example.org => esmtp example.org bob@example.org\nbob@com => esmtp com bob@com",
	"ldap-routing": "nobody@example.com => esmtp example.com nobody@example.com",
	"plus-detail":  "bob+x@example.com => esmtp example.com bob+x@example.com",
	"uucp": "beta!bob => uucp beta bob\nbeta!bob@localhost.UUCP => uucp beta bob\nlocalhost!beta!bob => uucp beta bob\nbob@localhost.UUCP => local bob\n" +
		"bob@example.com => esmtp example.com bob@example.com\nbob@localhost => local bob\nother!bob => uucp other bob",
	"virtusers": "bob@example.org => esmtp example.org bob@example.org",
	"virtusertable": "other@example.com => esmtp example.com other@example.com\nbob@localhost => local bob\n" +
		"given virtusertable(pm@localhost) is \"pm@example.net\"\ngiven client 198.51.100.7\nrcpt pm@localhost => ok\nrcpt pm%example.net@localhost => reject\nrcpt pm+x%example.net@localhost => reject",
}

// TestLibrary loads each part of the library, with the default rules behind it and with others, and runs its own tests.
func TestLibrary(t *testing.T) {
	args := map[string]string{"smarthost": "[192.0.2.7]", "nullclient": "hub.example.net", "masquerade": "example.org", "dnsbl": "bl.example", "rhsbl": "dbl.example", "local-lmtp": "/run/lmtp", "msp": "[127.0.0.1]"}
	names, err := fs.Glob(etc.Library(), "*.rules")
	if err != nil || len(names) < 13 {
		t.Fatalf("the library has %v: %v", names, err)
	}
	for _, name := range names {
		name = strings.TrimSuffix(name, ".rules")
		t.Run(name, func(t *testing.T) {
			use := "use " + name + " " + args[name] + "\n"
			// The tests of the default rules do not hold behind each part; those of the part must, whatever is behind it.
			opt := Options{Library: etc.Library(), Hostname: "mail.example.org", LibraryTests: true, SkipTests: true}
			for _, rules := range []string{other, "use standard\n"} {
				opt.Text = []byte(use + rules)
				r, err := Load("site.rules", opt)
				if err != nil {
					t.Fatal(err)
				}
				ran := 0
				for _, res := range r.Tests(nil) {
					if res.File != "<"+name+">" {
						continue
					}
					ran++
					if res.Failed != "" {
						t.Errorf("%s:%d: %s: %s", res.File, res.LineNo, res.Line, res.Failed)
					}
				}
				if ran == 0 {
					t.Error("it has no tests")
				}
				if rules == other {
					continue
				}
				for _, w := range r.Warnings() {
					t.Errorf("%v", w)
				}
				for _, d := range r.Analyse() {
					if name == "relay-local-from" && strings.Contains(d.String(), "a stranger can relay") { // that is what it is for
						continue
					}
					t.Errorf("%v", d)
				}
			}
			opt.Text = []byte(use + "use standard\ntest \"what is left\" {\n" + behind[name] + "\n}\n")
			opt.SkipTests, opt.LibraryTests = false, false
			if _, err := Load("site.rules", opt); err != nil {
				t.Errorf("as a site has it: %v", err)
			}
		})
	}
}

// TestShownRulesAreTheSame prints the compiled rules of each part of the library, as "rules show" does, and reads them
// again: the program is the same.
func TestShownRulesAreTheSame(t *testing.T) {
	for _, text := range []string{"use standard\n", "use access\nuse virtusers\nuse mailertable\nuse masquerade example.org\nuse genericstable\nuse dnsbl bl.example\nuse relay-domains\nuse smarthost [192.0.2.7]\nuse standard\n"} {
		one, err := Load("site.rules", Options{Text: []byte(text), Library: etc.Library(), Hostname: "mail.example.org"})
		if err != nil {
			t.Fatal(err)
		}
		var shown strings.Builder
		if err := compile.Print(&shown, one.Program()); err != nil {
			t.Fatal(err)
		}
		two, err := Load("shown.rules", Options{Text: []byte(shown.String()), Hostname: "other.example.org"})
		if err != nil {
			t.Fatalf("%v\n%s", err, shown.String())
		}
		var again, notation [2]strings.Builder
		for i, r := range []*Router{one, two} {
			if err := compile.Print(&again[i], r.Program()); err != nil {
				t.Fatal(err)
			}
			if err := r.Program().Disassemble(&notation[i]); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(again[0].String(), again[1].String()); diff != "" {
			t.Errorf("shown again:\n%s", diff)
		}
		if diff := cmp.Diff(notation[0].String(), notation[1].String()); diff != "" {
			t.Errorf("in sendmail's notation:\n%s", diff)
		}
	}
}
