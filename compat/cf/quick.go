package cf

import (
	"strings"

	"waybill/rules/addr"
	"waybill/rules/prog"
)

// Most R lines are plain: words, operators and symbols, without quotes, comments, references to macros or mistakes.
// They are cut in one pass over the line as it stands. Whatever is not so plain goes the long way (ruleLine), which
// also knows what to say; a fuzz target holds both alike.

// What an octet of an R line is for the short way.
const (
	inWord   = iota // of a word
	betweens        // ends a word
	alone           // a token
	dollar
	quote
	unusual // for the long way
)

// quickKinds are the symbols that the short way knows, by the character behind the dollar sign.
type quickKinds [128]prog.Kind

// noKind marks characters that stand for no symbol.
const noKind = prog.Kind(255)

var quickLeft, quickRight = func() (left, right quickKinds) {
	for i := range left {
		left[i], right[i] = noKind, noKind
	}
	for c, k := range map[byte]prog.Kind{'*': prog.ZeroOrMore, '+': prog.OneOrMore, '-': prog.One, '@': prog.Empty, '=': prog.InClass,
		'~': prog.NotInClass, '&': prog.RunMacro, '|': prog.Sep, '#': prog.Mailer} {
		left[c] = k
	}
	for c, k := range map[byte]prog.Kind{'&': prog.RunMacro, '|': prog.Sep, '#': prog.Mailer, '(': prog.MapBegin, ')': prog.MapEnd,
		'[': prog.HostBegin, ']': prog.HostEnd, '@': prog.Host, ':': prog.User, '>': prog.Call} {
		right[c] = k
	}
	for c := byte('1'); c <= '9'; c++ {
		right[c] = prog.Capture
	}
	return left, right
}()

// quick is the memory of the short way.
type quick struct {
	octets *[256]uint8 // nil: to be made for the operators that hold now
	toks   []prog.Tok
	rules  []prog.Rule
}

// kinds tells what octets are, for the operators that hold now.
func (r *reader) kinds() *[256]uint8 {
	if r.syn == nil || r.quick.octets == nil {
		var k [256]uint8
		syntax := r.syntax()
		for c := range k {
			switch {
			case c == '$':
				k[c] = dollar
			case c == ' ':
				k[c] = betweens
			case c < ' ' || c >= 0x7f || c == '\\' || c == '#':
				k[c] = unusual
			case c == '"':
				k[c] = quote
			case syntax.IsOperator(addr.Token([]byte{byte(c)})):
				k[c] = alone
			}
		}
		r.quick.octets = &k
	}
	return r.quick.octets
}

// quickRule reads a plain R line. It returns false, and has done nothing, when the line is not so plain.
func (r *reader) quickRule(raw string) bool {
	if r.cur == nil || r.cfg.Level < 9 {
		return false
	}
	tab := strings.IndexByte(raw, '\t')
	if tab < 0 {
		return false
	}
	end := tab + 1
	for end < len(raw) && raw[end] == '\t' {
		end++
	}
	right := raw[end:]
	if i := strings.IndexByte(right, '\t'); i >= 0 {
		if rest := right[i:]; strings.IndexByte(rest, '\n') >= 0 {
			return false
		}
		right = right[:i]
	}
	if right = strings.TrimRight(right, " "); right == "" {
		return false
	}
	q := &r.quick
	if cap(q.toks)-len(q.toks) < len(raw) {
		q.toks = make([]prog.Tok, 0, max(1024, len(raw)))
	}
	begin := len(q.toks)
	lhs, wild, ok := r.quickSide(raw[1:tab], &quickLeft)
	if !ok || wild > maxWildcards || len(lhs) == 0 {
		q.toks = q.toks[:begin]
		return false
	}
	rhs, _, ok := r.quickSide(right, &quickRight)
	if !ok || !closed(rhs, wild) {
		q.toks = q.toks[:begin]
		return false
	}
	if len(q.rules) == cap(q.rules) {
		q.rules = make([]prog.Rule, 0, 64)
	}
	q.rules = append(q.rules, prog.Rule{Pos: r.pos(), Source: raw, LHS: lhs, RHS: rhs})
	rule := &q.rules[len(q.rules)-1]
	setMode(rule)
	r.cur.Rules = append(r.cur.Rules, rule)
	r.ruled = true
	return true
}

// quickSide cuts one side. It counts the wildcards.
func (r *reader) quickSide(text string, kinds *quickKinds) (toks []prog.Tok, wild int, ok bool) {
	q := &r.quick
	octets := r.kinds()
	begin := len(q.toks)
	for i := 0; i < len(text); {
		switch octets[text[i]] {
		case betweens:
			i++
		case alone:
			q.toks = append(q.toks, prog.Tok{Kind: prog.Literal, Text: text[i : i+1]})
			i++
		case inWord:
			from := i
			for i++; i < len(text) && octets[text[i]] == inWord; i++ {
			}
			if i-from > addr.MaxToken {
				return nil, 0, false
			}
			q.toks = append(q.toks, prog.Tok{Kind: prog.Literal, Text: text[from:i]})
		case dollar:
			if i+1 == len(text) || text[i+1] >= 0x80 {
				return nil, 0, false
			}
			c := text[i+1]
			t := prog.Tok{Kind: kinds[c]}
			i += 2
			switch t.Kind {
			case noKind:
				return nil, 0, false
			case prog.Capture:
				t.N = int(c - '0')
			case prog.InClass, prog.NotInClass, prog.RunMacro:
				n := quickName(text[i:], octets)
				if n == 0 {
					return nil, 0, false
				}
				t.Text = text[i : i+n]
				if n > 1 {
					t.Text = text[i+1 : i+n-1]
				}
				i += n
			}
			if t.Kind.Wildcard() {
				wild++
			}
			q.toks = append(q.toks, t)
		case quote:
			from := i
			for i++; i < len(text) && text[i] != '"'; i++ {
				if k := octets[text[i]]; k == unusual || k == dollar {
					return nil, 0, false
				}
			}
			if i++; i > len(text) || i-from > addr.MaxToken {
				return nil, 0, false
			}
			q.toks = append(q.toks, prog.Tok{Kind: prog.Literal, Text: text[from:i]})
		default:
			return nil, 0, false
		}
	}
	return q.toks[begin:len(q.toks):len(q.toks)], wild, true
}

// quickName returns how long the name of a class or macro is that text begins with, braces included; 0 for one that is
// not plain.
func quickName(text string, octets *[256]uint8) int {
	if text == "" {
		return 0
	}
	if c := text[0]; c != '{' {
		if k := octets[c]; k != inWord && k != alone {
			return 0
		}
		return 1
	}
	i := 1
	for i < len(text) && isNameChar(text[i]) {
		i++
	}
	if i == len(text) || text[i] != '}' || i < 3 || i > maxName {
		return 0 // names of one letter may be written with braces, too
	}
	return i + 1
}

// closed gives the symbols between those of lookups their meaning, and reports whether there is nothing to say about
// them and about the numbers of captures.
func closed(rhs []prog.Tok, wild int) bool {
	inMap := prog.Literal
	args := 0
	for i := range rhs {
		switch t := &rhs[i]; t.Kind {
		case prog.Capture:
			if t.N > wild {
				return false
			}
		case prog.MapBegin, prog.HostBegin:
			if inMap != prog.Literal {
				return false
			}
			if args, inMap = 0, prog.MapEnd; t.Kind == prog.HostBegin {
				inMap = prog.HostEnd
			}
		case prog.MapEnd, prog.HostEnd:
			if t.Kind == inMap {
				inMap = prog.Literal
			}
		case prog.Host:
			if inMap != prog.Literal {
				if args++; args > maxMapArgs {
					return false
				}
				t.Kind = prog.MapArg
			}
		case prog.User:
			if inMap != prog.Literal {
				t.Kind = prog.MapElse
			}
		}
	}
	return inMap == prog.Literal
}
