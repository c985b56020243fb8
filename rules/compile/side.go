package compile

import (
	"strings"

	"waybill/rules/addr"
	"waybill/rules/lang"
	"waybill/rules/prog"
)

// scope is the captures of one rule.
type scope struct {
	names []string // names[n] is capture n; index 0 is unused, "" is anonymous
	used  map[string]bool
}

func newScope() *scope { return &scope{names: []string{""}, used: map[string]bool{}} }

// bind makes the next number a capture with this name.
func (s *scope) bind(name string) int {
	s.names = append(s.names, name)
	return len(s.names) - 1
}

// number returns the capture with a name; the last one when a condition bound it anew. 0: there is none.
func (s *scope) number(name string) int {
	for n := len(s.names) - 1; n > 0; n-- {
		if s.names[n] == name {
			s.used[name] = true
			return n
		}
	}
	return 0
}

// variable is what a "$..." item says.
type variable struct {
	name   string // capture, constant or macro
	kind   byte   // '-' '+' '*' '=' '~' wildcard, 0 bare, 'c' constant, 'm' macro, or the metasymbol's character
	class  string
	suffix string // as written behind the name
}

func parseVar(text string) variable {
	if name, ok := constant(text); ok {
		return variable{name: name, kind: 'c'}
	}
	if m, ok := strings.CutPrefix(text, "$&"); ok {
		return variable{name: strings.Trim(m, "{}"), kind: 'm'}
	}
	body := text[1:]
	switch body {
	case "|", "#", "@", ":", "(", ")", "[", "]", ">":
		return variable{kind: body[0]}
	}
	n := strings.IndexAny(body, "-+*=~")
	if n < 0 {
		return variable{name: body}
	}
	v := variable{name: body[:n], kind: body[n], suffix: body[n:]}
	v.class = strings.Trim(body[n+1:], "{}")
	return v
}

// literals cuts text into tokens.
func (c *compiler) literals(text string, i lang.Item) []prog.Tok {
	if c.simple(text) {
		return []prog.Tok{{Kind: prog.Literal, Text: text}}
	}
	tokens, issues := c.syntax.Split(text)
	for _, is := range issues {
		c.errorf(i.Pos, i.End, "", "this is no text for addresses: %s", is.Message(text))
	}
	out := make([]prog.Tok, 0, len(tokens))
	for _, t := range tokens {
		out = append(out, prog.Tok{Kind: prog.Literal, Text: string(t)})
	}
	return out
}

// simple reports whether text is certainly one token: one operator, or letters, digits, "-" and "_" that are none.
func (c *compiler) simple(text string) bool {
	if len(text) == 1 && c.syntax.IsOperator(addr.Token(text)) {
		return text != "<" && text != ">" && text != "(" && text != ")"
	}
	for n := 0; n < len(text); n++ {
		b := text[n]
		letter := b|0x20 >= 'a' && b|0x20 <= 'z' || b >= '0' && b <= '9' || b == '-' || b == '_'
		if !letter || c.syntax.IsOperator(addr.Token(text[n:n+1])) {
			return false
		}
	}
	return text != "" && len(text) <= addr.MaxToken
}

// plain returns the symbols of an item that means the same on both sides; ok is false for captures.
func (c *compiler) plain(i lang.Item) (toks []prog.Tok, ok bool) {
	switch {
	case i.Quote() == '"':
		return []prog.Tok{{Kind: prog.Literal, Text: i.Text}}, true
	case i.Quote() == '\'':
		text := i.Value()
		if text == "" {
			return nil, true
		}
		if addr.Token(text).IsMeta() && c.p.Level == 0 {
			c.errorf(i.Pos, i.End, "", "this octet is not allowed in an address")
		}
		return []prog.Tok{{Kind: prog.Literal, Text: text}}, true
	case i.Var():
		v := parseVar(i.Text)
		switch v.kind {
		case 'c':
			value, known := c.consts[v.name]
			if !known {
				c.unknownConst(i, v.name)
			}
			return c.literals(value, i), true
		case 'm':
			return []prog.Tok{{Kind: prog.RunMacro, Text: v.name}}, true
		case '|':
			return []prog.Tok{{Kind: prog.Sep}}, true
		case '#':
			return []prog.Tok{{Kind: prog.Mailer}}, true
		}
		return nil, false
	case i.Text == "<" || i.Text == ">" || i.Text == "<=" || i.Text == ">=":
		for _, r := range i.Text {
			toks = append(toks, prog.Tok{Kind: prog.Literal, Text: string(r)})
		}
		return toks, true
	}
	return c.literals(i.Text, i), true
}

// pattern compiles a left side. With bare, a capture without a quantifier takes one token or more.
func (c *compiler) pattern(p *lang.Pattern, s *scope, bare bool) []prog.Tok {
	var out []prog.Tok
	for _, i := range p.Items() {
		if i.Text == "''" {
			out = append(out, prog.Tok{Kind: prog.Empty})
			continue
		}
		if toks, ok := c.plain(i); ok {
			out = append(out, toks...)
			continue
		}
		v := parseVar(i.Text)
		t := prog.Tok{Name: v.name}
		switch v.kind {
		case '-':
			t.Kind = prog.One
		case '+':
			t.Kind = prog.OneOrMore
		case '*':
			t.Kind = prog.ZeroOrMore
		case '=':
			t.Kind, t.Text = prog.InClass, v.class
		case '~':
			t.Kind, t.Text = prog.NotInClass, v.class
		case '@':
			t.Kind = prog.Empty
		case ':':
			t.Kind = prog.User
		case '(', ')', '[', ']', '>':
			if c.p.Level > 0 {
				out = append(out, prog.Tok{Kind: symbols[v.kind]})
				continue
			}
			c.errorf(i.Pos, i.End, "", "%s cannot stand in a pattern", i.Text)
		case 0:
			if c.p.Level > 0 && strayNumber(v) >= 0 {
				out = append(out, strayTok(v))
				continue
			}
			t.Kind = prog.OneOrMore
			if !bare {
				c.errorf(i.Pos, i.End, "write $"+v.name+"- for one token, $"+v.name+"+ for one or more, $"+v.name+"* for any number", "a capture in a pattern says how much it takes: $%s", v.name)
			}
		}
		if t.Kind.Wildcard() {
			if v.name != "" && s.number(v.name) > 0 {
				c.errorf(i.Pos, i.End, "give each capture of a rule a name of its own", "capture $%s is bound twice", v.name)
			}
			delete(s.used, v.name)
			t.N = s.bind(v.name)
		}
		out = append(out, t)
	}
	return out
}

// element is a part of a right side: symbols that stand together.
type element struct {
	toks  []prog.Tok
	glued bool // touches the one before
}

// symbols are sendmail's own signs for what has words in this language. They are there so that every sendmail.cf can be
// written down, also where it does strange things.
var symbols = map[byte]prog.Kind{'(': prog.MapBegin, ')': prog.MapEnd, '[': prog.HostBegin, ']': prog.HostEnd, '>': prog.Call}

// An R line that makes no sense may hold a number on the left, a number on the right for which nothing stands on the left
// ($_3), or a wildcard on the right. sendmail keeps such lines, and complains when it runs them.
var stray = map[byte]prog.Kind{'*': prog.ZeroOrMore, '+': prog.OneOrMore, '-': prog.One, '=': prog.InClass, '~': prog.NotInClass}

func strayNumber(v variable) int {
	if len(v.name) == 2 && v.name[0] == '_' && v.name[1] >= '0' && v.name[1] <= '9' && v.kind == 0 {
		return int(v.name[1] - '0')
	}
	return -1
}

func strayTok(v variable) prog.Tok {
	if n := strayNumber(v); n >= 0 {
		return prog.Tok{Kind: prog.Capture, N: n}
	}
	return prog.Tok{Kind: stray[v.kind], Text: v.class}
}

// text compiles literal text and captures of a right side.
func (c *compiler) text(items []lang.Item, s *scope) []element {
	var out []element
	pending := "" // what followed a capture's name like a quantifier, and is text here
	var from lang.Item
	flush := func() {
		if pending != "" {
			out = append(out, element{toks: c.literals(pending, from), glued: true})
			pending = ""
		}
	}
	for _, i := range items {
		if pending != "" && i.Glued && i.Quote() == 0 && !i.Var() && i.Text[0] != '<' && i.Text[0] != '>' {
			out = append(out, element{toks: c.literals(pending+i.Text, i), glued: true})
			pending = ""
			continue
		}
		flush()
		e := element{glued: i.Glued}
		if toks, ok := c.plain(i); ok {
			e.toks = toks
			out = append(out, e)
			continue
		}
		v := parseVar(i.Text)
		switch {
		case v.kind == '@':
			e.toks = []prog.Tok{{Kind: prog.Host}}
		case v.kind == ':':
			e.toks = []prog.Tok{{Kind: prog.User}}
		case symbols[v.kind] != 0:
			e.toks = []prog.Tok{{Kind: symbols[v.kind]}}
		case c.p.Level > 0 && (strayNumber(v) >= 0 || v.name == "" && stray[v.kind] != 0):
			e.toks = []prog.Tok{strayTok(v)}
		case v.name == "":
			c.errorf(i.Pos, i.End, "name it on the left, as in $x"+v.suffix+", and write $x here", "%s has no name", i.Text)
		default:
			n := s.number(v.name)
			if n == 0 {
				c.unbound(i, v.name, s)
			}
			e.toks = []prog.Tok{{Kind: prog.Capture, N: max(n, 1), Name: v.name}}
			pending, from = v.suffix, i
		}
		out = append(out, e)
	}
	flush()
	return out
}

func (c *compiler) unbound(i lang.Item, name string, s *scope) {
	remedy := "the pattern or the condition must bind it: $" + name + "+"
	if near := lang.Nearest(name, s.names[1:]); near != "" {
		remedy = "did you mean $" + near + "?"
	} else if len(s.names) == 1 {
		remedy = "the pattern of this rule binds nothing"
	}
	c.errorf(i.Pos, i.End, remedy, "capture $%s is not bound", name)
}

// parts compiles a replacement.
func (c *compiler) parts(parts []*lang.Part, s *scope) []element {
	var out []element
	end := lang.Pos{}
	for _, p := range parts {
		glued := !end.IsZero() && p.Pos.Offset == end.Offset
		switch {
		case p.Text != nil:
			es := c.text(p.Text.Items(), s)
			if len(es) > 0 {
				es[0].glued = glued
			}
			out = append(out, es...)
		case p.Lookup != nil:
			out = append(out, element{toks: c.lookup(p.Lookup, s), glued: glued})
		case p.Call != nil:
			out = append(out, element{toks: c.callee(p.Call, s), glued: glued})
		}
		end = c.src.Trim(p.Pos, p.EndPos)
	}
	return out
}

func (c *compiler) callee(callee *lang.Callee, s *scope) []prog.Tok {
	i := callee.Item()
	toks := []prog.Tok{{Kind: prog.Call}}
	if i.Var() {
		return append(toks, flat(c.text([]lang.Item{i}, s))...)
	}
	return append(toks, prog.Tok{Kind: prog.Literal, Text: i.Value()})
}

// lookup compiles a lookup in a replacement; host(...) is sendmail's $[ $].
func (c *compiler) lookup(l *lang.Lookup, s *scope) []prog.Tok {
	name := strings.TrimSuffix(l.Table, "(")
	var toks []prog.Tok
	end := prog.MapEnd
	if name == "host" && c.p.Table("host") == nil {
		toks, end = append(toks, prog.Tok{Kind: prog.HostBegin}), prog.HostEnd
	} else {
		toks = append(toks, prog.Tok{Kind: prog.MapBegin}, prog.Tok{Kind: prog.Literal, Text: name})
	}
	for n, a := range l.Args {
		if n > 0 {
			toks = append(toks, prog.Tok{Kind: prog.MapArg})
		}
		toks = append(toks, c.arg(a, s)...)
	}
	if l.HasElse {
		toks = append(toks, prog.Tok{Kind: prog.MapElse})
		for _, p := range l.Else {
			if p.Call != nil {
				toks = append(toks, c.callee(p.Call, s)...)
			} else {
				toks = append(toks, flat(c.text(p.Text.Items(), s))...)
			}
		}
	}
	return append(toks, prog.Tok{Kind: end})
}

func (c *compiler) arg(a *lang.Arg, s *scope) []prog.Tok {
	if a.Text == nil {
		return nil
	}
	return flat(c.text(a.Text.Items(), s))
}

func flat(es []element) []prog.Tok {
	var out []prog.Tok
	for _, e := range es {
		out = append(out, e.toks...)
	}
	return out
}
