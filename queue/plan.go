package queue

import (
	"context"
	"strings"
	"time"

	"waybill/queue/sched"
	"waybill/queue/spool"
	"waybill/transport"
)

// Plan is how often and how long mail to one destination is tried. What is zero is as Config says.
type Plan struct {
	Retry       sched.Delays
	GiveUp      time.Duration
	WarnAfter   time.Duration // negative: never
	Rate        sched.Rate
	Concurrency int
}

// Planner knows the plans: the schedule block of the rules, the timeouts of a sendmail.cf. failure is what is known of
// the temporary failure of this recipient, as Failure says it; empty before an attempt. An error means that the plan
// cannot be found now; then Config's counts.
type Planner interface {
	Plan(ctx context.Context, q Question, d Decision, failure []string) (Plan, error)
}

// Failure says in words of what kind a temporary failure is: the classes of the rule language (waybill.rules(5),
// SCHEDULES), the RFC 3463 code, and the code of the SMTP reply.
func Failure(s transport.Status) []string {
	if s.Outcome() != transport.Deferred {
		return nil
	}
	words := []string{s.Code()}
	say := func(word string, holds bool) {
		if holds {
			words = append(words, word)
		}
	}
	code, text := s.Code(), strings.ToLower(s.Text())
	said := s.Reply != "" && !strings.EqualFold(s.Diagnostic, "x-unix")
	reply := ""
	if said && len(s.Reply) >= 3 && strings.Trim(s.Reply[:3], "0123456789") == "" {
		reply = s.Reply[:3]
		words = append(words, reply)
	}
	spoken := strings.ToLower(s.Reply)
	say("connect", code == "4.4.1" && !said)
	say("dns", code == "4.4.3" || code == "4.4.4")
	say("greylist", said && (strings.Contains(spoken, "greylist") || strings.Contains(spoken, "graylist") || strings.Contains(spoken, "grey-list")))
	say("load", reply == "421" || code == "4.3.2" || code == "4.4.5")
	say("lost", code == "4.4.2" && !said)
	say("mailbox", strings.HasPrefix(code, "4.2."))
	say("network", strings.HasPrefix(code, "4.4."))
	say("policy", strings.HasPrefix(code, "4.7."))
	say("reply", said)
	say("system", strings.HasPrefix(code, "4.3."))
	say("timeout", !said && strings.Contains(text, "timed out"))
	return words
}

// question is what the rules are asked about recipient i.
func (a *try) question(i int) Question {
	r := &a.m.Recipients[i]
	return Question{
		Recipient: r.Addr, Sender: a.sender(i), Named: a.m.Envelope.Named, Origin: a.m.Envelope.Origin, Size: a.m.Size, Priority: a.m.Envelope.Priority,
		Attempts: a.m.Attempts, Arrival: a.m.Envelope.Arrival, Asked: a.m.Envelope.When, Header: a.header,
		Failures: a.q.limits.failures, Recipients: len(a.m.Recipients),
	}
}

// plan is the plan for recipient i, who has this target and, after an attempt, this status. Nothing in it is zero but
// the rate.
func (a *try) plan(i int, j *job, s transport.Status) Plan {
	d := Decision{Mailer: j.mailer, Host: j.host, User: j.to.User, Priority: j.priority}
	var p Plan
	if a.w.Planner != nil {
		var err error
		if p, err = a.w.Planner.Plan(context.Background(), a.question(i), d, Failure(s)); err != nil {
			a.q.cfg.Log.Warn("no schedule can be found now; the usual one counts", "id", a.m.ID, "to", a.m.Recipients[i].Name(), "err", err)
			p = Plan{}
		}
	}
	return a.q.complete(p)
}

// complete puts the usual values where a plan says nothing.
func (q *Queue) complete(p Plan) Plan {
	if len(p.Retry) == 0 {
		p.Retry = q.cfg.Retry
	}
	setDefault(&p.GiveUp, q.cfg.GiveUp)
	setDefault(&p.WarnAfter, q.cfg.WarnAfter)
	return p
}

// dueSlack is how much before its time a recipient is tried together with others of its message.
const dueSlack = 10 * time.Second

// resting tells until when recipient i waits after a temporary failure; zero: it is due.
func (a *try) resting(r *spool.Recipient) time.Time {
	if a.how.forced || r.Status.Outcome != spool.Deferred {
		return time.Time{}
	}
	next := a.dueOf(r)
	if a.now.Add(dueSlack).After(next) || a.now.Add(dueSlack).Before(r.Status.At) { // or the clock was set back
		return time.Time{}
	}
	return next
}

// dueOf is when a recipient that failed for now is tried again.
func (a *try) dueOf(r *spool.Recipient) time.Time {
	if !r.Status.Next.IsZero() {
		return r.Status.Next
	}
	return a.m.NextTry
}

// replan writes down when each recipient is due that failed for now, and the message with the first of them. tried are
// the new times of those that were tried in this attempt.
func (a *try) replan(tried map[int]time.Time) (first time.Time) {
	due := map[int]time.Time{}
	for i := range a.m.Recipients {
		r := &a.m.Recipients[i]
		next, ok := tried[i]
		if !ok {
			if r.Status.Outcome != spool.Deferred {
				continue
			}
			next = a.dueOf(r)
		}
		due[i] = next
		if first.IsZero() || next.Before(first) {
			first = next
		}
	}
	for i := range a.m.Recipients {
		next, ok := due[i]
		if !ok {
			continue
		}
		if next.Equal(first) {
			next = time.Time{} // the message says it
		}
		if s := a.m.Recipients[i].Status; s.Outcome == spool.Deferred && !s.Next.Equal(next) {
			s.Next = next
			a.m.Note(spool.OutcomeOf{Index: i, Status: s})
		}
	}
	return first
}
