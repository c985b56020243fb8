package newaliases

import (
	"fmt"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	const p = "postmaster: root\nMAILER-DAEMON: postmaster\n" // 2 aliases, longest 10, 37 octets
	local := func(name string) (string, bool) {
		user, host, at := strings.Cut(name, "@")
		return user, at && host == "here"
	}
	for _, c := range []struct {
		file, want string
		exit       int
	}{
		{"a: bob\n", "3/10/41", 0},
		{"a: bob # x\n\n# c\n", "3/10/45", 0},
		{"a: bob,\n carol,\n\tdave\nb: x\n", "4/16/56", 0}, // the white space in front counts
		{"a: bob,\n\n carol\nb: x\n", "4/10/44 line 3: Non-continuation line starts with space", 70},
		{"a: bob,\n# c\n carol\n", "3/10/42 line 3: Non-continuation line starts with space", 70},
		{"  x: bob\n", "2/10/37 line 1: Non-continuation line starts with space", 70},
		{"a: bob\r\nb: carol\r\n", "4/10/49", 0},
		{"a: bob\nA: carol\n", "4/10/47 line 2: A... Warning: duplicate alias name a", 0},
		{"team bob\n", "2/10/37 line 1: missing colon", 70},
		{"a:\nb: bob\n", "3/10/41 line 1: a:... missing value for alias", 70},
		{":include:/x: bob\n", "2/10/37 line 1: :include:/x: bob... illegal alias name", 70},
		{"a@@b: bob\n", "2/10/37 line 1: a@@b... Invalid route address line 1: a@@b... cannot alias non-local names", 64},
		{"x@there: bob\n", "2/10/37 line 1: x@there... cannot alias non-local names", 70},
		{"|x: bob\n/x: bob\n", "2/10/37 line 1: |x... cannot alias non-local names line 2: /x... cannot alias non-local names", 70},
		{"x@here: bob\n", "3/10/41", 0},
		{"\"x,y\": bob\n\"a:b\": carol\n", "4/10/55", 0},
		{"a: c@@d, carol\nb: <x\nc: |/bin/p, :include:/l, \\bob, \"|p a\"\n", "5/34/87 line 1: c@@d, carol... Invalid route address line 2: <x... Unbalanced '<'", 64},
	} {
		r, err := Reader{Local: local, Members: true}.Read(strings.NewReader(c.file+p), "f")
		got := fmt.Sprintf("%d/%d/%d", r.Aliases, r.Longest, r.Total)
		for _, w := range r.Complaints {
			got += " " + strings.TrimPrefix(w.Text, "f: ")
		}
		if err != nil || got != c.want || r.Exit != c.exit {
			t.Errorf("%q:\ngot  %s, exit %d, %v\nwant %s, exit %d", c.file, got, r.Exit, err, c.want, c.exit)
		}
	}
	r, _ := Reader{}.Read(strings.NewReader(p+"a: a@@b"), "f")
	if got := r.Summary("f"); got != "f: 3 aliases, longest 10 bytes, 42 bytes total" || len(r.Complaints) != 0 {
		t.Errorf("got %s, %v", got, r.Complaints)
	}
}
