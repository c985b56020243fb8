package eval

import "waybill/rules/prog"

// span is a part of a workspace: tokens from lo up to, not including, hi.
type span struct{ lo, hi int32 }

// openItem is a symbol that can take more tokens than it has.
type openItem struct {
	sym    int32
	lo, hi int32
}

// remember is the number of extensions after which a match starts to remember what failed. Most matches end earlier,
// and remembering costs clearing a table.
const remember = 128

// backtrack matches a pattern against the tokens in and leaves what the wildcards took in m.caps. It tries what sendmail
// tries, in the same order: every open item takes as little as it can, and when the rest fails, the last open one
// takes more [20] [21]. That order is a depth-first search; so a pair (symbol, position) that failed once will fail
// again, and remembering the pairs makes the time polynomial without changing the result.
func (m *machine) backtrack(lhs []sym, rest []int32, in []word) bool {
	n := int32(len(in))
	stack := m.stack[:0]
	var (
		i, j     int32
		extended int
		memo     []uint64 // bit (i*(n+1)+j): lhs[i:] does not match in[j:]
	)
	for {
		ok := n-j >= rest[i]
		if ok && int(i) == len(lhs) {
			if j == n {
				m.stack = stack[:0]
				return true
			}
			ok = false
		}
		if ok {
			s := &lhs[i]
			switch s.kind {
			case prog.Literal:
				if in[j].id() == s.id {
					i, j = i+1, j+1
					continue
				}
			case prog.One:
				m.caps[s.n] = span{j, j + 1}
				i, j = i+1, j+1
				continue
			case prog.NotInClass:
				if !m.inClass(s.class, in[j:j+1]) {
					m.caps[s.n] = span{j, j + 1}
					i, j = i+1, j+1
					continue
				}
			case prog.RunMacro: // at the very end, not even an undefined one matches
				if j == n {
					break
				}
				if k, same := m.sameAsMacro(s.text, in[j:]); same {
					i, j = i+1, j+k
					continue
				}
			default: // ZeroOrMore, OneOrMore, InClass
				if memo != nil && failed(memo, i, j, n) {
					break
				}
				hi := j - 1
				if s.kind != prog.ZeroOrMore {
					hi = j
				}
				stack = append(stack, openItem{i, j, hi})
			}
		}
		// Extend the last open item; a new one gets its first tokens here.
		for {
			if len(stack) == 0 {
				m.stack = stack[:0]
				m.steps += extended
				return false
			}
			top := &stack[len(stack)-1]
			s := &lhs[top.sym]
			if hi := m.extend(s, top, lhs, rest, in); hi >= 0 {
				top.hi = hi
				m.caps[s.n] = span{top.lo, hi}
				i, j = top.sym+1, hi
				break
			}
			if memo != nil {
				fail(memo, top.sym, top.lo, n)
			}
			stack = stack[:len(stack)-1]
		}
		if extended++; extended == remember {
			words := (len(lhs)*int(n+1) + 63) / 64
			if cap(m.memo) < words {
				m.memo = make([]uint64, words)
			}
			memo = m.memo[:words]
			clear(memo)
		}
		if extended&127 == 0 && m.steps+extended > m.e.limit {
			m.stack = stack[:0]
			m.steps += extended
			return false // the caller sees the budget
		}
	}
}

func failed(memo []uint64, i, j, n int32) bool {
	b := int(i)*int(n+1) + int(j)
	return memo[b>>6]&(1<<(b&63)) != 0
}

func fail(memo []uint64, i, j, n int32) {
	b := int(i)*int(n+1) + int(j)
	memo[b>>6] |= 1 << (b & 63)
}

// extend returns the next end for an open item: the smallest one behind top.hi with which the symbols that follow
// can match at all, as far as a look at the next one and at the number of tokens tells. It returns -1 when there is none.
func (m *machine) extend(s *sym, top *openItem, lhs []sym, rest []int32, in []word) int32 {
	last := int32(len(in)) - rest[top.sym+1]
	hi := top.hi + 1
	if hi > last {
		return -1
	}
	if s.kind == prog.InClass {
		return m.grow(s.class, top.lo, hi, last, in)
	}
	next := int(top.sym) + 1
	if next == len(lhs) {
		return last // the last symbol has to take everything
	}
	if l := &lhs[next]; l.kind == prog.Literal {
		first := hi
		for ; hi <= last; hi++ {
			if in[hi].id() == l.id {
				m.steps += int(hi-first) >> 3
				return hi
			}
		}
		m.steps += int(hi-first) >> 3
		return -1
	}
	return hi
}

// extendClass finds the smallest end at or behind hi for which in[lo:end] is a member of the class.
func (m *machine) extendClass(set *classSet, lo, hi, end int32, in []word) int32 {
	m.buf = m.buf[:0]
	var last word
	for k := lo; k < end; k++ {
		m.steps++
		w := in[k]
		if k == lo {
			if t := m.text(w); t == "" || !set.first[t[0]] {
				return -1
			}
		}
		if w&last&isWord != 0 { // the blank substitute counts here too
			m.buf = append(m.buf, m.e.blank...)
		}
		last = w
		m.fold(w)
		if len(m.buf) > set.max {
			return -1
		}
		if k+1 < hi || len(m.buf) < 64 && set.sizes>>(len(m.buf)&63)&1 == 0 {
			continue
		}
		if _, ok := set.words[string(m.buf)]; ok {
			return k + 1
		}
	}
	return -1
}

// holdsAll reports whether the tokens together are a member of the class; the first one has the beginning of one.
func (m *machine) holdsAll(set *classSet, toks []word) bool {
	m.steps += len(toks)
	n := 0
	var last word
	for _, w := range toks {
		n += len(m.text(w))
		if w&last&isWord != 0 { // the blank substitute counts here too
			n += len(m.e.blank)
		}
		if last = w; n > set.max {
			return false
		}
	}
	if n < 64 && set.sizes>>n&1 == 0 {
		return false
	}
	if len(toks) == 1 && toks[0]&isFolded != 0 {
		_, ok := set.words[string(m.text(toks[0]))]
		return ok
	}
	m.buf, last = m.buf[:0], 0
	for _, w := range toks {
		if w&last&isWord != 0 {
			m.buf = append(m.buf, m.e.blank...)
		}
		last = w
		m.fold(w)
	}
	_, ok := set.words[string(m.buf)]
	return ok
}

// fold appends the text of a word, in lower case.
func (m *machine) fold(w word) {
	if t := m.text(w); w&isFolded != 0 {
		m.buf = append(m.buf, t...)
	} else {
		m.buf = appendFold(m.buf, string(t))
	}
}

// inClass reports whether the tokens together are a member of the class.
func (m *machine) inClass(c *class, toks []word) bool {
	if m.rec != nil {
		return m.rec.member(m, c, toks)
	}
	set := m.words(c)
	if len(toks) == 1 {
		if t := m.text(toks[0]); len(t) == 1 {
			c := t[0]
			if c >= 'A' && c <= 'Z' {
				c |= 0x20
			}
			return set.single[c]
		} else if len(t) < 64 && set.sizes>>len(t)&1 == 0 {
			return false
		}
	}
	m.buf = m.buf[:0]
	for _, w := range toks {
		m.fold(w)
	}
	if len(m.buf) < 64 && set.sizes>>(len(m.buf)&63)&1 == 0 {
		return false
	}
	_, ok := set.words[string(m.buf)]
	return ok
}

// sameAsMacro compares the value of a macro with the beginning of in, and returns how many tokens it is: their text one
// behind the other must be the value. So a value with a blank in it never matches, and an undefined macro is no tokens
// at all [24].
func (m *machine) sameAsMacro(name string, in []word) (k int32, same bool) {
	if r := m.rec; r != nil {
		before := m.mark()
		m.rec = nil
		k, same = m.sameAsMacro(name, in)
		code := k
		if m.rec = r; !same {
			code = -1
		}
		r.note(m, before, question{kind: askSame, words: r.keep(in), more: &details{macro: name}}, code, nil, nil)
		return k, same
	}
	value, _ := m.macro(name)
	n := 0
	for value != "" {
		if n == len(in) {
			return 0, false
		}
		t := string(m.text(in[n]))
		if t == "" || len(t) > len(value) || !equalFold(t, value[:len(t)]) {
			return 0, false
		}
		value = value[len(t):]
		n++
	}
	m.steps += n
	return int32(n), true
}

// equalFold compares texts of the same length without regard to case, ASCII only.
func equalFold(a, b string) bool {
	for i := 0; i < len(a); i++ {
		x, y := a[i], b[i]
		if x >= 'A' && x <= 'Z' {
			x |= 0x20
		}
		if y >= 'A' && y <= 'Z' {
			y |= 0x20
		}
		if x != y {
			return false
		}
	}
	return true
}

// appendFold appends text in lower case, ASCII only.
func appendFold(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		b = append(b, c)
	}
	return b
}
