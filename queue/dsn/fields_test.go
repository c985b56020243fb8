package dsn

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"waybill/transport"
	"waybill/transport/envelope"
)

// What RFC 3464 2.2 and 2.3 say of the fields: in this order here, and in which form.
var (
	perMessage = []string{"Original-Envelope-Id", "Reporting-MTA", "Received-From-MTA", "Arrival-Date"}
	perRcpt    = []string{"Original-Recipient", "Final-Recipient", "X-Actual-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date", "Final-Log-Id", "Will-Retry-Until"}
	forms      = map[string]*regexp.Regexp{
		"Original-Envelope-Id": regexp.MustCompile(`^[ -~]+$`),
		"Reporting-MTA":        regexp.MustCompile(`^dns; [a-z0-9.-]+$`),
		"Received-From-MTA":    regexp.MustCompile(`^dns; [a-z0-9.-]+$`),
		"Original-Recipient":   regexp.MustCompile(`^[A-Za-z0-9-]+; [^\x00-\x1f]+$`),
		"Final-Recipient":      regexp.MustCompile(`^(RFC822; [ -~]+|utf-8; [^\x00-\x20+=]+)$`),
		"X-Actual-Recipient":   regexp.MustCompile(`^(RFC822|utf-8|X-Unix); .+$`),
		"Action":               regexp.MustCompile(`^(failed|delayed|delivered|relayed|expanded)( \([a-z -]+\))?$`),
		"Status":               regexp.MustCompile(`^[245]\.[0-9]{1,3}\.[0-9]{1,3}$`),
		"Remote-MTA":           regexp.MustCompile(`^dns; [^ ]+$`),
		"Diagnostic-Code":      regexp.MustCompile(`^(smtp|x-[a-z]+); .+$`),
		"Final-Log-Id":         regexp.MustCompile(`^[A-Za-z0-9]+$`),
	}
)

// fieldsOf reads one group of fields and checks them.
func fieldsOf(t *testing.T, group string, known []string) map[string]string {
	t.Helper()
	out := map[string]string{}
	last := -1
	for line := range strings.Lines(group) {
		line = strings.TrimSuffix(line, "\n")
		name, value, ok := strings.Cut(line, ": ")
		at := slices.Index(known, name)
		switch {
		case !ok || at < 0:
			t.Errorf("line %q is no field of this group", line)
			continue
		case at <= last:
			t.Errorf("field %s stands in the wrong place or twice", name)
		}
		last = at
		if strings.HasSuffix(name, "-Date") || name == "Will-Retry-Until" {
			if _, err := mail.ParseDate(value); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		} else if !forms[name].MatchString(value) {
			t.Errorf("%s: %q has not the form %s", name, value, forms[name])
		}
		out[name] = value
	}
	return out
}

// TestFields goes through kinds, wishes and outcomes, and holds every field of each notice against the RFC; the bounce
// parser of a mailing list must see the same.
func TestFields(t *testing.T) {
	said := refused("5.7.1", "refused", "mx.example.net [192.0.2.1]", "554 5.7.1 go away")
	later := transport.NewStatus(transport.Deferred, "4.4.1", "Connection refused by mx.example.net")
	handed := relayed
	handed.Remote, handed.Reply = "mx.example.net [192.0.2.1]", "250 2.0.0 Ok: queued"
	at := now.Add(-time.Minute)
	rcpt := func(s transport.Status) Recipient {
		return Recipient{Orig: envelope.Recipient{Addr: "bob@example.net"}, Status: s, LastAttempt: at, Age: 4 * time.Hour}
	}
	for _, c := range []struct {
		name           string
		kind           Kind
		change         func(n *Notice)
		rcpt           Recipient
		action, status string
		part           string // type of the third part
		bounce         string
	}{
		{"refused", Failure, nil, rcpt(said), "failed", "5.7.1", "message/rfc822", "bob@example.net"},
		{"refused, headers wanted", Failure, func(n *Notice) { n.Envelope.Ret = envelope.RetHeaders }, rcpt(said), "failed", "5.7.1", "text/rfc822-headers", "bob@example.net"},
		{"expired", Failure, nil, func() Recipient { r := rcpt(later); r.Expired = true; return r }(), "failed", "4.4.7", "message/rfc822", "bob@example.net"},
		{"delayed", Delay, nil, func() Recipient { r := rcpt(later); r.RetryUntil = now.Add(time.Hour); return r }(), "delayed", "4.4.1", "text/rfc822-headers", ""},
		{"delivered", Success, nil, rcpt(delivered), "delivered", "2.0.0", "text/rfc822-headers", ""},
		{"delivered, everything wanted", Success, func(n *Notice) { n.Envelope.Ret = envelope.RetFull }, rcpt(delivered), "delivered", "2.0.0", "text/rfc822-headers", ""},
		{"relayed", Success, nil, rcpt(handed), "relayed", "2.0.0", "text/rfc822-headers", ""},
		{"expanded", Success, nil, func() Recipient { r := rcpt(delivered); r.Grown = ToAlias; return r }(), "expanded (to multi-recipient alias)", "2.0.0", "text/rfc822-headers", ""},
		{"to a list", Success, nil, func() Recipient { r := rcpt(delivered); r.Grown = ToList; return r }(), "delivered (to mailing list)", "2.0.0", "text/rfc822-headers", ""},
		{"double", Double, func(n *Notice) { n.Envelope.Sender = "" }, rcpt(said), "failed", "5.7.1", "message/rfc822", "bob@example.net"},
		{"large, everything wanted", Failure, func(n *Notice) { n.Body = largeBody(2 << 20); n.Envelope.Ret = envelope.RetFull }, rcpt(said), "failed", "5.7.1", "message/rfc822", "bob@example.net"},
		{"large", Failure, func(n *Notice) { n.Body = largeBody(2 << 20) }, rcpt(said), "failed", "5.7.1", "text/rfc822-headers", "bob@example.net"},
		{"too large, everything wanted", Failure, func(n *Notice) { n.Body = largeBody(21 << 20); n.Envelope.Ret = envelope.RetFull }, rcpt(said), "failed", "5.7.1", "text/rfc822-headers", "bob@example.net"},
		{"utf-8", Failure, func(n *Notice) { n.Envelope.SMTPUTF8 = true }, Recipient{Orig: envelope.Recipient{Addr: "bøb@example.net"}, Status: said, LastAttempt: at},
			"failed", "5.7.1", "message/global", "-"},
		{"utf-8, headers wanted", Failure, func(n *Notice) { n.Envelope.SMTPUTF8 = true; n.Envelope.Ret = envelope.RetHeaders }, rcpt(said), "failed", "5.7.1", "message/global-headers", "-"},
		{"hostile", Failure, func(n *Notice) {
			n.Envelope.EnvID, n.Envelope.Origin.ClientName = "a+0D+0Ab: c", "x\r\nStatus: 2.0.0"
			n.Envelope.Origin.ClientName = "client.example.org"
		}, func() Recipient {
			s := said
			s.Reply, s.Remote = "554 5.7.1 no\r\nFinal-Recipient: rfc822; eve@example.org\r\n\r\nAction: delivered", "mx.example.net [192.0.2.1]"
			r := rcpt(s)
			r.Orig.ORcpt = "rfc822;a+0D+0AAction:+20delivered"
			return r
		}(), "failed", "5.7.1", "message/rfc822", "-"}, // it believes ORCPT, which is the sender's to say
	} {
		t.Run(c.name, func(t *testing.T) {
			n := example(c.kind)
			if c.change != nil {
				c.change(&n)
			}
			n.Recipients = []Recipient{c.rcpt}
			m, err := composer().Compose(n)
			if err != nil {
				t.Fatal(err)
			}
			if !m.Envelope.Sender.Null() {
				t.Errorf("sent by <%s>", m.Envelope.Sender)
			}
			text := read(t, m.Body)
			msg, err := mail.ReadMessage(bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			media, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
			if err != nil || media != "multipart/report" || params["report-type"] != "delivery-status" { // RFC 6522 3
				t.Fatalf("%s %v, %v", media, params, err)
			}
			if !strings.HasPrefix(msg.Header.Get("Auto-Submitted"), "auto-generated") {
				t.Error("no Auto-Submitted field")
			}
			var types, parts []string
			for r := multipart.NewReader(msg.Body, params["boundary"]); ; {
				p, err := r.NextRawPart()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				media, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
				text, err := io.ReadAll(p)
				if err != nil {
					t.Fatal(err)
				}
				if !ascii(text) && p.Header.Get("Content-Transfer-Encoding") != "8bit" {
					t.Errorf("part %s holds octets above 127 and does not say so", media)
				}
				types, parts = append(types, media), append(parts, string(text))
			}
			want := []string{"text/plain", "message/delivery-status", c.part}
			if n.Envelope.SMTPUTF8 {
				want[1] = "message/global-delivery-status"
			}
			if !slices.Equal(types, want) {
				t.Fatalf("parts %v, want %v", types, want)
			}
			groups := strings.Split(strings.TrimRight(parts[1], "\n"), "\n\n")
			if len(groups) != 2 {
				t.Fatalf("%d groups of fields in\n%s", len(groups), parts[1])
			}
			fieldsOf(t, groups[0], perMessage)
			f := fieldsOf(t, groups[1], perRcpt)
			if f["Action"] != c.action || f["Status"] != c.status {
				t.Errorf("%s, %s; want %s, %s", f["Action"], f["Status"], c.action, c.status)
			}
			if c.part == "message/rfc822" && !strings.Contains(parts[2], "\nFrom here\n.\n") && !strings.Contains(parts[2], "xxxxxxxx") {
				t.Error("the message is not there")
			}
			if c.bounce == "-" { // the parser is older than RFC 6533
				return
			}
			if got := parsed(t, text); got != c.bounce {
				t.Errorf("the bounce parser sees %q, want %q", got, c.bounce)
			}
		})
	}
}

func largeBody(n int) envelope.Body {
	return envelope.BytesBody("Subject: large\n\n" + strings.Repeat(strings.Repeat("x", 71)+"\n", n/72))
}

// parsed gives a notice to Mail::DeliveryStatus::BounceParser.
func parsed(t *testing.T, text []byte) string {
	t.Helper()
	const script = `use Mail::DeliveryStatus::BounceParser; local $/; my $b = Mail::DeliveryStatus::BounceParser->new(<STDIN>); print join(" ", $b->is_bounce ? $b->addresses : ())`
	cmd := exec.Command("perl", "-e", script)
	cmd.Stdin = bytes.NewReader(text[:min(len(text), 64<<10)])
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v (make peers installs what the tests need)\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}
