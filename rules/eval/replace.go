package eval

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"waybill/rules/addr"
	"waybill/rules/table"
	"waybill/rules/trace"
)

// replace makes a new workspace of the right side of a rule, behind the one at base, which matches has just matched and
// whose literals are in mask. goOn is false when the ruleset has to end at once, without a "returns" line; there is no
// new workspace then.
func (m *machine) replace(rs *ruleset, r *rule, index, base int, mask bits) (status int, goOn bool) {
	top := len(m.mem)
	switch size := int32(top - base); {
	case mask&shapers != 0 || r.plan == nil && !r.plain || size*r.refs+r.fixed > MaxTokens:
		if status, goOn = m.shape(rs, r, base); !goOn {
			return status, false
		}
		m.mask = maskOf(m.mem[top:])
	case r.plain:
		if !m.tick(int(size) + 24) {
			return TempFail, false
		}
		m.mask = m.copyOps(r.ops, base) | r.mask
	default:
		if !m.tick(int(size) + 24) {
			return TempFail, false
		}
		lookStat, stat, ok := m.follow(r, r.plan, base, top)
		if !ok && stat != OK {
			return stat, false
		}
		if status = worse(lookStat, stat); !ok {
			return status, false
		}
		if len(m.mem)-top > MaxTokens {
			return m.tooLong(top), false
		}
		m.mask = maskOf(m.mem[top:])
	}
	if m.wants&trace.Rewrite != 0 {
		m.traceRewrite(rs, r, index, top)
	}
	return status, true
}

// copyOps appends words and captures, no more than a workspace may have, and returns which literals the captures have.
func (m *machine) copyOps(ops []word, base int) (mask bits) {
	n := len(m.mem)
	if cap(m.mem)-n < MaxTokens {
		m.mem = slices.Grow(m.mem, 4*MaxTokens)
	}
	to, from := m.mem[n:n+MaxTokens], m.mem[base:n]
	k := 0
	for _, o := range ops {
		if o&aCapture == 0 {
			to[k] = o
			k++
			continue
		}
		c := m.caps[uint32(o)]
		for _, w := range from[c.lo:c.hi] {
			to[k] = w
			k++
			mask |= 1 << (w & 63)
		}
	}
	m.mem = m.mem[:n+k]
	return mask
}

// shape is replace for what has no plan. It goes about it as sendmail does: captures and run-time macros are put in, then
// tables are asked from left to right, then rulesets are called from right to left. Metasymbols that come out of captures
// or calls count like those of the rule itself.
func (m *machine) shape(rs *ruleset, r *rule, base int) (status int, goOn bool) {
	top := len(m.mem)
	rhs := r.rhs
	if rhs == nil { // there is a plan, which does not hold for this workspace
		rhs = m.list(r)
	}
	for i := range rhs {
		p := &rhs[i]
		for _, o := range p.ops {
			if o&aCapture == 0 {
				m.mem = append(m.mem, o)
				continue
			}
			c := m.caps[uint32(o)]
			m.mem = append(m.mem, m.mem[base+int(c.lo):base+int(c.hi)]...)
			if len(m.mem)-top > MaxTokens {
				return m.tooLong(top), false
			}
		}
		switch {
		case p.more == nil:
		case p.more.wrong > 0: // [30]
			m.message(Config, fmt.Sprintf("rewrite: ruleset %s: replacement $%d out of bounds", rs.src.Name, p.more.wrong))
			m.mem = m.mem[:top]
			return Config, false
		default:
			if !m.putMacro(p.more.macro) {
				m.mem = m.mem[:top]
				return DataErr, false
			}
		}
		if len(m.mem)-top > MaxTokens {
			return m.tooLong(top), false
		}
	}
	if !m.tick(len(m.mem) - top + 24) {
		return TempFail, false
	}
	mask := maskOf(m.mem[top:])
	if mask&special == 0 {
		return OK, true
	}
	if mask&(1<<idMap|1<<idHost) != 0 {
		if status, goOn = m.lookups(top); !goOn {
			return status, false
		}
	}
	stat, goOn := m.calls(r, top, 0)
	if status = worse(status, stat); !goOn {
		return status, false
	}
	if len(m.mem)-top > MaxTokens {
		return m.tooLong(top), false
	}
	return status, true
}

// The numbers of metasymbols in words.
const (
	idHostArg = 0x02 // $@
	idElse    = 0x03 // $:
	idCall    = 0x05 // $>
	idMap     = 0x06 // $(
	idMapEnd  = 0x07 // $)
	idHost    = 0x08 // $[
	idHostEnd = 0x09 // $]

	// special has the bits of what makes a replacement more than a list of tokens.
	special = 1<<idCall | 1<<idMap | 1<<idHost
)

func (m *machine) tooLong(top int) int {
	m.message(DataErr, "rewrite: expansion too long")
	m.mem = m.mem[:top]
	return DataErr
}

// putMacro appends the value of a macro, cut into tokens; comments are dropped, and nothing in it is looked at again [25].
func (m *machine) putMacro(name string) bool {
	before, at := m.mark(), len(m.mem)
	value, _ := m.macro(name)
	if value != "" && !m.putValue(value) {
		return false
	}
	if m.rec != nil {
		m.rec.note(m, before, question{kind: askMacro, more: &details{macro: name}}, 0, m.mem[at:], nil)
	}
	return true
}

// putText appends a text, cut into tokens. It returns false when the text cannot be cut.
func (m *machine) putText(text string) bool {
	c := m.recent(text)
	if c != nil && c.text == text && text != "" {
		for i, w := range c.words {
			if t := c.toks[i]; len(t) == 1 {
				m.mem = append(m.mem, m.e.octets.single[t[0]])
				continue
			}
			m.mem = append(m.mem, m.add(c.toks[i], w))
		}
		return true
	}
	toks, issues := m.e.syntax.AppendTrusted(m.toks[:0], text)
	m.toks = toks
	fatal := false
	for _, i := range issues {
		m.message(OK, i.Message(text))
		fatal = fatal || i.Fatal()
	}
	if fatal {
		m.blame(DataErr, issues[len(issues)-1].What(), nil)
		return false
	}
	at := len(m.mem)
	for _, t := range toks {
		m.push(t)
	}
	if c != nil && len(issues) == 0 {
		c.text, c.toks, c.words = text, append(c.toks[:0], toks...), c.words[:0]
		for _, w := range m.mem[at:] {
			c.words = append(c.words, w.known())
		}
	}
	return true
}

// cut is a text of a table or a macro as it was cut lately: the same few come again and again.
type cut struct {
	text  string
	toks  []addr.Token
	words []word // without the places of their texts
}

// recent is where the cut of a text may be; nil for a long one.
func (m *machine) recent(text string) *cut {
	if len(text) == 0 || len(text) > 80 {
		return nil
	}
	h := uint(len(text))*37 ^ uint(text[0]) ^ uint(text[len(text)-1])*5 ^ uint(text[len(text)/2])*11
	return &m.cuts[h%uint(len(m.cuts))]
}

// maxCalls is how many calls one replacement may have.
const maxCalls = 16

// calls evaluates the calls in the replacement from place at on: the first one found gets everything to its right, in
// which calls were evaluated before; so they happen from right to left [28]. A name that does not exist ends it, and
// so does an error: the calls to the left of it stay as they are [29]. A ruleset without rules is passed by without a
// trace; the token behind such a call is not looked at. before is how many calls stand to the left.
func (m *machine) calls(r *rule, at, before int) (status int, goOn bool) {
	for ; at+1 < len(m.mem); at++ {
		if m.mem[at].id() != idCall {
			continue
		}
		if before >= maxCalls {
			m.message(Config, fmt.Sprintf("Too many subroutine calls (%d max)", maxCalls))
			return Config, true
		}
		var callee *ruleset
		if text := m.mem[at+1] >> textAt; int(text) < len(m.e.callees) {
			callee = m.e.callees[text]
		} else if m.rec != nil { // what is called depends on the text
			m.rec.bad = true
		}
		if callee == nil {
			var name string
			if callee, name = m.e.callee(m.text(m.mem[at+1])); callee == nil {
				m.unknown(name)
				if name != m.text(m.mem[at+1]).String() {
					m.mem[at+1] = m.word(addr.Token(name)) // the real one has taken the quotes off
				}
				return Config, true
			}
		}
		if m.e.called != nil && !r.told.Load() && !r.told.Swap(true) {
			m.e.called(r.src)
		}
		if len(callee.rules) == 0 {
			n := copy(m.mem[at:], m.mem[at+2:])
			m.mem = m.mem[:at+n]
			continue
		}
		if status, goOn = m.calls(r, at+2, before+1); !goOn || status != OK && status != TempFail {
			return status, goOn
		}
		stat, _ := m.ruleset(callee, at+2)
		if status = worse(status, stat); m.abort {
			return status, false
		}
		n := copy(m.mem[at:], m.mem[at+2:])
		m.mem = m.mem[:at+n]
		return status, true
	}
	return OK, true
}

// unknown complains about a ruleset that does not exist.
func (m *machine) unknown(name string) {
	name = addr.SevenBit(name)
	if n, err := strconv.Atoi(name); err == nil && n >= len(m.e.numbers) {
		m.message(OK, fmt.Sprintf("bad ruleset %d (%d max)", n, len(m.e.numbers)))
	}
	if s := strings.TrimLeft(name, " \t"); s == "" || nameEnd(s) == 0 {
		m.message(OK, "invalid ruleset name: \""+s+"\"")
	}
	m.message(Config, "Unknown ruleset "+name)
}

// callee finds the ruleset that a token calls. Quotation marks and backslashes do not count, nor does what follows the
// name. name is the token as sendmail has it afterwards: it ends where the name does if white space follows.
func (e *Engine) callee(t addr.Token) (rs *ruleset, name string) {
	name = table.Unquote(t.String())
	if rs = e.find(name); rs != nil {
		return rs, name
	}
	s := strings.TrimLeft(name, " \t")
	end := nameEnd(s)
	if end < len(s) && end > 0 {
		if rest := strings.TrimLeft(s[end:], " \t"); len(rest) < len(s)-end {
			name = name[:len(name)-len(s)+end]
		}
	}
	return e.find(s[:end]), name
}

// nameEnd is where the name or number of a ruleset ends that a text begins with.
func nameEnd(s string) int {
	digits := s != "" && s[0] >= '0' && s[0] <= '9'
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= '0' && c <= '9' || !digits && (c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '_' && i > 0) {
			continue
		}
		return i
	}
	return len(s)
}

// message tells the tracer about something wrong, and records it when it has a status.
func (m *machine) message(status int, text string) {
	if status != OK {
		m.blame(status, text, nil)
	}
	m.recorder.spoke = true
	if m.wants&trace.Message != 0 {
		if m.said.mode == sayKeep { // the rules will say it, in its place
			m.said.spoken = append(m.said.spoken, text)
			return
		}
		e := trace.Event{Kind: trace.Message, Depth: m.depth, Text: text}
		if m.cur != nil {
			e.Ruleset = m.cur.src
			if m.curIdx < len(m.cur.rules) {
				e.Rule, e.Index = m.cur.rules[m.curIdx].src, m.curIdx
			}
		}
		m.st.Tracer.Event(&e)
	}
}

// trace shows a ruleset that begins or ends.
func (m *machine) trace(kind trace.Kind, rs *ruleset, base int) {
	if m.lines == nil {
		m.event = trace.Event{Kind: kind, Depth: m.depth, Ruleset: rs.src, Tokens: m.tokens(m.mem[base:])}
		m.st.Tracer.Event(&m.event)
		return
	}
	ws, head := m.mem[base:], rs.heads[0]
	if kind == trace.Leave {
		head = rs.heads[1]
	}
	if m.rec != nil {
		m.rec.lines = append(m.rec.lines, line{head: head, words: m.rec.keep(ws)})
	}
	b := append(m.lines.Begin(), head...)
	if slices.Equal(ws, m.shown) { // what a ruleset leaves is often what the next one gets
		m.lines.End(append(b, m.line...))
		return
	}
	from := len(b)
	for _, w := range ws {
		b = appendShown(b, m.text(w), w)
	}
	b = append(b, '\n')
	m.shown, m.line = append(m.shown[:0], ws...), append(m.line[:0], b[from:]...)
	m.lines.End(b)
}

// appendShown appends a token as traces show it; known is what is known of it.
func appendShown(b []byte, t addr.Token, known word) []byte {
	switch {
	case known&isPlain == 0:
		return addr.AppendPrint(append(b, ' '), t)
	case len(t) == 1:
		return append(b, ' ', t[0])
	default:
		return append(append(b, ' '), t...)
	}
}

func (m *machine) traceRewrite(rs *ruleset, r *rule, index, base int) {
	m.event = trace.Event{Kind: trace.Rewrite, Depth: m.depth, Ruleset: rs.src, Rule: r.src, Index: index, Tokens: m.tokens(m.mem[base:])}
	m.st.Tracer.Event(&m.event)
}

func (m *machine) traceMatch(r *rule, base int) {
	e := trace.Event{Kind: trace.Match, Depth: m.depth, Ruleset: m.cur.src, Rule: r.src, Index: m.curIdx}
	for _, c := range m.caps[:r.caps] {
		var t []addr.Token
		for _, w := range m.mem[base+int(c.lo) : base+int(c.hi)] {
			t = append(t, m.text(w))
		}
		e.Captures = append(e.Captures, t)
	}
	m.st.Tracer.Event(&e)
}
