package lang

import "github.com/alecthomas/participle/v2/lexer"

// plainRule reads the most frequent forms of a rule, by which large files grow: PATTERN -> [MODE] TEXT, or
// PATTERN => TEXT [WHEN]. It makes all nodes of the rule at once; quick reads the others.
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
	for _, t := range right {
		if !isText(t.Type) {
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
	n.pattern = Pattern{Words{Pos: at, EndPos: Pos(line[arrow].Pos), Run: line[:arrow:arrow]}}
	n.action = Action{Pos: Pos(line[arrow].Pos), EndPos: behind}
	textEnd := behind
	if when != "" {
		textEnd = Pos(last.Pos)
	}
	n.text = Text{Words{Pos: Pos(right[0].Pos), EndPos: textEnd, Run: right[:len(right):len(right)]}}
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
