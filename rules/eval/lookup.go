package eval

import (
	"fmt"
	"strconv"
	"strings"

	"waybill/rules/table"
	"waybill/rules/trace"
)

// hostTable is the table that $[ and $] ask.
const hostTable = "host"

// lookups evaluates the table lookups in the replacement that begins at top, from left to right:
//
//	$( name key... $@ argument... $: default... $)      $[ key... $@ argument... $: default... $]
//
// The first closing symbol ends a lookup; one that is missing is taken as if it stood at the end [38].
func (m *machine) lookups(top int) (status int, goOn bool) {
	for at := top; at < len(m.mem); at++ {
		id := m.mem[at].id()
		if id != idMap && id != idHost {
			continue
		}
		c := m.cutCall(at, id)
		stat, ok := m.lookup(at, &c)
		if !ok {
			m.mem = m.mem[:top]
			return stat, false
		}
		status = worse(status, stat)
		if len(m.mem)-top > MaxTokens {
			return m.tooLong(top), false
		}
		if m.abort {
			return status, false
		}
		at = m.next - 1
	}
	return status, true
}

// call is a lookup as cut into its parts; all are places in the arena. Its arguments are in m.argAt.
type call struct {
	to       *handle
	name     uint32 // its name's place in the engine's constants
	key      span
	fallback span
	hasElse  bool
	end      int // behind the closing symbol
}

func (m *machine) cutCall(at int, open uint32) call {
	closing := uint32(idMapEnd)
	c := call{to: m.e.host, name: m.e.hostName}
	i := at + 1
	if open == idHost {
		closing = idHostEnd
	} else if i < len(m.mem) {
		c.to = nil
		if text := int(m.mem[i] >> textAt); text < len(m.e.handles) {
			c.to, c.name = m.e.handles[text], uint32(text)
		}
		if c.to == nil {
			if m.rec != nil { // which table is asked depends on the text
				m.rec.bad = true
			}
			c.to = m.e.handleOf(shown(string(m.text(m.mem[i]))))
		}
		i++
	}
	m.argAt = m.argAt[:0]
	cur := &c.key
	*cur = span{int32(i), int32(i)}
	for ; i < len(m.mem); i++ {
		switch id := m.mem[i].id(); {
		case id > idHostEnd || id == 0:
		case id == closing:
			c.end = i + 1
			return c
		case id == idHostArg:
			m.argAt = append(m.argAt, span{})
			cur = &m.argAt[len(m.argAt)-1]
			*cur = span{int32(i + 1), int32(i + 1)}
			continue
		case id == idElse:
			c.hasElse = true
			cur = &c.fallback
			*cur = span{int32(i + 1), int32(i + 1)}
			continue
		}
		cur.hi = int32(i + 1)
	}
	c.end = i
	return c
}

// lookup asks the table and puts the answer in the place of the call. m.next is behind it afterwards.
func (m *machine) lookup(at int, c *call) (status int, ok bool) {
	m.argOps = m.argOps[:0]
	for _, a := range m.argAt {
		m.argOps = append(m.argOps, m.mem[a.lo:a.hi])
	}
	tail := len(m.mem)
	got, status, ok := m.value(c.to, c.name, m.mem[c.key.lo:c.key.hi], m.argOps, 0)
	if !ok {
		return status, false
	}
	switch {
	case got != gotNothing:
	case c.hasElse:
		if !m.putDefault(c.fallback) {
			return DataErr, false
		}
	default: // the key itself [37]
		m.mem = append(m.mem, m.mem[c.key.lo:c.key.hi]...)
	}
	m.splice(at, c.end, tail)
	return status, true
}

// putValue appends a table's value, cut into tokens without comments. A value without any token is an error [36].
func (m *machine) putValue(text string) bool {
	n := len(m.mem)
	if !m.putText(text) {
		m.hollow = true
		return false
	}
	if len(m.mem) == n {
		m.blame(DataErr, "a value has no tokens", nil)
		m.hollow = true
		return false
	}
	return true
}

// putDefault appends the default part of a lookup. The real engine makes it text and cuts it again, so that the blank
// substitute comes between adjacent words; where that changes nothing, it is copied.
func (m *machine) putDefault(part span) bool {
	if !m.odd(part) {
		m.mem = append(m.mem, m.mem[part.lo:part.hi]...)
		return true
	}
	before, at := m.mark(), len(m.mem)
	m.text2 = m.text2[:0]
	var last word
	for _, w := range m.mem[part.lo:part.hi] {
		if w&last&isWord != 0 {
			m.text2 = append(m.text2, m.e.prog.BlankSub...)
		}
		last = w
		m.text2 = append(m.text2, m.text(w)...)
	}
	text := m.keep(m.text2)
	toks, issues := m.e.syntax.SplitAgain(m.toks[:0], text)
	for _, i := range issues {
		m.message(OK, i.Message(shown(text)))
	}
	if toks == nil {
		m.blame(DataErr, "the default of a lookup is too long", nil)
		m.hollow = true
		return false
	}
	if len(toks) == 0 && text != "" {
		m.blame(DataErr, "the default of a lookup has no tokens", nil)
		m.hollow = true
		return false
	}
	m.toks = toks
	for _, t := range toks {
		m.push(t)
	}
	if m.rec != nil {
		m.rec.note(m, before, question{kind: askCut, words: m.rec.keep(m.mem[part.lo:part.hi])}, 0, m.mem[at:], nil)
	}
	return true
}

// odd reports whether cutting the text of a default changes it.
func (m *machine) odd(part span) bool {
	var last, odd word
	for _, w := range m.mem[part.lo:part.hi] {
		odd |= w&isOdd | w&last&isWord
		last = w
	}
	return odd != 0
}

// shown is text with metasymbols as messages of the real engine show them: as control characters.
func shown(text string) string {
	b := []byte(text)
	for i, c := range b {
		if c >= 0x81 && c <= 0x87 {
			b[i] = "\x16\x17\x18\x1b\x19\x05\x06"[c-0x81]
		}
	}
	return string(b)
}

// splice replaces m.mem[at:end] by what was appended at tail, and leaves m.next behind it.
func (m *machine) splice(at, end, tail int) {
	n := len(m.mem) - tail
	m.mem = append(m.mem, m.mem[end:tail]...)
	k := copy(m.mem[at:], m.mem[tail:])
	m.mem = m.mem[:at+k]
	m.next = at + n
}

// ask looks up a key in a table, or sets a macro when the table is of that class.
func (m *machine) ask(to *handle, key string, args []string) (r table.Result, found bool, err error) {
	if to.unquote {
		key = table.Unquote(key)
	}
	if m.said.mode == sayNothing {
		return m.askNow(to, key, args)
	}
	if m.said.mode == sayAgain {
		if k := m.said.again(to, key, args); k != nil {
			m.steps += 64 + len(key)
			for _, text := range m.said.spoken[k.first:k.end] {
				m.message(OK, text)
			}
			return k.r, k.found, k.err
		}
		return m.askNow(to, key, args)
	}
	from := len(m.said.spoken)
	r, found, err = m.askNow(to, key, args)
	m.said.keep(to, key, args, r, found, err, from)
	return r, found, err
}

// askNow is ask for what was not asked before.
func (m *machine) askNow(to *handle, key string, args []string) (r table.Result, found bool, err error) {
	switch {
	case to.setsName:
		return r, m.setMacro(key, args), nil
	case to.table == nil && to.name == healthTable:
		r.Value, found = m.health(key, args), true
	case to.table == nil:
		m.message(OK, fmt.Sprintf("rewrite: map %s not found", to.name))
	default:
		if !m.tick(64 + len(key)) {
			return r, false, ErrBudget
		}
		if r, found, err = to.table.Lookup(m.ctx, key, args); err != nil {
			m.report(err)
		}
	}
	if m.wants&trace.Lookup != 0 {
		e := trace.Event{Kind: trace.Lookup, Depth: m.depth, Ruleset: m.cur.src, Index: m.curIdx, Table: to.name, Key: key, Args: args,
			Value: r.Value, Found: found, Err: err, Pos: r.Pos}
		if m.curIdx < len(m.cur.rules) {
			e.Rule = m.cur.rules[m.curIdx].src
		}
		m.st.Tracer.Event(&e)
	}
	return r, found, err
}

// healthTable is the name of a table that every program has, unless it declares one of this name: how many deliveries
// of a transport (the key) to a host (the argument) have failed in a row.
const healthTable = "failures"

func (m *machine) health(transport string, args []string) string {
	n := 0
	if f := m.st.Facts; f != nil && f.Health != nil && len(args) > 0 {
		n = f.Health(transport, strings.ToLower(args[0]))
	}
	return strconv.Itoa(n)
}

// report passes on what an error wants printed, in the words of the real engine.
func (m *machine) report(err error) {
	if err == nil {
		return
	}
	if s := table.Said(err); s != "" {
		m.message(OK, s)
	}
}

// setMacro is the table class "macro": the first argument becomes the value of the macro that the key names; without
// one, or with an empty one, the macro has no value any more [44].
func (m *machine) setMacro(key string, args []string) bool {
	name, ok := m.macroName(key)
	if m.steps += 32 + len(key); name == "" {
		return ok
	}
	if len(args) == 0 || args[0] == "" {
		m.st.Macros.Unset(name)
	} else {
		m.st.Macros.Set(name, args[0])
	}
	return true
}

// macroName takes the braces off a name; without braces, the first character is the name. Characters that no name may
// have are left out, with a message each. ok is false where a brace is not closed, or there is no key.
func (m *machine) macroName(key string) (name string, ok bool) {
	if key == "" {
		return "", false
	}
	if key[0] == ' ' {
		m.message(OK, "Name required for macro/class")
		return "", true
	}
	if key[0] != '{' {
		return key[:1], true
	}
	var b []byte
	for i := 1; i < len(key); i++ {
		c := key[i]
		switch {
		case c == '}':
			return string(b), true
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_':
			b = append(b, c)
		default:
			m.message(OK, fmt.Sprintf("Invalid macro/class character %c", c))
		}
	}
	m.message(OK, "Unbalanced { on "+string(b))
	m.message(OK, "Unable to assign macro/class ID (mid = 0xffffffff)")
	return "", false
}
