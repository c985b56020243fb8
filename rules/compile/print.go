package compile

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"waybill/rules/addr"
	"waybill/rules/lang"
	"waybill/rules/prog"
)

// Print writes a program in the rule language. Compiled again, it has the same rules with the same meaning: wildcards
// get names where their text is used, sendmail's signs become words, and what has no word keeps its sign. Comments are
// not part of a program. The error names what cannot be written down, which is left out; all the rest is written.
func Print(w io.Writer, p *prog.Program) error {
	pr := &printer{p: p, syntax: addr.New(p.Operators, addr.BlankSub(p.BlankSub), addr.EightBit())}
	pr.program()
	b := bufio.NewWriter(w)
	b.WriteString(lang.Format(lang.NewSource("", pr.b.String())))
	if err := b.Flush(); err != nil {
		return err
	}
	if len(pr.lost) > 0 {
		return fmt.Errorf("not written: %s", strings.Join(pr.lost, "; "))
	}
	return nil
}

// PrintRule returns one rule in the rule language.
func PrintRule(p *prog.Program, r *prog.Rule) (string, error) {
	pr := &printer{p: p, syntax: addr.New(p.Operators, addr.BlankSub(p.BlankSub), addr.EightBit())}
	text, ok := pr.rule(r)
	if !ok {
		return "", fmt.Errorf("%s cannot be written in the rule language", r)
	}
	return text, nil
}

type printer struct {
	p      *prog.Program
	syntax *addr.Syntax
	b      strings.Builder
	lost   []string
}

func (pr *printer) lose(at prog.Pos, what string) {
	if at.Line > 0 {
		what = at.String() + ": " + what
	}
	pr.lost = append(pr.lost, what)
}

func (pr *printer) linef(format string, args ...any) { fmt.Fprintf(&pr.b, format+"\n", args...) }

func (pr *printer) program() {
	p := pr.p
	standard := prog.New()
	if p.Level > 0 {
		pr.linef("set level %d", p.Level)
	}
	if p.Operators != standard.Operators {
		pr.linef("set operators %s", quote(p.Operators))
	}
	if p.BlankSub != standard.BlankSub {
		pr.linef("set blank-sub %s", quote(p.BlankSub))
	}
	for _, s := range p.Settings {
		switch {
		case s.Name == "operators" || s.Name == "blank-sub":
		case s.Name == "spool":
			pr.linef("spool %s", words(s.Values))
		default:
			pr.linef("set %s %s", s.Name, words(s.Values))
		}
	}
	if host := p.Macros["host"]; host != "" && p.Level == 0 {
		pr.linef("host %s", quote(host))
	}
	for _, name := range sortedNames(p.Macros) {
		if p.Level == 0 && (name == "host" || name == "short" || name == "j") {
			continue
		}
		pr.linef("define %s %s", quote(name), quote(p.Macros[name]))
	}
	pr.linef("")
	for _, name := range sortedNames(p.Classes) {
		pr.class(p.Classes[name])
	}
	for _, name := range ClassesOf(p) { // sendmail takes those that nothing defines to be empty
		if p.Classes[name] != nil {
			continue
		}
		pr.linef("class %s { }", quote(name))
	}
	pr.linef("")
	for _, t := range p.Tables {
		pr.linef("table %s %s %s", quote(t.Name), quote(t.Class), words(t.Args))
	}
	pr.linef("")
	for _, t := range p.Transports {
		kind := t.Kind
		if kind == "" {
			kind = "mailer"
		}
		pr.linef("transport %s %s {", quote(t.Name), quote(kind))
		for _, param := range t.Params {
			value := words(param.Values)
			if param.Values == nil && param.Value != "" {
				value = quote(param.Value)
			}
			pr.linef("%s %s", quote(param.Name), value)
		}
		pr.linef("}")
	}
	for _, rs := range p.Rulesets {
		pr.ruleset(rs)
	}
}

// ClassesOf are the classes that rules mention.
func ClassesOf(p *prog.Program) []string {
	mentioned := map[string]bool{}
	for _, rs := range p.Rulesets {
		for _, r := range rs.Rules {
			for _, t := range r.LHS {
				if t.Kind != prog.InClass && t.Kind != prog.NotInClass {
					continue
				}
				mentioned[t.Text] = true
			}
		}
	}
	return sortedNames(mentioned)
}

func (pr *printer) class(k *prog.Class) {
	pr.linef("class %s {", quote(k.Name))
	line := ""
	for _, w := range k.Words {
		if q := quote(w); len(line)+len(q) > 100 {
			pr.linef("%s", line)
			line = q
		} else {
			line = strings.TrimSpace(line + " " + q)
		}
	}
	if line != "" {
		pr.linef("%s", line)
	}
	for _, f := range k.Files {
		mark := "@"
		if f.Optional {
			mark = "@?"
		}
		if f.Scan != "" && f.Scan != "%s" {
			pr.lose(f.Pos, fmt.Sprintf("the format %s of class file %s", f.Scan, f.Path))
		}
		pr.linef("%s%s", mark, quoteFile(f.Path))
	}
	pr.linef("}")
}

func quoteFile(path string) string {
	if q := quote(path); q != path {
		return q
	}
	return path
}

func (pr *printer) ruleset(rs *prog.Ruleset) {
	pr.linef("")
	switch {
	case rs.Name == Route && pr.p.Level == 0:
		pr.linef("route {")
	case rs.Name == Send && pr.p.Level == 0:
		pr.linef("send {")
	case rs.Name == Schedule && pr.p.Level == 0:
		pr.linef("schedule {")
	case strings.HasPrefix(rs.Name, acceptName) && pr.p.Level == 0:
		stage, field, _ := strings.Cut(strings.TrimPrefix(rs.Name, acceptName), ":")
		pr.linef("accept %s %s {", stage, field)
	case rs.Number >= 0 && (rs.Name != Canonify || rs.Number != 3):
		pr.linef("ruleset %s %d {", quote(rs.Name), rs.Number)
	default:
		pr.linef("ruleset %s {", quote(rs.Name))
	}
	for _, r := range rs.Rules {
		text, ok := pr.rule(r)
		if !ok {
			pr.lose(r.Pos, "rule "+r.String())
			continue
		}
		pr.linef("%s", text)
	}
	pr.linef("}")
}

// rule writes one rule. One of our own language is written as it stands in its file.
func (pr *printer) rule(r *prog.Rule) (string, bool) {
	if pr.p.Level == 0 && r.Source != "" {
		return r.Source, true
	}
	if r.Cond != nil || r.Attr != nil {
		return "", false
	}
	for _, t := range append(slices.Clone(r.LHS), r.RHS...) { // "$={}": sendmail complains, and so do we
		if t.Text == "" && (t.Kind == prog.InClass || t.Kind == prog.NotInClass || t.Kind == prog.RunMacro) {
			return "", false
		}
	}
	names := pr.names(r)
	var b strings.Builder
	n := 0
	for i, t := range r.LHS {
		if i > 0 {
			b.WriteByte(' ')
		}
		if t.Kind.Wildcard() {
			n++
			b.WriteString("$" + names[n])
		}
		switch t.Kind {
		case prog.Literal:
			b.WriteString(pr.literal(t.Text))
		case prog.ZeroOrMore:
			b.WriteByte('*')
		case prog.OneOrMore:
			b.WriteByte('+')
		case prog.One:
			b.WriteByte('-')
		case prog.InClass:
			b.WriteString("=" + className(t.Text))
		case prog.NotInClass:
			b.WriteString("~" + className(t.Text))
		case prog.Empty:
			b.WriteString("''")
		case prog.RunMacro:
			b.WriteString(macro(t.Text))
		case prog.Sep, prog.Mailer, prog.User, prog.MapBegin, prog.MapEnd, prog.HostBegin, prog.HostEnd, prog.Call:
			b.WriteString(t.String())
		case prog.Capture:
			b.WriteString("$_" + strconv.Itoa(t.N))
		default:
			return "", false
		}
	}
	if len(r.LHS) == 0 {
		b.WriteString("''")
	}
	if fields, ok := pr.resolution(r, names); ok {
		return b.String() + " => " + fields, true
	}
	b.WriteString(" ->")
	switch {
	case r.Mode == prog.Once:
		b.WriteString(" once")
	case r.Mode == prog.Return:
		b.WriteString(" return")
	case pr.p.Level == 0 && !holds(r.LHS, "<") && holds(r.RHS, "<"):
		b.WriteString(" repeat")
	}
	rhs, ok := pr.side(r.RHS, names, false)
	if !ok {
		return "", false
	}
	return b.String() + " " + rhs, true
}

// names gives the captures names: those they have, else letters; none to those whose text nobody uses.
func (pr *printer) names(r *prog.Rule) []string {
	used := map[int]bool{}
	for _, t := range r.RHS {
		if t.Kind == prog.Capture {
			used[t.N] = true
		}
	}
	names := []string{""}
	for _, t := range r.LHS {
		if !t.Kind.Wildcard() {
			continue
		}
		n := len(names)
		name := t.Name
		if !used[n] {
			name = ""
		} else if name == "" {
			name = string(rune('a' + (n-1)%26))
			if n > 26 {
				name += strconv.Itoa(n)
			}
		}
		names = append(names, name)
	}
	return names
}

// resolution writes a right side that begins with $# as fields, when it has that form.
func (pr *printer) resolution(r *prog.Rule, names []string) (string, bool) {
	if len(r.RHS) < 2 || r.RHS[0].Kind != prog.Mailer || pr.p.Level > 0 && r.Mode != prog.Repeat {
		return "", false
	}
	fields := [][]prog.Tok{nil}
	kinds := []prog.Kind{prog.Mailer}
	for _, t := range r.RHS[1:] {
		switch t.Kind {
		case prog.Host, prog.User:
			fields = append(fields, nil)
			kinds = append(kinds, t.Kind)
		case prog.Literal, prog.Capture, prog.RunMacro:
			fields[len(fields)-1] = append(fields[len(fields)-1], t)
		default:
			return "", false
		}
	}
	switch {
	case len(kinds) == 1, len(kinds) == 2 && kinds[1] == prog.User, len(kinds) == 3 && kinds[1] == prog.Host && kinds[2] == prog.User:
	default:
		return "", false
	}
	var out []string
	for _, f := range fields {
		if len(f) == 0 {
			out = append(out, "''")
			continue
		}
		text, ok := pr.side(f, names, true)
		if !ok {
			return "", false
		}
		out = append(out, text)
	}
	return strings.Join(out, " "), true
}

// side writes the symbols of a right side; glued without blanks between them.
func (pr *printer) side(toks []prog.Tok, names []string, glued bool) (string, bool) {
	var out []string
	for i := 0; i < len(toks); i++ {
		t := toks[i]
		text := t.String()
		switch t.Kind {
		case prog.Literal:
			text = pr.literal(t.Text)
			word := i == 0 && (t.Text == "once" || t.Text == "return" || t.Text == "repeat")
			if text == t.Text && text[0] != '"' && text[0] != Constant[0] && (word || glued && pr.merges(toks)) {
				text = single(t.Text)
			}
		case prog.Capture:
			if t.N < 1 || t.N >= len(names) {
				text = "$_" + strconv.Itoa(t.N)
				break
			}
			text = "$" + names[t.N]
		case prog.RunMacro:
			text = macro(t.Text)
		case prog.MapBegin, prog.HostBegin:
			if l, end, ok := pr.lookup(toks, i, names); ok && !glued {
				text, i = l, end
			}
		case prog.Call:
			if i+1 < len(toks) && toks[i+1].Kind == prog.Literal && !glued {
				if _, known := pr.p.Names[toks[i+1].Text]; known {
					i++
					text = "call " + pr.name(toks[i].Text)
				}
			}
		}
		out = append(out, text)
	}
	if glued {
		return strings.Join(out, ""), true
	}
	return strings.Join(out, " "), true
}

// merges reports whether literals that are written without blanks between them would be read as others, so that all
// of them need quotes: two words become one, a word behind a capture belongs to its name, and a quote within a word is
// an ordinary character.
func (pr *printer) merges(toks []prog.Tok) bool {
	for i, t := range toks {
		if t.Kind != prog.Literal {
			continue
		}
		if strings.HasPrefix(t.Text, Constant) {
			continue
		}
		if text := pr.literal(t.Text); text != t.Text || t.Text == "#" {
			return true
		}
		if i == 0 {
			continue
		}
		switch before := toks[i-1]; {
		case before.Kind == prog.Literal:
			if !operatorTok(pr.syntax, before) && !operatorTok(pr.syntax, t) || strings.HasSuffix(before.Text, "-") || strings.HasSuffix(before.Text, "=") {
				return true
			}
		case !operatorTok(pr.syntax, t) || t.Text == "+" && i+1 < len(toks) && toks[i+1].Kind == prog.Literal:
			return true
		}
	}
	return false
}

func operatorTok(s *addr.Syntax, t prog.Tok) bool {
	return t.Kind == prog.Literal && s.IsOperator(addr.Token(t.Text))
}

// maxArgs is how many parts a lookup can have in the rule language: key, arguments, default.
const maxArgs = 9

// lookup writes $( name key $@ argument $: default $) as name(key, argument else default).
func (pr *printer) lookup(toks []prog.Tok, at int, names []string) (text string, end int, ok bool) {
	i := at + 1
	name := "host"
	closing := prog.HostEnd
	if toks[at].Kind == prog.MapBegin {
		closing = prog.MapEnd
		if i >= len(toks) || toks[i].Kind != prog.Literal || !lang.CallName(toks[i].Text) || pr.p.Table(toks[i].Text) == nil || toks[i].Text == "host" {
			return "", 0, false
		}
		name = toks[i].Text
		i++
	} else if pr.p.Table("host") != nil {
		return "", 0, false
	}
	parts := [][]prog.Tok{nil}
	hasElse := false
	for ; i < len(toks) && toks[i].Kind != closing; i++ {
		switch t := toks[i]; t.Kind {
		case prog.MapArg, prog.Host:
			if hasElse {
				return "", 0, false
			}
			parts = append(parts, nil)
		case prog.MapElse, prog.User:
			if hasElse {
				return "", 0, false
			}
			hasElse = true
			parts = append(parts, nil)
		case prog.Literal, prog.Capture, prog.RunMacro, prog.Sep:
			parts[len(parts)-1] = append(parts[len(parts)-1], t)
		default:
			return "", 0, false
		}
	}
	if i == len(toks) || len(parts) > maxArgs || len(parts[0]) == 0 {
		return "", 0, false
	}
	var b strings.Builder
	b.WriteString(name + "(")
	for n, part := range parts {
		s, ok := pr.side(part, names, false)
		if !ok {
			return "", 0, false
		}
		switch {
		case hasElse && n == len(parts)-1:
			b.WriteString(" else " + s)
		case n > 0:
			b.WriteString(", " + s)
		default:
			b.WriteString(s)
		}
	}
	return b.String() + ")", i, true
}
