package app

import (
	"strings"
	"testing"
)

func TestQuarantine(t *testing.T) {
	_, rules, _ := dropped(t, "", "dave@example.com", "carol@example.net")
	run := func(args ...string) string {
		t.Helper()
		var out, errs strings.Builder
		exit := Main(append([]string{"waybill", "--as", "sendmail", "-C" + rules}, args...), strings.NewReader("a message that nobody reads\n"), &out, &errs)
		if exit != 0 || errs.Len() > 0 {
			t.Fatalf("%q: exit %d, %s", args, exit, errs.String())
		}
		return out.String()
	}
	holds := func(listing string, want ...string) {
		t.Helper()
		for _, name := range []string{"dave@example.com", "carol@example.net"} {
			if strings.Contains(listing, name) != strings.Contains(strings.Join(want, " "), name) {
				t.Errorf("want %v in\n%s", want, listing)
			}
		}
	}
	if out := run("-Qspam", "-odq", "dave@example.com"); out != "" {
		t.Errorf("without -q: %q", out)
	}
	holds(run("-bp")) // it is for the whole queue, as with sendmail
	holds(run("-bp", "-qQ"), "dave@example.com", "carol@example.net")
	run("-Q", "-qQ")
	holds(run("-bp"), "dave@example.com", "carol@example.net")
	if out := run("-Qheld", "-qRcarol"); out != "" {
		t.Errorf("-Q says %q", out)
	}
	holds(run("-bp"), "dave@example.com")
	holds(run("-bp", "-qQ"), "carol@example.net")
	run("-Q", "-qQ")
	holds(run("-bp"), "dave@example.com", "carol@example.net")
	holds(run("-bp", "-qQ"))
	holds(run("-bp", "-qRdave"), "dave@example.com")
}
