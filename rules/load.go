package rules

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"waybill/rules/check"
	"waybill/rules/compile"
	"waybill/rules/eval"
	"waybill/rules/lang"
	"waybill/rules/prog"
	"waybill/rules/table"
)

// Options change what Load makes of a file. The zero value is right for a file that stands on its own.
type Options struct {
	// Text, when not nil, is what the file holds: it is not opened then. So the embedded default rules are loaded.
	Text []byte
	// Hostname is our name when no host statement says it; empty: os.Hostname.
	Hostname string
	// Define sets constants (define NAME VALUE) and wins over the files. "host" and "spool" win over the statements
	// of these names.
	Define map[string]string
	// Library holds the files that "use NAME" reads, as NAME.rules; nil: there is no library.
	Library fs.FS
	// Tables are used in place of those that the files declare under the same name.
	Tables map[string]table.Table
	// Resolver is for tables that ask the DNS; nil: they answer "not now".
	Resolver table.Resolver
	// ResolverFor makes the Resolver when the settings, which may name a server, are known. It counts where Resolver is nil.
	ResolverFor func(Settings) table.Resolver
	// LibraryTests runs the test blocks of library files as well. They are about the library as it is, and may fail
	// where a site has rules of its own.
	LibraryTests bool
	// SkipTests leaves the test blocks alone.
	SkipTests bool

	native bool
}

// maxDepth limits includes of includes.
const maxDepth = 20

// loader reads files and what they include.
type loader struct {
	opt    Options
	parser *lang.Parser
	files  []*lang.File
	watch  []string
	diags  lang.Diagnostics
	lost   lang.Lost
	open   []string          // files that are being read, to find loops
	used   map[string]string // library files, each read once -> what stood behind the name
}

// Load reads a rule file with all that it includes, checks it, opens its tables and runs its test blocks. When
// anything is wrong the error is Diagnostics, which holds all of it, and there is no Router: whoever has one keeps it.
func Load(file string, opt Options) (*Router, error) {
	r, diags := readRules(file, opt, false)
	if r == nil || diags.Errors() {
		return nil, diags
	}
	r.warnings = diags
	return r, nil
}

// Check reads a rule file as Load does and tells all that is to be told about it at once: what is wrong, which tests
// fail, and what Analyse finds. What cannot be known before something else is mended is left out.
func Check(file string, opt Options) Diagnostics {
	_, diags := readRules(file, opt, true)
	return diags
}

// readRules reads them. What the checks need is there even when something is wrong; only with no error in the text is there
// a Router.
func readRules(file string, opt Options, analyse bool) (*Router, lang.Diagnostics) {
	opt.native = true
	if opt.Hostname == "" {
		opt.Hostname, _ = os.Hostname()
		opt.Hostname = strings.ToLower(cmp.Or(opt.Hostname, "localhost"))
	}
	l := &loader{opt: opt, parser: lang.NewParser(), used: map[string]string{}}
	l.read(file, opt.Text, lang.Pos{}, nil)
	if len(l.files) == 0 && l.diags.Errors() { // the file cannot be read
		return nil, sorted(l.diags)
	}
	res, diags := compile.Compile(l.files, compile.Options{Hostname: opt.Hostname, Define: opt.Define, Use: l.used, Lost: &l.lost})
	l.diags = append(append(l.diags, check.Names(l.files, &l.lost)...), diags...)
	line := func(p prog.Pos) string {
		if src := res.Sources[p.File]; src != nil {
			return src.Line(p.Line)
		}
		return ""
	}
	wrong := l.diags.Errors()
	opt.native = res.Program.Level == 0
	r, diags := build(res.Program, opt, res.Host, line, wrong)
	told := map[lang.Pos]bool{} // lines: why a table cannot be opened may have been said, and better
	for _, d := range l.diags {
		told[lang.Pos{Filename: d.Pos.Filename, Line: d.Pos.Line}] = true
	}
	for _, d := range diags {
		if !told[lang.Pos{Filename: d.Pos.Filename, Line: d.Pos.Line}] {
			l.diags = append(l.diags, d)
		}
	}
	if r == nil {
		if analyse { // what is missing in the rules may be in what cannot be read
			l.diags = append(l.diags, check.Rules(res.Program, line)...)
		}
		return nil, sorted(l.diags)
	}
	r.files = l.watch
	r.sources = res.Sources
	r.tests = res.Tests
	for _, f := range l.files {
		for _, st := range f.Statements {
			if st.Define != nil {
				r.defines = append(r.defines, st.Define)
			}
		}
	}
	if !opt.SkipTests {
		l.diags = append(l.diags, r.failures()...)
	}
	if analyse {
		l.diags = append(l.diags, r.Analyse()...)
	}
	return r, sorted(l.diags)
}

// Warnings returns what is doubtful about the rules but no reason to refuse them.
func (r *Router) Warnings() Diagnostics { return r.warnings }

// FromProgram makes a Router of a compiled program, such as that of a sendmail.cf. It has no test blocks and no rule
// files. The error is Diagnostics.
func FromProgram(p *prog.Program, opt Options) (*Router, error) {
	host := cmp.Or(opt.Define["host"], opt.Hostname, p.Macros["j"])
	r, diags := build(p, opt, host, func(prog.Pos) string { return "" }, false)
	if r == nil || diags.Errors() {
		return nil, diags
	}
	r.warnings = diags
	return r, nil
}

// build opens tables and makes the engine. When the rules are wrong it only tells what is wrong with the files that
// they name, and there is no Router.
func build(p *prog.Program, opt Options, host string, line func(prog.Pos) string, wrong bool) (*Router, lang.Diagnostics) {
	var diags lang.Diagnostics
	report := func(s lang.Severity, at prog.Pos, text string) {
		source := line(at)
		pos := lang.Pos{Filename: at.File, Line: at.Line, Column: max(at.Col, 1)}
		end := pos
		end.Column = utf8.RuneCountInString(strings.TrimRight(source, " \t")) + 1
		diags = append(diags, lang.Diagnostic{Severity: s, Pos: pos, End: end, Message: text, Source: source})
	}
	settings := newSettings(p, host)
	if !wrong && opt.Resolver == nil && opt.ResolverFor != nil {
		opt.Resolver = opt.ResolverFor(settings)
	}
	ts, failed := openTables(p, opt)
	for _, f := range failed {
		if errors.Is(f.err, table.ErrClass) && wrong { // package check has said so
			continue
		}
		severity := lang.Error
		if f.exists {
			severity = lang.Warning
		}
		why := strings.TrimPrefix(strings.TrimPrefix(f.err.Error(), f.decl.Pos.String()+": "), "table "+f.decl.Name+": ")
		report(severity, f.decl.Pos, fmt.Sprintf("table %q cannot be opened: %s", f.decl.Name, why))
	}
	classes := map[string][]string{}
	for _, c := range ts.classes {
		for _, f := range c.Files {
			if _, err := os.Stat(f.Path); errors.Is(err, fs.ErrNotExist) && !f.Optional {
				report(lang.Warning, f.Pos, fmt.Sprintf("class %q names a file that does not exist: %s", c.Name, f.Path))
			}
		}
		words, err := classWords(c)
		if err != nil {
			report(lang.Error, c.Pos, err.Error())
			continue
		}
		classes[c.Name] = words
	}
	if wrong || diags.Errors() {
		return nil, diags
	}
	engine, err := newEngine(p, ts.byName)
	if err != nil {
		report(lang.Error, prog.Pos{}, err.Error())
		return nil, diags
	}
	for name, words := range classes {
		engine.SetClass(name, words)
	}
	r := &Router{engine: engine, now: &atomic.Pointer[world]{}, asksFiles: asksTables(p), tables: ts, settings: settings, runs: &sync.Pool{}}
	r.now.Store(r.look())
	r.macros = wantsMacros(p)
	r.canonify = first(p, compile.Canonify, "3")
	r.route = first(p, compile.Route, "parse", "0")
	at := func(name string) int {
		if rs := p.Ruleset(name); rs != nil {
			return rs.Index
		}
		return -1
	}
	r.at = entries{at(r.canonify), at(r.route), at(compile.Send)}
	if send := p.Ruleset(compile.Send); send != nil && opt.native {
		r.hasSend = len(send.Rules) > 0
		for _, rule := range send.Rules {
			r.prioOnly = r.prioOnly || rule.Attr.When == prog.Unset
		}
	}
	r.hasSchedule = opt.native && hasPlans(p)
	if opt.native || len(p.Transports) > 0 {
		r.mailers = map[string]bool{}
		for _, t := range p.Transports {
			r.mailers[strings.ToLower(t.Name)] = true
		}
	}
	return r, diags
}

func first(p *prog.Program, names ...string) string {
	for _, n := range names {
		if p.Ruleset(n) != nil {
			return n
		}
	}
	return ""
}

// Program returns the compiled form, for tools. It must not be changed.
func (r *Router) Program() *prog.Program { return r.engine.Program() }

// Engine returns the evaluator, for tools such as an address test mode.
func (r *Router) Engine() *eval.Engine { return r.engine }

// sorted brings diagnostics into the order of files and lines, as far as they have a place.
func sorted(ds lang.Diagnostics) lang.Diagnostics {
	order := map[string]int{}
	for _, d := range ds {
		if _, ok := order[d.Pos.Filename]; !ok {
			order[d.Pos.Filename] = len(order)
		}
	}
	slices.SortStableFunc(ds, func(a, b lang.Diagnostic) int {
		return cmp.Or(order[a.Pos.Filename]-order[b.Pos.Filename], a.Pos.Line-b.Pos.Line, a.Pos.Column-b.Pos.Column)
	})
	return slices.CompactFunc(ds, func(a, b lang.Diagnostic) bool {
		return a.Pos == b.Pos && a.Message == b.Message
	})
}

// fail reports trouble with a file that another one asked for, or with the first one.
func (l *loader) fail(at lang.Pos, end lang.Pos, src *lang.Source, format string, args ...any) {
	d := lang.Diagnostic{Pos: at, End: end, Message: fmt.Sprintf(format, args...)}
	if src != nil {
		d.End = src.Trim(at, end)
		d.Source = src.Line(at.Line)
	}
	l.diags = append(l.diags, d)
	l.lost.All = true // whatever the file would have defined
}

// read parses one file and goes into what it includes. Its statements come in the place of the include, so that the
// order of rules is the order in which a person reads them.
func (l *loader) read(file string, text []byte, from lang.Pos, by *lang.Source) {
	if text == nil {
		var err error
		if text, err = os.ReadFile(file); err != nil {
			if from.IsZero() {
				from = lang.Pos{Filename: file}
			}
			l.fail(from, lang.Pos{}, by, "cannot read rules: %v", err)
			return
		}
	}
	l.watch = append(l.watch, file)
	l.parse(file, string(text), false)
}

func (l *loader) parse(name, text string, library bool) {
	src := lang.NewSource(name, text)
	src.Library = library
	f, diags := l.parser.Parse(src)
	l.diags = append(l.diags, diags...)
	l.lost.Add(f.Lost)
	l.open = append(l.open, name)
	defer func() { l.open = l.open[:len(l.open)-1] }()
	part := &lang.File{Source: src} // the statements since the last include
	flush := func() {
		if len(part.Statements) > 0 {
			l.files = append(l.files, part)
		}
		part = &lang.File{Source: src}
	}
	for _, st := range f.Statements {
		switch {
		case st.Include != nil:
			flush()
			l.include(st.Include, src)
		case st.Use != nil:
			flush()
			l.use(st.Use, src)
		case st.Test != nil && library && !l.opt.LibraryTests:
		default:
			part.Statements = append(part.Statements, st)
		}
	}
	flush()
}

func (l *loader) include(in *lang.Include, src *lang.Source) {
	f := in.Pattern.Fields()
	if len(f) != 1 {
		l.fail(in.Pos, in.EndPos, src, "include names one file or one pattern")
		return
	}
	pattern := f[0]
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(src.Name), pattern)
	}
	if strings.ContainsAny(pattern, "*?[") {
		l.watch = append(l.watch, pattern)
		names, err := filepath.Glob(pattern)
		if err != nil {
			l.fail(in.Pos, in.EndPos, src, "this is no pattern for files: %v", err)
			return
		}
		for _, n := range names {
			l.enter(n, in.Pos, in.EndPos, src)
		}
		return
	}
	l.enter(pattern, in.Pos, in.EndPos, src)
}

func (l *loader) enter(file string, from, to lang.Pos, src *lang.Source) {
	switch {
	case slices.Contains(l.open, file):
		l.fail(from, to, src, "%s includes itself", file)
	case len(l.open) >= maxDepth:
		l.fail(from, to, src, "files include each other more than %d deep", maxDepth)
	default:
		l.read(file, nil, from, src)
	}
}

// use reads a file of the library, once. What stands behind its name is the constant of that name.
func (l *loader) use(u *lang.Use, src *lang.Source) {
	name := u.Name.Value()
	args := strings.Join(u.Args.Fields(), " ")
	if before, ok := l.used[name]; ok {
		if before != args {
			l.fail(u.Pos, u.EndPos, src, "%s is used before, with other words behind it", name)
		}
		return
	}
	if l.opt.Library == nil || !fs.ValidPath(name) || strings.Contains(name, "/") {
		l.fail(u.Name.Pos, u.Name.EndPos, src, "there is no library of rules with %q", name)
		return
	}
	text, err := fs.ReadFile(l.opt.Library, name+".rules")
	if err != nil {
		lost := l.lost.All
		l.fail(u.Name.Pos, u.Name.EndPos, src, "the library has no %q", name)
		d := &l.diags[len(l.diags)-1]
		all, _ := fs.Glob(l.opt.Library, "*.rules")
		for i := range all {
			all[i] = strings.TrimSuffix(all[i], ".rules")
		}
		near := lang.Nearest(name, all)
		if near == "" {
			d.Remedy = "it has: " + strings.Join(all, ", ")
			return
		}
		// What else is wrong is told as if the right name stood there.
		d.Remedy = fmt.Sprintf("did you mean %q?", near)
		if text, err = fs.ReadFile(l.opt.Library, near+".rules"); err != nil || l.used[near] != "" {
			return
		}
		name, l.lost.All = near, lost
	}
	wants := strings.Contains(string(text), "${"+name+"}")
	switch {
	case wants && args == "":
		l.fail(u.Pos, u.EndPos, src, "%s needs a word behind it", name)
		l.diags[len(l.diags)-1].Remedy = firstComment(text)
		return
	case !wants && args != "":
		l.fail(u.Args.Pos, u.Args.EndPos, src, "%s takes no words behind it", name)
		return
	}
	l.used[name] = args
	l.parse("<"+name+">", string(text), true)
}

// firstComment is the first line of a library file: it says how to use it.
func firstComment(text []byte) string {
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(strings.TrimPrefix(line, "#"))
}
