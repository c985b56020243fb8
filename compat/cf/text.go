package cf

import (
	"fmt"
	"strings"

	"waybill/rules/prog"
)

// mark stands before a character that a dollar sign makes special, in lines as the reader passes them around: "$x" is
// mark and x, "$$" is a plain dollar. The real reader does the same with the same octet, which is why its messages
// show it.
const mark = '\x01'

// prepare turns a line as it stands in the file into marked form: comments go (V levels from 3), and so does white
// space at the end.
func prepare(line string, level int) string {
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '$' && i+1 < len(line) && line[i+1] == '$':
			b.WriteByte('$')
			i++
		case c == '$':
			b.WriteByte(mark)
			if i+1 < len(line) && line[i+1] == '#' {
				b.WriteByte('#')
				i++
			}
		case c == '\\' && i+1 < len(line) && line[i+1] == '#' && level >= 3:
			b.WriteByte('#')
			i++
		case c == '#' && i > 0 && level >= 3:
			i = len(line)
		default:
			b.WriteByte(c)
		}
	}
	text := strings.TrimRight(b.String(), " \t\r\n\v\f")
	if strings.HasSuffix(text, string(rune(mark))) { // with nothing behind it, a dollar sign is one
		text = text[:len(text)-1] + "$"
	}
	return text
}

// plain is marked text as people write it.
func plain(s string) string { return strings.ReplaceAll(s, string(rune(mark)), "$") }

// maxName is how long the name of a macro or class may be.
const maxName = 25

// NameError is what the real engine says about the name of a macro or class, one line each.
type NameError []string

func (e NameError) Error() string { return strings.Join(e, "; ") }

// CutName cuts the name of a macro or class off the front of text: one character, or a name in braces. ok is false
// when there is no usable name; complaints are in the words of the real engine. Characters that no name may have are
// left out of it.
func CutName(text string) (name, rest string, complaints NameError, ok bool) {
	if text == "" || text[0] == ' ' || text[0] == '\t' {
		return "", text, NameError{"Name required for macro/class"}, false
	}
	if text[0] != '{' {
		return text[:1], text[1:], nil, true
	}
	var b strings.Builder
	i := 1
	for ; i < len(text) && text[i] != '}'; i++ {
		c := text[i]
		if !isNameChar(c) {
			complaints = append(complaints, fmt.Sprintf("Invalid macro/class character %c", show7(c)))
			continue
		}
		if b.Len() == maxName {
			end := strings.IndexByte(text, '}')
			if end < 0 {
				end = len(text) - 1
			}
			complaints = append(complaints, fmt.Sprintf("Macro/class name ({%s}) too long (%d chars max)", b.String(), maxName), "Unable to assign macro/class ID (mid = 0xffffffff)")
			return "", text[end+1:], complaints, false
		}
		b.WriteByte(c)
	}
	if i == len(text) {
		return "", "", append(complaints, "Unbalanced { on "+b.String(), "Unable to assign macro/class ID (mid = 0xffffffff)"), false
	}
	name, rest = b.String(), text[i+1:]
	if name == "" {
		if i == 1 {
			complaints = append(complaints, "Name required for macro/class")
		}
		return "", rest, complaints, false
	}
	return name, rest, complaints, true
}

// show7 is an octet as messages show it: without its eighth bit, a mark as the dollar sign that it was.
func show7(c byte) rune {
	if c &= 0x7f; c == mark {
		return '$'
	}
	return rune(c)
}

// shown is text as messages show it: without the eighth bits of its octets; what would become a control character then has
// the octet 0x7F before it, and 0x80 is an end.
func shown(text string) string {
	for i := 0; i < len(text); i++ {
		if text[i] < 0x80 {
			continue
		}
		b := append(make([]byte, 0, len(text)+16), text[:i]...)
		for ; i < len(text); i++ {
			c := text[i]
			if c >= 0x80 && c < 0xa0 || c == 0xff {
				b = append(b, 0x7f)
			}
			if c == 0x80 {
				break
			}
			b = append(b, c&0x7f)
		}
		return string(b)
	}
	return text
}

// special are the characters that are symbols of the rule language behind a dollar sign, not names of macros.
const special = "*+-@:|#>()[]&=~?.0123456789"

// Limits of what macros become. The first is the real engine's; the second keeps a few lines of references from growing
// without end, and is far more than any line needs.
const (
	maxExpand   = 10      // references within references
	maxExpanded = 1 << 16 // octets, with some for each reference
)

// errDeep is what the real engine says where macros stand in macros too deep.
var errDeep = fmt.Errorf("expand: recursion too deep (%d max)", maxExpand)

// expand puts the values of macros into marked text, and evaluates the conditionals $?x ... $| ... $. . Symbols of
// the rule language, and $&x, stay as they are. get returns the value of a macro in marked form. With an error, the text
// is what could be made of it.
func expand(s string, get func(string) (string, bool)) (string, error) {
	x := expander{get: get, left: maxExpanded}
	out, _ := x.until(s, 0, false, true)
	if x.deep || x.left <= 0 {
		return out, errDeep
	}
	return out, nil
}

// expand puts the values of macros into a line.
func (r *reader) expand(s string) string {
	out, err := expand(s, r.macro)
	if err != nil {
		r.errorf("%v", err)
	}
	return out
}

// expander is one expansion.
type expander struct {
	get  func(string) (string, bool)
	left int  // octets that it may still make
	deep bool // a reference was left alone
}

// until expands up to the end of a branch of a conditional (inside) and returns what follows it, with its mark. A branch
// that is not live is skipped.
func (x *expander) until(s string, depth int, inside, live bool) (out, rest string) {
	var b strings.Builder
	x.left -= 16
	for i := 0; i < len(s) && x.left > 0; i++ {
		x.left--
		if s[i] != mark {
			if live {
				b.WriteByte(s[i])
			}
			continue
		}
		i++
		if i == len(s) {
			b.WriteByte(mark)
			break
		}
		switch c := s[i]; {
		case inside && (c == '|' || c == '.'):
			return b.String(), s[i:]
		case c == '?':
			name, tail, _, _ := CutName(s[i+1:])
			v, set := x.get(name)
			yes := set && v != ""
			part, tail := x.until(tail, depth, true, live && yes)
			b.WriteString(part)
			if strings.HasPrefix(tail, "|") {
				part, tail = x.until(tail[1:], depth, true, live && !yes)
				b.WriteString(part)
			}
			s, i = strings.TrimPrefix(tail, "."), -1
		case strings.IndexByte(special, c) >= 0:
			if !live {
				continue
			}
			b.WriteByte(mark)
			b.WriteByte(c)
			if c == '&' || c == '=' || c == '~' { // the name behind it is no reference
				if name, tail, _, ok := CutName(s[i+1:]); ok {
					if len(name) > 1 {
						name = "{" + name + "}"
					}
					b.WriteString(name)
					s, i = tail, -1
				}
			}
		default:
			name, tail, _, ok := CutName(s[i:])
			if ok && live {
				if v, set := x.get(name); set && depth <= maxExpand {
					part, _ := x.until(v, depth+1, false, true)
					b.WriteString(part)
				} else if set {
					x.deep = true
					b.WriteString("$" + prog.MacroName(name))
				}
			}
			if !ok {
				tail = s[i+1:]
			}
			s, i = tail, -1
		}
	}
	return b.String(), ""
}

// Expand puts values of macros into text as people write it: the templates of headers and mailers. Values are data;
// they are not looked at again.
func Expand(template string, get func(string) (string, bool)) string {
	t := strings.ReplaceAll(template, "$$", "\x02")
	t = strings.ReplaceAll(t, "$", string(rune(mark)))
	out, _ := expand(t, func(name string) (string, bool) {
		v, ok := get(name)
		return strings.ReplaceAll(v, string(rune(mark)), "$"), ok
	})
	return strings.ReplaceAll(plain(out), "\x02", "$")
}
