package check

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"waybill/rules/compile"
	"waybill/rules/lang"
	"waybill/rules/prog"
)

// captures finds names that nothing needs. In a rule of sendmail.cf captures have no names.
func (c *program) captures(r *prog.Rule) {
	if r.Names == nil {
		return
	}
	used := map[int]bool{}
	count := func(toks []prog.Tok) {
		for _, t := range toks {
			if t.Kind == prog.Capture {
				used[t.N] = true
			}
		}
	}
	count(r.RHS)
	eachCond(r.Cond, func(k *prog.Cond) {
		count(k.Key)
		for _, a := range k.Args {
			count(a)
		}
		if k.Fact == prog.FactCapture && k.Op == prog.Test {
			used[k.Cap] = true
		}
	})
	for n, name := range r.Names {
		if n > 0 && name != "" && name[0] != '_' && !used[n] {
			d := c.warn(UnusedCapture, r.Pos, "leave the name away: $- $+ $* $=class; or let it begin with _", "capture $%s is bound and never used", name)
			c.pointAt(d, r, "$"+name)
		}
	}
}

// pointAt moves a finding from its rule to the place in the rule where a variable stands first.
func (c *program) pointAt(d *lang.Diagnostic, r *prog.Rule, variable string) {
	for n := range 1 + strings.Count(r.Source, " where ") + 8 {
		at := r.Pos
		at.Line += n
		source := c.line(at)
		from := 0
		if n == 0 {
			from = min(len(source), max(0, len(string([]rune(source)[:min(len([]rune(source)), max(r.Pos.Col-1, 0))]))))
		}
		for i := strings.Index(source[from:], variable); i >= 0; i = strings.Index(source[from:], variable) {
			from += i + len(variable)
			if from < len(source) && (source[from] == '_' || source[from]|0x20 >= 'a' && source[from]|0x20 <= 'z' || source[from] >= '0' && source[from] <= '9') {
				continue // a longer name
			}
			d.Pos.Line, d.Source = at.Line, source
			d.Pos.Column = len([]rune(source[:from-len(variable)])) + 1
			end := from
			if end < len(source) && strings.IndexByte("-+*", source[end]) >= 0 {
				end++
			} else if end < len(source) && strings.IndexByte("=~", source[end]) >= 0 {
				for end++; end < len(source) && strings.IndexByte(" \t@<>", source[end]) < 0; end++ {
				}
			}
			d.End = d.Pos
			d.End.Column += len([]rune(source[from-len(variable) : end]))
			return
		}
	}
}

func eachCond(k *prog.Cond, do func(*prog.Cond)) {
	if k == nil {
		return
	}
	do(k)
	for _, s := range k.Sub {
		eachCond(s, do)
	}
}

// failures finds tables that say "no" when they do not know: flag -t, and -T with a word that no rule looks for where
// the table is asked.
func (c *program) failures() {
	for _, t := range c.p.Tables {
		for _, a := range t.Args {
			if !strings.HasPrefix(a, "-") {
				break
			}
			switch {
			case a == "-t":
				c.warn(LostFailure, t.Pos, "leave -t away: mail then waits until the table answers", "when table %q does not answer, that counts as if the key were not there", t.Name)
			case strings.HasPrefix(a, "-T") && len(a) > 2:
				if d := c.unmarked(t, a[2:]); d != nil {
					c.diags = append(c.diags, *d)
				}
			}
		}
	}
}

// unmarked looks for a ruleset that asks a table and that neither looks for the table's mark of a failure itself nor
// hands its result to one that does.
func (c *program) unmarked(t *prog.Table, mark string) *lang.Diagnostic {
	looks := make([]bool, len(c.p.Rulesets))
	for i, rs := range c.p.Rulesets {
		looks[i] = mentions(rs, mark)
	}
	calls := c.calls()
	for i, rs := range c.p.Rulesets {
		asking := asks(rs, t.Name)
		if asking == nil || looks[i] {
			continue
		}
		handled := false
		for j := range c.p.Rulesets {
			if looks[j] && (calls.reach(i, j) || calls.reach(j, i)) {
				handled = true
			}
		}
		if handled {
			continue
		}
		c.warn(LostFailure, t.Pos, "leave -T away, or write a rule that looks for it", "table %q marks a failure with %s, and no rule looks for that", t.Name, mark)
		d := c.diags[len(c.diags)-1]
		c.diags = c.diags[:len(c.diags)-1]
		d.Related = []string{place(asking.Pos) + ": " + text(asking)}
		return &d
	}
	return nil
}

// asks returns a rule that asks a table; nil when there is none.
func asks(rs *prog.Ruleset, table string) *prog.Rule {
	for _, r := range rs.Rules {
		found := false
		for i, t := range r.RHS {
			found = found || t.Kind == prog.MapBegin && i+1 < len(r.RHS) && r.RHS[i+1].Text == table
		}
		eachCond(r.Cond, func(k *prog.Cond) { found = found || k.Op == prog.Lookup && k.Table == table })
		if found {
			return r
		}
	}
	return nil
}

// mentions reports whether some pattern of a ruleset holds the letters of a mark.
func mentions(rs *prog.Ruleset, mark string) bool {
	word := strings.Trim(mark, "<>")
	found := false
	side := func(toks []prog.Tok) {
		for _, t := range toks {
			found = found || t.Kind == prog.Literal && strings.EqualFold(t.Text, word)
		}
	}
	for _, r := range rs.Rules {
		side(r.LHS)
		eachCond(r.Cond, func(k *prog.Cond) {
			side(k.Value.Pattern)
			found = found || strings.EqualFold(strings.Trim(k.Value.Text, "<>"), word)
		})
	}
	return found
}

// callGraph says which rulesets call which. dynamic: some rule computes a name.
type callGraph struct {
	to      [][]int
	dynamic bool
}

func (c *program) calls() callGraph {
	g := callGraph{to: make([][]int, len(c.p.Rulesets))}
	for i, rs := range c.p.Rulesets {
		for _, r := range rs.Rules {
			for n, t := range r.RHS {
				if t.Kind != prog.Call {
					continue
				}
				if n+1 == len(r.RHS) || r.RHS[n+1].Kind != prog.Literal {
					g.dynamic = true
				} else if callee := c.p.Ruleset(r.RHS[n+1].Text); callee != nil {
					g.to[i] = append(g.to[i], callee.Index)
				}
			}
		}
	}
	return g
}

// from returns what can be reached from some rulesets.
func (g callGraph) from(list ...int) map[int]bool {
	seen := map[int]bool{}
	for len(list) > 0 {
		i := list[len(list)-1]
		list = list[:len(list)-1]
		if !seen[i] {
			seen[i] = true
			list = append(list, g.to[i]...)
		}
	}
	return seen
}

func (g callGraph) reach(i, j int) bool { return g.from(i)[j] }

// unused finds what nothing mentions.
func (c *program) unused() {
	classes, tables, mailers := map[string]bool{}, map[string]bool{}, map[string]bool{}
	unchosen := map[string]*prog.Rule{} // transports that only rules choose which never apply
	anyTable, anyMailer := false, false
	side := func(toks []prog.Tok, rule *prog.Rule, alive bool) {
		for i, t := range toks {
			next := prog.Tok{Kind: prog.Capture}
			if i+1 < len(toks) {
				next = toks[i+1]
			}
			literal := next.Kind == prog.Literal
			switch t.Kind {
			case prog.InClass, prog.NotInClass:
				classes[t.Text] = true
			case prog.MapBegin:
				tables[next.Text] = literal
				anyTable = anyTable || !literal
			case prog.HostBegin:
				tables["host"] = true
			case prog.Mailer:
				switch name := strings.ToLower(next.Text); {
				case !literal:
					anyMailer = anyMailer || i == 0 && alive
				case alive:
					mailers[name] = true
				case unchosen[name] == nil:
					unchosen[name] = rule
				}
			}
		}
	}
	calls := c.calls()
	var entries []int
	named := map[string]bool{}
	for _, t := range c.p.Transports {
		for _, name := range []string{"sender", "recipient", "header"} {
			if v, ok := t.Param(name); ok {
				named[v] = true
			}
		}
	}
	for i, rs := range c.p.Rulesets {
		if entry(rs) || named[rs.Name] || calls.dynamic {
			entries = append(entries, i)
		}
	}
	reached := calls.from(entries...)
	for i, rs := range c.p.Rulesets {
		for _, r := range rs.Rules {
			side(r.LHS, r, false)
			side(r.RHS, r, reached[i] && !c.dead[r])
			eachCond(r.Cond, func(k *prog.Cond) {
				tables[k.Table] = true
				side(k.Value.Pattern, r, false)
				if k.Cmp == prog.In {
					classes[k.Value.Text] = true
				}
			})
		}
	}
	tables["aliases"] = true
	for _, s := range c.p.Settings {
		if s.Name == "aliases" && len(s.Values) > 0 {
			tables[s.Values[0]] = true
		}
	}
	for _, t := range c.p.Tables { // those that others are made of
		if t.Class == "sequence" || t.Class == "switch" {
			for _, a := range t.Args {
				tables[a] = true
			}
		}
	}
	own := func(at prog.Pos) bool { return !strings.HasPrefix(at.File, "<") }
	for _, name := range sortedKeys(c.p.Classes) {
		if k := c.p.Classes[name]; !classes[name] && own(k.Pos) {
			c.warn(UnusedName, k.Pos, "remove it, or write a rule with $="+name+" or in "+name, "class %q is not used", name)
		}
	}
	for _, t := range c.p.Tables {
		if !tables[t.Name] && !anyTable && own(t.Pos) {
			c.warn(UnusedName, t.Pos, "remove it, or write a rule with where "+t.Name+"(...)", "table %q is not used", t.Name)
		}
	}
	for i, rs := range c.p.Rulesets {
		if reached[i] || !own(rs.Pos) {
			continue
		}
		d := c.warn(UnusedName, rs.Pos, "remove it, or write: call "+rs.Name, "ruleset %q is never called", rs.Name)
		for j, to := range calls.to {
			if j != i && slices.Contains(to, i) {
				d.Related = append(d.Related, fmt.Sprintf("%s: only by ruleset %q, which is never called", place(c.p.Rulesets[j].Pos), c.p.Rulesets[j].Name))
				break
			}
		}
	}
	for _, t := range c.p.Transports {
		name := strings.ToLower(t.Name)
		if !mailers[name] && !anyMailer && own(t.Pos) {
			d := c.warn(UnusedTransport, t.Pos, "write a rule with => "+t.Name+", or remove it", "no rule ever chooses transport %q", t.Name)
			if r := unchosen[name]; r != nil {
				d.Related = []string{place(r.Pos) + ": this one never applies: " + text(r)}
			}
		}
	}
}

// entry reports whether a ruleset is called by the program itself.
func entry(rs *prog.Ruleset) bool {
	switch rs.Name {
	case compile.Canonify, compile.Route, compile.Send, compile.Schedule, "sender", "recipient", "uncanonify":
		return true
	}
	return rs.Number >= 0 || strings.HasPrefix(rs.Name, compile.AcceptName(""))
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
