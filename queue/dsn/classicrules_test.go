package dsn

import (
	"bytes"
	"io"
	"testing"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// TestClassicRefusedByRules: whom the rules refuse, and whom they make somebody else of, is named as sendmail names them.
func TestClassicRefusedByRules(t *testing.T) {
	failed := func(code, text string, with transport.Status) transport.Status {
		s := transport.NewStatus(transport.Failed, code, text)
		s.Exit, s.Became, s.Transcript = with.Exit, with.Became, with.Transcript
		return s
	}
	to := envelope.Recipient{Addr: "x@virt.test"}
	for name, c := range map[string]struct {
		r         Recipient
		localType string
		want, not []string
	}{
		"with another code": {Recipient{Orig: to, Status: failed("5.2.2", "full", transport.Status{Exit: 69, Became: "552 full", Transcript: []string{"552 5.2.2 full"}})}, "",
			[]string{"\n552 5.2.2 full\n"}, nil},
		"with one that names": {Recipient{Orig: to, Status: failed("5.1.1", "gone", transport.Status{Exit: 67, Became: "550 gone", Transcript: []string{"550 5.1.1 gone"}})}, "",
			[]string{"\n550 5.1.1 x@virt.test... gone\n"}, nil},
		"no mailer": {Recipient{Orig: to, Status: failed("5.0.0", "buildaddr: unknown mailer x", transport.Status{Exit: sysexits.Software, Transcript: []string{"554 5.3.5 buildaddr: unknown mailer x"}})}, "",
			[]string{"\n554 5.3.5 buildaddr: unknown mailer x\n"}, []string{"X-Actual-Recipient"}},
		"no end": {Recipient{Orig: to, Routed: "y@virt.test", Status: failed("5.1.1", "User unknown", transport.Status{Exit: sysexits.Software, Transcript: []string{"554 5.0.0 rewrite: excessive recursion"}})}, "",
			[]string{"(reason: 550 5.1.1 User unknown)", "\n554 5.0.0 rewrite: excessive recursion\n550 5.1.1 x@virt.test... User unknown\n", "Final-Recipient: RFC822; y@virt.test\n"}, nil},
		"nobody here": {Recipient{Orig: to, Local: "x", Status: failed("5.1.1", "user unknown", transport.Status{Exit: sysexits.NoUser})}, "SMTP",
			[]string{"X-Actual-Recipient: rfc822; x@mail.example.org\n", "Diagnostic-Code: SMTP; 550 5.1.1 User unknown\n"}, nil},
		"unknown host": {Recipient{Orig: to, Host: "no.invalid.", Status: failed("5.1.2", "Host unknown (Name server: no.invalid: host not found)", transport.Status{Exit: sysexits.NoHost})}, "",
			[]string{"(reason: 550 Host unknown)", "Diagnostic-Code: SMTP; 550 Host unknown\n"}, nil},
		"elsewhere": {Recipient{Orig: to, Routed: "y@z.test", Status: failed("5.1.1", "no", transport.Status{Exit: 67, Transcript: []string{"550 5.1.1 y@z.test... User unknown"}})}, "",
			[]string{"\n550 5.1.1 x@virt.test... User unknown\n"}, nil},
	} {
		n := local(example(Failure))
		n.Recipients = []Recipient{c.r}
		m, err := Classic{Composer: composer(), LocalType: c.localType}.Compose(n)
		if err != nil {
			t.Fatal(err)
		}
		r, err := m.Body.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !bytes.Contains(text, []byte(want)) {
				t.Errorf("%s: no %q in\n%s", name, want, text)
			}
		}
		for _, not := range c.not {
			if bytes.Contains(text, []byte(not)) {
				t.Errorf("%s: %q in\n%s", name, not, text)
			}
		}
	}
}
