package compile

import (
	"strings"

	"waybill/rules/lang"
	"waybill/rules/prog"
)

// message compiles the text of a refusal: quoted tokens, which Join leaves alone, with captures between them. In double
// quotes $name, ${constant} and $&{macro} are put in, and \$ is a dollar sign; single quotes are text as it stands.
func (c *compiler) message(code string, t *lang.Text, s *scope) []prog.Tok {
	m := messageText{text: code}
	if t == nil {
		m.flush()
		return m.out
	}
	space := code != ""
	for _, i := range t.Items() {
		if space || !i.Glued && len(m.out)+len(m.text) > 0 {
			m.text += " "
		}
		space = false
		switch {
		case i.Var() && i.Quote() == 0:
			if name, ok := constant(i.Text); ok {
				m.text += c.constText(i, name)
				continue
			}
			m.flush()
			m.out = append(m.out, flat(c.text([]lang.Item{i}, s))...)
		case i.Quote() == '"':
			c.interpolate(&m, i, s)
		default:
			m.text += i.Value()
		}
	}
	m.flush()
	return m.out
}

// messageText collects text until a capture comes.
type messageText struct {
	out  []prog.Tok
	text string
}

func (m *messageText) flush() {
	if m.text != "" {
		m.out = append(m.out, prog.Tok{Kind: prog.Literal, Text: `"` + protect(m.text) + `"`})
		m.text = ""
	}
}

// protect puts a backslash before quotes and backslashes.
func protect(text string) string {
	if !strings.ContainsAny(text, `\"`) {
		return text
	}
	return strings.ReplaceAll(strings.ReplaceAll(text, `\`, `\\`), `"`, `\"`)
}

// interpolate takes a text in double quotes apart.
func (c *compiler) interpolate(m *messageText, i lang.Item, s *scope) {
	raw := i.Text[1 : len(i.Text)-1]
	plain := 0 // text from here on is not taken yet
	take := func(to int) { m.text += lang.Unquote(`"` + raw[plain:to] + `"`) }
	for at := 0; at < len(raw); at++ {
		if raw[at] == '\\' {
			at++
			continue
		}
		end, v := cutVariable(raw, at)
		if end == 0 {
			continue
		}
		take(at)
		plain = end
		at = end - 1
		here := i
		here.Pos.Column += 1 + len([]rune(raw[:end-len(v)]))
		here.Pos.Offset += 1 + end - len(v)
		here.End = here.Pos
		here.End.Column += len([]rune(v))
		here.End.Offset += len(v)
		here.Text = v
		switch name, ok := constant(v); {
		case ok:
			m.text += c.constText(here, name)
		case strings.HasPrefix(v, "$&"):
			m.flush()
			m.out = append(m.out, prog.Tok{Kind: prog.RunMacro, Text: strings.Trim(v[2:], "{}")})
		default:
			n := s.number(v[1:])
			if n == 0 {
				c.unboundText(here, s)
				continue
			}
			m.flush()
			m.out = append(m.out, prog.Tok{Kind: prog.Capture, N: n, Name: v[1:]})
		}
	}
	take(len(raw))
}

func (c *compiler) constText(i lang.Item, name string) string {
	value, known := c.consts[name]
	if !known {
		c.unknownConst(i, name)
	}
	return value
}

// unboundText reports a capture in a text that nothing binds.
func (c *compiler) unboundText(i lang.Item, s *scope) {
	before := len(c.diags)
	c.unbound(i, i.Text[1:], s)
	if len(c.diags) > before {
		c.diags[before].Remedy += `; for a dollar sign in a text write \$`
	}
}

// cutVariable returns the variable that begins at a place of a text, and the place behind it; 0 when there is none.
func cutVariable(text string, at int) (end int, variable string) {
	if text[at] != '$' {
		return 0, ""
	}
	letter := func(i int) bool {
		return i < len(text) && (text[i] == '_' || text[i]|0x20 >= 'a' && text[i]|0x20 <= 'z')
	}
	name := func(i int) int {
		for letter(i) || i < len(text) && text[i] >= '0' && text[i] <= '9' {
			i++
		}
		return i
	}
	start := at + 1
	if start < len(text) && text[start] == '&' {
		start++
	}
	switch {
	case start < len(text) && text[start] == '{':
		if n := strings.IndexByte(text[start:], '}'); n > 1 {
			end = start + n + 1
		}
	case start > at+1 && letter(start):
		end = start + 1 // $&m
	case letter(start):
		end = name(start)
	}
	if end == 0 {
		return 0, ""
	}
	return end, text[at:end]
}
