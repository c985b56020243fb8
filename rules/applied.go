package rules

import (
	"waybill/rules/prog"
	"waybill/rules/trace"
)

// applied is a Tracer that hears which rules are applied, before another one: lines of a send or schedule block that say
// something and go on are known by it.
type applied struct {
	next trace.Tracer // may be nil
	rule func(*prog.Rule)
}

// Wants is what the next tracer wants, and rewriting.
func (a *applied) Wants() trace.Kind {
	switch next := a.next.(type) {
	case nil:
		return trace.Rewrite
	case trace.Chooser:
		return next.Wants() | trace.Rewrite
	}
	return trace.All
}

func (a *applied) Event(e *trace.Event) {
	if e.Kind == trace.Rewrite && e.Rule != nil {
		a.rule(e.Rule)
	}
	if a.next != nil {
		a.next.Event(e)
	}
}
