package submit

import (
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	for _, tc := range []struct{ in, addr, text, rest, problem string }{
		{"<a@example.org> SIZE=3", "a@example.org", "<a@example.org>", " SIZE=3", ""},
		{" a@example.org", "a@example.org", "a@example.org", "", ""},
		{"<>", "", "<>", "", ""},
		{"< >", "", "< >", "", ""},
		{"<<a@example.org>>", "a@example.org", "<<a@example.org>>", "", ""},
		{"<a@example.org>x", "a@example.org", "<a@example.org>x", "", ""},
		{"<bob>,<carol>", "carol", "<bob>,<carol>", "", ""},
		{"Foo <bob>", "Foo", "Foo", " <bob>", ""},
		{"<bob> (comment)", "bob", "<bob>", " (comment)", ""},
		{"<bo b>", "bo.b", "<bo b>", "", ""},
		{"<bob @ example.org>", "bob@example.org", "<bob @ example.org>", "", ""},
		{`<"a b"@example.org>`, `"a b"@example.org`, `<"a b"@example.org>`, "", ""},
		{`<a\>b@example.org>`, `a\>b@example.org`, `<a\>b@example.org>`, "", ""},
		{"<caf)>", "caf)", "<caf)>", "", ""},
		{"caf)", "caf)", "caf)", "", "Unbalanced ')'"},
		{"<bob", "<bob", "<bob", "", "Unbalanced '<'"},
		{"bob>", "bob>", "bob>", "", "Unbalanced '>'"},
		{`<"bob>`, `<"bob>`, `<"bob>`, "", `Unbalanced '"'`},
		{"<" + strings.Repeat("a", 300) + "@x>", strings.Repeat("a", 300) + "@x", "<" + strings.Repeat("a", 300) + "@x>", "", TokenTooLong},
		{`<a\`, `<a\`, `<a\`, "", "Unbalanced '<'"},
	} {
		p := ParsePath(tc.in)
		if string(p.Addr) != tc.addr || p.Text != tc.text || p.Rest != tc.rest || p.Problem != tc.problem {
			t.Errorf("%q: %+v, not %+v", tc.in, p, tc)
		}
	}
}

func TestParsePathOfAList(t *testing.T) {
	for in, want := range map[string]bool{"<g: bob;>": true, "<g:;>": true, "g: bob;": true, "<@a:b@c>": false, "<:include:/x>": false, "<a::b>": false, "<bob>": false, `<"a:b;"@c>`: false} {
		if p := ParsePath(in); p.Group != want {
			t.Errorf("%q: %v", in, p.Group)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"<a@b> SIZE=1", `<"a b"@c>`, "<<a>>", "(x) a", `a\`, "<a", "<a>,<b> x", "\" ", "<(>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := ParsePath(s)
		if whole := strings.TrimLeft(s, " \t"); p.Text+p.Rest != whole {
			t.Errorf("%q was cut into %q and %q", s, p.Text, p.Rest)
		}
		if strings.ContainsAny(string(p.Addr), " \t") && !strings.ContainsAny(string(p.Addr), `"\`) {
			t.Errorf("%q has a blank in its address %q", s, p.Addr)
		}
	})
}
