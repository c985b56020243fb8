package rules

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"waybill/rules/addr"
	"waybill/rules/eval"
)

// Accept asks the policy for a stage. When there is no accept block for it, or none of its rules decides, the zero
// Verdict accepts. In the stage rcpt, conditions about transport, host and user see where the recipient would go: so
// the decision whether to relay is made about the route, whatever the address looks like. An error means "not now".
func (r *Router) Accept(ctx context.Context, stage Stage, q Query, t Tracer) (Verdict, error) {
	return r.accept(ctx, stage, "", q, t)
}

// AcceptHeader asks the policy for one header field with this value.
func (r *Router) AcceptHeader(ctx context.Context, name, value string, q Query, t Tracer) (Verdict, error) {
	others := q.Header
	q.Header = func(n string) string {
		switch {
		case strings.EqualFold(n, name):
			return value
		case others != nil:
			return others(n)
		}
		return ""
	}
	return r.accept(ctx, StageHeader, strings.ToLower(name), q, t)
}

func (r *Router) accept(ctx context.Context, stage Stage, field string, q Query, t Tracer) (Verdict, error) {
	name := r.hook(stage, field)
	if name == "" {
		return Verdict{}, nil
	}
	st := r.state(&q, t)
	v, err := r.judge(st.view.In(ctx), stage, field, name, &q, st)
	if st.rec != nil {
		v.Why = st.rec.steps(r)
	}
	r.done(st)
	if err != nil {
		return v, fmt.Errorf("policy for %s: %w", stage, err)
	}
	return v, nil
}

func (r *Router) judge(ctx context.Context, stage Stage, field, name string, q *Query, st *run) (Verdict, error) {
	toks, refusal, err := r.subject(ctx, stage, field, q, st)
	if err != nil {
		return Verdict{}, err
	}
	if refusal != nil {
		return Verdict{Refusal: refusal, Decided: true}, nil
	}
	if stage == StageRcpt && !r.sendmail() {
		toks = slices.Clone(toks) // the memory is used again
		d, _, err := r.resolve(ctx, q, toks, st)
		if err != nil {
			return Verdict{}, err
		}
		if d.Refusal != nil { // nobody carries it: there is nothing to accept
			return Verdict{Refusal: d.Refusal, Decided: true}, nil
		}
		st.facts.Transport, st.facts.Host, st.facts.User = d.Mailer, d.Host, d.User
	}
	res, err := r.engine.RunNamed(ctx, name, toks, &st.State)
	if err != nil {
		return Verdict{}, err
	}
	triple, resolved := eval.Resolved(res.Tokens)
	if !resolved {
		return Verdict{}, nil
	}
	syntax := r.engine.Syntax()
	mailer := syntax.Join(triple.Mailer)
	host := syntax.Join(triple.Host)
	if strings.EqualFold(mailer, "error") && strings.EqualFold(host, "quarantine") {
		why := message(triple.User, syntax)
		if why == "" {
			why = "quarantined by a rule"
		}
		return Verdict{Quarantine: why, Decided: true}, nil
	}
	refusal, err = r.refusal(triple)
	return Verdict{Refusal: refusal, Decided: true}, err
}

// subject is what the patterns of a stage see.
func (r *Router) subject(ctx context.Context, stage Stage, field string, q *Query, st *run) ([]addr.Token, *Refusal, error) {
	if r.sendmail() {
		return r.hookArgument(stage, q), nil, nil
	}
	loose := func(text string) []addr.Token {
		toks, _ := r.engine.Syntax().SplitStripped(text)
		return toks
	}
	switch stage {
	case StageConnect:
		if q.Client.Name != "" {
			return loose(q.Client.Name), nil, nil
		}
		if q.Client.Addr.IsValid() {
			return loose("[" + q.Client.Addr.Unmap().String() + "]"), nil, nil
		}
	case StageHelo:
		return loose(q.Client.Helo), nil, nil
	case StageMail:
		return r.canonical(ctx, q.Sender, st)
	case StageRcpt:
		return r.canonical(ctx, q.Recipient, st)
	case StageHeader:
		if q.Header != nil {
			toks, issues := r.engine.Syntax().Split(q.Header(field))
			for _, i := range issues {
				if i.Fatal() { // not an address: one token that only wildcards match
					return []addr.Token{`""`}, nil, nil
				}
			}
			return toks, nil, nil
		}
	}
	return nil, nil, nil
}
