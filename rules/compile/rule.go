package compile

import (
	"fmt"
	"strconv"
	"strings"

	"waybill/rules/lang"
	"waybill/rules/prog"
)

func (c *compiler) rulesets(st *lang.Statement) {
	name := &lang.Name{Raw: "'?'"} // of a block with a broken head
	switch {
	case st.Broken && st.Ruleset != nil:
		st.Ruleset.Name, st.Ruleset.Number = name, nil
	case st.Broken && st.Accept != nil:
		st.Accept.Stage, st.Accept.Header = name, nil
	}
	switch {
	case st.Ruleset != nil:
		number := -1
		name := st.Ruleset.Name.Value()
		if n := st.Ruleset.Number; n != nil {
			var err error
			if number, err = strconv.Atoi(n.Value()); err != nil || number < 0 || number > 199 {
				c.errorf(n.Pos, n.EndPos, "sendmail's numbers go from 0 to 199", "this is no number of a ruleset: %s", n.Raw)
				number = -1
			}
		} else if name == Canonify {
			number = 3
		}
		rs := c.ruleset(name, number, st.Pos)
		for _, r := range st.Ruleset.Rules {
			c.add(rs, func() *prog.Rule { return c.rule(r) })
		}
	case st.Route != nil:
		rs := c.ruleset(Route, 0, st.Pos)
		for _, r := range st.Route.Rules {
			c.add(rs, func() *prog.Rule { return c.rule(r) })
		}
	case st.Accept != nil:
		name := AcceptName(st.Accept.Stage.Value())
		if h := st.Accept.Header; h != nil {
			name += ":" + strings.ToLower(strings.TrimSuffix(h.Value(), ":"))
		}
		rs := c.ruleset(name, -1, st.Pos)
		for _, r := range st.Accept.Rules {
			c.add(rs, func() *prog.Rule { return c.hookRule(r) })
		}
	case st.Send != nil:
		rs := c.ruleset(Send, -1, st.Pos)
		for _, r := range st.Send.Rules {
			c.add(rs, func() *prog.Rule { return c.sendRule(r) })
		}
	case st.Schedule != nil:
		rs := c.ruleset(Schedule, -1, st.Pos)
		for _, r := range st.Schedule.Rules {
			c.add(rs, func() *prog.Rule { return c.scheduleRule(r) })
		}
	}
}

// ruleset returns the ruleset with a name; a second block of the same name goes on where the first ended.
func (c *compiler) ruleset(name string, number int, pos lang.Pos) *prog.Ruleset {
	if rs := c.p.Ruleset(name); rs != nil {
		return rs
	}
	rs := c.p.AddRuleset(name, number, Place(pos))
	if number >= 0 {
		if _, taken := c.p.Names[strconv.Itoa(number)]; !taken {
			c.p.Names[strconv.Itoa(number)] = rs.Index
		}
	}
	return rs
}

// add appends a rule. One that has no meaning is left out: nothing more can be said about it.
func (c *compiler) add(rs *prog.Ruleset, compile func() *prog.Rule) {
	before := len(c.diags)
	if r := compile(); len(c.diags) == before {
		rs.Rules = append(rs.Rules, r)
	}
}

var everything = []prog.Tok{{Kind: prog.ZeroOrMore, N: 1}}

// origin is the comment behind a rule that came from a sendmail.cf: the place where it stood there. It belongs to what
// explanations show of the rule.
func (c *compiler) origin(from, to lang.Pos) string {
	if c.p.Level == 0 {
		return ""
	}
	line := c.src.Line(c.src.Trim(from, to).Line)
	place := line[strings.LastIndex(line, "# ")+1:]
	file, number, _ := strings.Cut(strings.TrimSpace(place), ":")
	if _, err := strconv.Atoi(number); err != nil || !strings.HasSuffix(file, ".cf") || len(place) == len(line) {
		return ""
	}
	return "  #" + place
}

func (c *compiler) rule(r *lang.Rule) *prog.Rule {
	out := &prog.Rule{Pos: Place(r.Pos), Source: c.src.Between(r.Pos, r.EndPos) + c.origin(r.Pos, r.EndPos)}
	s := newScope()
	if r.Otherwise {
		out.LHS = everything
		s.bind("")
	} else {
		out.LHS = c.pattern(r.Pattern, s, false)
	}
	c.finish(out, r.Where, r.Action, s)
	return out
}

func (c *compiler) hookRule(r *lang.HookRule) *prog.Rule {
	out := &prog.Rule{Pos: Place(r.Pos), Source: c.src.Between(r.Pos, r.EndPos), LHS: everything}
	s := newScope()
	if r.Pattern != nil {
		out.LHS = c.pattern(r.Pattern, s, false)
	} else {
		s.bind("")
	}
	if r.Cond != nil { // it stands first, so what it binds is known in the rest
		out.Cond = c.cond(r.Cond, s)
	}
	first := out.Cond
	c.finish(out, r.Where, r.Action, s)
	if first != nil && r.Where != nil {
		out.Cond = combine(prog.And, []*prog.Cond{first, out.Cond})
	}
	return out
}

// finish compiles what follows the pattern.
func (c *compiler) finish(out *prog.Rule, where *lang.Cond, action *lang.Action, s *scope) {
	if where != nil {
		out.Cond = c.cond(where, s)
	}
	c.action(out, action, s)
	out.Names = s.names
}

func (c *compiler) action(out *prog.Rule, a *lang.Action, s *scope) {
	switch {
	case a.Rewrite != nil:
		switch a.Rewrite.Mode {
		case "once":
			out.Mode = prog.Once
		case "return":
			out.Mode = prog.Return
		}
		out.RHS = flat(c.parts(a.Rewrite.Parts, s))
		if a.Rewrite.Mode == "" && c.p.Level == 0 && !holds(out.LHS, "<") && holds(out.RHS, "<") {
			unfocused(out)
		}
	case a.Verdict != nil:
		c.verdict(out, a.Verdict, s)
	case a.Resolve != nil && a.Resolve.Verdict != nil:
		c.verdict(out, a.Resolve.Verdict, s)
	case a.Resolve != nil:
		c.resolve(out, a.Resolve, s)
	}
}

func holds(toks []prog.Tok, literal string) bool {
	for _, t := range toks {
		if t.Kind == prog.Literal && t.Text == literal {
			return true
		}
	}
	return false
}

// unfocused makes a rule that puts "< >" around a part of the address leave alone an address that has them already.
// In sendmail.cf such a rule goes round until the limit of repetitions stops it. The word "repeat" keeps that meaning.
func unfocused(out *prog.Rule) {
	free := negate(&prog.Cond{Op: prog.Test, Fact: prog.FactFocus, Cmp: prog.IsSet, Pos: out.Pos})
	if out.Cond != nil {
		free = &prog.Cond{Op: prog.And, Sub: []*prog.Cond{free, out.Cond}, Pos: out.Pos}
	}
	out.Cond = free
}

// resolve compiles "=> MAILER [HOST] USER [WHEN]": fields are divided by blanks.
func (c *compiler) resolve(out *prog.Rule, r *lang.Resolve, s *scope) {
	out.Mode = prog.Return
	if c.p.Level > 0 { // $# ends the evaluation anyway; this is what an R line has
		out.Mode = prog.Repeat
	}
	var fields [][]element
	for _, e := range c.parts(r.Parts, s) {
		if n := len(fields); n > 0 && e.glued {
			fields[n-1] = append(fields[n-1], e)
		} else {
			fields = append(fields, []element{e})
		}
	}
	attr := &prog.Attr{}
	attr.When, _ = WhenNamed(r.When)
	if r.Window != nil {
		attr.Window = c.window(r.Window)
		if attr.When == prog.Unset {
			attr.When = prog.Queue
		}
	}
	if attr.When != prog.Unset {
		out.Attr = attr
	}
	rhs := []prog.Tok{{Kind: prog.Mailer}}
	part := func(f []element) {
		for _, e := range f {
			rhs = append(rhs, e.toks...)
		}
	}
	switch len(fields) {
	case 1: // a result word: => OK
		part(fields[0])
		if attr.When != prog.Unset {
			c.errorf(r.Pos, r.EndPos, "write => TRANSPORT [HOST] USER [WHEN]", "a resolution with a time needs a user")
		}
	case 2:
		part(fields[0])
		rhs = append(rhs, prog.Tok{Kind: prog.User})
		part(fields[1])
	case 3:
		part(fields[0])
		rhs = append(rhs, prog.Tok{Kind: prog.Host})
		part(fields[1])
		rhs = append(rhs, prog.Tok{Kind: prog.User})
		part(fields[2])
	default:
		c.errorf(r.Pos, r.EndPos, "write => TRANSPORT [HOST] USER [WHEN]; what belongs together stands without blanks: $user@$domain", "a resolution has at most three parts and a time; these are %d parts", len(fields))
	}
	out.RHS = rhs
}

// WhenNamed returns the time with a name in the language.
func WhenNamed(word string) (prog.When, bool) {
	for w := prog.Now; w <= prog.Defer; w++ {
		if w.String() == word {
			return w, true
		}
	}
	return prog.Unset, false
}

// verdict compiles ok, discard, quarantine and reject in sendmail's form: $#error $@ 5.7.1 $: "550 text".
func (c *compiler) verdict(out *prog.Rule, v *lang.Verdict, s *scope) {
	out.Mode = prog.Return
	mailer := func(name string) []prog.Tok {
		return []prog.Tok{{Kind: prog.Mailer}, {Kind: prog.Literal, Text: name}}
	}
	host := func(text string) []prog.Tok {
		return append([]prog.Tok{{Kind: prog.Host}}, c.literals(text, lang.Item{})...)
	}
	switch {
	case v.Why != nil:
		out.RHS = append(append(mailer("error"), host("quarantine")...), prog.Tok{Kind: prog.User})
		out.RHS = append(out.RHS, c.message("", v.Why, s)...)
	case v.Reject != nil:
		r := v.Reject
		code, err := strconv.Atoi(r.Code)
		if err != nil || code < 400 || code > 599 {
			c.errorf(r.Pos, r.EndPos, `write: reject 550 5.7.1 "Relaying denied"`, "a refusal has an SMTP code from 400 to 599, not %q", r.Code)
			code = 550
		}
		enhanced := r.Enhanced
		if enhanced == "" {
			enhanced = fmt.Sprintf("%d.0.0", code/100)
		} else if !enhancedCode(enhanced, code) {
			c.errorf(r.Pos, r.EndPos, fmt.Sprintf("it has three numbers and begins with %d: %d.7.1; a text stands in quotes", code/100, code/100), "%q is no enhanced status code for %d", enhanced, code)
			enhanced = fmt.Sprintf("%d.0.0", code/100)
		}
		out.RHS = append(append(mailer("error"), host(enhanced)...), prog.Tok{Kind: prog.User})
		out.RHS = append(out.RHS, c.message(strconv.Itoa(code), r.Text, s)...)
	default:
		out.RHS = mailer(v.Word)
	}
}

// enhancedCode reports whether text is an enhanced status code (RFC 3463 2) of the class of an SMTP code.
func enhancedCode(text string, code int) bool {
	part := strings.Split(text, ".")
	if len(part) != 3 || part[0] != strconv.Itoa(code/100) {
		return false
	}
	for _, p := range part[1:] {
		if n, err := strconv.Atoi(p); err != nil || n < 0 || n > 999 {
			return false
		}
	}
	return true
}

func (c *compiler) sendRule(r *lang.SendRule) *prog.Rule {
	out := &prog.Rule{Pos: Place(r.Pos), Source: c.src.Between(r.Pos, r.EndPos), LHS: everything, Attr: &prog.Attr{}}
	s := newScope()
	s.bind("")
	if r.Cond != nil {
		out.Cond = c.cond(r.Cond, s)
	}
	if r.Window != nil {
		out.Attr.Window = c.window(r.Window)
	}
	if r.Priority != "" {
		n, err := strconv.Atoi(r.Priority)
		if err != nil || n < -1000 || n > 1000 {
			c.errorf(r.Pos, r.EndPos, "larger goes first; ordinary mail has 0", "a priority is a number from -1000 to 1000, not %q", r.Priority)
		}
		out.Attr.Priority = &n
	}
	if r.When == "" { // only a priority: the next lines count as well
		out.Mode = prog.Once
		out.RHS = []prog.Tok{{Kind: prog.Capture, N: 1}}
		return out
	}
	out.Attr.When, _ = WhenNamed(r.When)
	out.Mode = prog.Return
	out.RHS = []prog.Tok{{Kind: prog.Mailer}, {Kind: prog.Literal, Text: r.When}}
	out.Names = s.names
	return out
}

func (c *compiler) window(w *lang.Window) *prog.Window {
	from, ok1 := Daytime(w.From)
	to, ok2 := Daytime(w.To)
	if !ok1 || !ok2 {
		c.errorf(w.Pos, w.EndPos, "write: between 22:00 and 06:00", "a time of the day has the form HH:MM")
	}
	return &prog.Window{From: from, To: to}
}

// Daytime reads HH:MM as minutes from midnight; 24:00 is the end of the day.
func Daytime(text string) (int, bool) {
	h, m, ok := strings.Cut(text, ":")
	hour, err1 := strconv.Atoi(h)
	minute, err2 := strconv.Atoi(m)
	if !ok || err1 != nil || err2 != nil || len(m) != 2 || hour < 0 || minute < 0 || minute > 59 || hour*60+minute > 24*60 {
		return 0, false
	}
	return hour*60 + minute, true
}
