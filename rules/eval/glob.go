package eval

import (
	"slices"

	"waybill/rules/prog"
)

// glob is a pattern with at most one $=x, and else only symbols of one token and $* and $+, made ready: a head that stands
// at the beginning, then parts of an open symbol and what follows it. Most patterns are such, and need little
// backtracking: taking for each part the first place where its symbols fit leaves most to the parts behind it, which
// begin with an open symbol and so fit wherever they would fit behind a later place; and it is what trying the shortest
// first finds [20]. Only where the words of a class end has to be tried out.
type glob struct {
	head  seq
	parts []part
	class int  // the part whose symbols have the $=x; -1: the head, none: no part
	ends  bool // the filter has seen to head and tail
	plain bool // it has, and all parts but the last are literals or nothing
}

const none = -2

// seq is a row of symbols of one token each, in which one $=x may stand.
type seq struct {
	elems []elem
	open  *openClass // nil: none
}

// openClass is $=x behind the first symbols of a row.
type openClass struct {
	class *class
	n     int    // its capture
	post  []elem // the symbols behind it
}

// elem is a symbol of one token: a literal, $- or $~x.
type elem struct {
	id    uint32 // of a literal; 0 for the others
	n     int    // capture
	class *class // of $~x
}

// part is an open symbol and the symbols behind it, up to the next open one.
type part struct {
	first uint32 // the literal with which elems begin; 0 when they do not
	more  []elem // the elems behind it
	least int    // tokens that the open symbol takes at least
	width int    // of elems
	need  int    // tokens that elems and all parts behind need at least
	n     int    // capture of the open symbol
	seq
	anchor int // the first literal of elems; -1 when there is none
}

// globOf makes a glob of a pattern; nil when it has symbols that a glob cannot have.
func (e *Engine) globOf(lhs []sym) *glob {
	opens, classes := 0, 0
	for i := range lhs {
		switch lhs[i].kind {
		case prog.InClass:
			classes++
		case prog.RunMacro:
			return nil
		case prog.ZeroOrMore, prog.OneOrMore:
			opens++
		}
	}
	if classes > 1 {
		return nil
	}
	g := &take(&e.globs, 1)[0]
	g.class, g.parts = none, take(&e.parts, opens)
	elems := take(&e.elems, len(lhs))[:0]
	s, at, start := &g.head, -1, 0
	for i := range lhs {
		switch l := &lhs[i]; l.kind {
		case prog.ZeroOrMore, prog.OneOrMore:
			s.end(elems[start:])
			at, start = at+1, len(elems)
			p := &g.parts[at]
			p.n = l.n
			if l.kind == prog.OneOrMore {
				p.least = 1
			}
			s = &p.seq
		case prog.InClass:
			s.elems = elems[start:]
			s.open = &take(&e.opens, 1)[0]
			s.open.class, s.open.n = l.class, l.n
			g.class, start = at, len(elems)
		case prog.Literal:
			elems = append(elems, elem{id: l.id})
		default:
			elems = append(elems, elem{n: l.n, class: l.class})
		}
	}
	s.end(elems[start:])
	need := 0
	for i := len(g.parts) - 1; i >= 0; i-- {
		p := &g.parts[i]
		p.anchor = -1
		for k := len(p.elems) - 1; k >= 0; k-- {
			if p.elems[k].id != 0 {
				p.anchor = k
			}
		}
		if p.anchor == 0 && p.literals() {
			p.first, p.more = p.elems[0].id, p.elems[1:]
		}
		p.width = p.seq.width()
		need += p.width
		p.need = need
		need += p.least
	}
	if g.ends = g.class == none && len(g.parts) > 0 && g.head.filtered() && g.parts[len(g.parts)-1].filtered(); g.ends {
		g.plain = true
		for i := range g.parts[:len(g.parts)-1] {
			g.plain = g.plain && g.parts[i].literals()
		}
	}
	return g
}

// tailOf makes a glob of the end of a pattern that is none, from its last open symbol on, when there is a class in it:
// most workspaces that do not match such a pattern do not match its end either. nil: that tells nothing.
func (e *Engine) tailOf(lhs []sym) *glob {
	for i := len(lhs) - 1; i >= 0; i-- {
		if k := lhs[i].kind; k == prog.ZeroOrMore || k == prog.OneOrMore {
			tail := slices.Clone(lhs[i:])
			tail[0].kind = prog.ZeroOrMore // with all that comes before
			if g := e.globOf(tail); g != nil && g.class != none {
				return g
			}
			break
		}
	}
	return nil
}

// literals reports whether a row has nothing but literals.
func (s *seq) literals() bool {
	for i := range s.elems {
		if s.elems[i].id == 0 {
			return false
		}
	}
	return s.open == nil
}

// end gives a row its last symbols.
func (s *seq) end(elems []elem) {
	if s.open != nil {
		s.open.post = elems
	} else {
		s.elems = elems
	}
}

// width is how many tokens a row needs.
func (s *seq) width() int {
	if s.open != nil {
		return len(s.elems) + 1 + len(s.open.post)
	}
	return len(s.elems)
}

// filtered reports whether a row at an end of a pattern is matched once the filter has let it pass.
func (s *seq) filtered() bool {
	return len(s.elems) == 0 || len(s.elems) == 1 && s.elems[0].id != 0
}

// take cuts n items off a large piece of memory.
func take[T any](slab *[]T, n int) []T {
	if n > cap(*slab)-len(*slab) {
		*slab = make([]T, 0, max(16, n, min(512, 2*cap(*slab))))
	}
	at := len(*slab)
	*slab = (*slab)[:at+n]
	return (*slab)[at : at+n : at+n]
}

// glob matches a pattern without a class against the tokens in, which the filter has let pass, and leaves what the
// wildcards took in m.caps.
func (m *machine) glob(g *glob, in []word) bool {
	parts := g.parts
	if len(parts) == 0 {
		return m.fits(g.head.elems, in, 0)
	}
	if !g.ends {
		tail := parts[len(parts)-1].elems
		if !m.fits(tail, in, len(in)-len(tail)) || !m.fits(g.head.elems, in, 0) {
			return false
		}
	}
	pos := len(g.head.elems)
	if !g.plain {
		return m.globRest(parts, in, pos)
	}
	m.steps += len(in) >> 3
	last := len(parts) - 1
	for i := range parts[:last] {
		p := &parts[i]
		s, end := pos+p.least, len(in)-p.need
		if s > end {
			return false
		}
		if first := p.first; first != 0 {
			for in[s].id() != first || len(p.more) > 0 && !same(p.more, in[s+1:]) {
				if s++; s > end {
					return false
				}
			}
		}
		m.caps[p.n] = span{int32(pos), int32(s)}
		pos = s + p.width
	}
	p := &parts[last]
	at := len(in) - p.width
	if pos+p.least > at {
		return false
	}
	m.caps[p.n] = span{int32(pos), int32(at)}
	return true
}

// same reports whether tokens begin with these literals.
func same(literals []elem, in []word) bool {
	if len(in) < len(literals) {
		return false
	}
	for i := range literals {
		if in[i].id() != literals[i].id {
			return false
		}
	}
	return true
}

// globRest matches parts without a class against in[pos:]. The last one fits at the end: its caller has seen to that.
func (m *machine) globRest(parts []part, in []word, pos int) bool {
	last := len(parts) - 1
	for i := range parts[:last] {
		p := &parts[i]
		s := m.find(p, in, pos+p.least)
		if s < 0 {
			return false
		}
		m.caps[p.n] = span{int32(pos), int32(s)}
		pos = s + len(p.elems)
	}
	p := &parts[last]
	at := len(in) - len(p.elems)
	if pos+p.least > at {
		return false
	}
	m.caps[p.n] = span{int32(pos), int32(at)}
	return true
}

// find returns the first place at or behind s where the symbols of a part that come before its class fit; -1: none.
func (m *machine) find(p *part, in []word, s int) int {
	last := len(in) - p.need
	if s > last {
		return -1
	}
	if len(p.elems) == 0 {
		return s
	}
	from := s
	if p.anchor < 0 {
		for ; s <= last; s++ {
			if m.fits(p.elems, in, s) {
				m.steps += (s - from) >> 1
				return s
			}
		}
		m.steps += (s - from) >> 1
		return -1
	}
	id := p.elems[p.anchor].id
	for ; s <= last; s++ {
		if in[s+p.anchor].id() == id && (len(p.elems) == 1 || m.fits(p.elems, in, s)) {
			m.steps += (s - from) >> 3
			return s
		}
	}
	m.steps += (s - from) >> 3
	return -1
}

// globClass is glob for a pattern with a class.
func (m *machine) globClass(g *glob, in []word) bool {
	at, row := g.class, &g.head
	if at >= 0 {
		row = &g.parts[at].seq
	}
	set := m.words(row.open.class)
	if len(set.words) == 0 && m.rec == nil {
		return false
	}
	if last := len(g.parts) - 1; last >= 0 {
		s := &g.parts[last].seq
		post := s.elems
		if s.open != nil {
			post = s.open.post
		}
		if len(post) > 0 && !m.fits(post, in, len(in)-len(post)) {
			return false
		}
	}
	if len(g.head.elems) > 0 && !m.fits(g.head.elems, in, 0) {
		return false
	}
	pos := len(g.head.elems)
	if at == -1 {
		return m.classRest(row, set, g.parts, in, pos)
	}
	for i := range g.parts[:at] {
		p := &g.parts[i]
		s := m.find(p, in, pos+p.least)
		if s < 0 {
			return false
		}
		m.caps[p.n] = span{int32(pos), int32(s)}
		pos = s + len(p.elems)
	}
	p := &g.parts[at]
	for s := pos + p.least; ; s++ {
		if s = m.find(p, in, s); s < 0 || m.steps > m.e.limit {
			return false
		}
		if m.classRest(row, set, g.parts[at+1:], in, s+len(p.elems)) {
			m.caps[p.n] = span{int32(pos), int32(s)}
			return true
		}
	}
}

// classRest matches the class of a row, which begins at lo, what follows it in the row, and the parts behind.
func (m *machine) classRest(s *seq, set *classSet, parts []part, in []word, lo int) bool {
	c := s.open
	need := len(c.post)
	if m.rec == nil {
		if t := m.text(in[lo]); t == "" || !set.first[t[0]] {
			return false
		}
	}
	if len(parts) == 0 { // up to the end
		hi := len(in) - need
		if hi <= lo || !m.isMember(c.class, set, in[lo:hi]) || !m.fits(c.post, in, hi) {
			return false
		}
		m.caps[c.n] = span{int32(lo), int32(hi)}
		return true
	}
	last := len(in) - parts[0].need - parts[0].least - need
	first := uint32(0)
	if need > 0 {
		first = c.post[0].id
	}
	if first == 0 {
		for hi := lo; ; {
			if hi = int(m.grow(c.class, int32(lo), int32(hi+1), int32(last), in)); hi < 0 || m.steps > m.e.limit {
				return false
			}
			if m.fits(c.post, in, hi) && m.globRest(parts, in, hi+need) {
				m.caps[c.n] = span{int32(lo), int32(hi)}
				return true
			}
			m.steps += len(in) >> 2
		}
	}
	for hi := lo + 1; hi <= last; hi++ { // it ends where the literal behind it stands
		if in[hi].id() != first {
			continue
		}
		if m.steps > m.e.limit {
			return false
		}
		if m.isMember(c.class, set, in[lo:hi]) {
			if m.fits(c.post, in, hi) && m.globRest(parts, in, hi+need) {
				m.caps[c.n] = span{int32(lo), int32(hi)}
				return true
			}
			m.steps += len(in) >> 2
		}
	}
	return false
}

// fits reports whether symbols of one token each match the tokens from place at on, which are there.
func (m *machine) fits(elems []elem, in []word, at int) bool {
	in = in[at:]
	if len(in) < len(elems) {
		return false
	}
	others := false
	for k := range elems {
		if id := elems[k].id; id == 0 {
			others = true
		} else if in[k].id() != id {
			return false
		}
	}
	if !others {
		return true
	}
	for k := range elems {
		el := &elems[k]
		if el.id != 0 {
			continue
		}
		if el.class != nil {
			m.steps++
			if m.inClass(el.class, in[k:k+1]) {
				return false
			}
		}
		m.caps[el.n] = span{int32(at + k), int32(at + k + 1)}
	}
	return true
}
