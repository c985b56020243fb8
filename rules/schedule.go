package rules

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"waybill/rules/compile"
	"waybill/rules/prog"
)

// Plan is what the schedule block says about mail to one destination; what it does not say is nil or 0.
type Plan struct {
	Retry       []time.Duration // waiting times between attempts; the last one repeats
	GiveUp      *time.Duration
	WarnAfter   *time.Duration // 0: never
	Rate        int            // deliveries in each RatePer; 0: no limit
	RatePer     time.Duration
	Concurrency int
	Why         []string // the lines that decided, with their places
}

// Schedule asks the schedule block about a recipient for whom the decision is d, and who had the failure q.Error if that
// is set. An error means that a table did not answer.
func (r *Router) Schedule(ctx context.Context, q Query, d Decision, t Tracer) (Plan, error) {
	if !r.hasSchedule {
		return Plan{}, nil
	}
	st := r.state(&q, nil)
	defer r.done(st)
	st.facts.Transport, st.facts.Host, st.facts.User = d.Mailer, d.Host, d.User
	if q.Failures != nil {
		st.facts.Failures = q.Failures(d.Mailer, d.Host)
	}
	st.facts.Priority = d.Priority
	var plan Plan
	state := st.State
	state.Tracer = &applied{t, plan.hear}
	if _, err := r.engine.RunNamed(st.view.In(ctx), compile.Schedule, noTokens, &state); err != nil {
		return Plan{}, fmt.Errorf("the schedule for %q: %w", q.Recipient, err)
	}
	return plan, nil
}

// HasSchedule reports whether there is a schedule block at all.
func (r *Router) HasSchedule() bool { return r.hasSchedule }

// hear takes from a line that holds what no line before it has said.
func (p *Plan) hear(rule *prog.Rule) {
	if rule.Attr == nil || rule.Attr.Plan == nil {
		return
	}
	said, used := rule.Attr.Plan, false
	if p.Retry == nil && said.Retry != nil {
		p.Retry, used = said.Retry, true
	}
	if p.GiveUp == nil && said.GiveUp != nil {
		p.GiveUp, used = said.GiveUp, true
	}
	if p.WarnAfter == nil && said.WarnAfter != nil {
		p.WarnAfter, used = said.WarnAfter, true
	}
	if p.RatePer == 0 && said.Rate != nil {
		p.Rate, p.RatePer, used = said.Rate.N, max(said.Rate.Per, time.Second), true
	}
	if p.Concurrency == 0 && said.Concurrency > 0 {
		p.Concurrency, used = said.Concurrency, true
	}
	if used {
		p.Why = append(p.Why, fmt.Sprintf("%s:%d: %s", rule.Pos.File, rule.Pos.Line, rule.Source))
	}
}

// String is the plan as a line of a schedule block says it; "as set" when it says nothing.
func (p Plan) String() string {
	var out []string
	if p.Retry != nil {
		out = append(out, "retry")
		for _, d := range p.Retry {
			out = append(out, short(d))
		}
	}
	if p.GiveUp != nil {
		out = append(out, "give-up", short(*p.GiveUp))
	}
	if p.WarnAfter != nil {
		warn := "never"
		if *p.WarnAfter > 0 {
			warn = short(*p.WarnAfter)
		}
		out = append(out, "warn-after", warn)
	}
	if p.RatePer > 0 {
		rate := "unlimited"
		if p.Rate > 0 {
			rate = fmt.Sprintf("%d/%s", p.Rate, strings.TrimPrefix(short(p.RatePer), "1"))
		}
		out = append(out, "rate", rate)
	}
	if p.Concurrency > 0 {
		out = append(out, "concurrency", strconv.Itoa(p.Concurrency))
	}
	if len(out) == 0 {
		return "as set"
	}
	return strings.Join(out, " ")
}

// short writes a duration as our language does: 1d12h, 90m is 1h30m.
func short(d time.Duration) string {
	var b strings.Builder
	for _, u := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := d / u.size; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.size
		}
	}
	if b.Len() == 0 {
		return "0"
	}
	return b.String()
}

// hasPlans reports whether a program has a schedule block.
func hasPlans(p *prog.Program) bool { return p.Ruleset(compile.Schedule) != nil }
