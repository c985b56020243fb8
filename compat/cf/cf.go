// Package cf reads sendmail.cf and submit.cf. What flows in is a configuration file as sendmail 8.17 reads it, V levels
// 1 to 10 (Sendmail Installation and Operation Guide, chapter 5); what flows out is a Config: the rules as a
// prog.Program, and options, mailers, headers, queue groups, milters and the rest as data. Every error and warning is
// kept with its file and line, in sendmail's words, and reading goes on as sendmail's does. Nothing is dropped without
// a word: Report lists each line as exact, approximated or ignored.
package cf

import (
	"fmt"
	"sort"

	"waybill/rules/prog"
)

// MaxLevel is the highest V level that is known.
const MaxLevel = 10

// Version is the sendmail whose behaviour and messages are ours.
const Version = "8.17.1.9"

// Config is what a configuration file says.
type Config struct {
	File     string
	Host     Host // the machine for which it was read
	Level    int
	Vendor   string
	Prog     *prog.Program
	Options  []Option
	Mailers  []*Mailer // the three built-in ones first
	Headers  []Header
	Priority []Priority
	Queues   []Line
	Milters  []Line
	Env      []string
	Trusted  []string
	Lines    []ClassLine // the lines that say what is in classes, in their order
	Messages []Message
	Notes    []Note
	Writable bool // the group or everybody may write to the file
	// Errors counts the messages that make sendmail -bC end with 70.
	Errors int
	// Exit is the exit status with which every mode of sendmail but address tests refuses the file: that of its first
	// error, 70, or 71 where the system has refused something; 0: it does not.
	Exit int
	// Fatal is the exit status with which sendmail gives up while it reads the file; 0: it does not.
	Fatal int

	// Nameless are names of rulesets whose S line was wrong: the name is known, but got no number. NextNamed is the
	// number that the next ruleset with a name would get.
	Nameless  []string
	NextNamed int

	spelling map[string]string // first spelling of the words of classes, by lower case
}

// Message is something that the reader says, in sendmail's words.
type Message struct {
	Pos  prog.Pos // zero for messages that sendmail prints without a place; line 0 is one alone, without its end
	Text string
}

func (m Message) String() string {
	if m.Pos.File == "" {
		return m.Text
	}
	return fmt.Sprintf("%s: line %d: %s", m.Pos.File, m.Pos.Line, m.Text)
}

// Option is one O line. Name is the long name; for one that does not exist, what the line says.
type Option struct {
	Name  string
	Sub   string // Timeout.queuereturn: "queuereturn"
	Value string // references to macros as "$x"
	Pos   prog.Pos
}

// Header is one H line.
type Header struct {
	Flags   string // mailer flags that it needs: ?D?
	Macro   string // macro that must be set: ?${x}?
	Name    string
	Value   string // template, references as "$x"
	Ruleset string // the ruleset that checks this header; empty: none
	Keep    bool   // $>+: comments stay
	Pos     prog.Pos
}

// Priority is one P line: what a value of Precedence: means.
type Priority struct {
	Name  string
	Value int
	Pos   prog.Pos
}

// Line is a line with equates that is kept as it is: queue groups and milters.
type Line struct {
	Name    string
	Equates []prog.Param
	Pos     prog.Pos
}

// ClassLine is what one line adds to a class: words (C, T), or a file (F).
type ClassLine struct {
	Class string
	Words []string
	From  []string // classes whose words are among them
	File  *prog.ClassFile
	Pos   prog.Pos
}

// Exactness tells how well a line is honoured.
type Exactness uint8

const (
	Exact Exactness = iota
	Approximated
	Ignored
)

func (e Exactness) String() string { return [...]string{"exact", "approximated", "ignored"}[e] }

// Note is what a report says about one thing in the file.
type Note struct {
	Pos  prog.Pos
	What string // "option DialDelay", "map access (hash)"
	How  Exactness
	Why  string // empty when exact
	Harm bool   // somebody may rely on what is not honoured
}

// Option returns the last value of an option; sub is the part behind the dot of Timeout and Milter options.
func (c *Config) Option(name, sub string) (string, bool) {
	for i := len(c.Options) - 1; i >= 0; i-- {
		if o := c.Options[i]; o.Name == name && o.Sub == sub {
			return o.Value, true
		}
	}
	return "", false
}

// Bool returns an option that is on or off.
func (c *Config) Bool(name string, standard bool) bool {
	v, ok := c.Option(name, "")
	if !ok {
		return standard
	}
	return isTrue(v)
}

// Mailer returns the mailer with a name, whatever the case; nil when there is none.
func (c *Config) Mailer(name string) *Mailer {
	for _, m := range c.Mailers {
		if equalFold(m.Name, name) {
			return m
		}
	}
	return nil
}

// Report lists what was made of each line, in the order of the file.
func (c *Config) Report() []Note {
	notes := append([]Note(nil), c.Notes...)
	sort.SliceStable(notes, func(i, j int) bool { return notes[i].Pos.Line < notes[j].Pos.Line })
	return notes
}

func isTrue(v string) bool {
	return v == "" || v[0] == 't' || v[0] == 'T' || v[0] == 'y' || v[0] == 'Y' || v[0] == '1'
}

func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		x, y := a[i], b[i]
		if x >= 'A' && x <= 'Z' {
			x |= 0x20
		}
		if y >= 'A' && y <= 'Z' {
			y |= 0x20
		}
		if x != y {
			return false
		}
	}
	return true
}
