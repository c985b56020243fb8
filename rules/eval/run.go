package eval

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"waybill/rules/addr"
	"waybill/rules/prog"
	"waybill/rules/trace"
)

// Statuses of a run, from sysexits.h.
const (
	OK       = 0
	DataErr  = 65 // a workspace or a value grew too long, or a value could not be cut into tokens
	TempFail = 75 // a table said "not now", or the budget of steps is used up
	Config   = 78 // unknown ruleset, too deep recursion, a capture that does not exist
)

// Result is what a run made of its tokens.
type Result struct {
	Tokens []addr.Token
	Status int
	// Rule is the rule whose replacement resolved, that is, began with $#; nil when none did.
	Rule *prog.Rule
	// Complete is false when the ruleset ended before its time, so that no "returns" line belongs to it.
	Complete bool
}

// Error is what Run returns when its status is not OK.
type Error struct {
	Status  int
	Ruleset string
	Rule    *prog.Rule // nil when no rule is to blame
	Text    string
	Err     error // of a table; nil otherwise
}

func (e *Error) Error() string {
	s := "ruleset " + e.Ruleset
	if e.Rule != nil && e.Rule.Pos.Line > 0 {
		s = e.Rule.Pos.String() + ": " + s
	}
	return fmt.Sprintf("%s: %s (status %d)", s, e.Text, e.Status)
}

func (e *Error) Unwrap() error { return e.Err }

// NotNow is the Err of an Error about a table that could not answer.
type NotNow struct {
	Table, Key string
	Err        error
	Marked     bool // the rules were told, by a mark behind the key (-T), and have made up their minds
}

func (e *NotNow) Error() string { return "table " + e.Table + ": " + e.Err.Error() }

func (e *NotNow) Unwrap() error { return e.Err }

// Temporary reports whether trying later may help.
func (e *Error) Temporary() bool { return e.Status == TempFail }

// ErrBudget is in the error of a run that one of the limits has ended.
var ErrBudget = errors.New("the rules ran too long")

// machine is one run. Workspaces lie in one arena, each behind that of its caller.
type machine struct {
	e         *Engine
	ctx       context.Context
	st        *State
	wants     trace.Kind
	mem       []word
	caps      []span
	stack     []openItem
	memo      []uint64
	buf       []byte
	toks      []addr.Token
	text2     []byte
	texts     []addr.Token    // of words: those that every machine has, then those of this run
	info      []word          // what is known of each
	kept      strings.Builder // strings that may outlive the run
	args      []string        // of a lookup
	cuts      [64]cut
	argOps    [][]word
	asking    []word    // the words of a question, or of an answer
	put       tokens    // of an answer
	argAt     []span    // where they are in the arena
	rec       *recorder // of this run; nil: it is not recorded
	recorder  recorder
	said      said
	lines     *trace.Text // shows Enter and Leave; nil: the tracer does
	shown     []word      // the workspace that was shown last
	line      []byte      // as it was shown
	mask      bits        // of the workspace that replace has made
	check     int         // steps at which tick looks at the limit and the context
	own       State       // when the caller gave none, or one without macros
	ownMacros Macros
	event     trace.Event // the last one; tracers may not keep it
	steps     int
	depth     int
	rule      *prog.Rule // that resolved
	err       *Error     // first trouble
	hollow    bool       // a value without tokens has ended the ruleset, and empties what it is about
	abort     bool       // budget, context or a condition's trouble: everything ends at once
	final     int        // the status with which it ends then
	next      int        // behind the last lookup
	cur       *ruleset   // being evaluated, for messages
	curIdx    int
}

// Run evaluates ruleset number index of the program over tokens. The error is an *Error or the context's; with one,
// the tokens are what sendmail would have gone on with, and must not be used for a decision: a status is "not now" or
// "not possible", never "no". The tokens given are not changed.
func (e *Engine) Run(ctx context.Context, index int, tokens []addr.Token, st *State) (Result, error) {
	if index < 0 || index >= len(e.sets) {
		return Result{Tokens: tokens, Status: Config}, &Error{Status: Config, Ruleset: fmt.Sprint(index), Text: "no such ruleset"}
	}
	return e.run(ctx, e.sets[index], tokens, st)
}

// RunNamed is Run for a name, or a number from 0 to 99; a number that nobody defined is an empty ruleset [11].
func (e *Engine) RunNamed(ctx context.Context, name string, tokens []addr.Token, st *State) (Result, error) {
	rs := e.find(name)
	if rs == nil {
		return Result{Tokens: tokens, Status: Config}, &Error{Status: Config, Ruleset: name, Text: "no such ruleset"}
	}
	return e.run(ctx, rs, tokens, st)
}

// find returns the ruleset with a name or number, nil when there is none.
func (e *Engine) find(name string) *ruleset {
	if rs, ok := e.byName[name]; ok {
		return rs
	}
	n := 0
	for i := 0; i < len(name); i++ {
		if name[i] < '0' || name[i] > '9' || i > 2 {
			return nil
		}
		n = n*10 + int(name[i]-'0')
	}
	if name == "" || n >= len(e.numbers) {
		return nil
	}
	if rs, ok := e.byName[fmt.Sprint(n)]; ok { // "03"
		return rs
	}
	return e.numbers[n]
}

func (e *Engine) run(ctx context.Context, rs *ruleset, tokens []addr.Token, st *State) (Result, error) {
	m := e.pool.Get().(*machine)
	defer m.release()
	m.ctx, m.st = ctx, st
	if st == nil || st.Macros == nil {
		m.own = State{}
		if st != nil {
			m.own = *st
		}
		m.ownMacros = Macros{base: e.prog.Macros}
		m.own.Macros = &m.ownMacros
		m.st = &m.own
	}
	if st != nil && st.Tracer != nil {
		m.wants = trace.All
		if c, ok := st.Tracer.(trace.Chooser); ok {
			m.wants = c.Wants()
		}
		if l, ok := st.Tracer.(trace.Liner); ok {
			m.lines = l.Lines()
			m.shown, m.line = m.shown[:0], append(m.line[:0], '\n')
		}
	}
	if st != nil && st.Steps != nil {
		m.steps = *st.Steps
		defer func() { *st.Steps = m.steps }()
	}
	if st != nil && len(tokens) > 0 && len(tokens) == len(st.ids) && len(st.Out) > 0 && &tokens[0] == &st.Out[0] && st.idsOf == e.octets {
		for i, t := range tokens {
			m.mem = append(m.mem, m.add(t, st.ids[i]))
		}
	} else {
		for _, t := range tokens { // each has a place of its own, so that places depend on their number alone
			if len(t) == 1 {
				m.mem = append(m.mem, m.add(t, e.octets.single[t[0]].known()))
			} else {
				m.push(t)
			}
		}
	}
	var status int
	var complete bool
	quiet := m.wants == 0 && m.lines == nil || m.wants == linesOnly && m.lines != nil
	if e.paths != nil && quiet && len(m.mem) <= maxShape && ctx.Err() == nil {
		status, complete = m.known(rs)
	} else {
		status, complete = m.ruleset(rs, 0)
	}
	if m.abort {
		status = m.final
		m.mem = m.mem[:min(len(m.mem), MaxTokens)] // where calls were open, their workspaces lie behind each other
	}
	r := Result{Status: status, Rule: m.rule, Complete: complete}
	if st != nil && cap(st.Out) >= len(m.mem) {
		r.Tokens = st.Out[:len(m.mem)]
		st.Out = st.Out[:max(len(st.Out), len(m.mem))]
		st.ids, st.idsOf = st.ids[:0], e.octets
		for i, w := range m.mem {
			r.Tokens[i] = m.text(w)
			st.ids = append(st.ids, w.known())
		}
	} else {
		r.Tokens = make([]addr.Token, len(m.mem))
		for i, w := range m.mem {
			r.Tokens[i] = m.text(w)
		}
	}
	if err := ctx.Err(); err != nil {
		return r, err
	}
	if status != OK {
		if m.err == nil {
			m.err = &Error{Status: status, Ruleset: rs.src.Name, Text: "failed"}
		}
		m.err.Status = status
		return r, m.err
	}
	return r, nil
}

func (m *machine) release() {
	clear(m.toks)
	clear(m.args)
	clear(m.said.list)
	clear(m.said.args)
	clear(m.said.spoken)
	common := len(m.e.consts)
	clear(m.texts[common:])
	m.mem, m.stack, m.buf, m.toks, m.texts, m.info = m.mem[:0], m.stack[:0], m.buf[:0], m.toks[:0], m.texts[:common], m.info[:common]
	if m.st == &m.own {
		m.own, m.ownMacros = State{}, Macros{}
	}
	if m.wants != 0 {
		m.event, m.wants = trace.Event{}, 0
	}
	m.ctx, m.st, m.rec, m.rule, m.err, m.cur, m.lines, m.said.mode, m.said.list, m.said.args, m.said.spoken = nil, nil, nil, nil, nil, nil, nil, sayNothing, m.said.list[:0], m.said.args[:0], m.said.spoken[:0]
	m.check, m.steps, m.depth, m.final, m.next, m.curIdx, m.abort, m.hollow = 0, 0, 0, 0, 0, 0, false, false
	if cap(m.mem) <= 1<<16 && cap(m.texts) <= common+1<<14 {
		m.e.pool.Put(m)
	}
}

// tick spends steps. It returns false when the run has to end now: the budget is used up or the context has ended.
func (m *machine) tick(n int) bool {
	if m.steps += n; m.steps < m.check {
		return true
	}
	return m.look()
}

// look is the rare part of tick.
func (m *machine) look() bool {
	if m.abort {
		return false
	}
	if m.steps > m.e.limit {
		m.err = nil
		m.blame(TempFail, ErrBudget.Error(), ErrBudget)
		m.abort, m.final = true, TempFail
	} else if m.ctx.Err() != nil {
		m.err = nil
		m.blame(TempFail, "cancelled", m.ctx.Err())
		m.abort, m.final = true, TempFail
	}
	if m.check = m.steps + 1024; m.abort {
		m.check = 0
	}
	return !m.abort
}

// blame records the first trouble, with the rule that is being applied.
func (m *machine) blame(status int, text string, err error) {
	if m.err != nil {
		return
	}
	m.err = &Error{Status: status, Text: text, Err: err}
	if m.cur != nil {
		m.err.Ruleset = m.cur.src.Name
		if m.curIdx < len(m.cur.rules) {
			m.err.Rule = m.cur.rules[m.curIdx].src
		}
	}
}

// notNow notes that a table could not answer. One that the rules were not told of counts for more than one that they were.
func (m *machine) notNow(n *NotNow) {
	if m.err != nil {
		if old, ok := m.err.Err.(*NotNow); ok && old.Marked && !n.Marked {
			m.err = nil
		}
	}
	m.blame(TempFail, "table "+n.Table+": "+n.Err.Error(), n)
}

// ruleset rewrites the workspace that begins at base and reaches to the end of the arena. complete is false when it
// ended without a "returns" line.
func (m *machine) ruleset(rs *ruleset, base int) (status int, complete bool) {
	outer, outerIdx := m.cur, m.curIdx
	m.depth++
	m.cur, m.curIdx = rs, len(rs.rules)
	if m.wants&trace.Enter != 0 {
		m.trace(trace.Enter, rs, base)
	}
	if m.depth > MaxDepth+1 { // [29]
		m.cur, m.curIdx = outer, outerIdx // the rule that calls is to blame
		status = m.tooDeep(rs)
		m.depth--
		return status, false
	}
	at, status, complete := m.rewrite(rs, base)
	if at != base {
		n := copy(m.mem[base:], m.mem[at:])
		m.mem = m.mem[:base+n]
	}
	if complete && m.wants&trace.Leave != 0 {
		m.trace(trace.Leave, rs, base)
	}
	m.depth--
	m.cur, m.curIdx = outer, outerIdx
	return status, complete
}

// far is how many tokens old workspaces of a ruleset may take before the arena is tidied up.
const far = 4096

// rewrite tries the rules of a ruleset. The workspace begins at base, and at at afterwards.
func (m *machine) rewrite(rs *ruleset, base int) (at, status int, complete bool) {
	at = base
	n := len(m.mem) - base
	if !m.tick(n + 40) {
		return at, TempFail, false
	}
	mask, ends := maskOf(m.mem[base:]), endsOf(m.mem[base:])
	if uint32(ends) == idMailer { // resolved already: nothing to do
		return at, OK, true
	}
	repeats := 0
	needs, rules := rs.needs, rs.rules
	for i := 0; ; {
		from := i
		for i < len(needs) && needs[i]&^mask != 0 {
			i++
		}
		if i >= len(needs) {
			break
		}
		if i != from {
			repeats = 0
		}
		r := &rules[i]
		if !r.passes(ends, n) {
			i, repeats = i+1, 0
			continue
		}
		m.curIdx = i
		ok, stat := m.matches(r, at)
		if m.abort {
			return at, m.final, false
		}
		status = worse(status, stat)
		if !ok {
			i, repeats = i+1, 0
			continue
		}
		if repeats++; repeats > MaxRepeats { // [26]
			if m.native() {
				return at, m.end(TempFail, fmt.Sprintf("this rule was applied %d times and would be again", MaxRepeats), ErrBudget), false
			}
			m.message(OK, fmt.Sprintf("Infinite loop in ruleset %s, rule %d", rs.src.Name, i+1))
			break
		}
		top := len(m.mem)
		stat, goOn := m.replace(rs, r, i, at, mask)
		status = worse(status, stat)
		if !goOn || m.abort {
			m.mem = m.mem[:top] // what was begun behind the workspace is nothing
			if !m.abort {
				status = stat // whatever came before it
			}
			if m.hollow && m.depth == 1 { // of a ruleset that is called, the workspace stays as it was
				at = top
			}
			m.hollow = false
			return at, status, false
		}
		if at = top; at-base > far {
			k := copy(m.mem[base:], m.mem[at:])
			m.mem, at = m.mem[:base+k], base
		}
		mask, n, ends = m.mask, len(m.mem)-at, endsOf(m.mem[at:])
		if uint32(ends) == idMailer { // [27]
			if m.rule == nil {
				m.rule = r.src
			}
			break
		}
		if r.mode == prog.Return {
			break
		}
		if r.mode == prog.Once {
			i, repeats = i+1, 0
		}
	}
	return at, status, true
}

// endsOf are the numbers of the first and, in the upper half, of the last word.
func endsOf(ws []word) uint64 {
	if len(ws) == 0 {
		return 0
	}
	return uint64(ws[0].id()) | uint64(ws[len(ws)-1])<<32
}

// tooDeep is for calls within calls, too many.
func (m *machine) tooDeep(rs *ruleset) int {
	if m.native() {
		return m.end(TempFail, fmt.Sprintf("the rules call each other more than %d deep", MaxDepth), ErrBudget)
	}
	m.message(Config, fmt.Sprintf("rewrite: excessive recursion (max %d), ruleset %s", MaxDepth, rs.src.Name))
	return Config
}

// native reports whether the rules are of our own language: where sendmail goes on with what a limit has left of an
// address, they say "not now".
func (m *machine) native() bool { return m.e.native }

// worse combines statuses: the first trouble stays, but "not now" beats everything.
func worse(old, stat int) int {
	if old == OK || stat == TempFail {
		return stat
	}
	return old
}

const idMailer = 0x01 // of addr.Mailer, see word

// maskOf has a bit for every literal in the workspace.
func maskOf(ws []word) (mask bits) {
	for _, w := range ws {
		mask |= 1 << (w & 63)
	}
	return mask
}

// matches tries pattern and condition of a rule. The condition may bind more captures, whose tokens go behind the
// workspace; replace takes them away again.
func (m *machine) matches(r *rule, base int) (ok bool, status int) {
	ws := m.mem[base:]
	m.caps = m.caps[:r.caps]
	m.steps += 12
	switch g := r.glob; {
	case g == nil:
		ok = (r.tail == nil || m.globClass(r.tail, ws)) && m.backtrack(r.lhs, r.rest, ws)
	case g.class != none:
		ok = m.globClass(g, ws)
	default:
		ok = m.glob(g, ws)
	}
	if !ok {
		if m.steps > m.e.limit {
			m.tick(0)
		}
		return false, OK
	}
	if r.cond != nil {
		for k := r.wild; k < r.caps; k++ {
			m.caps[k] = span{}
		}
		end := len(m.mem)
		ok, status = m.condition(r, base)
		if !ok {
			m.mem = m.mem[:end]
			return false, status
		}
	}
	if m.wants&trace.Match != 0 {
		m.traceMatch(r, base)
	}
	return true, status
}
