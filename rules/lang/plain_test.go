package lang

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// samePlain compares what plainRule and participle make of each line of a text.
func samePlain(t *testing.T, p *Parser, src *Source) (plain int) {
	var tokens = scan(src, nil)
	kept := tokens[:0]
	for _, tok := range tokens {
		if tok.Type != tokSpace && tok.Type != tokComment {
			kept = append(kept, tok)
		}
	}
	for _, line := range lines(kept) {
		if got := plainTest(line); got != nil {
			want, err := parseTokens(p.testLine, line)
			if err != nil {
				t.Fatalf("%s: %s", src.Line(line[0].Pos.Line), err)
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Pattern{}, Text{}, Values{})); diff != "" {
				t.Fatalf("%s (-participle +plain)\n%s", src.Line(line[0].Pos.Line), diff)
			}
		}
		got := plainRule(line)
		if got == nil {
			continue
		}
		plain++
		want, err := parseTokens(p.rule, line)
		if err != nil {
			t.Fatalf("%s: %s", src.Line(line[0].Pos.Line), err)
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Pattern{}, Text{}, Values{})); diff != "" {
			t.Fatalf("%s (-participle +plain)\n%s", src.Line(line[0].Pos.Line), diff)
		}
	}
	return plain
}

// TestPlainRules: the short cut reads rules as the grammar does.
func TestPlainRules(t *testing.T) {
	p := NewParser()
	plain := 0
	for _, pattern := range []string{"../../etc/*.rules", "../../etc/lib/*.rules", "../../testdata/rules/*.txtar"} {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			plain += samePlain(t, p, NewSource(f, string(text)))
		}
	}
	plain += samePlain(t, p, NewSource("x", "a -> b\na -> once\na -> once once\na => b queue\na => queue\na => now now\na->\n$x+ <@ $y> ->return \"once\" <\n'a' => 'b' c\na -> 'once' b\n<= -> >=\na -> b -> c\na => b now c\na => b between 1 and 2\na, b -> c\na -> call b\na -> once call b c call d e\na => b call c d queue\na -> call\na -> call call b\na -> x call 'b' call $c\na -> call b, c\n"))
	if plain < 100 {
		t.Errorf("only %d plain rules", plain)
	}
}
