package app

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"waybill/etc"
	"waybill/rules"
	"waybill/transport"
	"waybill/transport/envelope"
)

// lastRequest keeps what it is asked to deliver.
type lastRequest struct{ req *transport.Request }

func (l *lastRequest) Deliver(_ context.Context, req *transport.Request) []transport.Status {
	l.req = req
	return transport.All(len(req.Recipients), transport.NewStatus(transport.Relayed, "2.0.0", "Sent"))
}

func TestMasqueradingReachesEnvelopeAndHeader(t *testing.T) {
	load := func(text string) (*rules.Router, *params) {
		t.Helper()
		router, err := rules.Load("test.rules", rules.Options{Text: []byte(text + "\n" + string(etc.DefaultRules())), Hostname: "host.example.org", Library: etc.Library(), SkipTests: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range router.Transports() {
			if tr.Name == "esmtp" {
				return router, &params{Transport: tr, used: map[string]bool{}}
			}
		}
		t.Fatal("no esmtp")
		return nil, nil
	}
	next := &lastRequest{}
	router, p := load("")
	if leaving(router, p, next, false) != transport.Transport(next) {
		t.Error("rules that rewrite nothing stand in the way")
	}
	router, p = load("use masquerade example.org")
	req := &transport.Request{
		Envelope:   &envelope.Envelope{ID: "x", Sender: "bob@host.example.org"},
		Recipients: []transport.Recipient{{User: "carol@example.com"}},
		Body:       envelope.BytesBody("From: Bob (at home) <bob>\nTo: carol@example.com\nCc: bob@host.example.org\n\nFrom: bob\n"),
		Log:        slog.New(slog.DiscardHandler),
	}
	leaving(router, p, next, false).Deliver(context.Background(), req)
	r, err := next.req.Body.Open()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	want := "From: Bob (at home) <bob@example.org>\nTo: carol@example.com\nCc: bob@host.example.org\n\nFrom: bob\n"
	if err != nil || string(text) != want || next.req.Envelope.Sender != "bob@example.org" || next.req.Recipients[0].User != "carol@example.com" {
		t.Errorf("%v: sender %q, to %q\n%s", err, next.req.Envelope.Sender, next.req.Recipients[0].User, text)
	}
}
