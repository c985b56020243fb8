package queue

import (
	"maps"
	"slices"
	"time"

	"waybill/queue/dsn"
	"waybill/queue/spool"
	"waybill/transport"
)

// checkpoint writes down who got the message while other deliveries of it go on, so that a crash repeats little.
func (a *try) checkpoint(g *group) {
	a.mu.Lock()
	defer a.mu.Unlock()
	some := false
	for _, j := range g.jobs {
		for _, i := range j.indices {
			if res := a.results[i]; res.status.Outcome() == transport.Delivered || res.status.Outcome() == transport.Relayed {
				o := a.entry(i, res)
				if k := a.due(i, res); k != dsn.None {
					o.Owed = k.String()
				}
				a.m.Note(o)
				some = true
			}
		}
	}
	if some {
		if err := a.m.Checkpoint(); err != nil {
			a.q.cfg.Log.Error("outcome remembered in memory only", "id", a.m.ID, "err", err)
		}
	}
}

// record notes all outcomes in the journal, and reports whether any recipient was tried and is left.
func (a *try) record() (deferred bool) {
	deferred = a.owing
	for i, res := range a.results {
		o := a.entry(i, res)
		if res.owed != dsn.None {
			o.Owed = res.owed.String()
			deferred = true
		}
		if res.status.Outcome() == transport.Deferred {
			deferred = true
			if res.warned && a.w.Spoken { // what mailq of sendmail shows then
				o.Text = "Warning: could not send message for past " + dsn.Period(res.plan.WarnAfter)
			}
			if old := a.m.Recipients[i].Status; sameTrouble(&old, &o.Status) {
				continue // the journal need not say the same again
			}
		}
		a.m.Note(o)
	}
	return deferred
}

func sameTrouble(a, b *spool.Status) bool {
	x, y := *a, *b
	x.At, y.At = time.Time{}, time.Time{}
	x.Next, y.Next = time.Time{}, time.Time{}
	x.Try, y.Try = 0, 0
	return x == y
}

func (a *try) entry(i int, res *result) spool.OutcomeOf {
	s := res.status
	return spool.OutcomeOf{Index: i, Status: spool.Status{
		Outcome: s.Outcome().String(), Code: s.Code(), Text: s.Text(), Mailer: res.mailer, Host: res.host, User: res.user, At: a.now,
		Remote: s.Remote, Reply: s.Reply, Diagnostic: s.Diagnostic, TLS: s.TLS, DSN: s.DSN, Exit: s.Exit,
		Warned: res.warned || a.m.Recipients[i].Status.Warned,
	}}
}

// statusOf is the way back from the journal.
func statusOf(s *spool.Status) transport.Status {
	outcome := transport.Deferred
	for _, o := range []transport.Outcome{transport.Delivered, transport.Relayed, transport.Failed, transport.Discarded} {
		if s.Outcome == o.String() {
			outcome = o
		}
	}
	t := transport.NewStatus(outcome, s.Code, s.Text)
	t.Remote, t.Reply, t.Diagnostic, t.TLS, t.DSN, t.Exit = s.Remote, s.Reply, s.Diagnostic, s.TLS, s.DSN, s.Exit
	return t
}

func (a *try) logResults() {
	order := slices.Sorted(maps.Keys(a.results))
	if a.q.inOrder() { // as they were delivered
		slices.SortStableFunc(order, func(i, j int) int { return slices.Index(a.order, i) - slices.Index(a.order, j) })
	}
	order = slices.DeleteFunc(order, func(i int) bool { return a.results[i].old })
	for n, i := range order {
		res := a.results[i]
		r := &a.m.Recipients[i]
		if a.how.verbose != nil && !(a.w.Spoken && res.sent) {
			a.how.verbose(r.Name() + "... " + spoken(res.status))
		}
		a.q.cfg.Mail.Tried(Tried{
			ID: a.m.ID, To: r.Name(), Orig: a.m.Recipients[a.root(i)].Recipient, Mailer: res.mailer, Host: res.host, As: res.as,
			Size: a.m.Size, Priority: a.m.Envelope.Priority, Rcpts: a.left, Attempts: a.tries, Status: res.status, Final: res.status.Outcome() != transport.Deferred,
			Age: a.now.Sub(a.m.Envelope.Arrival), Took: res.took,
			Sender: a.m.Envelope, Local: a.w.Mailers[res.mailer].Local, More: n < len(order)-1,
		})
	}
	for _, n := range a.told {
		a.q.cfg.Mail.Noticed(n)
	}
}

// spoken is an outcome as sendmail -v tells it.
func spoken(s transport.Status) string {
	switch s.Outcome() {
	case transport.Delivered, transport.Relayed:
		return "Sent"
	case transport.Deferred:
		return "Deferred: " + s.Text()
	}
	return s.Text()
}

// root is the recipient of the envelope from which i came.
func (a *try) root(i int) int {
	for a.m.Recipients[i].Parent >= 0 {
		i = a.m.Recipients[i].Parent
	}
	return i
}

// summary is the result for each recipient of the envelope: that of a recipient with members is the worst of theirs.
func (a *try) summary() []transport.Status {
	statuses := make([]transport.Status, len(a.m.Envelope.Recipients))
	set := make([]bool, len(statuses))
	for i := range a.m.Recipients {
		s := &a.m.Recipients[i].Status
		if s.Outcome == spool.Expanded {
			continue
		}
		n := a.root(i)
		status := statusOf(s)
		if s.Outcome == "" {
			status = transport.NewStatus(transport.Deferred, "4.2.0", "queued")
		}
		if !set[n] || weight(status) > weight(statuses[n]) {
			statuses[n], set[n] = status, true
		}
	}
	return statuses
}

func weight(s transport.Status) int {
	switch s.Outcome() {
	case transport.Failed:
		return 2
	case transport.Deferred:
		return 1
	}
	return 0
}
