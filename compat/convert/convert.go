// Package convert turns a sendmail.cf into a file of the rule language. What flows in is the text of the file and what
// compat/cf made of it; what flows out is text: every line in its place, with the comments, rules with a reference to their
// line in the sendmail.cf. Read back, it is the same configuration: the same rules symbol by symbol, options, headers,
// mailers (compat/cf, FromProgram). Fold replaces what m4 made of well-known features by "use" statements.
//
// It is the one package that knows both sides, so it may use rules/compile and rules/lang beside what compat may use.
package convert

import (
	"fmt"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"waybill/compat/cf"
	"waybill/rules/compile"
	"waybill/rules/lang"
	"waybill/rules/prog"
)

// Loss is something that the rule language cannot say.
type Loss struct {
	Line int
	What string
}

func (l Loss) String() string { return fmt.Sprintf("line %d: %s", l.Line, l.What) }

// Result is a converted file.
type Result struct {
	Text string
	Lost []Loss
}

// File converts the text of a sendmail.cf. conf is what compat/cf read from it, with NoFiles: what stands in other files
// stays there. marked is the same, read with the options that Marked returns: where its names stand in rules, because sendmail
// puts $j, $w and $m into them while it reads, the result has the constants ${host}, ${short}, ${domain}, ${node} and ${opMode}.
func File(text string, conf, marked *cf.Config) Result { return Folded(text, conf, marked, nil) }

// Folded is File with parts of the library in the place of the rulesets that they stand for.
func Folded(text string, conf, marked *cf.Config, parts []Piece) Result {
	strange := map[int]bool{}
	sections := Sections(text)
	parser := lang.NewParser()
	for {
		w := newWriter(text, conf, marked)
		w.strange, w.sections = strange, sections
		for _, p := range parts {
			for _, name := range p.Rulesets {
				name, _, _ = strings.Cut(name, "=")
				w.folded[name] = p
			}
		}
		w.head()
		for _, l := range w.lines {
			w.line(l)
		}
		w.close()
		w.rest()
		out := w.out.String()
		if !misread(parser, out, w.file, strange) {
			return Result{Text: lang.Format(lang.NewSource("", understood(parser, out, w))), Lost: w.lost}
		}
	}
}

// writer is the state of one conversion.
type writer struct {
	conf     *cf.Config
	file     string // base name, for references
	lines    []line
	out      strings.Builder
	lost     []Loss
	comments []string // read, and not yet written
	ruleset  *prog.Ruleset
	open     bool // its block is open
	first    bool // no statement was written yet: level comes before the first

	folded   map[string]Piece // rulesets that a part of the library stands for
	used     map[string]bool  // parts that are written
	sections map[string]Section

	strange  map[int]bool   // rules that the language would misread
	refused  map[int]string // lines about which sendmail complains
	rules    map[int]ruleAt
	marked   map[int]*prog.Rule // the rules for the marked host
	options  map[int]cf.Option
	headers  map[int]cf.Header
	mailers  map[int]*cf.Mailer
	tables   map[int]*prog.Table
	classes  map[int]cf.ClassLine
	lastDef  map[string]int // line of the last D line of a macro
	lastOpt  map[string]int // of the options that are statements of their own
	defined  map[string]bool
	declared map[*prog.Ruleset]bool
	numbered map[string]bool // rulesets that something written names: sendmail numbers them in that order
}

type ruleAt struct {
	rule *prog.Rule
	set  *prog.Ruleset
}

// line is a logical line: the text with its continuation lines, and the number of the first.
type line struct {
	text   string
	number int
}

// logical cuts a text into lines as sendmail does: one that begins with white space goes on with the line before it.
func logical(text string) []line {
	var out []line
	n := 0
	for s := range strings.Lines(text) {
		n++
		s = strings.TrimSuffix(s, "\n")
		if s != "" && (s[0] == ' ' || s[0] == '\t') && len(out) > 0 {
			out[len(out)-1].text += "\n" + s
			continue
		}
		out = append(out, line{s, n})
	}
	return out
}

func newWriter(text string, conf, marked *cf.Config) *writer {
	w := &writer{
		conf: conf, file: filepath.Base(conf.File), lines: logical(text), refused: map[int]string{}, rules: map[int]ruleAt{}, marked: map[int]*prog.Rule{}, options: map[int]cf.Option{}, headers: map[int]cf.Header{},
		mailers: map[int]*cf.Mailer{}, tables: map[int]*prog.Table{}, classes: map[int]cf.ClassLine{}, lastDef: map[string]int{}, lastOpt: map[string]int{},
		folded: map[string]Piece{}, used: map[string]bool{}, defined: map[string]bool{}, declared: map[*prog.Ruleset]bool{}, numbered: map[string]bool{}, first: true,
	}
	if !strings.HasSuffix(w.file, ".cf") {
		w.file += ".cf"
	}
	for _, m := range conf.Messages {
		w.refused[m.Pos.Line] = m.Text
	}
	for _, rs := range conf.Prog.Rulesets {
		for _, r := range rs.Rules {
			w.rules[r.Pos.Line] = ruleAt{r, rs}
		}
	}
	for _, o := range conf.Options {
		w.options[o.Pos.Line] = o
		w.lastOpt[o.Name] = o.Pos.Line
	}
	for _, h := range conf.Headers {
		w.headers[h.Pos.Line] = h
	}
	for _, m := range conf.Mailers {
		w.mailers[m.Pos.Line] = m
	}
	for _, rs := range marked.Prog.Rulesets {
		for _, r := range rs.Rules {
			w.marked[r.Pos.Line] = r
		}
	}
	for _, t := range marked.Prog.Tables {
		w.tables[t.Pos.Line] = t
	}
	for _, c := range marked.Lines {
		w.classes[c.Pos.Line] = c
	}
	for _, l := range w.lines {
		if strings.HasPrefix(l.text, "D") {
			if name, _, _, ok := cf.CutName(l.text[1:]); ok {
				w.lastDef[name] = l.number
			}
		}
	}
	return w
}

func (w *writer) linef(format string, args ...any) { fmt.Fprintf(&w.out, format+"\n", args...) }

// lose says that a line is not carried over. One that sendmail itself refuses is no loss.
func (w *writer) lose(l line, why string) {
	if says, ok := w.refused[l.number]; ok {
		w.flush()
		w.linef("# sendmail ignores this, %s:%d: %s: %s", w.file, l.number, printable(says), printable(oneLine(l.text)))
		return
	}
	w.lost = append(w.lost, Loss{l.number, why})
	w.flush()
	w.linef("# not carried over, %s:%d: %s: %s", w.file, l.number, why, printable(oneLine(l.text)))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// flush writes the comments that were read.
func (w *writer) flush() {
	for _, c := range w.comments {
		w.linef("%s", c)
	}
	w.comments = nil
}

// close ends the block of a ruleset; comments behind its last rule belong to what follows.
func (w *writer) close() {
	if w.open {
		w.linef("}")
	}
	w.open, w.ruleset = false, nil
	w.flush()
}

func (w *writer) head() {
	w.linef("# Made of %s by waybill rules convert. The comment behind a rule is the place where it stands there.", w.conf.File)
}

// level says that the rules came from a sendmail.cf, before the first of them.
func (w *writer) level() {
	if w.first {
		w.first = false
		w.linef("set level %d", max(w.conf.Level, 1))
		w.operators()
	}
}

// operators writes what decides how addresses are cut into tokens, unless a line of the file does.
func (w *writer) operators() {
	p := w.conf.Prog
	if _, ok := w.lastOpt["OperatorChars"]; !ok && p.Operators != prog.New().Operators {
		w.linef("set operators %s", compile.Quote(p.Operators))
	}
	if _, ok := w.lastOpt["BlankSub"]; !ok && p.BlankSub != prog.New().BlankSub {
		w.linef("set blank-sub %s", compile.Quote(p.BlankSub))
	}
}

func (w *writer) line(l line) {
	switch {
	case strings.TrimSpace(l.text) == "":
		w.comments = append(w.comments, "")
		return
	case l.text[0] == '#':
		for c := range strings.SplitSeq(l.text, "\n") {
			c = printable(c)
			if !strings.HasPrefix(c, "#") {
				c = "# " + c
			}
			w.comments = append(w.comments, strings.TrimRight(c, " \t"))
		}
		return
	}
	if l.text[0] == 'R' {
		w.rule(l)
		return
	}
	w.close()
	if l.text[0] != 'V' {
		w.level()
	}
	switch l.text[0] {
	case 'V':
		w.level()
	case 'S':
		w.begin(l)
	case 'D':
		w.macro(l)
	case 'C', 'F', 'T':
		w.class(l)
	case 'K':
		w.table(l)
	case 'O':
		w.option(l)
	case 'H':
		w.header(l)
	case 'M':
		w.mailer(l)
	case 'P', 'Q', 'X', 'E':
		w.other(l)
	default:
		w.lose(l, "no such kind of line")
	}
}

func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' && c != '\t' || c == 0x7f || c == '\ufffd' {
			return '?'
		}
		return c
	}, s)
}

// begin opens the block of a ruleset.
func (w *writer) begin(l line) {
	name, _, _ := strings.Cut(strings.TrimLeft(plain(l.text[1:]), " \t"), "=")
	end := strings.IndexFunc(name, func(c rune) bool { return !nameRune(c) })
	if end >= 0 {
		name = name[:end]
	}
	rs := w.conf.Prog.Ruleset(strings.TrimLeft(name, "0"))
	if rs == nil {
		rs = w.conf.Prog.Ruleset(name)
	}
	if strings.Trim(name, "0") == "" && name != "" {
		rs = w.conf.Prog.Ruleset("0")
	}
	if rs == nil {
		if _, refused := w.refused[l.number]; !refused && name != "" { // it ends the ruleset before it, and has no rules
			w.flush()
			w.linef("# no rules: %s", printable(oneLine(l.text)))
			return
		}
		w.lose(l, "no name of a ruleset")
		return
	}
	if _, ok := w.folded[rs.Name]; ok {
		w.declared[rs], w.numbered[rs.Name] = true, true
		w.use(rs.Name)
		return
	}
	w.enter(rs)
}

func nameRune(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// plain takes away what the reader takes away: comments, and static macros are left as they are.
func plain(s string) string {
	s, _, _ = strings.Cut(s, "#")
	return strings.TrimSpace(s)
}

// firstNamed: higher numbers are given by the reader, in the order of the file.
const firstNamed = 100

func (w *writer) enter(rs *prog.Ruleset) {
	w.level()
	for _, earlier := range w.conf.Prog.Rulesets { // a line that is not carried over has named it first
		if earlier.Number > rs.Number && rs.Number >= firstNamed && !w.numbered[earlier.Name] {
			w.linef("ruleset %s {\n}", compile.Quote(earlier.Name))
			w.numbered[earlier.Name] = true
		}
	}
	w.ruleset, w.open = rs, true
	w.declared[rs], w.numbered[rs.Name] = true, true
	switch {
	case rs.Number >= 0 && rs.Number < firstNamed && (rs.Name != compile.Canonify || rs.Number != 3):
		w.linef("ruleset %s %d {", compile.Quote(rs.Name), rs.Number)
	default:
		w.linef("ruleset %s {", compile.Quote(rs.Name))
	}
}

func (w *writer) rule(l line) {
	at, ok := w.rules[l.number]
	if !ok {
		w.lose(l, "no rule")
		return
	}
	if _, ok := w.folded[at.set.Name]; ok {
		w.comments = nil
		return
	}
	if !w.open || w.ruleset != at.set {
		w.close()
		w.enter(at.set)
	}
	w.flush()
	rule := *at.rule
	if m := w.marked[l.number]; m != nil {
		lhs, ok1 := symbols(m.LHS)
		rhs, ok2 := symbols(m.RHS)
		if ok1 && ok2 && m.Mode == rule.Mode && w.means(lhs, rule.LHS) && w.means(rhs, rule.RHS) {
			rule.LHS, rule.RHS = lhs, rhs
		}
	}
	program := *w.conf.Prog
	program.Level = max(program.Level, 1) // a file without a V line is sendmail's, too
	text, err := compile.PrintRule(&program, &rule)
	if err != nil || w.strange[l.number] {
		w.lose(l, "the rule has no form in this language")
		return
	}
	comment := ""
	if f := strings.FieldsFunc(l.text, func(c rune) bool { return c == '\t' }); len(f) > 2 {
		if c := printable(oneLine(strings.Join(f[2:], " "))); c != "" {
			comment = c + "  # "
		}
	}
	w.linef("%s  # %s%s:%d", text, comment, w.file, l.number)
}

// plainHost is a name that a host statement can say.
var plainHost = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

func (w *writer) macro(l line) {
	name, _, _, ok := cf.CutName(l.text[1:])
	if !ok {
		w.lose(l, "no name of a macro")
		return
	}
	value := w.conf.Prog.Macros[name]
	switch {
	case w.lastDef[name] != l.number:
		w.linef("# defined again below: %s", printable(oneLine(l.text)))
	case name == "j" && plainHost.MatchString(value):
		w.linef("host %s", value)
	case name == "host" || name == "short" || name == "spool" || name == "":
		w.lose(l, "the name means something else here")
	default:
		w.linef("define %s %s", compile.Quote(name), compile.Quote(value))
	}
}

func (w *writer) table(l line) {
	t, ok := w.tables[l.number]
	if !ok {
		if f := strings.Fields(l.text[1:]); len(f) > 0 && w.conf.Prog.Table(f[0]) != nil {
			w.linef("# declared again below: %s", printable(oneLine(l.text)))
			return
		}
		w.lose(l, "no table that can be used here")
		return
	}
	w.linef("table %s %s %s", compile.Quote(t.Name), compile.Quote(t.Class), values(t.Args))
}

// text is the line with a number.
func (w *writer) text(number int) string {
	i := sort.Search(len(w.lines), func(i int) bool { return w.lines[i].number >= number })
	if i == len(w.lines) {
		return ""
	}
	return w.lines[i].text
}

// rest declares what rules and mailers mention and no line of the file defines; for sendmail it is there, and empty.
func (w *writer) rest() {
	w.level()
	written := map[string]bool{}
	for _, c := range w.conf.Lines {
		written[c.Class] = written[c.Class] || !strings.HasPrefix(w.text(c.Pos.Line), "T")
	}
	for _, name := range compile.ClassesOf(w.conf.Prog) {
		if !written[name] {
			w.linef("class %s { }", compile.Quote(name))
		}
	}
	for _, rs := range w.conf.Prog.Rulesets {
		if !w.declared[rs] {
			w.linef("")
			w.enter(rs)
			w.close()
		}
	}
}
