// Package trace is what an evaluation tells about itself. Events are data: package eval sends them to a Tracer while it
// runs, and only when there is one. Text renders them as sendmail's address test mode does; Recorder keeps them, for
// explanations; other renderers are the business of whoever asks.
package trace

import (
	"waybill/rules/addr"
	"waybill/rules/prog"
)

// Kind is the kind of an event.
type Kind uint8

const (
	Enter   Kind = 1 << iota // a ruleset begins: Ruleset, Tokens
	Leave                    // it ends normally: Ruleset, Tokens
	Match                    // a rule's pattern and condition hold: Ruleset, Rule, Index, Captures
	Rewrite                  // the rule was applied: Ruleset, Rule, Index, Tokens
	Lookup                   // a table was asked: Table, Key, Args, Value, Found, Err, Pos
	Message                  // something is wrong: Text, in sendmail's words; Ruleset and Rule where known
	All     = Enter | Leave | Match | Rewrite | Lookup | Message
)

// Event is one thing that happened. Only the fields named at its Kind are set. The event and its slices may be used
// during the call only.
type Event struct {
	Kind    Kind
	Depth   int // of the ruleset: 1 for the one that was run
	Ruleset *prog.Ruleset
	Rule    *prog.Rule
	Index   int // of the rule in its ruleset, from 0

	Tokens   []addr.Token
	Captures [][]addr.Token // Captures[0] is $1

	Table string
	Key   string
	Args  []string
	Value string
	Found bool
	Err   error
	Pos   prog.Pos // of the table's entry, where the table knows it

	Text string
}

// Tracer receives events. It is called from the evaluating goroutine.
type Tracer interface {
	Event(*Event)
}

// Chooser is a Tracer that wants some kinds of events only. The others are not even made.
type Chooser interface {
	Wants() Kind
}

// Recorder is a Tracer that keeps copies of all events.
type Recorder struct {
	Events []Event
}

// Event keeps a copy.
func (r *Recorder) Event(e *Event) {
	c := *e
	c.Tokens = append([]addr.Token(nil), e.Tokens...)
	c.Args = append([]string(nil), e.Args...)
	c.Captures = nil
	for _, t := range e.Captures {
		c.Captures = append(c.Captures, append([]addr.Token(nil), t...))
	}
	r.Events = append(r.Events, c)
}
