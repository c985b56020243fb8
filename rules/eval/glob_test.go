package eval

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A pattern that is matched without backtracking takes what backtracking would.
func TestGlobIsBacktracking(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 8))
	symbols := []string{"$*", "$*", "$+", "$+", "$-", "$=A", "$~B", "a", "b", ".", "$@"}
	tokens := []string{"a", "b", ".", "c", "A"}
	pick := func(from []string, most int) string {
		var b strings.Builder
		for range r.IntN(most + 1) {
			b.WriteString(from[r.IntN(len(from))] + " ")
		}
		return b.String()
	}
	globs, matched, classes, tails := 0, 0, 0, 0
	for range 2000 {
		pattern := pick(symbols, 8)
		e := engine(t, "CAa a.b b.b.b c a.b.c\nCBb c\nSt\nR"+pattern+"\tx", nil)
		rule := &e.sets[0].rules[0]
		if rule.glob == nil && rule.tail == nil {
			continue
		}
		globs++
		for range 12 {
			in := input(e, pick(tokens, 9))
			m := e.pool.Get().(*machine)
			m.ctx, m.st = context.Background(), &State{}
			for _, tok := range in {
				m.push(tok)
			}
			m.caps = make([]span, rule.caps)
			wild := 0
			lhs := e.symbols(nil, rule.src.LHS, &wild)
			want := m.backtrack(lhs, rest(lhs), m.mem)
			caps := slices.Clone(m.caps)
			clear(m.caps)
			m.caps = m.caps[:rule.caps]
			got := rule.passes(endsOf(m.mem), len(m.mem))
			if got {
				got, _ = m.matches(rule, 0)
			}
			if got != want || want && fmt.Sprint(caps) != fmt.Sprint(m.caps) {
				t.Fatalf("R%s over %q: %v %v, backtracking says %v %v", pattern, in, got, m.caps, want, caps)
			}
			if want {
				matched++
				if rule.glob == nil {
					tails++
				} else if rule.glob.class != none {
					classes++
				}
			}
			m.release()
		}
	}
	if globs < 500 || matched < 1000 || classes < 150 || tails < 15 {
		t.Errorf("only %d globs, %d matches, %d of them with a class, %d tails", globs, matched, classes, tails)
	}
}
