package check

import (
	"fmt"
	"slices"
	"strings"

	"waybill/rules/compile"
	"waybill/rules/lang"
	"waybill/rules/prog"
)

// Names of the findings of Program.
const (
	ShadowedRule     = "shadowed-rule"     // an earlier rule matches all that this one matches
	EndlessRewrite   = "endless-rewrite"   // a rule whose result it always matches again
	EndlessRecursion = "endless-recursion" // rulesets that can call each other and never get further
	LostFailure      = "lost-failure"      // a table whose "not now" counts as "no"
	UnusedTransport  = "unused-transport"  // no rule resolves to it
	UnusedName       = "unused-name"       // a class, table or ruleset that nothing mentions
	UnusedCapture    = "unused-capture"    // a capture with a name that nothing needs
)

// program is the state of one analysis.
type program struct {
	p     *prog.Program
	line  func(prog.Pos) string
	diags lang.Diagnostics
	dead  map[*prog.Rule]bool // rules that can never apply
}

// Program analyses what the rules of a program do. It reports what is certain, and nothing else. line returns the line
// of the source at a place. Names of the library, which has its places in "<name>", count as used.
func Program(p *prog.Program, line func(prog.Pos) string) lang.Diagnostics {
	c := &program{p: p, line: line, dead: map[*prog.Rule]bool{}}
	c.rules()
	c.failures()
	c.unused()
	return c.diags
}

// Rules is the part of Program that holds for a program of which something is missing: each rule by itself and beside
// its neighbours.
func Rules(p *prog.Program, line func(prog.Pos) string) lang.Diagnostics {
	c := &program{p: p, line: line, dead: map[*prog.Rule]bool{}}
	c.rules()
	return c.diags
}

func (c *program) rules() {
	for _, rs := range c.p.Rulesets {
		c.shadowed(rs)
		for _, r := range rs.Rules {
			c.endless(r)
			c.captures(r)
		}
	}
	c.recursion()
}

func (c *program) warn(name string, at prog.Pos, remedy, format string, args ...any) *lang.Diagnostic {
	source := c.line(at)
	pos := lang.Pos{Filename: at.File, Line: at.Line, Column: max(at.Col, 1)}
	end := pos
	end.Column = len([]rune(strings.TrimRight(cutComment(source), " \t"))) + 1
	c.diags = append(c.diags, lang.Diagnostic{Severity: lang.Warning, Name: name, Pos: pos, End: end, Source: source, Remedy: remedy, Message: fmt.Sprintf(format, args...)})
	return &c.diags[len(c.diags)-1]
}

func cutComment(line string) string {
	if i := strings.Index(line, " #"); i >= 0 && !strings.ContainsAny(line, `"'`) {
		return line[:i]
	}
	return line
}

func text(r *prog.Rule) string {
	if r.Source != "" {
		return r.Source
	}
	return r.String()
}

func place(p prog.Pos) string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// resolves reports whether a rule ends the evaluation.
func resolves(r *prog.Rule) bool { return len(r.RHS) > 0 && r.RHS[0].Kind == prog.Mailer }

// shadowed finds rules that never apply. An earlier rule without a condition, or with the same one, that matches all
// that the later one matches leaves nothing for it: when it ends the ruleset, and also when it is repeated, because
// afterwards the address no longer matches it. A rule that is applied once may make anything of the address.
func (c *program) shadowed(rs *prog.Ruleset) {
	fixed := make([]uint64, len(rs.Rules))
	for i, r := range rs.Rules {
		fixed[i] = marks(r.LHS)
	}
	for j, later := range rs.Rules {
		for i := j - 1; i >= 0; i-- {
			earlier := rs.Rules[i]
			if i < j-1 && goesOn(rs.Rules[i+1]) {
				break // what that one makes may match the later rule and not have been there for the earlier one
			}
			if fixed[i]&^fixed[j] != 0 {
				continue // it wants a word that the later one does not have
			}
			if earlier.Mode == prog.Once && !resolves(earlier) {
				continue
			}
			if earlier.Mode == prog.Repeat && !resolves(earlier) && earlier.Cond != nil {
				continue // what it made of the address may not fulfil the condition any more
			}
			if earlier.Cond != nil && (later.Cond == nil || earlier.Cond.String() != later.Cond.String() || !samePattern(earlier.LHS, later.LHS)) {
				continue
			}
			if rs.Name == compile.Send && earlier.Attr != nil && earlier.Attr.When == prog.Unset {
				continue
			}
			if strings.HasPrefix(later.Pos.File, "<") && earlier.Pos.File != later.Pos.File {
				break // "use standard" behind rules that decide everything already
			}
			if c.covers(earlier.LHS, later.LHS) {
				c.dead[later] = true
				d := c.warn(ShadowedRule, later.Pos, "remove it, or move it above the other one", "this rule can never apply: an earlier one matches all that it matches")
				d.Related = []string{place(earlier.Pos) + ": " + text(earlier)}
				break
			}
		}
	}
}

// marks has a bit for each word of a pattern: a pattern covers another one only when its bits are among those of the
// other.
func marks(lhs []prog.Tok) uint64 {
	var m uint64
	for _, t := range lhs {
		if t.Kind == prog.Literal || t.Kind == prog.RunMacro {
			h := uint32(2166136261) ^ uint32(t.Kind) // FNV-1a
			for i := 0; i < len(t.Text); i++ {
				c := t.Text[i]
				if c >= 'A' && c <= 'Z' {
					c |= 0x20
				}
				h = (h ^ uint32(c)) * 16777619
			}
			m |= 1 << (h >> 26)
		}
	}
	return m
}

// goesOn reports whether the rules behind a rule see what it has made.
func goesOn(r *prog.Rule) bool { return r.Mode != prog.Return && !resolves(r) }

func samePattern(a, b []prog.Tok) bool {
	return slices.EqualFunc(a, b, func(x, y prog.Tok) bool { return x.Kind == y.Kind && strings.EqualFold(x.Text, y.Text) })
}

// covers reports whether pattern a certainly matches everything that pattern b matches.
func (c *program) covers(a, b []prog.Tok) bool {
	type state struct {
		i, j int
		fed  bool // a[i] is $+ and has something already
	}
	seen := map[state]bool{}
	var try func(s state) bool
	try = func(s state) bool {
		if done, ok := seen[s]; ok {
			return done
		}
		seen[s] = false
		ok := func() bool {
			if s.j < len(b) && b[s.j].Kind == prog.Empty {
				return try(state{s.i, s.j + 1, s.fed})
			}
			if s.i == len(a) {
				return s.j == len(b)
			}
			x := a[s.i]
			switch x.Kind {
			case prog.Empty:
				return try(state{s.i + 1, s.j, false})
			case prog.ZeroOrMore:
				return try(state{s.i + 1, s.j, false}) || s.j < len(b) && try(state{s.i, s.j + 1, false})
			case prog.OneOrMore:
				if s.fed && try(state{s.i + 1, s.j, false}) {
					return true
				}
				if s.j == len(b) {
					return false
				}
				some := b[s.j].Kind != prog.ZeroOrMore && b[s.j].Kind != prog.RunMacro
				return try(state{s.i, s.j + 1, s.fed || some})
			}
			if s.j == len(b) {
				return false
			}
			y := b[s.j]
			switch x.Kind {
			case prog.One:
				single := y.Kind == prog.Literal || y.Kind == prog.One || y.Kind == prog.NotInClass || y.Kind == prog.Sep || y.Kind == prog.Mailer
				return single && try(state{s.i + 1, s.j + 1, false})
			case prog.InClass:
				for n := s.j + 1; n <= len(b) && b[n-1].Kind == prog.Literal; n++ {
					if c.member(x.Text, b[s.j:n]) && try(state{s.i + 1, n, false}) {
						return true
					}
				}
				return y.Kind == x.Kind && y.Text == x.Text && try(state{s.i + 1, s.j + 1, false})
			default:
				return x.Kind == y.Kind && strings.EqualFold(x.Text, y.Text) && try(state{s.i + 1, s.j + 1, false})
			}
		}()
		seen[s] = ok
		return ok
	}
	return try(state{})
}

// symbolic is what a replacement is made of, as a pattern: each capture stands for what it took. ok is false when that
// is not known before the rule runs.
func symbolic(rhs []prog.Tok, lhs []prog.Tok) (out []prog.Tok, ok bool) {
	var wild []prog.Tok
	for _, t := range lhs {
		if t.Kind.Wildcard() {
			wild = append(wild, t)
		}
	}
	for _, t := range rhs {
		switch t.Kind {
		case prog.Literal, prog.Sep:
			out = append(out, t)
		case prog.Capture:
			if t.N < 1 || t.N > len(wild) {
				return nil, false
			}
			out = append(out, wild[t.N-1])
		default:
			return nil, false
		}
	}
	return out, true
}

// endless finds rules that are applied again and again until the limit stops them.
func (c *program) endless(r *prog.Rule) {
	if r.Mode != prog.Repeat || resolves(r) || !constant(r.Cond) {
		return
	}
	if result, ok := symbolic(r.RHS, r.LHS); ok && c.covers(r.LHS, result) {
		c.warn(EndlessRewrite, r.Pos, `write "-> once" or "-> return", or make the result look different`, "this rule always matches what it has made: it is applied until the limit of 100 times")
	}
}

// constant reports whether a condition that holds once holds always, whatever becomes of the address.
func constant(k *prog.Cond) bool {
	if k == nil {
		return true
	}
	free := true
	eachCond(k, func(k *prog.Cond) {
		if k.Op == prog.Test && (k.Fact == prog.FactCapture || k.Fact == prog.FactFocus || k.Fact == prog.FactMacro) {
			free = false
		}
		for _, part := range append([][]prog.Tok{k.Key}, k.Args...) {
			for _, t := range part {
				free = free && t.Kind == prog.Literal
			}
		}
	})
	return free
}

// member reports whether literals together are a word of a class.
func (c *program) member(class string, literals []prog.Tok) bool {
	k := c.p.Classes[class]
	if k == nil {
		return false
	}
	text := ""
	for i, t := range literals {
		if i > 0 && wordy(t.Text) && wordy(literals[i-1].Text) {
			return false // they do not touch
		}
		text += t.Text
	}
	return slices.ContainsFunc(k.Words, func(w string) bool { return strings.EqualFold(w, text) })
}

// wordy reports whether a token is certainly, or may be, no operator.
func wordy(text string) bool {
	return len(text) != 1 || text[0] >= 0x80 || text[0]|0x20 >= 'a' && text[0]|0x20 <= 'z' || text[0] >= '0' && text[0] <= '9'
}

// edge is a call of one ruleset by another that certainly hands on no less than it was given.
type edge struct {
	from, to int
	rule     *prog.Rule
}

// recursion finds rulesets that can call themselves, directly or by way of others, and never hand on less than they
// got.
func (c *program) recursion() {
	var edges []edge
	for _, rs := range c.p.Rulesets {
		for _, r := range rs.Rules {
			for i, t := range r.RHS {
				if t.Kind != prog.Call || i+1 >= len(r.RHS) || r.RHS[i+1].Kind != prog.Literal {
					continue
				}
				to := c.p.Ruleset(r.RHS[i+1].Text)
				if to != nil && !shrinks(r.RHS[i+2:], r.LHS) {
					edges = append(edges, edge{rs.Index, to.Index, r})
				}
			}
		}
	}
	reported := map[int]bool{}
	for _, e := range edges {
		if cycle := back(edges, e.to, e.from, map[int]bool{}); cycle != nil || e.to == e.from {
			if reported[e.from] {
				continue
			}
			d := c.warn(EndlessRecursion, e.rule.Pos, "hand on less than the pattern took, or do not call",
				"ruleset %q can call itself without end: what it hands on never gets shorter", c.p.Rulesets[e.from].Name)
			reported[e.from] = true
			for _, step := range cycle {
				reported[step.from] = true
				d.Related = append(d.Related, place(step.rule.Pos)+": "+text(step.rule))
			}
		}
	}
}

// back finds a way from one ruleset to another.
func back(edges []edge, from, to int, seen map[int]bool) []edge {
	if from == to || seen[from] {
		return nil
	}
	seen[from] = true
	for _, e := range edges {
		if e.from != from {
			continue
		}
		if e.to == to {
			return []edge{e}
		}
		if rest := back(edges, e.to, to, seen); rest != nil {
			return append([]edge{e}, rest...)
		}
	}
	return nil
}

// shrinks reports whether what a rule hands on may be less than what its pattern took: as a whole, or in one of the
// parts between bars. What is not known, such as a table's value, may always be less.
func shrinks(args, lhs []prog.Tok) bool {
	if _, ok := symbolic(args, lhs); !ok {
		return true
	}
	if smaller(args, lhs, 0) {
		return true
	}
	a, b := parts(args), parts(lhs)
	first := 0 // wildcards before the part
	for i := range b {
		if i < len(a) && smaller(a[i], b[i], first) {
			return true
		}
		for _, t := range b[i] {
			if t.Kind.Wildcard() {
				first++
			}
		}
	}
	return false
}

func parts(toks []prog.Tok) [][]prog.Tok {
	out := [][]prog.Tok{nil}
	for _, t := range toks {
		if t.Kind == prog.Sep {
			out = append(out, nil)
		} else {
			out[len(out)-1] = append(out[len(out)-1], t)
		}
	}
	return out
}

// smaller reports whether the tokens of args are certainly fewer than those that the pattern took. first is how many
// wildcards stand before the pattern.
func smaller(args, lhs []prog.Tok, first int) bool {
	balance := 0
	var least []int
	for _, t := range lhs {
		switch t.Kind {
		case prog.Empty, prog.RunMacro:
		case prog.ZeroOrMore:
			least = append(least, 0)
		case prog.One, prog.OneOrMore, prog.InClass, prog.NotInClass:
			least = append(least, 1)
		default:
			balance++
		}
	}
	used := make([]bool, len(least))
	for _, t := range args {
		if t.Kind != prog.Capture {
			balance--
			continue
		}
		n := t.N - 1 - first
		if n < 0 || n >= len(least) || used[n] {
			return false // it comes from elsewhere, or twice
		}
		used[n] = true
	}
	for n, l := range least {
		if !used[n] {
			balance += l
		}
	}
	return balance > 0
}
