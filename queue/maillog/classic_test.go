package maillog

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"waybill/queue"
	"waybill/queue/dsn"
	"waybill/transport"
	"waybill/transport/envelope"
)

// The lines are those that sendmail 8.17.1 writes for the same mail.
func TestClassic(t *testing.T) {
	var out bytes.Buffer
	opt := Options{Tag: "sendmail", Host: "mail", Classic: &Classic{Default: "daemon", IDs: func(login string) string {
		return map[string]string{"root": "0/0", "bob": "1002/1002", "daemon": "1/1"}[login]
	}}}
	l := logTo(&stream{w: &out, opt: opt}, opt)
	local := &envelope.Envelope{Sender: "root", Origin: envelope.Origin{Protocol: "local", User: "root"}, Recipients: make([]envelope.Recipient, 2)}
	sent := func(o transport.Outcome, code, text, reply, kind string) transport.Status {
		s := transport.NewStatus(o, code, text)
		s.Reply, s.Diagnostic = reply, kind
		if kind == "smtp" {
			s.Remote = "sink.example.com [127.0.0.2]"
		}
		return s
	}
	l.Accepted(queue.Accepted{ID: "6AM1", Envelope: local, Size: 400, Given: 93, MessageID: "<a@b>"})
	ok := sent(transport.Relayed, "2.0.0", "accepted", "250 2.0.0 accepted", "smtp")
	for i, to := range []string{"erin@example.com", "dave@example.com"} {
		l.Tried(queue.Tried{ID: "6AM1", To: to, Mailer: "esmtp", Host: "example.com.", Status: ok, Sender: local, More: i == 0, Age: time.Second})
	}
	l.Tried(queue.Tried{ID: "6AM1", To: "bob", Mailer: "local", Status: sent(transport.Delivered, "2.0.0", "Sent", "", ""), Sender: local, Local: true, More: true})
	l.Tried(queue.Tried{ID: "6AM1", To: "|/bin/p", Orig: envelope.Recipient{Addr: "bob"}, As: "bob", Mailer: "prog", Status: sent(transport.Failed, "5.0.0", "no", "1", "x-unix"), Sender: local, More: true})
	l.Tried(queue.Tried{ID: "6AM1", To: "|/bin/p", Orig: envelope.Recipient{Addr: "prog"}, Mailer: "prog", Status: sent(transport.Deferred, "4.3.0", "prog mailer (/bin/sh) exited with EX_TEMPFAIL", "75", "x-unix"), Sender: local})
	l.Tried(queue.Tried{ID: "6AM3", To: "a@example.com", Mailer: "esmtp", Host: "example.com.", Status: sent(transport.Deferred, "4.2.0", "queued", "", ""), Sender: local, Queued: true, More: true})
	l.Tried(queue.Tried{ID: "6AM3", To: "b@example.com", Mailer: "esmtp", Host: "example.com.", Status: sent(transport.Deferred, "4.2.0", "queued", "", ""), Sender: local, Queued: true})
	literal := sent(transport.Relayed, "2.0.0", "accepted", "250 2.0.0 accepted", "smtp")
	literal.Remote = "[127.0.0.4]"
	l.Tried(queue.Tried{ID: "6AM3", To: "c@[127.0.0.4]", Mailer: "esmtp", Host: "[127.0.0.4]", Status: literal, Sender: local})
	l.Noticed(queue.Noticed{ID: "6AM1", New: "6AM2", Kind: dsn.Failure, Cause: "x", Status: sent(transport.Failed, "5.1.1", "no", "550 5.1.1 no such user here", "smtp")})
	l.Accepted(queue.Accepted{ID: "6AM2", Envelope: &envelope.Envelope{Origin: envelope.Origin{Protocol: "local", UID: -1}}})
	nobody := &envelope.Envelope{Sender: "root", Origin: envelope.Origin{Protocol: "local", User: "root"}, Anyway: true, Recipients: []envelope.Recipient{{Addr: "nobody"}}}
	missing := sent(transport.Failed, "5.1.1", "user unknown", "", "")
	missing.Exit = 67
	l.Accepted(queue.Accepted{ID: "6AM4", Envelope: nobody, Given: 9})
	l.Tried(queue.Tried{ID: "6AM4", To: "nobody", Mailer: "local", Status: missing, Sender: nobody, Local: true})
	l.Tried(queue.Tried{ID: "6AM5", To: "nobody", Mailer: "local", Status: missing, Sender: local, Local: true})
	refused := sent(transport.Failed, "5.6.0", "content rejected", "554 5.6.0 content rejected", "smtp")
	refused.Exit = 69
	l.Tried(queue.Tried{ID: "6AM5", To: "d@example.com", Mailer: "esmtp", Host: "example.com.", Status: refused, Sender: local})
	none := sent(transport.Failed, "5.1.10", "nullmx.test takes no mail (null MX)", "", "")
	none.Exit = 69
	l.Tried(queue.Tried{ID: "6AM5", To: "x@nullmx.test", Mailer: "esmtp", Host: "nullmx.test.", Status: none, Sender: local})
	l.Noticed(queue.Noticed{ID: "6AM5", New: "6AM6", Kind: dsn.Success, Cause: "x", About: "Return receipt"})
	want := `6AM1: from=root, size=93, class=0, nrcpts=2, msgid=<a@b>, relay=root@localhost
6AM1: to=erin@example.com,dave@example.com, ctladdr=root (0/0), delay=00:00:01, xdelay=00:00:00, mailer=esmtp, pri=0, relay=sink.example.com. [127.0.0.2], dsn=2.0.0, stat=Sent (accepted)
6AM1: to=bob, ctladdr=root (0/0), delay=00:00:00, xdelay=00:00:00, mailer=local, pri=0, dsn=2.0.0, stat=Sent
6AM1: to=|/bin/p, ctladdr=bob (1002/1002), delay=00:00:00, xdelay=00:00:00, mailer=prog, pri=0, dsn=5.3.0, stat=unknown mailer error 1
6AM1: to=|/bin/p, ctladdr=prog (1/0), delay=00:00:00, xdelay=00:00:00, mailer=prog, pri=0, dsn=4.0.0, stat=Deferred: prog mailer (/bin/sh) exited with EX_TEMPFAIL
6AM3: to=a@example.com,b@example.com, delay=00:00:00, mailer=esmtp, pri=0, stat=queued
6AM3: to=c@[127.0.0.4], ctladdr=root (0/0), delay=00:00:00, xdelay=00:00:00, mailer=esmtp, pri=0, relay=[127.0.0.4] [127.0.0.4], dsn=2.0.0, stat=Sent (accepted)
6AM1: 6AM2: DSN: User unknown
6AM4: nobody... User unknown
6AM4: to=nobody, delay=00:00:00, mailer=local, pri=0, dsn=5.1.1, reply=550 5.1.1 User unknown, stat=User unknown
6AM4: from=root, size=9, class=0, nrcpts=1, relay=root@localhost
6AM5: to=nobody, delay=00:00:00, mailer=local, pri=0, dsn=5.1.1, reply=550 5.1.1 User unknown, stat=User unknown
6AM5: to=d@example.com, ctladdr=root (0/0), delay=00:00:00, xdelay=00:00:00, mailer=esmtp, pri=0, relay=sink.example.com. [127.0.0.2], dsn=5.6.0, reply=554 5.6.0 content rejected, stat=Service unavailable
6AM5: to=x@nullmx.test, ctladdr=root (0/0), delay=00:00:00, xdelay=00:00:00, mailer=esmtp, pri=0, relay=nullmx.test., dsn=5.1.10, stat=Service unavailable
6AM5: 6AM6: DSN: Return receipt
`
	got := prefix.ReplaceAllString(out.String(), "")
	if strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
