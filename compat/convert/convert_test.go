package convert_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"waybill/compat/cf"
	"waybill/compat/convert"
	"waybill/rules/compile"
	"waybill/rules/eval"
	"waybill/rules/lang"
	"waybill/rules/prog"

	"github.com/rogpeppe/go-internal/txtar"
)

var host = cf.Options{Host: cf.Host{Name: "mail.example.org", NodeName: "mail.example.org", Addresses: []string{"[192.0.2.1]"}}, CheckTable: eval.CheckTable}

// TestNothingIsLost converts every hand-written sendmail.cf that there is, reads the result, and compares the two
// configurations in every part: rules symbol by symbol, classes, macros, maps, mailers, options, headers.
func TestNothingIsLost(t *testing.T) {
	files := map[string]string{}
	for _, pattern := range []string{"../cf/testdata/*.txtar", "../testmode/testdata/*.txtar"} {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for _, f := range a.Files {
				if err := os.WriteFile(filepath.Join(dir, f.Name), []byte(strings.ReplaceAll(string(f.Data), "$DIR", dir)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			files[name] = filepath.Join(dir, "cf")
		}
	}
	for name := range strings.SplitSeq(os.Getenv("CONVERT"), ":") { // further files, or all of a directory: see make convert
		further, _ := filepath.Glob(filepath.Join(name, "*.cf"))
		if strings.HasSuffix(name, ".cf") {
			further = append(further, name)
		}
		for _, file := range further {
			files[file] = file
		}
	}
	if len(files) < 5 {
		t.Fatalf("only %d configurations", len(files))
	}
	for name, file := range files {
		t.Run(filepath.Base(name), func(t *testing.T) { same(t, file) })
	}
}

func same(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	how := host
	how.NoFiles = true
	bare, err := cf.Read(strings.NewReader(string(text)), file, how)
	if err != nil {
		t.Fatal(err)
	}
	marked, err := cf.Read(strings.NewReader(string(text)), file, convert.Marked(how))
	if err != nil {
		t.Fatal(err)
	}
	res := convert.File(string(text), bare, marked)
	for _, l := range res.Lost {
		if !strings.Contains(file, "/errors.cf") && !strings.Contains(l.What, "can be read here") {
			t.Error(l)
		}
	}
	if dir := os.Getenv("CONVERT_OUT"); dir != "" {
		os.WriteFile(filepath.Join(dir, filepath.Base(file)+".rules"), []byte(res.Text), 0o644)
	}
	f, wrong := lang.NewParser().Parse(lang.NewSource(file+".rules", res.Text))
	r, diags := compile.Compile([]*lang.File{f}, compile.Options{Hostname: host.Host.Name, Define: map[string]string{"opMode": ""}})
	if wrong = append(wrong, diags...); wrong.Errors() {
		t.Fatalf("%v", wrong)
	}
	got := cf.FromProgram(r.Program, file, host)
	want, err := cf.Read(strings.NewReader(string(text)), file, host)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(res.Text, "# sendmail ignores this"); n > 0 && !strings.Contains(file, os.TempDir()) {
		t.Skipf("%d lines that sendmail refuses have no form in our language; what the file does is compared in address test mode", n)
	}
	compareConfigs(t, got, want)
}

func compareConfigs(t *testing.T, got, want *cf.Config) {
	t.Helper()
	dump := func(c *cf.Config) []string {
		var out []string
		p := c.Prog
		add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
		add("level %d operators %q blank %q", max(c.Level, 1), p.Operators, p.BlankSub)
		for _, rs := range p.Rulesets {
			number := rs.Number
			if number >= 100 { // sendmail's choice, in the order in which names appear: only address test mode shows it
				number = -1
			}
			add("ruleset %s %d", rs.Name, number)
			for i, r := range rs.Rules {
				add("%s %d: %v %v %v", rs.Name, i, bareToks(r.LHS), r.Mode, bareToks(r.RHS))
			}
		}
		for _, o := range c.Options {
			if o.Name == "OperatorChars" || o.Name == "BlankSub" { // above
				continue
			}
			add("option %s.%s=%q", o.Name, o.Sub, o.Value)
		}
		for _, h := range c.Headers {
			add("header %q %q %q %q %q %v", h.Flags, h.Macro, h.Name, h.Value, h.Ruleset, h.Keep)
		}
		for _, m := range c.Mailers {
			x := *m
			x.Pos, x.Equates, x.EnvSender, x.HdrSender, x.EnvRcpt, x.HdrRcpt = prog.Pos{}, nil, nil, nil, nil, nil
			add("mailer %+v %s %s %s %s", x, name(m.EnvSender), name(m.HdrSender), name(m.EnvRcpt), name(m.HdrRcpt))
		}
		for _, t := range p.Tables {
			add("table %s %s %q %q %v", t.Name, t.Class, t.Args, t.Blank, t.Broken)
		}
		for _, x := range c.Priority {
			add("precedence %s %d", x.Name, x.Value)
		}
		for _, l := range append(append([]cf.Line{}, c.Queues...), c.Milters...) {
			add("line %s", l.Name)
			for _, e := range l.Equates {
				add("  %s=%q", e.Name, e.Value)
			}
		}
		add("env %q", c.Env)
		for n, v := range p.Macros {
			add("macro %s=%q", n, v)
		}
		for n, k := range p.Classes {
			if len(k.Words) == 0 {
				continue
			}
			words := map[string]bool{}
			for _, w := range k.Words {
				words[strings.ToLower(w)] = true
			}
			add("class %s %v", n, words)
		}
		return out
	}
	a, b := count(dump(got)), count(dump(want))
	if reflect.DeepEqual(a, b) {
		return
	}
	n := 0
	for line, k := range b {
		if a[line] != k {
			if n++; n < 20 {
				t.Errorf("lost: %s", line)
			}
		}
	}
	n = 0
	for line, k := range a {
		if b[line] != k {
			if n++; n < 20 {
				t.Errorf("new:  %s", line)
			}
		}
	}
}

func count(lines []string) map[string]int {
	out := map[string]int{}
	for _, l := range lines {
		out[l]++
	}
	return out
}

func name(rs *prog.Ruleset) string {
	if rs == nil {
		return "-"
	}
	return rs.Name
}

// bareToks are symbols without what our language adds to them.
func bareToks(toks []prog.Tok) []prog.Tok {
	if len(toks) == 1 && toks[0].Kind == prog.Empty { // as no symbol at all
		return nil
	}
	out := make([]prog.Tok, len(toks))
	for i, t := range toks {
		t.Name = ""
		if t.Kind != prog.Capture {
			t.N = 0
		}
		out[i] = t
	}
	return out
}
