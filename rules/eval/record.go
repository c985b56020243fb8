package eval

import "slices"

// recorder notes what an evaluation asks, for a path.
type recorder struct {
	shape   []word
	matter  *relevant
	asked   []question
	answers []answer
	places  []place // memory of the questions
	lines   []line  // that were shown
	steps   int     // of the budget that the questions took
	spoke   bool    // there was a message
	bad     bool    // what happens depends on something else, or on too much
}

func (r *recorder) begin() {
	clear(r.asked)
	clear(r.answers)
	r.asked, r.answers = append(r.asked[:0], question{}), append(r.answers[:0], answer{})
	clear(r.lines)
	r.places, r.lines, r.steps, r.spoke, r.bad = r.places[:0], r.lines[:0], 0, false, false
}

// keep copies the places of words. What was copied before stays where it is, also when the memory moves.
func (r *recorder) keep(ws []word) []place {
	at := len(r.places)
	for _, w := range ws {
		r.places = append(r.places, place(w>>textAt))
	}
	return r.places[at:len(r.places):len(r.places)]
}

// keepOps copies the places of words, and of what captures stand for.
func (r *recorder) keepOps(m *machine, ops []word, base int) []place {
	at := len(r.places)
	for i, o := range ops {
		if o&aCapture == 0 {
			r.keep(ops[i : i+1])
			continue
		}
		c := m.caps[uint32(o)]
		r.keep(m.mem[base+int(c.lo) : base+int(c.hi)])
	}
	return r.places[at:len(r.places):len(r.places)]
}

// mark is the state of a machine before a question.
type mark struct{ texts, steps int }

func (m *machine) mark() mark { return mark{len(m.texts), m.steps} }

// note records a question and its answer.
func (r *recorder) note(m *machine, before mark, q question, code int32, words []word, caps []span) {
	r.steps += m.steps - before.steps
	if len(r.asked) >= maxAsked {
		r.bad = true
		m.rec = nil
		return
	}
	a := answer{code: code, texts: int32(len(m.texts) - before.texts)}
	if len(words)+len(caps) > 0 {
		a.put = &tokens{m.answerShape(nil, words, r.matter), slices.Clone(caps)}
	}
	r.asked, r.answers = append(r.asked, q), append(r.answers, a)
}

// answerShape appends what an answer with these words is compared by: their shape. Where the text is one of the engine's, it
// is that word and no other.
func (m *machine) answerShape(to, ws []word, r *relevant) []word {
	for _, w := range ws {
		if s := r.shapeOf(w); int(w>>textAt) < len(m.e.consts) {
			to = append(to, w&^(1<<textAt-1)|s)
		} else {
			to = append(to, s)
		}
	}
	return to
}

// member is holdsAll while an evaluation is recorded. The same question is not asked twice.
func (r *recorder) member(m *machine, c *class, ws []word) bool {
	memory := len(r.places)
	q := question{kind: askMember, class: c, words: r.keep(ws)}
	for i := range r.asked {
		if o := &r.asked[i]; o.kind == askMember && o.same(&q) {
			r.places = r.places[:memory]
			return r.answers[i].code == 1
		}
	}
	before := m.mark()
	code := int32(0)
	if m.mayBegin(c, ws) && m.holdsAll(m.words(c), ws) {
		code = 1
	}
	r.note(m, before, q, code, nil, nil)
	return code == 1
}

// mayBegin reports whether a member of the class may begin with the first of the words.
func (m *machine) mayBegin(c *class, ws []word) bool {
	t := m.text(ws[0])
	return t != "" && m.words(c).first[t[0]]
}

// isMember reports whether tokens together are a member of the class, whose words are in set.
func (m *machine) isMember(c *class, set *classSet, ws []word) bool {
	if m.rec != nil {
		return m.rec.member(m, c, ws)
	}
	return m.holdsAll(set, ws)
}

// grow is extendClass, recorded if need be.
func (m *machine) grow(c *class, lo, hi, end int32, in []word) int32 {
	if m.rec == nil {
		return m.extendClass(m.words(c), lo, hi, end, in)
	}
	before := m.mark()
	at := m.extendClass(m.words(c), lo, hi, end, in)
	code := at
	if at >= 0 {
		code -= lo
	}
	m.rec.note(m, before, question{kind: askGrow, class: c, least: hi - lo, words: m.rec.keep(in[lo:end])}, code, nil, nil)
	return at
}

// condition is holds for the condition of a rule, recorded if need be.
func (m *machine) condition(r *rule, base int) (ok bool, status int) {
	rec := m.rec
	if rec == nil {
		return m.holds(r.cond, base)
	}
	q := question{kind: askCondition, words: rec.keep(m.mem[base:]), more: &details{rule: r, caps: slices.Clone(m.caps[:r.wild])}}
	before, end := m.mark(), len(m.mem)
	m.rec = nil
	ok, status = m.holds(r.cond, base)
	m.rec = rec
	switch {
	case status != OK || m.abort: // nothing will be learned
	case ok:
		rec.note(m, before, q, 1, m.mem[end:], m.caps[r.wild:r.caps])
	default:
		rec.note(m, before, q, 0, nil, nil)
	}
	return ok, status
}
