package rewrite

import (
	"context"
	"strings"

	"waybill/rules/addr"
)

// CheckField asks a ruleset about the value of a header field ("HSubject: $>CheckSubject"). keep leaves comments in it
// ($>+). A value that cannot be cut into tokens, an odd quote in a Subject, is asked about as one token.
func (r *Rewriter) CheckField(ctx context.Context, ruleset, value string, keep bool, m Message) (*Refusal, string, error) {
	rs := r.named(ruleset)
	if rs == nil {
		return nil, "", nil
	}
	split := r.engine.Syntax().SplitStripped
	if keep {
		split = r.engine.Syntax().Split
	}
	toks, issues := split(value)
	for _, i := range issues {
		if i.Fatal() {
			toks = []addr.Token{addr.Token(strings.Map(plain, value))}
			break
		}
	}
	toks, err := r.run(ctx, rs, toks, r.state(m))
	if err = unlessTold(err); err != nil || len(toks) < 2 || toks[0] != addr.Mailer {
		return nil, "", err
	}
	refused, quarantine := r.verdict(toks)
	return refused, quarantine, nil
}

func plain(c rune) rune {
	if c < ' ' || c == 0x7f {
		return -1
	}
	return c
}

// verdict reads what a check ruleset resolved to.
func (r *Rewriter) verdict(toks []addr.Token) (refused *Refusal, quarantine string) {
	host, user, _ := cut(toks[2:])
	switch strings.ToLower(string(toks[1])) {
	case "error":
		if strings.EqualFold(r.join(host), "quarantine") {
			return nil, r.joinWith(user, " ")
		}
		return refusal(r.join(host), r.joinWith(user, " ")), ""
	case "discard":
		return &Refusal{Discard: true}, ""
	}
	return nil, ""
}

// Answer asks a ruleset that answers with words behind $#: srv_features, greet_pause. ok is false when there is no such
// ruleset, or it has no answer.
func (r *Rewriter) Answer(ctx context.Context, ruleset string, args []string, m Message) (words []string, ok bool, err error) {
	rs := r.named(ruleset)
	if rs == nil {
		return nil, false, nil
	}
	var toks []addr.Token
	for i, a := range args {
		if i > 0 {
			toks = append(toks, addr.Sep)
		}
		some, _ := r.engine.Syntax().Split(a)
		toks = append(toks, some...)
	}
	toks, err = r.run(ctx, rs, toks, r.state(m))
	if err = unlessTold(err); err != nil || len(toks) < 2 || toks[0] != addr.Mailer {
		return nil, false, err
	}
	for _, t := range toks[1:] {
		words = append(words, string(t))
	}
	return words, true, nil
}
