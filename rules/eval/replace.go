package eval

import (
	"fmt"
	"strconv"

	"waybill/rules/addr"
	"waybill/rules/prog"
	"waybill/rules/table"
	"waybill/rules/trace"
)

// replace puts the right side of a rule in the place of the workspace, which matches has just matched. Its plan is
// sendmail's: captures and run-time macros are put in, then tables are asked from left to right, then rulesets are
// called from right to left. Metasymbols that come out of captures or calls count like those of the rule itself.
// goOn is false when the ruleset has to end at once, without a "returns" line.
func (m *machine) replace(rs *ruleset, r *rule, index, base int) (status int, goOn bool) {
	top := len(m.mem)
	for i := range r.rhs {
		o := &r.rhs[i]
		switch o.kind {
		case prog.Capture:
			if o.n < 1 || o.n > r.caps { // [30]
				m.message(Config, fmt.Sprintf("rewrite: ruleset %s: replacement $%d out of bounds", rs.src.Name, o.n))
				m.mem = m.mem[:top]
				return Config, false
			}
			c := m.caps[o.n-1]
			m.mem = append(m.mem, m.mem[base+int(c.lo):base+int(c.hi)]...)
		case prog.RunMacro:
			if !m.putMacro(o.text) {
				m.mem = m.mem[:top]
				return DataErr, false
			}
		default:
			m.mem = append(m.mem, o.word)
		}
		if len(m.mem)-top > MaxTokens {
			return m.tooLong(top), false
		}
	}
	if !m.tick(len(m.mem) - top + 24) {
		return TempFail, false
	}
	special := r.special
	if !special {
		for _, w := range m.mem[top:] {
			if w.id == idCall || w.id == idMap || w.id == idHost {
				special = true
				break
			}
		}
	}
	if special {
		if status, goOn = m.lookups(top); !goOn {
			return status, false
		}
		var stat int
		stat, goOn = m.calls(r, top)
		if status = worse(status, stat); !goOn {
			return status, false
		}
		if len(m.mem)-top > MaxTokens {
			return m.tooLong(top), false
		}
	}
	n := copy(m.mem[base:], m.mem[top:])
	m.mem = m.mem[:base+n]
	if m.wants&trace.Rewrite != 0 {
		m.traceRewrite(rs, r, index, base)
	}
	return status, true
}

// The numbers of metasymbols in words.
const (
	idHostArg = int32(0x02) // $@
	idElse    = int32(0x03) // $:
	idCall    = int32(0x05) // $>
	idMap     = int32(0x06) // $(
	idMapEnd  = int32(0x07) // $)
	idHost    = int32(0x08) // $[
	idHostEnd = int32(0x09) // $]
)

func (m *machine) tooLong(top int) int {
	m.message(DataErr, "rewrite: expansion too long")
	m.mem = m.mem[:top]
	return DataErr
}

// putMacro appends the value of a macro, cut into tokens; comments are dropped, and nothing in it is looked at again [25].
func (m *machine) putMacro(name string) bool {
	value, _ := m.st.Macros.Get(name)
	if value == "" {
		return true
	}
	return m.putText(value)
}

// putText appends a text, cut into tokens. It returns false when the text cannot be cut.
func (m *machine) putText(text string) bool {
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
	for _, t := range toks {
		m.push(t)
	}
	return true
}

// calls evaluates the calls in the replacement from place at on: the first one found gets everything to its right, in
// which calls were evaluated before; so they happen from right to left [28]. A name that does not exist ends it, and
// so does an error: the calls to the left of it stay as they are [29]. A ruleset without rules is passed by without a
// trace; the token behind such a call is not looked at.
func (m *machine) calls(r *rule, at int) (status int, goOn bool) {
	for ; at+1 < len(m.mem); at++ {
		if m.mem[at].id != idCall {
			continue
		}
		name := calleeName(m.mem[at+1])
		callee := m.e.find(name)
		if callee == nil { // of a name that begins with digits, only these count
			i := 0
			for i < len(name) && name[i] >= '0' && name[i] <= '9' {
				i++
			}
			if i > 0 && i < len(name) {
				callee = m.e.find(name[:i])
			}
		}
		if callee == nil {
			m.unknown(name)
			if name != m.mem[at+1].text.String() {
				m.mem[at+1] = m.word(addr.Token(name)) // the real one has taken the quotes off
			}
			return Config, true
		}
		if m.e.called != nil {
			m.e.called(r.src)
		}
		if len(callee.rules) == 0 {
			n := copy(m.mem[at:], m.mem[at+2:])
			m.mem = m.mem[:at+n]
			continue
		}
		if status, goOn = m.calls(r, at+2); !goOn || status != OK && status != TempFail {
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
	first := name[:min(1, len(name))]
	name = addr.SevenBit(name)
	if n, err := strconv.Atoi(name); err == nil && n >= len(m.e.numbers) {
		m.message(OK, fmt.Sprintf("bad ruleset %d (%d max)", n, len(m.e.numbers)))
	}
	if c := first; c != "" && !(c >= "0" && c <= "9" || c >= "A" && c <= "Z" || c >= "a" && c <= "z") {
		m.message(OK, "invalid ruleset name: \""+name+"\"")
	}
	m.message(Config, "Unknown ruleset "+name)
}

// calleeName is the name of a ruleset as a call writes it: quotation marks and backslashes do not count.
func calleeName(w word) string { return table.Unquote(w.text.String()) }

// message tells the tracer about something wrong, and records it when it has a status.
func (m *machine) message(status int, text string) {
	if status != OK {
		m.blame(status, text, nil)
	}
	if m.wants&trace.Message != 0 {
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

func (m *machine) texts(ws []word) []addr.Token {
	m.toks = m.toks[:0]
	for _, w := range ws {
		m.toks = append(m.toks, w.text)
	}
	return m.toks
}

func (m *machine) trace(kind trace.Kind, rs *ruleset, ws []word) {
	m.event = trace.Event{Kind: kind, Depth: m.depth, Ruleset: rs.src, Tokens: m.texts(ws)}
	m.st.Tracer.Event(&m.event)
}

func (m *machine) traceRewrite(rs *ruleset, r *rule, index, base int) {
	m.event = trace.Event{Kind: trace.Rewrite, Depth: m.depth, Ruleset: rs.src, Rule: r.src, Index: index, Tokens: m.texts(m.mem[base:])}
	m.st.Tracer.Event(&m.event)
}

func (m *machine) traceMatch(r *rule, base int) {
	e := trace.Event{Kind: trace.Match, Depth: m.depth, Ruleset: m.cur.src, Rule: r.src, Index: m.curIdx}
	for _, c := range m.caps[:r.caps] {
		var t []addr.Token
		for _, w := range m.mem[base+int(c.lo) : base+int(c.hi)] {
			t = append(t, w.text)
		}
		e.Captures = append(e.Captures, t)
	}
	m.st.Tracer.Event(&e)
}
