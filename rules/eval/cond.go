package eval

import (
	"bytes"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"waybill/rules/addr"
	"waybill/rules/prog"
	"waybill/rules/table"
)

// holds evaluates a condition against the captures of the workspace at base. What it binds goes behind the arena, as
// captures. A lookup that fails for now gives a status and ends the whole run: it is neither yes nor no.
func (m *machine) holds(c *prog.Cond, base int) (ok bool, status int) {
	if !m.tick(8) {
		return false, TempFail
	}
	switch c.Op {
	case prog.And:
		for _, s := range c.Sub {
			if ok, status = m.holds(s, base); !ok {
				return false, status
			}
		}
		return true, OK
	case prog.Or:
		for _, s := range c.Sub {
			if ok, status = m.holds(s, base); ok || status != OK {
				return ok, status
			}
		}
		return false, OK
	case prog.Not:
		ok, status = m.holds(c.Sub[0], base)
		return !ok && status == OK, status
	case prog.Lookup:
		return m.lookupHolds(c, base)
	case prog.Test:
		return m.testHolds(c, base)
	}
	return true, OK
}

// failedSo reports whether a temporary failure is of the kind that c names: a class, or a code or the beginning of one.
func failedSo(known []string, c *prog.Cond) bool {
	if c.Cmp == prog.IsSet {
		return len(known) > 0
	}
	for _, k := range known {
		if k == c.Value.Text || strings.HasPrefix(k, c.Value.Text+".") {
			return true
		}
	}
	return false
}

func (m *machine) lookupHolds(c *prog.Cond, base int) (ok bool, status int) {
	key := m.condText(c.Key, base)
	var args []string
	for _, a := range c.Args {
		args = append(args, m.condText(a, base))
	}
	to := m.e.askable[c.Table]
	if to.table == nil && !to.setsName && c.Table != healthTable {
		return false, m.end(Config, "no table "+c.Table, nil)
	}
	r, found, err := m.ask(to, key, args)
	if table.Status(err) != OK {
		return false, m.end(table.Status(err), "table "+c.Table+": "+err.Error(), err)
	}
	if !found || c.Bind == 0 {
		return found, OK
	}
	lo := len(m.mem)
	if r.Value != "" && !m.putText(r.Value) {
		return false, m.end(DataErr, "table "+c.Table+": the value for "+key+" is no address", nil)
	}
	m.caps[c.Bind-1] = span{int32(lo - base), int32(len(m.mem) - base)}
	return true, OK
}

// end records trouble that ends the whole run.
func (m *machine) end(status int, text string, err error) int {
	m.blame(status, text, err)
	m.message(OK, text)
	m.abort = true
	m.final = status
	return status
}

// condText is the text of a key or an argument.
func (m *machine) condText(toks []prog.Tok, base int) string {
	var parts []addr.Token
	for _, t := range toks {
		switch t.Kind {
		case prog.Capture:
			c := m.caps[t.N-1]
			for _, w := range m.mem[base+int(c.lo) : base+int(c.hi)] {
				parts = append(parts, m.text(w))
			}
		case prog.RunMacro:
			v, _ := m.macro(t.Text)
			toks, _ := m.e.syntax.SplitStripped(v)
			parts = append(parts, toks...)
		default:
			parts = append(parts, addr.Token(t.Text))
		}
	}
	text := m.e.syntax.Join(parts)
	m.steps += 16 + 4*len(parts) + len(text)/4
	return text
}

func (m *machine) testHolds(c *prog.Cond, base int) (ok bool, status int) {
	f := m.st.Facts
	if f == nil {
		f = &Facts{}
	}
	switch c.Fact.Type() {
	case prog.Integer, prog.Size:
		return compare(c.Cmp, m.integer(f, c.Fact), c.Value.Int), OK
	case prog.Number:
		return compare(c.Cmp, f.Load, c.Value.Float), OK
	case prog.Duration:
		return compare(c.Cmp, int64(f.Age), int64(c.Value.Duration)), OK
	case prog.Daytime:
		if f.Time.IsZero() {
			return false, OK
		}
		return c.Value.Window.Holds(f.Time.Hour()*60 + f.Time.Minute()), OK
	}
	if c.Fact == prog.FactClientName && f.NameLater {
		return false, m.end(TempFail, "the name of the client cannot be looked up now", nil)
	}
	if c.Cmp == prog.In && (c.Fact == prog.FactCapture || c.Fact == prog.FactClient) {
		return m.member(f, c, base), OK
	}
	text, known := m.textFact(f, c)
	switch c.Fact {
	case prog.FactCapture:
		text = m.condText([]prog.Tok{{Kind: prog.Capture, N: c.Cap}}, base)
		known = true
	case prog.FactMacro:
		text, known = m.macro(c.Header)
	case prog.FactFocus:
		for _, w := range m.mem[base:] {
			known = known || m.text(w) == "<"
		}
	}
	if c.Fact == prog.FactError {
		return failedSo(f.Error, c), OK
	}
	switch c.Cmp {
	case prog.Lt, prog.Le, prog.Gt, prog.Ge: // a capture or a macro: its text as a number
		n, err := strconv.ParseInt(text, 10, 64)
		return known && err == nil && compare(c.Cmp, n, c.Value.Int), OK
	case prog.IsSet:
		return known, OK
	case prog.Eq:
		return known && strings.EqualFold(text, c.Value.Text), OK
	case prog.Ne:
		return !strings.EqualFold(text, c.Value.Text), OK
	case prog.In:
		cl := m.e.classes[c.Value.Text]
		if cl == nil || !known {
			return false, OK
		}
		set := m.words(cl)
		if _, ok = set.words[addr.Fold(text)]; ok {
			return true, OK
		}
		if at := strings.LastIndexByte(text, '@'); at >= 0 && (c.Fact == prog.FactSender || c.Fact == prog.FactRecipient) {
			_, ok = set.words[addr.Fold(text[at+1:])] // the domain alone
			return ok, OK
		}
		if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
			return set.holds(a), OK
		}
		return false, OK
	case prog.Matches:
		return known && m.matchFact(c, text, base), OK
	}
	return false, OK
}

// member reports whether a capture, or the client, is in a class. It makes no text of them: most rules ask this, and most
// answers are no.
func (m *machine) member(f *Facts, c *prog.Cond, base int) bool {
	cl := m.e.classes[c.Value.Text]
	if cl == nil {
		return false
	}
	set := m.words(cl)
	if c.Fact == prog.FactClient {
		if !f.Client.IsValid() {
			return false
		}
		m.buf = f.Client.Unmap().AppendTo(m.buf[:0])
		if _, ok := set.words[string(m.buf)]; ok || set.holds(f.Client) {
			return true
		}
		_, ok := set.words[addr.Fold(f.ClientName)]
		return ok && f.ClientName != ""
	}
	at := m.caps[c.Cap-1]
	m.buf = m.buf[:0]
	var last word
	for _, w := range m.mem[base+int(at.lo) : base+int(at.hi)] {
		m.steps += 4
		if w&last&isWord != 0 {
			m.buf = append(m.buf, m.e.blank...)
		}
		last = w
		m.fold(w)
	}
	if _, ok := set.words[string(m.buf)]; ok {
		return true
	}
	if len(set.nets) == 0 || len(m.buf) < 2 || (m.buf[0] < '0' || m.buf[0] > '9') && bytes.IndexByte(m.buf, ':') < 0 && m.buf[0] != '[' {
		return false // no address
	}
	a, err := netip.ParseAddr(strings.Trim(string(m.buf), "[]"))
	return err == nil && set.holds(a)
}

// matchFact matches a text, cut into tokens, against the pattern of a condition.
func (m *machine) matchFact(c *prog.Cond, text string, base int) bool {
	p := m.e.patterns[c]
	if p == nil {
		return false
	}
	lo := len(m.mem)
	toks, _ := m.e.syntax.SplitStripped(text)
	m.steps += 32 + 16*len(toks) + len(text)/2
	for _, t := range toks {
		m.push(t)
	}
	outer := m.caps
	m.caps = make([]span, p.wild)
	ok := m.backtrack(p.lhs, p.rest, m.mem[lo:])
	inner := m.caps
	m.caps = outer
	for i, s := range inner {
		if at := c.Bind - 1 + i; ok && c.Bind > 0 && at < len(m.caps) {
			shift := int32(lo - base)
			m.caps[at] = span{s.lo + shift, s.hi + shift}
		}
	}
	return ok
}

func (m *machine) integer(f *Facts, fact prog.Fact) int64 {
	switch fact {
	case prog.FactSize:
		return f.Size
	case prog.FactPriority:
		return int64(f.Priority)
	case prog.FactAttempts:
		return int64(f.Attempts)
	case prog.FactRecipients:
		return int64(f.Recipients)
	case prog.FactFailures:
		return int64(f.Failures)
	}
	return math.MinInt64
}

// textFact returns a fact that is text; known is false when it is not there.
func (m *machine) textFact(f *Facts, c *prog.Cond) (text string, known bool) {
	switch c.Fact {
	case prog.FactClient:
		if !f.Client.IsValid() {
			return "", false
		}
		return f.Client.Unmap().String(), true
	case prog.FactClientName:
		text = f.ClientName
	case prog.FactHelo:
		text = f.Helo
	case prog.FactSender:
		text = f.Sender
	case prog.FactRecipient:
		text = f.Recipient
	case prog.FactHeader:
		if f.Header == nil {
			return "", false
		}
		return f.Header(c.Header)
	case prog.FactAuth:
		text = f.Auth
	case prog.FactTLS:
		text = f.TLS
	case prog.FactTransport:
		text = f.Transport
	case prog.FactHost:
		text = f.Host
	case prog.FactUser:
		text = f.User
	}
	return text, text != ""
}

func compare[T int64 | float64](cmp prog.Cmp, a, b T) bool {
	switch cmp {
	case prog.Lt:
		return a < b
	case prog.Le:
		return a <= b
	case prog.Gt:
		return a > b
	case prog.Ge:
		return a >= b
	case prog.Eq:
		return a == b
	case prog.Ne:
		return a != b
	case prog.IsSet:
		return a != 0
	}
	return false
}
