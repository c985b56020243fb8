package app

import (
	"context"

	"waybill/transport"
)

// cfCompat asks check_compat about each sender and recipient when a message is to be delivered (Operations Guide,
// "check_compat"), and hands on what it does not refuse.
type cfCompat struct {
	next transport.Transport
	site *cfSite
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
