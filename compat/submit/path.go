package submit

import (
	"strings"

	"waybill/transport/envelope"
	"waybill/transport/envelope/lexeme"
	"waybill/transport/sysexits"
)

// Path is what stands behind "MAIL FROM:" or "RCPT TO:", as sendmail reads it.
type Path struct {
	Addr    envelope.Address // without brackets and comments; empty for "<>"
	Text    string           // as written
	Rest    string           // the parameters behind it
	Problem string           // why it is no address, in sendmail's words; empty when it is one
	Exit    int              // the exit status that Problem makes for sendmail -bs
	Group   bool             // it is a list with a name (RFC 5322 3.4), or begins as one
}

// maxToken is the longest address that sendmail cuts into tokens, in octets.
const maxToken = 255

// ParsePath reads one address up to the first blank outside of quotes, comments and brackets. What the rules have to say
// about it, they say themselves: only signs that do not fit, and an address that is too long, are problems here.
func ParsePath(s string) Path {
	s = strings.TrimLeft(s, " \t")
	i, depth, wrong := 0, 0, ""
	open, closed := -1, -1 // the innermost brackets
scan:
	for ; i < len(s); i++ {
		switch c := s[i]; c {
		case '\\':
			i++
		case '"':
			if i = lexeme.QuoteEnd(s, i); i < 0 {
				i, wrong = len(s), `"`
				break scan
			}
		case '(':
			if i = lexeme.CommentEnd(s, i); i < 0 {
				i, wrong = len(s), "("
				break scan
			}
		case ')':
			if depth == 0 { // between brackets it is a letter like others
				wrong = ")"
			}
		case '<':
			depth++
			open, closed = i, -1
		case '>':
			if depth == 0 {
				wrong = ">"
				break
			}
			depth--
			if closed < 0 {
				closed = i
			}
		case ' ', '\t':
			if depth == 0 {
				break scan
			}
		}
	}
	i = min(i, len(s))
	if depth > 0 && wrong == "" {
		wrong = "<"
	}
	p := Path{Text: s[:i], Rest: s[i:]}
	inside := p.Text
	if open >= 0 && closed > open {
		inside = inside[open+1 : closed]
	}
	p.Group = group(inside)
	p.Addr = envelope.Address(withoutBlanks(lexeme.WithoutComments(inside)))
	switch {
	case wrong != "":
		p.Problem, p.Exit = "Unbalanced '"+wrong+"'", sysexits.Usage
	case len(p.Addr) > maxToken:
		p.Problem = TokenTooLong
	}
	return p
}

// group tells a list: its name is one word, or there is nothing behind the colon, or a ";" at the end.
func group(s string) bool {
	name, members, ok := strings.Cut(s, ":")
	return ok && name != "" && !strings.ContainsAny(name, "@!%\"[:") && !strings.HasPrefix(members, ":") && (members == "" || strings.HasSuffix(strings.TrimSpace(members), ";"))
}

// withoutBlanks does what sendmail's BlankSub does to blanks between words, and drops those beside operators.
func withoutBlanks(s string) string {
	const operators = "@.!%:,;[]"
	var b strings.Builder
	gap := false
	for i := 0; i < len(s); i++ {
		c, word := s[i], s[i:i+1]
		switch c {
		case ' ', '\t':
			gap = b.Len() > 0
			continue
		case '"':
			if end := lexeme.QuoteEnd(s, i); end > 0 {
				word = s[i : end+1]
				i = end
			}
		case '\\':
			word = s[i:min(i+2, len(s))]
			i++
		}
		if text := b.String(); gap && strings.IndexByte(operators, c) < 0 && strings.IndexByte(operators, text[len(text)-1]) < 0 {
			b.WriteByte('.')
		}
		gap = false
		b.WriteString(word)
	}
	return b.String()
}

// TokenTooLong is the problem of an address that is longer than any can be.
const TokenTooLong = "prescan: token too long"
