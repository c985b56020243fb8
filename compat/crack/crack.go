// Package crack finds the address in a text as sendmail does: behind phrases, in angle brackets, between comments, behind
// the name of a group or a source route. In flows one element of an address list, as RFC 822 and people write it; out flow
// the texts before and behind the address, with quotes and brackets put in order. It is what sendmail -bt shows as
// "Cracked address", and what a mailer's rewriting leaves around the new address.
package crack

import (
	"strings"

	"waybill/transport/envelope/lexeme"
)

// Cracked is an address taken apart: what stands before it and behind it. The address itself may be missing.
type Cracked struct {
	before, after string
	address       bool
}

// Template shows the text with "$g" in the place of the address.
func (c Cracked) Template() string { return c.Around("$g") }

// Around puts an address in the place of the old one.
func (c Cracked) Around(address string) string {
	if !c.address {
		return c.before + c.after
	}
	return c.before + address + c.after
}

// Options are what a sendmail.cf says about it.
type Options struct {
	MustQuote string // option MustQuoteChars
	ColonOK   bool   // option ColonOkInAddr
}

// DefaultMustQuote is MustQuoteChars where it is not set.
const DefaultMustQuote = ".'"

// mustQuote are the characters that a phrase may have in quotes only (RFC 822), beside those of the option
// MustQuoteChars.
const mustQuote = `@,;:\()[]`

// Crack takes a text apart.
func Crack(text string, o Options) Cracked {
	k := cracker{text: text, must: mustQuote + o.MustQuote + "<>", colonOK: o.ColonOK}
	return k.crack()
}

// Quote puts a phrase into quotes when it has characters that need them there.
func Quote(phrase, mustQuoteChars string) string {
	k := cracker{must: mustQuote + mustQuoteChars + "<>"}
	return k.quote(phrase)
}

type cracker struct {
	text    string
	must    string
	colonOK bool
}

// crack goes through the text once. base is what is settled already: up to a colon. phrase is where the text began
// that may turn out to be a phrase before an address in angle brackets, or a group's name before a colon; until then
// it is the address.
func (k *cracker) crack() Cracked {
	t := strings.TrimSpace(k.text)
	var (
		base, before string          // settled; and base with what stands before an opening bracket
		comments     strings.Builder // comments behind the address
		phrase       = 0
		bracket      = 0     // inside of a domain literal
		seen         = false // the address has begun
		angle, done  = false, false
		colon, ended = false, false
		lead         strings.Builder // comments before the address
	)
	tail, behind := "", ""
scan:
	for i := 0; i < len(t); i++ {
		switch c := t[i]; {
		case c == '(':
			j := comment(t, i)
			text := closed(t[i:j])
			i = j - 1
			if !seen && angle && !done { // before the address, it stands before it
				before = strings.TrimSuffix(before, " ") + " " + text + " "
			} else if !seen && !angle && !done {
				lead.WriteString(text + " ")
			} else {
				comments.WriteString(" " + text)
			}
		case c == ' ' || c == '\t':
			seen = seen || angle && !done // the address has begun with it
		case c == '"':
			j := quoted(t, i)
			empty := t[i:j] == `""` || t[i:j] == `"`
			alone := j == len(t) && strings.Trim(t[phrase:i], " \t\"") == "" || j < len(t) && strings.IndexByte(`;("`, t[j]) >= 0
			seen = seen || !empty || !angle && !alone
			i = j - 1
		case c == '\\':
			i++
			seen = true
		case c == '<':
			raw := t[phrase:i]
			name := strings.TrimSpace(raw)
			gap := ""
			if name != "" && len(strings.TrimRight(raw, " \t")) < len(raw) {
				gap = " "
			}
			before = base + k.quote(name) + gap + "<"
			angle, done, seen, bracket = true, false, false, 0
			comments.Reset()
			lead.Reset()
		case c == '>' && angle && !done && quoteFollows(t[i+1:], k.colonOK):
			return Cracked{before: "<", after: ">", address: seen}
		case c == '>':
			if angle && !done && (hasOpen(t[i:]) || !colon && !k.colonOK && hasColon(t[i:])) {
				angle, seen = false, true // all of that was a phrase
			} else if angle && !done {
				done = true
				tail = ">" + k.rest(t[i+1:])
				tail = comments.String() + tail
				comments.Reset()
				if !seen {
					return Cracked{before: strings.TrimRight(before, " "), after: tail, address: false}
				}
				return Cracked{before: before, after: tail, address: true}
			}
		case angle && c == ';' && !k.colonOK: // the address ends here
			if seen {
				return Cracked{before: before, after: ";>", address: true}
			}
			return Cracked{before: before + ";", after: ">", address: true}
		case angle:
			seen = true
		case c == '[':
			bracket++
			seen = true
		case c == ']':
			bracket--
			seen = true
		case c == ':' && bracket <= 0 && !colon && !k.colonOK:
			if strings.HasPrefix(t[i:], "::") {
				i++
				seen = true
				continue
			}
			if strings.HasPrefix(t[i:], ":.") {
				continue
			}
			name := strings.TrimSpace(t[phrase:i])
			gap := ""
			if name != "" && t[i-1] == ' ' {
				gap = " "
			}
			base += k.quoteWith(name, strings.TrimSuffix(k.must, "<>")) + gap + ":"
			if i+1 < len(t) && (t[i+1] == ' ' || t[i+1] == '\t') {
				base += " "
			}
			phrase, seen, colon = i+1, false, true
			comments.Reset()
			lead.Reset()
		case c == ';' && !angle && !k.colonOK && (colon || !hasColon(t[i:])) && !hasOpen(t[i:]):
			ended = true
			behind = afterGroup(t[i+1:])
			break scan
		default:
			seen = true
		}
	}
	switch {
	case angle:
		return Cracked{before: before, after: comments.String() + ">", address: seen}
	case ended && !seen:
		if first, more := k.firstComment(t[phrase:]); more != "" { // the address would stand behind the first comment
			return Cracked{before: base + first + " ", after: strings.TrimSuffix(" "+strings.TrimSpace(more), " ") + ";" + behind, address: true}
		}
		return Cracked{before: base + strings.TrimRight(lead.String(), " ") + ";", after: comments.String() + behind, address: true}
	case ended:
		return Cracked{before: base + lead.String(), after: ";" + comments.String() + behind, address: true}
	}
	if !seen {
		if first := lead.String(); base == "" && comments.Len() == 0 && strings.HasPrefix(first, "(") { // nothing but comments: the address would stand behind the first
			if end := comment(first, 0); strings.TrimSpace(first[end:]) != "" {
				return Cracked{before: first[:end] + " ", after: strings.TrimRight(first[end:], " "), address: true}
			}
		}
		return Cracked{before: strings.TrimRight(base+lead.String(), " "), after: comments.String()}
	}
	return Cracked{before: base + lead.String(), after: comments.String(), address: true}
}

// rest is what stands behind the closing bracket of an address: words and comments stay, stray brackets go. A quotation mark
// can only be at the very end; it is doubled.
func (k *cracker) rest(t string) string {
	t = strings.TrimRight(t, " \t")
	var b strings.Builder
	for i := 0; i < len(t); i++ {
		switch c := t[i]; c {
		case '(':
			j := comment(t, i)
			b.WriteString(closed(t[i:j]))
			i = j - 1
		case '"':
			b.WriteString(`""`)
		case '<', '>', ')':
		case ':':
			b.WriteByte(c)
			if i+1 < len(t) && (t[i+1] == ':' || t[i+1] == '.') { // it stands for itself here, and is doubled
				b.WriteByte(c)
			}
		case '\\':
			b.WriteByte(c)
			if i++; i < len(t) {
				b.WriteByte(t[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// firstComment is the comment that a text begins with, if it does, and what stands between it and the end of a group.
func (k *cracker) firstComment(t string) (first, more string) {
	t = strings.TrimLeft(t, " \t")
	if !strings.HasPrefix(t, "(") {
		return "", ""
	}
	end := comment(t, 0)
	return t[:end], t[end : end+strings.IndexByte(t[end:], ';')]
}

// afterGroup is what stays of a text behind the end of a group: comments, and the ends of others.
func afterGroup(t string) string {
	var b strings.Builder
	for i := outside(t, 0, ";("); i >= 0; i = outside(t, i+1, ";(") {
		if t[i] == ';' {
			b.WriteByte(';')
			continue
		}
		j := comment(t, i)
		b.WriteString(" " + closed(t[i:j]))
		i = j - 1
	}
	return b.String()
}

// closed is a comment with all its parentheses closed.
func closed(c string) string {
	depth := 0
	for i := 0; i < len(c); i++ {
		switch c[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			depth--
		}
	}
	return c + strings.Repeat(")", max(0, depth))
}

// quote puts a phrase into quotes when it has characters that need them.
func (k *cracker) quote(p string) string { return k.quoteWith(p, k.must) }

func (k *cracker) quoteWith(p, must string) string {
	if strings.HasPrefix(p, `"`) && quoted(p, 0) == len(p) {
		return p
	}
	inside := false
	for i := 0; i < len(p); i++ {
		switch {
		case p[i] == '(' && !inside:
			i = comment(p, i) - 1
		case inside && p[i] == '\\':
			i++
		case p[i] == '"':
			inside = !inside
		case !inside && strings.IndexByte(must, p[i]) >= 0:
			return `"` + strings.ReplaceAll(p, `"`, `\"`) + `"`
		}
	}
	return p
}

// hasColon reports whether a colon follows that could end a phrase.
func hasColon(t string) bool {
	bracket := 0
	for i := outside(t, 0, "[]:"); i >= 0; i = outside(t, i+1, "[]:") {
		switch t[i] {
		case '[':
			bracket++
		case ']':
			bracket--
		case ':':
			if bracket <= 0 {
				return !strings.HasPrefix(t[i:], "::") && !strings.HasPrefix(t[i:], ":.")
			}
		}
	}
	return false
}

// quoteFollows reports whether a quotation mark that is not the last character follows an address in brackets, before anything
// that makes a phrase of it. Then all that stands around the address goes.
func quoteFollows(t string, colonOK bool) bool {
	chars := "\"<:"
	if colonOK {
		chars = "\"<"
	}
	i := outside(t, 0, chars)
	return i >= 0 && t[i] == '"' && i+1 < len(t)
}

// hasOpen reports whether another bracket is opened: then what came before was a phrase.
func hasOpen(t string) bool { return outside(t, 0, "<") >= 0 }

// outside is where, from i on, the first of chars stands that is in no quoted string and no comment and behind no
// backslash; -1: nowhere.
func outside(t string, i int, chars string) int {
	for ; i < len(t); i++ {
		switch c := t[i]; {
		case c == '\\':
			i++
		case strings.IndexByte(chars, c) >= 0:
			return i
		case c == '"':
			i = quoted(t, i) - 1
		case c == '(':
			i = comment(t, i) - 1
		}
	}
	return -1
}

// comment returns the end of the comment that begins at i.
func comment(t string, i int) int { return behind(t, lexeme.CommentEnd(t, i)) }

// quoted returns the end of the quoted string that begins at i.
func quoted(t string, i int) int { return behind(t, lexeme.QuoteEnd(t, i)) }

// behind is the position after end; what stays open ends with the text.
func behind(t string, end int) int {
	if end < 0 {
		return len(t)
	}
	return end + 1
}
