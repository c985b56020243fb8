package cf

import (
	"fmt"
	"strconv"
	"strings"

	"waybill/rules/addr"
	"waybill/rules/prog"
)

// maxWildcards is how many numbered symbols a left side may have; maxMapArgs how many arguments a lookup.
const (
	maxWildcards = 9
	maxMapArgs   = 9
)

// ruleLine reads "Rlhs<TAB>rhs<TAB>comment"; body is the line without its R, in marked form.
func (r *reader) ruleLine(body, source string) {
	rs := r.ruleset()
	if rs == nil {
		r.errorf("missing valid ruleset for \"R%s\"", body)
		return
	}
	tab := strings.IndexByte(body, '\t')
	if tab < 0 {
		r.errorf("invalid rewrite line \"R%s\" (tab expected)", body)
		return
	}
	left := body[:tab]
	right := strings.TrimLeft(body[tab:], "\t")
	comment := ""
	if i := strings.IndexByte(right, '\t'); i >= 0 {
		right, comment = right[:i], right[i+1:]
	}
	_ = comment
	r.ruled = true
	rule := &prog.Rule{Pos: r.pos(), Source: source}
	rule.LHS = r.leftSide(left)
	wild := 0
	for _, t := range rule.LHS {
		if t.Kind.Wildcard() {
			wild++
		}
	}
	if wild > maxWildcards {
		r.errorf("R line: too many wildcards")
		rule.LHS, wild = nil, maxWildcards
	} else if len(rule.LHS) == 0 {
		r.errorf("R line: null LHS")
	}
	rule.RHS = r.rightSide(right, wild)
	if len(rule.RHS) == 0 && right != "" {
		r.errorf("R line: null RHS")
	}
	setMode(rule)
	rs.Rules = append(rs.Rules, rule)
}

// setMode takes what begins a right side off it.
func setMode(rule *prog.Rule) {
	if len(rule.RHS) > 0 {
		switch rule.RHS[0].Kind {
		case prog.User:
			rule.Mode, rule.RHS = prog.Once, rule.RHS[1:]
		case prog.Host:
			rule.Mode, rule.RHS = prog.Return, rule.RHS[1:]
		}
	}
}

// side cuts one side of a rule: static macros are put in, then the text is cut into tokens around the symbols.
// symbol makes a symbol of the character behind the mark; it may return a Literal.
func (r *reader) side(text string, right bool, symbol func(c byte) prog.Tok) []prog.Tok {
	text = r.expand(text)
	if r.cfg.Level < 9 {
		text = withoutComments(text)
	}
	type meta struct {
		c    byte
		name string
	}
	var (
		b     strings.Builder
		few   [12]meta
		metas = few[:0]
	)
	b.Grow(len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c != mark {
			if c == addr.Symbol {
				c = '?' // no text that comes from a message can hold this octet
			}
			b.WriteByte(c)
			continue
		}
		i++
		if i == len(text) { // the name behind it was no name
			break
		}
		m := meta{c: text[i]}
		switch text[i] {
		case '&', '=', '~':
			name, tail, complaints, ok := CutName(text[i+1:])
			if (text[i] != '&' || !right || text[i+1:] == "") && !strings.HasPrefix(text[i+1:], "{") {
				complaints = nil
			}
			for _, c := range complaints {
				r.errorf("%s", c)
			}
			if ok || len(complaints) > 0 {
				text, i = tail, -1
			}
			if m.name = name; name == string(rune(mark)) {
				m.name = "$"
			}
		}
		metas = append(metas, m)
		b.WriteByte(addr.Symbol)
	}
	words := r.syntax().SplitRule(b.String(), false)
	if len(words) == 0 {
		return nil
	}
	toks := make([]prog.Tok, 0, len(words))
	for _, w := range words {
		if len(w) == 1 && w[0] == addr.Symbol {
			t := symbol(metas[0].c)
			if metas[0].name != "" {
				t.Text = metas[0].name
			}
			toks, metas = append(toks, t), metas[1:]
			continue
		}
		if strings.IndexByte(string(w), addr.Symbol) >= 0 { // in quotes, a symbol is only its text
			var q strings.Builder
			for i := 0; i < len(w); i++ {
				if w[i] != addr.Symbol {
					q.WriteByte(w[i])
					continue
				}
				q.WriteByte('$')
				q.WriteByte(metas[0].c)
				if metas[0].name != "" {
					q.WriteString(prog.MacroName(metas[0].name))
				}
				metas = metas[1:]
			}
			w = addr.Token(q.String())
		}
		toks = append(toks, prog.Tok{Kind: prog.Literal, Text: string(w)})
	}
	return toks
}

// withoutComments takes out what stands in parentheses: before V level 9 rules had comments like addresses.
func withoutComments(s string) string {
	var b strings.Builder
	depth, quoted := 0, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == mark && i+1 < len(s): // $( is no parenthesis
			if depth == 0 {
				b.WriteString(s[i : i+2])
			}
			i++
			continue
		case c == '\\' && i+1 < len(s):
			if depth == 0 {
				b.WriteString(s[i : i+2])
			}
			i++
			continue
		case c == '"' && depth == 0:
			quoted = !quoted
		case c == '(' && !quoted:
			if depth == 0 {
				b.WriteByte(' ')
			}
			depth++
		case c == ')' && !quoted && depth > 0:
			depth--
			continue
		}
		if depth == 0 {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func (r *reader) leftSide(text string) []prog.Tok {
	return r.side(text, false, func(c byte) prog.Tok {
		switch c {
		case '*':
			return prog.Tok{Kind: prog.ZeroOrMore}
		case '+':
			return prog.Tok{Kind: prog.OneOrMore}
		case '-':
			return prog.Tok{Kind: prog.One}
		case '@':
			return prog.Tok{Kind: prog.Empty}
		case '=':
			return prog.Tok{Kind: prog.InClass}
		case '~':
			return prog.Tok{Kind: prog.NotInClass}
		case '&':
			return prog.Tok{Kind: prog.RunMacro}
		case '|':
			return prog.Tok{Kind: prog.Sep}
		case '#':
			return prog.Tok{Kind: prog.Mailer}
		case '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			r.errorf("Inappropriate use of $1-$9 on LHS")
			return prog.Tok{Kind: prog.Capture, N: int(c - '0')}
		}
		r.errorf("Inappropriate use of $%c on LHS", c)
		return otherSymbol(c)
	})
}

func (r *reader) rightSide(text string, wild int) []prog.Tok {
	var inMap byte // the symbol that ends the lookup
	args := 0
	toks := r.side(text, true, func(c byte) prog.Tok {
		switch c {
		case '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			n := int(c - '0')
			if n < 1 || n > wild {
				r.errorf("replacement $%c out of bounds", c)
			}
			return prog.Tok{Kind: prog.Capture, N: n}
		case '&':
			return prog.Tok{Kind: prog.RunMacro}
		case '|':
			return prog.Tok{Kind: prog.Sep}
		case '#':
			return prog.Tok{Kind: prog.Mailer}
		case '(', '[':
			if inMap != 0 {
				r.errorf("cannot nest map lookups")
			} else {
				inMap = ']'
				if c == '(' {
					inMap = ')'
				}
			}
			args = 0
			if c == '[' {
				return prog.Tok{Kind: prog.HostBegin}
			}
			return prog.Tok{Kind: prog.MapBegin}
		case ')', ']':
			if inMap == c {
				inMap = 0
			}
			if c == ']' {
				return prog.Tok{Kind: prog.HostEnd}
			}
			return prog.Tok{Kind: prog.MapEnd}
		case '@':
			if inMap != 0 {
				if args++; args > maxMapArgs {
					r.errorf("too many arguments for map lookup")
				}
				return prog.Tok{Kind: prog.MapArg}
			}
			return prog.Tok{Kind: prog.Host}
		case ':':
			if inMap != 0 {
				return prog.Tok{Kind: prog.MapElse}
			}
			return prog.Tok{Kind: prog.User}
		case '*', '+', '-', '=', '~':
			r.errorf("Inappropriate use of $%c on RHS", c)
		}
		return otherSymbol(c)
	})
	if inMap != 0 {
		r.errorf("missing map closing token")
	}
	return toks
}

// otherSymbol is a symbol where sendmail gives it no meaning: it stands for itself.
func otherSymbol(c byte) prog.Tok {
	kind, ok := map[byte]prog.Kind{
		'*': prog.ZeroOrMore, '+': prog.OneOrMore, '-': prog.One, '=': prog.InClass, '~': prog.NotInClass, '>': prog.Call, '(': prog.MapBegin,
		')': prog.MapEnd, '[': prog.HostBegin, ']': prog.HostEnd, ':': prog.User, '@': prog.Host,
	}[c]
	if ok {
		return prog.Tok{Kind: kind}
	}
	if c == '?' {
		return prog.Tok{Kind: prog.Literal, Text: string(addr.If)}
	}
	return prog.Tok{Kind: prog.Literal, Text: string(addr.EndIf)}
}

// macro returns the value of a macro in marked form, for references that are put in while reading.
func (r *reader) macro(name string) (string, bool) {
	v, ok := r.macros[name]
	return v, ok
}

// rulesetLine reads an S line: a number, a name, or both.
func (r *reader) rulesetLine(body string) {
	rs, as := r.defineRuleset(body)
	r.cur = rs
	if rs == nil {
		return
	}
	r.cur = rs
	if len(rs.Rules) > 0 {
		r.say("WARNING: Ruleset %s has multiple definitions", as)
	}
}

// firstNamed is the number of the first ruleset that has a name and no number; the next ones count down.
const (
	firstNamed  = 199
	maxNumbered = 100
)

// defineRuleset finds or makes the ruleset that an S line, or an S= or R= of a mailer, names.
func (r *reader) defineRuleset(text string) (rs *prog.Ruleset, as string) {
	text = strings.TrimLeft(text, " \t")
	if text != "" && text[0] >= '0' && text[0] <= '9' {
		i := 0
		for i < len(text) && text[i] >= '0' && text[i] <= '9' {
			i++
		}
		long, err := strconv.ParseInt(text[:i], 10, 64)
		if err != nil {
			r.errorf("bad ruleset -1 (%d max): Numerical result out of range", maxNumbered)
			return nil, ""
		}
		n := int(int32(long)) // the real one cuts it so
		if n < 0 || n >= maxNumbered {
			r.errorf("bad ruleset %d (%d max)", n, maxNumbered)
			return nil, ""
		}
		return r.numbered(n, strconv.Itoa(n)), text
	}
	i := 0
	for i < len(text) && isNameChar(text[i]) {
		i++
	}
	name := text[:i]
	if name == "" || !isLetter(name[0]) {
		r.errorf("invalid ruleset name: \"%s\"", text)
		return nil, ""
	}
	rest := strings.TrimLeft(text[i:], " \t")
	if !strings.HasPrefix(rest, "=") {
		if rs = r.cfg.Prog.Ruleset(name); rs != nil {
			return rs, name
		}
		rs = r.cfg.Prog.AddRuleset(name, r.nextNamed, r.pos())
		r.nextNamed--
		return rs, name
	}
	value := strings.TrimLeft(rest[1:], " \t")
	if value == "" || value[0] < '0' || value[0] > '9' {
		r.errorf("bad ruleset definition \"%s\" (number required after `=')", text)
		r.cfg.Nameless = append(r.cfg.Nameless, name)
		return nil, ""
	}
	n := 0
	for j := 0; j < len(value) && value[j] >= '0' && value[j] <= '9' && n < 1<<20; j++ {
		n = n*10 + int(value[j]-'0')
	}
	if n >= maxNumbered {
		r.errorf("bad ruleset number %d in \"%s\" (%d max)", n, text, maxNumbered)
		r.cfg.Nameless = append(r.cfg.Nameless, name)
		return nil, ""
	}
	if old := r.cfg.Prog.Ruleset(name); old != nil {
		if old.Number != n {
			r.errorf("%s: ruleset changed value (old %d, new %d)", text, old.Number, n)
		}
		return old, name
	}
	rs = r.numbered(n, name)
	rs.Name = name
	r.cfg.Prog.Names[name] = rs.Index
	return rs, name
}

// numbered finds or makes the ruleset with a number.
func (r *reader) numbered(n int, name string) *prog.Ruleset {
	key := fmt.Sprint(n)
	if rs := r.cfg.Prog.Ruleset(key); rs != nil {
		return rs
	}
	rs := r.cfg.Prog.AddRuleset(key, n, r.pos())
	rs.Name = name
	return rs
}

// ruleset is the one that R lines go to; nil before the first S line, and behind one that made no sense.
func (r *reader) ruleset() *prog.Ruleset { return r.cur }

func isLetter(c byte) bool   { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
func isNameChar(c byte) bool { return isLetter(c) || c >= '0' && c <= '9' || c == '_' }
