package rules

import (
	"fmt"
	"strings"

	"waybill/rules/compile"
)

// Because is the short answer to "why?": the entries of tables that led to the decision, the rule that made it, and the
// line of a send block that chose the time. Each is a clause of its own. What was asked on the way and did not count is
// left out: the steps have it.
func (e Explanation) Because() []string {
	why := e.Decision.Why
	routing := why
	for i, s := range why {
		if s.Depth == 1 && s.Ruleset == compile.Send {
			routing = why[:i]
			break
		}
	}
	out := reasons(routing)
	switch r := e.Decision.Refusal; {
	case e.Err != nil || len(out) > 0:
	case r != nil && r.Enhanced == unrouted().Enhanced:
		out = append(out, "no rule of the route blocks resolves it"+seenAs(routing))
	}
	if at := resolving(why[len(routing):]); at >= 0 && e.Err == nil {
		s := why[len(routing)+at]
		out = append(out, fmt.Sprintf("%s says when: %s", s.Place(), s.said()))
	}
	return out
}

// Because is the same for what is received.
func (p Policy) Because() []string {
	own := compile.AcceptName(string(p.Stage))
	var why []Step
	at := -1
	for i, s := range p.Verdict.Why {
		if s.Depth == 1 { // the steps of the accept block, and not those of the route that its conditions ask for
			at = -1
			if s.Ruleset == own || strings.HasPrefix(s.Ruleset, own+":") || s.Ruleset == "" {
				at = i
			}
		}
		if at >= 0 || s.Kind == StepNote {
			why = append(why, s)
		}
	}
	out := reasons(why)
	if len(out) == 0 && p.Err == nil && !p.Verdict.Decided && p.Verdict.Refusal == nil {
		out = append(out, fmt.Sprintf("no line of an accept %s block applies", p.Stage))
	}
	return out
}

// reasons are what led to a decision, of the steps of one evaluation.
func reasons(why []Step) []string {
	decided := resolving(why)
	var out []string
	told := map[string]bool{}
	tell := func(clause string) {
		if !told[clause] {
			told[clause] = true
			out = append(out, clause)
		}
	}
	for i, s := range why {
		switch {
		case s.Kind == StepNote || s.Kind == StepLookup && s.Err != "":
			tell(s.String())
		case decided >= 0 && s.Kind == StepLookup && s.Found && i < len(why) && counts(why, i, decided):
			place := s.Place()
			if place != "" {
				place = " (" + place + ")"
			}
			tell(s.answer() + place)
		}
	}
	if decided >= 0 {
		tell(fmt.Sprintf("%s says: %s", why[decided].Place(), why[decided].said()))
	}
	return out
}

// resolving is the place of the rule that resolved: the innermost one whose result is a mailer; -1 when there is none.
func resolving(why []Step) int {
	for i := len(why) - 1; i >= 0; i-- {
		if why[i].Kind == StepRule && strings.HasPrefix(why[i].After, "$#") {
			return i
		}
	}
	return -1
}

// counts reports whether an entry that was found led to the decision: the rule that asked for it applied, and what the
// rules made of the address then was not undone before the decision.
func counts(why []Step, lookup, decided int) bool {
	w := whyText{why: why}
	if !w.asked(lookup) {
		return false
	}
	from := lookup
	for from >= 0 && !(why[from].Kind == StepRule && why[from].Depth == 1) {
		from--
	}
	if from < 0 || from >= decided {
		return true
	}
	for i := from + 1; i < decided; i++ {
		if s := why[i]; s.Kind == StepRule && s.Depth == 1 && s.Ruleset == why[from].Ruleset && s.After == why[from].Before {
			return false
		}
	}
	return why[from].After != why[from].Before
}

// said is a rule with the comment behind it.
func (s Step) said() string {
	if s.Comment != "" {
		return s.Source + "   # " + s.Comment
	}
	return s.Source
}

// seenAs is how the rules saw the address in the end, where that differs from what was asked.
func seenAs(why []Step) string {
	for i := len(why) - 1; i >= 0; i-- {
		if why[i].Kind == StepRule && why[i].Depth == 1 {
			return "; the rules see it as " + closer(why[i].After)
		}
	}
	return ""
}

// clauses are reasons as lines behind a headline.
func clauses(because []string) string {
	var b strings.Builder
	for i, c := range because {
		lead := "  because "
		if i > 0 {
			lead = "  and     "
		}
		b.WriteString(lead + c + "\n")
	}
	return b.String()
}

// comment is what a person wrote behind the rule that begins in a line of a file: the text behind its "#".
func (r *Router) comment(file string, line int) string {
	src := r.sources[file]
	if src == nil {
		return ""
	}
	_, text, ok := strings.Cut(src.Line(line), " # ")
	if !ok || strings.Count(text, `"`)%2 == 1 { // inside of a quoted text
		return ""
	}
	return strings.TrimSpace(text)
}
