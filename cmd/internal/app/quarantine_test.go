package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill/etc"
	"waybill/queue/spool"
	"waybill/transport/envelope"
)

func TestQuarantine(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"spool", "spool/drop"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	rules := filepath.Join(dir, "site.rules")
	text := "host mx.example.org\nspool " + dir + "/spool\nset log " + dir + "/log\n" + string(etc.DefaultRules())
	if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, to := range []envelope.Address{"dave@example.com", "carol@example.net"} {
		e := &envelope.Envelope{Sender: "bob@example.org", Recipients: []envelope.Recipient{{Addr: to}}, When: envelope.WhenQueue}
		if _, err := spool.Drop(filepath.Join(dir, "spool"), e, strings.NewReader("Subject: x\n\nb\n")); err != nil {
			t.Fatal(err)
		}
	}
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
