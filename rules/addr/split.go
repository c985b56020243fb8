package addr

import "strings"

// Split cuts text into tokens and keeps comments as tokens: "(", words, ")". The tokens are nil after a fatal issue.
func (s *Syntax) Split(text string) ([]Token, []Issue) {
	t, _, issues := s.split(nil, text, 0, 0)
	return t, issues
}

// SplitStripped is Split without comments: what stands in parentheses is dropped.
func (s *Syntax) SplitStripped(text string) ([]Token, []Issue) {
	t, _, issues := s.split(nil, text, 0, strip)
	return t, issues
}

// SplitList cuts the first item of a list: it stops at delim outside of quotes (and outside of comments when strip).
// rest is what follows the delimiter; more is false when the text is used up.
func (s *Syntax) SplitList(text string, delim byte, stripped bool) (tokens []Token, rest string, more bool, issues []Issue) {
	tokens, end, issues := s.split(nil, text, delim, modeOf(stripped))
	if end < len(text) && text[end] == delim {
		return tokens, text[end+1:], true, issues
	}
	return tokens, "", false, issues
}

// SplitTyped is SplitList for what somebody types in test mode, where the octet 0xFF has an odd effect.
func (s *Syntax) SplitTyped(text string, delim byte, stripped bool) (tokens []Token, rest string, more bool, issues []Issue) {
	tokens, end, issues := s.split(nil, text, delim, modeOf(stripped)|typed)
	if end < len(text) && text[end] == delim {
		return tokens, text[end+1:], true, issues
	}
	return tokens, "", false, issues
}

// Append is Split that appends to dst, for callers that reuse memory. After a fatal issue it returns dst unchanged.
func (s *Syntax) Append(dst []Token, text string, stripped bool) ([]Token, []Issue) {
	t, _, issues := s.split(dst, text, 0, modeOf(stripped))
	if t == nil {
		return dst, issues
	}
	return t, issues
}

// Symbol stands for a metasymbol in the text given to SplitRule. No line of a file has this octet.
const Symbol = 0x00

// SplitRule cuts one side of a rule: text in which every metasymbol was replaced by the octet Symbol. Each is a token of
// its own, but inside of quotes or behind a backslash, where it stays in the token around it. Nothing is balanced and
// nothing is wrong: rules may say "$* < $*".
func (s *Syntax) SplitRule(text string, stripped bool) []Token {
	t, _, _ := s.split(nil, text, 0, modeOf(stripped)|rule|trusted)
	return t
}

// SplitAgain cuts text that may hold metasymbols: the default part of a table lookup, which was tokens before. Comments
// are dropped.
func (s *Syntax) SplitAgain(dst []Token, text string) ([]Token, []Issue) {
	t, _, issues := s.split(dst, text, 0, strip|metas)
	return t, issues
}

// AppendTrusted is Append without comments for text of our own, macros and values of tables: octets from 0x80 to 0x9F may
// stand in words, so that UTF-8 passes; alone, one becomes a question mark.
func (s *Syntax) AppendTrusted(dst []Token, text string) ([]Token, []Issue) {
	t, _, issues := s.split(dst, text, 0, strip|trusted)
	if t == nil {
		return dst, issues
	}
	return t, issues
}

// mode changes what split does.
type mode uint8

const (
	strip   mode = 1 << iota // drop comments
	rule                     // the text is a side of a rule
	metas                    // octets that are metasymbols are tokens
	typed                    // 0xFF is odd
	trusted                  // octets from 0x80 to 0x9F may stand in words
)

func modeOf(stripped bool) mode {
	if stripped {
		return strip
	}
	return 0
}

// cutter is the state of one run of the tokeniser.
type cutter struct {
	text  string
	out   []Token
	base  int    // tokens that were in out before
	start int    // where the current word began in text; -1 outside of a word
	glued string // what came before start, when a character inside of the word was dropped
	open  bool   // a token was begun that may stay empty (see 0xFF below)
	size  int    // octets of all tokens, with one for each end
	wrong Wrong
	how   mode
}

// end ends the current word before octet i.
func (c *cutter) end(i int) {
	t := c.glued
	if c.start >= 0 {
		if t == "" {
			t = c.text[c.start:i]
		} else {
			t += c.text[c.start:i]
		}
	}
	if t == "" && !c.open {
		return
	}
	c.start, c.glued, c.open = -1, "", false
	if c.how&trusted != 0 && len(t) == 1 && t[0] >= 0x80 && t[0] <= 0x9f {
		t = "?"
	}
	c.out = append(c.out, Token(t))
	c.size += len(t) + 1
	switch {
	case c.how&rule != 0:
	case len(t) > MaxToken:
		c.wrong = TokenTooLong
	case c.size > MaxText || len(c.out)-c.base > MaxTokens:
		c.wrong = TooLong
	}
}

// drop leaves octet i out of the word around it.
func (c *cutter) drop(i int) {
	if c.start >= 0 {
		c.glued += c.text[c.start:i]
		c.start = -1
	}
}

// split is the tokeniser. A token is a part of text wherever possible; it is copied only where characters were removed
// from its middle. at is the offset at which it stopped: len(text), that of delim, or that of a fatal issue.
//
// What it does with each octet: inside of a comment that is dropped, nothing but counting parentheses; behind a backslash,
// keep it; inside of a quoted string, keep it up to the closing quote; white space ends a word; an operator ends a
// word and is one; everything else belongs to the word. Balance is repaired as SEMANTICS facts 15 to 18 say.
func (s *Syntax) split(dst []Token, text string, delim byte, how mode) (_ []Token, at int, issues []Issue) {
	if how&rule == 0 && len(text) <= MaxAddress && (delim == 0 || strings.IndexByte(text, delim) < 0) {
		if t, ok := s.quick(dst, text); ok {
			return t, len(text), nil
		}
	}
	for i := 0; i < len(text) && how&trusted == 0; i++ { // no text that holds an octet of a metasymbol is cut at all
		if c := text[i]; c >= 0x80 && c <= 0x9f && !(how&metas != 0 && isMeta(c)) && !(s.eightBit && insideRune(text, i)) {
			return nil, i, []Issue{{EightBitChar, i}}
		}
	}
	if dst == nil {
		dst = make([]Token, 0, 8+len(text)/4)
	}
	c := cutter{text: text, out: dst, base: len(dst), start: -1, how: how}
	angle, paren, quoted, route, i := 0, 0, false, false, 0
scan:
	for ; i < len(text) && c.wrong == 0; i++ {
		b := text[i]
		switch {
		case paren > 0:
			switch b {
			case '\\':
				if i++; i == len(text) { // it protects the end, which is told once more
					issues = append(issues, Issue{UnbalancedOpen, i})
				}
			case '(':
				paren++
			case ')':
				paren--
			}
		case how&typed != 0 && how&strip == 0 && b == 0xff && !quoted:
			// The real engine takes 0xFF for "no character": it breaks a word, and makes a token with what follows.
			c.end(i)
			for i+1 < len(text) && text[i+1] == '>' && angle == 0 {
				i++
				issues = append(issues, Issue{UnbalancedGreater, i})
			}
			c.glued = "\xff"
			if i+1 < len(text) && !(delim != 0 && text[i+1] == delim) {
				i++
				c.start = i
				switch {
				case text[i] == '\\' && i+1 < len(text):
					i++
				case text[i] == '<':
					angle++
				}
			} else if i+1 == len(text) && angle > 0 { // it takes the bracket that is added
				issues = append(issues, Issue{UnbalancedLess, i + 1})
				c.glued += ">"
				angle--
			}
			c.end(i + 1)
		case b == '\\':
			next := byte(0)
			if i+1 < len(text) {
				next = text[i+1]
			}
			switch {
			case i+1 == len(text):
				if quoted && how&rule == 0 {
					issues = append(issues, Issue{UnbalancedQuote, i})
					c.glued += text[c.start:] + `"`
					c.start = len(text)
				} else if c.drop(i); angle > 0 { // it protects the bracket that is added
					issues = append(issues, Issue{UnbalancedLess, i})
					c.glued += `\>`
				}
			case delim != 0 && next == delim && !quoted: // it does not protect the delimiter
				c.drop(i)
				continue
			case next == '!' && !quoted: // \! is an ordinary !, for shells that make one of the other
				c.drop(i)
				continue
			case c.start < 0:
				c.start = i
			}
			i++
		case quoted:
			if b == '"' {
				quoted = false
				c.end(i + 1)
			}
		case delim != 0 && b == delim && !route:
			break scan
		case b == '"':
			c.end(i)
			c.start, quoted = i, true
		case b == ' ' || b >= '\t' && b <= '\r':
			c.end(i)
		case b == '(' && how&strip != 0:
			c.end(i)
			paren = 1
		case b == ')' && how&strip != 0 && how&rule == 0:
			issues = append(issues, Issue{UnbalancedClose, i})
			c.drop(i)
		case b == '>' && angle == 0 && how&rule == 0:
			issues = append(issues, Issue{UnbalancedGreater, i})
			c.drop(i)
		case s.operator[b] || b == Symbol && how&rule != 0 || how&metas != 0 && isMeta(b):
			c.end(i)
			switch b {
			case '<':
				angle++
			case '>':
				angle--
				route = false
			case '@': // in a route (RFC 821 3.6) commas stand between the hosts
				route = route || len(c.out) > c.base && c.out[len(c.out)-1] == "<"
			}
			c.start = i
			c.end(i + 1)
		case c.start < 0:
			c.start = i
		}
	}
	i = min(i, len(text))
	if c.wrong != 0 { // nobody saw what would have been open at the end
		return nil, i, append(issues, Issue{c.wrong, i})
	}
	if quoted {
		if issues = append(issues, Issue{UnbalancedQuote, i}); how&rule == 0 {
			c.glued += text[min(c.start, i):i] + `"`
			c.start = -1
		}
	}
	for ; paren > 0; paren-- {
		issues = append(issues, Issue{UnbalancedOpen, i})
	}
	c.end(i)
	for ; angle > 0 && c.wrong == 0 && how&rule == 0; angle-- {
		issues = append(issues, Issue{UnbalancedLess, i})
		c.start, c.glued, c.open = -1, ">", false
		c.end(i)
	}
	if c.wrong != 0 {
		return nil, i, append(issues, Issue{c.wrong, i})
	}
	return c.out, i, issues
}

// quick is split for the texts that most are: too short for any limit, without characters that protect or hide others,
// and with brackets in balance.
func (s *Syntax) quick(dst []Token, text string) (_ []Token, ok bool) {
	if dst == nil {
		dst = make([]Token, 0, 8+len(text)/4)
	}
	start, angle := 0, 0 // where the current word began
	for i := 0; i < len(text); i++ {
		k := s.kind[text[i]]
		if k == ordinary {
			continue
		}
		if k == odd {
			return nil, false
		}
		if start < i {
			dst = append(dst, Token(text[start:i]))
		}
		start = i + 1
		switch k {
		case blank:
			continue
		case opening:
			angle++
		case closing:
			if angle--; angle < 0 {
				return nil, false
			}
		}
		dst = append(dst, Token(text[i:i+1]))
	}
	if start < len(text) {
		dst = append(dst, Token(text[start:]))
	}
	return dst, angle == 0
}

// insideRune reports whether the octet at i is a later part of a UTF-8 character, so that it never stands alone.
func insideRune(text string, i int) bool {
	for back := 1; back <= 3 && back <= i; back++ {
		switch c := text[i-back]; {
		case c >= 0xc2 && c <= 0xf4:
			return true
		case c < 0x80 || c > 0xbf:
			return false
		}
	}
	return false
}
