package rules

import (
	"strings"

	"waybill/rules/compile"
	"waybill/rules/prog"
	"waybill/rules/trace"
)

// RuleRef names a rule.
type RuleRef struct {
	File    string
	Line    int
	Ruleset string
	Source  string
}

// Coverage runs all test blocks and tells which rules none of them has reached. Rules of the library are left out: its
// own tests reach them.
func (r *Router) Coverage() (results []TestResult, untested []RuleRef, rules int) {
	seen := &reached{map[*prog.Rule]bool{}}
	results = r.Tests(seen)
	for _, rs := range r.Program().Rulesets {
		for _, rule := range rs.Rules {
			if strings.HasPrefix(rule.Pos.File, "<") {
				continue
			}
			rules++
			if !seen.rules[rule] {
				untested = append(untested, RuleRef{rule.Pos.File, rule.Pos.Line, blockName(rs.Name), ruleText(rule)})
			}
		}
	}
	return results, untested, rules
}

// blockName is a ruleset as its block begins: "accept rcpt", "accept header subject".
func blockName(ruleset string) string {
	if stage, ok := strings.CutPrefix(ruleset, compile.AcceptName("")); ok {
		return "accept " + strings.Replace(stage, ":", " ", 1)
	}
	return ruleset
}

// reached is a Tracer that remembers which rules were applied.
type reached struct{ rules map[*prog.Rule]bool }

func (*reached) Wants() trace.Kind { return trace.Rewrite }

func (r *reached) Event(e *trace.Event) {
	if e.Kind == trace.Rewrite {
		r.rules[e.Rule] = true
	}
}
