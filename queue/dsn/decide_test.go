package dsn

import (
	"strings"
	"testing"
	"time"

	"waybill/transport"
	"waybill/transport/envelope"
)

var (
	failed    = transport.NewStatus(transport.Failed, "5.1.1", "no such user")
	deferred  = transport.NewStatus(transport.Deferred, "4.4.1", "connection refused")
	delivered = transport.NewStatus(transport.Delivered, "2.0.0", "in the mailbox")
	relayed   = transport.NewStatus(transport.Relayed, "2.0.0", "accepted")
	discarded = transport.NewStatus(transport.Discarded, "2.0.0", "a rule said so")
)

func TestDue(t *testing.T) {
	passedOn := relayed
	passedOn.DSN = true
	const (
		never   = envelope.NotifyNever
		success = envelope.NotifySuccess
		failure = envelope.NotifyFailure
		delay   = envelope.NotifyDelay
	)
	old, young := 5*time.Hour, time.Hour
	for _, c := range []struct {
		name       string
		sender     envelope.Address
		notify     envelope.Notify
		status     transport.Status
		age        time.Duration
		warned     bool
		postmaster bool
		want       Kind
	}{
		{"failure by default", "a@b", 0, failed, 0, false, false, Failure},
		{"failure asked for", "a@b", failure, failed, 0, false, false, Failure},
		{"failure beside others", "a@b", success | failure, failed, 0, false, false, Failure},
		{"failure left out", "a@b", success | delay, failed, 0, false, false, None},
		{"never", "a@b", never, failed, 0, false, false, None},
		{"never, with another bit set by mistake", "a@b", never | failure, failed, 0, false, false, None},
		{"null sender failed", "", 0, failed, 0, false, false, Double},
		{"null sender failed, NOTIFY is not the postmaster's", "", never, failed, 0, false, false, Double},
		{"null sender to postmaster failed", "", 0, failed, 0, false, true, None},
		{"postmaster failed, with a sender", "a@b", 0, failed, 0, false, true, Failure},
		{"null sender delayed", "", 0, deferred, old, false, false, None},
		{"null sender delivered", "", success, delivered, 0, false, false, None},
		{"delay, too young", "a@b", 0, deferred, young, false, false, None},
		{"delay, at the time", "a@b", 0, deferred, 4 * time.Hour, false, false, Delay},
		{"delay, old", "a@b", 0, deferred, old, false, false, Delay},
		{"delay, warned before", "a@b", 0, deferred, old, true, false, None},
		{"delay left out", "a@b", failure, deferred, old, false, false, None},
		{"delay asked for", "a@b", delay, deferred, old, false, false, Delay},
		{"delay, never", "a@b", never, deferred, old, false, false, None},
		{"delivered by default", "a@b", 0, delivered, 0, false, false, None},
		{"delivered, asked for", "a@b", success, delivered, 0, false, false, Success},
		{"delivered, not asked for", "a@b", failure | delay, delivered, 0, false, false, None},
		{"relayed by default", "a@b", 0, relayed, 0, false, false, None},
		{"relayed, asked for", "a@b", success, relayed, 0, false, false, Success},
		{"relayed to a host that reports itself", "a@b", success, passedOn, 0, false, false, None},
		{"discarded", "a@b", success | failure | delay, discarded, old, false, false, None},
		{"forgotten status", "a@b", 0, transport.Status{}, young, false, false, None},
	} {
		got := Due(Event{Sender: c.sender, Notify: c.notify, Status: c.status, Age: c.age, WarnAfter: 4 * time.Hour, Warned: c.warned, Postmaster: c.postmaster})
		if got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if got := Due(Event{Sender: "a@b", Status: deferred, Age: old}); got != None {
		t.Errorf("a delay without warn-after: %v, want none", got)
	}
}

func TestReturnsBody(t *testing.T) {
	for _, c := range []struct {
		kind       Kind
		ret        envelope.Ret
		precedence string
		size       int64
		want       bool
	}{
		{Failure, envelope.RetDefault, "", 10, true},
		{Failure, envelope.RetFull, "", 100, true},
		{Failure, envelope.RetFull, "", 101, false},
		{Failure, envelope.RetDefault, "", -1, false},
		{Failure, envelope.RetHeaders, "", 10, false},
		{Failure, envelope.RetDefault, "Bulk", 10, false},
		{Failure, envelope.RetFull, "junk", 10, false},
		{Failure, envelope.RetDefault, "first-class", 10, true},
		{Double, envelope.RetDefault, "", 10, true},
		{Delay, envelope.RetFull, "", 10, false},
		{Success, envelope.RetFull, "", 10, false},
	} {
		if got := returnsBody(c.kind, c.ret, c.precedence, c.size, 100); got != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

func TestReceipts(t *testing.T) {
	for in, want := range map[string]bool{
		"Return-Receipt-To: a@b\n\n":   true,
		"return-receipt-to:\n\n":       false,
		"Subject: Return-Receipt-To\n": false,
	} {
		h, err := envelope.ReadHeader(strings.NewReader(in), envelope.HeaderLimits{})
		if err != nil || ReceiptAsked(h) != want {
			t.Errorf("%q: want %v (%v)", in, want, err)
		}
	}
	for in, want := range map[envelope.Notify]string{
		0:                      "SUCCESS,FAILURE,DELAY",
		envelope.NotifyFailure: "SUCCESS,FAILURE",
		envelope.NotifyNever:   "NEVER",
	} {
		if got := WithReceipt(in).String(); got != want {
			t.Errorf("%v with receipt: %q, want %q", in, got, want)
		}
	}
}
