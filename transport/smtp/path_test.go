package smtp

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestForwardPath(t *testing.T) {
	label := strings.Repeat("d", 63)
	for _, c := range []struct{ in, addr, rest string }{
		{"<bob@example.org>", "bob@example.org", ""},
		{"<bob@example.org> NOTIFY=NEVER", "bob@example.org", " NOTIFY=NEVER"},
		{"<postmaster>", "postmaster", ""},
		{"<PoStMaStEr>", "PoStMaStEr", ""},
		{" <bob@example.org>", "bob@example.org", ""}, // as sendmail
		{"bob", "bob", ""},
		{"bob@example.org SIZE=3", "bob@example.org", " SIZE=3"},
		{"<@a.test,@b.test:bob@example.org>", "bob@example.org", ""},
		{"<@[127.0.0.1]:bob@example.org>", "bob@example.org", ""},
		{`<"bob"@example.org>`, "bob@example.org", ""},
		{`<"b\ob"@example.org>`, "bob@example.org", ""},
		{`<"bob smith"@example.org>`, `"bob smith"@example.org`, ""},
		{`<"a@b"@example.org>`, `"a@b"@example.org`, ""},
		{`<"a\"\\b"@example.org>`, `"a\"\\b"@example.org`, ""},
		{`<".bob"@example.org>`, `".bob"@example.org`, ""},
		{"<bob@[192.0.2.1]>", "bob@[192.0.2.1]", ""},
		{"<bob@[IPv6:2001:db8::1]>", "bob@[IPv6:2001:db8::1]", ""},
		{"<a!b!bob@example.org>", "a!b!bob@example.org", ""},
		{"<bob%a.test@my_host.test>", "bob%a.test@my_host.test", ""},
		{"<bob@" + label + ".test>", "bob@" + label + ".test", ""},
		{"<b\u00f6b@ex\u00e4mple.org>", "b\u00f6b@ex\u00e4mple.org", ""},
	} {
		p, rest, err := ParseForwardPath(c.in)
		if err != nil || string(p.Addr) != c.addr || rest != c.rest {
			t.Errorf("%s: got %q, rest %q, %v", c.in, p.Addr, rest, err)
		}
		if p.UTF8 != !isASCII(c.in) {
			t.Errorf("%s: UTF8 is %v", c.in, p.UTF8)
		}
	}
}

func TestForwardPathRefuses(t *testing.T) {
	for in, want := range map[string]error{
		"":                           errEmptyPath,
		"<>":                         errNullRcpt,
		"< bob@example.org>":         errLocalPart,
		"<bob@example.org":           errNoBracket,
		"<<bob@example.org>>":        errLocalPart,
		"<bob@example.org>x":         errAfterPath,
		"<bob@example.org> ":         nil,
		"<bob@>":                     errDomain,
		"<@example.org>":             errRoute,
		"<@>":                        errRoute,
		"<.>":                        errLocalPart,
		"<bob@.example.org>":         errDomain,
		"<bob@example..org>":         errDomain,
		"<bob@example.org.>":         errDomain,
		"<bob@-example.org>":         errDomain,
		"<bob@example-.org>":         errDomain,
		"<bob@example-:x>":           errDomain,
		"<.bob@example.org>":         errLocalPart,
		"<b..ob@example.org>":        errLocalPart,
		"<bob.@example.org>":         errLocalPart,
		"<bob@[>":                    errLiteral,
		"<bob@[999.1.1.1]>":          errLiteral,
		"<bob@[::1]>":                errLiteral,
		"<bob@[IPv6:1.2.3.4]>":       errLiteral,
		"<bob@[IPv6:fe80::1%eth0]>":  errLiteral,
		`<"bob@example.org>`:         errLocalPart,
		`<bob@example.org">`:         errNoBracket,
		`<"bob\`:                     errLocalPart,
		`<bob\>`:                     errNoBracket,
		`<""@example.org>`:           errLocalPart,
		"<b ob@example.org>":         errNoBracket,
		"<bob@exa mple.org>":         errNoBracket,
		"<bo\x7fb@example.org>":      errControl,
		"<bo\tb@example.org>":        errControl,
		"<bo\x00b@example.org>":      errControl,
		"<\"bo\rb\"@example.org>":    errControl,
		"<\"bo\\\nb\"@example.org>":  errControl,
		"<bob@example.org\x00.evil>": errControl,
		"<bob@example.org(>":         errNoBracket,
		"<bob(comment)@example.org>": errNoBracket,
		"<a@b@example.org>":          errNoBracket,
		`<a\@b@example.org>`:         errNoBracket,
		"<a@b.test,c@d.test>":        errNoBracket,
		"<group:a@b.test;>":          errNoBracket,
		"<;touch /tmp/x;>":           errLocalPart,
		"<a@b.test;touch>":           errNoBracket,
		"<a@b.test> <c@d.test>":      nil, // the parameter parser refuses the rest
		"<bob@" + strings.Repeat("d", 64) + ".test>":               errDomainLength,
		"<bob@" + strings.Repeat("d.", 200) + "test>":              errDomainLength,
		"<" + strings.Repeat("b", 256) + "@example.org>":           errLocalLength,
		"<" + strings.Repeat("@a.test,", 65) + "@a.test:b@c.test>": errRoute,
		"<b\xf6b@example.org>":                                     errUTF8,
		"<b\xc0\xafb@example.org>":                                 errUTF8,
		"<b\xed\xa0\x80b@example.org>":                             errUTF8,
		"<b\xf4\x90\x80\x80b@x.org>":                               errUTF8,
		"<b\xc2\x85b@example.org>":                                 errControl,
		"<bob@ex\u2028ample.org>":                                  errControl,
		"bob@example.org\tSIZE=3":                                  errControl,
	} {
		if _, _, err := ParseForwardPath(in); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", in, err, want)
		}
	}
}

func TestReversePath(t *testing.T) {
	p, rest, err := ParseReversePath("<> BODY=8BITMIME")
	if err != nil || !p.Addr.Null() || rest != " BODY=8BITMIME" {
		t.Errorf("null sender: %q, rest %q, %v", p.Addr, rest, err)
	}
	if _, _, err := ParseReversePath("<>x"); err == nil {
		t.Error("text after the null path passed")
	}
}

func TestValidHelo(t *testing.T) {
	for name, want := range map[string]bool{
		"client.test": true, "localhost": true, "my_pc": true, "[127.0.0.9]": true, "[IPv6:2001:db8::1]": true,
		"": false, "......": false, "x(y": false, "<x@y>": false, "a b": false, "[999.1.1.1]": false, "[IPv6:zz::g]": false,
		"h\u00e9.test": false, "x\x00y": false, "$(touch x)": false, "%s%n": false, strings.Repeat("h", 1000): false, "[127.0.0.9]x": false,
	} {
		if ValidHelo(name, false) != want {
			t.Errorf("%q should be %v", name, want)
		}
	}
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// What the parser lets through holds nothing that could hurt behind it, and reads back as itself.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"<a@b.c>", "<>", `<"a b"@c>`, "<@x,@y:a@b> SIZE=1", "bob", "<a@[IPv6:::1]>", `<"\"\\"@b>`, "<\u00e9@\u00e9>", "<postmaster>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, rest, err := ParseReversePath(s)
		if _, _, err2 := ParseForwardPath(s); err2 == nil && (err != nil || p.Addr == "") {
			t.Fatalf("%q is a forward path only", s)
		}
		if err != nil || p.Addr == "" {
			return
		}
		if rest != "" && rest[0] != ' ' || !strings.HasSuffix(s, rest) {
			t.Fatalf("%q: rest %q", s, rest)
		}
		if !utf8.ValidString(string(p.Addr)) || strings.ContainsAny(string(p.Addr), "\r\n\x00\x1b\x7f") || p.UTF8 != !isASCII(string(p.Addr)) {
			t.Fatalf("%q: %q passed", s, p.Addr)
		}
		again, rest, err := ParseForwardPath("<" + string(p.Addr) + ">")
		if err != nil || rest != "" || again != p {
			t.Fatalf("%q: %q is read back as %q, %v", s, p.Addr, again.Addr, err)
		}
		local, domain := p.Addr.Split()
		if local == "" || domain != "" && string(p.Addr) != local+"@"+domain {
			t.Fatalf("%q splits into %q and %q", p.Addr, local, domain)
		}
	})
}
