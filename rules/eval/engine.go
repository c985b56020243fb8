// Package eval runs compiled rules (package prog) over addresses, with exactly sendmail's semantics: shortest match
// first with backtracking, the same rule again until it no longer matches, calls from right to left, and an end of
// everything as soon as a workspace begins with $#. What flows in is a list of tokens and a State (macros, facts of the
// message, tracer); what flows out is the rewritten list and a status. The numbers in comments are facts of the list
// that was observed in the real engine, cited as [n].
//
// An Engine is immutable but for the words of its classes, the contents of its tables, and what it remembers of the shapes
// of addresses (path.go), which changes no outcome; it is safe for any number of goroutines. No input can make it run for long: matching remembers what failed, and every run has a budget of steps.
package eval

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"waybill/rules/addr"
	"waybill/rules/prog"
	"waybill/rules/table"
)

// Limits of one run. The first three are sendmail's.
const (
	MaxRepeats = 100            // applications of one rule in a row
	MaxDepth   = 50             // calls within calls
	MaxTokens  = addr.MaxTokens // tokens in a workspace
	MaxSteps   = 1 << 18        // elements compared and tokens copied, with something for each rule: at most 10 ms (TestNoRunTakesLong)
)

// Options are what an Engine needs beside the program.
type Options struct {
	Tables map[string]table.Table // by name; a table of class "macro" is built in and need not be here
	// Called, if not nil, hears of each rule that calls a ruleset, the first time that it does, in the evaluating goroutine.
	Called func(*prog.Rule)
	// Steps limits one run; 0 means MaxSteps.
	Steps int
	// Native makes the limits of repetitions and calls "not now", with the rule; else they are sendmail's, which goes on.
	Native bool
	// Forget lets every run go through the rules, as if no address of the same shape had come before.
	Forget bool
}

// Engine is a program made ready to run.
type Engine struct {
	prog      *prog.Program
	syntax    *addr.Syntax
	sets      []*ruleset
	byName    map[string]*ruleset
	blank     string // the blank substitute in lower case
	classes   map[string]*class
	ids       map[string]uint32 // folded literal -> number
	octets    *octets
	short     uint32                // literals of one octet so far
	long      uint32                // others
	consts    []addr.Token          // texts that every machine has: all octets, and the literals of replacements
	constInfo []word                // what is known of them
	constAt   map[addr.Token]uint32 // where they are
	named     []uint32              // those of them that stand where a lookup names its table
	calls     []uint32              // those that stand where a call names its ruleset
	handles   []*handle             // the tables of these, at the places of their names
	callees   []*ruleset            // the rulesets
	host      *handle               // of $[ $]
	hostName  uint32                // where its name is
	asked     []string              // the tables that conditions ask
	askable   map[string]*handle
	slabs     // memory for what is compiled
	tables    map[string]table.Table
	folded    map[string]table.Table  // by name in lower case
	setters   map[string]bool         // tables of class macro
	patterns  map[*prog.Cond]*pattern // of conditions that match a fact
	called    func(*prog.Rule)
	captures  int // the most that a rule has
	limit     int
	native    bool          // the limits end an evaluation
	numbers   [100]*ruleset // empty rulesets for numbers that nobody defined [11]
	pool      *sync.Pool
	paths     *paths // nil: every run goes through the rules
	shown     *paths // of runs whose lines are shown
}

// ruleset is a ruleset made ready. What literals a workspace must have before a rule is tried lies side by side for all
// of its rules: most are turned away by that.
type ruleset struct {
	src      *prog.Ruleset
	needs    []bits
	rules    []rule
	heads    [2]string // how the lines about it begin, see heads
	relevant atomic.Pointer[relevant]
}

// filter is what else a workspace must have before a rule is tried: the literals at its ends, and a number of tokens
// that the pattern can match.
type filter struct {
	ends     uint64 // the literal that the pattern begins with, and in the upper half the one that it ends with
	endsMask uint64 // of the halves that count
	min      uint32 // tokens
	more     uint32 // as many more may be there
}

// passes reports whether a workspace of n tokens with these ends may match.
func (f *filter) passes(ends uint64, n int) bool {
	return (ends^f.ends)&f.endsMask == 0 && uint32(n)-f.min <= f.more
}

// bits has a bit for each of 63 groups of literals: bits 1 to 19 belong to the metasymbols, the next ones to literals of
// one octet, and the others to longer ones, to which they are dealt out in turn. Bit 0 is for tokens that are no literal.
type bits uint64

const (
	shortBits, shortFrom = 16, 20
	longBits, longFrom   = 64 - longFrom, shortFrom + shortBits
)

// slabs are pieces of memory from which the parts of rules are cut: there are thousands of them.
type slabs struct {
	parts  []part
	elems  []elem
	globs  []glob
	opens  []openClass
	words  []word
	pieces []piece
	extras []extra
	syms   []sym   // of the rule at hand
	stack  []piece // of the right side at hand
}

type rule struct {
	filter
	glob  *glob // the pattern, when it needs no backtracking
	caps  int   // captures, with those that conditions bind
	mode  prog.Mode
	plain bool        // the right side is ops
	told  atomic.Bool // it has called a ruleset
	refs  int32       // captures in the right side
	fixed int32       // symbols in it
	ops   []word      // a right side without lookups, calls and macros
	mask  bits        // of the literals in ops
	plan  []piece     // any other right side, with its lookups and calls found; nil when that cannot be done
	rhs   []piece     // one for which it cannot
	src   *prog.Rule
	cond  *prog.Cond
	tail  *glob   // of a pattern that is no glob: what its end must match
	lhs   []sym   // the pattern, when it is no glob
	rest  []int32 // rest[i]: tokens that lhs[i:] needs at least
	wild  int     // numbered symbols of the pattern
}

// sym is a symbol of a pattern.
type sym struct {
	kind  prog.Kind
	id    uint32 // Literal and metasymbols
	n     int    // wildcards: index of the capture, from 0
	class *class
	text  string // RunMacro: name
}

// pattern is a pattern of a condition.
type pattern struct {
	lhs  []sym
	rest []int32
	wild int
}

// New makes a program ready. The program must not be changed afterwards.
func New(p *prog.Program, o Options) (*Engine, error) {
	syntax := []addr.Option{addr.BlankSub(p.BlankSub)}
	if p.EightBit {
		syntax = append(syntax, addr.EightBit())
	}
	e := &Engine{
		prog: p, blank: addr.Fold(p.BlankSub), syntax: addr.New(p.Operators, syntax...), byName: map[string]*ruleset{}, classes: map[string]*class{},
		ids: make(map[string]uint32, 256), octets: &octets{}, constAt: make(map[addr.Token]uint32, 256), setters: map[string]bool{}, patterns: map[*prog.Cond]*pattern{}, limit: o.Steps, native: o.Native, called: o.Called,
	}
	if e.limit == 0 {
		e.limit = MaxSteps
	}
	for _, t := range p.Tables {
		if t.Class == "macro" {
			e.setters[t.Name] = true
		}
	}
	e.initOctets()
	e.hostName = uint32(e.constant(hostTable) >> textAt)
	e.named = append(e.named, e.hostName)
	for name, c := range p.Classes {
		e.class(name).set.Store(newClassSet(c.Words))
	}
	for i, rs := range p.Rulesets {
		if rs.Index != i {
			return nil, fmt.Errorf("ruleset %s: index is %d, must be %d", rs.Name, rs.Index, i)
		}
		e.sets = append(e.sets, e.compile(rs))
	}
	for name, i := range p.Names {
		if i < 0 || i >= len(e.sets) {
			return nil, fmt.Errorf("ruleset %s: no index %d", name, i)
		}
		e.byName[name] = e.sets[i]
	}
	undefined := make([]struct {
		ruleset
		src prog.Ruleset
	}, len(e.numbers))
	for n := range undefined {
		u := &undefined[n]
		u.src = prog.Ruleset{Name: strconv.Itoa(n), Number: n, Index: -1}
		u.ruleset.src, u.heads = &u.src, heads(u.src.Name)
		e.numbers[n] = &u.ruleset
	}
	if len(e.ids) > maxLiterals {
		return nil, fmt.Errorf("more than %d different words in rules", maxLiterals)
	}
	if !o.Forget {
		e.paths, e.shown = &paths{}, &paths{}
	}
	e.with(o.Tables)
	e.finish()
	return e, nil
}

// with sets the tables, and makes machines that ask them.
func (e *Engine) with(tables map[string]table.Table) {
	e.tables, e.folded = tables, map[string]table.Table{}
	if e.paths != nil {
		e.paths, e.shown = &paths{}, &paths{}
	}
	for name, t := range tables {
		e.folded[addr.Fold(name)] = t
	}
	e.link()
	e.constInfo = make([]word, len(e.consts))
	for i, t := range e.consts {
		if len(t) == 1 {
			e.constInfo[i] = e.octets.single[t[0]].known()
		} else {
			e.constInfo[i] = e.properties(t) | word(e.ids[addr.Fold(string(t))])
		}
	}
	e.pool = &sync.Pool{New: func() any {
		return &machine{e: e, texts: append(make([]addr.Token, 0, len(e.consts)+128), e.consts...), info: append(make([]word, 0, len(e.consts)+128), e.constInfo...), mem: make([]word, 0, 2*MaxTokens), caps: make([]span, e.captures)}
	}}
}

// With returns an engine for the same rules with other tables. The classes are those of both: what they hold for one of
// the two alone, a World says.
func (e *Engine) With(tables map[string]table.Table) *Engine {
	c := *e
	c.with(tables)
	return &c
}

// table finds a table, whatever the case of its name.
func (e *Engine) table(name string) table.Table {
	if t, ok := e.tables[name]; ok {
		return t
	}
	return e.folded[addr.Fold(name)]
}

// Program returns what New was given.
func (e *Engine) Program() *prog.Program { return e.prog }

// Syntax returns the tokeniser that fits the program.
func (e *Engine) Syntax() *addr.Syntax { return e.syntax }

func (e *Engine) class(name string) *class {
	c := e.classes[name]
	if c == nil {
		c = &class{name: name, idx: len(e.classes)}
		c.set.Store(newClassSet(nil))
		e.classes[name] = c
	}
	return c
}

// metaOf has the octets of metasymbols.
var metaOf = [...]byte{
	prog.Sep: addr.Sep[0], prog.Mailer: addr.Mailer[0], prog.Call: addr.Call[0], prog.MapBegin: addr.MapBegin[0], prog.MapArg: addr.Host[0],
	prog.MapElse: addr.User[0], prog.MapEnd: addr.MapEnd[0], prog.HostBegin: addr.HostBegin[0], prog.HostEnd: addr.HostEnd[0],
	prog.Host: addr.Host[0], prog.User: addr.User[0], prog.ZeroOrMore: addr.ZeroOrMore[0], prog.OneOrMore: addr.OneOrMore[0], prog.One: addr.One[0],
	prog.Empty: addr.Host[0], prog.InClass: addr.InClass[0], prog.NotInClass: addr.NotInClass[0],
}

func (e *Engine) compile(src *prog.Ruleset) *ruleset {
	rs := &ruleset{src: src, heads: heads(src.Name), rules: make([]rule, len(src.Rules)), needs: make([]bits, len(src.Rules))}
	for i, r := range src.Rules {
		rs.rules[i].src = r
		rs.needs[i] = e.compileRule(&rs.rules[i])
	}
	return rs
}

func (e *Engine) compileRule(r *rule) (mask bits) {
	src := r.src
	r.mode, r.cond = src.Mode, src.Cond
	lhs := e.symbols(e.syms[:0], src.LHS, &r.wild)
	e.syms = lhs[:0]
	e.conditions(src.Cond)
	mask, least, most := needs(lhs)
	r.min, r.more = uint32(least), uint32(most-least)
	if n := len(lhs); n > 0 {
		const half = 1<<32 - 1
		if lhs[0].kind == prog.Literal {
			r.ends, r.endsMask = uint64(lhs[0].id), half
		}
		if lhs[n-1].kind == prog.Literal {
			r.ends, r.endsMask = r.ends|uint64(lhs[n-1].id)<<32, r.endsMask|half<<32
		}
	}
	if r.glob = e.globOf(lhs); r.glob == nil {
		r.lhs = slices.Clone(lhs)
		r.rest = rest(lhs)
		r.tail = e.tailOf(lhs)
	}
	r.caps = max(r.wild, bound(src.Cond))
	e.captures = max(e.captures, r.caps)
	e.compileRHS(r)
	return mask
}

// conditions makes the patterns of a condition ready, and the classes that it names.
func (e *Engine) conditions(c *prog.Cond) {
	if c == nil {
		return
	}
	if c.Op == prog.Test && c.Cmp == prog.Matches {
		p := &pattern{}
		p.lhs = e.symbols(nil, c.Value.Pattern, &p.wild)
		p.rest = rest(p.lhs)
		e.patterns[c] = p
	}
	if c.Op == prog.Lookup {
		e.asked = append(e.asked, c.Table)
	}
	if c.Op == prog.Test && c.Cmp == prog.In {
		e.class(c.Value.Text)
	}
	for _, s := range c.Sub {
		e.conditions(s)
	}
}

// symbols makes the symbols of a left side ready, appends them, and counts its wildcards.
func (e *Engine) symbols(lhs []sym, toks []prog.Tok, wild *int) []sym {
	for i := range toks {
		t := &toks[i]
		s := sym{kind: t.Kind, text: t.Text}
		switch t.Kind {
		case prog.Literal:
			s.id = e.literal(addr.Token(t.Text))
		case prog.InClass, prog.NotInClass:
			s.class = e.class(t.Text)
		case prog.ZeroOrMore, prog.OneOrMore, prog.One, prog.RunMacro:
		case prog.Empty: // it takes nothing, anywhere
			continue
		case prog.Capture: // no workspace has it: such a rule never matches
			s.id = e.literal(addr.Capture)
			s.kind = prog.Literal
		default:
			s.id = uint32(metaOf[t.Kind] - 0x80)
			s.kind = prog.Literal
		}
		if t.Kind.Wildcard() {
			s.n = *wild
			*wild++
		}
		lhs = append(lhs, s)
	}
	return lhs
}

// needs tells what a workspace must have for a pattern to match.
func needs(lhs []sym) (mask bits, least, most int32) {
	const many = 1 << 30
	for i := range lhs {
		s := &lhs[i]
		switch s.kind {
		case prog.Literal:
			mask |= 1 << (s.id & 63)
			least, most = least+1, most+1
		case prog.One, prog.NotInClass:
			least, most = least+1, most+1
		case prog.OneOrMore, prog.InClass:
			least, most = least+1, many
		case prog.ZeroOrMore, prog.RunMacro:
			most = many
		}
		most = min(most, many)
	}
	return mask, least, most
}

// rest tells for each symbol how many tokens it and those behind it need at least.
func rest(lhs []sym) []int32 {
	r := make([]int32, len(lhs)+1)
	for i := len(lhs) - 1; i >= 0; i-- {
		_, least, _ := needs(lhs[i : i+1])
		r[i] = r[i+1] + least
	}
	return r
}

// bound is the highest capture that a condition binds.
func bound(c *prog.Cond) int {
	if c == nil {
		return 0
	}
	n := c.Bind
	if c.Op == prog.Test && c.Cmp == prog.Matches {
		for _, t := range c.Value.Pattern {
			if t.Kind.Wildcard() {
				n++
			}
		}
		n-- // Bind is the first of them
	}
	for _, s := range c.Sub {
		n = max(n, bound(s))
	}
	return n
}
