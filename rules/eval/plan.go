package eval

import (
	"slices"

	"waybill/rules/addr"
	"waybill/rules/prog"
	"waybill/rules/table"
	"waybill/rules/trace"
)

// piece is a part of a replacement: words as they are and captures, then something that is put in.
type piece struct {
	ops  []word
	more *extra // what to put in; nil: nothing
}

// extra is what is put in other than captures.
type extra struct {
	macro    string // a macro's value at run time, unless lookup or call
	wrong    int    // a capture that does not exist
	lookup   bool
	call     bool
	name     uint32 // of the table or the ruleset: its place in the engine's constants
	called   word   // the name of the ruleset as a token
	hasElse  bool
	key      []word // of a lookup
	args     [][]word
	fallback []word
	rest     []piece // what a called ruleset gets
}

// compileRHS makes the pieces of a right side: always those of a list, in which metasymbols stand as words, and if possible
// those of a plan.
func (e *Engine) compileRHS(r *rule) {
	p := planner{e: e, toks: r.src.RHS, caps: r.caps}
	plan, _ := p.plan(0, false)
	if p.macro && p.asks { // all macros are put in before the first table is asked
		p.bad = true
	}
	r.refs, r.fixed = p.refs, int32(len(p.toks))
	if !p.bad {
		r.plan = plan
	}
	if r.plain = !p.bad && !p.macro && !p.asks && (len(plan) == 0 || plan[len(plan)-1].more == nil); r.plain {
		r.ops, r.plan = flat(plan), nil
		for _, o := range r.ops {
			if o&aCapture == 0 {
				r.mask |= 1 << (o & 63)
			}
		}
		return
	}
	if r.plan == nil {
		p = planner{e: e, toks: r.src.RHS, caps: r.caps}
		r.rhs = p.list()
	}
}

// list makes the pieces of a right side in which metasymbols stand as words.
func (p *planner) list() []piece {
	var cur piece
	begin, from := len(p.e.stack), len(p.e.words)
	for i := range p.toks {
		t := &p.toks[i]
		switch {
		case t.Kind == prog.Capture && t.N >= 1 && t.N <= p.caps:
			p.capture(t.N)
			continue
		case t.Kind == prog.Capture:
			cur.more = &extra{wrong: t.N}
		case t.Kind == prog.RunMacro:
			cur.more = &extra{macro: t.Text}
		default:
			p.word(t)
			continue
		}
		p.close(&cur, &from)
	}
	if len(p.e.words) > from {
		p.close(&cur, &from)
	}
	return p.done(begin)
}

// word appends the word of a symbol to the piece at hand.
func (p *planner) word(t *prog.Tok) { p.e.words = append(p.e.words, p.e.wordOf(t)) }

// capture appends what stands for a capture.
func (p *planner) capture(n int) { p.e.words = append(p.e.words, aCapture|word(n-1)) }

// flat is the one piece of what has no lookups, calls and macros.
func flat(ps []piece) []word {
	if len(ps) == 0 {
		return nil
	}
	return ps[0].ops
}

// close ends the piece at hand, whose words begin at from.
func (p *planner) close(cur *piece, from *int) {
	e := p.e
	cur.ops = e.words[*from:len(e.words):len(e.words)]
	e.stack = append(e.stack, *cur)
	*cur, *from = piece{}, len(e.words)
}

// done takes pieces off the stack.
func (p *planner) done(begin int) []piece {
	ps := take(&p.e.pieces, len(p.e.stack)-begin)
	copy(ps, p.e.stack[begin:])
	p.e.stack = p.e.stack[:begin]
	return ps
}

// A plan is a replacement in which the lookups and calls that a rule writes are found already. It holds as long as
// nothing that is put in brings metasymbols of its own that would change where they begin and end, and as long as the
// workspace is not near its limit.

// shapers are the metasymbols that change what a replacement does.
const shapers = special | 1<<idMapEnd | 1<<idHostEnd | 1<<idHostArg | 1<<idElse

// planner makes a plan of a right side.
type planner struct {
	e     *Engine
	toks  []prog.Tok
	caps  int
	refs  int32 // captures that are put in
	macro bool  // and values of macros
	asks  bool  // there is a lookup
	bad   bool  // it has no plan
}

// plan makes pieces of the symbols from i on, up to one of the kinds that end it, and tells where that is.
func (p *planner) plan(i int, inLookup bool) (ps []piece, end int) {
	var cur piece
	if cap(p.e.words)-len(p.e.words) < len(p.toks) { // the words of a piece must stay together
		p.e.words = make([]word, 0, max(512, len(p.toks)))
	}
	begin, from := len(p.e.stack), len(p.e.words)
	for ; i < len(p.toks) && !p.bad; i++ {
		t := &p.toks[i]
		switch t.Kind {
		case prog.Literal, prog.Sep, prog.Mailer:
			p.word(t)
			continue
		case prog.Capture:
			if t.N < 1 || t.N > p.caps {
				p.bad = true
			}
			p.capture(t.N)
			p.refs++
			continue
		case prog.RunMacro:
			if p.macro = true; inLookup {
				p.bad = true
			}
			cur.more = p.extra()
			cur.more.macro = t.Text
			p.close(&cur, &from)
			continue
		case prog.Host, prog.User, prog.MapArg, prog.MapElse:
			if !inLookup {
				p.word(t)
				continue
			}
		case prog.MapEnd, prog.HostEnd:
			if !inLookup {
				p.bad = true
			}
		case prog.MapBegin, prog.HostBegin:
			if p.bad = p.bad || inLookup; p.bad {
				break
			}
			cur.more = p.extra()
			x := cur.more
			x.lookup = true
			p.close(&cur, &from)
			i = p.lookup(i, x)
			from = len(p.e.words)
			continue
		case prog.Call:
			if i+1 >= len(p.toks) || inLookup || p.toks[i+1].Kind != prog.Literal {
				p.bad = true
				break
			}
			w := p.e.wordOf(&p.toks[i+1])
			cur.more = p.extra()
			x := cur.more
			x.call, x.called, x.name = true, w, uint32(w>>textAt)
			p.e.calls = append(p.e.calls, x.name)
			p.close(&cur, &from)
			x.rest, i = p.plan(i+2, false)
			return p.done(begin), i
		default:
			p.bad = true
		}
		break
	}
	if len(p.e.words) > from {
		p.close(&cur, &from)
	}
	return p.done(begin), i
}

// extra takes memory for what a piece puts in.
func (p *planner) extra() *extra { return &take(&p.e.extras, 1)[0] }

// lookup reads one that begins at i, and returns the place of its closing symbol.
func (p *planner) lookup(i int, x *extra) int {
	closing := prog.HostEnd
	x.name = p.e.hostName
	if p.toks[i].Kind == prog.MapBegin {
		closing = prog.MapEnd
		if i++; i >= len(p.toks) || p.toks[i].Kind != prog.Literal {
			p.bad = true
			return i
		}
		x.name = uint32(p.e.wordOf(&p.toks[i]) >> textAt)
		p.e.named = append(p.e.named, x.name)
	}
	p.asks = true
	ps, i := p.plan(i+1, true)
	x.key = flat(ps)
	for !p.bad {
		if i >= len(p.toks) {
			p.bad = true
			break
		}
		switch p.toks[i].Kind {
		case closing:
			return i
		case prog.Host, prog.MapArg:
			if x.hasElse {
				p.bad = true
			}
			ps, i = p.plan(i+1, true)
			x.args = append(x.args, flat(ps))
		case prog.User, prog.MapElse:
			if x.hasElse {
				p.bad = true
			}
			x.hasElse = true
			ps, i = p.plan(i+1, true)
			x.fallback = flat(ps)
		default:
			p.bad = true
		}
	}
	return i
}

// wordOf is the word of a symbol that stands for itself.
func (e *Engine) wordOf(t *prog.Tok) word {
	if t.Kind == prog.Literal {
		return e.constant(addr.Token(t.Text))
	}
	return e.octets.single[metaOf[t.Kind]]
}

// follow carries out a plan over the captures of the workspace at base. lookStat is TempFail when a table said so;
// the other status is that of calls.
func (m *machine) follow(r *rule, ps []piece, base, top int) (lookStat, status int, goOn bool) {
	for i := range ps {
		p := &ps[i]
		m.copyOps(p.ops, base)
		x := p.more
		switch {
		case x == nil:
		case x.lookup:
			stat, ok := m.planned(x, base)
			if !ok {
				m.mem = m.mem[:top]
				return lookStat, stat, false
			}
			lookStat = worse(lookStat, stat)
			if len(m.mem)-top > MaxTokens {
				return lookStat, m.tooLong(top), false
			}
			if m.abort {
				return lookStat, OK, false
			}
		case x.call: // it is the last piece
			if m.e.called != nil && !r.told.Load() && !r.told.Swap(true) {
				m.e.called(r.src)
			}
			at := len(m.mem)
			stat := OK
			stat, status, goOn = m.follow(r, x.rest, base, top)
			if lookStat = worse(lookStat, stat); !goOn {
				return lookStat, status, false
			}
			if status != OK && status != TempFail { // the calls to the left stay as they are
				m.mem = append(m.mem, 0, 0)
				copy(m.mem[at+2:], m.mem[at:])
				m.mem[at], m.mem[at+1] = m.e.octets.single[metaOf[prog.Call]], x.called
				return lookStat, status, true
			}
			callee := m.e.callees[x.name]
			if len(callee.rules) == 0 { // passed by without a trace
				return lookStat, status, true
			}
			stat, _ = m.ruleset(callee, at)
			if status = worse(status, stat); m.abort {
				return lookStat, status, false
			}
			return lookStat, status, true
		default:
			if !m.putMacro(x.macro) {
				m.mem = m.mem[:top]
				return lookStat, DataErr, false
			}
		}
	}
	return lookStat, OK, true
}

// planned asks the table of a lookup and appends the answer.
func (m *machine) planned(x *extra, base int) (status int, ok bool) {
	got, status, ok := m.value(m.e.handles[x.name], x.name, x.key, x.args, base)
	switch {
	case !ok:
		return status, false
	case got != gotNothing:
	case x.hasElse:
		at := len(m.mem)
		m.copyOps(x.fallback, base)
		part := span{int32(at), int32(len(m.mem))}
		if m.odd(part) {
			if !m.putDefault(part) {
				return DataErr, false
			}
			n := copy(m.mem[at:], m.mem[part.hi:])
			m.mem = m.mem[:at+n]
		}
	default: // the key itself [37]
		m.copyOps(x.key, base)
	}
	return status, true
}

// got is what a table has for a key.
type got uint8

const (
	gotNothing got = iota
	gotEmpty
	gotValue
)

// value asks a table, whose name is at this place of the constants, and appends the tokens of the answer. Key and
// arguments are words and captures of the workspace at base.
func (m *machine) value(to *handle, name uint32, key []word, args [][]word, base int) (g got, status int, ok bool) {
	r := m.rec
	if r == nil {
		text, absent := m.keyOf(to, key, base)
		if absent {
			return gotNothing, OK, true
		}
		return m.valueNow(to, text, m.joinArgs(args, base))
	}
	q := question{kind: askTable, name: name, words: r.keepOps(m, key, base)}
	if len(args) > 0 {
		q.more = &details{}
		for _, a := range args {
			q.more.args = append(q.more.args, slices.Clone(r.keepOps(m, a, base)))
		}
	}
	before, at := m.mark(), len(m.mem)
	text, absent := m.keyOf(to, key, base)
	if ok = true; !absent {
		g, status, ok = m.valueNow(to, text, m.joinArgs(args, base))
	}
	if status == OK && ok && !m.abort { // else nothing will be learned
		r.note(m, before, q, int32(g), m.mem[at:], nil)
	}
	return g, status, ok
}

// joinArgs makes texts of the arguments of a lookup.
func (m *machine) joinArgs(args [][]word, base int) []string {
	m.args = m.args[:0]
	for _, a := range args {
		m.args = append(m.args, m.joinOps(a, base, m.e.prog.BlankSub))
	}
	return m.args
}

// valueNow asks a table and appends the tokens of the answer.
func (m *machine) valueNow(to *handle, key string, args []string) (g got, status int, ok bool) {
	r, found, err := m.ask(to, key, args)
	if err != nil && table.Status(err) == TempFail { // other troubles of a table are "not there" for rules
		status = TempFail
		m.notNow(&NotNow{to.name, key, err, found})
	}
	switch {
	case !found:
		return gotNothing, status, true
	case r.Value == "":
		return gotEmpty, status, true
	case !m.putValue(r.Value):
		return gotValue, DataErr, false
	}
	return gotValue, status, true
}

// keyOf makes the key of a lookup. A table may tell from its octets alone that it has no such entry (absent): then there
// is nothing to ask, and no string is made.
func (m *machine) keyOf(to *handle, ops []word, base int) (key string, absent bool) {
	if to.lacks == nil || m.wants&trace.Lookup != 0 {
		return m.joinOps(ops, base, to.blank), false
	}
	some, all := m.appendOps(ops, base, to.blank)
	if len(m.text2) > 0 && some&isQuoted == 0 && m.tick(64+len(m.text2)) && to.lacks.Lacks(m.ctx, m.text2, all&isFolded != 0) {
		return "", true
	}
	if one, ok := m.single(ops, base); ok {
		return one, false
	}
	return m.keep(m.text2), false
}

// joinOps makes text of words and captures.
func (m *machine) joinOps(ops []word, base int, blank string) string {
	if one, ok := m.single(ops, base); ok {
		return one
	}
	m.appendOps(ops, base, blank)
	return m.keep(m.text2)
}

// single is the text of what is one token.
func (m *machine) single(ops []word, base int) (string, bool) {
	if len(ops) != 1 {
		return "", false
	}
	w := ops[0]
	if w&aCapture != 0 {
		c := m.caps[uint32(w)]
		if c.hi-c.lo != 1 {
			return "", false
		}
		w = m.mem[base+int(c.lo)]
	}
	return string(m.text(w)), !w.meta()
}

// appendOps makes text of words and captures in m.text2: the blank substitute goes between two adjacent words, nothing next
// to an operator, a quoted string or a metasymbol [33]. Metasymbols appear as people write them. some and all are what at
// least one, or each, of them is.
func (m *machine) appendOps(ops []word, base int, blank string) (some, all word) {
	b := m.text2[:0]
	var last word
	all = ^all
	for i, o := range ops {
		ws := ops[i : i+1]
		if o&aCapture != 0 {
			c := m.caps[uint32(o)]
			ws = m.mem[base+int(c.lo) : base+int(c.hi)]
		}
		for _, w := range ws {
			if w&last&isWord != 0 {
				b = append(b, blank...)
			}
			last = w
			some |= w
			all &= w
			if w.meta() {
				b = append(b, m.text(w).String()...)
			} else if t := m.text(w); len(t) == 1 {
				b = append(b, t[0])
			} else {
				b = append(b, t...)
			}
		}
	}
	m.text2 = b
	return some, all
}
