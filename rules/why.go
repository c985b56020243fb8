package rules

import (
	"fmt"
	"slices"
	"strings"

	"waybill/rules/compile"
)

// steps is a list of steps as text, in the order in which things happened: for each ruleset, what came into it; for each
// rule that was applied, where it stands, what it says, what the tables it asked had, what the rulesets it called did,
// and what became of the address. A decision is told once, where it was made.
func steps(why []Step) string {
	var b strings.Builder
	w := whyText{b: &b, why: why}
	for i := 0; i < len(why); i++ {
		i = w.step(i)
	}
	if !slices.ContainsFunc(why, func(s Step) bool { return s.Kind != StepNote }) { // the reasons have told them
		return ""
	}
	return "step by step:\n" + b.String()
}

type whyText struct {
	b    *strings.Builder
	why  []Step
	open []string // the ruleset at each depth
}

// step tells a step, and those behind it that belong into the same line. It returns the last one.
func (w *whyText) step(i int) int {
	s := w.why[i]
	depth := max(s.Depth, 1)
	indent := strings.Repeat("    ", depth-1)
	if len(w.open) > depth {
		w.open = w.open[:depth]
	}
	for len(w.open) < depth {
		w.open = append(w.open, "")
	}
	if s.Ruleset != "" && w.open[depth-1] != s.Ruleset {
		w.open[depth-1] = s.Ruleset
		fmt.Fprintf(w.b, "%s%s\n", indent, title(s))
	}
	switch s.Kind {
	case StepRule:
		fmt.Fprintf(w.b, "%s  %s: %s\n", indent, s.Place(), s.Source)
		if !w.calls(i) {
			w.result(i, indent)
		}
		w.close(i)
	case StepLookup:
		place := s.Place()
		if place != "" {
			place = " (" + place + ")"
		}
		if w.asked(i) {
			indent += "    "
		}
		last, answer := w.misses(i)
		fmt.Fprintf(w.b, "%s  %s%s\n", indent, answer, place)
		w.close(last)
		return last
	default:
		fmt.Fprintf(w.b, "%s  ! %s\n", indent, s)
	}
	return i
}

// misses is the answer of a table. Keys that it does not have, and that one ruleset asked it for one after the other, are
// told together.
func (w *whyText) misses(i int) (last int, answer string) {
	s := w.why[i]
	keys := []string{s.Key}
	last = i
	for !s.Found && s.Err == "" && last+1 < len(w.why) {
		next := w.why[last+1]
		if next.Kind != StepLookup || next.Found || next.Err != "" || next.Depth != s.Depth || next.Ruleset != s.Ruleset || next.Table != s.Table {
			break
		}
		if last++; !slices.Contains(keys, next.Key) {
			keys = append(keys, next.Key)
		}
	}
	if len(keys) == 1 {
		return last, s.answer()
	}
	return last, fmt.Sprintf("table %s has none of %s", s.Table, strings.Join(keys, ", "))
}

// asked reports whether the rule that made a lookup is the one that was told last at its depth: then it matched.
func (w *whyText) asked(i int) bool {
	s := w.why[i]
	for j := i - 1; j >= 0 && w.why[j].Depth >= s.Depth; j-- {
		if r := w.why[j]; r.Kind == StepRule && r.Depth == s.Depth {
			return s.rule != nil && r.Ruleset == s.Ruleset && r.Source == ruleText(s.rule)
		}
	}
	return false
}

// calls reports whether the step behind a rule belongs to it: a table that it asked, a ruleset that it called.
func (w *whyText) calls(i int) bool {
	if i+1 == len(w.why) {
		return false
	}
	s, next := w.why[i], w.why[i+1]
	return next.Depth > s.Depth || next.Depth == s.Depth && next.Kind == StepLookup && next.Ruleset == s.Ruleset && next.rule != nil && ruleText(next.rule) == s.Source
}

// close tells what became of the rules that end with a step: those above it whose calls and lookups are over.
func (w *whyText) close(i int) {
	if w.why[i].Kind == StepRule && w.calls(i) {
		return
	}
	// Go back to the rules that enclose this step, the innermost first.
	depth := w.why[i].Depth
	if w.why[i].Kind == StepLookup {
		depth++ // its own rule encloses it, too
	}
	for j := i - 1; j >= 0; j-- {
		s := w.why[j]
		if s.Kind != StepRule || s.Depth >= depth {
			continue
		}
		if !w.over(j, i) {
			return
		}
		w.result(j, strings.Repeat("    ", max(s.Depth, 1)-1))
		depth = s.Depth
	}
}

// over reports whether nothing behind step i belongs to rule j any more.
func (w *whyText) over(j, i int) bool {
	if i+1 == len(w.why) {
		return true
	}
	s, next := w.why[j], w.why[i+1]
	if next.Depth > s.Depth {
		return next.Depth == 1
	}
	return !(next.Depth == s.Depth && next.Kind == StepLookup && next.rule != nil && ruleText(next.rule) == s.Source && next.Ruleset == s.Ruleset)
}

// result tells what a rule made of the address; nothing when a rule that it called has told the decision already.
func (w *whyText) result(i int, indent string) {
	s := w.why[i]
	switch {
	case strings.HasPrefix(s.After, "$#"):
		for _, later := range w.why[i+1:] {
			if later.Kind == StepRule && later.Depth <= s.Depth {
				break
			}
			if later.Kind == StepRule && strings.HasPrefix(later.After, "$#") {
				return
			}
		}
		fmt.Fprintf(w.b, "%s      %s\n", indent, decided(s))
	case s.Before == s.After:
		fmt.Fprintf(w.b, "%s      leaves it as it is\n", indent)
	case s.After == "":
		fmt.Fprintf(w.b, "%s      leaves nothing\n", indent)
	default:
		inner := ""
		for _, later := range w.why[i+1:] {
			if later.Depth <= s.Depth {
				break
			}
			if later.Kind == StepRule {
				inner = later.After
			}
		}
		if inner != s.After { // else a rule that it called has told it
			fmt.Fprintf(w.b, "%s      makes it %s\n", indent, closer(s.After))
		}
	}
}

// title says which rules are asked, and about what.
func title(s Step) string {
	name := s.Ruleset
	stage, isAccept := strings.CutPrefix(name, compile.AcceptName(""))
	switch {
	case name == compile.Send:
		return "send (when it goes):"
	case name == compile.Route && s.Depth <= 1:
		return "route (where it goes): " + closer(s.Before)
	case name == compile.Canonify && s.Depth <= 1:
		return "canonify (one form for every address): " + closer(s.Before)
	case isAccept:
		return "accept " + strings.Replace(stage, ":", " ", 1) + ": " + closer(s.Before)
	}
	return strings.TrimRight("ruleset "+name+": "+closer(s.Before), " ")
}

// decided reads "$# mailer $@ host $: user" to people.
func decided(s Step) string {
	mailer, user, hasUser := strings.Cut(strings.TrimSpace(strings.TrimPrefix(s.After, "$#")), "$:")
	mailer, host, hasHost := strings.Cut(mailer, "$@")
	mailer, host, user = strings.TrimSpace(mailer), closer(strings.TrimSpace(host)), strings.TrimSpace(user)
	hook := strings.HasPrefix(s.Ruleset, compile.AcceptName(""))
	switch {
	case s.Ruleset == compile.Send:
		return "decides: " + mailer
	case mailer == "error" && host == "quarantine":
		return "decides: accept and hold it: " + sentence(user)
	case mailer == "error":
		r := readRefusal(host, sentence(user))
		return fmt.Sprintf("decides: refuse it: %d %s %s", r.Code, r.Enhanced, r.Text)
	case mailer == "discard":
		return "decides: take it and throw it away"
	case mailer == "ok" && hook, mailer == "OK" && hook:
		return "decides: accept"
	}
	out := "decides: transport " + mailer
	if hasHost {
		out += ", host " + host
	}
	if hasUser {
		out += ", user " + closer(user)
	}
	return out
}

// sentence is the text of a refusal, of tokens some of which are in quotes.
func sentence(tokens string) string {
	var b strings.Builder
	for rest := tokens; rest != ""; {
		if rest[0] == '"' {
			end := 1
			for end < len(rest) && rest[end] != '"' {
				if rest[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end, len(rest)-1)
			b.WriteString(unescape(rest[1:end]))
			rest = strings.TrimPrefix(rest[end+1:], " ")
			continue
		}
		word, after, _ := strings.Cut(rest, " ")
		b.WriteString(word)
		if after != "" && isWord(word[len(word)-1]) && isWord(after[0]) {
			b.WriteByte(' ')
		}
		rest = after
	}
	return b.String()
}

// closer takes the blanks out from between the tokens of an address where nobody misses them.
func closer(tokens string) string {
	var b strings.Builder
	last := ""
	for _, t := range strings.Split(tokens, " ") {
		if t == "" {
			continue
		}
		blank := last != "" && isWord(last[len(last)-1]) && isWord(t[0]) || t == "<" || last == ">" || t[0] == '$' || len(last) > 1 && last[0] == '$'
		if blank && b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(t)
		last = t
	}
	return b.String()
}
