package testmode

import (
	"fmt"
	"strconv"
	"strings"

	"waybill/compat/cf"
	"waybill/rules/addr"
	"waybill/rules/eval"
	"waybill/rules/prog"
	"waybill/transport/sysexits"
)

// target is what an address resolves to.
type target struct {
	mailer *cf.Mailer // nil: *error*
	host   string
	user   string
}

func (t target) String() string {
	name := "*error*"
	if t.mailer != nil {
		name = t.mailer.Name
	}
	if t.host != "" {
		return "mailer " + name + ", host " + t.host + ", user " + t.user
	}
	return "mailer " + name + ", user " + t.user
}

// parse is the command /parse: what would happen to a recipient with this address. Its plan is sendmail's: the address
// is cut without comments, goes through rulesets 3 and 0, and the triple that comes out is looked at: errors are told,
// programs, files and :include: are told apart from users, and the user goes through ruleset 2, that of the mailer, and 4.
func (s *session) parse(text string) {
	fmt.Fprintf(s.out, "Cracked address = %s\n", show(strings.ReplaceAll(s.crack(text).Template(), "\xff", "M-")))
	kind, who := "envelope", "recipient"
	if s.header {
		kind = "header"
	}
	if s.sender {
		who = "sender"
	}
	fmt.Fprintf(s.out, "Parsing %s %s address\n", kind, who)
	s.parsing = true
	defer func() { s.parsing = false }()
	toks, ok := s.cut(text)
	if ok && len(text) > maxAddress {
		s.tell(text[:maxAddress], fmt.Sprintf("Address \"%s\" too long (%d bytes max)", addr.SevenBit(text[:maxAddress]), maxAddress))
		ok = false
	}
	if !ok || len(toks) == 0 {
		fmt.Fprint(s.out, "Cannot parse\n")
		return
	}
	status := 0
	for _, name := range []string{"3", "0"} {
		var stat int
		toks, stat = s.runFor(text, name, toks)
		if stat == eval.TempFail {
			status = stat
		}
	}
	t, stat := s.resolve(text, toks)
	if stat == eval.TempFail {
		status = stat
	}
	if status == eval.TempFail && t.mailer != nil {
		s.tell(text, "Transient parse error -- message queued for future delivery")
	}
	if t.mailer != nil && !s.sender && !s.header {
		s.queueGroup(text, t)
	}
	fmt.Fprintln(s.out, t)
}

// queueGroup asks the ruleset that chooses the queue group of a recipient, when there is one.
func (s *session) queueGroup(text string, t target) {
	if s.cfg.Prog.Ruleset("queuegroup") == nil {
		return
	}
	if toks, ok := s.cut(t.user); ok && len(toks) > 0 {
		s.runFor(text, "queuegroup", toks)
	}
}

// tell prints a message about an address.
func (s *session) tell(text, message string) {
	fmt.Fprintf(s.out, "%s... %s\n", addr.Short(addr.SevenBit(text)), message)
}

// cut cuts an address without its comments.
func (s *session) cut(text string) ([]addr.Token, bool) {
	toks, issues := s.engine().Syntax().SplitStripped(text)
	if s.issues(issues, text) {
		return nil, false
	}
	return toks, true
}

// runFor runs a ruleset while text is the address that tables may talk about.
func (s *session) runFor(text, name string, toks []addr.Token) ([]addr.Token, int) {
	s.about = text
	defer func() { s.about = "" }()
	return s.run(name, toks)
}

// resolve looks at what ruleset 0 returned.
func (s *session) resolve(text string, toks []addr.Token) (target, int) {
	fail := func(format string, args ...any) (target, int) {
		fmt.Fprintf(s.out, "buildaddr: "+format+"\n", args...)
		return target{}, 0
	}
	if len(toks) == 0 || toks[0] != addr.Mailer {
		return fail("no mailer in parsed address")
	}
	if len(toks) < 2 {
		return fail("no user")
	}
	name := string(toks[1])
	rest := toks[2:]
	var host []addr.Token
	if len(rest) > 0 && rest[0] == addr.Host {
		rest = rest[1:]
		for len(rest) > 0 && rest[0] != addr.User {
			host, rest = append(host, rest[0]), rest[1:]
		}
	}
	for len(rest) > 0 && rest[0] != addr.User {
		rest = rest[1:]
	}
	hasUser := len(rest) > 0
	if hasUser {
		rest = rest[1:]
	}
	if strings.EqualFold(name, "error") {
		if !hasUser {
			return fail("no user")
		}
		t := target{host: s.raw(host), user: s.rawWith(rest, " ")}
		s.exit(exitOf(t.host))
		s.tellError(text, t.user)
		t.user = s.checked(t.user)
		return t, 0
	}
	m := s.cfg.Mailer(name)
	if m == nil {
		return fail("unknown mailer %s", name)
	}
	if !hasUser {
		return fail("no user")
	}
	if len(host) == 0 && !m.Has('l') {
		return fail("no host")
	}
	t := target{mailer: m, host: s.raw(host)}
	t.host = strings.ReplaceAll(t.host[:min(len(t.host), maxHost)], "\xff", "\x7f") // as the real one takes it
	if !m.Has('h') {
		t.host = lower(t.host)
	}
	s.state.Macros.Set("h", t.host)
	user := s.raw(rest)
	bare := strings.TrimPrefix(user, `"`)
	switch {
	case m.Has(':') && hasPrefixFold(bare, ":include:"):
		if inc := s.cfg.Mailer("*include*"); inc != nil {
			return target{mailer: inc, user: s.checked(strings.TrimSuffix(bare[len(":include:"):], `"`))}, 0
		}
	case m.Has('|') && strings.HasPrefix(bare, "|"):
		t.mailer = s.mailer("prog", m)
	case m.Has('/') && strings.HasPrefix(bare, "/"):
		t.mailer = s.mailer("*file*", m)
	case m.Has('@') && len(rest) > 0 && rest[0] == "@":
		rest = rest[1:]
	}
	m = t.mailer
	status := 0
	step := func(name string) {
		var stat int
		rest, stat = s.runFor(text, name, rest)
		if stat == eval.TempFail {
			status = stat
		}
	}
	if s.cfg.Level >= 10 || !s.sender && !s.header { // before that level, only envelope recipients were rewritten
		step("2")
		if rs := m.EnvRcpt; rs != nil && rs.Number != 0 {
			step(rs.Name)
		}
	}
	step("4")
	t.user = s.raw(rest)
	if len(t.user) > maxAddress {
		if t.user = t.user[:maxAddress]; s.endsWord(rest, maxAddress) {
			s.tell(text, fmt.Sprintf("Address \"%s\" too long (%d bytes max)", addr.SevenBit(t.user), maxAddress))
		}
	}
	if !m.Has('u') {
		t.user = lower(t.user)
	}
	t.user = s.checked(t.user)
	return t, status
}

func (s *session) mailer(name string, fallback *cf.Mailer) *cf.Mailer {
	if m := s.cfg.Mailer(name); m != nil {
		return m
	}
	return fallback
}

// endsWord reports whether the first n octets of the text that raw makes of tokens end with a word that another one follows.
func (s *session) endsWord(toks []addr.Token, n int) bool {
	syntax := s.engine().Syntax()
	for i := range toks[:len(toks)-1] {
		if size := len(s.raw(toks[:i+1])); size >= n {
			return size == n && syntax.IsWord(toks[i]) && syntax.IsWord(toks[i+1])
		}
	}
	return false
}

// rawMeta are the octets that the real one shows where a metasymbol is left in text.
var rawMeta = map[addr.Token]string{addr.Mailer: "\x96", addr.Host: "\x97", addr.User: "\x98", addr.Call: "\x99", addr.Sep: "\x9b"}

// raw joins tokens to text. Metasymbols that are left in it are shown as the real one shows them.
func (s *session) raw(toks []addr.Token) string { return s.rawWith(toks, s.cfg.Prog.BlankSub) }

func (s *session) rawWith(toks []addr.Token, blank string) string {
	for i, t := range toks {
		if t.IsMeta() {
			toks = append([]addr.Token(nil), toks...)
			for j := i; j < len(toks); j++ {
				if r, ok := rawMeta[toks[j]]; ok {
					toks[j] = addr.Token(r)
				}
			}
			break
		}
	}
	var b strings.Builder
	syntax := s.engine().Syntax()
	word := false
	for _, t := range toks {
		w := t != "" && t[0] != '"' && !syntax.IsOperator(t) && !(len(t) == 1 && t[0] >= 0x80 && t[0] <= 0x9f)
		if w && word {
			b.WriteString(blank)
		}
		word = w
		b.WriteString(string(t))
	}
	return b.String()
}

// checked complains about octets that no address may have, and makes them question marks.
func (s *session) checked(user string) string {
	what := ""
	b := []byte(user)
	quoted := false
	for i, c := range b {
		switch {
		case c == '"':
			quoted = !quoted
		case c >= 0x80 && c <= 0x9f:
			b[i], what = '?', "8-bit character"
		case c == 0xff && quoted:
			b[i] = 0x7f
		case c == 0xff:
			b[i], what = '?', "non-printable character"
		}
	}
	if what != "" {
		fmt.Fprintf(s.out, "Syntax error in mailbox address \"%s\" (%s)\n", addr.SevenBit(string(b)), what)
	}
	return string(b)
}

// tellError tells what $#error says: quotes, the code of three digits, and an enhanced code go. The address stands in
// front for some codes only.
func (s *session) tellError(text, user string) {
	message := unquote(user)
	code := ""
	if len(message) >= 4 && isDigits(message[:3]) && message[3] == ' ' {
		code, message = message[:3], strings.TrimLeft(message[4:], " ")
		if word, rest, ok := strings.Cut(message, " "); ok && isEnhanced(word) {
			message = rest
		}
	}
	switch code {
	case "", "250", "450", "550", "553":
		s.tell(text, seven(message))
	default:
		fmt.Fprintln(s.out, seven(message))
	}
}

// exitOf is the status that stays when an address resolves to an error: the words and numbers of the Operations Guide
// ("$#error"), else what the enhanced code says (RFC 3463). What may be over by and by leaves none.
func exitOf(host string) int {
	words := map[string]int{"usage": sysexits.Usage, "nouser": sysexits.NoUser, "nohost": sysexits.NoHost, "unavailable": sysexits.Unavailable,
		"software": sysexits.Software, "tempfail": 0, "protocol": sysexits.Protocol, "config": sysexits.Config}
	if n, ok := words[strings.ToLower(host)]; ok {
		return n
	}
	class, rest, dotted := strings.Cut(host, ".")
	switch {
	case !dotted && isDigits(class):
		if n, _ := strconv.Atoi(class); n != sysexits.TempFail {
			return n
		}
		return 0
	case !dotted || class != "5":
		if class == "4" || class == "2" {
			return 0
		}
		return sysexits.Unavailable
	}
	subject, detail, _ := strings.Cut(rest, ".")
	detail, _, _ = strings.Cut(detail, ".")
	pick := func(from string, codes ...int) int {
		if i := strings.Index(from, detail); len(detail) == 1 && i >= 0 {
			return codes[i]
		}
		return sysexits.Unavailable
	}
	switch subject {
	case "1":
		if detail == "" {
			return sysexits.DataErr
		}
		return pick("01235678", sysexits.DataErr, sysexits.NoUser, sysexits.NoHost, sysexits.Usage, sysexits.Config, sysexits.NoUser, sysexits.Usage, sysexits.NoHost)
	case "2":
		return pick("3", sysexits.DataErr)
	case "3":
		return sysexits.OSErr
	case "4":
		return pick("0123456", sysexits.IOErr, 0, sysexits.IOErr, 0, sysexits.Protocol, 0, sysexits.Config)
	case "5":
		return sysexits.Protocol
	case "7":
		return sysexits.DataErr
	}
	return sysexits.Unavailable
}

// seven takes the eighth bit off.
func seven(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] &= 0x7f
	}
	return string(b)
}

// unquote takes quotation marks, and backslashes that protect something, out of a text.
func unquote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func isDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// isEnhanced reports whether s is an enhanced status code (RFC 3463 2).
func isEnhanced(s string) bool {
	p := strings.Split(s, ".")
	return len(p) == 3 && len(p[0]) == 1 && strings.Contains("245", p[0]) && isDigits(p[1]) && isDigits(p[2]) && len(p[1]) <= 3 && len(p[2]) <= 3
}

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && lower(s[:len(prefix)]) == prefix
}

// try is the command /try: how a mailer would rewrite an address.
func (s *session) try(name, text string) {
	m := s.cfg.Mailer(name)
	if m == nil {
		fmt.Fprintf(s.out, "Unknown mailer %s\n", name)
		return
	}
	kind, who := "envelope", "recipient"
	if s.header {
		kind = "header"
	}
	if s.sender {
		who = "sender"
	}
	text = strings.Trim(text, " \t")
	fmt.Fprintf(s.out, "Trying %s %s address %s for mailer %s\n", kind, who, text, name)
	result, status := s.remote(text, m)
	fmt.Fprintf(s.out, "Rcode = %d, addr = %s\n", status, result)
}

// maxResult is how much of a rewritten address is shown, and maxHost how much of a host.
const (
	maxResult = 256
	maxHost   = 254
)

// remote rewrites an address as a mailer wants it: ruleset 3, then 1 or 2, then the mailer's, then 4. What stood around
// the address stays around it.
func (s *session) remote(text string, m *cf.Mailer) (string, int) {
	parts := s.crack(text)
	toks, ok := s.cut(text)
	if !ok || len(toks) == 0 {
		return text, 0
	}
	status := 0
	step := func(name string) {
		var stat int
		toks, stat = s.runFor(text, name, toks)
		if stat == eval.TempFail {
			status = stat
		}
	}
	step("3")
	common, env, hdr := "2", m.EnvRcpt, m.HdrRcpt
	if s.sender {
		common, env, hdr = "1", m.EnvSender, m.HdrSender
	}
	step(common)
	var rs *prog.Ruleset = env
	if s.header {
		rs = hdr
	}
	if rs != nil && rs.Number != 0 {
		step(rs.Name)
	}
	step("4")
	result := s.raw(toks)
	if limit := maxResult - 2; len(result) > limit {
		if s.endsWord(toks, limit) { // what stands between it and the next one still comes
			limit += len(s.cfg.Prog.BlankSub)
		}
		result = result[:limit]
	}
	result = strings.ReplaceAll(parts.Around(result), "\xff", "\x7f")
	return result[:min(len(result), maxResult)], status
}
