package addr

import (
	"strings"
	"testing"
)

func show(tokens []Token) string {
	parts := make([]string, len(tokens))
	for i, t := range tokens {
		parts[i] = string(AppendPrint(nil, t))
	}
	return strings.Join(parts, " ")
}

// What sendmail 8.17 prints for these, seen in its address test mode. issues are the messages, separated by "/".
func TestSplit(t *testing.T) {
	s := New(StockOperators)
	for _, c := range []struct{ in, want, issues string }{
		{`joe@example.org`, `joe @ example . org`, ``},
		{`a"b"c`, `a "b" c`, ``},
		{`a\@b`, `a\@b`, ``},
		{`a\!b`, `a ! b`, ``},
		{`a\\!b`, `a\\ ! b`, ``},
		{`"a\!b"`, `"a\!b"`, ``},
		{`a\`, `a`, ``},
		{`a\ b`, `a\ b`, ``},
		{`"a\`, `"a\""`, `"a\... Unbalanced '"'/"a\... Unbalanced '"'`},
		{`"a`, `"a"`, `"a... Unbalanced '"'`},
		{`a(b(c)d)e`, `a ( b ( c ) d ) e`, ``},
		{`a)b`, `a ) b`, ``},
		{`(a"b)c")`, `( a "b)c" )`, ``},
		{`a>b`, `ab`, `a>b... Unbalanced '>'`},
		{`a> b`, `a b`, `a> b... Unbalanced '>'`},
		{`>a`, `a`, `>a... Unbalanced '>'`},
		{`a<b<c`, `a < b < c > >`, `a<b<c... Unbalanced '<'/a<b<c... Unbalanced '<'`},
		{`a;b,c`, `a ; b , c`, ``},
		{"a\tb\rc\vd", `a b c d`, ``},
		{"\"a\tb\"", `"a\tb"`, ``},
		{"a\x01b", `ab`, ``},
		{"\xc3\xbc", `M-CM-<`, ``},
		{"\xc3\x9c", ``, `8-bit character in mailbox address "C?"`},
		{"a\x80b\x81c", ``, `8-bit character in mailbox address "a?b?c"`},
		{"\xfc\x80", ``, `8-bit character in mailbox address "|?"`},
		{"a\xffb", `ab`, ``},
		{`{a}|b=c'd`, `{a}|b=c'd`, ``},
		{`$|`, `$|`, ``},
		{``, ``, ``},
	} {
		toks, issues := s.Split(c.in)
		var said []string
		for _, i := range issues {
			said = append(said, i.Message(c.in))
		}
		if got := show(toks); got != c.want || strings.Join(said, "/") != c.issues {
			t.Errorf("%q: got %q %q, want %q %q", c.in, got, said, c.want, c.issues)
		}
	}
}

func TestSplitStripped(t *testing.T) {
	s := New(StockOperators)
	for _, c := range []struct{ in, want, issues string }{
		{`a(b`, `a`, `a(b... Unbalanced '('`},
		{`a)b`, `ab`, `a)b... Unbalanced ')'`},
		{`a(b\)c)d`, `a d`, ``},
		{`a("b)")c`, `a ")c"`, `a("b)")c... Unbalanced '"'`},
		{`(a)(b)c (d) e`, `c e`, ``},
		{`a)(b`, `a`, `a)(b... Unbalanced ')'/a)(b... Unbalanced '('`},
		{`"a(b)c"`, `"a(b)c"`, ``},
		{`a<b(c>d)e`, `a < b e >`, `a<b(c>d)e... Unbalanced '<'`},
	} {
		toks, issues := s.SplitStripped(c.in)
		var said []string
		for _, i := range issues {
			said = append(said, i.Message(c.in))
		}
		if got := show(toks); got != c.want || strings.Join(said, "/") != c.issues {
			t.Errorf("%q: got %q %q, want %q %q", c.in, got, said, c.want, c.issues)
		}
	}
}

func TestLimits(t *testing.T) {
	s := New(StockOperators)
	for _, c := range []struct {
		in   string
		want Wrong
	}{
		{strings.Repeat("a", 256), 0}, {strings.Repeat("a", 257), TokenTooLong}, {strings.Repeat("a ", 625), 0}, {strings.Repeat("a ", 626), TooLong},
		{strings.Repeat("<", 2000), TooLong},
	} {
		toks, issues := s.Split(c.in)
		var got Wrong
		if len(issues) > 0 && issues[len(issues)-1].Fatal() {
			got = issues[len(issues)-1].Wrong
		}
		if got != c.want || (got != 0) != (toks == nil) {
			t.Errorf("%.20q, %d octets: got %d, want %d (tokens %v)", c.in, len(c.in), got, c.want, toks != nil)
		}
	}
	for _, end := range []string{"(x) b", `"x" b`} { // which is not looked at to its own end
		if _, issues := s.SplitStripped(strings.Repeat("a", 257) + end); len(issues) != 1 || issues[0].Wrong != TokenTooLong {
			t.Errorf("257 letters and %s: %v", end, issues)
		}
	}
	long := strings.Repeat("a", 120) + ">" + strings.Repeat("b", 120)
	_, issues := s.Split(long)
	if got := issues[0].Message(long); got != strings.Repeat("a", 100)+"..."+strings.Repeat("b", 100)+"... Unbalanced '>'" {
		t.Errorf("got %q", got)
	}
}

func TestSplitList(t *testing.T) {
	s := New(StockOperators)
	toks, rest, more, _ := s.SplitList(`"a,b" c(d,e)`, ',', false)
	if show(toks) != `"a,b" c ( d` || rest != "e)" || !more {
		t.Errorf("%q %q %v", show(toks), rest, more)
	}
	toks, rest, more, _ = s.SplitList(`c(d,e)f`, ',', true)
	if show(toks) != `c f` || rest != "" || more {
		t.Errorf("%q %q %v", show(toks), rest, more)
	}
}

func TestSplitTyped(t *testing.T) {
	s := New(StockOperators)
	for in, want := range map[string]string{"a\xffb": "a|\xffb", "a\xffbc": "a|\xffb|c", "a \xff b": "a|\xff |b", "\xff": "\xff", "a\xff,b": "a|\xff", "a.\xff.b": "a|.|\xff.|b",
		"a+\xff\xffn1": "a|+|\xff\xff|n1", "x\xff\xff\xffy": "x|\xff\xff|\xffy", "<@a,b:c@d>": "<|@|a|,|b|:|c|@|d|>"} {
		toks, _, _, _ := s.SplitTyped(in, ',', false)
		var parts []string
		for _, tok := range toks {
			parts = append(parts, string(tok))
		}
		if got := strings.Join(parts, "|"); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestSplitRule(t *testing.T) {
	s := New(StockOperators)
	in := strings.ReplaceAll(`a#<#"b #" \#>`, "#", "\x00")
	var got []string
	for _, tok := range s.SplitRule(in, false) {
		got = append(got, strings.ReplaceAll(string(tok), "\x00", "#"))
	}
	if want := `a|#|<|#|"b #"|\#|>`; strings.Join(got, "|") != want {
		t.Errorf("got %q, want %q", strings.Join(got, "|"), want)
	}
}

// SEMANTICS fact 33.
func TestJoin(t *testing.T) {
	s := New(StockOperators, BlankSub("."))
	for _, c := range []struct{ in, want string }{
		{`a b`, `a.b`}, {`a @ b . c`, `a@b.c`}, {`"a" b "c"`, `"a"b"c"`}, {`a b@c d`, `a.b@c.d`}, {``, ``},
	} {
		toks, _ := s.Split(c.in)
		if got := s.Join(toks); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
	if got := s.Join([]Token{Mailer, "local", User, "x"}); got != "$#local$:x" {
		t.Errorf("got %q", got)
	}
}

func TestUTF8(t *testing.T) {
	s := New(StockOperators, EightBit())
	if toks, issues := s.Split("Ünï@exämple"); show(toks) != "M-CM-\\nM-CM-/ @ exM-CM-$mple" && len(toks) != 3 || issues != nil {
		t.Errorf("%q %v", show(toks), issues)
	}
	for _, bad := range []string{"\x81", "a\x81", "\x80\x80", "\xff\x81"} {
		if toks, _ := s.Split(bad); toks != nil {
			t.Errorf("%q passes as %q", bad, toks)
		}
	}
}

func FuzzSplit(f *testing.F) {
	for _, seed := range []string{`joe@example.org`, `"a\`, `a(b"c)d"`, "<<>>\xff.\xff", "\xc3\x9c", `\!\\!`, `a,b;"c,d"`} {
		f.Add(seed, ".:%@!^/[]+", true)
	}
	f.Fuzz(func(t *testing.T, text, operators string, eightBit bool) {
		if strings.ContainsAny(operators, "\" \t\\") {
			return
		}
		opt := []Option{BlankSub(".")}
		if eightBit {
			opt = append(opt, EightBit())
		}
		s := New(operators, opt...)
		trusted, _ := s.AppendTrusted(nil, text)
		for _, tok := range trusted {
			if tok.IsMeta() {
				t.Fatalf("token %q from %q", tok, text)
			}
		}
		for _, strip := range []bool{false, true} {
			toks, issues := s.Append(nil, text, strip)
			if len(toks) > MaxTokens {
				t.Fatalf("%d tokens", len(toks))
			}
			for _, tok := range toks {
				if tok.IsMeta() || len(tok) > MaxToken {
					t.Fatalf("token %q from %q", tok, text)
				}
			}
			for _, i := range issues {
				i.Message(text)
			}
			s.Join(toks)
			show(toks)
		}
		for _, tok := range s.SplitRule(text, false) {
			if tok.IsMeta() {
				t.Fatalf("token %q from %q", tok, text)
			}
		}
		rest, more := text, true
		for n := 0; more; n++ {
			_, rest, more, _ = s.SplitList(rest, ',', false)
			if n > len(text) {
				t.Fatal("does not end")
			}
		}
	})
}

// What was split, joined without blanks and split again, stays as it is.
func FuzzJoin(f *testing.F) {
	f.Add(`a "b" <c@d>`)
	f.Fuzz(func(t *testing.T, text string) {
		s := New(StockOperators, BlankSub(" "))
		toks, issues := s.Split(text)
		if toks == nil || len(issues) > 0 || strings.IndexByte(text, 0xff) >= 0 || strings.IndexByte(text, '\\') >= 0 {
			return
		}
		again, _ := s.Split(s.Join(toks))
		if show(again) != show(toks) {
			t.Errorf("%q: %q, then %q", text, toks, again)
		}
	})
}
