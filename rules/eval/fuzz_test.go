package eval

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"waybill/rules/table"
)

// random makes a program of two rulesets out of octets, each of which picks a part of the left or the right side of a rule.
func random(rules []byte, left, right []string) string {
	var b strings.Builder
	b.WriteString("Kmac macro\nCAa a.b b.b.b\nDda b\nSt\n")
	take := func(from []string, most int) {
		for n := 0; n < most && len(rules) > 0; n++ {
			c := rules[0]
			rules = rules[1:]
			if c > 240 {
				return
			}
			b.WriteString(from[int(c)%len(from)] + " ")
		}
	}
	for n := 0; n < 12 && (n == 0 || len(rules) > 0); n++ {
		if n == 6 {
			b.WriteString("Su\n")
		}
		b.WriteString("R")
		take(left, 9)
		b.WriteString("\t")
		take(right, 12)
		b.WriteString("\n")
	}
	return b.String()
}

// FuzzRun makes a program out of octets, runs it, and wants an end in time: with a result, or with an error that says
// why there is none.
func FuzzRun(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x10\x11"), "a.b@c")
	f.Add([]byte("R$* $* $*\t$1 $2 $1\nR$+\t$>t $1 $1"), "a b c d e f")
	f.Add([]byte{6, 7, 8, 255, 4, 3, 2, 1, 9, 12, 255, 13, 14, 20, 21}, `"x y" <z>`)
	left := []string{"$*", "$+", "$-", "$@", "$=A", "$~A", "$&d", "a", "b", ".", "@", "<", ">", "$|", "$#"}
	right := []string{"$1", "$2", "$3", "$9", "a", "b", ".", "$>t", "$>u", "$>nosuch", "$(m", "$@", "$:", "$)", "$[", "$]", "$&d", "$#", "x y", "$(mac", "d"}
	f.Fuzz(func(t *testing.T, rules []byte, address string) {
		src := random(rules, left, right)
		e := engine(t, src, map[string]table.Table{"m": table.Static{"a": "b.c", "b": "$# x"}, "host": table.Static{"b": "c."}})
		in := input(e, address)
		runtime.LockOSThread()
		start := threadTime()
		r, err := e.RunNamed(context.Background(), "t", in, nil)
		d := threadTime() - start
		runtime.UnlockOSThread()
		if d > 50*time.Millisecond*slowness { // 10 ms, and what the collector may take
			t.Errorf("%v for\n%s", d, src)
		}
		var ee *Error
		if err != nil && !errors.As(err, &ee) {
			t.Errorf("error %v", err)
		}
		if (err != nil) != (r.Status != OK) {
			t.Errorf("status %d, error %v", r.Status, err)
		}
		if len(r.Tokens) > MaxTokens {
			t.Errorf("%d tokens", len(r.Tokens))
		}
	})
}
