package cf

import (
	"cmp"
	"slices"
	"strings"

	"waybill/rules/addr"
	"waybill/rules/prog"
)

// FromProgram makes a Config of a program in the rule language whose level says that it came from a sendmail.cf (set
// level 10). What the file said in lines of other kinds stands in settings there: "set Timeout.queuereturn 4d" is an O
// line, "set header Date $a flag D" an H line. The result is what Read makes of the sendmail.cf; the program stays as it is.
func FromProgram(p *prog.Program, name string, opt Options) *Config {
	own := *p
	own.Tables, own.Transports, own.Settings = nil, nil, nil
	own.Macros, own.Classes, own.Names = map[string]string{}, map[string]*prog.Class{}, map[string]int{}
	own.Rulesets = nil
	r := &reader{cfg: &Config{File: name, Prog: &own, Level: p.Level}, opt: opt, macros: map[string]string{}, nextNamed: firstNamed, operators: addr.OldOperators, blank: " "}
	r.defaults()
	r.operators, r.blank = p.Operators, p.BlankSub
	r.programRulesets(p)
	for _, n := range sortedKeys(p.Macros) {
		r.setMacro(n, strings.ReplaceAll(p.Macros[n], "$", string(rune(mark))))
	}
	blankAt := prog.Pos{}
	for _, s := range p.Settings {
		r.line, r.cfg.File = s.Pos.Line, cmp.Or(s.Pos.File, name)
		if s.Name == "blank-sub" {
			blankAt = s.Pos
		}
		r.programSetting(s)
	}
	for _, n := range sortedKeys(p.Classes) { // DontBlameSendmail says which files may be read
		r.programClass(p.Classes[n])
	}
	for _, t := range p.Tables {
		c := *t
		if c.Blank = p.BlankSub; c.Pos.File == blankAt.File && c.Pos.Line < blankAt.Line {
			c.Blank = " " // as for a K line before the option
		}
		if opt.CheckTable != nil {
			r.line, r.cfg.File = c.Pos.Line, cmp.Or(c.Pos.File, name)
			say := ""
			if say, c.Broken = opt.CheckTable(&c, &own); say != "" {
				r.errorf("%s", say)
			}
		}
		own.Tables = append(own.Tables, &c)
	}
	for _, t := range p.Transports {
		r.line, r.cfg.File = t.Pos.Line, cmp.Or(t.Pos.File, name)
		r.programMailer(t)
	}
	r.cfg.File, r.cfg.Level = name, p.Level
	r.finish()
	return r.cfg
}

// programRulesets takes the rulesets over. Those that have a name only get the numbers that the reader gives, in the order
// in which the file mentions them, also as S= and R= of a mailer.
func (r *reader) programRulesets(p *prog.Program) {
	type mention struct {
		at   prog.Pos
		name string
	}
	var all []mention
	for _, rs := range p.Rulesets {
		c := *rs
		own := r.cfg.Prog
		c.Index = len(own.Rulesets)
		own.Rulesets = append(own.Rulesets, &c)
		all = append(all, mention{rs.Pos, rs.Name})
	}
	for name, i := range p.Names {
		r.cfg.Prog.Names[name] = i
	}
	for _, t := range p.Transports {
		for _, param := range t.Params {
			if param.Name == "S" || param.Name == "R" {
				for n := range strings.SplitSeq(param.Value, "/") {
					all = append(all, mention{t.Pos, n})
				}
			}
		}
	}
	for _, s := range p.Settings { // a header may name a ruleset that checks it
		for i := 2; s.Name == "header" && i+1 < len(s.Values); i += 2 {
			if s.Values[i] == "check" || s.Values[i] == "check+" {
				all = append(all, mention{s.Pos, s.Values[i+1]})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b mention) int {
		if a.at.File != b.at.File {
			return 0
		}
		return a.at.Line - b.at.Line
	})
	for _, m := range all {
		if rs := r.cfg.Prog.Ruleset(m.name); rs != nil && rs.Number < 0 {
			rs.Number = r.nextNamed
			r.nextNamed--
		}
	}
}

func (r *reader) programClass(c *prog.Class) {
	r.addWords(c.Name, c.Words)
	own := r.class(c.Name)
	own.Pos = c.Pos
	for _, f := range c.Files {
		own.Files = append(own.Files, f)
		if r.opt.NoFiles {
			continue
		}
		r.line = f.Pos.Line
		r.takeWords(c.Name, f)
	}
	if c.Name == "t" {
		r.cfg.Trusted = append(r.cfg.Trusted, own.Words...)
	}
}

// programSetting is one setting: an option under sendmail's name or under ours, or a line of another kind.
func (r *reader) programSetting(s prog.Setting) {
	all := strings.Join(s.Values, " ")
	option := func(name, sub, value string) {
		r.cfg.Options = append(r.cfg.Options, Option{name, sub, value, s.Pos})
		r.checkOption(name, sub, value)
	}
	switch s.Name {
	case "operators":
		option("OperatorChars", "", strings.Join(s.Values, ""))
		return
	case "blank-sub":
		option("BlankSub", "", strings.Join(s.Values, ""))
		return
	case "spool":
		option("QueueDirectory", "", all)
		return
	case "trust":
		r.addWords("t", s.Values)
		r.cfg.Trusted = append(r.cfg.Trusted, s.Values...)
		return
	case "header":
		r.programHeader(s)
		return
	case "precedence":
		for i := 0; i+1 < len(s.Values); i += 2 {
			r.priorityLine(s.Values[i] + "=" + s.Values[i+1])
		}
		return
	case "environment":
		r.cfg.Env = append(r.cfg.Env, s.Values...)
		return
	case "queue-group":
		r.queueLine(all)
		return
	case "filter":
		r.milterLine(all)
		return
	}
	if s.Name == "" || s.Name[0] < 'A' || s.Name[0] > 'Z' {
		return // a setting of ours
	}
	if r.options == nil {
		r.options = allOptions()
	}
	name, sub, _ := strings.Cut(s.Name, ".")
	o, ok, _ := findOption(r.options, name)
	if !ok {
		r.errorf("readcf: unknown option name %s", name)
		r.keepUnknown(name, sub, all)
		return
	}
	option(o.name, sub, all)
}

// programHeader reads "header NAME TEMPLATE [flag LETTERS] [macro NAME] [check RULESET] [check+ RULESET]".
func (r *reader) programHeader(s prog.Setting) {
	v := s.Values
	if len(v) < 2 || len(v)%2 != 0 {
		r.errorf("write: set header NAME TEMPLATE [flag LETTERS] [macro NAME] [check RULESET]")
		return
	}
	h := Header{Name: v[0], Value: v[1], Pos: s.Pos}
	for i := 2; i < len(v); i += 2 {
		switch v[i] {
		case "flag":
			h.Flags = v[i+1]
		case "macro":
			h.Macro = v[i+1]
		case "check", "check+":
			h.Ruleset, h.Keep = v[i+1], v[i] == "check+"
		default:
			r.errorf("header %s: %s is none of flag, macro, check, check+", h.Name, v[i])
		}
	}
	r.cfg.Headers = append(r.cfg.Headers, h)
}

// programMailer makes a mailer of a transport of kind "mailer".
func (r *reader) programMailer(t *prog.Transport) {
	if t.Kind != "" {
		r.errorf("transport %s: beside rules of a sendmail.cf (set level) all transports are of kind mailer", t.Name)
		return
	}
	m := &Mailer{Name: t.Name, Pos: t.Pos, MaxRcpts: 100, UID: -1, GID: -1}
	args := false
	for _, p := range t.Params {
		if p.Name == "" {
			continue
		}
		args = args || p.Name[0] == 'A'
		if !r.equate(m, p.Name[0], strings.ReplaceAll(p.Value, "$", string(rune(mark)))) {
			return
		}
	}
	r.addMailer(m, args)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
