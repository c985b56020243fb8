package crack

import "testing"

// What sendmail 8.17.1 leaves around an address, seen in messages that it sent.
func TestCrack(t *testing.T) {
	for in, want := range map[string]string{
		"bob":                         "$g",
		"Bob B <bob>":                 "Bob B <$g>",
		"A. B. Smith <a@example.org>": `"A. B. Smith" <$g>`,
		"O'Neil <a@example.org>":      `"O'Neil" <$g>`,
		`Carol "CC" Example <carol>`:  `Carol "CC" Example <$g>`,
		`"Last, First" <x@y>`:         `"Last, First" <$g>`,
		"bob (The Bob)":               "$g (The Bob)",
		"A (B <a@example.org>":        "$g (B <a@example.org>)",
		"friends: bob":                "friends: $g",
		"carol@localhost;":            "$g;",
		`<"">`:                        "<>",
		"One <>":                      "One <>",
		";<a@b>":                      `";"<$g>`,
		"x; y <a@b>":                  `"x; y" <$g>`,
		"(y); (x)":                    "(y);$g (x)",
		"(y) (w); (x)":                "(y) $g (w); (x)",
		"a; ;b;(c)":                   "$g;;; (c)",
		`"";(x)`:                      ";$g (x)",
		"a ((b":                       "$g ((b))",
		`(me\)`:                       `(me\))`,
		"<z> (a(b":                    "<$g> (a(b))",
		`<z>;"`:                       `<$g>;""`,
		`<z> (a) "b" (c)`:             "<$g>",
		`x.y <z> "b" <c>`:             "<$g>",
		"x<z>)":                       "x<$g>",
		"x <z>: b":                    "x <z>: $g",
		`(c) ""`:                      "(c) $g",
		`""(in)@(side)x`:              "(in) $g (side)",
		`group: "";`:                  "group: ;$g",
		`g:""`:                        "g:",
		`""(c)`:                       "(c)",
		`"" (c)`:                      "$g (c)",
		`g: "" ;`:                     "g: $g;",
		`(z)""(a)x`:                   "(z) (a) $g",
		`""""(c)x`:                    "(c) $g",
		"a<b>c:.d":                    "a<$g>c::.d",
		"x <(in)@(side)>":             "x < (in) $g (side)>",
		"<(c)a@b>":                    "< (c) $g>",
		"<(c)>":                       "< (c)>",
		"x<(a) (b) x>":                "x< (a) $g (b)>",
		"x<(a)(b)x>":                  "x< (a) (b) $g>",
		"a]@[b:c]":                    `"a]@[b":$g`,
		"]:x":                         `"]":$g`,
		"a<b>c::d":                    "a<$g>c:::d",
	} {
		if got := Crack(in, Options{MustQuote: DefaultMustQuote}).Template(); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// FuzzCrack: it ends, and an address is put in once at most.
func FuzzCrack(f *testing.F) {
	f.Add(`"a" <b@c> (d)`)
	f.Add("x:y;z")
	f.Fuzz(func(t *testing.T, s string) {
		c := Crack(s, Options{MustQuote: DefaultMustQuote})
		if got := c.Around("\x00"); c.address != (len(got) == len(c.before)+len(c.after)+1) {
			t.Errorf("%q: %q", s, got)
		}
	})
}
