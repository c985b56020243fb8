package app

import (
	"context"
	"strings"

	"waybill/compat/rewrite"
	"waybill/rules"
	"waybill/rules/prog"
)

// asksFor reports whether a rule asks for a macro whose name begins so, at the time when it runs.
func asksFor(p *prog.Program, prefix string) bool {
	for _, rs := range p.Rulesets {
		for _, r := range rs.Rules {
			for _, side := range [][]prog.Tok{r.LHS, r.RHS} {
				for _, t := range side {
					if t.Kind == prog.RunMacro && strings.HasPrefix(t.Text, prefix) {
						return true
					}
				}
			}
		}
	}
	return false
}

// addresses adds to the macros of a check_ ruleset what sendmail knows of the sender, as MAIL gave it and as it resolves,
// and of the recipient at hand. The null sender is "<>" to rules. Only a configuration that asks pays for resolving.
func (p cfPolicy) addresses(ctx context.Context, stage rules.Stage, q rules.Query, m rewrite.Message) error {
	if stage == rules.StageConnect || stage == rules.StageHelo {
		return nil
	}
	m["mail_from"] = "<" + q.Sender + ">"
	if q.Sender == "" {
		m["f"] = "<>"
	}
	if err := p.resolved(ctx, "mail_", m["f"], m); err != nil || stage != rules.StageRcpt {
		return err
	}
	return p.resolved(ctx, "rcpt_", q.Recipient, m)
}

func (p cfPolicy) resolved(ctx context.Context, prefix, address string, m rewrite.Message) error {
	if !asksFor(p.conf.Prog, prefix) {
		return nil
	}
	if address == "<>" {
		m[prefix+"addr"], m[prefix+"host"], m[prefix+"mailer"] = "<>", "", "local"
		return nil
	}
	t, err := p.rw.Parse(ctx, address, m)
	if err != nil {
		return err
	}
	if t.Mailer != nil {
		m[prefix+"addr"], m[prefix+"host"], m[prefix+"mailer"] = t.User, t.Host, t.Mailer.Name
	} else {
		m[prefix+"addr"], m[prefix+"host"], m[prefix+"mailer"] = address, "", "*error*"
	}
	return nil
}
