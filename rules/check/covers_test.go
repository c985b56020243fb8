package check

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	"waybill/rules/addr"
	"waybill/rules/eval"
	"waybill/rules/prog"
)

// FuzzCovers holds "a covers b" against the evaluator: an address that b matches is one that a matches.
func FuzzCovers(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed)
	}
	words := []string{"a", "b", "."}
	kinds := []prog.Kind{prog.Literal, prog.Literal, prog.Literal, prog.ZeroOrMore, prog.OneOrMore, prog.One, prog.InClass, prog.NotInClass, prog.Empty}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 2))
		side := func() []prog.Tok {
			var out []prog.Tok
			for range 1 + r.IntN(4) {
				tok := prog.Tok{Kind: kinds[r.IntN(len(kinds))]}
				switch tok.Kind {
				case prog.Literal:
					tok.Text = words[r.IntN(len(words))]
				case prog.InClass, prog.NotInClass:
					tok.Text = "c"
				}
				out = append(out, tok)
			}
			return out
		}
		a, b := side(), side()
		p := prog.New()
		p.Classes["c"] = &prog.Class{Name: "c", Words: []string{"a", "a.b"}}
		if !(&program{p: p}).covers(a, b) {
			return
		}
		for i, lhs := range [][]prog.Tok{a, b} {
			rs := p.AddRuleset(string(rune('x'+i)), -1, prog.Pos{})
			rs.Rules = []*prog.Rule{{LHS: lhs, Mode: prog.Return, RHS: []prog.Tok{{Kind: prog.Mailer}, {Kind: prog.Literal, Text: "yes"}}}}
		}
		e, err := eval.New(p, eval.Options{})
		if err != nil {
			t.Fatal(err)
		}
		matches := func(set string, toks []addr.Token) bool {
			res, err := e.RunNamed(context.Background(), set, toks, nil)
			if err != nil {
				t.Fatal(err)
			}
			return res.Rule != nil
		}
		for range 60 {
			var toks []addr.Token
			for range r.IntN(6) {
				toks = append(toks, addr.Token(words[r.IntN(len(words))]))
			}
			if matches("y", toks) && !matches("x", toks) {
				text := func(lhs []prog.Tok) string {
					var s []string
					for _, t := range lhs {
						s = append(s, t.String())
					}
					return strings.Join(s, " ")
				}
				t.Fatalf("%q covers %q, but not %v", text(a), text(b), toks)
			}
		}
	})
}
