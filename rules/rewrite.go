package rules

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"waybill/rules/addr"
	"waybill/rules/eval"
	"waybill/rules/prog"
)

// Rewriting asks how an address shall look in what goes out.
type Rewriting struct {
	Address   string // without angle brackets
	Recipient bool   // of a recipient; else of a sender
	Header    bool   // in a header field; else in the envelope
	Mailer    string // the transport that carries it
}

// Names of the rulesets that rewrite: ours, and sendmail's numbers (Sendmail Operations Guide 5.1.2).
const (
	senderRules    = "sender"     // 1
	recipientRules = "recipient"  // 2
	uncanonify     = "uncanonify" // 4
)

// Rewrite returns the address as it leaves: canonify, then the ruleset "sender" or "recipient", then the one that the
// transport names in its parameter "sender" or "recipient" (and in "header", when it is about a header), then
// uncanonify. Where there is no such ruleset nothing changes. An error means "not now".
func (r *Router) Rewrite(ctx context.Context, a Rewriting, t Tracer) (string, error) {
	list := r.rewriters(a)
	if len(list) == 0 || a.Address == "" || a.Address == "<>" {
		return a.Address, nil
	}
	q := Query{Sender: a.Address}
	if a.Recipient {
		q = Query{Recipient: a.Address}
	}
	st := r.state(&q, t)
	defer r.done(st)
	ctx = st.view.In(ctx)
	st.facts.Transport = a.Mailer
	toks, refusal, err := r.canonical(ctx, a.Address, st)
	if refusal != nil {
		return a.Address, nil // it cannot be understood, so it is left alone
	}
	for _, name := range append(list, first(r.Program(), uncanonify, "final", "4")) {
		if err != nil {
			return "", fmt.Errorf("rewriting %q: %w", a.Address, err)
		}
		if name != "" {
			var res eval.Result
			res, err = r.engine.RunNamed(ctx, name, toks, &st.State)
			toks = res.Tokens
		}
	}
	if err != nil {
		return "", fmt.Errorf("rewriting %q: %w", a.Address, err)
	}
	if len(toks) == 0 || toks[0] == addr.Mailer {
		return "", fmt.Errorf("rewriting %q: the rules leave no address", a.Address)
	}
	toks = slices.DeleteFunc(toks, func(t addr.Token) bool { return t == "<" || t == ">" })
	return r.engine.Syntax().Join(toks), nil
}

// rewriters are the rulesets for an address, between canonify and uncanonify.
func (r *Router) rewriters(a Rewriting) []string {
	p := r.engine.Program()
	general, param, number := senderRules, "sender", "1"
	if a.Recipient {
		general, param, number = recipientRules, "recipient", "2"
	}
	var list []string
	add := func(names ...string) {
		if name := first(p, names...); name != "" {
			list = append(list, name)
		}
	}
	add(general, number)
	if t := p.Transport(a.Mailer); t != nil {
		if v, ok := t.Param(param); ok {
			add(v)
		}
		if v, ok := t.Param("header"); ok && a.Header {
			add(v)
		}
		// A mailer of sendmail.cf: S= and R=, "envelope/header".
		letter := map[bool]string{false: "S", true: "R"}[a.Recipient]
		if v, ok := mailerParam(t, letter); ok {
			envelope, header, both := strings.Cut(v, "/")
			if a.Header && both {
				envelope = header
			}
			if envelope != "" {
				add(envelope)
			}
		}
	}
	return list
}

func mailerParam(t *prog.Transport, letter string) (string, bool) {
	if t.Kind != "" {
		return "", false
	}
	return t.Param(letter)
}
