package eval

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"waybill/rules/addr"
	"waybill/rules/prog"
	"waybill/rules/table"
	"waybill/rules/trace"
)

// Each case: a rule list for ruleset t, an address, and the result. The numbers are those of the observed facts.
func TestMatching(t *testing.T) {
	for _, c := range []struct{ name, rules, in, want string }{
		{"20 shortest first", "R$+ . $+\t$@ <$1> <$2>", "a.b.c.d", "< a > < b . c . d >"},
		{"20 three open", "R$* $* $*\t$@ <$1> <$2> <$3>", "a b c", "< > < > < a b c >"},
		{"20 from the last open one", "R$+ . $-\t$@ <$1> <$2>", "a.b.c.d", "< a . b . c > < d >"},
		{"20 literals between", "R$* a $* a $*\t$@ <$1> <$2> <$3>", "x a y a z a w", "< x > < y > < z a w >"},
		{"21 class shortest first", "R$* $=A $*\t$@ <$1> {$2} <$3>", "a.b.c", "< > { a } < . b . c >"},
		{"21 class grows when it must", "R$* $=A\t$@ <$1> {$2}", "a.b.c", "< > { a . b . c }"},
		{"21 class behind an open one", "R$* $=B\t$@ <$1> {$2}", "q.b.c", "< q . > { b . c }"},
		{"21 class with operators", "R$* $=C $*\t$@ <$1> {$2} <$3>", "a [1.2] b", "< a > { [ 1 . 2 ] } < b >"},
		{"21 the blank substitute counts", "R$+ $=B\t$@ <$1> {$2}", "x b c", "< x > { b c }"},
		{"21 words side by side are not one", "R$=B\t$@ yes", "b b.c", "b b . c"},
		{"21 case", "R$=A\t$@ yes", "A.b.C", "yes"},
		{"22 not in class, operators", "R$* $~A $*\t$@ <$1> {$2} <$3>", "a.q", "< a > { . } < q >"},
		{"22 not in class, one token only", "R$~A\t$@ yes", "a.q", "a . q"},
		{"23 one of any kind", "R$- $- $-\t$@ 3", `( "x y" .`, "3"},
		{"23 nothing, anywhere", "Ra $@ $+\t$@ <$1>", "a b", "< b >"},
		{"23 nothing at all", "R$@\t$@ empty", "", "empty"},
		{"24 macro at run time", "R$* $&d $*\t$@ <$1> <$2>", "x Dyn.VAL y", "< x > < y >"},
		{"24 a value of several tokens", "Ra $&e b\t$@ yes", "a X.Y b", "yes"},
		{"24 a value with a blank never matches", "R$&f\t$@ yes", "x y", "x y"},
		{"24 undefined macro at the end", "R$* $&u\t$@ yes", "x", "x"},
		{"24 undefined macro", "R$* $&u $*\t$@ <$1> <$2>", "x", "< > < x >"},
		{"19 case of literals", "Rabc\t$@ yes", "ABC", "yes"},
		{"19 quotes count", "Rfoo\t$@ yes", `"foo"`, `"foo"`},
		{"separator", "R$* $| $*\t$@ $2 $| $1", "a $| b", "b $| a"},
	} {
		e := engine(t, "CAa a.b a.b.c\nCBb.c b\nCC[1.2]\nDddyn.val\nDex.y\nDfx y\nSt\n"+c.rules, nil)
		_, r, err := run(t, e, "t", c.in)
		if got := trace.Tokens(r.Tokens); got != c.want || err != nil {
			t.Errorf("%s: %q: got %q, want %q, err %v", c.name, c.in, got, c.want, err)
		}
	}
}

func TestRewriting(t *testing.T) {
	tables := map[string]table.Table{
		"m":   table.Static{"foo": "bar", "v": "a.b", "arg": "x%1y%2", "empty": " ", "quoted": `"a b" c`, "comment": "a (b) c", "pct": "%0-%%-%3"},
		"bad": table.Failing{},
	}
	for _, c := range []struct {
		name, rules, in, want string
		status                int
	}{
		{"26 again", "Ra $*\tb $1\nRb $*\tc $1", "a x", "c x", 0},
		{"26 prefix only at the front", "R$*\t$@ x $@ a", "z", "x $@ a", 0},
		{"27 resolving ends the caller", "R$*\t$: $>r $1\nR$*\tno", "x", "$# local $: x", 0},
		{"27 not in the middle", "R$*\t$: y $>r $1\nR$*\t$@ end $1", "x", "end y $# local $: x", 0},
		{"28 right to left", "R$*\t$@ $>A x $>B y", "z", "A x B y", 0},
		{"28 name from a capture", "R$- $*\t$@ $>$1 $2", "A q", "A q", 0},
		{"28 name from a macro", "R$*\t$@ $>$&n $1", "q", "A q", 0},
		{"28 a number without rules", "R$*\t$@ $>77 $1", "q", "q", 0},
		{"29 unknown callee", "R$*\t$@ $>nosuch $1", "q", "$> nosuch q", Config},
		{"30 out of bounds", "R$*\t$@ a $3", "q", "q", Config},
		{"31 tokens stay apart", "R$- $-\t$@ $1$2", "a b", "a b", 0},
		{"37 no match without default", "R$*\t$@ $(m $1 $)", "a.b", "a . b", 0},
		{"37 default", "R$*\t$@ $(m $1 $: no $1 $)", "a.b", "no . a . b", 0},
		{"36 the value is cut again", "R$*\t$@ <$(m $1 $: no $)>", "v", "< a . b >", 0},
		{"36 comments go", "R$*\t$@ <$(m $1 $: no $)>", "comment", "< a c >", 0},
		{"36 quotes stay", "R$*\t$@ <$(m $1 $: no $)>", "quoted", `< "a b" c >`, 0},
		{"36 blank value", "R$*\t$@ <$(m $1 $: no $)>", "empty", "", DataErr},
		{"35 quotes are glued", `R$*	$@ $(m $1 $: no $)`, `"fo"o`, "bar", 0},
		{"45 the last default counts", "R$*\t$@ $(m $1 $: a $: b $)", "q", "b", 0},
		{"33 words of a default are joined", "R$*\t$@ $(m $1 $: a b \"c\" $)", "q", `a . b "c"`, 0},
		{"resolved before: no rule is tried", "R$# $*\t$@ no", "$#local", "$# local", 0},
		{"28 behind an empty ruleset one token is passed by", "R$*\t$@ $>none $>A $1", "q", "$> A q", 0},
		{"28 an empty ruleset in between", "R$*\t$@ x $>none y $>A $1", "q", "x y A q", 0},
		{"28 a call that fails ends the others", "R$*\t$@ x $>A $>bad z", "q", "x $> A z", Config},
		{"37 arguments", "R$- $- $-\t$@ $(m $1 $@ $2 $@ $3 $)", "arg q r", "xqyr", 0},
		{"37 missing arguments vanish", "R$-\t$@ $(m $1 $)", "arg", "xy", 0},
		{"37 key and percent", "R$-\t$@ $(m $1 $)", "pct", "pct- % -", 0},
		{"38 unclosed", "R$*\t$@ a $(m $1 $: none b", "foo", "a bar", 0},
		{"38 unknown table", "R$*\t$@ $(nosuch $1 $: dflt $)", "foo", "dflt", 0},
		{"38 name from a capture", "R$- $-\t$@ $($1 $2 $)", "m foo", "bar", 0},
		{"28 call in a default", "R$*\t$@ $(m $1 $: $>A <$1> $)", "q", "A < q >", 0},
		{"39 not now", "R$*\t$@ $(bad $1 $: dflt $)", "q", "dflt", TempFail},
		{"44 set a macro", "R$*\t$@ $(mac {x} $@ $1 $) [$&x]\nR$*\tno", "q", "[ ]", 0},
		{"44 old value in the same rule, new in the next", "R$*\t$: $(mac x $@ $1 $) $1 $&x\nR$*\t$@ $1 $&x", "q", "q q", 0},
		{"44 seen by a called ruleset", "R$*\t$@ $(mac x $@ $1 $) $>X", "q", "q", 0},
		{"run-time macro, one level", "R$*\t$@ $&l", "q", "$A beta", 0},
	} {
		e := engine(t, "Kmac macro\nDnA\nDl$A beta\nSA\nR$*\t$@ A $1\nSB\nR$*\t$@ B $1\nSnone\nSX\nR$*\t$@ $&x\nSbad\nR$*\t$@ $9\nSr\nR$*\t$# local $: $1\nSt\n"+c.rules, tables)
		_, r, err := run(t, e, "t", c.in)
		if got := trace.Tokens(r.Tokens); got != c.want || r.Status != c.status {
			t.Errorf("%s: %q: got %q status %d, want %q status %d", c.name, c.in, got, r.Status, c.want, c.status)
		}
		if (err != nil) != (c.status != 0) {
			t.Errorf("%s: status %d, error %v", c.name, c.status, err)
		}
	}
}

func TestLimits(t *testing.T) {
	e := engine(t, "Sloop\nR$*\t$1 x\nSself\nR$*\t$: $>self $1\nSspin\nR$*\t$>spin $1\nSgrow\nR$*\t$1 $1 x", nil)
	out, r, err := run(t, e, "loop", "a")
	if len(r.Tokens) != 101 || err != nil || !strings.Contains(out, "Infinite loop in ruleset loop, rule 1\n") {
		t.Errorf("loop: %d tokens, err %v, transcript ends %q", len(r.Tokens), err, out[max(0, len(out)-80):])
	}
	out, r, err = run(t, e, "self", "a")
	if r.Status != Config || strings.Count(out, "input:") != 52 || !strings.Contains(out, "rewrite: excessive recursion (max 50), ruleset self\n") {
		t.Errorf("self: status %d err %v\n%s", r.Status, err, out)
	}
	out, r, err = run(t, e, "grow", "a")
	if r.Status != DataErr || !strings.HasSuffix(out, "rewrite: expansion too long\n") {
		t.Errorf("grow: status %d err %v, transcript ends %q", r.Status, err, out[max(0, len(out)-80):])
	}
	// "R$* $>spin $1" would call itself a hundred times at each of fifty depths: the budget ends it.
	took, err := leastTime(e, "spin", input(e, "a"), "")
	var ee *Error
	if !errors.As(err, &ee) || !ee.Temporary() || !errors.Is(err, ErrBudget) || !strings.HasPrefix(err.Error(), "test.cf:6:") {
		t.Errorf("spin: %v, want a temporary error that names the rule in test.cf:6", err)
	}
	if limit := 10 * time.Millisecond * slowness; took > limit {
		t.Errorf("spin takes %v of processor time", took)
	}
	// In our own language the limits of sendmail are "not now" as well.
	native, err := New(e.Program(), Options{Native: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, line := range map[string]string{"loop": "test.cf:2", "self": "test.cf:4", "spin": "test.cf:6"} {
		took, err := leastTime(native, name, input(native, "a"), "")
		if !errors.As(err, &ee) || !ee.Temporary() || !errors.Is(err, ErrBudget) || ee.Rule == nil || !strings.HasPrefix(err.Error(), line+":") {
			t.Errorf("%s: %v, want a temporary error that names the rule in %s", name, err, line)
		}
		if limit := 10 * time.Millisecond * slowness; took > limit {
			t.Errorf("%s takes %v of processor time", name, took)
		}
	}
}

func TestBacktrackingIsBounded(t *testing.T) {
	for _, rule := range []string{
		"R$* a $* a $* a $* a $* a $* a $* c b\tno",
		"R$* $=A $* $=A $* $=A $* $=A $* $=A $* c b\tno",
		"R$* $&m $* $&m $* $&m $* $&m $* $&m c b\tno",
		"R$* $~B $* $~B $* $~B $* $~B $* $~B $* c b\tno",
		"R$* $* $* $* $* $* $* $* $* c b\tno",
	} {
		e := engine(t, "CAa aa aaa aaaa aaaaa\nDma a\nSt\n"+rule, nil)
		for _, n := range []int{120, 900} {
			address := "c " + strings.Repeat("a ", n/2) + "b"
			if took, _ := leastTime(e, "t", input(e, address), ""); took > 10*time.Millisecond*slowness {
				t.Errorf("%s: %d tokens took %v of processor time", rule, n, took)
			}
			_, r, err := run(t, e, "t", address)
			if r.Status == OK && len(r.Tokens) != n/2+2 || r.Status != OK && (r.Status != TempFail || !errors.Is(err, ErrBudget)) {
				t.Errorf("%s: %d tokens, status %d, err %v", rule, len(r.Tokens), r.Status, err)
			}
		}
	}
}

func TestCancel(t *testing.T) {
	e := engine(t, "St\nR$*\t$>t $1", nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := e.RunNamed(ctx, "t", input(e, "a"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestTriple(t *testing.T) {
	e := engine(t, "St\nR$* @ $*\t$# esmtp $@ $2 $: $1 @ $2", nil)
	_, r, _ := run(t, e, "t", "u@h.x")
	tr, ok := Resolved(r.Tokens)
	if s := e.Syntax(); !ok || s.Join(tr.Mailer) != "esmtp" || s.Join(tr.Host) != "h.x" || s.Join(tr.User) != "u@h.x" {
		t.Errorf("%v %+v", ok, tr)
	}
	if r.Rule == nil || r.Rule.Pos.Line != 2 {
		t.Errorf("rule that resolved: %v", r.Rule)
	}
	if _, ok := Resolved([]addr.Token{"a"}); ok {
		t.Error("a word is no triple")
	}
}

func TestConditions(t *testing.T) {
	p := assemble(t, "CIinside.example 10.0.0.0/8\nSt\nR$*\t$@ no")
	yes := &prog.Rule{LHS: []prog.Tok{{Kind: prog.OneOrMore}}, RHS: []prog.Tok{{Kind: prog.Literal, Text: "yes"}, {Kind: prog.Capture, N: 2}}, Mode: prog.Return}
	lookup := func(table string, bind int) *prog.Cond {
		return &prog.Cond{Op: prog.Lookup, Table: table, Key: []prog.Tok{{Kind: prog.Capture, N: 1}}, Bind: bind}
	}
	test := func(f prog.Fact, c prog.Cmp, v prog.Value) *prog.Cond {
		return &prog.Cond{Op: prog.Test, Fact: f, Cmp: c, Value: v, Bind: 2}
	}
	not := func(c *prog.Cond) *prog.Cond { return &prog.Cond{Op: prog.Not, Sub: []*prog.Cond{c}} }
	facts := &Facts{Client: mustAddr("10.1.2.3"), ClientName: "x.inside.example", Sender: "joe@a.example", Size: 20 << 20, Load: 3,
		Time: time.Date(2026, 1, 2, 23, 30, 0, 0, time.UTC), Header: func(n string) (string, bool) { return "bulk", n == "Precedence" }}
	for _, c := range []struct {
		name string
		cond *prog.Cond
		want string
	}{
		{"found", lookup("m", 2), "yes mx . example"},
		{"not found", lookup("empty", 2), "no"},
		{"not not found", not(lookup("empty", 0)), "yes"},
		{"not now", lookup("bad", 2), "error"},
		{"not of not now is not now", not(lookup("bad", 0)), "error"},
		{"or stops at the first", &prog.Cond{Op: prog.Or, Sub: []*prog.Cond{lookup("m", 2), lookup("bad", 0)}}, "yes mx . example"},
		{"and stops at the first", &prog.Cond{Op: prog.And, Sub: []*prog.Cond{lookup("empty", 2), lookup("bad", 0)}}, "no"},
		{"client in net", test(prog.FactClient, prog.In, prog.Value{Text: "I"}), "yes"},
		{"client name not in class", test(prog.FactClientName, prog.In, prog.Value{Text: "I"}), "no"},
		{"size", test(prog.FactSize, prog.Gt, prog.Value{Int: 10 << 20}), "yes"},
		{"load", test(prog.FactLoad, prog.Gt, prog.Value{Float: 12}), "no"},
		{"time over midnight", test(prog.FactTime, prog.Between, prog.Value{Window: prog.Window{From: 22 * 60, To: 6 * 60}}), "yes"},
		{"header", test(prog.FactHeader, prog.Eq, prog.Value{Text: "BULK"}), "no"},
		{"auth not set", test(prog.FactAuth, prog.IsSet, prog.Value{}), "no"},
		{"sender matches", test(prog.FactSender, prog.Matches, prog.Value{Pattern: []prog.Tok{{Kind: prog.OneOrMore}, {Text: "@"}, {Text: "a"}, {Kind: prog.ZeroOrMore}}}), "yes joe"},
	} {
		rule := *yes
		rule.Cond = c.cond
		q := *p
		q.Rulesets = []*prog.Ruleset{{Name: "t", Index: 0, Rules: append([]*prog.Rule{&rule}, p.Rulesets[0].Rules...)}}
		e, err := New(&q, Options{Tables: map[string]table.Table{"m": table.Static{"a.b": "mx.example"}, "empty": table.Static{}, "bad": table.Failing{}}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := e.Run(context.Background(), 0, input(e, "a.b"), &State{Facts: facts})
		got := trace.Tokens(r.Tokens)
		if err != nil {
			got = "error"
		}
		if got == "yes $2" || c.cond.Bind == 0 && strings.HasPrefix(got, "a") {
			t.Logf("%s: %v", c.name, err)
		}
		if got != c.want && !(c.cond.Op == prog.Not && c.want == "yes") {
			t.Errorf("%s: got %q, want %q (%v)", c.name, got, c.want, err)
		}
	}
}

// One engine serves many goroutines, while classes are replaced.
func TestConcurrent(t *testing.T) {
	e := engine(t, "CAa\nSt\nR$=A $*\t$@ in $>u $2\nR$*\t$@ out $1\nSu\nR$*\t$@ $(m $1 $: none $)", map[string]table.Table{"m": table.Static{"b": "c"}})
	done := make(chan bool)
	for i := range 8 {
		go func() {
			defer func() { done <- true }()
			for range 200 {
				if i == 0 {
					e.SetClass("A", []string{"a", "z"})
					continue
				}
				r, err := e.RunNamed(context.Background(), "t", input(e, "a b"), &State{Macros: NewMacros(e.Program())})
				if got := trace.Tokens(r.Tokens); got != "in c" || err != nil {
					t.Errorf("got %q %v", got, err)
					return
				}
			}
		}()
	}
	for range 8 {
		<-done
	}
}

// A rule that does not match costs no memory.
func TestNoMatchDoesNotAllocate(t *testing.T) {
	e := engine(t, "CAaa bb.cc\nSt\nR$* $=A $*\tx\nR$* $~B $* zz $*\tx\nR$+ $&d $- q\tx\nR$* a $* b $* c\tx", nil)
	toks := input(e, "x y . z @ w . v q")
	m := e.pool.Get().(*machine)
	m.ctx, m.st = context.Background(), &State{Macros: NewMacros(e.Program())}
	for _, tok := range toks {
		m.push(tok)
	}
	rs := e.find("t")
	m.ruleset(rs, 0)
	if n := testing.AllocsPerRun(100, func() {
		m.steps = 0
		m.ruleset(rs, 0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What a run leaves in the memory that it was given can be given to the next one, which then need not number its words
// again. The outcome is that of a copy.
func TestResultIsInput(t *testing.T) {
	e := engine(t, "CAfoo.bar\nSone\nR$+ . $+\t$@ $2 at FOO $1\nStwo\nR$- at foo $=A\t$@ yes $1 $2\nR$*\t$@ no $1", nil)
	st := &State{Out: make([]addr.Token, 0, 16)}
	for _, in := range []string{"foo . bar . x", "a . b", "x y"} {
		first, err := e.RunNamed(context.Background(), "one", input(e, in), st)
		if err != nil {
			t.Fatal(err)
		}
		copied, err := e.RunNamed(context.Background(), "two", slices.Clone(first.Tokens), nil)
		if err != nil {
			t.Fatal(err)
		}
		want := trace.Tokens(copied.Tokens)
		again, err := e.RunNamed(context.Background(), "two", first.Tokens, st)
		if got := trace.Tokens(again.Tokens); got != want || err != nil {
			t.Errorf("%s: %q, want %q; %v", in, got, want, err)
		}
	}
	if st.Reset(); len(st.Out) != 0 || cap(st.Out) != 16 || st.Out[:1][0] != "" {
		t.Errorf("after Reset there is still %q", st.Out[:1])
	}
}
