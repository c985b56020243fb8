package submit

import (
	"strings"
	"testing"
)

// What the real sendmail does with odd headers and recipients, seen in runs of it beside ours.
func TestOddHeadersAsSendmailHasThem(t *testing.T) {
	bare := site()
	bare.Bare = true
	nameless := bare
	nameless.Nameless = true
	for _, c := range []struct {
		name, args, in string
		site           Site
		want           string // in what comes out
		refused        string
	}{
		{"two blanks continue a field", "bob", "Subject: x\n  \n continued\n\nbody\n", bare, "Subject: x\n continued\n\nbody\n", ""},
		{"two blanks and no more of the field", "bob", "Subject: x\n\t \nX: y\n\nbody\n", bare, "Subject: x\nX: y\n\nbody\n", ""},
		{"one blank does so, too", "bob", "Subject: x\n \n continued\nX: y\n\nbody\n", bare, "Subject: x\n continued\nX: y\n\nbody\n", ""},
		{"nobody on the list", "-t", "To: undisclosed-recipients:;\nSubject: x\n\n", bare, "To: undisclosed-recipients:;\n", "undisclosed-recipients:;... List:; syntax illegal for recipient addresses 64"},
		{"nobody on the list of an argument", "friends:;", "Subject: x\n\n", bare, "Subject: x\n", "friends:;... List:; syntax illegal for recipient addresses 64"},
		{"somebody on the list", "-t", "To: list: bob, dave@example.com;\n\n", bare, "To: list: bob, dave@example.com;\n", ""},
		{"nobody on the list, others named", "-t", "To: a@b.example, x:;, bob\n\n", bare, "", "x:;... List:; syntax illegal for recipient addresses 64"},
		{"nobody on the list, natively", "-t bob", "To: undisclosed-recipients:;\n\n", site(), "To: undisclosed-recipients:;\n", ""},
		{"a null client has no names", "-F X bob", "Subject: x\n\n", nameless, "\nFrom: <alice>\n", ""},
		{"a null client has no names for others", "-f bob bob", "Subject: x\n\n", nameless, "\nFrom: <bob>\n", ""},
	} {
		m, out, err := read(t, strings.Fields(c.args), c.in, alice, c.site)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var refused []string
		for _, r := range m.Refused {
			refused = append(refused, r.Name+"... "+r.Text+" "+map[int]string{64: "64"}[r.Exit])
		}
		if !strings.Contains("\n"+out, c.want) || strings.Join(refused, "|") != c.refused {
			t.Errorf("%s: refused %q\n%s", c.name, refused, out)
		}
	}
}
