package rules

import (
	"context"
	"fmt"
	"strings"
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
	Ruleset string
	Depth   int    // 1: called by nobody
	Before  string // the address before the rule, its tokens divided by blanks
	After   string // and after it

	Table, Key, Value string
	Found             bool
	Err               string
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
		switch {
		case s.Err != "":
			return fmt.Sprintf("%s%s(%s) did not answer: %s", place, s.Table, s.Key, s.Err)
		case s.Found:
			return fmt.Sprintf("%s%s(%s) is %s", place, s.Table, s.Key, s.Value)
		}
		return fmt.Sprintf("%s(%s) is not there", s.Table, s.Key)
	}
	return place + s.After
}

// recorder makes steps of events, and passes the events on.
type recorder struct {
	to     trace.Tracer
	list   []Step
	before []string // the workspace of each open ruleset
}

func (r *recorder) Event(e *trace.Event) {
	r.to.Event(e)
	switch e.Kind {
	case trace.Enter:
		for len(r.before) <= e.Depth {
			r.before = append(r.before, "")
		}
		r.before[e.Depth] = trace.Tokens(e.Tokens)
	case trace.Rewrite:
		s := Step{Kind: StepRule, Depth: e.Depth, Ruleset: e.Ruleset.Name, File: e.Rule.Pos.File, Line: e.Rule.Pos.Line, Source: ruleText(e.Rule), After: trace.Tokens(e.Tokens)}
		if e.Depth < len(r.before) {
			s.Before = r.before[e.Depth]
			r.before[e.Depth] = s.After
		}
		r.list = append(r.list, s)
	case trace.Lookup:
		s := Step{Kind: StepLookup, Depth: e.Depth, Ruleset: e.Ruleset.Name, File: e.Pos.File, Line: e.Pos.Line, Table: e.Table, Key: e.Key, Value: e.Value, Found: e.Found}
		if e.Err != nil {
			s.Err = e.Err.Error()
		}
		if e.Depth < len(r.before) {
			s.Before = r.before[e.Depth]
		}
		if len(e.Args) > 0 {
			s.Key += ", " + strings.Join(e.Args, ", ")
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

func (r *recorder) steps(*Router) []Step { return r.list }

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
		return "is thrown away"
	case d.Refusal != nil:
		return fmt.Sprintf("is refused: %d %s %s", d.Refusal.Code, d.Refusal.Enhanced, d.Refusal.Text)
	}
	out := "goes by " + d.Mailer
	if d.Host != "" {
		out += " to " + d.Host
	}
	out += " for " + d.User
	switch d.When {
	case Now:
		out += ", before the client is answered"
	case Background:
		out += ", at once"
	case Queue:
		out += ", with the next queue run"
	case Defer:
		out += ", with the next queue run and no DNS before"
	}
	if d.NotBefore.After(e.Query.Time) {
		out += ", not before " + d.NotBefore.Format("15:04")
	}
	if d.Priority != 0 {
		out += fmt.Sprintf(", priority %d", d.Priority)
	}
	return out
}

// String is the explanation as text: the outcome, then each rule as it is written with its place and what it did, and
// each table entry that was used.
func (e Explanation) String() string {
	name := e.Query.Recipient
	if name == "" {
		name = "<>"
	}
	return name + " " + e.Outcome() + "\n" + steps(e.Decision.Why)
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
	return fmt.Sprintf("%s from %s %s\n", what, who, p.Outcome()) + steps(p.Verdict.Why)
}

// steps is a list of steps as text.
func steps(why []Step) string {
	var b strings.Builder
	ruleset := ""
	for _, s := range why {
		indent := strings.Repeat("  ", max(s.Depth, 1))
		if s.Ruleset != ruleset && s.Ruleset != "" {
			ruleset = s.Ruleset
			fmt.Fprintf(&b, "%s%s\n", indent[2:], strings.TrimRight(ruleset+": "+s.Before, " "))
		}
		switch s.Kind {
		case StepRule:
			fmt.Fprintf(&b, "%s%s: %s\n", indent, s.Place(), s.Source)
			switch {
			case strings.HasPrefix(s.After, "$# "):
				fmt.Fprintf(&b, "%s    decides: %s\n", indent, resolved(s.After))
			case s.Before != s.After:
				fmt.Fprintf(&b, "%s    gives %s\n", indent, s.After)
			}
		case StepLookup:
			fmt.Fprintf(&b, "%s%s\n", indent, s)
		default:
			fmt.Fprintf(&b, "%s! %s\n", indent, s)
		}
	}
	return b.String()
}

// resolved reads "$# mailer $@ host $: user" to people.
func resolved(after string) string {
	mailer, user, hasUser := strings.Cut(strings.TrimPrefix(after, "$# "), "$:")
	mailer, host, hasHost := strings.Cut(mailer, "$@")
	out := strings.TrimSpace(mailer)
	if hasHost {
		out += ", host " + strings.ReplaceAll(strings.TrimSpace(host), " ", "")
	}
	if hasUser {
		user = strings.TrimSpace(user)
		if !strings.Contains(user, `"`) {
			user = strings.ReplaceAll(user, " ", "")
		}
		out += ", user " + user
	}
	return out
}
