package lang

import (
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2/lexer"
)

// Item is one word, capture or quoted text of a line.
type Item struct {
	Text     string // as written
	Pos, End Pos
	Glued    bool // nothing stands between it and the item before
}

// Quote returns the quote that the item is written in, or 0.
func (i Item) Quote() byte {
	if i.Text[0] == '"' || i.Text[0] == '\'' {
		return i.Text[0]
	}
	return 0
}

// Var reports whether the item is a capture, a constant, a macro or a separator.
func (i Item) Var() bool { return i.Text[0] == '$' }

// Value returns the item's text without quotes.
func (i Item) Value() string {
	if i.Quote() != 0 {
		return Unquote(i.Text)
	}
	return i.Text
}

func items(run []lexer.Token) []Item {
	out := make([]Item, len(run))
	for i, t := range run {
		end := t.Pos
		end.Offset += len(t.Value)
		end.Column += utf8.RuneCountInString(t.Value)
		out[i] = Item{Text: t.Value, Pos: Pos(t.Pos), End: Pos(end), Glued: i > 0 && out[i-1].End.Offset == t.Pos.Offset}
	}
	return out
}

// Items returns the words and captures.
func (w *Words) Items() []Item {
	if w.items == nil {
		w.items = items(w.Run)
	}
	return w.items
}

// Item returns the name of the ruleset.
func (c *Callee) Item() Item { return items(c.Name)[0] }

// Items returns everything on the line.
func (v *Values) Items() []Item {
	if v == nil {
		return nil
	}
	return v.Words.Items()
}

// Fields returns the values as words: what stands together without a blank is one word, quotes removed.
func (v *Values) Fields() []string {
	var out []string
	for _, i := range v.Items() {
		if i.Glued && len(out) > 0 {
			out[len(out)-1] += i.Value()
		} else {
			out = append(out, i.Value())
		}
	}
	return out
}

// Value returns the name without quotes.
func (n *Name) Value() string {
	if n == nil {
		return ""
	}
	return Item{Text: n.Raw}.Value()
}

// Unquote removes quotes; \x and two hexadecimal digits, \n, \t, and a backslash before anything else.
func Unquote(s string) string {
	s = s[1 : len(s)-1]
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch {
		case s[i] == 'n':
			b.WriteByte('\n')
		case s[i] == 't':
			b.WriteByte('\t')
		case s[i] == 'x' && i+2 < len(s) && hex(s[i+1]) >= 0 && hex(s[i+2]) >= 0:
			b.WriteByte(byte(hex(s[i+1])<<4 | hex(s[i+2])))
			i += 2
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func hex(c byte) int {
	if c >= 'A' && c <= 'F' {
		c |= 0x20
	}
	return strings.IndexByte("0123456789abcdef", c)
}
