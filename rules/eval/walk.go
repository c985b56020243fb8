package eval

import (
	"slices"

	"waybill/rules/table"
	"waybill/rules/trace"
)

// known is ruleset for the address of a whole run, with the help of what is remembered.
func (m *machine) known(rs *ruleset) (status int, complete bool) {
	paths := m.e.paths
	if m.lines != nil {
		paths = m.e.shown
	}
	r, t := &m.recorder, paths.table()
	r.matter = m.e.relevant(rs)
	r.shape = r.shape[:0]
	var all word
	for _, w := range m.mem {
		s := r.matter.shapeOf(w)
		r.shape = append(r.shape, s)
		all |= 1 << (s & 63)
	}
	h := hashOf(rs, r.shape)
	p := t.find(h, rs, r.shape)
	switch {
	case all&special != 0, p != nil && p.never.Load(), p == nil && t.size.Load() > fewPaths && !t.again(h):
		return m.ruleset(rs, 0)
	case p != nil && m.walk(p):
		return OK, true
	}
	r.begin()
	m.rec = r
	began := m.steps
	status, complete = m.ruleset(rs, 0)
	m.rec, m.said.mode = nil, sayNothing
	switch {
	case r.bad:
		paths.giveUp(t, h, p, rs, r)
	case m.lines != nil && r.spoke: // messages have their place between the lines
	case status == OK && complete && !m.abort && m.err == nil:
		paths.learn(t, h, p, rs, r, &outcome{r.keep(m.mem), m.rule, r.lines, m.steps - began - r.steps})
	}
	return status, complete
}

// walk asks the questions of a path, and makes its outcome the workspace. When an answer is new, or something goes wrong, all
// is as before, but for what tables and macros have said.
func (m *machine) walk(p *path) bool {
	n, texts, steps := len(m.mem), len(m.texts), m.steps
	m.said.begin()
	var b *branch
	for at := &p.first; at != nil; at = b.next {
		if b = m.branchOf(at); b == nil || len(m.said.spoken) > 0 {
			b = nil
			break
		}
		m.mem = m.mem[:n]
	}
	if b != nil && !m.abort && m.err == nil && m.steps+b.end.steps <= m.e.limit {
		m.steps += b.end.steps
		m.said.mode = sayNothing
		m.mem = m.appendWords(m.mem[:0], b.end.words)
		m.rule = b.end.rule
		if m.lines != nil {
			m.show(b.end.lines)
		}
		return true
	}
	clear(m.texts[texts:])
	m.texts, m.info, m.mem = m.texts[:texts], m.info[:texts], m.mem[:n]
	m.steps, m.check, m.final, m.abort, m.hollow, m.err = steps, 0, 0, false, false, nil
	m.said.mode, m.said.at = sayAgain, 0
	return false
}

// linesOnly is what a tracer wants that is content with lines.
const linesOnly = trace.Enter | trace.Leave | trace.Message

// show writes the lines of a path.
func (m *machine) show(lines []line) {
	b := m.lines.Begin()
	from, to := 0, 0
	for i := range lines {
		l := &lines[i]
		b = append(b, l.head...)
		if l.again {
			b = append(b, b[from:to]...)
			continue
		}
		from = len(b)
		for _, p := range l.words {
			b = appendShown(b, m.texts[p], m.info[p])
		}
		b = append(b, '\n')
		to = len(b)
	}
	m.lines.End(b)
}

// appendWords appends the words at these places.
func (m *machine) appendWords(to []word, ps []place) []word {
	for _, p := range ps {
		to = append(to, word(p)<<textAt|m.info[p])
	}
	return to
}

// branchOf asks a question and returns the branch of the answer; nil when there is none. It leaves things behind the workspace.
func (m *machine) branchOf(s *step) *branch {
	if s.kind == askMember {
		if m.holdsPlaces(m.words(s.class), s.words) {
			return s.findCode(1)
		}
		return s.findCode(0)
	}
	top, texts := len(m.mem), len(m.texts)
	var ws []word
	if s.kind != askTable {
		m.asking = m.appendWords(m.asking[:0], s.words)
		ws = m.asking
	}
	var a answer
	var caps []span
	switch s.kind {
	case askGrow:
		a.code = m.extendClass(m.words(s.class), 0, s.least, int32(len(ws)), ws)
	case askTable:
		to := m.e.handles[s.name]
		key, absent := m.keyAt(to, s.words)
		if absent {
			return s.findCode(int32(gotNothing))
		}
		m.args = m.args[:0]
		if s.more != nil {
			for _, arg := range s.more.args {
				m.args = append(m.args, m.textAt(arg, m.e.prog.BlankSub))
			}
		}
		got, status, ok := m.valueNow(to, key, m.args)
		if status != OK || !ok || m.abort {
			return nil
		}
		if a.code = int32(got); got != gotValue {
			return s.findCode(a.code)
		}
	case askMacro:
		if !m.putMacro(s.more.macro) {
			return nil
		}
	case askSame:
		a.code = -1
		if k, same := m.sameAsMacro(s.more.macro, ws); same {
			a.code = k
		}
	case askCut:
		m.mem = append(m.mem, ws...)
		part := span{int32(top), int32(len(m.mem))}
		top = len(m.mem)
		if !m.putDefault(part) {
			return nil
		}
	case askCondition:
		r := s.more.rule
		m.mem = append(m.mem, ws...)
		m.caps = m.caps[:r.caps]
		clear(m.caps[copy(m.caps, s.more.caps):])
		base := top
		top = len(m.mem)
		ok, status := m.holds(r.cond, base)
		if status != OK || m.abort {
			return nil
		}
		if ok {
			a.code, caps = 1, m.caps[r.wild:]
		} else {
			m.mem = m.mem[:top]
		}
	}
	a.texts = int32(len(m.texts) - texts)
	if ws = m.mem[top:]; len(ws)+len(caps) > 0 {
		m.asking = m.answerShape(m.asking[:0], ws, m.recorder.matter)
		m.put.words, m.put.caps = m.asking, caps
		a.put = &m.put
	}
	return s.find(&a)
}

// keyAt is keyOf for the words at these places.
func (m *machine) keyAt(to *handle, ps []place) (key string, absent bool) {
	some, all := m.appendText(ps, to.blank)
	if to.lacks != nil && len(m.text2) > 0 && some&isQuoted == 0 && m.tick(64+len(m.text2)) && to.lacks.Lacks(m.ctx, m.text2, all&isFolded != 0) {
		return "", true
	}
	if len(ps) == 1 && !m.info[ps[0]].meta() {
		return string(m.texts[ps[0]]), false
	}
	return m.keep(m.text2), false
}

// textAt joins the words at these places.
func (m *machine) textAt(ps []place, blank string) string {
	if len(ps) == 1 && !m.info[ps[0]].meta() {
		return string(m.texts[ps[0]])
	}
	m.appendText(ps, blank)
	return m.keep(m.text2)
}

// appendText is appendOps for the words at these places.
func (m *machine) appendText(ps []place, blank string) (some, all word) {
	b := m.text2[:0]
	var last word
	all = ^all
	for _, p := range ps {
		w := m.info[p]
		if w&last&isWord != 0 {
			b = append(b, blank...)
		}
		last = w
		some |= w
		all &= w
		if w.meta() {
			b = append(b, m.texts[p].String()...)
		} else {
			b = append(b, m.texts[p]...)
		}
	}
	m.text2 = b
	return some, all
}

// holdsPlaces reports whether the words at these places are a member of a class.
func (m *machine) holdsPlaces(set *classSet, ps []place) bool {
	t := m.texts[ps[0]]
	if t == "" || !set.first[t[0]] {
		return false
	}
	n := 0
	for _, p := range ps {
		n += len(m.texts[p])
	}
	if n > set.max {
		m.steps += len(ps)
		return false
	}
	m.asking = m.appendWords(m.asking[:0], ps)
	return m.holdsAll(set, m.asking)
}

// said is what tables and macros have said while a path was walked. Where the path ends too early, the rules get the
// same answers: tables that are macros must not be set twice, and others need not be asked twice.
type said struct {
	mode uint8
	at   int
	list []saying
	args []string // of all of them
	// spoken are the messages of a walk. There is none in a walk that comes to its end.
	spoken []string
}

const (
	sayNothing = iota // ask
	sayKeep           // ask, and keep the answer
	sayAgain          // give the answers kept
)

type saying struct {
	to    *handle // nil: a macro
	key   string
	args  []string
	r     table.Result
	found bool
	err   error
	first int // of its messages, in spoken
	end   int // behind the last one
}

func (s *said) begin() {
	clear(s.list)
	clear(s.args)
	s.mode, s.at, s.list, s.args, s.spoken = sayKeep, 0, s.list[:0], s.args[:0], s.spoken[:0]
}

// again returns the answer that was given to a question; nil when it was not asked at this point.
func (s *said) again(to *handle, key string, args []string) *saying {
	if s.at < len(s.list) {
		if k := &s.list[s.at]; k.to == to && k.key == key && slices.Equal(k.args, args) {
			s.at++
			return k
		}
		s.at = len(s.list) // a class has changed meanwhile
	}
	return nil
}

// keep notes what a table has said. The arguments are copied: their memory is used again.
func (s *said) keep(to *handle, key string, args []string, r table.Result, found bool, err error, from int) {
	at := len(s.args)
	s.args = append(s.args, args...)
	s.list = append(s.list, saying{to, key, s.args[at:len(s.args):len(s.args)], r, found, err, from, len(s.spoken)})
}

// macro is the value of a macro.
func (m *machine) macro(name string) (string, bool) {
	if m.said.mode == sayAgain {
		if k := m.said.again(nil, name, nil); k != nil {
			return k.r.Value, k.found
		}
	}
	v, ok := m.st.Macros.Get(name)
	if m.said.mode == sayKeep {
		m.said.list = append(m.said.list, saying{key: name, r: table.Result{Value: v}, found: ok})
	}
	return v, ok
}
