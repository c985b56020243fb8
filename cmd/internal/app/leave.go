package app

import (
	"context"

	"waybill/rules"
	"waybill/transport"
	"waybill/transport/readdress"
)

// leaving puts the rules' rewriting of outgoing addresses before a transport: the rulesets "sender" and "recipient", and
// those that the transport's parameters name. Without any of them the transport stays alone, and no header is read.
// What stays on this host leaves only by a transport that names a ruleset itself.
func leaving(router *rules.Router, p *params, next transport.Transport, local bool) transport.Transport {
	asked := false
	for _, name := range []string{"sender", "recipient", "header"} {
		asked = p.text(name, "") != "" || asked
	}
	for _, name := range []string{"sender", "recipient"} {
		asked = !local && router.Program().Ruleset(name) != nil || asked
	}
	if !asked {
		return next
	}
	name := p.Name
	return readdress.Transport{Next: next, Rewrite: func(ctx context.Context, a readdress.Address) (string, error) {
		return router.Rewrite(ctx, rules.Rewriting{Address: a.Text, Recipient: a.Recipient, Header: a.Header, Mailer: name}, nil)
	}}
}
