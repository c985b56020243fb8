package prog

import (
	"strings"
	"time"
)

// Program is everything that a set of rule files says.
type Program struct {
	Rulesets   []*Ruleset
	Names      map[string]int // name of a ruleset, and "0" to "99" for those with a number -> index in Rulesets
	Classes    map[string]*Class
	Macros     map[string]string // values as written; references inside are expanded when used
	Tables     []*Table
	Transports []*Transport
	Settings   []Setting

	// Operators are the characters that split addresses beside the built-in ones; BlankSub joins adjacent words.
	Operators, BlankSub string
	// EightBit lets UTF-8 addresses pass (RFC 6531). sendmail refuses them.
	EightBit bool
	// Level is the V level of a sendmail.cf; 0 for our own language, which has the semantics of 10.
	Level int
}

// New returns an empty program with the stock operators.
func New() *Program {
	return &Program{
		Names: map[string]int{}, Classes: map[string]*Class{}, Macros: map[string]string{},
		Operators: ".:%@!^/[]+", BlankSub: ".",
	}
}

// Ruleset returns the ruleset with this name or number; nil when there is none.
func (p *Program) Ruleset(name string) *Ruleset {
	if i, ok := p.Names[name]; ok {
		return p.Rulesets[i]
	}
	return nil
}

// AddRuleset appends an empty ruleset (or returns the one that has the name already).
func (p *Program) AddRuleset(name string, number int, pos Pos) *Ruleset {
	if r := p.Ruleset(name); r != nil {
		return r
	}
	r := &Ruleset{Name: name, Number: number, Index: len(p.Rulesets), Pos: pos}
	p.Names[name] = r.Index
	p.Rulesets = append(p.Rulesets, r)
	return r
}

// Table returns the table with this name; nil when there is none.
func (p *Program) Table(name string) *Table {
	for _, t := range p.Tables {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// Transport returns the transport with this name, whatever the case; nil when there is none.
func (p *Program) Transport(name string) *Transport {
	for _, t := range p.Transports {
		if strings.EqualFold(t.Name, name) {
			return t
		}
	}
	return nil
}

// Ruleset is a list of rules, tried in order.
type Ruleset struct {
	Name   string // as traces print it
	Number int    // sendmail's number; -1 when it has none
	Index  int    // place in Program.Rulesets
	Rules  []*Rule
	Pos    Pos
}

// Mode is how often a rule is applied.
type Mode uint8

const (
	Repeat Mode = iota // again until it no longer matches
	Once               // $: once, then the next rule
	Return             // $@ once, then the ruleset ends
)

// Rule rewrites the workspace with RHS when LHS matches all of it and Cond holds. No symbols on the right side and a
// nil Cond are fine: the result is empty.
type Rule struct {
	Pos    Pos
	Source string // the text of the rule as written, for traces and explanations
	LHS    []Tok
	Mode   Mode
	RHS    []Tok
	Cond   *Cond // nil: none
	// Names[n] is the name of capture n (index 0 is unused); nil for sendmail's rules.
	Names []string
	Attr  *Attr // nil: none
}

// Wildcards counts the numbered symbols of the left side.
func (r *Rule) Wildcards() int {
	n := 0
	for _, t := range r.LHS {
		if t.Kind.Wildcard() {
			n++
		}
	}
	return n
}

// When is the time of a delivery that a rule asks for.
type When uint8

const (
	Unset      When = iota // the rule does not say
	Now                    // before the client is answered
	Background             // after the answer, at once
	Queue                  // at the next queue run
	Defer                  // at a queue run, and no DNS before it
)

func (w When) String() string {
	return [...]string{"", "now", "background", "queue", "defer"}[w]
}

// Attr is what a rule of a route or send block says beside the resolution.
type Attr struct {
	When     When
	Window   *Window // nil: any time
	Priority *int    // nil: not changed
	Plan     *Plan   // of a schedule block
}

// Plan is what a line of a schedule block says; what it does not say is nil or 0.
type Plan struct {
	Retry       []time.Duration // waiting times between attempts; the last one repeats
	GiveUp      *time.Duration  // age at which a recipient is returned
	WarnAfter   *time.Duration  // age at which the sender is warned; 0: never
	Rate        *Rate
	Concurrency int // deliveries to one destination at a time
}

// Rate is a number of deliveries in a time; N 0 is no limit.
type Rate struct {
	N   int
	Per time.Duration
}

// Window is a time of the day, local time, in minutes from midnight (0-1440). From may be later than To: the
// window then spans midnight.
type Window struct{ From, To int }

// Holds reports whether the minute of the day lies in the window; To itself does not.
func (w Window) Holds(minute int) bool {
	if w.From <= w.To {
		return minute >= w.From && minute < w.To
	}
	return minute >= w.From || minute < w.To
}

// Class is a set of words; a word may consist of several tokens ("example.org"). Words are compared without regard
// to case. Words that are addresses or prefixes ("10.0.0.0/8") also hold for the client's address in conditions.
type Class struct {
	Name  string
	Words []string
	Files []ClassFile // their words are added when the program is loaded
	Pos   Pos
}

// ClassFile names a file with words for a class: one a line, # starts a comment.
type ClassFile struct {
	Path     string
	Optional bool   // a missing file is no error
	Scan     string // sendmail's scanf format; empty: the first word of the line
	Pos      Pos
}

// Table is a lookup table as declared; package table opens it.
type Table struct {
	Name  string
	Class string   // text, hash, aliases, cidr, regex ...
	Args  []string // what follows the class, flags included
	Pos   Pos
	// Blank stands between adjacent words in keys; empty: the program's BlankSub.
	Blank string
	// Broken tells that the declaration makes no sense; such a table exists, but lookups find nothing.
	Broken bool
}

// Transport is a delivery method as declared.
type Transport struct {
	Name   string
	Kind   string // smtp, lmtp, mbox, maildir, pipe, uucp; empty for a mailer of sendmail.cf
	Flags  string // sendmail's F=, empty for our language
	Params []Param
	Pos    Pos
}

// Param returns the value of a parameter.
func (t *Transport) Param(name string) (string, bool) {
	for _, p := range t.Params {
		if p.Name == name {
			return p.Value, true
		}
	}
	return "", false
}

// Param is one parameter of a transport.
type Param struct {
	Name, Value string
	Values      []string // the words of Value, where quotes and blanks matter; nil for a mailer of sendmail.cf
	Pos         Pos
}

// Setting is one setting: "set NAME VALUE..." or sendmail's O line.
type Setting struct {
	Name   string
	Values []string
	Pos    Pos
}
