package lexeme

import "testing"

func TestEnds(t *testing.T) {
	for _, c := range []struct {
		find func(string, int) int
		text string
		want int
	}{
		{QuoteEnd, `"a b" c"`, 4},
		{QuoteEnd, `"a\"b" c`, 5},
		{QuoteEnd, `"a\\" c"`, 4},
		{QuoteEnd, `"open`, -1},
		{QuoteEnd, `"open\"`, -1},
		{QuoteEnd, `"`, -1},
		{QuoteEnd, `"\`, -1},
		{CommentEnd, `(a (b) c) d)`, 8},
		{CommentEnd, `(a \) b)`, 7},
		{CommentEnd, `(a " b) c"`, 6},
		{CommentEnd, `(a (b)`, -1},
		{CommentEnd, `(\`, -1},
		{AngleEnd, `<a@b> >`, 4},
		{AngleEnd, `<"a>b"@c>`, 8},
		{AngleEnd, `<a\>b>`, 5},
		{AngleEnd, `<"a>`, -1},
		{AngleEnd, `<a`, -1},
	} {
		if got := c.find(c.text, 0); got != c.want {
			t.Errorf("%s ends at %d, want %d", c.text, got, c.want)
		}
	}
}

func TestWithoutComments(t *testing.T) {
	for text, want := range map[string]string{
		"":                  "",
		"a@b":               "a@b",
		"(x) a@b (y (z)) c": " a@b  c",
		`"(a)" b(c)`:        `"(a)" b`,
		`a\(b (c)`:          `a\(b `,
		`a (b\) c) d`:       `a  d`,
		`a (open`:           "a ",
		`a) b`:              "a) b",
		`a ("b) c`:          "a  c",
		`\`:                 `\`,
	} {
		if got := WithoutComments(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func FuzzWithoutComments(f *testing.F) {
	f.Add(`"a(" (b (c\)) d) <e>`)
	f.Fuzz(func(t *testing.T, text string) {
		once := WithoutComments(text)
		if len(once) > len(text) {
			t.Fatalf("%q grew to %q", text, once)
		}
		for _, find := range []func(string, int) int{QuoteEnd, CommentEnd, AngleEnd} {
			if end := find(text, 0); end >= len(text) {
				t.Fatalf("%q ends at %d", text, end)
			}
		}
	})
}
