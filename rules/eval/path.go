package eval

import (
	"slices"
	"sync/atomic"

	"waybill/rules/addr"
	"waybill/rules/prog"
)

// What rules make of an address depends on two things. One is its shape: how many tokens there are, and which of them are
// words that the rules compare with. The other is what the rules ask about the texts, of classes, tables, macros and
// conditions. Everything between two questions, which is nearly all of the work, follows from the shape and the answers
// so far, and so do the lines of a trace. A path remembers that for one shape: the questions in their order, where each answer leads, and what comes out
// in the end. For an address of the same shape the questions are asked again, all of them and in the same order, and
// nothing else is done; where an answer is new, the rules are gone through, and the path has one branch more. So the
// outcome is that of the rules: only what cannot differ is left out. An evaluation with a tracer that wants more than lines,
// and one in which something goes wrong, always goes through the rules.

// Limits of what is remembered.
const (
	maxShape    = 64      // tokens of an address
	maxAsked    = 256     // questions of one evaluation
	maxBranches = 16      // answers to one question
	maxPath     = 1 << 16 // octets of one path, about
	maxPaths    = 8 << 20 // octets of all paths; when there are more, all are forgotten
	fewPaths    = 2 << 20 // up to here, a shape is remembered when it comes first; behind it, when it comes again
	pathPlaces  = 2048
	pathsAPlace = 4 // so many may be in one place
)

// paths are what an engine remembers.
type paths struct{ now atomic.Pointer[pathTable] }

// pathTable has the paths at places that follow from their shapes: a new one takes the place of an old one.
type pathTable struct {
	slots [pathPlaces][pathsAPlace]slot
	seen  [pathPlaces][pathsAPlace]atomic.Uint32 // marks of shapes that came once: many never come again
	size  atomic.Int64
}

// slot has a path; mark tells of most others that they are not in it.
type slot struct {
	mark atomic.Uint32
	path atomic.Pointer[path]
}

// path is what is remembered of one ruleset and one shape.
type path struct {
	hash  uint64
	set   *ruleset
	shape []word // without the places of texts, and with the numbers of relevant literals only
	first step
	size  atomic.Int64
	never atomic.Bool // it has too many branches: the rules are quicker
}

// step is a question with the answers that came so far.
type step struct {
	question
	branches atomic.Pointer[branch] // the first of a list; new ones come before it
}

// branch is an answer and what follows from it: another question, or the end.
type branch struct {
	answer
	next  *step
	end   *outcome // not nil: it is the end
	other *branch
}

// outcome is what comes out.
type outcome struct {
	words []place
	rule  *prog.Rule
	lines []line // that are shown
	steps int    // of the budget, without those of the questions
}

// line is one of a trace.
type line struct {
	head  string
	words []place
	again bool // they are those of the line before
}

// place is where the text of a word is in the texts of a machine: those of the engine come first, then those of the address,
// then those of the answers, in their order.
type place uint32

// asking is a kind of question.
type asking uint8

const (
	askNothing   asking = iota // the beginning
	askMember                  // are the words together a member of the class?
	askGrow                    // the smallest number of words, at least so many, that are a member of the class
	askTable                   // what is the value for the words?
	askMacro                   // what is the value of the macro?
	askSame                    // how many of the words are the value of the macro?
	askCut                     // into which tokens is the text of the words cut?
	askCondition               // does the condition hold for the words?
)

// question is something about an address that its shape does not tell.
type question struct {
	kind  asking
	least int32  // askGrow
	name  uint32 // askTable: the name's place in the engine's constants
	class *class
	words []place
	more  *details // nil: none
}

// details are what few questions have.
type details struct {
	rule  *rule // askCondition
	macro string
	args  [][]place // askTable
	caps  []span    // askCondition
}

// answer is what the evaluation goes on with: a number, and perhaps tokens and captures.
type answer struct {
	code  int32
	texts int32   // how many texts the machine has more
	put   *tokens // nil: none
}

// tokens are those of an answer.
type tokens struct {
	words []word // their shape; those whose text is the engine's, as they are
	caps  []span
}

func (q *question) same(o *question) bool {
	if q.kind != o.kind || q.least != o.least || q.name != o.name || q.class != o.class || !slices.Equal(q.words, o.words) || (q.more == nil) != (o.more == nil) {
		return false
	}
	a, b := q.more, o.more
	return a == nil || a.rule == b.rule && a.macro == b.macro && slices.Equal(a.caps, b.caps) && slices.EqualFunc(a.args, b.args, slices.Equal[[]place])
}

func (a *answer) same(o *answer) bool {
	if a.code != o.code || a.texts != o.texts || a.put == nil || o.put == nil {
		return a.code == o.code && a.texts == o.texts && a.put == o.put
	}
	return slices.Equal(a.put.words, o.put.words) && slices.Equal(a.put.caps, o.put.caps)
}

// find returns the branch of an answer; nil when there is none.
func (s *step) find(a *answer) *branch {
	for b := s.branches.Load(); b != nil; b = b.other {
		if b.answer.same(a) {
			return b
		}
	}
	return nil
}

// findCode is find for an answer that is a number alone.
func (s *step) findCode(code int32) *branch {
	b := s.branches.Load()
	for b != nil && b.code != code {
		b = b.other
	}
	return b
}

// relevant are the literals that a ruleset, or one that it calls, compares with.
type relevant struct {
	all  bool // a call names its ruleset by what matched: it may be any
	bits []uint64
}

func (r *relevant) has(id uint32) bool {
	return id-1 < lastMeta || r.all || int(id>>6) < len(r.bits) && r.bits[id>>6]>>(id&63)&1 != 0
}

// relevant finds the literals that matter to a ruleset.
func (e *Engine) relevant(rs *ruleset) *relevant {
	if r := rs.relevant.Load(); r != nil {
		return r
	}
	r := &relevant{}
	seen := map[*ruleset]bool{}
	var visit func(rs *ruleset)
	visit = func(rs *ruleset) {
		if rs == nil || seen[rs] {
			return
		}
		seen[rs] = true
		for _, src := range rs.src.Rules {
			for _, t := range src.LHS {
				if t.Kind != prog.Literal {
					continue
				}
				if id := e.ids[addr.Fold(t.Text)]; id != 0 {
					for int(id>>6) >= len(r.bits) {
						r.bits = append(r.bits, 0)
					}
					r.bits[id>>6] |= 1 << (id & 63)
				}
			}
			for i, t := range src.RHS {
				switch {
				case t.Kind != prog.Call:
				case i+1 < len(src.RHS) && src.RHS[i+1].Kind == prog.Literal:
					called, _ := e.callee(addr.Token(src.RHS[i+1].Text))
					visit(called)
				default:
					r.all = true
				}
			}
		}
	}
	visit(rs)
	rs.relevant.Store(r)
	return r
}

// shapeOf is what the rules see of a word when they ask nothing.
func (r *relevant) shapeOf(w word) word {
	s := w & (isWord | isOdd)
	if id := w.id(); id != 0 && r.has(id) {
		s |= word(id)
	}
	return s
}

// hashOf tells shapes from others; its lower bits are their place in a table.
func hashOf(rs *ruleset, shape []word) uint64 {
	const prime = 0x9e3779b97f4a7c15
	h := uint64(rs.src.Index+1) * prime
	for _, w := range shape {
		h = (h ^ uint64(w)) * prime
		h ^= h >> 32
	}
	return h
}

// markOf is what marks a hash among those of its place; never 0.
func markOf(h uint64) uint32 { return uint32(h>>32) | 1 }

// table is the table of this moment.
func (p *paths) table() *pathTable {
	t := p.now.Load()
	if t == nil {
		p.now.CompareAndSwap(nil, new(pathTable))
		t = p.now.Load()
	}
	return t
}

// find returns what is remembered of a shape; nil when nothing is.
func (t *pathTable) find(h uint64, rs *ruleset, shape []word) *path {
	slots := &t.slots[h%pathPlaces]
	for i := range slots {
		s := &slots[i]
		if s.mark.Load() != markOf(h) {
			continue
		}
		if p := s.path.Load(); p != nil && p.set == rs && slices.Equal(p.shape, shape) {
			return p
		}
	}
	return nil
}

// put gives a path a place, from which it pushes the oldest.
func (t *pathTable) put(p *path) {
	slots := &t.slots[p.hash%pathPlaces]
	for i := range slots {
		h := p.hash
		p = slots[i].path.Swap(p)
		if slots[i].mark.Store(markOf(h)); p == nil {
			break
		}
	}
}

// again reports whether a shape came before, lately.
func (t *pathTable) again(h uint64) bool {
	seen := &t.seen[h%pathPlaces]
	old := markOf(h)
	for i := range seen {
		if old = seen[i].Swap(old); old == markOf(h) {
			return true
		}
	}
	return false
}

// learn adds what an evaluation has asked and made to a path; nil is one that does not exist yet.
func (p *paths) learn(t *pathTable, h uint64, known *path, rs *ruleset, r *recorder, out *outcome) {
	if known == nil {
		known = &path{hash: h, set: rs, shape: slices.Clone(r.shape)}
		known.grow(t, &known.first, r, 0, out)
		t.put(known)
	} else {
		at := &known.first
		for i := range r.asked {
			if !at.same(&r.asked[i]) { // a class has changed meanwhile
				return
			}
			b := at.find(&r.answers[i])
			if b == nil {
				known.grow(t, at, r, i, out)
				break
			}
			if b.end != nil { // somebody was faster
				return
			}
			at = b.next
		}
	}
	if t.size.Load() > maxPaths {
		p.now.CompareAndSwap(t, new(pathTable))
	}
}

// giveUp has the rules gone through for a shape from now on.
func (p *paths) giveUp(t *pathTable, h uint64, known *path, rs *ruleset, r *recorder) {
	if known == nil {
		known = &path{hash: h, set: rs, shape: slices.Clone(r.shape)}
		t.size.Add(int64(100 + 8*len(r.shape)))
		t.put(known)
	}
	known.never.Store(true)
}

// grow adds a branch for the answer to the question of this number, and all that follows it.
func (p *path) grow(t *pathTable, at *step, r *recorder, number int, out *outcome) {
	others, count := at.branches.Load(), 1
	for b := others; b != nil; b = b.other {
		count++
	}
	if count > maxBranches || p.size.Load() > maxPath {
		p.never.Store(true)
		return
	}
	rest := r.asked[number+1:]
	n := len(out.words)
	for i := range rest {
		n += len(rest[i].words)
	}
	lines := slices.Clone(out.lines)
	for i := range lines {
		if lines[i].again = i > 0 && slices.Equal(out.lines[i].words, out.lines[i-1].words); !lines[i].again {
			n += len(lines[i].words)
		}
	}
	places := make([]place, 0, n)
	keep := func(ps []place) []place {
		from := len(places)
		places = append(places, ps...)
		return places[from:len(places):len(places)]
	}
	links := make([]struct {
		branch
		step
	}, len(rest)+1)
	for i := range lines {
		if l := &lines[i]; l.again {
			l.words = nil
		} else {
			l.words = keep(l.words)
		}
	}
	size := 4*n + 120*len(links) + 48*len(lines) + 100
	for i := range links {
		l := &links[i]
		l.answer = r.answers[number+i]
		if t := l.answer.put; t != nil {
			l.answer.put = &tokens{slices.Clone(t.words), slices.Clone(t.caps)}
			size += 48 + 8*len(t.words) + 8*len(t.caps)
		}
		if i == len(rest) {
			l.branch.end = &outcome{keep(out.words), out.rule, lines, out.steps}
			break
		}
		l.step.question = rest[i]
		l.step.words = keep(rest[i].words)
		l.step.branches.Store(&links[i+1].branch)
		l.branch.next = &l.step
		if q := rest[i].more; q != nil { // the recorder has made them for this question alone
			size += 100 + 8*len(q.caps) + 64*len(q.args)
		}
	}
	first := &links[0].branch
	first.other = others
	p.size.Add(int64(size))
	t.size.Add(int64(size))
	at.branches.CompareAndSwap(others, first)
}
