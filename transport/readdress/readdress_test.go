package readdress

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waybill/transport"
	"waybill/transport/envelope"
)

// qualify adds a domain to plain names, and makes senders at "old" be at "new".
func qualify(_ context.Context, a Address) (string, error) {
	switch {
	case strings.HasPrefix(a.Text, "later"):
		return "", errors.New("not now")
	case !strings.Contains(a.Text, "@"):
		return a.Text + "@host.example", nil
	case !a.Recipient && strings.HasSuffix(a.Text, "@old.example"):
		return strings.TrimSuffix(a.Text, "old.example") + "new.example", nil
	}
	return a.Text, nil
}

func TestHeader(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"From: root\n", "From: root@host.example\n"},
		{"From: Bob <bob>\n", "From: Bob <bob@host.example>\n"},
		{"From: \"B, ob\" <bob@old.example>\n", "From: \"B, ob\" <bob@new.example>\n"},
		{"To: Bob <bob@old.example>\n", "To: Bob <bob@old.example>\n"},
		{"From: bob (Bob, (the) man)\n", "From: bob@host.example (Bob, (the) man)\n"},
		{"To: alice, bob@x,\n\t\"C\" <carol>,\n  dave\n", "To: alice@host.example, bob@x,\n\t\"C\" <carol@host.example>,\n  dave@host.example\n"},
		{"Cc: friends: alice, <bob>;, c@d\n", "Cc: friends: alice@host.example, <bob@host.example>;, c@d\n"},
		{"To: undisclosed-recipients:;\n", "To: undisclosed-recipients:;\n"},
		{"To: bob @ old . example\n", "To: bob @ old . example\n"},
		{"From: bob @ old . example\n", "From: bob@new.example\n"},
		{"From: bob @ (at) old.example\n", "From: bob @ (at) old.example\n"},
		{"From: <>\n", "From: <>\n"},
		{"From:\n", "From:\n"},
		{"To : x\n", "To : x@host.example\n"},
		{"From: two words\n", "From: two words\n"},
		{"From: broken <x\n", "From: broken <x\n"},
		{"To: a@[IPv6:::1], b\n", "To: a@[IPv6:::1], b@host.example\n"},
		{"To: node::user\n", "To: node::user@host.example\n"},
		{"To: \"quoted name\"\n", "To: \"quoted name\"@host.example\n"},
		{"Subject: bob\n", "Subject: bob\n"},
		{"X-To: bob\n", "X-To: bob\n"},
		{"Resent-To: bob\nReply-To: x@old.example\n", "Resent-To: bob@host.example\nReply-To: x@new.example\n"},
	} {
		h, err := envelope.ReadHeader(strings.NewReader(c.in), envelope.HeaderLimits{})
		if err != nil {
			t.Fatal(err)
		}
		got, changed, err := Header(context.Background(), h.Fields, qualify)
		if err != nil {
			t.Fatal(err)
		}
		if !changed {
			got = []byte(c.in)
		}
		if string(got) != c.want || changed != (c.in != c.want) {
			t.Errorf("%q: %q (changed %v), want %q", c.in, got, changed, c.want)
		}
	}
}

func TestAnAddressThatWouldBreakTheFieldIsNotPutIn(t *testing.T) {
	h := []envelope.Field{{Name: "From", Raw: "From: x\n"}}
	_, changed, err := Header(context.Background(), h, func(context.Context, Address) (string, error) { return "x\nBcc: y", nil })
	if changed || err != nil {
		t.Error(changed, err)
	}
}

type stream struct{ envelope.BytesBody }

func (stream) Size() int64 { return -1 }

func TestBody(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"From: root\nTo: a@b\n\nFrom: root\n", "From: root@host.example\nTo: a@b\n\nFrom: root\n"},
		{"From: root\n", "From: root@host.example\n\n"},
		{"From: root", "From: root@host.example\n\n"},
		{"To: a\nno field\nFrom: b\n", "To: a@host.example\n\nno field\nFrom: b\n"},
		{"Subject: x\n\nb\n", "Subject: x\n\nb\n"},
		{"", ""},
	} {
		for _, b := range []envelope.Body{envelope.BytesBody(c.in), stream{envelope.BytesBody(c.in)}} {
			got, err := Body(context.Background(), b, qualify)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				r, err := got.Open()
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(r)
				if err != nil || r.Close() != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(c.want, string(text)); d != "" && !(c.in == "From: root" && string(text) == "From: root@host.example\n") {
					t.Errorf("%q, size %d: %s", c.in, b.Size(), d)
				}
				if s := got.Size(); s >= 0 && s != int64(len(text)) {
					t.Errorf("%q: size %d, but there are %d octets", c.in, s, len(text))
				}
			}
		}
	}
}

func TestHeaderThatIsTooLongStays(t *testing.T) {
	in := "From: root\n" + strings.Repeat("X: "+strings.Repeat("y", 990)+"\n", 300) + "\nbody\n"
	for _, b := range []envelope.Body{envelope.BytesBody(in), stream{envelope.BytesBody(in)}} {
		got, err := Body(context.Background(), b, qualify)
		if err != nil {
			t.Fatal(err)
		}
		r, err := got.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil || string(text) != in {
			t.Errorf("%d octets, %v", len(text), err)
		}
	}
}

// record keeps what it gets.
type record struct{ req *transport.Request }

func (r *record) Deliver(_ context.Context, req *transport.Request) []transport.Status {
	r.req = req
	return transport.All(len(req.Recipients), transport.NewStatus(transport.Relayed, "2.0.0", "Sent"))
}

func TestDeliver(t *testing.T) {
	next := &record{}
	req := &transport.Request{
		Envelope:   &envelope.Envelope{ID: "x", Sender: "bob@old.example"},
		Recipients: []transport.Recipient{{User: "carol"}, {User: "d@e"}},
		Body:       envelope.BytesBody("From: bob@old.example\n\nb\n"),
		Log:        slog.New(slog.DiscardHandler),
	}
	statuses := Transport{next, qualify}.Deliver(context.Background(), req)
	if len(statuses) != 2 || statuses[0].Outcome() != transport.Relayed {
		t.Fatal(statuses)
	}
	if next.req.Envelope.Sender != "bob@new.example" || next.req.Recipients[0].User != "carol@host.example" || next.req.Recipients[1].User != "d@e" {
		t.Errorf("%+v", next.req)
	}
	if req.Envelope.Sender != "bob@old.example" || req.Recipients[0].User != "carol" {
		t.Errorf("the request was changed: %+v", req)
	}
	req.Envelope.Sender = ""
	if (Transport{next, qualify}).Deliver(context.Background(), req); next.req.Envelope.Sender != "" {
		t.Error("the null sender was rewritten")
	}
}

func TestNotNowDefers(t *testing.T) {
	for name, req := range map[string]*transport.Request{
		"sender":    {Envelope: &envelope.Envelope{Sender: "later"}, Recipients: []transport.Recipient{{User: "a"}}, Body: envelope.BytesBody("\n")},
		"recipient": {Envelope: &envelope.Envelope{}, Recipients: []transport.Recipient{{User: "a"}, {User: "later"}}, Body: envelope.BytesBody("\n")},
		"header":    {Envelope: &envelope.Envelope{}, Recipients: []transport.Recipient{{User: "a"}}, Body: envelope.BytesBody("To: later\n\n")},
	} {
		req.Log = slog.New(slog.DiscardHandler)
		next := &record{}
		statuses := Transport{next, qualify}.Deliver(context.Background(), req)
		if next.req != nil || len(statuses) != len(req.Recipients) || statuses[0].Outcome() != transport.Deferred {
			t.Errorf("%s: %v", name, statuses)
		}
	}
}

// FuzzHeader: whatever a header has, rewriting with the identity changes nothing, and rewriting with something else keeps
// the number of fields.
func FuzzHeader(f *testing.F) {
	f.Add("From: a (b) <c@d>, \"e\" <f>\nTo: g: h;, i\n j\n")
	f.Add("To: \\\nCc: <\nBcc: (\nFrom: ::\n")
	f.Fuzz(func(t *testing.T, in string) {
		h, err := envelope.ReadHeader(strings.NewReader(in), envelope.HeaderLimits{})
		if err != nil {
			return
		}
		same := func(_ context.Context, a Address) (string, error) { return a.Text, nil }
		if _, changed, err := Header(context.Background(), h.Fields, same); changed || err != nil {
			t.Fatal(changed, err)
		}
		other := func(context.Context, Address) (string, error) { return "x@y.example", nil }
		text, changed, err := Header(context.Background(), h.Fields, other)
		if err != nil || !changed {
			return
		}
		again, err := envelope.ReadHeader(bytes.NewReader(text), envelope.HeaderLimits{})
		if err == nil && len(again.Fields) != len(h.Fields) {
			t.Errorf("%d fields became %d:\n%s", len(h.Fields), len(again.Fields), text)
		}
	})
}
