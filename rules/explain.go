package rules

import (
	"context"
	"fmt"
	"slices"
	"time"

	"waybill/rules/prog"
	"waybill/rules/trace"
)

// StepKind is the kind of a Step.
type StepKind uint8

const (
	StepRule   StepKind = iota // a rule was applied: Before, After
	StepLookup                 // a table was asked: Table, Key, Value, Found, Err; File and Line are those of its entry
	StepNote                   // something was wrong: After is the message
)

// Step is one thing that led to a decision.
type Step struct {
	Kind    StepKind
	File    string // where it is written, "" when that has no place
	Line    int
	Source  string // the rule as it is written
	Comment string // what stands behind it
	Ruleset string
	Depth   int    // 1: called by nobody
	Before  string // the address before the rule, its tokens divided by blanks
	After   string // and after it

	Table, Key, Value string
	Args              []string // of the lookup, beside its key
	Found             bool
	Err               string

	rule *prog.Rule // that asked
}

// Place is "file:line", or the empty string.
func (s Step) Place() string {
	if s.File == "" || s.Line == 0 {
		return s.File
	}
	return fmt.Sprintf("%s:%d", s.File, s.Line)
}

// String is the step in one line.
func (s Step) String() string {
	place := s.Place()
	if place != "" {
		place += ": "
	}
	switch s.Kind {
	case StepRule:
		return place + s.Source
	case StepLookup:
		return place + s.answer()
	}
	return place + s.After
}

// answer is what a table said.
func (s Step) answer() string {
	switch {
	case s.Err != "":
		return fmt.Sprintf("table %s did not answer for %s: %s", s.Table, s.Key, s.Err)
	case s.Found:
		return fmt.Sprintf("table %s has %s: %s", s.Table, s.Key, s.Value)
	}
	return fmt.Sprintf("table %s has no %s", s.Table, s.Key)
}

// recorder makes steps of events, and passes the events on. A rule comes before what it calls and looks up.
type recorder struct {
	to      trace.Tracer
	list    []Step
	before  []string // the workspace of each open ruleset
	matched []int    // the rule that is being applied in each, as its place in list plus one
}

func (r *recorder) Event(e *trace.Event) {
	r.to.Event(e)
	for len(r.before) <= e.Depth {
		r.before, r.matched = append(r.before, ""), append(r.matched, 0)
	}
	switch e.Kind {
	case trace.Enter:
		r.before[e.Depth], r.matched[e.Depth] = spacedTokens(e.Tokens), 0
	case trace.Match:
		s := Step{Kind: StepRule, Depth: e.Depth, Ruleset: e.Ruleset.Name, File: e.Rule.Pos.File, Line: e.Rule.Pos.Line, Source: ruleText(e.Rule), Before: r.before[e.Depth]}
		s.After = s.Before
		// The lookups of its condition were made before it matched.
		at := len(r.list)
		for at > 0 && r.list[at-1].Kind == StepLookup && r.list[at-1].rule == e.Rule && r.list[at-1].Depth == e.Depth {
			at--
		}
		r.list = slices.Insert(r.list, at, s)
		r.matched[e.Depth] = at + 1
	case trace.Rewrite:
		after := spacedTokens(e.Tokens)
		if at := r.matched[e.Depth]; at > 0 {
			r.list[at-1].After = after
		}
		r.before[e.Depth], r.matched[e.Depth] = after, 0
	case trace.Lookup:
		s := Step{Kind: StepLookup, Depth: e.Depth, Ruleset: e.Ruleset.Name, File: e.Pos.File, Line: e.Pos.Line, Table: e.Table, Key: e.Key, Value: e.Value, Found: e.Found,
			Args: slices.Clone(e.Args), Before: r.before[e.Depth], rule: e.Rule}
		if e.Err != nil {
			s.Err = e.Err.Error()
		}
		r.list = append(r.list, s)
	case trace.Message:
		s := Step{Kind: StepNote, Depth: e.Depth, After: e.Text}
		if e.Rule != nil {
			s.File, s.Line = e.Rule.Pos.File, e.Rule.Pos.Line
		}
		r.list = append(r.list, s)
	}
}

// steps are what was recorded. What a person wrote behind the rules belongs to them.
func (r *recorder) steps(router *Router) []Step {
	for i := range r.list {
		if s := &r.list[i]; s.Kind == StepRule {
			s.Comment = router.comment(s.File, s.Line)
		}
	}
	return r.list
}

// note keeps what is wrong with an address itself.
func (r *recorder) note(text string) {
	if r != nil {
		r.list = append(r.list, Step{Kind: StepNote, Depth: 1, After: text})
	}
}

func ruleText(r *prog.Rule) string {
	if r.Source != "" {
		return r.Source
	}
	return r.String()
}

// Explanation is the answer to "why?".
type Explanation struct {
	Query    Query
	Decision Decision
	Err      error // the decision could not be made now
}

// Explain decides about a recipient and tells how.
func (r *Router) Explain(ctx context.Context, q Query) Explanation {
	if q.Time.IsZero() {
		q.Time = time.Now()
	}
	d, err := r.Route(ctx, q, Explained())
	return Explanation{Query: q, Decision: d, Err: err}
}

// Outcome is the decision in one line, as a person says it.
func (e Explanation) Outcome() string {
	d := e.Decision
	switch {
	case e.Err != nil:
		return "not now: " + e.Err.Error()
	case d.Refusal != nil && d.Refusal.Discard:
		return "is taken and thrown away: a rule says discard"
	case d.Refusal != nil:
		return fmt.Sprintf("is refused: %d %s %s", d.Refusal.Code, d.Refusal.Enhanced, d.Refusal.Text)
	}
	out := "goes by transport " + d.Mailer
	if d.Host != "" {
		out += " to " + d.Host
	}
	out += ", for " + d.User
	switch d.When {
	case Now:
		out += ", before its sender is answered (now)"
	case Background:
		out += ", at once (background)"
	case Queue:
		out += ", with the next queue run (queue)"
	case Defer:
		out += ", with the next queue run and without asking the DNS before (defer)"
	}
	if d.NotBefore.After(e.Query.Time) {
		out += ", not before " + d.NotBefore.Format("15:04")
	}
	if d.Priority != 0 {
		out += fmt.Sprintf(", priority %d", d.Priority)
	}
	return out
}

// String is the explanation as text: the outcome and what led to it, then, step by step, each rule that was applied with
// its place and what it did, and each table that was asked.
func (e Explanation) String() string {
	outcome := e.Outcome()
	if d := e.Decision; e.Err == nil && d.Refusal == nil && d.When == Unset {
		outcome += ", at once unless its sender asks for another time"
	}
	return e.Text(outcome, nil)
}

// Text is String for callers that know more about a local user: another outcome, and further reasons for it.
func (e Explanation) Text(outcome string, more []string) string {
	name := e.Query.Recipient
	if name == "" {
		name = "<>"
	}
	return name + " " + outcome + "\n" + clauses(append(e.Because(), more...)) + steps(e.Decision.Why)
}

// Policy is the answer to "why?" about what is received.
type Policy struct {
	Stage   Stage
	Query   Query
	Verdict Verdict
	Err     error // it could not be decided now
}

// ExplainAccept asks the policy of a stage and tells how it came to its verdict.
func (r *Router) ExplainAccept(ctx context.Context, stage Stage, q Query) Policy {
	if q.Time.IsZero() {
		q.Time = time.Now()
	}
	v, err := r.Accept(ctx, stage, q, Explained())
	return Policy{stage, q, v, err}
}

// Outcome is the verdict in one line.
func (p Policy) Outcome() string {
	v := p.Verdict
	switch {
	case p.Err != nil:
		return "not now: " + p.Err.Error()
	case v.Refusal != nil && v.Refusal.Discard:
		return "is accepted and thrown away"
	case v.Refusal != nil:
		return fmt.Sprintf("is refused: %d %s %s", v.Refusal.Code, v.Refusal.Enhanced, v.Refusal.Text)
	case v.Quarantine != "":
		return "is accepted and held: " + v.Quarantine
	case !v.Decided:
		return "is accepted: no rule says otherwise"
	}
	return "is accepted"
}

// String is the policy's verdict and how it came about, as text.
func (p Policy) String() string {
	who := "a program on this host"
	if p.Query.Client.Addr.IsValid() {
		who = p.Query.Client.Addr.String()
	}
	what := string(p.Stage)
	switch p.Stage {
	case StageRcpt:
		what += " " + p.Query.Recipient
	case StageMail:
		what += " " + p.Query.Sender
	case StageHelo:
		what += " " + p.Query.Client.Helo
	}
	return fmt.Sprintf("%s from %s %s\n", what, who, p.Outcome()) + clauses(p.Because()) + steps(p.Verdict.Why)
}
