package cf

import (
	"os/user"
	"sort"
	"strconv"
	"strings"

	"waybill/rules/prog"
)

// Mailer is one M line.
type Mailer struct {
	Name  string
	Pos   prog.Pos // zero for the built-in ones
	Path  string   // P=
	Flags string   // F=, each once, sorted
	// The rulesets that rewrite sender and recipient addresses of the envelope and of headers; nil: none.
	EnvSender, HdrSender, EnvRcpt, HdrRcpt *prog.Ruleset
	MaxSize                                int64        // M=, octets; 0: no limit
	LineLimit                              int          // L=
	EOL                                    string       // E=
	Types                                  [3]string    // T=: MTA, address, diagnostic; empty: undefined
	MaxMsgs                                int          // m=
	MaxRcpts                               int          // r=
	UID, GID                               int          // U=; -1: not given
	Dir, Charset, Queue, Root              string       // D=, C=, Q=, /=
	Nice, Wait                             int          // N=, W= (seconds)
	Args                                   string       // A=, references as "$x"
	Equates                                []prog.Param // all of them, as they are written
	pathGiven, typesGiven                  bool
}

// Has reports whether a flag is set.
func (m *Mailer) Has(flag byte) bool { return strings.IndexByte(m.Flags, flag) >= 0 }

// flags sorts the letters and leaves each once.
func sortFlags(s string) string {
	b := []byte(s)
	sort.Slice(b, func(i, j int) bool { return b[i] < b[j] })
	out := b[:0]
	for i, c := range b {
		if c > ' ' && (i == 0 || c != b[i-1]) {
			out = append(out, c)
		}
	}
	return string(out)
}

// defaultMailers are there before the file is read; the file may define them anew.
func (r *reader) defaultMailers() {
	unix := [3]string{"X-Unix", "X-Unix", "X-Unix"}
	r.cfg.Mailers = []*Mailer{
		{Name: "prog", Path: "/bin/sh", Flags: sortFlags("lsDoqu9"), EOL: "\n", Types: unix, MaxRcpts: 100, UID: -1, GID: -1, Args: "sh -c $u"},
		{Name: "*file*", Path: "[FILE]", Flags: sortFlags("lsDFMPEouq9"), EOL: "\n", Types: unix, MaxRcpts: 100, UID: -1, GID: -1, Args: "FILE $u"},
		{Name: "*include*", Path: "/dev/null", Flags: "su", EOL: "\n", MaxRcpts: 100, UID: -1, GID: -1, Args: "INCLUDE $u"},
	}
}

// mailerLine reads "Mname, P=path, F=flags, ...".
func (r *reader) mailerLine(body string) {
	name, rest := cutName(body)
	if name = unmarked(name); name == "" {
		r.errorf("name required for mailer")
		return
	}
	rest = strings.TrimLeft(rest, " \t,")
	m := &Mailer{Name: name, Pos: r.pos(), MaxRcpts: 100, UID: -1, GID: -1}
	args := false
	for more := rest != ""; more; {
		rest = strings.TrimLeft(rest, " \t,")
		if rest == "" {
			r.errorf("mailer %s: `=' expected", name)
			return
		}
		key := rest[0]
		i := 0
		for i < len(rest) && rest[i] != '=' && rest[i] != ',' {
			i++
		}
		if i == len(rest) || rest[i] != '=' {
			r.errorf("mailer %s: `=' expected", name)
			return
		}
		var value string
		value, rest, more = cutEquate(strings.TrimLeft(rest[i+1:], " \t"))
		if key == 'A' {
			args = true
		}
		if !r.equate(m, key, value) {
			return
		}
	}
	r.addMailer(m, args)
}

// addMailer completes a mailer and keeps it, when it has all that it needs.
func (r *reader) addMailer(m *Mailer, args bool) {
	name := m.Name
	if !args {
		r.errorf("M%s: A= argument required", name)
		return
	}
	if !m.pathGiven {
		r.errorf("M%s: P= argument required", name)
		return
	}
	if m.Path == "[TCP]" {
		r.errorf("M%s: P=[TCP] must be replaced by P=[IPC]", name)
		return
	}
	network := m.Path == "[IPC]"
	if network && len(strings.Fields(m.Args)) < 2 {
		r.errorf("M%s: too few parameters for [IPC] mailer", name)
		return
	}
	first, _, _ := strings.Cut(m.Args, " ")
	if network && first != "TCP" && first != "FILE" {
		r.say("M%s: Warning: first argument in [IPC] mailer must be TCP or FILE", name)
	}
	if m.EOL == "" {
		m.EOL = "\n"
		if !strings.Contains(m.Args, "$u") { // it speaks SMTP
			m.EOL = "\r\n"
		}
	}
	if network || m.typesGiven {
		standard := [3]string{"dns", "rfc822", "smtp"}
		if first == "FILE" {
			standard[2] = "x-unix"
		}
		for i, t := range m.Types {
			if t == "" {
				m.Types[i] = standard[i]
			}
		}
	}
	local, program := equalFold(name, "local"), equalFold(name, "prog")
	if r.cfg.Level < 6 && local {
		m.Flags += "Aw5:|/@"
	}
	if r.cfg.Level < 6 && program {
		m.Flags += "o"
	}
	if r.cfg.Level < 7 && (local || program) {
		m.Flags += "q"
	}
	m.Flags = sortFlags(m.Flags)
	if m.Has('L') && m.LineLimit == 0 {
		m.LineLimit = oldLineLimit
	}
	r.noteMailer(m)
	if program || name == "*file*" || name == "*include*" { // they take one recipient at a time
		m.Flags = strings.ReplaceAll(m.Flags, "m", "")
	}
	for i, old := range r.cfg.Mailers {
		if equalFold(old.Name, name) {
			r.cfg.Mailers[i] = m
			return
		}
	}
	if len(r.cfg.Mailers) >= maxMailers {
		r.errorf("too many mailers defined (%d max)", maxMailers)
		return
	}
	r.cfg.Mailers = append(r.cfg.Mailers, m)
}

// oldLineLimit is what the flag L, older than L=, limits lines to.
const oldLineLimit = 990

// noteMailer tells how the fields and flags of a mailer are honoured.
func (r *reader) noteMailer(m *Mailer) {
	if r.opt.NoNotes {
		return
	}
	r.note("mailer "+m.Name, Exact, "")
	for _, f := range []struct {
		given bool
		what  string
		e     entry
	}{
		{m.Charset != "", "C=" + m.Charset, entry{how: Ignored, why: "8-bit text without a label stays without one"}},
		{m.Nice != 0, "N=", entry{how: Ignored, why: "programs run with the priority of the daemon"}},
		{m.Wait != 0, "W=", entry{how: Approximated, why: "the daemon's own limit for programs counts"}},
		{m.Root != "", "/=", entry{how: Ignored, harm: true, why: "programs run below no other root"}},
		{m.Queue != "", "Q=", entry{how: Approximated, why: "there is one queue; the group's directory is not used"}},
		{m.MaxSize != 0, "M=", entry{how: Approximated, why: "counted as the message lies in the queue"}},
		{m.EOL != "" && m.EOL != "\n" && m.EOL != "\r\n", "E=", entry{how: Ignored, harm: true, why: "lines end with CRLF for SMTP, and with LF for programs and files"}},
	} {
		if f.given {
			r.noteEntry("mailer "+m.Name+" field "+f.what, f.e)
		}
	}
	for i := range len(m.Flags) {
		e := r.flagInfo(m.Flags[i])
		if e.letter == 'e' && !r.cfg.Bool("HoldExpensive", false) { // nobody asks for it
			e.how, e.harm, e.why = Exact, false, ""
		}
		r.noteEntry("mailer "+m.Name+" flag "+m.Flags[i:i+1]+" ("+e.name+")", e)
	}
}

// maxMailers is how many mailers sendmail has room for.
const maxMailers = 25

// cutName cuts the name off a line of equates: it ends at a comma or at a blank.
func cutName(body string) (name, rest string) {
	i := strings.IndexAny(body, ", \t")
	if i < 0 {
		return body, ""
	}
	return body[:i], body[i:]
}

// unmarked is marked text without the marks, as the real one shows text in which macros mean nothing.
func unmarked(s string) string { return strings.ReplaceAll(s, string(rune(mark)), "") }

// cutEquate cuts the value of an equate off: up to a comma that no backslash protects. more tells whether there was one.
func cutEquate(s string) (value, rest string, more bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && s[i+1] == ',':
			b.WriteByte(',')
			i++
		case s[i] == '\\' && i+1 < len(s):
			b.WriteString(s[i : i+2])
			i++
		case s[i] == ',':
			return strings.TrimRight(b.String(), " \t"), s[i+1:], true
		default:
			b.WriteByte(s[i])
		}
	}
	return strings.TrimRight(b.String(), " \t"), "", false
}

// equate takes one equate of a mailer. It returns false when the mailer cannot be kept.
func (r *reader) equate(m *Mailer, key byte, value string) bool {
	text := unmarked(value)
	m.Equates = append(m.Equates, prog.Param{Name: string(key), Value: plain(value), Pos: r.pos()})
	switch key {
	case 'P':
		m.Path, m.pathGiven = text, true
	case 'F':
		m.Flags += text
	case 'E':
		if m.EOL = unescape(text); text == "" {
			r.errorf("mailer %s: null end-of-line string", m.Name)
			return false
		}
	case 'A':
		if a := strings.Join(strings.Fields(plain(value)), " "); a != "" {
			m.Args = a
		}
	case 'M':
		m.MaxSize, _ = strconv.ParseInt(leadingNumber(text), 10, 64)
	case 'L':
		m.LineLimit, _ = strconv.Atoi(leadingNumber(text))
	case 'm':
		m.MaxMsgs, _ = strconv.Atoi(leadingNumber(text))
	case 'r':
		if m.MaxRcpts, _ = strconv.Atoi(leadingNumber(text)); m.MaxRcpts <= 0 {
			m.MaxRcpts = 100
		}
	case 'N':
		m.Nice, _ = strconv.Atoi(leadingNumber(text))
	case 'W':
		r.checkTime(text)
		m.Wait = Seconds(text)
	case 'D':
		if m.Dir = plain(value); text == "" {
			r.errorf("mailer %s: null working directory", m.Name)
			return false
		}
	case 'C':
		if m.Charset = text; text == "" {
			r.errorf("mailer %s: null charset", m.Name)
			return false
		}
	case 'Q':
		if m.Queue = text; !r.queueKnown(text) {
			r.errorf("mailer %s: unknown queue %s", m.Name, text)
			m.Queue = ""
		}
	case '/':
		m.Root = text
	case 'T':
		m.typesGiven = true
		part := strings.SplitN(text, "/", 3)
		for i := range part {
			m.Types[i] = strings.TrimSpace(part[i])
		}
	case 'S':
		return r.pair(text, &m.EnvSender, &m.HdrSender)
	case 'R':
		return r.pair(text, &m.EnvRcpt, &m.HdrRcpt)
	case 'U':
		r.userOf(m, text)
	default:
		r.errorf("M%s: unknown mailer equate %c=", m.Name, key)
	}
	return true
}

// pair reads "envelope/header" of S= and R=.
func (r *reader) pair(text string, env, hdr **prog.Ruleset) bool {
	a, b, two := strings.Cut(text, "/")
	if a = strings.TrimSpace(a); a == "" {
		r.errorf("invalid ruleset name: \"%s\"", text)
		return false
	}
	if *env, _ = r.defineRuleset(a); *env == nil {
		return false
	}
	*hdr = *env
	if two {
		if *hdr, _ = r.defineRuleset(strings.TrimSpace(b)); *hdr == nil {
			return false
		}
	}
	return true
}

func (r *reader) userOf(m *Mailer, text string) {
	name, group, _ := strings.Cut(text, ":")
	name, group = strings.TrimSpace(name), strings.TrimSpace(group)
	if name == "" {
		r.errorf("mailer %s: null user name", m.Name)
		return
	}
	uid, gid, err := r.lookup(name, group)
	switch {
	case err != nil && uid >= 0:
		r.errorf("readcf: mailer U= flag: unknown group %s", group)
		return
	case err != nil:
		r.errorf("readcf: mailer U= flag: unknown user %s", name)
		return
	}
	m.UID, m.GID = uid, gid
}

func lookupUser(name, group string) (uid, gid int, err error) {
	gid = -1
	if n, err := strconv.Atoi(name); err == nil {
		uid = n
	} else if u, err := user.Lookup(name); err == nil {
		uid, _ = strconv.Atoi(u.Uid)
		gid, _ = strconv.Atoi(u.Gid)
	} else {
		return -1, -1, err
	}
	if group != "" {
		if n, err := strconv.Atoi(group); err == nil {
			gid = n
		} else if g, err := user.LookupGroup(group); err == nil {
			gid, _ = strconv.Atoi(g.Gid)
		} else {
			return uid, gid, err
		}
	}
	return uid, gid, nil
}

// leadingNumber is the number that a value begins with.
func leadingNumber(s string) string {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || i == 0 && s[i] == '-') {
		i++
	}
	return s[:i]
}

// unescape reads \r, \n and \t; before other characters, a backslash goes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
			if j := strings.IndexByte("rntbf", s[i]); j >= 0 {
				b.WriteByte("\r\n\t\b\f"[j])
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Seconds reads a time like "1h30m", in seconds; a number without unit is seconds.
func Seconds(v string) int {
	total := 0
	for v != "" {
		n := number(v)
		v = v[len(leadingNumber(v)):]
		unit := 1
		if v != "" {
			unit = map[byte]int{'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 604800}[v[0]|0x20]
			v = v[1:]
		}
		total += n * unit
	}
	return total
}

// queueKnown reports whether a queue group was defined before; "mqueue" always is.
func (r *reader) queueKnown(name string) bool {
	for _, q := range r.cfg.Queues {
		if equalFold(q.Name, name) {
			return true
		}
	}
	return equalFold(name, "mqueue")
}

// resolveMailers puts the mailers into the program.
func (r *reader) resolveMailers() {
	for _, m := range r.cfg.Mailers {
		t := &prog.Transport{Name: m.Name, Flags: m.Flags, Pos: m.Pos}
		t.Params = append(t.Params, prog.Param{Name: "P", Value: m.Path}, prog.Param{Name: "F", Value: m.Flags}, prog.Param{Name: "A", Value: m.Args})
		for _, p := range []struct {
			name             string
			envelope, header *prog.Ruleset
		}{{"S", m.EnvSender, m.HdrSender}, {"R", m.EnvRcpt, m.HdrRcpt}} {
			if p.envelope != nil || p.header != nil { // "envelope/header", for package rules
				t.Params = append(t.Params, prog.Param{Name: p.name, Value: rulesetName(p.envelope) + "/" + rulesetName(p.header)})
			}
		}
		r.cfg.Prog.Transports = append(r.cfg.Prog.Transports, t)
	}
}

func rulesetName(rs *prog.Ruleset) string {
	if rs == nil {
		return ""
	}
	return rs.Name
}
