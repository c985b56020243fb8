package submit

import (
	"strings"
	"testing"
)

func TestParseList(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"alice", "alice"},
		{"a@b, c@d", "a@b|c@d"},
		{"alice bob", "alice|bob"},
		{"alice bob, carol", "alice.bob|carol"},
		{"Dave D. Example <dave@example.com>", "dave@example.com"},
		{`"Carol, C" <carol@example.net>`, "carol@example.net"},
		{`"two words"@example.com`, `"two words"@example.com`},
		{`two\ words@example.com`, `two\ words@example.com`},
		{"dave@example.com (Dave, the man), bob", "dave@example.com|bob"},
		{"dave (a (nested) comment) @ example . com", "dave@example.com"},
		{"friends: a, b;", "a|b"},
		{"friends: a, b;, c", "a|b|c"},
		{"one: a;, two: b;", "a|b"},
		{"undisclosed-recipients:;", ""},
		{"undisclosed-recipients: ;", ""},
		{"", ""},
		{" , ,, ", ""},
		{"<a@b>", "a@b"},
		{"<@relay.test:dave@example.com>", "@relay.test:dave@example.com"},
		{"dave@[127.0.0.4]", "dave@[127.0.0.4]"},
		{"dave@[IPv6:::1], e", "dave@[IPv6:::1]|e"},
		{"hub!dave", "hub!dave"},
		{"node::user", "node::user"},
		{`\bob`, `\bob`},
		{"a@b\n\tc@d", "a@b|c@d"},
		{"a@b,\n\tc@d", "a@b|c@d"},
		{"dave@x;carol@y", "!Invalid route address"},
		{"a@@b", "!Invalid route address"},
		{`"@@"@b`, `"@@"@b`},
		{"dave <b", "?Unbalanced '<'!User unknown"},
		{"bob (x", "?Unbalanced '('bob"},
		{`"bob x`, `?Unbalanced '"'!User unknown`},
		{"x)", "?Unbalanced ')'x"},
		{"b>", "?Unbalanced '>'b"},
		{"<>", "!User unknown"},
		{"|/bin/cat", "!Cannot mail directly to programs"},
		{"/etc/x", "!Cannot mail directly to files"},
		{"/G=John/S=Doe/@gate.example.org", "/G=John/S=Doe/@gate.example.org"},
		{":include:/x", "!Cannot mail directly to :include:s"},
		{"a\x01b", "!Illegal character in address"},
		{strings.Repeat("x", 321), "!Address too long"},
		{"ok, a\x7f, fine", "ok|!Illegal character in address|fine"},
	} {
		var got []string
		for _, m := range ParseList(c.in) {
			if m.Warning != "" {
				got = append(got, "?"+m.Warning)
			}
			if m.Problem != "" {
				got = append(got, "!"+m.Problem)
			} else {
				got = append(got, string(m.Addr))
			}
		}
		g := strings.ReplaceAll(strings.Join(got, "|"), "'|", "'") // a warning goes with what follows it
		if g != c.want {
			t.Errorf("%q: %s, want %s", c.in, g, c.want)
		}
	}
}

func TestTextKeepsTheComment(t *testing.T) {
	for in, want := range map[string]string{
		"bob (the man)": "bob (the man)|", "(x) bob": "(x) bob|", "B <bob>, c (d)": "B <bob>|c (d)|", "alice bob": "alice|bob|",
	} {
		got := ""
		for _, m := range ParseList(in) {
			got += m.Text + "|"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// FuzzParseList: it ends, and no address holds what an envelope cannot.
func FuzzParseList(f *testing.F) {
	for _, s := range []string{`"a" <b@c>, d: e, f;, (g) h`, `\`, `"`, `<`, `(`, "a::b", `[`, "x:y:z;", "a@@b <>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, m := range ParseList(s) {
			if m.Problem == "" && (m.Addr == "" && m.Warning == "" || len(m.Addr) > maxAddress || strings.ContainsAny(string(m.Addr), "\x00\n\r\t\x7f")) {
				t.Errorf("%q gives %q", s, m.Addr)
			}
		}
	})
}

// TestMended: one bracket or quote too much or too few is put right, and said.
func TestMended(t *testing.T) {
	for _, c := range []struct{ in, addr, warning, problem string }{
		{"<bob", "bob", "Unbalanced '<'", ""},
		{"bob>", "bob", "Unbalanced '>'", ""},
		{`"bob`, "bob", `Unbalanced '"'`, ""},
		{"bob)", "bob", "Unbalanced ')'", ""},
		{"(x bob", "", "Unbalanced '('", ""},
		{"<bob, carol", "", "Unbalanced '<'", unknownUser},
		{"<", "", "Unbalanced '<'", unknownUser},
	} {
		list := ParseList(c.in)
		if len(list) != 1 || string(list[0].Addr) != c.addr || list[0].Warning != c.warning || list[0].Problem != c.problem {
			t.Errorf("%q: %+v", c.in, list)
		}
	}
}
