package rules

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill/etc"
	"waybill/rules/compile"
)

// FuzzStranger: with the default rules, no recipient address, however it is written, takes a stranger's mail anywhere
// but to a local user; and every address is decided about in no time.
func FuzzStranger(f *testing.F) {
	for _, s := range []string{"victim@remote.example", "victim%remote.example@localhost", "remote.example!victim@localhost", "@localhost:victim@remote.example", `"victim@remote.example"@localhost`,
		"localhost!remote!victim", "a@b@localhost", "victim@remote.example.", "victim@[127.0.0.1]", "victim@[IPv6:::1]", `a\@b@localhost`, "a%b%c@localhost", "@a,@b:c@localhost", "localhost!@remote.example:x",
		"x@LOCALHOST%remote.example", "<victim@remote.example>", "victim@remote.example,bob", "bob;x", "(c)bob@localhost", "", "@", "@@", "!", "%", "!@localhost", "%@localhost", "a!b%c@localhost", "\"\"@localhost"} {
		f.Add(s)
	}
	r, err := Load("default.rules", Options{Text: etc.DefaultRules(), Library: etc.Library(), Hostname: "mail.example.org"})
	if err != nil {
		f.Fatal(err)
	}
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, address string) {
		q := Query{Recipient: address, Sender: "x@stranger.example", Client: Client{Addr: netip.MustParseAddr("198.51.100.9"), Name: "stranger.example"}, Time: testTime()}
		start := time.Now()
		d, err := r.Route(ctx, q, nil)
		if took := time.Since(start); took > 10*time.Second {
			t.Fatalf("%q: %v", address, took)
		}
		if err != nil {
			t.Fatalf("%q: %v", address, err) // these rules have no table that can fail
		}
		if d.Refusal == nil && (d.Mailer == "" || d.User == "" || strings.ContainsAny(d.User+d.Host, "\r\n\x00")) {
			t.Fatalf("%q: %+v", address, d)
		}
		v, err := r.Accept(ctx, StageRcpt, q, nil)
		if err != nil {
			t.Fatalf("%q: %v", address, err)
		}
		if v.Refusal == nil && (d.Refusal != nil || !r.local(d.Mailer)) {
			t.Fatalf("a stranger relays to %q: %+v", address, d)
		}
	})
}

// ruleSeeds adds the rules that are shipped, and those of the test files.
func ruleSeeds(f *testing.F) {
	for _, pattern := range []string{"../etc/*.rules", "../etc/lib/*.rules", "../testdata/rules/*.txtar"} {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			_, rules, ok := strings.Cut(string(text), "-- rules --\n")
			if !ok {
				rules = string(text)
			}
			rules, _, _ = strings.Cut(rules, "\n-- ")
			f.Add(rules + "\n")
		}
	}
}

// namesFiles reports whether rules may name files: those of this machine are not for a fuzzer.
func namesFiles(text string) bool {
	return strings.Contains(text, "include") || strings.Contains(text, "/") && strings.Contains(text, "table") || strings.Contains(text, "@/") || strings.Contains(text, "@?")
}

// FuzzLoad: no text makes Load fail otherwise than with diagnostics that have a place.
func FuzzLoad(f *testing.F) {
	ruleSeeds(f)
	f.Fuzz(func(t *testing.T, text string) {
		if namesFiles(text) {
			return
		}
		r, err := Load("x", Options{Text: []byte(text), Hostname: "h", Library: etc.Library()})
		if err != nil {
			ds, ok := err.(Diagnostics)
			if !ok || !ds.Errors() {
				t.Fatalf("%T %v", err, err)
			}
			for _, d := range ds {
				if d.Pos.Line < 1 || d.Message == "" {
					t.Fatalf("%+v", d)
				}
			}
			return
		}
		_ = r.Analyse()
	})
}

// FuzzShown: what "rules show" prints of any rules is read again as the same rules.
func FuzzShown(f *testing.F) {
	ruleSeeds(f)
	f.Fuzz(func(t *testing.T, text string) {
		if namesFiles(text) {
			return
		}
		opt := Options{Text: []byte(text), Hostname: "h", Library: etc.Library(), SkipTests: true}
		one, err := Load("x", opt)
		if err != nil {
			return
		}
		var shown strings.Builder
		if err := compile.Print(&shown, one.Program()); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		opt.Text = []byte(shown.String())
		two, err := Load("shown", opt)
		if err != nil {
			t.Fatalf("%v\n%s\nshown as\n%s", err, text, shown.String())
		}
		var a, b strings.Builder
		if one.Program().Disassemble(&a) != nil || two.Program().Disassemble(&b) != nil {
			t.Fatal("it cannot be written in sendmail's notation")
		}
		if a.String() != b.String() {
			t.Fatalf("%s\nshown as\n%s\n%s\nbecame\n%s", text, shown.String(), a.String(), b.String())
		}
	})
}
