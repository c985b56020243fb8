package cf

import (
	"slices"
	"strings"
	"testing"
)

// What sendmail 8.17 says of files that are none, observed: lines are counted by their ends, octets lose their eighth bit, and
// without a V line a number sign begins no comment.
func TestWordsAboutNonsense(t *testing.T) {
	old := "Warning: .cf file is out of date: sendmail 8.17.1.9 supports version 10, .cf file is version 0"
	for _, c := range []struct{ text, want string }{
		{"V10\nZlast \x96\xc5 $x\n Zcont", "f: line 2: unknown configuration line \"Zlast \x7f\x16E \x01x\n Zcont\""},
		{"V10\nZa\nZb\n c", "f: line 2: unknown configuration line \"Za\"|f: line 3: unknown configuration line \"Zb\n c\""},
		{"V10\nZa\n b\nZc\n\td\n\te\n\nZd\n", "f: line 3: unknown configuration line \"Za\n b\"|f: line 6: unknown configuration line \"Zc\n\td\n\te\"|f: line 8: unknown configuration line \"Zd\""},
		{"Zb", "f: line 0: unknown configuration line \"Zb\"|" + old},
		{"Zab#c\n", "f: line 1: unknown configuration line \"Zab#c\"|" + old},
		{"V3\nZab#c\n", "f: line 2: unknown configuration line \"Zab\"|" + strings.Replace(old, "version 0", "version 3", 1)},
		{"V10\nRx\nRx y\nSa\nRx\n", "f: line 2: missing valid ruleset for \"Rx\"|f: line 3: missing valid ruleset for \"Rx y\"|f: line 5: invalid rewrite line \"Rx\" (tab expected)"},
		{"V10\nZ\x80b\nZ\xffc\n", "f: line 2: unknown configuration line \"Z\x7f|f: line 3: unknown configuration line \"Z\x7f\x7fc\""},
	} {
		conf, err := Read(strings.NewReader(c.text), "f", Options{NoFiles: true})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range conf.Messages {
			got = append(got, m.String())
		}
		if want := append(strings.Split(c.want, "|"), "No local mailer defined"); !slices.Equal(got, want) {
			t.Errorf("%q:\n got %q\nwant %q", c.text, got, want)
		}
	}
}
