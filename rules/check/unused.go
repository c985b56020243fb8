package check

import (
	"sort"
	"strings"

	"waybill/rules/compile"
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
			c.warn(UnusedCapture, r.Pos, "leave the name away: $- $+ $* $=class; or let it begin with _", "capture $%s is bound and never used", name)
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

// failures finds tables that say "no" when they do not know: flag -t, and -T with a word that no rule looks for.
func (c *program) failures() {
	for _, t := range c.p.Tables {
		for _, a := range t.Args {
			if !strings.HasPrefix(a, "-") {
				break
			}
			switch {
			case a == "-t":
				c.warn(LostFailure, t.Pos, "leave -t away: mail then waits until the table answers", "when table %q does not answer, that counts as if the key were not there", t.Name)
			case strings.HasPrefix(a, "-T") && len(a) > 2 && !c.mentions(a[2:]):
				c.warn(LostFailure, t.Pos, "leave -T away, or write a rule that looks for it", "table %q marks a failure with %s, and no rule looks for that", t.Name, a[2:])
			}
		}
	}
}

// mentions reports whether some pattern holds the letters of a mark.
func (c *program) mentions(mark string) bool {
	word := strings.Trim(mark, "<>")
	for _, rs := range c.p.Rulesets {
		for _, r := range rs.Rules {
			for _, t := range r.LHS {
				if t.Kind == prog.Literal && strings.EqualFold(t.Text, word) {
					return true
				}
			}
		}
	}
	return false
}

// unused finds what nothing mentions.
func (c *program) unused() {
	classes, tables, calls, mailers := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	anyTable, anyCall, anyMailer := false, false, false
	side := func(toks []prog.Tok) {
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
			case prog.Call:
				calls[next.Text] = literal
				anyCall = anyCall || !literal
			case prog.Mailer:
				mailers[strings.ToLower(next.Text)] = literal
				anyMailer = anyMailer || i == 0 && !literal
			}
		}
	}
	for _, rs := range c.p.Rulesets {
		for _, r := range rs.Rules {
			side(r.LHS)
			side(r.RHS)
			eachCond(r.Cond, func(k *prog.Cond) {
				tables[k.Table] = true
				side(k.Value.Pattern)
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
	for _, t := range c.p.Transports {
		for _, name := range []string{"sender", "recipient", "header"} {
			if v, ok := t.Param(name); ok {
				calls[v] = true
			}
		}
	}
	own := func(at prog.Pos) bool { return !strings.HasPrefix(at.File, "<") }
	for _, name := range sortedKeys(c.p.Classes) {
		if k := c.p.Classes[name]; !classes[name] && own(k.Pos) {
			c.warn(UnusedName, k.Pos, "", "class %q is not used", name)
		}
	}
	for _, t := range c.p.Tables {
		if !tables[t.Name] && !anyTable && own(t.Pos) {
			c.warn(UnusedName, t.Pos, "", "table %q is not used", t.Name)
		}
	}
	for _, rs := range c.p.Rulesets {
		if !entry(rs) && !calls[rs.Name] && !anyCall && own(rs.Pos) {
			c.warn(UnusedName, rs.Pos, "", "ruleset %q is never called", rs.Name)
		}
	}
	for _, t := range c.p.Transports {
		if !mailers[strings.ToLower(t.Name)] && !anyMailer && own(t.Pos) {
			c.warn(UnusedTransport, t.Pos, "write a rule with => "+t.Name+", or remove it", "no rule ever chooses transport %q", t.Name)
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
