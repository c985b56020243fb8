package expand

import (
	"fmt"
	"strings"
	"testing"
)

func show(items []Item) string {
	var all []string
	for _, i := range items {
		switch {
		case i.Command != "":
			all = append(all, "command{"+string(i.Command)+"}")
		case i.File != "":
			all = append(all, "file{"+string(i.File)+"}")
		case i.Include != "":
			all = append(all, "include{"+i.Include+"}")
		case i.Final:
			all = append(all, "final{"+string(i.Addr)+"}")
		default:
			all = append(all, "{"+string(i.Addr)+"}")
		}
	}
	return strings.Join(all, " ")
}

func TestParseList(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{" , ,", ""},
		{"bob", "{bob}"},
		{"bob, carol@example.org,dave", "{bob} {carol@example.org} {dave}"},
		{"bob\n\t,carol", "{bob} {carol}"},
		{`\bob`, "final{bob}"},
		{`\bob, "|/usr/bin/vacation bob"`, "final{bob} command{/usr/bin/vacation bob}"},
		{`|/bin/x -a`, "command{/bin/x -a}"},
		{`|/bin/x -a, bob`, "command{/bin/x -a} {bob}"},
		{`"|/bin/x -a, b", bob`, "command{/bin/x -a, b} {bob}"},
		{`"|/bin/x \"a b\" \\n"`, `command{/bin/x "a b" \n}`},
		{`|"/bin/x a, b", bob`, `command{"/bin/x a, b"} {bob}`},
		{`"|IFS=' ' && exec /usr/bin/procmail -f- || exit 75 #bob"`, `command{IFS=' ' && exec /usr/bin/procmail -f- || exit 75 #bob}`},
		{`|/bin/x (a) <b>; c:d`, `command{/bin/x (a) <b>; c:d}`},
		{"/var/mail/archive", "file{/var/mail/archive}"},
		{`"/var/mail/with blank"`, "file{/var/mail/with blank}"},
		{"/c=us/s=x/@gateway", "{/c=us/s=x/@gateway}"},
		{":include:/etc/list", "include{/etc/list}"},
		{":include: /etc/list, bob", "include{/etc/list} {bob}"},
		{`":include:/etc/list, with comma"`, "include{/etc/list, with comma}"},
		{"Bob Smith <bob@example.org>, carol", "{bob@example.org} {carol}"},
		{`"Smith, Bob" <bob@example.org>`, "{bob@example.org}"},
		{"bob (the builder, (nested) one), carol", "{bob} {carol}"},
		{"friends: bob, carol; dave", "{bob} {carol} {dave}"},
		{"friends:; dave", "{dave}"},
		{"a:b", "{a:b}"},
		{"error:nouser unknown here", "{error:nouser unknown here}"},
		{`"bob smith"`, `{"bob smith"}`},
		{`"bob smith"@example.org`, `{"bob smith"@example.org}`},
		{`"|x"@example.org`, `{"|x"@example.org}`},
		{`"/etc/passwd"@example.org`, `{"/etc/passwd"@example.org}`},
		{"<@a,@b:c@d>", "{@a,@b:c@d}"},
		{"a!b!c, d%e@f", "{a!b!c} {d%e@f}"},
		{"bob # comment", "{bob # comment}"},
		{`bob\,smith`, `{bob\,smith}`},
		{`a;b`, `{a;b}`},
	} {
		items, err := ParseList(c.in)
		if got := show(items); err != nil || got != c.want {
			t.Errorf("%q: %s %v, want %s", c.in, got, err, c.want)
		}
	}
	for _, in := range []string{`"bob`, "bob)", "(bob", "<bob", "bob>", "|", `"|"`, `"| "`, `|""`, `|" "`, ":include:etc/list", ":include:", "<>", `\`, "a\x01b", "|a\x01b", strings.Repeat("x", 5000)} {
		if items, err := ParseList(in); err == nil {
			t.Errorf("%.60q: %s, want an error", in, show(items))
		}
	}
}

func FuzzParseList(f *testing.F) {
	for _, s := range []string{`"|/bin/x \"a, b\"", \bob, :include:/x`, "g: a, b;, c", "Bob (x) <@a,@b:c@d>", `"a\"b"@c`, `|"a,b"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		items, err := ParseList(text)
		if err != nil && items != nil {
			t.Error("items and an error")
		}
		for _, i := range items {
			n := 0
			for _, s := range []string{string(i.Addr), string(i.Command), string(i.File), i.Include} {
				if s != "" {
					n++
				}
				if strings.ContainsAny(s, "\n\x00\x7f") {
					t.Errorf("%q gives control characters: %q", text, s)
				}
			}
			if n != 1 {
				t.Errorf("%q gives an item with %d parts: %v", text, n, fmt.Sprint(i))
			}
			if i.File != "" && i.File[0] != '/' || i.Include != "" && i.Include[0] != '/' {
				t.Errorf("%q gives a relative path: %v", text, i)
			}
		}
	})
}
