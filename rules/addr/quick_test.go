package addr

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Texts that are cut the quick way become the tokens that the other way makes of them.
func TestQuickIsSplit(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 3))
	const chars = "ab.@<>, \t:;!%[]+1\x00\x01\"\\()\xe9\x85"
	quick := 0
	for _, operators := range []string{StockOperators, OldOperators, ".:%@!^/[]+=<", " a"} {
		s := New(operators)
		for range 20000 {
			text := make([]byte, r.IntN(14))
			for i := range text {
				text[i] = chars[r.IntN(len(chars)-r.IntN(8))]
			}
			got, ok := s.quick(nil, string(text))
			if !ok {
				continue
			}
			quick++
			for _, how := range []mode{0, strip, typed, metas | strip, trusted | strip} {
				// a text of more octets than the quick way takes is cut the other way; blanks at its end change nothing
				long := make([]byte, 300)
				for i := range long {
					long[i] = ' '
				}
				copy(long, text)
				want, _, issues := s.split(nil, string(long), 0, how)
				if !slices.Equal(got, want) || len(issues) > 0 {
					t.Fatalf("operators %q, %q, mode %b: quick %q, want %q %v", operators, text, how, got, want, issues)
				}
			}
		}
	}
	if quick < 20000 {
		t.Errorf("only %d texts were cut the quick way", quick)
	}
}
