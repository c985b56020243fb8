package lang

import "github.com/alecthomas/participle/v2/lexer"

// quick reads the lines of blocks as the grammar says, by hand: participle tries every alternative of every production
// and takes ten times as long, which a large file shows. It reads right lines only. Where it gives up, participle reads
// the line again and says what is wrong; where both read a line, they make the same tree of it (TestQuick, FuzzParse).
type quick struct {
	line []lexer.Token
	at   int
	end  Pos  // of the line
	lost bool // this is none of its lines
}

// quickly reads a whole line with one of the methods of quick; nil when it gives up.
func quickly[P any](line []lexer.Token, read func(*quick) *P) *P {
	q := &quick{line: line, end: Pos(behind(line).Pos)}
	if node := read(q); !q.lost && q.at == len(line) {
		return node
	}
	return nil
}

func (q *quick) kind() lexer.TokenType {
	if q.at < len(q.line) {
		return q.line[q.at].Type
	}
	return tokEOF
}

func (q *quick) word() string {
	if q.at < len(q.line) {
		return q.line[q.at].Value
	}
	return ""
}

// pos is where the next token begins.
func (q *quick) pos() Pos {
	if q.at < len(q.line) {
		return Pos(q.line[q.at].Pos)
	}
	return q.end
}

// take takes the next token if it is this word.
func (q *quick) take(word string) bool {
	if q.word() != word || q.at == len(q.line) {
		return false
	}
	q.at++
	return true
}

// need takes a token of some kind.
func (q *quick) need(kinds ...lexer.TokenType) string {
	for _, k := range kinds {
		if q.at < len(q.line) && q.line[q.at].Type == k {
			q.at++
			return q.line[q.at-1].Value
		}
	}
	q.lost = true
	return ""
}

// run takes the longest run of tokens of some kinds, at least one.
func (q *quick) run(kind func(lexer.TokenType) bool) Words {
	w := Words{Pos: q.pos()}
	from := q.at
	for q.at < len(q.line) && kind(q.line[q.at].Type) {
		q.at++
	}
	if q.at == from {
		q.lost = true
	}
	w.Run, w.EndPos = q.line[from:q.at:q.at], q.pos()
	return w
}

func (q *quick) pattern() *Pattern { return &Pattern{q.run(isText)} }

func (q *quick) text() *Text { return &Text{q.run(isText)} }

func (q *quick) values() *Values { return &Values{q.run(isValue)} }

func (q *quick) name() *Name {
	n := &Name{Pos: q.pos()}
	n.Raw = q.need(tokWord, tokKeyword, tokString, tokQuoted)
	n.EndPos = q.pos()
	return n
}

func (q *quick) param() *Param {
	p := &Param{Pos: q.pos()}
	if p.Name = q.name(); isValue(q.kind()) {
		p.Values = q.values()
	}
	p.EndPos = q.pos()
	return p
}

func (q *quick) member() *Member {
	m := &Member{Pos: q.pos()}
	m.Values = q.values()
	m.EndPos = q.pos()
	return m
}

func (q *quick) rule() *Rule {
	if r := plainRule(q.line); r != nil {
		q.at = len(q.line)
		return r
	}
	r := &Rule{Pos: q.pos()}
	if isText(q.kind()) {
		r.Pattern = q.pattern()
	} else {
		r.Otherwise = q.otherwise()
	}
	r.Where = q.where()
	r.Action = q.action()
	r.EndPos = q.pos()
	return r
}

func (q *quick) otherwise() bool {
	if !q.take("otherwise") {
		q.lost = true
	}
	return true
}

func (q *quick) where() *Cond {
	if q.take("where") {
		return q.cond()
	}
	return nil
}

func (q *quick) hookRule() *HookRule {
	r := &HookRule{Pos: q.pos()}
	switch {
	case q.word() == "otherwise":
		r.Otherwise = q.otherwise()
	case q.kind() == tokCall || conditional(q.word()):
		r.Cond = q.cond()
	default:
		r.Pattern = q.pattern()
	}
	r.Where = q.where()
	r.Action = q.action()
	r.EndPos = q.pos()
	return r
}

// conditional reports whether a line of an accept block that begins with this word begins with a condition.
func conditional(word string) bool {
	switch word {
	case "not", "(", "client", "name", "helo", "sender", "recipient", "recipients", "size", "load", "time", "header", "auth", "tls", "transport", "mailer", "focus":
		return true
	}
	return false
}

func (q *quick) otherwiseOrCond() (bool, *Cond) {
	if q.word() == "otherwise" {
		return q.otherwise(), nil
	}
	return false, q.cond()
}

func (q *quick) sendRule() *SendRule {
	r := &SendRule{Pos: q.pos()}
	r.Otherwise, r.Cond = q.otherwiseOrCond()
	if r.When = q.when(); r.When != "" {
		r.Window = q.window()
	}
	if q.take("priority") {
		r.Priority = q.need(tokWord)
	} else if r.When == "" {
		q.lost = true
	}
	r.EndPos = q.pos()
	return r
}

func (q *quick) scheduleRule() *ScheduleRule {
	r := &ScheduleRule{Pos: q.pos()}
	r.Otherwise, r.Cond = q.otherwiseOrCond()
	if !q.take("=>") {
		q.lost = true
	}
	r.Words = q.values()
	r.EndPos = q.pos()
	return r
}

func (q *quick) testLine() *TestLine {
	t := &TestLine{Pos: q.pos()}
	if q.word() == "given" {
		t.Given = q.given()
	} else {
		t.Input = q.values()
		if t.Arrow = q.need(tokArrow); !q.lost {
			t.Output = q.values()
		}
	}
	t.EndPos = q.pos()
	return t
}

func (q *quick) given() *Given {
	g := &Given{Pos: q.pos()}
	q.at++
	if q.kind() == tokCall {
		g.Lookup = q.lookup()
		switch {
		case q.take("missing"):
			g.Missing = true
		case q.take("fails"):
			g.Fails = true
		case q.take("is"):
			g.Value = q.values()
		default:
			q.lost = true
		}
	} else if g.Fact = q.name(); isValue(q.kind()) {
		g.Values = q.values()
	}
	g.EndPos = q.pos()
	return g
}

func (q *quick) when() string {
	switch w := q.word(); w {
	case "now", "background", "queue", "defer":
		q.at++
		return w
	}
	return ""
}

func (q *quick) window() *Window {
	if q.word() != "between" {
		return nil
	}
	w := &Window{Pos: q.pos()}
	q.at++
	w.From = q.need(tokWord)
	if !q.take("and") {
		q.lost = true
	}
	w.To = q.need(tokWord)
	w.EndPos = q.pos()
	return w
}

func (q *quick) action() *Action {
	a := &Action{Pos: q.pos()}
	switch q.word() {
	case "->":
		a.Rewrite = q.rewrite()
	case "=>":
		a.Resolve = q.resolve()
	default:
		a.Verdict = q.verdict()
	}
	a.EndPos = q.pos()
	return a
}

func (q *quick) rewrite() *Rewrite {
	r := &Rewrite{Pos: q.pos()}
	q.at++
	switch w := q.word(); w {
	case "once", "return", "repeat":
		r.Mode = w
		q.at++
	}
	r.Parts = q.parts()
	r.EndPos = q.pos()
	return r
}

func (q *quick) resolve() *Resolve {
	r := &Resolve{Pos: q.pos()}
	q.at++
	if r.Parts = q.parts(); len(r.Parts) == 0 {
		r.Verdict = q.verdict()
	} else {
		r.When = q.when()
		r.Window = q.window()
	}
	r.EndPos = q.pos()
	return r
}

func (q *quick) verdict() *Verdict {
	v := &Verdict{Pos: q.pos()}
	switch w := q.word(); w {
	case "ok", "discard":
		v.Word = w
		q.at++
	case "reject":
		v.Reject = q.reject()
	case "quarantine":
		q.at++
		v.Why = q.text()
	default:
		q.lost = true
	}
	v.EndPos = q.pos()
	return v
}

func (q *quick) reject() *Reject {
	r := &Reject{Pos: q.pos()}
	q.at++
	r.Code = q.need(tokWord)
	if q.kind() == tokWord {
		r.Enhanced = q.need(tokWord)
	}
	if isText(q.kind()) {
		r.Text = q.text()
	}
	r.EndPos = q.pos()
	return r
}

func (q *quick) parts() []*Part {
	var parts []*Part
	for !q.lost {
		p := &Part{Pos: q.pos()}
		switch {
		case isText(q.kind()):
			p.Text = q.text()
		case q.kind() == tokCall:
			p.Lookup = q.lookup()
		case q.take("call"):
			p.Call = q.callee()
		default:
			return parts
		}
		p.EndPos = q.pos()
		parts = append(parts, p)
	}
	return parts
}

func (q *quick) callee() *Callee {
	c := &Callee{Pos: q.pos()}
	if q.need(tokWord, tokVar, tokQuoted); !q.lost {
		c.Name = q.line[q.at-1 : q.at : q.at]
	}
	c.EndPos = q.pos()
	return c
}

func (q *quick) lookup() *Lookup {
	l := &Lookup{Pos: q.pos(), Table: q.need(tokCall)}
	for {
		a := &Arg{Pos: q.pos()}
		if isText(q.kind()) {
			a.Text = q.text()
		}
		a.EndPos = q.pos()
		l.Args = append(l.Args, a)
		if !q.take(",") {
			break
		}
	}
	if q.take("else") {
		l.HasElse = true
		for !q.lost && q.kind() != tokRParen {
			p := &Piece{Pos: q.pos()}
			if q.take("call") {
				p.Call = q.callee()
			} else {
				p.Text = q.text()
			}
			p.EndPos = q.pos()
			l.Else = append(l.Else, p)
		}
	}
	q.need(tokRParen)
	l.EndPos = q.pos()
	return l
}

func (q *quick) cond() *Cond {
	c := &Cond{Pos: q.pos()}
	for {
		all := &AllOf{Pos: q.pos()}
		for {
			all.And = append(all.And, q.unary())
			if q.lost || !q.take("and") {
				break
			}
		}
		all.EndPos = q.pos()
		c.Or = append(c.Or, all)
		if q.lost || !q.take("or") {
			break
		}
	}
	c.EndPos = q.pos()
	return c
}

// deepest limits conditions in parentheses in each other.
const deepest = 50

func (q *quick) unary() *Unary {
	u := &Unary{Pos: q.pos()}
	u.Not = q.take("not")
	switch k := q.kind(); {
	case q.lost || q.at > deepest && k == tokLParen: // so many tokens in front of it: not for us
		q.lost = true
	case k == tokLParen:
		q.at++
		u.Group = q.cond()
		q.need(tokRParen)
	case k == tokCall:
		t := &LookupTest{Pos: q.pos()}
		t.Lookup = q.lookup()
		t.Is, t.In, t.Op, t.Value = q.comparison()
		t.EndPos = q.pos()
		u.Lookup = t
	case k == tokVar:
		t := &VarTest{Pos: q.pos()}
		t.Var = q.need(tokVar)
		t.Is, t.In, t.Op, t.Value = q.comparison()
		if q.lost = q.lost || t.Is == nil && t.In == nil && t.Op == ""; !q.lost {
			t.EndPos = q.pos()
		}
		u.Capture = t
	default:
		u.Fact = q.fact()
	}
	u.EndPos = q.pos()
	return u
}

func (q *quick) fact() *FactTest {
	t := &FactTest{Pos: q.pos()}
	if t.Fact = q.word(); !q.take("priority") {
		t.Fact = q.need(tokWord)
	}
	switch k := q.kind(); {
	case q.lost || q.word() == "in" || q.word() == "is":
	case k == tokWord || k == tokString || k == tokQuoted:
		t.Arg = q.name()
	}
	t.Is, t.In, t.Op, t.Value = q.comparison()
	if t.Is == nil && t.In == nil && t.Op == "" {
		t.Window = q.window()
	}
	t.EndPos = q.pos()
	return t
}

// comparison is what may stand behind that which is looked at.
func (q *quick) comparison() (is *Pattern, in *Name, op string, value *Name) {
	switch w := q.word(); w {
	case "is":
		q.at++
		is = q.pattern()
	case "in":
		q.at++
		in = q.name()
	case "<", ">", "<=", ">=":
		q.at++
		op, value = w, q.name()
	}
	return is, in, op, value
}
