package readdress

import (
	"strings"

	"waybill/transport/envelope/lexeme"
)

// span is an address within a field: field[from:to] is it, blanks included.
type span struct{ from, to int }

// rewriteField replaces the addresses of a field that lie behind its colon. n is how many there are; beyond limit nothing
// is replaced.
func rewriteField(raw string, limit int, f func(string) (string, error)) (out string, n int, err error) {
	colon := strings.IndexByte(raw, ':')
	if colon < 0 {
		return raw, 0, nil
	}
	spans := addresses(raw, colon+1)
	if len(spans) > limit {
		return raw, len(spans), nil
	}
	var b strings.Builder
	done := 0
	for _, s := range spans {
		old := squeeze(raw[s.from:s.to])
		if old == "" {
			continue
		}
		text, err := f(old)
		if err != nil {
			return raw, len(spans), err
		}
		if text == old || text == "" || !plain(text) {
			continue
		}
		b.WriteString(raw[done:s.from])
		b.WriteString(text)
		done = s.to
	}
	b.WriteString(raw[done:])
	return b.String(), len(spans), nil
}

// plain refuses what would break the field that it comes into.
func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// addresses finds the addresses of a list (RFC 5322 3.4) in s from at on. What is not understood is left out, and so is an
// address with a comment in its midst.
func addresses(s string, at int) []span {
	var (
		spans []span
		words []span // outside comments and brackets, since the last separator
		angle span
		has   bool // an angle bracket
		bad   bool
	)
	flush := func() {
		switch {
		case bad:
		case has:
			spans = append(spans, angle)
		case len(words) == 1:
			spans = append(spans, words[0])
		}
		words, has, bad = words[:0], false, false
	}
	word := func(from, to int) {
		if n := len(words); n > 0 && (words[n-1].to == from || joined(s, words[n-1], from)) {
			words[n-1].to = to
			return
		}
		words = append(words, span{from, to})
	}
	for i := at; i < len(s); {
		switch c := s[i]; c {
		case ' ', '\t', '\r', '\n':
			i++
		case '(':
			end := lexeme.CommentEnd(s, i)
			if end < 0 {
				return spans
			}
			i = end + 1
		case '"':
			end := lexeme.QuoteEnd(s, i)
			if end < 0 {
				return spans
			}
			word(i, end+1)
			i = end + 1
		case '<':
			end := lexeme.AngleEnd(s, i)
			if end < 0 {
				return spans
			}
			bad = bad || has
			angle, has = span{i + 1, end}, true
			i = end + 1
		case '[':
			end := strings.IndexByte(s[i:], ']')
			if end < 0 {
				return spans
			}
			word(i, i+end+1)
			i += end + 1
		case ',', ';':
			flush()
			i++
		case ':':
			if i+1 < len(s) && s[i+1] == ':' { // node::user
				word(i, i+2)
				i += 2
				continue
			}
			words, has, bad = words[:0], false, false // the name of a group
			i++
		case '>', ')', ']':
			bad = true
			i++
		case '\\':
			end := min(i+2, len(s))
			if s[end-1] == '\n' || s[end-1] == '\r' {
				end-- // a line end cannot be quoted (RFC 5322 3.2.1)
			}
			word(i, end)
			i = end
		default:
			word(i, i+1)
			i++
		}
	}
	flush()
	return spans
}

// joined reports whether what follows a word at from belongs to it although there are blanks between: "bob @ example . com".
func joined(s string, w span, from int) bool {
	between := s[w.to:from]
	if strings.Trim(between, " \t\r\n") != "" {
		return false
	}
	const glue = "@.!%"
	return strings.IndexByte(glue, s[w.to-1]) >= 0 || strings.IndexByte(glue, s[from]) >= 0
}

// squeeze takes blanks and comments out of an address, except in quotes.
func squeeze(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		switch c := s[i]; c {
		case '"':
			end := lexeme.QuoteEnd(s, i)
			if end < 0 {
				return ""
			}
			b.WriteString(s[i : end+1])
			i = end + 1
		case '(':
			end := lexeme.CommentEnd(s, i)
			if end < 0 {
				return ""
			}
			i = end + 1
		case '\\':
			b.WriteString(s[i:min(i+2, len(s))])
			i += 2
		case ' ', '\t', '\r', '\n':
			i++
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String()
}
