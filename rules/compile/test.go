package compile

import (
	"slices"
	"strings"

	"waybill/rules/lang"
)

func sortStrings(s []string) { slices.Sort(s) }

// Stages are the stages of accept blocks, in the order in which they happen.
func Stages() []string {
	return []string{"connect", "helo", "mail", "rcpt", "data", "header", "message"}
}

// GivenWords are what "given NAME VALUE" can set.
func GivenWords() []string {
	return []string{"class", "client", "name", "helo", "sender", "recipient", "size", "load", "time", "header", "auth", "tls", "priority", "attempts", "age", "recipients", "failures", "error"}
}

func (c *compiler) tests(st *lang.Statement) {
	if st.Test == nil {
		return
	}
	if st.Broken {
		st.Test.Name = &lang.Name{Raw: "'?'"}
	}
	t := Test{Name: st.Test.Name.Value(), Pos: st.Pos, Source: c.src}
	for _, line := range st.Test.Lines {
		if s, ok := c.step(line); ok {
			t.Steps = append(t.Steps, s)
		}
	}
	c.out.Tests = append(c.out.Tests, t)
}

func (c *compiler) step(line *lang.TestLine) (Step, bool) {
	s := Step{Line: line, Pos: line.Pos, End: line.EndPos, Source: c.src.Between(line.Pos, line.EndPos)}
	if g := line.Given; g != nil {
		return s, c.given(&s, g)
	}
	in := c.fields(line.Input)
	s.Output = c.fields(line.Output)
	s.Tokens = line.Arrow == "->"
	s.Kind = "route"
	switch {
	case s.Tokens:
		s.Kind = "rewrite"
		if len(in) < 2 || in[0] != "rewrite" {
			c.errorf(line.Pos, line.EndPos, "write: rewrite RULESET ADDRESS -> RESULT; or, for a decision: ADDRESS => TRANSPORT USER", "an arrow -> in a test asks what a ruleset makes of an address")
			return s, false
		}
		if len(in) > 3 && (in[1] == "sender" || in[1] == "recipient") && (in[2] == "for" || in[2] == "in") {
			return s, c.leaving(&s, line, in)
		}
		s.Name, in = in[1], in[2:]
		s.Output = []string{spaced(line.Output.Items())}
	case in[0] == Schedule && len(in) > 1:
		s.Kind, in = Schedule, in[1:]
	case slices.Contains(Stages(), in[0]) && (len(in) > 1 || in[0] == "data" || in[0] == "message"):
		s.Kind, in = in[0], in[1:]
		if s.Kind == "header" {
			s.Name, in = strings.ToLower(strings.TrimSuffix(in[0], ":")), in[1:]
		}
	}
	s.Input = strings.Join(in, " ")
	if s.Kind != "rewrite" { // quotes belong to an address
		items := line.Input.Items()
		if s.Kind != "route" {
			items = items[min(1, len(items)):]
		}
		if s.Kind == "route" || s.Kind == "rcpt" || s.Kind == "mail" || s.Kind == Schedule {
			s.Input = c.expandRaw(items)
		}
	} else if items := line.Input.Items(); len(items) > 2 {
		s.Input = spaced(items[2:])
	}
	if s.Input == "<>" {
		s.Input = ""
	}
	return s, true
}

// leaving reads: rewrite sender|recipient [in header|in envelope] for TRANSPORT ADDRESS -> RESULT.
func (c *compiler) leaving(s *Step, line *lang.TestLine, in []string) bool {
	s.Kind, s.Recipient = "leaving", in[1] == "recipient"
	n := 2
	if in[n] == "in" && len(in) > n+2 {
		s.Header = in[n+1]
		n += 2
	}
	if in[n] != "for" || len(in) != n+3 || s.Header != "" && s.Header != "header" && s.Header != "envelope" {
		c.errorf(line.Pos, line.EndPos, "write: rewrite sender in header for TRANSPORT ADDRESS -> RESULT", "this test of rewriting cannot be understood")
		return false
	}
	s.Name, s.Input = in[n+1], in[n+2]
	s.Output = []string{c.expandRaw(line.Output.Items())}
	return true
}

// expandRaw is raw with constants put in.
func (c *compiler) expandRaw(items []lang.Item) string {
	var b strings.Builder
	for n, i := range items {
		if n > 0 && !i.Glued {
			b.WriteByte(' ')
		}
		if i.Quote() == '"' {
			b.WriteString(i.Text)
		} else {
			b.WriteString(c.expand([]lang.Item{i}))
		}
	}
	return b.String()
}

// spaced joins items with a blank between all of them.
func spaced(items []lang.Item) string {
	var out []string
	for _, i := range items {
		if i.Quote() == '\'' {
			out = append(out, i.Value())
		} else {
			out = append(out, i.Text)
		}
	}
	return strings.Join(out, " ")
}

func (c *compiler) given(s *Step, g *lang.Given) bool {
	if l := g.Lookup; l != nil {
		s.Given, s.Table = "table", strings.TrimSuffix(l.Table, "(")
		if len(l.Args) != 1 || l.HasElse {
			c.errorf(g.Pos, g.EndPos, "write: given hops(example.com) is VALUE", "an entry of a table has one key")
			return false
		}
		if l.Args[0].Text != nil {
			s.Key = c.expandRaw(l.Args[0].Text.Items())
		}
		switch {
		case g.Missing:
			s.Answer = Missing
		case g.Fails:
			s.Answer = Fails
		default:
			s.Value = strings.Join(c.fields(g.Value), " ")
		}
		return true
	}
	s.Given = g.Fact.Value()
	if f := c.fields(g.Values); s.Given == "class" {
		if len(f) < 2 {
			c.errorf(g.Pos, g.EndPos, "write: given class NAME WORD...", "a class has a name and words")
			return false
		}
		s.Table, s.Words = f[0], f[1:]
		return true
	}
	if !slices.Contains(GivenWords(), s.Given) {
		remedy := "known are: " + strings.Join(GivenWords(), ", ")
		if near := lang.Nearest(s.Given, GivenWords()); near != "" {
			remedy = "did you mean \"" + near + "\"?"
		}
		c.errorf(g.Fact.Pos, g.Fact.EndPos, remedy, "%q cannot be given", s.Given)
		return false
	}
	f := c.fields(g.Values)
	if s.Given == "header" {
		if len(f) < 2 {
			c.errorf(g.Pos, g.EndPos, "write: given header Precedence bulk", "a header has a name and a value")
			return false
		}
		s.Header, f = strings.TrimSuffix(f[0], ":"), f[1:]
	}
	s.Value = strings.Join(f, " ")
	if s.Value == "<>" {
		s.Value = ""
	}
	return true
}
