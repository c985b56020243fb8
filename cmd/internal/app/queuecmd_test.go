package app

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"waybill/etc"
	"waybill/queue"
	"waybill/queue/spool"
	"waybill/transport/envelope"
)

// dropped is a site of the default rules, and what else, with a message dropped for each of the addresses.
func dropped(t *testing.T, more string, to ...envelope.Address) (dir, rules string, ids map[envelope.Address]string) {
	t.Helper()
	dir = t.TempDir()
	for _, d := range []string{"spool", "spool/drop"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	rules = filepath.Join(dir, "site.rules")
	text := "host mx.example.org\nspool " + dir + "/spool\nset log " + dir + "/log\n" + string(etc.DefaultRules()) + more
	if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ids = map[envelope.Address]string{}
	for _, to := range to {
		e := &envelope.Envelope{Sender: to[:1] + "@example.org", Recipients: []envelope.Recipient{{Addr: to}}, When: envelope.WhenQueue}
		id, err := spool.Drop(filepath.Join(dir, "spool"), e, strings.NewReader("Subject: x\n\nb\n"))
		if err != nil {
			t.Fatal(err)
		}
		ids[to] = id
	}
	return dir, rules, ids
}

// queueSite is a site whose hosts refuse connections, with messages in its queue.
func queueSite(t *testing.T) (run func(exit int, args ...string) (out, errs string), ids map[string]string) {
	_, file, all := dropped(t, "\nschedule { host is [127.0.0.9] => retry 2h give-up 1d }\n", "dave@[127.0.0.9]", "carol@[127.0.0.10]")
	ids = map[string]string{}
	for to, id := range all {
		local, _ := to.Split()
		ids[local] = id
	}
	return func(want int, args ...string) (string, string) {
		t.Helper()
		args = append([]string{"waybill", args[0], "-C", file}, args[1:]...)
		var out, errs strings.Builder
		if exit := Main(args, strings.NewReader(""), &out, &errs); exit != want {
			t.Fatalf("%q: exit %d, want %d: %s%s", args, exit, want, out.String(), errs.String())
		}
		return out.String(), errs.String()
	}, ids
}

func TestQueueCommands(t *testing.T) {
	run, ids := queueSite(t)
	listed := func(want string, args ...string) {
		t.Helper()
		out, _ := run(0, append([]string{"queue", "list", "--json"}, args...)...)
		var got []string
		for name, id := range ids {
			if strings.Contains(out, id) {
				got = append(got, name)
			}
		}
		if len(got) > 1 {
			got = []string{"both"}
		}
		if strings.Join(got, "") != want {
			t.Errorf("list %q: %v, want %s\n%s", args, got, want, out)
		}
	}
	says := func(want string, exit int, args ...string) {
		t.Helper()
		out, errs := run(exit, append([]string{"queue"}, args...)...)
		if !regexp.MustCompile(want).MatchString(out + errs) {
			t.Errorf("queue %q: %q, want %q", args, out+errs, want)
		}
	}
	says("", 0, "run")
	listed("both")
	listed("dave", "--rcpt", "dave")
	listed("carol", "--rcpt", "!dave")
	listed("carol", "--host", "[127.0.0.10]")
	listed("dave", "--from", "d@")
	listed("both", "--reason", "refused", "--mailer", "esmtp")
	listed("", "--older", "1h")
	listed("both", "--younger", "1h", "--all")
	listed("dave", ids["dave"])
	says("^waybill: kAK31Xxp000001: there is no such message in the queue\n$", 66, "remove", "kAK31Xxp000001")
	says("^waybill: no message is selected\n$", 66, "hold", "--older", "3d")
	says("needs queue ids or a selection", 64, "hold")
	says("is no age", 64, "hold", "--older", "3y")
	says("^1 message is held\n$", 0, "hold", "--rcpt", "carol", "--why", "looks like spam")
	says("QUARANTINE: looks like spam\n", 0, "list")
	says("it is held\n$", 66, "hold", ids["carol"])
	says("it is in the queue\n$", 66, "release", ids["dave"])
	says("^1 message is released\n$", 0, "release", "--all")
	says("^2 messages are given priority 40\n$", 0, "priority", "40", "--all")
	says("^1 message is given priority -5\n$", 0, "priority", "-5", ids["dave"])
	says("^1 message is queued anew\n$", 0, "requeue", "--host", "[127.0.0.9]")
	listed("dave", "--reason", "queued anew")
	says("it is for whole|for whole messages", 64, "hold", "--recipient", "carol@[127.0.0.10]")
	says("^waybill: no message is selected\n$", 66, "remove", "--recipient", "nobody@example.org")
	says("^1 message is without that recipient now\n$", 0, "remove", "--recipient", "carol@[127.0.0.10]")
	listed("dave")
}

func TestExplainMessage(t *testing.T) {
	run, ids := queueSite(t)
	if out, _ := run(0, "explain", "dave@[127.0.0.9]"); !regexp.MustCompile(`(?m)^schedule \(.*\): retry 2h give-up 1d\n  .*site.rules:[0-9]+: host is`).MatchString(out) {
		t.Errorf("no schedule in\n%s", out)
	}
	run(0, "queue", "run")
	out, _ := run(0, "explain", ids["dave"])
	for _, want := range []string{
		"from <d@example.org>", "It was tried once, ", "The next attempt is in ", "dave@[127.0.0.9]\n", "Not delivered yet by esmtp to [127.0.0.9]", "4.4.1 Connection refused",
		"The rules give it to esmtp for dave@[127.0.0.9] at [127.0.0.9].", "Given up at ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	out, _ = run(0, "explain", "--json", ids["dave"])
	var d queue.Detail
	if err := json.Unmarshal([]byte(out), &d); err != nil || d.ID != ids["dave"] || len(d.Recipients) != 1 || d.Recipients[0].Code != "4.4.1" {
		t.Errorf("%v in %s", err, out)
	}
	if wait := d.Recipients[0].GiveUp.Sub(d.Arrival).Hours(); wait < 23 || wait > 25 { // the schedule block says a day
		t.Errorf("given up after %v hours", wait)
	}
	if wait := d.NextTry.Sub(d.LastTry).Minutes(); wait < 100 || wait > 140 {
		t.Errorf("the next attempt after %v minutes", wait)
	}
	run(0, "queue", "remove", ids["dave"])
	if out, _ = run(0, "explain", ids["dave"]); !strings.Contains(out, "is not in the queue any more") || !strings.Contains(out, "stat=Deferred") || !strings.Contains(out, "removed by") {
		t.Errorf("of a message that is gone:\n%s", out)
	}
	if _, errs := run(66, "explain", "kAK31Xxp000001"); !strings.Contains(errs, "knows nothing of it") {
		t.Errorf("of a message that never was: %s", errs)
	}
}
