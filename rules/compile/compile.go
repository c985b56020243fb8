// Package compile turns syntax trees of the rule language (package lang) into the compiled form (package prog). It
// stands between the two because neither may know the other: the trees of all files of a configuration flow in, one
// Program and the tests of its test blocks flow out, with a diagnostic for everything that has no meaning: captures
// that nothing binds, values that cannot be read. Whether names exist is the business of package check.
package compile

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"waybill/rules/addr"
	"waybill/rules/lang"
	"waybill/rules/prog"
)

// Names of the rulesets that blocks without a name become. The numbers are those under which sendmail's tools know
// them.
const (
	Canonify   = "canonify" // 3
	Route      = "route"    // 0
	Send       = "send"
	Failures   = "failures" // the built-in table failures(TRANSPORT, HOST)
	Schedule   = "schedule"
	acceptName = "accept_"
)

// AcceptName is the name of the ruleset of a stage: accept_rcpt.
func AcceptName(stage string) string { return acceptName + stage }

// Test is a test block.
type Test struct {
	Name   string
	Pos    lang.Pos
	Source *lang.Source
	Steps  []Step
}

// Step is one line of a test block: something given for the lines after it, or something expected.
type Step struct {
	Line   *lang.TestLine
	Pos    lang.Pos
	End    lang.Pos
	Source string // the line as written

	// Given.
	Given  string // fact, "table" for a table's entry, "class"
	Header string // given header NAME VALUE; leaving: "header" or "envelope"
	Value  string
	Table  string
	Key    string
	Answer Answer
	Words  []string // given class: Table is its name

	// Expected.
	Kind      string // route, rewrite, leaving, or a stage: connect, helo, mail, rcpt, data, header, message
	Name      string // rewrite: the ruleset; leaving: the transport; header: the field
	Recipient bool   // leaving
	Input     string
	Output    []string // the words expected
	Tokens    bool     // -> : Output is compared as tokens
}

// Answer is what a table says in a test.
type Answer uint8

const (
	Present Answer = iota
	Missing
	Fails
)

// Result is what Compile makes.
type Result struct {
	Program *prog.Program
	Tests   []Test
	Host    string
	Sources map[string]*lang.Source // by name
}

// Options change what the files say.
type Options struct {
	Hostname string            // unless a host statement names it
	Define   map[string]string // constants that win over define statements; "host" and "spool" win over theirs
	Use      map[string]string // what "use NAME" said behind the name, as constants
	Lost     *lang.Lost        // what may be missing because a statement could not be understood; nil: nothing
}

// compiler is the state of one compilation.
type compiler struct {
	opt    Options
	p      *prog.Program
	out    *Result
	diags  lang.Diagnostics
	src    *lang.Source // of the statement at hand
	syntax *addr.Syntax
	consts map[string]string

	ownMacros bool // see sendmailMacros
}

// Compile makes one program of the files, which count as one text in this order.
func Compile(files []*lang.File, opt Options) (*Result, lang.Diagnostics) {
	c := &compiler{opt: opt, p: prog.New(), consts: map[string]string{}}
	c.p.EightBit = true
	c.out = &Result{Program: c.p, Sources: map[string]*lang.Source{}}
	for _, f := range files {
		c.out.Sources[f.Source.Name] = f.Source
	}
	each := func(do func(*lang.Statement)) {
		for _, f := range files {
			c.src = f.Source
			for _, st := range f.Statements {
				do(st)
			}
		}
	}
	// Definitions are defaults when they stand in the library: the others are looked at first, and the first one counts.
	firstOwn := func(do func(*lang.Statement)) {
		for _, library := range []bool{false, true} {
			for _, f := range files {
				if c.src = f.Source; c.src.Library == library {
					for _, st := range f.Statements {
						do(st)
					}
				}
			}
		}
	}
	// Constants and settings first: they change what all other statements mean, wherever they stand.
	for name, value := range opt.Use {
		if value != "" {
			c.consts[name] = value
		}
	}
	firstOwn(c.constants)
	if _, ok := c.consts["host"]; !ok {
		c.consts["host"] = opt.Hostname
	}
	maps.Copy(c.consts, opt.Define)
	maps.Copy(c.p.Macros, c.consts)
	c.out.Host = c.consts["host"]
	c.consts["short"], c.consts["domain"], _ = strings.Cut(c.out.Host, ".")
	c.constant("node", c.out.Host) // what uname says, where the caller does not define it
	c.constant("opMode", "m")      // sendmail's -bm
	c.p.Macros["host"], c.p.Macros["j"] = c.out.Host, c.out.Host
	firstOwn(c.settings)
	eightBit := []addr.Option{addr.BlankSub(c.p.BlankSub), addr.EightBit()}
	if c.p.Level > 0 {
		firstOwn(c.sendmailMacros)
		c.p.EightBit = false
	}
	c.syntax = addr.New(c.p.Operators, eightBit...)
	firstOwn(c.declarations)
	each(c.rulesets)
	each(c.tests)
	return c.out, c.diags
}

// errorf reports a mistake in the part of the source between two places.
func (c *compiler) errorf(from, to lang.Pos, remedy, format string, args ...any) {
	c.diags = append(c.diags, lang.Diagnostic{Pos: from, End: c.src.Trim(from, to), Message: fmt.Sprintf(format, args...), Remedy: remedy, Source: c.src.Line(from.Line)})
}

// Place converts a place of a source to one of a program.
func Place(p lang.Pos) prog.Pos { return prog.Pos{File: p.Filename, Line: p.Line, Col: p.Column} }

func (c *compiler) constants(st *lang.Statement) {
	switch {
	case st.Host != nil:
		c.constant("host", strings.ToLower(c.one(st.Host.Name)))
	case st.Define != nil:
		c.constant(st.Define.Name.Value(), strings.Join(c.fields(st.Define.Value), " "))
	}
}

// constant defines a constant unless it is defined already.
func (c *compiler) constant(name, value string) {
	if _, ok := c.consts[name]; !ok {
		c.consts[name] = value
	}
}

func (c *compiler) settings(st *lang.Statement) {
	switch {
	case st.Spool != nil:
		dir := c.one(st.Spool.Dir)
		if d, ok := c.opt.Define["spool"]; ok {
			dir = d
		}
		c.p.Settings = append(c.p.Settings, prog.Setting{Name: "spool", Values: []string{dir}, Pos: Place(st.Pos)})
	case st.Set != nil:
		if !Repeated(st.Set.Name.Value()) && slices.ContainsFunc(c.p.Settings, func(s prog.Setting) bool { return s.Name == st.Set.Name.Value() }) {
			return
		}
		s := prog.Setting{Name: st.Set.Name.Value(), Values: c.fields(st.Set.Values), Pos: Place(st.Pos)}
		switch s.Name {
		case "operators":
			c.p.Operators = strings.Join(s.Values, "")
		case "blank-sub":
			c.p.BlankSub = strings.Join(s.Values, "")
		case "level": // the rules come from a sendmail.cf and are asked as sendmail asks them
			c.p.Level, _ = strconv.Atoi(strings.Join(s.Values, ""))
			return
		}
		c.p.Settings = append(c.p.Settings, s)
	}
}

// sendmailMacros makes macros of the constants that files with a level define, and of nothing else: what the machine is
// called is found out by the reader of sendmail.cf.
func (c *compiler) sendmailMacros(st *lang.Statement) {
	if !c.ownMacros {
		c.ownMacros, c.p.Macros = true, map[string]string{}
	}
	name := ""
	switch {
	case st.Host != nil:
		name = "j"
	case st.Define != nil:
		name = st.Define.Name.Value()
	default:
		return
	}
	if _, ok := c.p.Macros[name]; ok {
		return
	}
	if c.p.Macros[name] = c.out.Host; name != "j" {
		c.p.Macros[name] = c.consts[name]
	} else if st.Define != nil {
		c.p.Macros[name] = strings.Join(c.fields(st.Define.Value), " ")
	}
}

// SendmailOption reports whether a setting has the name of an option of sendmail.cf: "Timeout.queuereturn". Ours begin
// with a small letter.
func SendmailOption(name string) bool { return name != "" && name[0] >= 'A' && name[0] <= 'Z' }

// sendmailLines are the lines of a sendmail.cf that are no options: package compat/cf knows what they mean.
var sendmailLines = []string{"header", "precedence", "environment", "queue-group", "filter"}

// SendmailLine reports whether a setting stands for such a line.
func SendmailLine(name string) bool { return slices.Contains(sendmailLines, name) }

// Repeated reports whether a setting may be there several times: those of a sendmail.cf may.
func Repeated(name string) bool { return SendmailOption(name) || SendmailLine(name) }

func (c *compiler) declarations(st *lang.Statement) {
	switch {
	case st.Broken:
	case st.Class != nil:
		c.class(st.Class)
	case st.Table != nil:
		t := st.Table
		if c.p.Table(t.Name.Value()) == nil { // a second one is reported by package check
			args := c.fields(t.Args)
			for i, a := range args {
				if file, ok := strings.CutPrefix(a, "?"); ok && c.p.Level == 0 { // ?FILE: a table that need not be there
					args[i] = file
					args = append([]string{"-o"}, args...)
					break
				}
			}
			c.p.Tables = append(c.p.Tables, &prog.Table{Name: t.Name.Value(), Class: t.Class.Value(), Args: args, Pos: Place(t.Pos)})
		}
	case st.Transport != nil:
		t := &prog.Transport{Name: st.Transport.Name.Value(), Kind: st.Transport.Kind.Value(), Pos: Place(st.Pos)}
		if t.Kind == "mailer" { // an M line of sendmail.cf
			t.Kind = ""
		}
		for _, p := range st.Transport.Params {
			values := c.fields(p.Values)
			if t.Kind == "" && p.Name.Value() == "F" {
				t.Flags = strings.Join(values, "")
			}
			t.Params = append(t.Params, prog.Param{Name: p.Name.Value(), Value: strings.Join(values, " "), Values: values, Pos: Place(p.Pos)})
		}
		if c.p.Transport(t.Name) == nil {
			c.p.Transports = append(c.p.Transports, t)
		}
	}
}

// class adds members; several class statements with one name add up, as C lines do.
func (c *compiler) class(st *lang.Class) {
	name := st.Name.Value()
	k := c.p.Classes[name]
	if k == nil {
		k = &prog.Class{Name: name, Pos: Place(st.Pos)}
		c.p.Classes[name] = k
	}
	for _, line := range st.Members {
		for _, group := range groups(line.Values.Items()) {
			word := c.expand(group)
			if file, ok := strings.CutPrefix(word, "@"); ok && group[0].Quote() == 0 {
				optional := strings.HasPrefix(file, "?")
				f := prog.ClassFile{Path: strings.TrimPrefix(file, "?"), Optional: optional, Pos: Place(group[0].Pos)}
				if c.p.Level > 0 { // as in an F line, the format of scanf may stand behind the name
					f.Path, f.Scan, _ = strings.Cut(f.Path, " ")
				}
				k.Files = append(k.Files, f)
			} else if word != "" {
				k.Words = append(k.Words, word)
			}
		}
	}
}

// groups divides items at blanks.
func groups(items []lang.Item) [][]lang.Item {
	var out [][]lang.Item
	for i := range items {
		if n := len(out); n > 0 && items[i].Glued {
			out[n-1] = items[i-len(out[n-1]) : i+1]
		} else {
			out = append(out, items[i:i+1])
		}
	}
	return out
}

// fields returns values as words, constants put in.
func (c *compiler) fields(v *lang.Values) []string {
	var out []string
	for _, g := range groups(v.Items()) {
		out = append(out, c.expand(g))
	}
	return out
}

// one returns a value that must be one word.
func (c *compiler) one(v *lang.Values) string {
	f := c.fields(v)
	if len(f) != 1 {
		c.errorf(v.Pos, v.EndPos, "", "one word is expected here, not %d", len(f))
		return ""
	}
	return f[0]
}

// expand joins the items of one word. A constant, ${name}, becomes its value; other variables stay as written, for
// whoever knows them (a transport's $user).
func (c *compiler) expand(group []lang.Item) string {
	var b strings.Builder
	for _, i := range group {
		if name, ok := constant(i.Text); ok && i.Quote() == 0 {
			value, ok := c.consts[name]
			if !ok {
				c.unknownConst(i, name)
			}
			b.WriteString(value)
			continue
		}
		b.WriteString(i.Value())
	}
	return b.String()
}

func (c *compiler) unknownConst(i lang.Item, name string) {
	if c.opt.Lost.May("define", name) {
		return
	}
	remedy := fmt.Sprintf("write: define %s VALUE", name)
	if near := lang.Nearest(name, keys(c.consts)); near != "" {
		remedy = fmt.Sprintf("did you mean ${%s}?", near)
	}
	c.errorf(i.Pos, i.End, remedy, "constant ${%s} is not defined", name)
}

func keys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

// constant returns the name in "${name}".
func constant(text string) (string, bool) {
	if strings.HasPrefix(text, "${") && strings.HasSuffix(text, "}") {
		return text[2 : len(text)-1], true
	}
	return "", false
}
