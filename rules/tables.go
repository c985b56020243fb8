package rules

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"waybill/rules/eval"
	"waybill/rules/prog"
	"waybill/rules/table"
)

// Table is a table of the rule files, for others that look something up in it, such as aliases.
type Table struct {
	t    table.Table
	view *table.View // nil: as it is now
}

// Lookup asks for a key. An error means "not now", never "not there".
func (t Table) Lookup(ctx context.Context, key string) (value string, found bool, err error) {
	res, found, err := t.t.Lookup(t.view.In(ctx), key, nil)
	return res.Value, found, err
}

// Entry is Lookup, and tells also where the entry stands: "file:line", or "" where that is not known.
func (t Table) Entry(ctx context.Context, key string) (value, place string, found bool, err error) {
	res, found, err := t.t.Lookup(t.view.In(ctx), key, nil)
	if found {
		place = Step{File: res.Pos.File, Line: res.Pos.Line}.Place()
	}
	return res.Value, place, found, err
}

// Local reports whether a transport delivers on this host, so that aliases apply.
func (r *Router) Local(transport string) bool { return r.local(transport) }

// Table returns the table with this name.
func (r *Router) Table(name string) (Table, bool) {
	t, ok := r.tables.byName[name]
	out := Table{t: t}
	if r.pinned != nil {
		out.view = r.pinned.all
	}
	return out, ok
}

// TableFiles returns the files that the table of this name is read from; nil when there is no such table, or it has none.
// InClass reports whether a class has a word; one that does not exist has none.
func (r *Router) InClass(class, word string) bool { return r.engine.InClass(class, word) }

func (r *Router) TableFiles(name string) []string {
	if re, ok := r.tables.byName[name].(table.Reloader); ok {
		return re.Files()
	}
	return nil
}

// tables are what a Router reads beside its rule files: lookup tables, and the files of classes.
type tables struct {
	byName  map[string]table.Table
	classes []*prog.Class
	mu      sync.Mutex // one Refresh at a time
	state   map[string]fs.FileInfo
}

// Files returns every file whose change matters: rule files, files of classes, files of tables. For an include with a
// pattern, the pattern itself is among them.
func (r *Router) Files() []string {
	files := slices.Clone(r.files)
	for _, c := range r.tables.classes {
		for _, f := range c.Files {
			files = append(files, f.Path)
		}
	}
	for _, t := range r.tables.byName {
		if re, ok := t.(table.Reloader); ok {
			files = append(files, re.Files()...)
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// RuleFiles returns the rule files themselves: when one of them changes, Load must make a new Router. For all other
// files of Files, Refresh is enough.
func (r *Router) RuleFiles() []string { return slices.Clone(r.files) }

// world is what tables and classes held at one moment.
type world struct {
	classes *eval.World
	view    *table.View // of the tables that rules ask; nil: they ask none
	all     *table.View // of all tables
}

// look makes a world of what is there now.
func (r *Router) look() *world {
	w := &world{classes: r.engine.World(), all: table.Look(r.tables.byName)}
	if r.asksFiles {
		w.view = w.all
	}
	return w
}

func (r *Router) world() *world {
	if r.pinned != nil {
		return r.pinned
	}
	return r.now.Load()
}

// asksTables reports whether some rule looks something up.
func asksTables(p *prog.Program) bool {
	for _, rs := range p.Rulesets {
		for _, rule := range rs.Rules {
			asks := p.Level > 0 // there what comes out of a capture may ask
			eachCondition(rule.Cond, func(c *prog.Cond) { asks = asks || c.Op == prog.Lookup })
			for _, t := range rule.RHS {
				asks = asks || t.Kind == prog.MapBegin || t.Kind == prog.HostBegin
			}
			if asks {
				return true
			}
		}
	}
	return false
}

// Pin returns a Router for which tables and classes stay as they are now: for all that is asked about one message.
func (r *Router) Pin() *Router {
	c := *r
	c.pinned = r.world()
	return &c
}

// Refresh reads tables and class files again where they changed. What cannot be read keeps its old content, and the
// error says why. All that was read counts from one moment on: a decision sees either the old tables and classes or the
// new ones, and so do all decisions of a Router that was pinned.
func (r *Router) Refresh() (changed bool, err error) {
	r.tables.mu.Lock()
	defer r.tables.mu.Unlock()
	var errs []error
	for name, t := range r.tables.byName {
		re, ok := t.(table.Reloader)
		if !ok {
			continue
		}
		c, err := re.Reload()
		changed = changed || c
		if err != nil {
			errs = append(errs, fmt.Errorf("table %s: %w", name, err))
		}
	}
	for _, c := range r.tables.classes {
		if !r.tables.touched(c) {
			continue
		}
		words, err := classWords(c)
		if err != nil {
			errs = append(errs, err)
			for _, f := range c.Files {
				delete(r.tables.state, f.Path) // look again the next time
			}
			continue
		}
		r.engine.SetClass(c.Name, words)
		changed = true
	}
	if changed {
		r.now.Store(r.look())
	}
	return changed, errors.Join(errs...)
}

// touched reports whether a file of the class is another than the last time.
func (t *tables) touched(c *prog.Class) bool {
	changed := false
	for _, f := range c.Files {
		info, err := os.Stat(f.Path)
		if err != nil {
			info = nil
		}
		old, known := t.state[f.Path]
		same := known && (old == nil) == (info == nil) && (info == nil || os.SameFile(old, info) && old.Size() == info.Size() && old.ModTime().Equal(info.ModTime()))
		if !same {
			t.state[f.Path] = info
			changed = true
		}
	}
	return changed
}

// classWords returns the words of a class, with those of its files. A file that is not there adds nothing.
func classWords(c *prog.Class) ([]string, error) {
	words := slices.Clone(c.Words)
	for _, f := range c.Files {
		more, err := readWords(f.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("class %s: %w", c.Name, err)
		}
		words = append(words, more...)
	}
	return words, nil
}

// readWords reads a file with one word a line; "#" begins a comment. The words are parts of one text.
func readWords(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	words := make([]string, 0, bytes.Count(data, []byte{'\n'})+1)
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if i := strings.IndexAny(line, " \t"); i >= 0 {
			line = line[:i]
		}
		if line != "" {
			words = append(words, line)
		}
	}
	return words, nil
}

// openTables opens all tables of a program.
func openTables(p *prog.Program, opt Options) (*tables, []tableError) {
	ts := &tables{byName: map[string]table.Table{}, state: map[string]fs.FileInfo{}}
	var failed []tableError
	for _, decl := range p.Tables {
		t, ok := opt.Tables[decl.Name]
		var err error
		if !ok {
			if decl.Class == "macro" {
				continue // built into the engine
			}
			env := table.Env{Native: opt.native, Resolver: opt.Resolver, Hosts: "/etc/hosts", Table: func(name string) table.Table { return ts.byName[name] }}
			if t, err = table.Open(decl, env); err != nil {
				failed = append(failed, tableError{decl, t != nil, err})
			}
			if t == nil {
				continue
			}
		}
		ts.byName[decl.Name] = t
	}
	for name, t := range opt.Tables {
		if _, ok := ts.byName[name]; !ok {
			ts.byName[name] = t
		}
	}
	if _, declared := ts.byName["host"]; !declared && !opt.native && opt.Resolver != nil { // a sendmail.cf has it without saying so: $[ $] asks it
		host := &prog.Table{Name: "host", Class: "host"}
		if t, err := table.Open(host, table.Env{Resolver: opt.Resolver, Hosts: "/etc/hosts"}); err == nil {
			ts.byName["host"] = t
		}
	}
	for _, c := range p.Classes {
		if len(c.Files) > 0 {
			ts.classes = append(ts.classes, c)
			ts.touched(c)
		}
	}
	return ts, failed
}

// tableError is a table that could not be read, or made at all.
type tableError struct {
	decl   *prog.Table
	exists bool // it is there and says "not now" until its file can be read
	err    error
}

func newEngine(p *prog.Program, ts map[string]table.Table) (*eval.Engine, error) {
	return eval.New(p, eval.Options{Tables: ts, Native: p.Level == 0})
}
