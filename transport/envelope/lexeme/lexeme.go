// Package lexeme finds where the parts of an address field end that may hold anything: quoted strings, comments and
// angle brackets (RFC 5322 3.2). Text flows in, positions flow out; nothing is judged or changed.
package lexeme

import "strings"

// QuoteEnd is the position of the quote that ends what the one at i begins; a backslash protects what follows it
// (RFC 5322 3.2.4). It is -1 when the string stays open.
func QuoteEnd(s string, i int) int {
	for j := i + 1; j < len(s); j++ {
		switch s[j] {
		case '\\':
			j++
		case '"':
			return j
		}
	}
	return -1
}

// CommentEnd is the position of the parenthesis that ends the comment at i; comments nest (RFC 5322 3.2.2). It is -1
// when the comment stays open.
func CommentEnd(s string, i int) int {
	depth := 0
	for j := i; j < len(s); j++ {
		switch s[j] {
		case '\\':
			j++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return j
			}
		}
	}
	return -1
}

// AngleEnd is the position of the ">" that ends what the "<" at i begins, outside of quoted strings
// (RFC 5322 3.4). It is -1 when the bracket or a string in it stays open.
func AngleEnd(s string, i int) int {
	for j := i + 1; j < len(s); j++ {
		switch s[j] {
		case '\\':
			j++
		case '"':
			if j = QuoteEnd(s, j); j < 0 {
				return -1
			}
		case '>':
			return j
		}
	}
	return -1
}

// WithoutComments is s without its comments. One that stays open reaches to the end.
func WithoutComments(s string) string {
	if !strings.Contains(s, "(") {
		return s
	}
	var b strings.Builder
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			b.WriteString(s[i : i+2])
			i++
		case c == '(' && !quoted:
			if i = CommentEnd(s, i); i < 0 {
				return b.String()
			}
		default:
			quoted = quoted != (c == '"')
			b.WriteByte(c)
		}
	}
	return b.String()
}
