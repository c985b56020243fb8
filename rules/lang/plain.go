package lang

import "github.com/alecthomas/participle/v2/lexer"

// plainRule reads the most frequent forms of a rule, by which large files grow: PATTERN -> [MODE] TEXT, with calls, or
// PATTERN => TEXT [WHEN]. participle reads all others, and would read these alike (TestPlainRules); it takes ten times
// as long.
func plainRule(line []lexer.Token) *Rule {
	arrow := 0
	for arrow < len(line) && isText(line[arrow].Type) {
		arrow++
	}
	if arrow == 0 || arrow+1 >= len(line) || line[arrow].Type != tokArrow {
		return nil
	}
	right := line[arrow+1:]
	last := line[len(line)-1]
	end := last.Pos
	end.Advance(last.Value)
	mode, when := "", ""
	if line[arrow].Value == "->" {
		switch right[0].Value {
		case "once", "return", "repeat":
			mode, right = right[0].Value, right[1:]
		}
	} else if last.Type == tokKeyword {
		switch last.Value {
		case "now", "background", "queue", "defer":
			when, right = last.Value, right[:len(right)-1]
		}
	}
	if len(right) == 0 {
		return nil
	}
	for i, t := range right {
		switch {
		case isText(t.Type):
		case t.Type == tokKeyword && t.Value == "call" && i+1 < len(right) && callee(right[i+1].Type):
			return plainCalls(line, arrow, mode, when, right)
		default:
			return nil
		}
	}
	// One allocation for all nodes of the rule.
	n := &struct {
		rule    Rule
		pattern Pattern
		action  Action
		rewrite Rewrite
		resolve Resolve
		part    Part
		text    Text
		parts   [1]*Part
	}{}
	at, behind := Pos(line[0].Pos), Pos(end)
	n.rule = Rule{Pos: at, EndPos: behind, Pattern: &n.pattern, Action: &n.action}
	n.pattern = Pattern{Pos: at, EndPos: Pos(line[arrow].Pos), Run: line[:arrow:arrow]}
	n.action = Action{Pos: Pos(line[arrow].Pos), EndPos: behind}
	textEnd := behind
	if when != "" {
		textEnd = Pos(last.Pos)
	}
	n.text = Text{Pos: Pos(right[0].Pos), EndPos: textEnd, Run: right[:len(right):len(right)]}
	n.part = Part{Pos: n.text.Pos, EndPos: textEnd, Text: &n.text}
	n.parts[0] = &n.part
	if line[arrow].Value == "->" {
		n.rewrite = Rewrite{Pos: n.action.Pos, EndPos: behind, Mode: mode, Parts: n.parts[:]}
		n.action.Rewrite = &n.rewrite
	} else {
		n.resolve = Resolve{Pos: n.action.Pos, EndPos: behind, Parts: n.parts[:], When: when}
		n.action.Resolve = &n.resolve
	}
	return &n.rule
}

func callee(t lexer.TokenType) bool { return t == tokWord || t == tokVar || t == tokQuoted }

// plainCalls reads a rule whose right side has texts and calls.
func plainCalls(line []lexer.Token, arrow int, mode, when string, right []lexer.Token) *Rule {
	last := line[len(line)-1]
	end := last.Pos
	end.Advance(last.Value)
	behind := func(i int) Pos { // where the token behind right[i] begins
		switch {
		case i+1 < len(right):
			return Pos(right[i+1].Pos)
		case when != "":
			return Pos(last.Pos)
		}
		return Pos(end)
	}
	var parts []*Part
	for i := 0; i < len(right); {
		t := right[i]
		if t.Type == tokKeyword {
			if t.Value != "call" || i+1 == len(right) || !callee(right[i+1].Type) {
				return nil
			}
			name := right[i+1]
			c := &Callee{Pos: Pos(name.Pos), EndPos: behind(i + 1), Name: []lexer.Token{name}}
			parts = append(parts, &Part{Pos: Pos(t.Pos), EndPos: c.EndPos, Call: c})
			i += 2
			continue
		}
		n := i
		for n < len(right) && isText(right[n].Type) {
			n++
		}
		if n == i {
			return nil
		}
		text := &Text{Pos: Pos(t.Pos), EndPos: behind(n - 1), Run: right[i:n:n]}
		parts = append(parts, &Part{Pos: text.Pos, EndPos: text.EndPos, Text: text})
		i = n
	}
	rule := &Rule{Pos: Pos(line[0].Pos), EndPos: Pos(end), Pattern: &Pattern{Pos: Pos(line[0].Pos), EndPos: Pos(line[arrow].Pos), Run: line[:arrow:arrow]}}
	rule.Action = &Action{Pos: Pos(line[arrow].Pos), EndPos: rule.EndPos}
	if line[arrow].Value == "->" {
		rule.Action.Rewrite = &Rewrite{Pos: rule.Action.Pos, EndPos: rule.EndPos, Mode: mode, Parts: parts}
	} else {
		rule.Action.Resolve = &Resolve{Pos: rule.Action.Pos, EndPos: rule.EndPos, Parts: parts, When: when}
	}
	return rule
}

// plainTest reads a line of a test block that gives nothing: VALUES => VALUES, or with the other arrow.
func plainTest(line []lexer.Token) *TestLine {
	arrow := 0
	for arrow < len(line) && isValue(line[arrow].Type) {
		arrow++
	}
	if arrow == 0 || arrow+1 >= len(line) || line[arrow].Type != tokArrow || line[0].Value == "given" {
		return nil
	}
	for _, t := range line[arrow+1:] {
		if !isValue(t.Type) {
			return nil
		}
	}
	last := line[len(line)-1]
	end := last.Pos
	end.Advance(last.Value)
	return &TestLine{
		Pos: Pos(line[0].Pos), EndPos: Pos(end), Arrow: line[arrow].Value,
		Input:  &Values{Pos: Pos(line[0].Pos), EndPos: Pos(line[arrow].Pos), Run: line[:arrow:arrow]},
		Output: &Values{Pos: Pos(line[arrow+1].Pos), EndPos: Pos(end), Run: line[arrow+1:]},
	}
}
