package lang

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestMistakes reads testdata/mistakes/*.txtar: a file "rules" and what the parser says about it in "errors".
func TestMistakes(t *testing.T) {
	files, err := filepath.Glob("testdata/mistakes/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	p := NewParser()
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			ar, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			_, diags := p.Parse(NewSource("rules", string(part(ar, "rules"))))
			got := diags.Error() + "\n"
			if os.Getenv("UPDATE") != "" {
				setPart(ar, "errors", got)
				if err := os.WriteFile(name, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(part(ar, "errors")), got); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFormat reads testdata/format/*.txtar: "rules" and, laid out, "formatted".
func TestFormat(t *testing.T) {
	files, err := filepath.Glob("testdata/format/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			ar, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := Format(NewSource("rules", string(part(ar, "rules"))))
			if again := Format(NewSource("rules", got)); again != got {
				t.Errorf("formatting again changes it:\n%s", cmp.Diff(got, again))
			}
			if os.Getenv("UPDATE") != "" {
				setPart(ar, "formatted", got)
				if err := os.WriteFile(name, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(part(ar, "formatted")), got); diff != "" {
				t.Errorf("formatted (-want +got):\n%s", diff)
			}
		})
	}
}

func part(ar *txtar.Archive, name string) []byte {
	for _, f := range ar.Files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

func setPart(ar *txtar.Archive, name, text string) {
	for i := range ar.Files {
		if ar.Files[i].Name == name {
			ar.Files[i].Data = []byte(text)
			return
		}
	}
	ar.Files = append(ar.Files, txtar.File{Name: name, Data: []byte(text)})
}

// shape is the tokens of a source without white space, comments and places: what it means to the parser.
func shape(src *Source) string {
	var b strings.Builder
	glued := false
	for _, t := range scan(src, nil) {
		switch t.Type {
		case tokSpace, tokComment:
			glued = false
			continue
		case tokEOL, tokEOF:
			if s := b.String(); s != "" && !strings.HasSuffix(s, "\n") && !strings.HasSuffix(s, " {") {
				b.WriteByte('\n')
			}
			glued = false
			continue
		}
		apart := t.Type == tokArrow || t.Type == tokLBrace || t.Type == tokRBrace
		if !glued || apart {
			b.WriteByte(' ')
		}
		b.WriteString(t.Value)
		glued = !apart
	}
	return b.String()
}

func seeds(f *testing.F) {
	for _, pattern := range []string{"../../etc/*.rules", "../../etc/lib/*.rules", "../../testdata/rules/*.txtar", "testdata/mistakes/*.txtar", "testdata/format/*.txtar"} {
		files, _ := filepath.Glob(pattern)
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
		}
	}
	for _, s := range []string{"", "\n", "route{", "a\\\n b", "x ' y", "$x+=>$y", "# c\n\n\n# d\nset a b # e\n", "class x{a;b\n}", "table t text f\ntable long hash g # c\n",
		"route {\n a -> b\n   where c\n}", "accept rcpt {\n'x' ok # c\n}", "test \"n\" { a => b c queue }", "\x00", "\xff", "a\r\nb\r\n", "{}{}", ")(", "$", "$&{", "a#b #c"} {
		f.Add(s)
	}
}

// FuzzFormat: formatting changes white space only, and formatting again changes nothing.
func FuzzFormat(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text string) {
		once := Format(NewSource("x", text))
		if twice := Format(NewSource("x", once)); twice != once {
			t.Fatalf("not idempotent\ninput: %q\nonce:  %q\ntwice: %q", text, once, twice)
		}
		if a, b := shape(NewSource("x", text)), shape(NewSource("x", once)); a != b {
			t.Fatalf("another text\ninput: %q\nformatted: %q\n%s", text, once, cmp.Diff(a, b))
		}
	})
}

// FuzzParse: no text makes the parser fail, every diagnostic has a place within the text, and a text without mistakes
// has none when it is formatted either.
func FuzzParse(f *testing.F) {
	seeds(f)
	p := NewParser()
	f.Fuzz(func(t *testing.T, text string) {
		src := NewSource("x", text)
		start := time.Now()
		_, diags := p.Parse(src)
		if took := time.Since(start); took > 10*time.Second {
			t.Fatalf("%v for %d octets", took, len(text))
		}
		for _, d := range diags {
			if d.Pos.Line < 1 || d.Pos.Offset > len(text) || d.Message == "" {
				t.Fatalf("diagnostic without a place: %+v", d)
			}
			_ = d.String()
		}
		sameLines(t, p, src, nil)
		if diags != nil {
			return
		}
		if _, diags = p.Parse(NewSource("x", Format(src))); diags != nil {
			t.Fatalf("formatting makes mistakes: %v\n%q", diags, text)
		}
	})
}
