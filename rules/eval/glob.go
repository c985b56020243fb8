package eval

import "waybill/rules/prog"

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
	n     int32  // its capture
	post  []elem // the symbols behind it
}

// elem is a symbol of one token: a literal, $- or $~x.
type elem struct {
	id    uint32 // of a literal; 0 for the others
	n     int32  // capture
	class *class // of $~x
}

// part is an open symbol and the symbols behind it, up to the next open one.
type part struct {
	seq
	least    int32 // tokens that the open symbol takes at least
	n        int32 // its capture
	anchor   int32 // the first literal of elems; -1 when there is none
	literals bool  // elems are literals, one at least
	need     int32 // tokens that elems and all parts behind need at least
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
			p.n = int32(l.n)
			if l.kind == prog.OneOrMore {
				p.least = 1
			}
			s = &p.seq
		case prog.InClass:
			s.elems = elems[start:]
			s.open = &take(&e.opens, 1)[0]
			s.open.class, s.open.n = l.class, int32(l.n)
			g.class, start = at, len(elems)
		case prog.Literal:
			elems = append(elems, elem{id: l.id})
		default:
			elems = append(elems, elem{n: int32(l.n), class: l.class})
		}
	}
	s.end(elems[start:])
	need := int32(0)
	for i := len(g.parts) - 1; i >= 0; i-- {
		p := &g.parts[i]
		p.anchor = -1
		p.literals = len(p.elems) > 0 && p.open == nil
		for k := len(p.elems) - 1; k >= 0; k-- {
			if p.elems[k].id != 0 {
				p.anchor = int32(k)
			} else {
				p.literals = false
			}
		}
		need += p.width()
		p.need = need
		need += p.least
	}
	g.ends = g.class == none && len(g.parts) > 0 && g.head.filtered() && g.parts[len(g.parts)-1].filtered()
	return g
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
func (s *seq) width() int32 {
	if s.open != nil {
		return int32(len(s.elems) + 1 + len(s.open.post))
	}
	return int32(len(s.elems))
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
		if !m.fits(tail, in, int32(len(in)-len(tail))) || !m.fits(g.head.elems, in, 0) {
			return false
		}
	}
	return m.globRest(parts, in, int32(len(g.head.elems)))
}

// globRest matches parts without a class against in[pos:]. The last one fits at the end: its caller has seen to that.
func (m *machine) globRest(parts []part, in []word, pos int32) bool {
	last := len(parts) - 1
	for i := range parts[:last] {
		p := &parts[i]
		s := pos + p.least
		if p.literals {
			end := int32(len(in)) - p.need
			first, rest := p.elems[0].id, p.elems[1:]
			from := s
		place:
			for ; s <= end; s++ {
				if in[s].id() != first {
					continue
				}
				for k := range rest {
					if in[s+1+int32(k)].id() != rest[k].id {
						continue place
					}
				}
				break
			}
			m.steps += int(s-from) >> 3
			if s > end {
				return false
			}
		} else if s = m.find(p, in, s); s < 0 {
			return false
		}
		m.caps[p.n] = span{pos, s}
		pos = s + int32(len(p.elems))
	}
	p := &parts[last]
	at := int32(len(in) - len(p.elems))
	if pos+p.least > at {
		return false
	}
	m.caps[p.n] = span{pos, at}
	return true
}

// find returns the first place at or behind s where the symbols of a part that come before its class fit; -1: none.
func (m *machine) find(p *part, in []word, s int32) int32 {
	last := int32(len(in)) - p.need
	if len(p.elems) == 0 && s <= last {
		return s
	}
	from := s
	if p.anchor < 0 {
		for ; s <= last; s++ {
			if m.fits(p.elems, in, s) {
				m.steps += int(s-from) >> 1
				return s
			}
		}
		m.steps += int(s-from) >> 1
		return -1
	}
	id := p.elems[p.anchor].id
	for ; s <= last; s++ {
		if in[s+p.anchor].id() == id && m.fits(p.elems, in, s) {
			m.steps += int(s-from) >> 3
			return s
		}
	}
	m.steps += int(s-from) >> 3
	return -1
}

// globClass is glob for a pattern with a class.
func (m *machine) globClass(g *glob, in []word) bool {
	n := int32(len(in))
	at := g.class
	if last := len(g.parts) - 1; last >= 0 {
		s := &g.parts[last].seq
		post := s.elems
		if s.open != nil {
			post = s.open.post
		}
		if !m.fits(post, in, n-int32(len(post))) {
			return false
		}
	}
	if !m.fits(g.head.elems, in, 0) {
		return false
	}
	pos := int32(len(g.head.elems))
	if at == -1 {
		return m.classRest(&g.head, g.parts, in, pos)
	}
	for i := range g.parts[:at] {
		p := &g.parts[i]
		s := m.find(p, in, pos+p.least)
		if s < 0 {
			return false
		}
		m.caps[p.n] = span{pos, s}
		pos = s + int32(len(p.elems))
	}
	p := &g.parts[at]
	for s := pos + p.least; ; s++ {
		if s = m.find(p, in, s); s < 0 || m.steps > m.e.limit {
			return false
		}
		if m.classRest(&p.seq, g.parts[at+1:], in, s+int32(len(p.elems))) {
			m.caps[p.n] = span{pos, s}
			return true
		}
	}
}

// classRest matches the class of a row, which begins at lo, what follows it in the row, and the parts behind.
func (m *machine) classRest(s *seq, parts []part, in []word, lo int32) bool {
	c := s.open
	set := m.words(c.class)
	need := int32(len(c.post))
	if len(parts) == 0 { // up to the end
		hi := int32(len(in)) - need
		if hi <= lo || m.extendClass(set, lo, hi, hi, in) != hi || !m.fits(c.post, in, hi) {
			return false
		}
		m.caps[c.n] = span{lo, hi}
		return true
	}
	last := int32(len(in)) - parts[0].need - parts[0].least - need
	for hi := lo; ; {
		if hi = m.extendClass(set, lo, hi+1, last, in); hi < 0 || m.steps > m.e.limit {
			return false
		}
		if m.fits(c.post, in, hi) && m.globRest(parts, in, hi+need) {
			m.caps[c.n] = span{lo, hi}
			return true
		}
		m.steps += len(in) >> 2
	}
}

// fits reports whether symbols of one token each match the tokens from place at on, which are there.
func (m *machine) fits(elems []elem, in []word, at int32) bool {
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
			if m.inClass(m.words(el.class), in[k:k+1]) {
				return false
			}
		}
		m.caps[el.n] = span{at + int32(k), at + int32(k) + 1}
	}
	return true
}
