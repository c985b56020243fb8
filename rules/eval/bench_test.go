package eval

import (
	"context"
	"strings"
	"testing"

	"waybill/rules/trace"
)

// benchRules are shaped like a stock configuration: a few rulesets that focus an address and resolve it, among many
// rules that do not match.
func benchRules() string {
	var b strings.Builder
	b.WriteString("Cwexample.org localhost\nScanon\nR$@\t$@ <@>\nR$* < $* > $*\t$: $2\nR$+ @ $+\t$: $1 < @ $2 >\nR$- ! $+\t$: $2 < @ $1 . UUCP >\n")
	for _, s := range strings.Fields("DECNET BITNET CSNET FAX X400 HTTP") {
		b.WriteString("R$* < @ $+ . " + s + " > $*\t$: $1 < @ " + s + " . $2 > $3\n")
	}
	b.WriteString("R$* < @ $=w > $*\t$: $1 < @ $2 . > $3\nSparse\nR$*\t$: $>canon $1\n")
	for i := range 40 {
		b.WriteString("R$+ < @ host" + string(rune('a'+i%26)) + strings.Repeat("x", i/26) + " . $* > $*\t$# relay $@ h $: $1\n")
	}
	b.WriteString("R$* < @ $=w . > $*\t$# local $: $1\nR$* < @ $+ > $*\t$# esmtp $@ $2 $: $1 < @ $2 > $3\nR$+\t$# local $: $1\n")
	return b.String()
}

func BenchmarkRun(b *testing.B) {
	e := engine(b, benchRules(), nil)
	rs := e.find("parse").src.Index
	for _, a := range []string{"joe@example.org", "a.long.name+detail@mail.sub.example.com", "site!user", "local"} {
		toks := input(e, a)
		b.Run(a, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Run(context.Background(), rs, toks, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBudget(b *testing.B) {
	e := engine(b, "Sspin\nR$*\t$>spin $1\nSback\nR$* a $* $~b $* a $* $~c $+ a $* b $*\tno $1 $2 $3 $4 $5 $6\nR$*\t$>back $1 a", nil)
	for _, name := range []string{"spin", "back"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := e.RunNamed(context.Background(), name, input(e, strings.Repeat("a ", 100)), nil); err == nil {
					b.Fatal("no error")
				}
			}
		})
	}
}

func BenchmarkTrace(b *testing.B) {
	e := engine(b, benchRules(), nil)
	rs := e.find("parse").src.Index
	toks := input(e, "a.long.name+detail@mail.sub.example.com")
	st := &State{Tracer: &trace.Text{W: discard{}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Run(context.Background(), rs, toks, st); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
