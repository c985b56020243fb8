package testmode

import (
	"strings"
)

// cracked is an address taken apart: what stands before it and behind it. The address itself may be missing.
type cracked struct {
	before, after string
	address       bool
}

func (c cracked) template() string { return c.around("$g") }

// around puts an address in the place of the old one.
func (c cracked) around(address string) string {
	if !c.address {
		return c.before + c.after
	}
	return c.before + address + c.after
}

// mustQuote are the characters that a phrase may have in quotes only (RFC 822), beside those of the option
// MustQuoteChars.
const mustQuote = `@,;:\()[]`

// crack finds the address in a text: behind phrases, in angle brackets, between comments, behind the name of a group
// or a source route. It is what sendmail shows as "Cracked address", and what a mailer's rewriting leaves around the
// new address.
func (s *session) crack(text string) cracked {
	must, given := s.cfg.Option("MustQuoteChars", "")
	if !given {
		must = ".'"
	}
	k := cracker{text: text, must: mustQuote + must + "<>", colonOK: s.cfg.Bool("ColonOkInAddr", s.cfg.Level < 6)}
	return k.crack()
}

type cracker struct {
	text    string
	must    string
	colonOK bool
	before  strings.Builder
	after   strings.Builder
}

// crack goes through the text once. phrase is what may turn out to be a phrase before an address in angle brackets or
// a group's name before a colon; until then it is the address.
func (k *cracker) crack() cracked {
	t := strings.TrimSpace(k.text)
	var (
		phrase    strings.Builder // candidates for a phrase, with their blanks
		comments  strings.Builder // comments behind the address
		seen      = false         // the address has begun
		bracket   = 0             // inside of a domain literal
		gap       = false         // blanks before the next character
		inAngle   = false
		hadAngle  = false
		trailer   strings.Builder
		colonSeen = false
	)
	flushPhrase := func(next string) {
		p := phrase.String()
		if strings.TrimSpace(p) != "" {
			k.before.WriteString(k.quote(strings.TrimSpace(p)))
		}
		if strings.HasSuffix(p, " ") || gap {
			k.before.WriteString(" ")
		}
		k.before.WriteString(comments.String())
		comments.Reset()
		k.before.WriteString(next)
		phrase.Reset()
		gap, seen = false, false
	}
	for i := 0; i < len(t); i++ {
		c := t[i]
		switch {
		case c == '(':
			j := comment(t, i)
			text := t[i:j]
			if !strings.HasSuffix(text, ")") || j > len(t) {
				text += ")"
			}
			i = j - 1
			switch {
			case !seen && !hadAngle:
				k.before.WriteString(text)
				if i+1 < len(t) && (t[i+1] == ' ' || t[i+1] == '\t') {
					k.before.WriteString(" ")
				}
			default:
				comments.WriteString(" " + text)
			}
			continue
		case c == ' ' || c == '\t':
			if seen {
				gap = true
			}
			continue
		case c == '"' && !inAngle:
			j := quoted(t, i)
			if gap && phrase.Len() > 0 {
				phrase.WriteString(" ")
			}
			gap = false
			phrase.WriteString(t[i:j])
			seen = true
			i = j - 1
			continue
		case c == '"':
			i = quoted(t, i) - 1
			continue
		case inAngle:
			if c == '>' {
				inAngle = false
			}
			continue
		case c == '<':
			if hadAngle {
				continue
			}
			if strings.HasPrefix(t[i:], "<<") {
				phrase.WriteString("<")
				seen = true
				continue
			}
			flushPhrase("<")
			trailer.WriteString(">")
			inAngle, hadAngle = true, true
			continue
		case hadAngle:
			continue
		case c == '[':
			bracket++
		case c == ']' && bracket > 0:
			bracket--
		case c == ':' && bracket == 0 && !k.colonOK:
			if strings.HasPrefix(t[i:], "::") {
				phrase.WriteString("::")
				seen = true
				i++
				continue
			}
			blank := ""
			if i+1 < len(t) && (t[i+1] == ' ' || t[i+1] == '\t') {
				blank = " "
			}
			gap = false
			flushPhrase(":" + blank)
			colonSeen = true
			continue
		case c == ';':
			trailer.WriteString(";")
			i = len(t)
			continue
		case c == '\\' && i+1 < len(t):
			if gap && phrase.Len() > 0 {
				phrase.WriteString(" ")
			}
			gap = false
			phrase.WriteString(t[i : i+2])
			i++
			seen = true
			continue
		}
		if gap && phrase.Len() > 0 {
			phrase.WriteString(" ")
		}
		gap, seen = false, true
		phrase.WriteByte(c)
	}
	_ = colonSeen
	address := hadAngle || phrase.Len() > 0
	return cracked{before: k.before.String(), after: trailer.String() + comments.String(), address: address}
}

// quote puts a phrase into quotes when it has characters that need them.
func (k *cracker) quote(p string) string {
	if strings.HasPrefix(p, `"`) && quoted(p, 0) == len(p) {
		return p
	}
	inside := false
	for i := 0; i < len(p); i++ {
		switch {
		case p[i] == '"':
			inside = !inside
		case !inside && strings.IndexByte(k.must, p[i]) >= 0:
			return `"` + strings.ReplaceAll(p, `"`, "") + `"`
		}
	}
	return p
}

// comment returns the end of the comment that begins at i.
func comment(t string, i int) int {
	depth := 0
	for ; i < len(t); i++ {
		switch t[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(t)
}

// quoted returns the end of the quoted string that begins at i.
func quoted(t string, i int) int {
	for j := i + 1; j < len(t); j++ {
		switch t[j] {
		case '\\':
			j++
		case '"':
			return j + 1
		}
	}
	return len(t)
}
