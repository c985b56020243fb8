package lang

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// lineKind says what a line was meant to be.
type lineKind uint8

const (
	kindStatement lineKind = iota
	kindRule
	kindHookRule
	kindSendRule
	kindScheduleRule
	kindTestLine
	kindParam
	kindMember
)

var forms = [...]string{
	kindStatement:    "",
	kindRule:         "a rule is: PATTERN [where CONDITION] -> REPLACEMENT, or => TRANSPORT [HOST] USER [WHEN]",
	kindHookRule:     "a rule here is: PATTERN or CONDITION, then ok, reject CODE ENHANCED \"text\", discard or quarantine \"why\"",
	kindSendRule:     "a line here is: CONDITION, then now, background, queue or defer [between HH:MM and HH:MM], or priority N",
	kindScheduleRule: "a line here is: CONDITION => retry DURATION..., give-up DURATION, warn-after DURATION, rate N/UNIT or concurrency N",
	kindTestLine:     "a line here is: ADDRESS => TRANSPORT [HOST] USER [WHEN], or given NAME VALUE",
	kindParam:        "a parameter is: NAME VALUE",
	kindMember:       "members of a class are words, or @FILE",
}

var statementForms = map[string]string{
	"host":      "write: host NAME",
	"spool":     "write: spool DIRECTORY",
	"set":       "write: set NAME VALUE...",
	"define":    "write: define NAME TEXT",
	"include":   `write: include "PATTERN"`,
	"use":       "write: use NAME",
	"class":     "write: class NAME { WORD... }",
	"table":     "write: table NAME CLASS ARGUMENT...",
	"transport": "write: transport NAME KIND { key value; ... }",
	"ruleset":   "write: ruleset NAME { ... }",
	"route":     "write: route { ... }",
	"accept":    "write: accept STAGE { ... }",
	"send":      "write: send { ... }",
	"schedule":  "write: schedule { ... }",
	"test":      `write: test "NAME" { ... }`,
}

// explain turns the error of one line into a message for the person who wrote it.
func (p *Parser) explain(src *Source, diags *Diagnostics, line []lexer.Token, kind lineKind, err error) {
	words := significant(line)
	first, last := words[0], words[len(words)-1]
	at := last
	behind := true // the mistake is that something is missing at the end
	var unexpected *participle.UnexpectedTokenError
	var perr participle.Error
	switch {
	case errors.As(err, &unexpected):
		for _, w := range words {
			if w.Pos.Offset == unexpected.Unexpected.Pos.Offset {
				at, behind = w, false
			}
		}
	case errors.As(err, &perr):
		for _, w := range words {
			if w.Pos.Offset == perr.Position().Offset {
				at, behind = w, false
			}
		}
	}
	from, to := Pos(at.Pos), endOf(at)
	message, remedy := fmt.Sprintf("%s is not expected here", show(at)), forms[kind]
	if behind {
		from, to = endOf(last), Pos{}
		message = "something is missing at the end of this line"
	}
	if kind == kindStatement {
		if !isStatement(first.Value) {
			from, to = Pos(first.Pos), endOf(first)
			message = fmt.Sprintf("%s begins no statement", show(first))
			remedy = "a file consists of " + statementWords
			if hasArrow(line) {
				remedy = "rules stand inside of route { ... } or ruleset NAME { ... }"
			} else if near := Nearest(first.Value, strings.Fields(strings.NewReplacer(",", "", " or ", " ").Replace(statementWords))); near != "" {
				remedy = fmt.Sprintf("did you mean %q?", near)
			}
		} else {
			remedy = statementForms[first.Value]
			if last.Type != tokLBrace && behind && strings.Contains(remedy, "{") {
				message = fmt.Sprintf("the block of this %s is missing", first.Value)
			}
		}
		src.report(diags, from, to, message, remedy)
		return
	}
	if m, r := p.suspect(words, at, behind, kind); m != "" {
		message, remedy = m, r
	}
	src.report(diags, from, to, message, remedy)
}

// suspect recognises the usual mistakes.
func (p *Parser) suspect(words []lexer.Token, at lexer.Token, behind bool, kind lineKind) (message, remedy string) {
	arrow := hasArrow(words)
	if kind == kindRule || kind == kindHookRule {
		switch {
		case words[0].Type == tokArrow:
			return "this rule has no pattern", "write the pattern before the arrow; $x* matches everything, '' the empty address"
		case behind && !arrow && kind == kindRule:
			return "this rule does nothing", forms[kind]
		case behind && words[len(words)-1].Type == tokArrow && words[len(words)-1].Value == "=>":
			return "nothing follows the arrow", "write where the mail goes: => TRANSPORT [HOST] USER"
		}
	}
	if behind {
		return "", ""
	}
	switch at.Type {
	case tokKeyword:
		return fmt.Sprintf("%s is a word of the language and not expected here", show(at)), fmt.Sprintf("write '%s' to mean the text; %s", at.Value, forms[kind])
	case tokCall, tokLParen, tokRParen, tokComma:
		if kind == kindRule || kind == kindHookRule {
			text := strings.TrimSuffix(at.Value, "(")
			if text == "" {
				text = at.Value
			}
			if at.Type == tokCall {
				return fmt.Sprintf("a lookup, %s...), cannot stand here", at.Value), fmt.Sprintf("write the condition behind where, as in: where %s$x) is $y", at.Value)
			}
			return fmt.Sprintf("%s cannot stand here", show(at)), fmt.Sprintf("write '%s' to mean the character", text)
		}
	case tokLBrace, tokRBrace:
		return fmt.Sprintf("%s cannot stand here", show(at)), "blocks cannot be nested; write '" + at.Value + "' to mean the character"
	case tokArrow:
		return fmt.Sprintf("a second arrow, %s", at.Value), "a rule has one arrow; write '" + at.Value + "' to mean the text"
	}
	return "", ""
}

func significant(line []lexer.Token) []lexer.Token {
	var out []lexer.Token
	for _, t := range line {
		if t.Type != tokSpace && t.Type != tokComment && t.Type != tokEOL {
			out = append(out, t)
		}
	}
	return out
}

func endOf(t lexer.Token) Pos {
	t.Pos.Offset += len(t.Value)
	t.Pos.Column += len([]rune(t.Value))
	return Pos(t.Pos)
}

func show(t lexer.Token) string {
	if strings.ContainsAny(t.Value, `"`) {
		return t.Value
	}
	return `"` + t.Value + `"`
}

// Nearest returns the one of names that word is probably a misspelling of; empty when none is near.
func Nearest(word string, names []string) string {
	best, found := len(word)/3+1, ""
	for _, n := range names {
		if d := distance(strings.ToLower(word), strings.ToLower(n), best); d <= best && d > 0 && d < len(word) && (found == "" || d < best) {
			best, found = d, n
		}
	}
	return found
}

// distance counts the letters to add, remove, change or swap, and gives up above limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

func sortDiagnostics(ds Diagnostics) {
	sort.SliceStable(ds, func(i, j int) bool {
		a, b := ds[i].Pos, ds[j].Pos
		if a.Filename != b.Filename {
			return false
		}
		return a.Offset < b.Offset
	})
}
