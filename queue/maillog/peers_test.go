package maillog_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"waybill/queue/maillog"
	"waybill/transport"
	"waybill/transport/envelope"
)

// sampleLog writes a day's log as the daemon does.
func sampleLog(t *testing.T) string {
	file := filepath.Join(t.TempDir(), "mail.log")
	l, err := maillog.Open(file, maillog.Options{Host: "mail.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	attacker := maillog.Relay(envelope.Origin{ClientName: "client.example.net", ClientAddr: "192.0.2.7"})
	attacker6 := maillog.Relay(envelope.Origin{ClientName: "[2001:db8::7]", ClientAddr: "2001:db8::7"})
	reject := func(id, arg, relay, text string) {
		l.Reject(maillog.Reject{ID: id, Ruleset: "check_rcpt", Arg: arg, Relay: relay, Text: text})
	}
	reject("6ALMsB00000001", "<x@example.com>", attacker, "550 5.7.1 <x@example.com>... Relaying denied. Proper authentication required.")
	reject("", "<nosuch@example.org>", attacker, "550 5.1.1 <nosuch@example.org>... User unknown")
	reject("6ALMsB00000002", "<nosuch@example.org>", attacker6, "550 5.1.1 <nosuch@example.org>... User unknown")
	mx := func(o transport.Outcome, code, text, reply string) transport.Status {
		s := transport.NewStatus(o, code, text)
		s.Remote, s.Reply = "mx.example.com. [192.0.2.1]", reply
		return s
	}
	send := func(id string, s transport.Status) {
		l.From(maillog.From{Envelope: &envelope.Envelope{ID: id, Sender: "alice@example.org", Recipients: []envelope.Recipient{{Addr: "bob@example.com"}},
			Origin: envelope.Origin{Protocol: "local", User: "alice"}}, Size: 2000, MessageID: "<" + id + "@mail.example.org>"})
		l.To(maillog.To{ID: id, Recipients: []string{"bob@example.com"}, Delay: 2 * time.Second, XDelay: time.Second, Mailer: "esmtp", Priority: 32000, Status: s})
	}
	send("6ALMsB00000010", mx(transport.Relayed, "2.0.0", "ok", "250 2.0.0 Ok: queued as 4F1"))
	send("6ALMsB00000011", mx(transport.Relayed, "2.0.0", "ok", "250 2.0.0 Ok: queued as 4F2"))
	send("6ALMsB00000012", mx(transport.Failed, "5.1.1", "no such user", "550 5.1.1 <bob@example.com>: unknown"))
	send("6ALMsB00000013", mx(transport.Deferred, "4.4.1", "Connection refused by mx.example.com.", ""))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestFail2banReadsIt runs Debian's sendmail-reject filter over the log: all three refusals count, nothing else.
func TestFail2banReadsIt(t *testing.T) {
	out, err := exec.Command("fail2ban-regex", sampleLog(t), "sendmail-reject").CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Fatalf("fail2ban: %v (make peers installs what the tests need)", err)
	}
	if !regexp.MustCompile(`(?m)^Lines: 11 lines, 0 ignored, 3 matched, 8 missed`).Match(out) {
		t.Errorf("fail2ban says\n%s", out)
	}
}

// TestLogwatchReadsIt runs the sendmail report of logwatch over the log: it counts what was sent, and finds no line
// that it does not know.
func TestLogwatchReadsIt(t *testing.T) {
	file := sampleLog(t)
	const script = `sed 's/^.*sendmail\[[0-9]*\]: //' "$0" | PERL5LIB=/usr/share/logwatch/lib LOGWATCH_DETAIL_LEVEL=10 perl /usr/share/logwatch/scripts/services/sendmail`
	out, err := exec.Command("sh", "-ec", script, file).CombinedOutput()
	if err != nil {
		t.Fatalf("logwatch: %v (make peers installs what the tests need)\n%s", err, out)
	}
	text := string(out)
	for _, want := range []string{"Messages To Recipients: *4", "Addressed Recipients: *4", "Bytes Transferred: *8,000|Bytes Transferred: *8000"} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Contains(text, "Unmatched") {
		t.Errorf("logwatch does not know some lines:\n%s", text)
	}
}
