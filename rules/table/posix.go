package table

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Errors of regular expressions, in the words of the C library of Debian, which administrators know from sendmail.
var (
	errBracket  = errors.New("Unmatched [, [^, [:, [., or [=")
	errOpen     = errors.New(`Unmatched ( or \(`)
	errClose    = errors.New(`Unmatched ) or \)`)
	errTrailing = errors.New("Trailing backslash")
	errPreced   = errors.New("Invalid preceding regular expression")
	errContent  = errors.New(`Invalid content of \{\}`)
	errInterval = errors.New(`Unmatched \{`)
	errRange    = errors.New("Invalid range end")
	errClass    = errors.New("Invalid character class name")
	errPattern  = errors.New("Invalid regular expression")
	errBackref  = errors.New("back-references are not supported: they can take exponential time")
)

// compilePosix compiles a POSIX regular expression (IEEE Std 1003.1 chapter 9), extended or basic, with the additions of
// the GNU C library, to one of Go, which runs in linear time. The longest match counts, as in POSIX.
func compilePosix(text string, basic, foldCase bool) (*regexp.Regexp, error) {
	p := posix{in: text, basic: basic}
	out, err := p.alternatives(0)
	if err != nil {
		return nil, err
	}
	if p.at < len(p.in) {
		return nil, errClose
	}
	flags := "(?s:"
	if foldCase {
		flags = "(?si:"
	}
	re, err := regexp.Compile(flags + out + ")")
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", errPreced, text)
	}
	re.Longest()
	return re, nil
}

// posix translates a regular expression.
type posix struct {
	in    string
	at    int
	basic bool
}

// maxNest limits parentheses in parentheses.
const maxNest = 200

// symbol reports whether the operator c stands here, and its length: in basic syntax it has a backslash.
func (p *posix) symbol(c byte) (int, bool) {
	rest := p.in[p.at:]
	if !p.basic {
		return 1, rest != "" && rest[0] == c
	}
	return 2, len(rest) > 1 && rest[0] == '\\' && rest[1] == c
}

func (p *posix) alternatives(depth int) (string, error) {
	if depth > maxNest {
		return "", errors.New("Regular expression too big")
	}
	var b strings.Builder
	for {
		s, err := p.branch(depth)
		if err != nil {
			return "", err
		}
		b.WriteString(s)
		n, ok := p.symbol('|')
		if !ok {
			return b.String(), nil
		}
		p.at += n
		b.WriteByte('|')
	}
}

func (p *posix) branch(depth int) (string, error) {
	var b strings.Builder
	first := true
	for p.at < len(p.in) {
		if _, ok := p.symbol('|'); ok {
			break
		}
		alone := false
		if n, ok := p.symbol(')'); ok {
			if depth == 0 {
				if p.basic {
					return "", errOpen // which is what the library says
				}
				p.at += n
				alone = true // it is an ordinary character
			} else {
				break
			}
		}
		atom, repeatable, err := `\)`, true, error(nil)
		if !alone {
			atom, repeatable, err = p.atom(depth, first)
		}
		if err != nil {
			return "", err
		}
		first = p.basic && atom == "^"
		for repeatable {
			q, ok, err := p.quantifier()
			if err != nil {
				return "", err
			}
			if !ok {
				break
			}
			atom = "(?:" + atom + ")" + q
			if p.basic && (strings.HasPrefix(p.in[p.at:], "*") || strings.HasPrefix(p.in[p.at:], `\{`)) {
				return "", errPreced
			}
		}
		b.WriteString(atom)
	}
	return b.String(), nil
}

// atom reads one thing that can be repeated.
func (p *posix) atom(depth int, first bool) (text string, repeatable bool, err error) {
	if n, ok := p.symbol('('); ok {
		p.at += n
		s, err := p.alternatives(depth + 1)
		if err != nil {
			return "", false, err
		}
		n, ok = p.symbol(')')
		if !ok {
			return "", false, errOpen
		}
		p.at += n
		return "(" + s + ")", true, nil
	}
	c := p.in[p.at]
	switch c {
	case '\\':
		return p.escape()
	case '[':
		s, err := p.bracket()
		return s, true, err
	case '.':
		p.at++
		return ".", true, nil
	case '^':
		p.at++
		if p.basic && !first {
			return `\^`, true, nil
		}
		return "^", false, nil
	case '$':
		p.at++
		if p.basic && p.at < len(p.in) && !strings.HasPrefix(p.in[p.at:], `\)`) && !strings.HasPrefix(p.in[p.at:], `\|`) {
			return `\$`, true, nil
		}
		return "$", false, nil
	case '*', '+', '?', '{': // nothing stands before it that could be repeated
		if !p.basic {
			return "", false, errPreced
		}
	}
	p.at++
	return regexp.QuoteMeta(string(c)), true, nil
}

func (p *posix) escape() (string, bool, error) {
	if p.at+1 == len(p.in) {
		return "", false, errTrailing
	}
	c := p.in[p.at+1]
	p.at += 2
	switch {
	case c >= '1' && c <= '9':
		return "", false, errBackref
	case c == '{' && p.basic:
		return "", false, errPreced
	case c == 'w':
		return "[0-9A-Za-z_]", true, nil
	case c == 'W':
		return "[^0-9A-Za-z_]", true, nil
	case c == 's':
		return `\s`, true, nil
	case c == 'S':
		return `\S`, true, nil
	case c == 'b' || c == '<' || c == '>':
		return `\b`, false, nil
	case c == 'B':
		return `\B`, false, nil
	case c == '`':
		return `\A`, false, nil
	case c == '\'':
		return `\z`, false, nil
	}
	return regexp.QuoteMeta(string(c)), true, nil
}

// quantifier reads *, +, ? or an interval.
func (p *posix) quantifier() (string, bool, error) {
	if p.at == len(p.in) {
		return "", false, nil
	}
	if p.in[p.at] == '*' {
		p.at++
		return "*", true, nil
	}
	for _, c := range []byte{'+', '?'} {
		if n, ok := p.symbol(c); ok {
			p.at += n
			return string(c), true, nil
		}
	}
	n, ok := p.symbol('{')
	if !ok {
		return "", false, nil
	}
	closing := "}"
	if p.basic {
		closing = `\}`
	}
	end := strings.Index(p.in[p.at:], closing)
	if end < 0 {
		return "", false, errInterval
	}
	body := p.in[p.at+n : p.at+end]
	p.at += end + len(closing)
	lo, hi, two := strings.Cut(body, ",")
	if lo == "" && two {
		lo = "0"
	}
	a, err := strconv.Atoi(lo)
	if err != nil || a > 1000 {
		return "", false, errContent
	}
	if two && hi != "" {
		b, err := strconv.Atoi(hi)
		if err != nil || b < a || b > 1000 {
			return "", false, errContent
		}
		return fmt.Sprintf("{%d,%d}", a, b), true, nil
	}
	if two {
		return fmt.Sprintf("{%d,}", a), true, nil
	}
	return fmt.Sprintf("{%d}", a), true, nil
}

var posixClasses = " alpha digit alnum upper lower space blank punct print graph cntrl xdigit "

// bracket reads a bracket expression. A backslash in it is an ordinary character.
func (p *posix) bracket() (string, error) {
	s := p.in[p.at+1:]
	if s == "" {
		return "", errPattern
	}
	i := 0
	var b strings.Builder
	b.WriteByte('[')
	if strings.HasPrefix(s, "^") {
		b.WriteByte('^')
		i++
	}
	for start := i; ; {
		if i >= len(s) {
			return "", errBracket
		}
		if s[i] == ']' && i > start {
			break
		}
		if strings.HasPrefix(s[i:], "[:") {
			end := strings.Index(s[i:], ":]")
			if end < 0 {
				return "", errBracket
			}
			name := s[i+2 : i+end]
			if !strings.Contains(posixClasses, " "+name+" ") || name == "" {
				return "", errClass
			}
			b.WriteString("[:" + name + ":]")
			i += end + 2
			continue
		}
		lo, n, err := element(s[i:])
		if err != nil {
			return "", err
		}
		i += n
		if i+1 < len(s) && s[i] == '-' && s[i+1] != ']' {
			hi, n, err := element(s[i+1:])
			if err != nil {
				return "", err
			}
			if hi < lo {
				return "", errRange
			}
			i += 1 + n
			b.WriteString(classChar(lo) + "-" + classChar(hi))
			continue
		}
		b.WriteString(classChar(lo))
	}
	p.at += 1 + i + 1
	b.WriteByte(']')
	return b.String(), nil
}

// element reads one character of a bracket expression, also as [.x.] or [=x=].
func element(s string) (c byte, n int, err error) {
	if len(s) >= 2 && s[0] == '[' && (s[1] == '.' || s[1] == '=') {
		if len(s) >= 5 && s[3] == s[1] && s[4] == ']' {
			return s[2], 5, nil
		}
		return 0, 0, errBracket
	}
	if s == "" {
		return 0, 0, errBracket
	}
	return s[0], 1, nil
}

func classChar(c byte) string {
	if c >= 0x80 {
		return fmt.Sprintf(`\x{%x}`, c)
	}
	if strings.IndexByte(`\[]^-&~`, c) >= 0 {
		return `\` + string(c)
	}
	return string(c)
}
