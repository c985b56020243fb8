package mc

import (
	"slices"
	"strings"

	"waybill/compat/cf"
	"waybill/rules/compile"
	"waybill/rules/prog"
)

// localRules are the lines of a sendmail.cf that stand in an .mc file, in our language. Rules of our own see addresses
// without the dot behind the domain that sendmail's see: it is taken out of them.
type localRules struct {
	conf *cf.Config
	s    *Site
}

// local reads the sections as one sendmail.cf, writes what LOCAL_CONFIG declares, and keeps the rules.
func (p *printer) local() *localRules {
	var b strings.Builder
	b.WriteString("V10/Berkeley\nO OperatorChars=.:%@!^/[]+\nO BlankSub=.\n")
	at := map[string]int{} // line of each section
	add := func(section, head string) {
		b.WriteString(head)
		at[section] = strings.Count(b.String(), "\n")
		b.WriteString(p.s.text(section) + "\n")
	}
	add("LOCAL_CONFIG", "")
	for _, section := range []string{"LOCAL_RULE_0", "LOCAL_NET_CONFIG", "LOCAL_RULE_1", "LOCAL_RULE_2", "LOCAL_RULE_3"} {
		add(section, "S"+section+"\n")
	}
	add("LOCAL_RULESETS", "SLOCAL_RULESETS\n")
	add("MAILER_DEFINITIONS", "")
	conf, err := cf.Read(strings.NewReader(b.String()), "LOCAL_", cf.Options{NoFiles: true})
	if err != nil {
		p.s.problem("LOCAL_CONFIG", err.Error())
		conf = &cf.Config{Prog: prog.New()}
	}
	conf.Prog.Level = 0
	c := &localRules{conf, p.s}
	for _, m := range conf.Messages {
		section := ""
		for name, line := range at {
			if line < m.Pos.Line && (section == "" || line > at[section]) {
				section = name
			}
		}
		if section != "" {
			p.s.problem(section, m.Text)
		}
	}
	p.declared(conf)
	return c
}

func (s *Site) problem(section, text string) {
	at := s.from[section]
	s.Problems = append(s.Problems, Problem{at.file, at.line, oneLine(section + ": " + text)})
}

// declared writes macros, classes and tables.
func (p *printer) declared(conf *cf.Config) {
	var names []string
	for name, v := range conf.Prog.Macros {
		if len(name) > 1 || strings.ContainsAny(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
			if !strings.Contains(v, "$") && name != "opMode" && v != "" {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	for _, name := range names {
		p.linef("define %s %s", compile.Quote(name), compile.Quote(conf.Prog.Macros[name]))
	}
	written := map[string]bool{}
	for _, l := range conf.Lines {
		name := ourClass(l.Class)
		written[l.Class] = true
		if l.File != nil {
			mark := "@"
			if l.File.Optional {
				mark = "@?"
			}
			p.linef("class %s { %s%s }", compile.Quote(name), mark, compile.Quote(l.File.Path))
		} else {
			p.class(compile.Quote(name), l.Words, nil)
		}
	}
	for _, name := range compile.ClassesOf(conf.Prog) {
		if !written[name] && name != "w" {
			p.linef("class %s { }", compile.Quote(ourClass(name)))
		}
	}
	for _, t := range conf.Prog.Tables {
		p.linef("table %s %s %s", compile.Quote(t.Name), compile.Quote(t.Class), compile.Words(t.Args))
	}
	if n := len(conf.Headers) + max(len(conf.Options)-2, 0) + len(conf.Queues) + len(conf.Milters); n > 0 {
		p.s.problem("LOCAL_CONFIG", "options, headers and filters are not carried over: convert the sendmail.cf, or write settings")
	}
	for _, m := range conf.Mailers {
		if m.Pos.Line > 0 {
			p.s.problem("MAILER_DEFINITIONS", "write a transport for mailer "+m.Name)
		}
	}
}

var classNames = map[string]string{"w": "local", "R": "relay", "VirtHost": "virtual", "G": "generics", "M": "masqueraded", "E": "exposed", "L": "local_users", "U": "uucp_neighbours"}

func ourClass(name string) string {
	if n, ok := classNames[name]; ok {
		return n
	}
	return name
}

// rules are those of a section, written in our language.
func (c *localRules) rules(section string) []string {
	rs := c.conf.Prog.Ruleset(section)
	if rs == nil {
		return nil
	}
	var out []string
	for _, r := range rs.Rules {
		own := *r
		own.Source, own.LHS, own.RHS = "", undotted(r.LHS), undotted(r.RHS)
		if len(own.RHS) > 1 && own.RHS[0].Kind == prog.Mailer && own.RHS[1].Kind == prog.Literal {
			switch to := transportFor(own.RHS[1].Text); to {
			case "esmtp", "uucp", "local", "error", "discard":
				own.RHS[1].Text = to
			default:
				c.s.problem(section, "a rule names mailer "+to+", write a transport for it: "+r.String())
				continue
			}
		}
		text, err := compile.PrintRule(c.conf.Prog, &own)
		if err != nil {
			c.s.problem(section, "no form in this language: "+r.String())
			continue
		}
		out = append(out, text)
	}
	return out
}

// undotted takes out the dot before a closing bracket, and gives classes our names.
func undotted(side []prog.Tok) []prog.Tok {
	var out []prog.Tok
	for i, t := range side {
		if t.Kind == prog.Literal && t.Text == "." && i+1 < len(side) && side[i+1].Kind == prog.Literal && side[i+1].Text == ">" {
			continue
		}
		if t.Kind == prog.InClass || t.Kind == prog.NotInClass {
			t.Text = ourClass(t.Text)
		}
		out = append(out, t)
	}
	return out
}

// late are the rules that stand behind the standard ones: they see what those have made of an address.
func (p *printer) late(c *localRules) {
	p.block("ruleset canonify", c.rules("LOCAL_RULE_3"))
	for _, rs := range c.conf.Prog.Rulesets {
		switch name := rs.Name; {
		case strings.HasPrefix(name, "LOCAL_") || len(rs.Rules) == 0:
		case strings.HasPrefix(name, "Local_") || strings.HasPrefix(name, "check_") || strings.HasPrefix(name, "tls_"):
			p.s.problem("LOCAL_RULESETS", "ruleset "+name+": write it as an accept block")
		default:
			p.block("ruleset "+compile.Quote(name), c.rules(name))
		}
	}
}
