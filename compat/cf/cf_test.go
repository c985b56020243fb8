package cf

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"waybill/rules/prog"
)

// TestGolden reads "cf" of each archive and compares what was made of it, and what was said about it. Files of the
// archive other than these stand beside it, as $DIR. UPDATE=1 writes the archives anew.
func TestGolden(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txtar")
	if len(files) < 3 {
		t.Fatalf("only %d archives", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			sections := map[string]string{}
			for _, f := range a.Files {
				sections[f.Name] = string(f.Data)
				if f.Name != "program" && f.Name != "rest" {
					if err := os.WriteFile(filepath.Join(dir, f.Name), []byte(strings.ReplaceAll(string(f.Data), "$DIR", dir)), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			c, err := ReadFile(filepath.Join(dir, "cf"), Options{Trust: true, Host: Host{Name: "mail.example.org", NodeName: "mail.example.org", Addresses: []string{"[192.0.2.1]"}}})
			if err != nil {
				t.Fatal(err)
			}
			var program, rest bytes.Buffer
			if err := c.Prog.Disassemble(&program); err != nil {
				t.Fatal(err)
			}
			for _, m := range c.Messages {
				fmt.Fprintln(&rest, m)
			}
			for _, o := range c.Options {
				fmt.Fprintf(&rest, "option %s.%s=%q line %d\n", o.Name, o.Sub, o.Value, o.Pos.Line)
			}
			for _, h := range c.Headers {
				fmt.Fprintf(&rest, "header flags=%q macro=%q %s: %q ruleset=%q keep=%v\n", h.Flags, h.Macro, h.Name, h.Value, h.Ruleset, h.Keep)
			}
			for _, m := range c.Mailers {
				if m.Pos.Line > 0 {
					fmt.Fprintf(&rest, "mailer %s P=%s F=%s A=%q M=%d L=%d E=%q T=%v S=%s/%s R=%s/%s\n", m.Name, m.Path, m.Flags, m.Args, m.MaxSize, m.LineLimit, m.EOL, m.Types,
						name(m.EnvSender), name(m.HdrSender), name(m.EnvRcpt), name(m.HdrRcpt))
				}
			}
			for _, p := range c.Priority {
				fmt.Fprintf(&rest, "precedence %s=%d\n", p.Name, p.Value)
			}
			for _, n := range c.Report() {
				if n.How != Exact {
					fmt.Fprintf(&rest, "line %d: %s: %s: %s\n", n.Pos.Line, n.What, n.How, n.Why)
				}
			}
			got := map[string]string{"program": strings.ReplaceAll(program.String(), dir, "$DIR"), "rest": strings.ReplaceAll(rest.String(), dir, "$DIR")}
			if os.Getenv("UPDATE") != "" {
				var keep []txtar.File
				for _, f := range a.Files {
					if f.Name != "program" && f.Name != "rest" {
						keep = append(keep, f)
					}
				}
				a.Files = append(keep, txtar.File{Name: "program", Data: []byte(got["program"])}, txtar.File{Name: "rest", Data: []byte(got["rest"])})
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, s := range []string{"program", "rest"} {
				g, w := strings.Split(got[s], "\n"), strings.Split(sections[s], "\n")
				for i := 0; i < max(len(g), len(w)); i++ {
					if i >= len(g) || i >= len(w) || g[i] != w[i] {
						t.Errorf("%s, line %d:\n got  %q\n want %q", s, i+1, g[min(i, len(g)-1)], w[min(i, len(w)-1)])
						break
					}
				}
			}
		})
	}
}

func TestExpand(t *testing.T) {
	macros := map[string]string{"g": "joe@x", "x": "Joe Doe", "e": "", "long_name": "L", "r": "$g"}
	get := func(n string) (string, bool) { v, ok := macros[n]; return v, ok }
	for in, want := range map[string]string{
		"$?x$x <$g>$|$g$.":           "Joe Doe <joe@x>",
		"$?y$y <$g>$|$g$.":           "joe@x",
		"$?e set$| not set$. end":    " not set end",
		"a$$b ${long_name}$q.":       "a$b L.",
		"$?x$?y both$|one$.$|none$.": "one",
		"$?y$?x both$|one$.$|none$.": "none",
		"$r":                         "$g", // a value is data
		"$":                          "$",
		"$?x":                        "",
		"$|$.":                       "$|$.",
	} {
		if got := Expand(in, get); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// Macros within macros end where the real engine's do, with its words, and what they become is bounded.
func TestEndlessMacros(t *testing.T) {
	for text, want := range map[string]string{
		"Dxa$x":                         strings.Repeat("a", 11) + "$x", // recorded from the real one
		"Dxa$y\nDyb$x":                  "abababababa$y",
		"Dxa$x$x$x$x$x$x$x$x$x$x$x$x$x": "",
		"Dm\nDx$m$x$m$x$m$x$m$x$m$x":    "",
		"Dxa$y\nDyb":                    "ab",
	} {
		c, err := Read(strings.NewReader("V10/Berkeley\n"+text+"\nSt\nR$*\t$x\n"), "f", Options{NoFiles: true})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, tok := range c.Prog.Ruleset("t").Rules[0].RHS {
			got += tok.Text
		}
		if want != "" && got != want || len(got) > maxExpanded {
			t.Errorf("%q: got %.80q (%d octets), want %q", text, got, len(got), want)
		}
		told := false
		for _, m := range c.Messages {
			told = told || m.String() == "f: line "+strconv.Itoa(strings.Count(text, "\n")+4)+": expand: recursion too deep (10 max)"
		}
		if told != (want != "ab") {
			t.Errorf("%q: messages %v", text, c.Messages)
		}
	}
}

// The words of a class from a file or a program that has no end are an error with the line, and take no memory to speak of.
func TestClassWithoutEnd(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, maxClassFile+1); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} { // the program runs as the default user
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	endless := filepath.Join(dir, "endless") // of long words, so that it does not take long
	if err := os.WriteFile(endless, []byte("#!/bin/sh\nexec yes $(printf %02000d 0)\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{large, "|" + endless} {
		c, err := Read(strings.NewReader("V10/Berkeley\nFw"+path+"\n"), "f", Options{Trust: true})
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("f: line 2: fileclass: cannot open '%s': larger than 67108864 octets", path)
		if len(c.Messages) == 0 || c.Messages[0].String() != want {
			t.Errorf("%s: %v, want %q", path, c.Messages, want)
		}
	}
}

func TestOptionTable(t *testing.T) {
	seen := map[string]bool{}
	letters := map[byte]string{}
	for _, o := range allOptions() {
		if seen[o.name] || o.name == "" || strings.ContainsAny(o.name, " =~-") {
			t.Errorf("option %q", o.name)
		}
		seen[o.name] = true
		if o.letter != 0 {
			if letters[o.letter] != "" {
				t.Errorf("letter %c: %s and %s", o.letter, letters[o.letter], o.name)
			}
			letters[o.letter] = o.name
		}
		if (o.how != Exact) != (o.why != "") {
			t.Errorf("option %s: %s, why %q", o.name, o.how, o.why)
		}
	}
	if len(seen) < 140 {
		t.Errorf("only %d options", len(seen))
	}
	for name, want := range map[string]string{"QueueDirectory": "QueueDirectory", "queuedir": "QueueDirectory", "deliv": "", "": ""} {
		o, ok, _ := findOption(allOptions(), name)
		if ok != (want != "") || ok && o.name != want {
			t.Errorf("%s: %v %s", name, ok, o.name)
		}
	}
}

func TestCutName(t *testing.T) {
	for _, c := range []struct{ in, name, rest, says string }{
		{"xyz", "x", "yz", ""},
		{"{long}v", "long", "v", ""},
		{"{x}", "x", "", ""},
		{"", "", "", "Name required for macro/class"},
		{"{}x", "", "x", "Name required for macro/class"},
		{"{abc", "", "", "Unbalanced { on abc; Unable to assign macro/class ID (mid = 0xffffffff)"},
		{"{a b}x", "ab", "x", "Invalid macro/class character  "},
	} {
		name, rest, says, _ := CutName(c.in)
		if name != c.name || rest != c.rest || says.Error() != c.says {
			t.Errorf("%q: got %q %q %q", c.in, name, rest, says.Error())
		}
	}
}

// FuzzRead reads anything as a configuration: no input may take long, or make the reader stop.
func FuzzRead(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		if a, err := txtar.ParseFile(file); err == nil {
			for _, x := range a.Files {
				if x.Name == "cf" {
					f.Add(string(x.Data))
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Read(strings.NewReader(text), "f", Options{NoFiles: true})
		if err != nil {
			return
		}
		if err := c.Prog.Disassemble(&bytes.Buffer{}); err != nil {
			t.Fatal(err)
		}
		for i, rs := range c.Prog.Rulesets {
			if rs.Index != i {
				t.Fatalf("ruleset %d has index %d", i, rs.Index)
			}
		}
		for _, m := range c.Messages {
			_ = m.String()
		}
		c.Report()
	})
}

func name(rs *prog.Ruleset) string {
	if rs == nil {
		return "-"
	}
	return rs.Name
}
