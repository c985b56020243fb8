package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A damaged message is set aside by a queue run, and then shown by mailq -qL and by waybill queue lost.
func TestLostMessagesAreListed(t *testing.T) {
	dir, rules, ids := dropped(t, "", "dave@[127.0.0.9]")
	id := ids["dave@[127.0.0.9]"]
	run := func(args ...string) string {
		t.Helper()
		var out, errs strings.Builder
		if exit := Main(append([]string{"waybill"}, args...), strings.NewReader(""), &out, &errs); exit != 0 {
			t.Fatalf("%q: exit %d, %s", args, exit, errs.String())
		}
		return out.String()
	}
	mailq := func(args ...string) string {
		return run(append([]string{"--as", "sendmail", "-C" + rules, "-bp"}, args...)...)
	}
	run("queue", "-C", rules, "run")
	if out := mailq(); !strings.Contains(out, id) {
		t.Fatalf("%s is not in the queue:\n%s", id, out)
	}
	if out := mailq("-qL"); strings.Contains(out, id) {
		t.Errorf("a sound message is lost:\n%s", out)
	}
	file := filepath.Join(dir, "spool", "queue", id)
	octets, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	copy(octets[60:], "garbage")
	if err := os.WriteFile(file, octets, 0o600); err != nil {
		t.Fatal(err)
	}
	run("queue", "-C", rules, "run")
	if out := mailq(); strings.Contains(out, id) {
		t.Errorf("a damaged message is still in the queue:\n%s", out)
	}
	if out := mailq("-qL"); !strings.Contains(out, id) || !strings.Contains(out, "Total requests: 1\n") {
		t.Errorf("mailq -qL does not show %s:\n%s", id, out)
	}
	if out := run("queue", "-C", rules, "lost"); !strings.Contains(out, filepath.Join(dir, "spool", "bad", id)) {
		t.Errorf("waybill queue lost does not show %s:\n%s", id, out)
	}
}
