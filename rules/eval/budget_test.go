package eval

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"waybill/rules/addr"
	"waybill/rules/prog"
	"waybill/rules/table"
)

// threadTime is the processor time of this thread: elapsed time says little on a machine with other work.
func threadTime() time.Duration {
	const thisThread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	if err := syscall.Getrusage(thisThread, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// leastTime runs a ruleset some times and returns the least processor time: the collector, and whatever else the machine
// does, may take its share of some.
func leastTime(e *Engine, ruleset string, in []addr.Token, sender string) (least time.Duration, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	least = time.Hour
	for range 1 + 4/slowness {
		st := &State{Facts: &Facts{Sender: sender}}
		began := threadTime()
		_, err = e.RunNamed(context.Background(), ruleset, in, st)
		least = min(least, threadTime()-began)
	}
	return least, err
}

// hostile are programs that do as much as they can with each step of the budget.
func hostile() string {
	return `Kmac macro
Krex regex -a@yes (a|b)*c
CAa b.a a.b.a.b.a.b
Dma
Sspin
R$*	$>spin $1
Sboth
R$+	$>both $1 $>both $1
Sback
R$* a $* $~b $* a $* $~c $+ a $* b $*	no $1 $2 $3 $4 $5 $6
R$*	$>back $1 a
Sgrow
R$* a	$1 a a
R$* a a	$>grow $1 a
Sclass
R$* $=A $* $=A $* $=A $* $=A zz	no
R$*	$>class $1
Smany
R$* $* $* $* $* $* $* $* $* zz $*	no
R$*	$>many $1
Slookup
R$*	$(m $1 $: $1 $) $>lookup $1
Smacro
R$*	$(mac {x} $@ $&{x} $1 $) $>macro $1
Smatch
R$* $&m $* $&m $* $&m zz	no
R$*	$>match $1
Sdefault
R$*	$(m x $: $1 $1 $1 $1 $) $>default $1
Sping
R$*	$: $>pong $1 $>pong $1 $>pong $1
Spong
R$*	$: $>ping $1 $>ping $1 $>ping $1
`
}

// TestNoRunTakesLong: whatever the rules and the address, a run ends within 10 ms of processor time, and says which
// rule it was in.
func TestNoRunTakesLong(t *testing.T) {
	p := assemble(t, hostile())
	for _, rs := range p.Rulesets { // conditions cost as well
		if rs.Name == "lookup" {
			all := []prog.Tok{{Kind: prog.ZeroOrMore}}
			is := func(fact prog.Fact, c int) *prog.Cond {
				return &prog.Cond{Op: prog.Test, Fact: fact, Cap: c, Cmp: prog.Matches, Value: prog.Value{Pattern: []prog.Tok{{Kind: prog.ZeroOrMore}, {Kind: prog.Literal, Text: "q"}, {Kind: prog.ZeroOrMore}}}}
			}
			cond := &prog.Cond{Op: prog.Or, Sub: []*prog.Cond{is(prog.FactCapture, 1), is(prog.FactSender, 0), {Op: prog.Lookup, Table: "m", Key: []prog.Tok{{Kind: prog.Capture, N: 1}}}}}
			set := p.AddRuleset("conditions", -1, prog.Pos{})
			for range 50 {
				set.Rules = append(set.Rules, &prog.Rule{LHS: all, Cond: cond, Mode: prog.Once, RHS: []prog.Tok{{Kind: prog.Capture, N: 1}}, Pos: prog.Pos{File: "test.cf", Line: 1}})
			}
			set.Rules = append(set.Rules, &prog.Rule{LHS: all, RHS: []prog.Tok{{Kind: prog.Call}, {Kind: prog.Literal, Text: "conditions"}, {Kind: prog.Capture, N: 1}}, Pos: prog.Pos{File: "test.cf", Line: 2}})
		}
	}
	long := strings.Repeat("x", addr.MaxToken-1)
	addresses := map[string]string{
		"short": "a", "words": strings.Repeat("a ", 200), "dots": strings.Repeat("a.", 120) + "a", "long words": strings.Repeat(long+" ", 8), "classes": strings.Repeat("a.b.", 60) + "a", "quotes": strings.Repeat(`"a b" `, 100),
	}
	ended := 0
	for _, native := range []bool{false, true} {
		e, err := New(p, Options{Native: native, Tables: map[string]table.Table{"m": table.Static{"z": "y"}, "rex": table.Static{}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, rs := range p.Rulesets {
			for name, address := range addresses {
				in := input(e, address)
				best, runErr := leastTime(e, rs.Name, in, address)
				if limit := 10 * time.Millisecond * slowness; best > limit {
					t.Errorf("%s, %s: %v of processor time", rs.Name, name, best)
				}
				var wrong *Error
				if runErr == nil || !native {
					continue // it came to an end, as with sendmail
				}
				ended++
				if !errors.As(runErr, &wrong) || wrong.Rule == nil || !strings.Contains(runErr.Error(), "test.cf:") || errors.Is(runErr, ErrBudget) != wrong.Temporary() {
					t.Errorf("%s, %s: %v, want a temporary error that names the rule", rs.Name, name, runErr)
				}
			}
		}
	}
	if ended < 50 {
		t.Errorf("only %d runs were ended by a limit", ended)
	}
}
