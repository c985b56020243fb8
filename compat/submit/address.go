package submit

import (
	"strings"

	"waybill/transport/envelope"
	"waybill/transport/envelope/lexeme"
	"waybill/transport/sysexits"
)

// Mailbox is one element of an address list: what a To field or an argument names.
type Mailbox struct {
	Addr    envelope.Address
	Name    string // display name or comment, as written; empty when there is none
	Text    string // the element as written, for messages
	Problem string // why it is no address, in sendmail's words; empty when it is one
	Warning string // what had to be repaired, in sendmail's words
	Exit    int    // the exit status that Problem or Warning makes
}

const (
	// maxAddress is the longest address that is taken: RFC 5321 4.5.3.1 allows 64 octets, "@" and 255.
	maxAddress = 320
	// maxElements bounds one list.
	maxElements = 100_000
)

// ParseList reads an address list as sendmail does: RFC 5322 3.4 with groups, comments, quoted names and routes, and,
// where the list has no comma at all, blanks between addresses too ("alice bob"). Empty elements vanish. It never
// fails as a whole: an element that is no address says why.
func ParseList(list string) []Mailbox {
	elements, commas := split(list)
	out := make([]Mailbox, 0, len(elements))
	for i := range elements {
		e := &elements[i]
		if e.plain {
			out = append(out, check(Mailbox{Addr: envelope.Address(e.text), Text: e.text}))
			continue
		}
		if e.warning != "" || e.problem != "" {
			if e.warning != "" && len(elements) == 1 {
				e.mend(list)
			}
			m := Mailbox{Text: e.text, Warning: e.warning, Problem: e.problem, Exit: sysexits.Usage}
			if e.problem == unknownUser {
				m.Exit = sysexits.NoUser
			}
			if e.problem == "" {
				m.Addr = envelope.Address(strings.Join(e.words(), "."))
			}
			if m.Addr != "" {
				m = check(m)
			}
			out = append(out, m)
			continue
		}
		if !commas && !e.angle {
			words := e.words()
			for _, word := range words {
				text := word
				if len(words) == 1 {
					text = e.text // with its comment
				}
				out = append(out, check(Mailbox{Addr: envelope.Address(word), Name: e.name, Text: text}))
			}
			continue
		}
		out = append(out, e.mailbox()...)
	}
	return out
}

// element is one piece between commas, with its parts told apart.
type element struct {
	text    string
	tokens  []string // words and specials outside comments; what "<...>" holds is one token
	plain   bool     // text is one word, and nothing had to be told apart
	angle   bool     // there was a "<...>"
	inside  string   // what it held
	name    string
	problem string
	warning string
}

// unknownUser is what an element becomes whose brackets or quotes do not fit: sendmail closes them, and then finds
// nobody of that name.
const unknownUser = "User unknown"

func (e *element) unbalanced(c string) { e.problem, e.warning = unknownUser, "Unbalanced '"+c+"'" }

// mend takes an element with one sign too much or too few, and nothing else that is wrong: sendmail closes what is open and
// leaves out what was not opened, says so, and takes what remains.
func (e *element) mend(list string) {
	if strings.ContainsAny(list, ",;:\\(") {
		return
	}
	rest := strings.NewReplacer("<", "", ">", "", `"`, "", ")", "").Replace(list)
	if strings.TrimSpace(rest) == "" || len(strings.TrimSpace(rest)) != len(strings.TrimSpace(list))-1 || strings.ContainsAny(strings.TrimSpace(rest), " \t") {
		return
	}
	e.problem, e.tokens, e.text = "", []string{strings.TrimSpace(rest)}, strings.TrimSpace(list)
}

// split cuts a list at the commas (and group ends) that stand outside quotes, comments, angle and square brackets.
func split(list string) (elements []element, commas bool) {
	elements = make([]element, 0, min(strings.Count(list, ",")+1, maxElements))
	for len(list) > 0 && len(elements) < maxElements {
		var e element
		rest, sep := e.scan(list)
		if sep == ',' || sep == ';' {
			commas = true
		}
		if sep == ':' { // the name of a group: dropped, its members follow
			commas = true
			list = inGroup(rest)
			continue
		}
		if e.plain || len(e.tokens) > 0 || e.angle || e.problem+e.warning != "" {
			elements = append(elements, e)
		}
		list = rest
	}
	return elements, commas
}

// groupMark begins the text of a group's members; it cannot stand in a list that was read from a header or an argument
// because NUL is removed from both.
const groupMark = "\x00"

func inGroup(rest string) string { return groupMark + rest }

// scan reads one element and returns what follows it, and the separator that ended it: ',' ';' ':' or 0.
func (e *element) scan(list string) (rest string, sep byte) {
	group := strings.HasPrefix(list, groupMark)
	list = strings.TrimPrefix(list, groupMark)
	if !group {
		if text, after, ok := bareWord(list); ok { // most elements
			e.plain, e.text = true, text
			if after < len(list) {
				return list[after+1:], ','
			}
			return "", 0
		}
	}
	next := func(i int) string {
		if group && i < len(list) {
			return inGroup(list[i:])
		}
		return list[i:]
	}
	var word, comment strings.Builder
	flush := func() {
		if word.Len() > 0 {
			e.tokens = append(e.tokens, word.String())
			word.Reset()
		}
	}
	i := 0
	done := func(end, after int) string {
		flush()
		e.text = strings.TrimSpace(list[:end])
		if !e.angle {
			e.name = strings.TrimSpace(comment.String())
		}
		return next(after)
	}
	for i < len(list) {
		c := list[i]
		switch {
		case c == '\\' && i+1 < len(list):
			word.WriteString(list[i : i+2])
			i += 2
		case c == '"':
			end := lexeme.QuoteEnd(list, i)
			if end < 0 {
				e.unbalanced(`"`)
				return done(len(list), len(list)), 0
			}
			word.WriteString(list[i : end+1])
			i = end + 1
		case c == '(':
			end := lexeme.CommentEnd(list, i)
			if end < 0 {
				e.warning = "Unbalanced '('" // sendmail closes it: what stands before is the address
				return done(len(list), len(list)), 0
			}
			flush()
			comment.WriteString(list[i+1 : end])
			i = end + 1
		case c == ')':
			e.unbalanced(")")
			i++
		case c == '[':
			end := strings.IndexByte(list[i:], ']')
			if end < 0 {
				end = len(list) - i - 1
			}
			word.WriteString(list[i : i+end+1])
			i += end + 1
		case c == '<':
			end := lexeme.AngleEnd(list, i)
			if end < 0 {
				e.unbalanced("<")
				return done(len(list), len(list)), 0
			}
			flush()
			e.name = strings.TrimSpace(list[:i])
			e.angle, e.inside = true, list[i+1:end]
			i = end + 1
		case c == '>':
			e.unbalanced(">")
			i++
		case c == ',':
			return done(i, i+1), ','
		case c == ';':
			if group {
				group = false
				return done(i, i+1), ';'
			}
			e.problem = "Invalid route address"
			if strings.HasPrefix(list[i:], "; ") && !strings.Contains(list, "@") { // names so divided are one that nobody has
				e.problem = unknownUser
			}
			i++
		case c == ':' && !group && !e.angle && i+1 < len(list) && list[i+1] == ':': // DECnet: node::user
			word.WriteString("::")
			i += 2
		case c == ':' && !group && !e.angle && (word.Len() > 0 && word.String()[0] != ':' || len(e.tokens) > 0):
			group = true
			return list[i+1:], ':'
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			flush()
			i++
		case strings.IndexByte("@!%", c) >= 0:
			flush()
			e.tokens = append(e.tokens, string(c))
			i++
		default:
			word.WriteByte(c)
			i++
		}
	}
	return done(len(list), len(list)), 0
}

// bareWord finds an element that is one word without any sign that has a meaning in a list; after is where its comma or
// the end of the list is.
func bareWord(list string) (text string, after int, ok bool) {
	blank := func(i int) int {
		for i < len(list) && (list[i] == ' ' || list[i] == '\t' || list[i] == '\n' || list[i] == '\r') {
			i++
		}
		return i
	}
	from := blank(0)
	to := from
	for to < len(list) && (list[to] >= 'a' && list[to] <= 'z' || list[to] >= '@' && list[to] <= 'Z' || list[to] >= '+' && list[to] <= '9' && list[to] != ',' || list[to] == '_' || list[to] == '=') {
		to++
	}
	after = blank(to)
	return list[from:to], after, to > from && (after == len(list) || list[after] == ',')
}

// words returns the addresses of an element without brackets: blanks separate, except beside "@", "!", "%" and dots.
func (e *element) words() []string {
	var out []string
	glue := true
	for _, tok := range e.tokens {
		special := strings.IndexByte("@!%", tok[0]) >= 0 && len(tok) == 1
		if len(out) > 0 && (glue || special || tok[0] == '.' || strings.HasSuffix(out[len(out)-1], ".")) {
			out[len(out)-1] += tok
		} else {
			out = append(out, tok)
		}
		glue = special
	}
	return out
}

func (e *element) mailbox() []Mailbox {
	m := Mailbox{Name: e.name, Text: e.text}
	if e.angle {
		m.Addr = envelope.Address(squeeze(e.inside))
	} else {
		m.Addr = envelope.Address(strings.Join(e.words(), ".")) // what sendmail's BlankSub does to "two words"
	}
	return []Mailbox{check(m)}
}

// squeeze removes comments and blanks outside quotes from what stood between angle brackets.
func squeeze(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			b.WriteString(s[i : i+2])
			i += 2
		case c == '"':
			end := lexeme.QuoteEnd(s, i)
			if end < 0 {
				end = len(s) - 1
			}
			b.WriteString(s[i : end+1])
			i = end + 1
		case c == '(':
			end := lexeme.CommentEnd(s, i)
			if end < 0 {
				end = len(s) - 1
			}
			i = end + 1
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String()
}

// check notes why m cannot be in an envelope. Whether its domain or user exists is not asked here.
func check(m Mailbox) Mailbox {
	fail := func(exit int, problem string) Mailbox {
		m.Problem, m.Exit = problem, exit
		return m
	}
	switch addr := string(m.Addr); {
	case addr == "":
		return fail(sysexits.NoUser, unknownUser)
	case len(addr) > maxAddress:
		return fail(sysexits.Usage, "Address too long")
	case addr[0] == '|':
		return fail(sysexits.Usage, "Cannot mail directly to programs")
	case addr[0] == '/' && !strings.Contains(addr, "@"):
		return fail(sysexits.Usage, "Cannot mail directly to files")
	case strings.HasPrefix(strings.ToLower(addr), ":include:"):
		return fail(sysexits.Usage, "Cannot mail directly to :include:s")
	case strings.Contains(addr, "@@") && !strings.Contains(addr, `"`):
		return fail(sysexits.Usage, "Invalid route address")
	case strings.IndexFunc(addr, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0:
		return fail(sysexits.Usage, "Illegal character in address")
	}
	return m
}
