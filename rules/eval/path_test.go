package eval

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"waybill/rules/addr"
	"waybill/rules/prog"
	"waybill/rules/table"
	"waybill/rules/trace"
)

// pair compares an engine that remembers paths with one that forgets, over the same questions in the same order.
type pair struct {
	remembers, forgets *Engine
	a, b               *State
	asked              int
}

func newPair(t testing.TB, p *prog.Program, tables func() map[string]table.Table) *pair {
	t.Helper()
	e, err := New(p, Options{Tables: tables()})
	if err != nil {
		t.Fatal(err)
	}
	f, err := New(p, Options{Tables: tables(), Forget: true})
	if err != nil {
		t.Fatal(err)
	}
	c := &pair{remembers: e, forgets: f}
	c.message(nil)
	return c
}

// message begins another message: no macro is set.
func (c *pair) message(facts *Facts) {
	p := c.forgets.Program()
	c.a = &State{Macros: NewMacros(p), Facts: facts, Out: make([]addr.Token, 0, MaxTokens)}
	c.b = &State{Macros: NewMacros(p), Facts: facts}
}

// ask runs a ruleset in both, and what comes out of it through a second one.
func (c *pair) ask(t testing.TB, rulesets []string, toks []addr.Token) {
	t.Helper()
	ta, tb := toks, slices.Clone(toks)
	var linesA, linesB strings.Builder
	if c.a.Tracer, c.b.Tracer = nil, nil; c.asked/2%2 == 1 { // half of them with their lines
		c.a.Tracer, c.b.Tracer = &trace.Text{W: &linesA}, &trace.Text{W: &linesB}
	}
	c.asked++
	for _, name := range rulesets {
		ra, errA := c.remembers.RunNamed(context.Background(), name, ta, c.a)
		rb, errB := c.forgets.RunNamed(context.Background(), name, tb, c.b)
		if !slices.Equal(ra.Tokens, rb.Tokens) || ra.Status != rb.Status || ra.Rule != rb.Rule || ra.Complete != rb.Complete || fmt.Sprint(errA) != fmt.Sprint(errB) {
			t.Fatalf("%s %q: with paths %q %d %v, without %q %d %v", name, toks, ra.Tokens, ra.Status, errA, rb.Tokens, rb.Status, errB)
		}
		if linesA.String() != linesB.String() {
			t.Fatalf("%s %q: with paths\n%swithout\n%s", name, toks, linesA.String(), linesB.String())
		}
		for _, m := range c.b.Macros.Names() {
			va, _ := c.a.Macros.Get(m)
			if vb, _ := c.b.Macros.Get(m); va != vb {
				t.Fatalf("%s %q: macro %s is %q, without paths %q", name, toks, m, va, vb)
			}
		}
		ta, tb = ra.Tokens, slices.Clone(rb.Tokens)
	}
}

// remembered is how many shapes are remembered.
func remembered(p *paths) (n int) {
	for i := range p.table().slots {
		for k := range p.table().slots[i] {
			if p.table().slots[i][k].path.Load() != nil {
				n++
			}
		}
	}
	return n
}

// likes are addresses of the shape of one, and some others: words are exchanged for others.
func likes(toks []addr.Token, r *rand.Rand) [][]addr.Token {
	words := []addr.Token{"a", "A", "b", "q", "Q7", "nobody", "x y", "b.b", "a.b", `"a"`, "d", "", "p\\@q", "12"}
	var all [][]addr.Token
	for range 12 {
		other := slices.Clone(toks)
		for i, tok := range other {
			if len(tok) > 0 && (tok[0] >= 'a' && tok[0] <= 'z' || tok[0] >= 'A' && tok[0] <= 'Z') && r.IntN(3) > 0 {
				other[i] = words[r.IntN(len(words))]
			}
		}
		all = append(all, other, toks)
	}
	return all
}

const pathRules = `Kmac macro
Cwhere.example b q
CAa a.b b.b.b nobody
Dda b
De
Sone
R$* < $* >	$: $2
R$+ @ $+	$: $1 < @ $2 >
R$* $=A $* $=w $*	$: $1 hit $2 $3 $4 $5
R$+ < @ $=w >	$: $1 < @ $2 . >
R$+ < @ $+ >	$: $1 < @ $(m $2 $: $2 $) >
R$* $~A . $*	$1 $2 $3
R$* $&d $*	$1 D $2
R$- ! $+	$@ $>two $2 < @ $1 >
R$* x $*	$: $(mac p $@ $2 $) $1 $2 $&p
R$+ y $+	$: $(m $1 $: ( $2 ) $) $1
R$+ = $+	$>$1 $2
R$+ : $+	$: $($1 $2 $)
R$+ t $*	$: $[ $1 $: $2 $] $2
Stwo
R$* < @ $+ >	$# esmtp $@ $2 $: $1 < @ $2 >
R$+ $=A	$# local $: $1 $2 $&p
R$+ z	$: $>nosuch $1
R$* c $*	$(bad $1 $: $2 $)
R$-	$# local $: $&e $1
R$+	$# error $@ 5.1.2 $: "no " $1
`

func pathTables() map[string]table.Table {
	return map[string]table.Table{"m": table.Static{"a": "b.c", "b": "$# x", "q": "", "nobody": "a b c . d", "Q7": "<"}, "host": table.Static{"b": "c.", "q.b": "q.b."}, "bad": table.Failing{}}
}

// What is remembered never changes an outcome, a macro or an error.
func TestPathsChangeNothing(t *testing.T) {
	c := newPair(t, assemble(t, pathRules), pathTables)
	r := rand.New(rand.NewPCG(1, 2))
	parts := []string{"a", "b", "q", "nobody", "where.example", "@", ".", "!", "<", ">", "x", "y", "z", "c", "t", "=", "one", "two", ":", "m", "word", "(", ")", "d", "a.b", "hit", "D", `"q"`}
	asked := 0
	for range 300 {
		var toks []addr.Token
		for range r.IntN(9) {
			more, _ := c.forgets.Syntax().Split(parts[r.IntN(len(parts))])
			toks = append(toks, more...)
		}
		c.message(nil)
		for _, like := range likes(toks, r) {
			c.ask(t, []string{"one", "two"}, like)
			asked++
		}
	}
	for _, p := range []*paths{c.remembers.paths, c.remembers.shown} {
		if n := remembered(p); n < 100 {
			t.Errorf("only %d shapes of %d addresses were remembered", n, asked)
		}
	}
}

// The conditions of our language are asked anew for each address.
func TestPathsConditions(t *testing.T) {
	p := assemble(t, "CIinside.example 10.0.0.0/8 q\nSone\nR$+ @ $+\t$: $1 < @ $2 >\nSu\nR$*\t$@ u $1")
	capture := func(n int) []prog.Tok { return []prog.Tok{{Kind: prog.Capture, N: n}} }
	two := []prog.Tok{{Kind: prog.OneOrMore}, {Text: "<"}, {Text: "@"}, {Kind: prog.OneOrMore}, {Text: ">"}}
	rs := p.Rulesets[0]
	add := func(cond *prog.Cond, rhs ...prog.Tok) {
		rs.Rules = append(rs.Rules, &prog.Rule{LHS: two, Cond: cond, RHS: rhs, Mode: prog.Return, Pos: prog.Pos{Line: len(rs.Rules) + 1}})
	}
	resolve := func(n int) []prog.Tok {
		return []prog.Tok{{Kind: prog.Mailer}, {Text: "esmtp"}, {Kind: prog.Host}, {Kind: prog.Capture, N: n}, {Kind: prog.User}, {Kind: prog.Capture, N: 1}}
	}
	look := &prog.Cond{Op: prog.Lookup, Table: "m", Key: capture(2), Bind: 3}
	add(look, resolve(3)...)
	add(&prog.Cond{Op: prog.And, Sub: []*prog.Cond{{Op: prog.Lookup, Table: "m", Key: capture(1), Bind: 3}, {Op: prog.Test, Fact: prog.FactCapture, Cap: 2, Cmp: prog.In, Value: prog.Value{Text: "I"}}}}, resolve(3)...)
	add(&prog.Cond{Op: prog.Test, Fact: prog.FactCapture, Cap: 2, Cmp: prog.In, Value: prog.Value{Text: "I"}}, resolve(2)...)
	add(&prog.Cond{Op: prog.Test, Fact: prog.FactSender, Cmp: prog.Matches, Value: prog.Value{Pattern: []prog.Tok{{Kind: prog.OneOrMore}, {Text: "@"}, {Kind: prog.OneOrMore}}}, Bind: 3}, resolve(4)...)
	add(&prog.Cond{Op: prog.Lookup, Table: "bad", Key: capture(2)}, resolve(2)...)
	c := newPair(t, p, func() map[string]table.Table {
		return map[string]table.Table{"m": table.Static{"a.b": "mx.example", "q.b": "[10.0.0.1]", "a": "x"}, "bad": table.Failing{}}
	})
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 400 {
		facts := &Facts{}
		if i%3 == 0 {
			facts.Sender = []string{"joe@a.example", "x.y@q", "nobody"}[i%9/3]
		}
		c.message(facts)
		toks, _ := c.forgets.Syntax().Split([]string{"joe@a.b", "a@inside.example", "a@c.example", "joe"}[i%4])
		for _, like := range likes(toks, r) {
			c.ask(t, []string{"one", "u"}, like)
		}
		if i == 200 { // and so are classes
			c.remembers.SetClass("I", []string{"c.example"})
			c.forgets.SetClass("I", []string{"c.example"})
		}
	}
	if remembered(c.remembers.paths) == 0 {
		t.Error("nothing was remembered")
	}
}

// What is remembered has a limit, whatever is asked.
func TestPathsAreBounded(t *testing.T) {
	e := engine(t, "CAa\nSone\nR$* $=A $*\t$1 $2 $3\nR$* @ $*\t$2 @ $1", nil)
	st := &State{Macros: NewMacros(e.Program()), Out: make([]addr.Token, 0, 64)}
	first := e.paths.table()
	for n := range 8000 {
		var toks []addr.Token
		for i := range 24 {
			toks = append(toks, []addr.Token{"word", "."}[n>>i&1])
		}
		for range 2 {
			if _, err := e.RunNamed(context.Background(), "one", toks, st); err != nil {
				t.Fatal(err)
			}
		}
	}
	last := e.paths.table()
	if size := last.size.Load(); last == first || size > maxPaths+maxPath {
		t.Errorf("%d octets, and nothing was forgotten", size)
	}
	if n := remembered(e.paths); n == 0 || n > pathPlaces*pathsAPlace {
		t.Errorf("%d shapes", n)
	}
}

// Many goroutines learn and use the same paths, while a class changes.
func TestPathsConcurrently(t *testing.T) {
	e := engine(t, "CAz a\nSone\nR$* $=A $*\t$@ in $1 $(m $3 $: none $)\nR$*\t$@ out $1", map[string]table.Table{"m": table.Static{"b": "c"}})
	done := make(chan bool)
	for i := range 6 {
		go func() {
			defer func() { done <- true }()
			for n := range 400 {
				if i == 0 {
					e.SetClass("A", [][]string{{"a", "z"}, {"z"}}[n%2])
					continue
				}
				r, err := e.RunNamed(context.Background(), "one", []addr.Token{"z", "b"}, &State{Macros: NewMacros(e.Program())})
				other, _ := e.RunNamed(context.Background(), "one", []addr.Token{"a", "q"}, nil)
				if got := fmt.Sprintf("%q", r.Tokens); got != `["in" "c"]` || err != nil {
					t.Errorf("got %s %v", got, err)
					return
				}
				if got := fmt.Sprintf("%q", other.Tokens); got != `["in" "none"]` && got != `["out" "a" "q"]` {
					t.Errorf("got %s", got)
					return
				}
			}
		}()
	}
	for range 6 {
		<-done
	}
}

// One question that has ever new answers does not make a path grow without end.
func TestPathsWithManyAnswers(t *testing.T) {
	values := table.Static{}
	for n := range 100 {
		values[fmt.Sprint("k", n)] = strings.Repeat("v .", n+1)
	}
	c := newPair(t, assemble(t, "Sone\nR$-\t$@ $(m $1 $: none $)"), func() map[string]table.Table { return map[string]table.Table{"m": values} })
	for range 3 {
		for n := range 120 {
			c.ask(t, []string{"one"}, []addr.Token{addr.Token(fmt.Sprint("k", n))})
		}
	}
}

// FuzzPaths makes a program out of octets, and runs addresses of the same shape with and without what is remembered.
func FuzzPaths(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x10\x11"), "a.b@c", uint64(1))
	f.Add([]byte("\x00\x04\x00\xff\x00\x09\x00\xff\x01\xff\x0a\x04\x01\x0d\x00\xff"), "a b c d", uint64(2))
	f.Add([]byte{6, 7, 8, 255, 4, 3, 2, 1, 9, 12, 255, 13, 14, 20, 21}, `"x y" <z>`, uint64(3))
	left := []string{"$*", "$+", "$-", "$@", "$=A", "$~A", "$&d", "a", "b", ".", "@", "<", ">", "$|", "$#"}
	right := []string{"$1", "$2", "$3", "$9", "a", "b", ".", "$>t", "$>u", "$>nosuch", "$(m", "$@", "$:", "$)", "$[", "$]", "$&d", "$#", "x y", "$(mac", "d", "$>", "$(", "(", ")"}
	f.Fuzz(func(t *testing.T, rules []byte, address string, seed uint64) {
		c := newPair(t, assemble(t, random(rules, left, right)), pathTables)
		r := rand.New(rand.NewPCG(seed, 1))
		toks := input(c.forgets, address)
		if len(toks) > 2*maxShape {
			return
		}
		for _, like := range likes(toks, r) {
			c.ask(t, []string{"t", "u"}, like)
		}
	})
}
