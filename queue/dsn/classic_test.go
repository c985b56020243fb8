package dsn

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// What sendmail writes for these, seen in runs of 8.17.1, is in testdata/classic-*.eml.
func TestClassicGolden(t *testing.T) {
	attempt := now.Add(-1)
	status := func(o transport.Outcome, code, text string, with transport.Status) transport.Status {
		s := transport.NewStatus(o, code, text)
		s.Remote, s.Reply, s.Diagnostic, s.Exit, s.Transcript, s.Became = with.Remote, with.Reply, with.Diagnostic, with.Exit, with.Transcript, with.Became
		return s
	}
	later := status(transport.Deferred, "4.2.1", "mailbox disabled", transport.Status{Remote: "sink.example.com [127.0.0.2]", Reply: "451 4.2.1 mailbox disabled", Diagnostic: "smtp",
		Transcript: []string{"... while talking to sink.example.com.:", ">>> DATA", "<<< 451 4.2.1 mailbox disabled", "tempfail@example.com... Deferred: 451 4.2.1 mailbox disabled"}})
	for name, n := range map[string]Notice{
		"failure": {Kind: Failure, Recipients: []Recipient{
			{Orig: envelope.Recipient{Addr: "list"}, Actual: "nosuch@example.com", List: "list", Status: status(transport.Failed, "5.1.1", "said no", transport.Status{
				Remote: "sink.example.com [127.0.0.2]", Reply: "550 5.1.1 no such user here", Diagnostic: "smtp", Exit: sysexits.NoUser,
				Transcript: []string{"... while talking to sink.example.com.:", ">>> DATA", "<<< 550 5.1.1 no such user here", "550 5.1.1 nosuch@example.com... User unknown", "<<< 503 5.5.1 need RCPT"}})},
			{Orig: envelope.Recipient{Addr: "nosuchlocal"}, Status: status(transport.Failed, "5.1.1", "user unknown", transport.Status{Exit: sysexits.NoUser})},
			{Orig: envelope.Recipient{Addr: "x@no.such.invalid"}, Status: status(transport.Failed, "5.1.2", "Host unknown (Name server: no.such.invalid: host not found)", transport.Status{Exit: sysexits.NoHost})},
			{Orig: envelope.Recipient{Addr: "x@nullmx.test"}, Status: status(transport.Failed, "5.1.10", "nullmx.test takes no mail (null MX)", transport.Status{Exit: sysexits.Unavailable})},
			{Orig: envelope.Recipient{Addr: "prog"}, Actual: `|"/bin/prog exit=1"`, Status: status(transport.Failed, "5.0.0", "unknown mailer error 1", transport.Status{Reply: "1", Diagnostic: "x-unix", Exit: 69})},
			{Orig: envelope.Recipient{Addr: "prog2"}, Actual: "|/bin/prog2", Status: status(transport.Failed, "5.1.1", "User unknown: sorry", transport.Status{Reply: "67", Diagnostic: "x-unix", Exit: 67, Transcript: []string{"sorry"}})},
			{Orig: envelope.Recipient{Addr: "round"}, Status: status(transport.Failed, "5.4.6", "Too many hops", transport.Status{Reply: "554 5.4.6 Too many hops", Diagnostic: "x-unix",
				Transcript: []string{"554 5.4.6 Too many hops 30 (25 max): from root via localhost, to round"}})},
			{Orig: envelope.Recipient{Addr: "box"}, Actual: "/var/box", Status: status(transport.Failed, "5.3.0", "Can't create output", transport.Status{Exit: sysexits.CantCreat})},
			{Orig: envelope.Recipient{Addr: "x@table.test"}, Status: status(transport.Failed, "5.7.0", "not accepting mail", transport.Status{Exit: 65, Became: "550 not accepting mail",
				Transcript: []string{"550 5.7.0 not accepting mail"}})},
			{Orig: envelope.Recipient{Addr: "gone"}, Actual: "new@example.com.REDIRECT", Status: status(transport.Failed, "5.1.1", "User has moved; please try <new@example.com>", transport.Status{
				Exit: sysexits.NoUser, Became: `"551 User has moved; please try "<new@example.com>`, Transcript: []string{"551 5.1.1 User has moved; please try <new@example.com>"}})},
		}},
		"delay":   {Kind: Delay, Recipients: []Recipient{{Orig: envelope.Recipient{Addr: "tempfail@example.com"}, Limit: 3e9, Age: 9e9, RetryUntil: now.Add(-5 * 3600e9).Add(5 * 24 * 3600e9), Status: later}}},
		"expired": {Kind: Failure, Recipients: []Recipient{{Orig: envelope.Recipient{Addr: "tempfail@example.com"}, Expired: true, Limit: 3e9, Status: later}}},
		"success": {Kind: Success, Recipients: []Recipient{
			{Orig: envelope.Recipient{Addr: "bob"}, Status: status(transport.Delivered, "2.0.0", "Sent", transport.Status{})},
			{Orig: envelope.Recipient{Addr: "x@nodsn.test"}, Status: status(transport.Relayed, "2.1.5", "accepted", transport.Status{Remote: "nodsn.test [127.0.0.5]", Reply: "250 2.1.5 recipient ok", Diagnostic: "smtp"})},
		}},
		"double": {Kind: Double, Recipients: []Recipient{{Orig: envelope.Recipient{Addr: "nosuchlocal"}, Status: status(transport.Failed, "5.1.1", "user unknown", transport.Status{Exit: sysexits.NoUser})}}},
	} {
		full := local(example(n.Kind))
		for i := range n.Recipients {
			n.Recipients[i].LastAttempt = attempt
		}
		full.Recipients = n.Recipients
		c := Classic{Composer: composer(), Head: func(e *envelope.Envelope, h *envelope.Header) []byte {
			return []byte("Return-Path: <" + string(e.Sender) + ">\nSubject: " + h.Value("Subject") + "\n\n")
		}}
		c.Bare = true
		m, err := c.Compose(full)
		if err != nil {
			t.Fatal(name, err)
		}
		r, err := m.Body.Open()
		if err != nil {
			t.Fatal(name, err)
		}
		got, err := io.ReadAll(r)
		if err != nil || m.Body.Size() != int64(len(got)) {
			t.Errorf("%s: %v, %d octets announced, %d there", name, err, m.Body.Size(), len(got))
		}
		file := filepath.Join("testdata", "classic-"+name+".eml")
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, got) {
			t.Errorf("%s:\n%s", name, cmp.Diff(string(want), string(got)))
		}
	}
}

// TestClassicBrackets: what an SMTP client wrote in MAIL and RCPT keeps its brackets.
func TestClassicBrackets(t *testing.T) {
	n := local(example(Failure))
	n.Envelope.Origin.UID = -1
	n.Recipients = []Recipient{
		{Orig: envelope.Recipient{Addr: "nosuchlocal"}, Status: transport.NewStatus(transport.Failed, "5.1.1", "user unknown")},
		{Orig: envelope.Recipient{Addr: "team"}, Actual: "bob", Status: transport.NewStatus(transport.Failed, "5.1.1", "user unknown")},
	}
	n.Recipients[0].Status.Exit, n.Recipients[1].Status.Exit = sysexits.NoUser, sysexits.NoUser
	m, err := Classic{Composer: composer()}.Compose(n)
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Body.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nTo: <" + string(n.Envelope.Sender) + ">\n", "\n<nosuchlocal>\n", "550 5.1.1 <nosuchlocal>... User unknown", "\nbob\n", "(expanded from: <team>)"} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
