package dsn

import (
	"io"
	"strings"
	"testing"
	"time"

	"waybill/transport"
	"waybill/transport/envelope"
)

// The transcript of sendmail has all that was said in the attempt, in the order of the deliveries, and what kept the
// sender from hearing of it; an unknown user whom the rules sent elsewhere keeps his name.
func TestClassicSession(t *testing.T) {
	status := func(o transport.Outcome, code, text string, lines ...string) transport.Status {
		s := transport.NewStatus(o, code, text)
		s.Transcript, s.Reply = lines, text
		return s
	}
	n := Notice{
		Kind: Double, Time: time.Unix(1e9, 0), Body: envelope.BytesBody("Subject: x\n\nx\n"), Envelope: &envelope.Envelope{Sender: "nobody@here.test", Arrival: time.Unix(1e9, 0), Origin: envelope.Origin{Protocol: "local", User: "root"}},
		Recipients: []Recipient{
			{Orig: envelope.Recipient{Addr: "a@far.test"}, Place: 2, Status: status(transport.Failed, "5.1.1", "550 no", "<<< 550 no", "550 5.1.1 a@far.test... User unknown")},
			{Orig: envelope.Recipient{Addr: "gone"}, Moved: "gone@[192.0.2.1]", Place: 0, Status: status(transport.Failed, "5.1.1", "550 no", "550 5.1.1 gone@[192.0.2.1]... User unknown")},
		},
		Others:     []Recipient{{Orig: envelope.Recipient{Addr: "b@far.test"}, Place: 1, Status: transport.NewStatus(transport.Deferred, "4.4.1", "Connection refused by far.test.")}},
		Transcript: []string{"550 5.1.1 nobody@here.test... User unknown"},
	}
	m, err := Classic{Composer: Composer{Host: "mx.here.test", Bare: true}}.Compose(n)
	if err != nil {
		t.Fatal(err)
	}
	in, err := m.Body.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	text, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"550 5.1.1 gone... User unknown\nb@far.test... Deferred: Connection refused by far.test.\n<<< 550 no\n550 5.1.1 a@far.test... User unknown\n550 5.1.1 nobody@here.test... User unknown\n",
		"\ngone\n    (reason: 550 no)\n    (expanded from: gone)\n", "Final-Recipient: RFC822; gone@mx.here.test\nX-Actual-Recipient: rfc822; gone@[192.0.2.1]\n",
		"To: postmaster\n", "Subject: Postmaster notify",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the notice lacks %q:\n%s", want, text)
		}
	}
}
