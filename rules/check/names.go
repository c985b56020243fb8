// Package check finds what is wrong with rules before they run. Syntax trees flow into Names, a compiled program flows
// into Program; diagnostics flow out, all of them, each with its place and a remedy. Names is about what the text says:
// names that nothing defines, or that are defined twice, settings and parameters that do not exist, lookups with too
// many arguments. Program is about what the rules do: rules that can never apply, rewriting that never ends.
package check

import (
	"fmt"
	"slices"
	"strings"

	"waybill/rules/compile"
	"waybill/rules/lang"
)

// names is the state of one check.
type names struct {
	diags     lang.Diagnostics
	src       *lang.Source
	rulesets  map[string]lang.Pos
	classes   map[string]lang.Pos
	tables    map[string]lang.Pos
	transport map[string]lang.Pos
	defined   map[string]lang.Pos // other names: "set x", "define x", "host"
	defaults  map[string]bool     // files of the library: what they define gives way
	set       map[string]setting  // those that count
	lost      *lang.Lost
}

// setting is a setting as a file makes it.
type setting struct {
	set *lang.Set
	src *lang.Source
}

// Names checks the names in the files of one configuration. What is missing only because a statement could not be
// understood, or a file not be read, is not reported: lost tells.
func Names(files []*lang.File, lost *lang.Lost) lang.Diagnostics {
	n := &names{lost: lost, set: map[string]setting{}, defaults: map[string]bool{}, rulesets: map[string]lang.Pos{}, classes: map[string]lang.Pos{}, tables: map[string]lang.Pos{}, transport: map[string]lang.Pos{}, defined: map[string]lang.Pos{}}
	for _, f := range files {
		if f.Source.Library {
			n.defaults[f.Source.Name] = true
		}
	}
	for _, pass := range []func(*lang.Statement){n.define, n.use} {
		for _, f := range files {
			n.src = f.Source
			for _, st := range f.Statements {
				pass(st)
			}
		}
	}
	n.settings()
	return n.diags
}

func (n *names) errorf(from, to lang.Pos, remedy, format string, args ...any) *lang.Diagnostic {
	n.diags = append(n.diags, lang.Diagnostic{Pos: from, End: n.src.Trim(from, to), Message: fmt.Sprintf(format, args...), Remedy: remedy, Source: n.src.Line(from.Line)})
	return &n.diags[len(n.diags)-1]
}

// once records the definition of a name that must be unique.
func (n *names) once(kind string, table map[string]lang.Pos, name *lang.Name, value string) {
	if first, ok := table[value]; ok {
		if n.src.Library || n.defaults[first.Filename] {
			return
		}
		d := n.errorf(name.Pos, name.EndPos, "", "%s %q is defined twice", kind, value)
		d.Related = []string{fmt.Sprintf("%s:%d: it is defined here first", first.Filename, first.Line)}
		return
	}
	table[value] = name.Pos
}

func (n *names) define(st *lang.Statement) {
	switch {
	case st.Broken:
	case st.Host != nil:
		n.single("host", st.Pos)
	case st.Spool != nil:
		n.single("spool", st.Pos)
	case st.Set != nil:
		name := st.Set.Name.Value()
		if _, ok := n.defined["level"]; ok && compile.Repeated(name) { // a line of a sendmail.cf: package compat/cf looks at its value
			return
		}
		s, ok := settings[name]
		if !ok {
			n.errorf(st.Set.Name.Pos, st.Set.Name.EndPos, didYouMean(name, SettingNames()), "there is no setting %q", name)
			return
		}
		n.once("setting", n.defined, st.Set.Name, name)
		if before, ok := n.set[name]; !ok || before.src.Library {
			n.set[name] = setting{st.Set, n.src}
		}
		n.value("setting", name, "set ", s, st.Set.Name, st.Set.Values)
	case st.Define != nil:
		n.once("constant", n.defined, st.Define.Name, "${"+st.Define.Name.Value()+"}")
	case st.Class != nil:
		if _, ok := n.classes[st.Class.Name.Value()]; !ok {
			n.classes[st.Class.Name.Value()] = st.Class.Name.Pos
		}
	case st.Table != nil:
		n.once("table", n.tables, st.Table.Name, st.Table.Name.Value())
		_, sendmail := n.defined["level"] // package compat/cf knows more of them
		if class := st.Table.Class.Value(); sendmail {
		} else if slices.Contains(TableClasses(), class) {
			n.tableArgs(st.Table)
		} else {
			n.errorf(st.Table.Class.Pos, st.Table.Class.EndPos, didYouMean(class, TableClasses()), "there is no table class %q", class)
		}
	case st.Transport != nil:
		n.transportNames(st.Transport)
	case st.Ruleset != nil:
		n.rulesets[st.Ruleset.Name.Value()] = st.Pos
		if st.Ruleset.Number != nil {
			n.rulesets[st.Ruleset.Number.Value()] = st.Pos
		}
	case st.Route != nil:
		n.rulesets[compile.Route] = st.Pos
	case st.Accept != nil:
		stage := st.Accept.Stage
		if !slices.Contains(compile.Stages(), stage.Value()) {
			n.errorf(stage.Pos, stage.EndPos, didYouMean(stage.Value(), compile.Stages()), "mail is received in no stage %q", stage.Value())
		} else if (stage.Value() == "header") != (st.Accept.Header != nil) {
			n.errorf(stage.Pos, stage.EndPos, "write: accept header NAME { ... }, or accept rcpt { ... }", "only the stage header has a name, and it must have one")
		}
	}
}

func (n *names) single(word string, pos lang.Pos) {
	end := pos
	end.Column += len(word)
	if first, ok := n.defined[word]; ok && !n.src.Library && !n.defaults[first.Filename] {
		d := n.errorf(pos, end, "", "%s is set twice", word)
		d.Related = []string{fmt.Sprintf("%s:%d: it is set here first", first.Filename, first.Line)}
		return
	}
	n.defined[word] = pos
}

func (n *names) transportNames(t *lang.Transport) {
	n.once("transport", n.transport, t.Name, strings.ToLower(t.Name.Value()))
	switch strings.ToLower(t.Name.Value()) {
	case "error", "discard":
		n.errorf(t.Name.Pos, t.Name.EndPos, "give it another name", "%q is built in", t.Name.Value())
	}
	n.transportParams(t)
}

func didYouMean(word string, known []string) string {
	if near := lang.Nearest(word, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	sorted := slices.Clone(known)
	slices.Sort(sorted)
	return "known are: " + strings.Join(sorted, ", ")
}

// use checks that what a statement mentions is there.
func (n *names) use(st *lang.Statement) {
	switch {
	case st.Broken:
	case st.Set != nil:
		if s, ok := settings[st.Set.Name.Value()]; ok {
			n.refers(s, st.Set.Values)
		}
	case st.Table != nil:
		if _, sendmail := n.defined["level"]; !sendmail {
			n.members(st.Table)
		}
	case st.Transport != nil:
		for _, p := range st.Transport.Params {
			if v, ok := params[st.Transport.Kind.Value()][p.Name.Value()]; ok {
				n.refers(v, p.Values)
			}
		}
	}
	switch {
	case st.Ruleset != nil:
		n.rules(st.Ruleset.Rules)
	case st.Route != nil:
		n.rules(st.Route.Rules)
	case st.Accept != nil:
		for _, r := range st.Accept.Rules {
			n.pattern(r.Pattern)
			n.cond(r.Cond)
			n.cond(r.Where)
			n.action(r.Action)
		}
	case st.Send != nil:
		for _, r := range st.Send.Rules {
			n.cond(r.Cond)
		}
	case st.Schedule != nil:
		for _, r := range st.Schedule.Rules {
			n.cond(r.Cond)
		}
	case st.Test != nil:
		for _, l := range st.Test.Lines {
			if l.Given != nil && l.Given.Lookup != nil {
				n.lookup(l.Given.Lookup)
			}
		}
	}
}

func (n *names) rules(rules []*lang.Rule) {
	for _, r := range rules {
		n.pattern(r.Pattern)
		n.cond(r.Where)
		n.action(r.Action)
	}
}

func (n *names) pattern(p *lang.Pattern) {
	if p == nil {
		return
	}
	for _, i := range p.Items() {
		if !i.Var() {
			continue
		}
		if at := strings.IndexAny(i.Text, "=~"); at > 0 {
			n.class(strings.Trim(i.Text[at+1:], "{}"), i.Pos, i.End)
		}
	}
}

func (n *names) class(name string, from, to lang.Pos) {
	if _, ok := n.classes[name]; !ok && !n.lost.May("class", name) {
		n.errorf(from, to, nearest(name, n.classes, "write: class "+name+" { ... }"), "class %q is not defined", name)
	}
}

func nearest(name string, known map[string]lang.Pos, otherwise string) string {
	var list []string
	for k := range known {
		list = append(list, k)
	}
	slices.Sort(list)
	if near := lang.Nearest(name, list); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return otherwise
}

func (n *names) cond(c *lang.Cond) {
	if c == nil {
		return
	}
	for _, all := range c.Or {
		for _, u := range all.And {
			switch {
			case u.Group != nil:
				n.cond(u.Group)
			case u.Lookup != nil:
				n.lookup(u.Lookup.Lookup)
				n.pattern(u.Lookup.Is)
				n.in(u.Lookup.In)
			case u.Capture != nil:
				n.in(u.Capture.In)
				n.pattern(u.Capture.Is)
			default:
				n.in(u.Fact.In)
				n.pattern(u.Fact.Is)
				if (u.Fact.Fact == "transport" || u.Fact.Fact == "mailer") && u.Fact.Arg != nil {
					n.mailer(u.Fact.Arg.Value(), u.Fact.Arg.Pos, u.Fact.Arg.EndPos)
				}
			}
		}
	}
}

func (n *names) in(name *lang.Name) {
	if name != nil {
		n.class(name.Value(), name.Pos, name.EndPos)
	}
}

func (n *names) mailer(name string, from, to lang.Pos) {
	if _, ok := n.defined["level"]; ok { // the hooks of a sendmail.cf use words of their own: $#TEMP
		return
	}
	if _, ok := n.transport[strings.ToLower(name)]; ok || strings.EqualFold(name, "error") || strings.EqualFold(name, "discard") || n.lost.May("transport", name) {
		return
	}
	n.errorf(from, to, nearest(strings.ToLower(name), n.transport, "write: transport "+name+" KIND { ... }"), "transport %q is not defined", name)
}

func (n *names) lookup(l *lang.Lookup) {
	name := strings.TrimSuffix(l.Table, "(")
	end := l.Pos
	end.Column += len(name)
	if _, ok := n.tables[name]; !ok && name != "host" && name != compile.Failures && !n.lost.May("table", name) {
		n.errorf(l.Pos, end, nearest(name, n.tables, "write: table "+name+" CLASS ARGUMENT..."), "table %q is not defined", name)
	}
	if len(l.Args) > 9 {
		n.errorf(l.Args[9].Pos, l.Args[9].EndPos, "", "a lookup has a key and at most 8 arguments")
	}
	if l.Args[0].Text == nil {
		n.errorf(l.Pos, l.EndPos, "write: "+name+"($x)", "a lookup needs a key")
	}
}

func (n *names) action(a *lang.Action) {
	switch {
	case a.Rewrite != nil:
		n.parts(a.Rewrite.Parts)
	case a.Resolve != nil:
		n.parts(a.Resolve.Parts)
		if len(a.Resolve.Parts) == 0 || a.Resolve.Parts[0].Text == nil {
			return
		}
		items := a.Resolve.Parts[0].Text.Items()
		alone := len(items) == 1 && len(a.Resolve.Parts) == 1
		if first := items[0]; !first.Var() && !alone && (len(items) == 1 || !items[1].Glued) {
			n.mailer(first.Value(), first.Pos, first.End)
		}
	}
}

func (n *names) parts(parts []*lang.Part) {
	for _, p := range parts {
		switch {
		case p.Lookup != nil:
			n.lookup(p.Lookup)
			for _, e := range p.Lookup.Else {
				n.callee(e.Call)
			}
		case p.Call != nil:
			n.callee(p.Call)
		}
	}
}

func (n *names) callee(c *lang.Callee) {
	if c == nil || c.Item().Var() {
		return
	}
	i := c.Item()
	if _, ok := n.rulesets[i.Value()]; !ok && !n.lost.May("ruleset", i.Value()) {
		n.errorf(i.Pos, i.End, nearest(i.Value(), n.rulesets, "write: ruleset "+i.Value()+" { ... }"), "ruleset %q is not defined", i.Value())
	}
}
