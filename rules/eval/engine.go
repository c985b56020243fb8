// Package eval runs compiled rules (package prog) over addresses, with exactly sendmail's semantics: shortest match
// first with backtracking, the same rule again until it no longer matches, calls from right to left, and an end of
// everything as soon as a workspace begins with $#. What flows in is a list of tokens and a State (macros, facts of the
// message, tracer); what flows out is the rewritten list and a status. The numbers in comments are facts of the list
// that was observed in the real engine, cited as [n].
//
// An Engine is immutable but for the words of its classes and the contents of its tables, and safe for any number of
// goroutines. No input can make it run for long: matching remembers what failed, and every run has a budget of steps.
package eval

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
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
	// Called, if not nil, hears of each rule that calls a ruleset, in the evaluating goroutine.
	Called func(*prog.Rule)
	// Steps limits one run; 0 means MaxSteps.
	Steps int
	// Native makes the limits of repetitions and calls "not now", with the rule; else they are sendmail's, which goes on.
	Native bool
}

// Engine is a program made ready to run.
type Engine struct {
	prog     *prog.Program
	syntax   *addr.Syntax
	sets     []*ruleset
	byName   map[string]*ruleset
	blank    string // the blank substitute in lower case
	classes  map[string]*class
	ids      map[string]int32 // folded literal -> number
	single   [256]int32       // the same for tokens of one octet
	tables   map[string]table.Table
	folded   map[string]table.Table  // by name in lower case
	setters  map[string]bool         // tables of class macro
	patterns map[*prog.Cond]*pattern // of conditions that match a fact
	called   func(*prog.Rule)
	limit    int
	native   bool          // the limits end an evaluation
	numbers  [100]*ruleset // empty rulesets for numbers that nobody defined [11]
	pool     *sync.Pool
}

// ruleset is a ruleset made ready. The filters of its rules lie side by side: most rules are turned away by theirs.
type ruleset struct {
	src     *prog.Ruleset
	filters []filter
	rules   []rule
}

// filter is what a workspace must have before its rule is tried: all literals (a bit each, shared by several), and a
// number of tokens that the pattern can match.
type filter struct {
	mask     bits
	min, max int32 // tokens
}

// bits has a bit for each of 127 groups of literals: bits 1 to 19 belong to the metasymbols, the others are dealt out
// to the literals of the program in turn. Bit 0 is for tokens that are no literal.
type bits [2]uint64

func (b *bits) add(id int32) { b[id>>6&1] |= 1 << (id & 63) }

// missing reports whether some bit of b is not in has.
func (b *bits) missing(has *bits) bool { return b[0]&^has[0]|b[1]&^has[1] != 0 }

type rule struct {
	src     *prog.Rule
	lhs     []sym
	rest    []int32 // rest[i]: tokens that lhs[i:] needs at least
	wild    int     // numbered symbols of the pattern
	caps    int     // captures, with those that conditions bind
	suffix  int     // literals at the end of the pattern
	rhs     []out
	special bool // the right side has a table lookup or a call
}

// sym is a symbol of a pattern.
type sym struct {
	kind  prog.Kind
	id    int32 // Literal and metasymbols
	n     int   // wildcards: index of the capture, from 0
	class *class
	text  string // RunMacro: name
}

// pattern is a pattern of a condition.
type pattern struct {
	lhs  []sym
	rest []int32
	wild int
}

// out is a symbol of a replacement.
type out struct {
	kind prog.Kind
	n    int // Capture
	word word
	text string // RunMacro: name
}

// word is a token in a workspace with the number of the literal it equals; 0 when the program has no such literal.
type word struct {
	text addr.Token
	id   int32
}

// New makes a program ready. The program must not be changed afterwards.
func New(p *prog.Program, o Options) (*Engine, error) {
	syntax := []addr.Option{addr.BlankSub(p.BlankSub)}
	if p.EightBit {
		syntax = append(syntax, addr.EightBit())
	}
	e := &Engine{
		prog: p, blank: fold(p.BlankSub), syntax: addr.New(p.Operators, syntax...), byName: map[string]*ruleset{}, classes: map[string]*class{},
		ids: map[string]int32{}, setters: map[string]bool{}, patterns: map[*prog.Cond]*pattern{}, limit: o.Steps, native: o.Native, called: o.Called,
	}
	if e.limit == 0 {
		e.limit = MaxSteps
	}
	for _, t := range p.Tables {
		if t.Class == "macro" {
			e.setters[t.Name] = true
		}
	}
	e.with(o.Tables)
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
	for n := range e.numbers {
		e.numbers[n] = &ruleset{src: &prog.Ruleset{Name: fmt.Sprint(n), Number: n, Index: -1}}
	}
	for c := 0; c < len(e.single); c++ {
		if t := addr.Token([]byte{byte(c)}); t.IsMeta() {
			e.single[c] = int32(c - 0x80)
		}
	}
	return e, nil
}

// with sets the tables, and makes machines that ask them.
func (e *Engine) with(tables map[string]table.Table) {
	e.tables, e.folded = tables, map[string]table.Table{}
	for name, t := range tables {
		e.folded[fold(name)] = t
	}
	e.pool = &sync.Pool{New: func() any { return &machine{e: e} }}
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
	return e.folded[fold(name)]
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

// literal returns the number of a literal, which it makes up when it is new. Its lower seven bits are its bit in
// filters.
func (e *Engine) literal(t addr.Token) int32 {
	if t.IsMeta() {
		return int32(t[0] - 0x80)
	}
	folded := fold(string(t))
	if id, ok := e.ids[folded]; ok {
		return id
	}
	n := int32(len(e.ids))
	id := 128*(1+n/108) + 20 + n%108
	e.ids[folded] = id
	if len(folded) == 1 {
		c := folded[0]
		if e.single[c] = id; c >= 'a' && c <= 'z' {
			e.single[c&^0x20] = id
		}
	}
	return id
}

var kindMeta = map[prog.Kind]addr.Token{
	prog.Sep: addr.Sep, prog.Mailer: addr.Mailer, prog.Call: addr.Call, prog.MapBegin: addr.MapBegin, prog.MapArg: addr.Host,
	prog.MapElse: addr.User, prog.MapEnd: addr.MapEnd, prog.HostBegin: addr.HostBegin, prog.HostEnd: addr.HostEnd,
	prog.Host: addr.Host, prog.User: addr.User, prog.ZeroOrMore: addr.ZeroOrMore, prog.OneOrMore: addr.OneOrMore, prog.One: addr.One,
	prog.Empty: addr.Host, prog.InClass: addr.InClass, prog.NotInClass: addr.NotInClass,
}

func (e *Engine) compile(src *prog.Ruleset) *ruleset {
	rs := &ruleset{src: src, rules: make([]rule, len(src.Rules)), filters: make([]filter, len(src.Rules))}
	for i, r := range src.Rules {
		rs.rules[i], rs.filters[i] = e.compileRule(r)
	}
	return rs
}

func (e *Engine) compileRule(src *prog.Rule) (rule, filter) {
	r := rule{src: src}
	r.lhs = e.symbols(src.LHS, &r.wild)
	e.conditions(src.Cond)
	f := filter{}
	f.mask, f.min, f.max = needs(r.lhs)
	r.rest = rest(r.lhs)
	for i := len(r.lhs) - 1; i >= 0 && r.lhs[i].kind == prog.Literal; i-- {
		r.suffix++
	}
	r.caps = max(r.wild, bound(src.Cond))
	for _, t := range src.RHS {
		o := out{kind: t.Kind, n: t.N, text: t.Text}
		switch t.Kind {
		case prog.Literal:
			o.word = word{addr.Token(t.Text), e.literal(addr.Token(t.Text))}
		case prog.Capture, prog.RunMacro:
		default:
			m := kindMeta[t.Kind]
			o.word = word{m, e.literal(m)}
			o.kind = prog.Literal
			switch t.Kind {
			case prog.Call, prog.MapBegin, prog.HostBegin:
				r.special = true
			}
		}
		r.rhs = append(r.rhs, o)
	}
	return r, f
}

// conditions makes the patterns of a condition ready, and the classes that it names.
func (e *Engine) conditions(c *prog.Cond) {
	if c == nil {
		return
	}
	if c.Op == prog.Test && c.Cmp == prog.Matches {
		p := &pattern{}
		p.lhs = e.symbols(c.Value.Pattern, &p.wild)
		p.rest = rest(p.lhs)
		e.patterns[c] = p
	}
	if c.Op == prog.Test && c.Cmp == prog.In {
		e.class(c.Value.Text)
	}
	for _, s := range c.Sub {
		e.conditions(s)
	}
}

// symbols makes the symbols of a left side ready and counts its wildcards.
func (e *Engine) symbols(toks []prog.Tok, wild *int) []sym {
	var lhs []sym
	for _, t := range toks {
		s := sym{kind: t.Kind, text: t.Text}
		switch t.Kind {
		case prog.Literal:
			s.id = e.literal(addr.Token(t.Text))
		case prog.InClass, prog.NotInClass:
			s.class = e.class(t.Text)
		case prog.ZeroOrMore, prog.OneOrMore, prog.One, prog.Empty, prog.RunMacro:
		case prog.Capture: // no workspace has it: such a rule never matches
			s.id = e.literal(addr.Capture)
			s.kind = prog.Literal
		default:
			s.id = e.literal(kindMeta[t.Kind])
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
	for _, s := range lhs {
		switch s.kind {
		case prog.Literal:
			mask.add(s.id)
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

// class is a class of words; its set is replaced as a whole.
type class struct {
	name string
	idx  int // in a World
	set  atomic.Pointer[classSet]
}

// classSet is the content of a class.
type classSet struct {
	words    map[string]struct{} // folded
	first    [256]bool           // octets that begin a word
	min, max int                 // octets
	nets     map[netip.Prefix]struct{}
	lengths  []int // of the networks, each once: those of IPv4 as they are, those of IPv6 plus 100
}

func newClassSet(words []string) *classSet {
	s := &classSet{words: make(map[string]struct{}, len(words)), min: 1 << 30}
	for _, w := range words {
		if w == "" {
			continue
		}
		f := fold(w)
		s.words[f] = struct{}{}
		s.first[f[0]] = true
		s.min, s.max = min(s.min, len(f)), max(s.max, len(f))
		if strings.IndexByte(w, ':') < 0 && (w[0] < '0' || w[0] > '9' || w[len(w)-1] < '0' || w[len(w)-1] > '9') {
			continue // no address: trying takes longer than all the rest
		}
		if p, err := netip.ParsePrefix(w); err == nil {
			s.network(p.Masked())
		} else if a, err := netip.ParseAddr(w); err == nil {
			s.network(netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
		}
	}
	return s
}

func (s *classSet) network(p netip.Prefix) {
	if s.nets == nil {
		s.nets = map[netip.Prefix]struct{}{}
	}
	s.nets[p] = struct{}{}
	n := p.Bits()
	if p.Addr().Is6() {
		n += 100
	}
	if !slices.Contains(s.lengths, n) {
		s.lengths = append(s.lengths, n)
	}
}

// holds reports whether an address lies in one of the class's networks. It takes as long as there are different lengths
// of networks, however many there are.
func (s *classSet) holds(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, n := range s.lengths {
		if a.Is6() != (n >= 100) {
			continue
		}
		bits := n
		if bits >= 100 {
			bits -= 100
		}
		if p, err := a.Prefix(bits); err == nil {
			if _, ok := s.nets[p]; ok {
				return true
			}
		}
	}
	return false
}

// fold is text in lower case, ASCII only [19].
func fold(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] |= 0x20
				}
			}
			return string(b)
		}
	}
	return s
}

// SetClass replaces the words of a class. Runs that are under way may see either. It reports whether the program
// mentions the class at all.
func (e *Engine) SetClass(name string, words []string) bool {
	c, ok := e.classes[name]
	if ok {
		c.set.Store(newClassSet(words))
	}
	return ok
}

// World is the words of all classes at one moment.
type World struct{ sets []*classSet }

// World returns what the classes hold now, for the States of questions that belong together.
func (e *Engine) World() *World {
	w := &World{sets: make([]*classSet, len(e.classes))}
	for _, c := range e.classes {
		w.sets[c.idx] = c.set.Load()
	}
	return w
}

// With returns a World in which a class of the engine holds these words.
func (w *World) With(e *Engine, class string, words []string) *World {
	sets := slices.Clone(w.sets)
	if c := e.classes[class]; c != nil {
		sets[c.idx] = newClassSet(words)
	}
	return &World{sets}
}

// words are the words of a class that count for this run.
func (m *machine) words(c *class) *classSet {
	if w := m.st.World; w != nil {
		return w.sets[c.idx]
	}
	return c.set.Load()
}

// InClass reports whether a word is a member of a class.
func (e *Engine) InClass(name, word string) bool {
	c, ok := e.classes[name]
	if !ok {
		return false
	}
	_, ok = c.set.Load().words[fold(word)]
	return ok
}
