package addr

import (
	"fmt"
	"strings"
)

// Wrong is the kind of an Issue.
type Wrong uint8

const (
	UnbalancedQuote   Wrong = iota + 1 // a quoted string that does not end; it was closed at the end
	UnbalancedOpen                     // "(" without ")"; nothing can be done (only where comments are dropped)
	UnbalancedClose                    // ")" without "("; it was dropped (only where comments are dropped)
	UnbalancedLess                     // "<" without ">"; one was added at the end
	UnbalancedGreater                  // ">" without "<"; it was dropped
	EightBitChar                       // an octet from 0x80 to 0x9F; nothing can be done
	LoneBackslash                      // a backslash at the very end
	TokenTooLong                       // more than MaxToken octets in one token
	TooManyTokens                      // more than MaxTokens tokens
)

// Issue is one thing that was wrong with a text.
type Issue struct {
	Wrong  Wrong
	Offset int  // octet at which it was noticed
	Fatal  bool // there are no tokens; else it was repaired
}

// Message is the issue in sendmail's words, for the text in which it was found.
func (i Issue) Message(text string) string {
	switch i.Wrong {
	case UnbalancedQuote:
		return `Unbalanced '"'`
	case UnbalancedOpen:
		return `Unbalanced '('`
	case UnbalancedClose:
		return `Unbalanced ')'`
	case UnbalancedLess:
		return `Unbalanced '<'`
	case UnbalancedGreater:
		return `Unbalanced '>'`
	case EightBitChar:
		return fmt.Sprintf("8-bit character in mailbox address \"%s?%s\"", text[:i.Offset], text[i.Offset+1:])
	case LoneBackslash:
		return "Illegal character \\ at the end"
	case TokenTooLong:
		return "prescan: token too long"
	case TooManyTokens:
		return "prescan: too many tokens"
	}
	return "malformed address"
}

// Split cuts text into tokens and keeps comments as tokens: "(", words, ")".
func (s *Syntax) Split(text string) ([]Token, []Issue) {
	t, _, issues := s.split(nil, text, 0, false)
	return t, issues
}

// SplitStripped is Split without comments: what stands in parentheses is dropped.
func (s *Syntax) SplitStripped(text string) ([]Token, []Issue) {
	t, _, issues := s.split(nil, text, 0, true)
	return t, issues
}

// SplitList cuts the first item of a list: it stops at delim outside of quotes (and outside of comments when strip).
// rest is what follows the delimiter; more is false when the text is used up.
func (s *Syntax) SplitList(text string, delim byte, strip bool) (tokens []Token, rest string, more bool, issues []Issue) {
	tokens, end, issues := s.split(nil, text, delim, strip)
	if end < len(text) {
		return tokens, text[end+1:], true, issues
	}
	return tokens, "", false, issues
}

// Append is Split that appends to dst, for callers that reuse memory.
func (s *Syntax) Append(dst []Token, text string) ([]Token, []Issue) {
	t, _, issues := s.split(dst, text, 0, false)
	return t, issues
}

// split is the tokeniser. A token is usually a part of text; one is copied only where characters were removed from
// its middle. end is the offset at which it stopped: len(text), or that of delim. After a fatal issue the result is
// nil.
func (s *Syntax) split(dst []Token, text string, delim byte, strip bool) (_ []Token, end int, issues []Issue) {
	var (
		start   = -1    // where the current word began; -1 outside of a word
		glued   = ""    // what came before start, when a character inside the word was dropped
		angle   = 0     // open "<"
		paren   = 0     // open "("
		inQuote = false // inside of a quoted string
		base    = len(dst)
		fail    = func(w Wrong, at int) ([]Token, int, []Issue) {
			return nil, at, append(issues, Issue{w, at, true})
		}
	)
	flush := func(i int) bool {
		if start < 0 && glued == "" {
			return true
		}
		t := glued
		if start >= 0 {
			if t == "" {
				t = text[start:i]
			} else {
				t += text[start:i]
			}
		}
		start, glued = -1, ""
		if len(t) > 0 {
			dst = append(dst, Token(t))
		}
		return len(t) <= MaxToken && len(dst)-base <= MaxTokens
	}
	tooBig := func(i int) ([]Token, int, []Issue) {
		if len(dst)-base > MaxTokens {
			return fail(TooManyTokens, i)
		}
		return fail(TokenTooLong, i)
	}
	i := 0
	for ; i < len(text); i++ {
		c := text[i]
		if c >= 0x80 && c <= 0x9f && !s.passes(text, i) {
			return fail(EightBitChar, i)
		}
		if c == '\\' && !(paren > 0 && strip) {
			if i+1 == len(text) {
				return fail(LoneBackslash, i)
			}
			if start < 0 {
				start = i
			}
			if n := text[i+1]; n == '!' && !inQuote {
				glued += text[start:i] // sendmail takes \! as a plain !
				start = i + 1
			} else if n >= 0x80 && n <= 0x9f && !s.passes(text, i+1) {
				return fail(EightBitChar, i+1)
			}
			i++
			continue
		}
		if paren > 0 && strip {
			switch c {
			case '\\':
				i++
			case '(':
				paren++
			case ')':
				paren--
			}
			continue
		}
		if inQuote {
			if c == '"' {
				inQuote = false
				if !flush(i + 1) {
					return tooBig(i)
				}
			}
			continue
		}
		if delim != 0 && c == delim {
			break
		}
		switch {
		case c == '"':
			if !flush(i) {
				return tooBig(i)
			}
			start, inQuote = i, true
			continue
		case c == '(' && strip:
			if !flush(i) {
				return tooBig(i)
			}
			paren++
			continue
		case c == ')' && strip, c == '>' && angle == 0:
			w := UnbalancedClose
			if c == '>' {
				w = UnbalancedGreater
			}
			issues = append(issues, Issue{w, i, false})
			if start >= 0 { // what follows is glued to what came before
				glued += text[start:i]
				start = -1
			}
			continue
		case c == '<':
			angle++
		case c == '>':
			angle--
		}
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f':
			if !flush(i) {
				return tooBig(i)
			}
		case s.operator[c]:
			if !flush(i) {
				return tooBig(i)
			}
			start = i
			if !flush(i + 1) {
				return tooBig(i)
			}
		case start < 0:
			start = i
		}
	}
	if inQuote {
		issues = append(issues, Issue{UnbalancedQuote, i, false})
		glued = strings.Clone(glued + text[start:i] + `"`)
		start = -1
	}
	if paren > 0 && strip {
		return fail(UnbalancedOpen, i)
	}
	if !flush(i) {
		return tooBig(i)
	}
	for ; angle > 0; angle-- {
		issues = append(issues, Issue{UnbalancedLess, i, false})
		dst = append(dst, ">")
	}
	if len(dst)-base > MaxTokens {
		return fail(TooManyTokens, i)
	}
	return dst, i, issues
}

// passes reports whether the octet at i may stand in an address although it lies between 0x80 and 0x9F: only as a
// later part of a UTF-8 character, and only when the syntax allows it. So it never stands alone.
func (s *Syntax) passes(text string, i int) bool {
	if !s.eightBit {
		return false
	}
	for back := 1; back <= 3 && back <= i; back++ {
		c := text[i-back]
		if c >= 0xc2 && c <= 0xf4 {
			return true
		}
		if c < 0x80 || c > 0xbf {
			return false
		}
	}
	return false
}
