package app

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/smtpclient"
)

// cfCompat asks check_compat about each sender and recipient when a message is to be delivered (Operations Guide,
// "check_compat"), and hands on what it does not refuse.
type cfCompat struct {
	next transport.Transport
	site *cfSite
}

// tooManyHops refuses a message that seems to go in circles. sendmail sees that when it delivers, and tells the sender.
func (t cfTransport) tooManyHops(req *transport.Request, n int) []transport.Status {
	if isNotice(req.Envelope.Sender, req.Envelope.Origin) { // which nobody can be told of
		t.site.keepLost(req.Envelope, req.Body)
		return transport.All(len(req.Recipients), transport.NewStatus(transport.Discarded, "2.0.0", "Too many hops"))
	}
	statuses := make([]transport.Status, len(req.Recipients))
	var names []string
	for _, r := range req.Recipients {
		names = append(names, r.Orig.Name())
	}
	said := fmt.Sprintf("Too many hops %d (%d max): from %s via %s, to %s",
		n, t.site.number("MaxHopCount", 25), bracketed(req.Envelope.Sender, req.Envelope.Origin), cmp.Or(req.Envelope.Origin.ClientName, "localhost"), strings.Join(names, ", "))
	for i := range statuses {
		s := transport.NewStatus(transport.Failed, "5.4.6", "Too many hops") // RFC 3463: a routing loop
		s.Reply, s.Diagnostic = "554 5.4.6 Too many hops", "x-unix"
		if _, dialogue := t.inner.(*smtpclient.Client); dialogue {
			s.Diagnostic = "smtp"
		}
		if i == 0 {
			s.Transcript = []string{"554 5.4.6 " + said}
		}
		statuses[i] = s
	}
	return statuses
}

// withoutReceipts leaves out Return-Receipt-To where it has become a wish for a report (RrtImpliesDsn).
func (c *cfSite) withoutReceipts(h *envelope.Header) *envelope.Header {
	if !c.conf.Bool("RrtImpliesDsn", false) || h.Value("Return-Receipt-To") == "" {
		return h
	}
	out := *h
	out.Fields = slices.DeleteFunc(slices.Clone(h.Fields), func(f envelope.Field) bool { return f.Is("Return-Receipt-To") })
	return &out
}

// bracketed is a sender as it was given: SMTP has brackets.
func bracketed(a envelope.Address, o envelope.Origin) string {
	if strings.Contains(o.Protocol, "SMTP") {
		return "<" + string(a) + ">"
	}
	return string(a)
}

// checked puts check_compat before a transport, where the configuration has it.
func (c *cfSite) checked(next transport.Transport) transport.Transport {
	if c.conf.Prog.Ruleset("check_compat") == nil {
		return next
	}
	return cfCompat{next, c}
}

func (t cfCompat) Deliver(ctx context.Context, req *transport.Request) []transport.Status {
	statuses := make([]transport.Status, len(req.Recipients))
	out := *req
	out.Recipients = nil
	var at []int
	m := macros(req.Envelope.Sender, req.Envelope.Origin)
	for i, r := range req.Recipients {
		name := r.Orig.Name()
		refused, _, err := t.site.rw.Check(ctx, "check_compat", []string{"<" + string(req.Envelope.Sender) + ">", "<" + name + ">"}, m)
		switch {
		case err != nil:
			req.Log.Warn("check_compat cannot be asked now", "to", name, "err", err)
			statuses[i] = transport.NewStatus(transport.Deferred, "4.3.0", "Temporary lookup failure")
		case refused != nil:
			statuses[i] = cfRefusal(refused)
		default:
			out.Recipients = append(out.Recipients, r)
			at = append(at, i)
		}
	}
	if len(at) > 0 {
		for n, s := range t.next.Deliver(ctx, &out) {
			statuses[at[n]] = s
		}
	}
	return statuses
}
