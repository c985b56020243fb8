package pipe

import (
	"fmt"
	"strings"
	"testing"
)

func (l Line) String() string {
	var all []string
	for _, s := range l.steps {
		all = append(all, []string{"", "&&", "||"}[s.op]+fmt.Sprintf("%q", s.env)+fmt.Sprintf("%q", s.argv))
	}
	return strings.Join(all, " ")
}

func TestSplitCommand(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"/bin/x", `[]["/bin/x"]`},
		{"/bin/x -a  b\tc", `[]["/bin/x" "-a" "b" "c"]`},
		{`/bin/x 'a b' "c d" e\ f '' ""`, `[]["/bin/x" "a b" "c d" "e f" "" ""]`},
		{`x 'a"b\' "a'b\"c\\d\e"`, `[]["x" "a\"b\\" "a'b\"c\\d\\e"]`},
		{`x 'a;b|c&d$e' "a;b|c&d>e" \; \$`, `[]["x" "a;b|c&d$e" "a;b|c&d>e" ";" "$"]`},
		{"IFS=' ' && exec /usr/bin/procmail -f- || exit 75 #bob", `["IFS= "][] &&[]["exec" "/usr/bin/procmail" "-f-"] ||[]["exit" "75"]`},
		{"A=1 B=2 x C=3", `["A=1" "B=2"]["x" "C=3"]`},
		{"'A=1' x", `[]["A=1" "x"]`},
		{"A'=1' x", `[]["A=1" "x"]`},
		{"1A=1 x", `[]["1A=1" "x"]`},
		{"a&&b||c", `[]["a"] &&[]["b"] ||[]["c"]`},
		{"x a#b #c ; rm", `[]["x" "a#b"]`},
		{"exit", `[]["exit"]`},
		{"x *.c ~ [a] {b} !", `[]["x" "*.c" "~" "[a]" "{b}" "!"]`},
	} {
		got, err := SplitCommand(c.in)
		if err != nil || got.String() != c.want {
			t.Errorf("%s:\n got %v %v\nwant %s", c.in, got, err, c.want)
		}
	}
	for _, in := range []string{
		"", "  ", "# x", "a; b", "a | b", "a & b", "a &", "a|b", "a > b", "a < b", "a $b", `a "$b"`, "a `b`", `a "` + "`b`" + `"`, "(a)", "a $(b)", "a\nb", "a\x00b", "a\rb",
		`a 'b`, `a "b`, `a b\`, "&& a", "a &&", "a && || b", "|| a", "exit x", "exit 1 2", "exit 256", "exec", "'' a", "a&&&b", "x" + strings.Repeat(" y", 300), strings.Repeat("x", 5000),
	} {
		if got, err := SplitCommand(in); err == nil {
			t.Errorf("%.60q: %v, want an error", in, got)
		}
	}
}

func TestBare(t *testing.T) {
	for in, want := range map[string]string{
		`prog a`: `prog a`, `"prog a 'b c'"`: `prog a 'b c'`, `"prog \"a b\" \\x"`: `prog "a b" \x`, `"prog" a`: `"prog" a`, `"prog" "a"`: `"prog" "a"`, `"`: `"`, `""`: ``, `"prog`: `"prog`, ``: ``,
	} {
		if got := bare(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func FuzzSplitCommand(f *testing.F) {
	for _, s := range []string{"IFS=' ' && exec /usr/bin/procmail -f- || exit 75 #bob", `x 'a b' "c\"d" e\ f`, "a||b&&c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		line, err := SplitCommand(text)
		if err != nil {
			return
		}
		for i, s := range line.steps {
			if len(s.argv)+len(s.env) == 0 || (i == 0) != (s.op == always) {
				t.Errorf("%q: step %d is %+v", text, i, s)
			}
			for _, w := range append(s.argv, s.env...) {
				if strings.ContainsAny(w, "\n\r\x00") {
					t.Errorf("%q gives the word %q", text, w)
				}
			}
		}
		// a word in single quotes is itself, whatever it is
		if len(line.steps) == 1 && len(line.steps[0].argv) > 0 && len(line.steps[0].env) == 0 {
			var words []string
			for _, w := range line.steps[0].argv {
				words = append(words, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
			}
			again, err := SplitCommand(strings.Join(words, " "))
			if len(strings.Join(words, " ")) <= maxCommand && (err != nil || again.String() != line.String()) {
				t.Errorf("%q quoted again: %v %v, want %v", text, again, err, line)
			}
		}
	})
}
