package eval

import (
	"context"

	"waybill/rules/addr"
	"waybill/rules/prog"
	"waybill/rules/table"
)

// word is a token in a workspace, without a pointer, so that workspaces are copied cheaply: from bit 37 on the place of
// its text in the machine's texts, below that what is known of the token, and in the lowest 32 bits the number of the
// literal that it equals; 0 when the program has no such literal. In the right side of a rule, a word with the topmost
// bit stands for a capture, whose index is in its lowest octets.
type word uint64

const (
	textAt = 37

	isWord   word = 1 << 32 // neither operator nor quoted string nor metasymbol: the blank substitute stands between two
	isOdd    word = 1 << 33 // the default of a lookup that has it is cut again
	isPlain  word = 1 << 34 // traces show it as it is
	isFolded word = 1 << 35 // no letter is in upper case
	isQuoted word = 1 << 36 // it has a quotation mark or a backslash, which keys of lookups lose

	aCapture word = 1 << 63
)

func (w word) id() uint32 { return uint32(w) }

// known is what a word says beside the place of its text.
func (w word) known() word { return w & (1<<textAt - 1) }

// meta reports whether a token is a metasymbol: their numbers are the lowest ones.
func (w word) meta() bool { id := w.id(); return id-1 < lastMeta }

const lastMeta = 0x13 // of addr.Capture

// kinds of octets, for what a word knows about its text
const (
	octUpper   = 1 << iota // a letter in upper case
	octOdd                 // a backslash
	octControl             // not shown as it is
	octQuote               // a quotation mark
)

// octets are the properties of octets and the words of tokens of one octet.
type octets struct {
	kind   [256]uint8
	single [256]word
	// lengths[c] has a bit for each length below 64 of a literal that begins with c, in lower case: most tokens are no
	// literal, and need no look at all literals then.
	lengths [256]uint64
	// endings[c] has a bit for the last octet of each of these.
	endings [256]uint64
}

func (e *Engine) initOctets() {
	for c := range e.octets.kind {
		switch {
		case c >= 'A' && c <= 'Z':
			e.octets.kind[c] = octUpper
		case c == '\\':
			e.octets.kind[c] = octOdd
		case c == '"':
			e.octets.kind[c] = octQuote
		case c < 0x20 || c >= 0x7f:
			e.octets.kind[c] = octControl
		}
	}
	const all = 256
	e.consts = make([]addr.Token, all, all+len(e.prog.Rulesets)*16)
	for c := range all {
		t := addr.Token(octetTexts[c : c+1])
		e.consts[c] = t
		e.octets.single[c] = word(c)<<textAt | e.properties(t)
		if t.IsMeta() {
			e.octets.single[c] |= word(c - 0x80)
		}
	}
}

// octetTexts has every octet once.
var octetTexts = func() string {
	var b [256]byte
	for c := range b {
		b[c] = byte(c)
	}
	return string(b[:])
}()

// properties are the bits of a word that its text alone tells.
func (e *Engine) properties(t addr.Token) word {
	if t == "" {
		return isOdd | isPlain | isFolded
	}
	w := isWord
	var kinds uint8
	for i := 0; i < len(t); i++ {
		kinds |= e.octets.kind[t[i]]
	}
	if kinds&octUpper == 0 {
		w |= isFolded
	}
	if kinds&octControl == 0 {
		w |= isPlain
	}
	if kinds&octOdd != 0 {
		w |= isOdd | isQuoted
	}
	if kinds&octQuote != 0 {
		w |= isQuoted
	}
	switch t[0] {
	case '(', ')', '<', '>':
		w |= isOdd
	case '"':
		w = (w | isOdd) &^ isWord
	}
	if !e.syntax.IsWord(t) {
		w &^= isWord
	}
	return w
}

// ending has the bits of an octet that count where literals are told apart by their last one: the case of a letter does not.
const ending = 0x1f

// number returns the number of the literal that a token equals.
func (e *Engine) number(t addr.Token, folded bool, buf *[]byte) uint32 {
	c := t[0]
	if c >= 'A' && c <= 'Z' {
		c |= 0x20
	}
	if len(t) < 64 && e.octets.lengths[c]>>(len(t)&63)&1 == 0 || e.octets.endings[c]>>(t[len(t)-1]&ending)&1 == 0 {
		return 0
	}
	if folded {
		return e.ids[string(t)]
	}
	*buf = appendFold((*buf)[:0], string(t))
	return e.ids[string(*buf)]
}

// literal returns the number of a literal, which it makes up when it is new. Its lower six bits are its bit in
// filters.
func (e *Engine) literal(t addr.Token) uint32 {
	if t.IsMeta() {
		return uint32(t[0] - 0x80)
	}
	folded := addr.Fold(string(t))
	if id, ok := e.ids[folded]; ok {
		return id
	}
	var id uint32
	if len(folded) == 1 {
		id = 64*(1+e.short/shortBits) + shortFrom + e.short%shortBits
		e.short++
	} else {
		id = (64*(1+e.long/longBits) + longFrom + e.long%longBits) & maxID
		e.long++
	}
	e.ids[folded] = id
	if folded == "" {
		return id
	}
	c := folded[0]
	e.octets.endings[c] |= 1 << (folded[len(folded)-1] & ending)
	if len(folded) < 64 {
		e.octets.lengths[c] |= 1 << len(folded)
	}
	if len(folded) == 1 {
		e.octets.single[c] |= word(id)
		if c >= 'a' && c <= 'z' {
			e.octets.single[c&^0x20] |= word(id)
		}
	}
	return id
}

// maxLiterals is how many literals have a number of their own.
const (
	maxID       = 1<<24 - 1
	maxLiterals = maxID/64*longBits - 1024
)

// constant returns the word of a token that replacements have.
func (e *Engine) constant(t addr.Token) word {
	id := e.literal(t)
	if len(t) == 1 {
		return e.octets.single[t[0]]
	}
	at, ok := e.constAt[t]
	if !ok {
		at = uint32(len(e.consts))
		e.consts = append(e.consts, t)
		e.constAt[t] = at
	}
	return word(at)<<textAt | e.properties(t) | word(id)
}

// text is the text of a word.
func (m *machine) text(w word) addr.Token { return m.texts[w>>textAt] }

// word makes the word of a token.
func (m *machine) word(t addr.Token) word {
	e := m.e
	if len(t) == 1 {
		return e.octets.single[t[0]]
	}
	w := e.properties(t)
	if t != "" {
		w |= word(e.number(t, w&isFolded != 0, &m.buf))
	} else {
		w |= word(e.ids[""])
	}
	return m.add(t, w)
}

// add gives a text a place, and returns its word.
func (m *machine) add(t addr.Token, known word) word {
	w := word(len(m.texts))<<textAt | known
	m.texts, m.info = append(m.texts, t), append(m.info, known)
	return w
}

// push puts a token on the arena.
func (m *machine) push(t addr.Token) { m.mem = append(m.mem, m.word(t)) }

// keep makes a string of octets that live as long as anybody has it. Several share one piece of memory.
func (m *machine) keep(b []byte) string {
	const piece = 1024
	n := m.kept.Len()
	if n+len(b) > m.kept.Cap() {
		m.kept.Reset()
		m.kept.Grow(max(piece, len(b)))
		n = 0
	}
	m.kept.Write(b)
	return m.kept.String()[n:]
}

// tokens are the texts of words; the next call overwrites them.
func (m *machine) tokens(ws []word) []addr.Token {
	m.toks = m.toks[:0]
	for _, w := range ws {
		m.toks = append(m.toks, m.text(w))
	}
	return m.toks
}

// handle is a table with what a lookup has to know of it.
type handle struct {
	name     string
	table    table.Table
	blank    string // stands between adjacent words of the key
	unquote  bool   // quotation marks go out of the key
	setsName bool   // it is of class macro
	lacks    lacker // the table, when it can tell that it has no entry with a key without being asked for it
}

// lacker is a table that knows of most keys at once that it has no entry for them. lower tells that key has no upper-case
// letter.
type lacker interface {
	Lacks(ctx context.Context, key []byte, lower bool) bool
}

// handleOf finds the table with a name.
func (e *Engine) handleOf(name string) *handle {
	h := &handle{name: name, blank: e.prog.BlankSub, setsName: e.setters[name]}
	t := e.table(name)
	if t != nil {
		h.table = t
	}
	if k, ok := t.(interface{ KeyBlank() (string, bool) }); ok {
		if b, ok := k.KeyBlank(); ok {
			h.blank = b
		}
	}
	k, ok := t.(interface{ KeepsQuotes() bool })
	h.unquote = (!ok || !k.KeepsQuotes()) && !h.setsName
	if !h.setsName {
		h.lacks, _ = t.(lacker)
	}
	return h
}

// link finds the tables and rulesets that replacements name.
func (e *Engine) link() {
	e.handles, e.callees = make([]*handle, len(e.consts)), make([]*ruleset, len(e.consts))
	e.askable = make(map[string]*handle, len(e.asked))
	for _, name := range e.asked {
		if e.askable[name] == nil {
			e.askable[name] = e.handleOf(name)
		}
	}
	for _, at := range e.named {
		name := e.consts[at]
		if e.handles[at] == nil {
			e.handles[at] = e.handleOf(name.String())
		}
	}
	e.host = e.handles[e.hostName]
	for _, at := range e.calls {
		e.callees[at], _ = e.callee(e.consts[at])
	}
}

// finish takes back the plans that call what is no ruleset, or one without rules in front of another call: these have
// their own ways [28].
func (e *Engine) finish() {
	for _, rs := range e.sets {
		for i := range rs.rules {
			r := &rs.rules[i]
			for ps := r.plan; !r.plain && len(ps) > 0 && ps[len(ps)-1].more != nil && ps[len(ps)-1].more.call; {
				x := ps[len(ps)-1].more
				ps = x.rest
				more := len(ps) > 0 && ps[len(ps)-1].more != nil && ps[len(ps)-1].more.call
				if callee := e.callees[x.name]; callee == nil || len(callee.rules) == 0 && more {
					p := planner{e: e, toks: r.src.RHS, caps: r.caps}
					r.plan, r.rhs = nil, p.list()
					break
				}
			}
		}
	}
	e.slabs = slabs{}
}

// heads are how traces begin the two lines about a ruleset: its name in 16 columns, and which line it is.
func heads(name string) [2]string {
	const width = 16
	if len(name) > width {
		name = name[:width]
	}
	name += "                "[len(name):]
	return [2]string{name + "   input:", name + " returns:"}
}

// list makes the pieces of a right side whose plan does not hold, in words of this machine alone.
func (m *machine) list(r *rule) []piece {
	var ps []piece
	var cur piece
	if m.rec != nil {
		m.rec.bad = true
	}
	for i := range r.src.RHS {
		t := &r.src.RHS[i]
		switch t.Kind {
		case prog.Capture: // it exists, or there would be no plan
			cur.ops = append(cur.ops, aCapture|word(t.N-1))
			continue
		case prog.RunMacro:
			cur.more = &extra{macro: t.Text}
		case prog.Literal:
			cur.ops = append(cur.ops, m.word(addr.Token(t.Text)))
			continue
		default:
			cur.ops = append(cur.ops, m.e.octets.single[metaOf[t.Kind]])
			continue
		}
		ps = append(ps, cur)
		cur = piece{}
	}
	return append(ps, cur)
}
