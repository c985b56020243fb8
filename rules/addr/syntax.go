package addr

import "strings"

// Limits of sendmail 8.17 (SEMANTICS facts 13, 30).
const (
	MaxTokens  = 1000 // tokens in one text
	MaxToken   = 256  // octets in one token
	MaxText    = 1251 // octets of all tokens, each with one more for its end
	MaxAddress = 255  // octets in an address that somebody typed; callers check it, Split does not
)

// Defaults of the operator characters: what sendmail uses without an OperatorChars option, and what every
// configuration made by m4 sets. Our own language uses the second.
const (
	OldOperators   = ".:@[]"
	StockOperators = ".:%@!^/[]+"
)

// builtin characters always split, whatever the option says.
const builtin = "()<>,;\r\n\""

// Syntax says how text is cut. It is immutable after New and safe for concurrent use. The zero value is not usable.
type Syntax struct {
	operator [256]bool // single-character tokens, without the quote
	kind     [256]kind // of characters, for texts without any of the odd ones
	chars    string
	blankSub string
	eightBit bool
}

// Option changes a Syntax while it is made.
type Option func(*Syntax)

// BlankSub sets what Join puts between two adjacent words (sendmail's BlankSub option; a blank unless set).
func BlankSub(s string) Option { return func(x *Syntax) { x.blankSub = s } }

// EightBit lets octets from 0x80 to 0x9F pass inside longer tokens, for UTF-8 addresses (RFC 6531). sendmail refuses
// them, and so does a Syntax without this option.
func EightBit() Option { return func(x *Syntax) { x.eightBit = true } }

// New returns the syntax with these operator characters (beside the built-in ones); others than ASCII are left out.
func New(operators string, options ...Option) *Syntax {
	s := &Syntax{chars: operators, blankSub: " "}
	for _, o := range options {
		o(s)
	}
	for i := 0; i < len(operators); i++ {
		if operators[i] < 0x80 { // an octet of a UTF-8 character must not become a token of its own
			s.operator[operators[i]] = true
		}
	}
	for i := 0; i < len(builtin); i++ {
		s.operator[builtin[i]] = true
	}
	s.operator['"'] = false
	for c := range s.kind {
		switch {
		case c >= 0x80 || c == '"' || c == '\\' || c == '(' || c == ')':
			s.kind[c] = odd
		case c == '<':
			s.kind[c] = opening
		case c == '>':
			s.kind[c] = closing
		case c == ' ' || c >= '\t' && c <= '\r':
			s.kind[c] = blank
		case s.operator[c]:
			s.kind[c] = operator
		}
	}
	return s
}

// kind is what a character is to most texts.
type kind uint8

const (
	ordinary kind = iota // it belongs to a word
	operator
	blank
	opening // <
	closing // >
	odd     // quotation marks, backslashes, parentheses, and octets that are no ASCII
)

// Operators returns the operator characters given to New.
func (s *Syntax) Operators() string { return s.chars }

// IsOperator reports whether t is a single operator character.
func (s *Syntax) IsOperator(t Token) bool { return len(t) == 1 && s.operator[t[0]] }

// Join puts tokens together to text, as sendmail does for the parts of a triple and for map keys: the blank
// substitute goes between two adjacent words, nothing next to an operator, a quoted string or a metasymbol
// (SEMANTICS fact 33). Metasymbols appear as people write them.
func (s *Syntax) Join(tokens []Token) string { return s.JoinWith(tokens, s.blankSub) }

// JoinWith is Join with another blank substitute, which may be empty.
func (s *Syntax) JoinWith(tokens []Token, blank string) string {
	if len(tokens) == 1 && !tokens[0].IsMeta() {
		return string(tokens[0])
	}
	var b strings.Builder
	n := 0
	for _, t := range tokens {
		n += len(t) + len(blank)
	}
	b.Grow(n)
	word := false
	for _, t := range tokens {
		w := s.IsWord(t)
		if w && word {
			b.WriteString(blank)
		}
		word = w
		b.WriteString(t.String())
	}
	return b.String()
}

// IsWord reports whether t is a word: neither operator nor quoted string nor metasymbol.
func (s *Syntax) IsWord(t Token) bool {
	return t != "" && t[0] != '"' && !s.operator[t[0]] && !t.IsMeta()
}
