package queue

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"waybill/queue/dsn"
	"waybill/queue/spool"
	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// due tells which notice the result of recipient i calls for.
func (a *try) due(i int, res *result) dsn.Kind {
	sender := a.sender(i)
	if a.how.waited && a.m.Envelope.Untold && a.m.Envelope.When != envelope.WhenBackground && sender == a.m.Envelope.Sender && res.status.Outcome() == transport.Failed && a.m.Recipients[i].Notify.WantsFailure() {
		a.how.untold = true
		return dsn.None // who waits for the outcome tells it
	}
	warn := max(0, res.plan.WarnAfter)
	by := a.m.Envelope.By
	if !by.Until.IsZero() && !by.Return { // RFC 2852 4.1: the sender hears when the time is over
		warn = max(1, by.Until.Sub(a.m.Envelope.Arrival))
	}
	if a.m.Envelope.Priority < 0 { // nobody waits for an answer to mass mail
		warn = 0
	}
	return dsn.Due(dsn.Event{
		Trace:      by.Trace || !by.Until.IsZero() && !by.Return && !res.status.By,
		Sender:     sender,
		Notify:     a.m.Recipients[i].Notify,
		Status:     res.status,
		Age:        a.now.Sub(a.m.Envelope.Arrival),
		WarnAfter:  warn,
		Warned:     a.m.Recipients[i].Status.Warned,
		Postmaster: a.toPostmaster(i),
	})
}

// toPostmaster reports whether recipient i is the one to whom we send what cannot be returned: if that fails too, it
// ends there. Where nobody wants such mail it ends at once.
func (a *try) toPostmaster(i int) bool {
	to := a.m.Recipients[a.root(i)].Addr
	if a.q.cfg.NoDouble || strings.EqualFold(string(to), string(a.q.cfg.Postmaster)) {
		return true
	}
	local, domain := to.Split()
	return strings.EqualFold(local, string(a.q.cfg.Postmaster)) && strings.EqualFold(domain, a.q.cfg.Host)
}

// notify writes the notices that the results call for, one for each kind and sender. A notice is in the spool before
// the outcome that it tells of is recorded; one that cannot be written is owed.
func (a *try) notify(ctx context.Context) {
	type key struct {
		kind   dsn.Kind
		sender envelope.Address
	}
	told, lost := map[key][]int{}, false
	for i := range a.m.Recipients {
		res := a.results[i]
		if res == nil {
			continue
		}
		if k := a.due(i, res); k != dsn.None {
			told[key{k, a.sender(i)}] = append(told[key{k, a.sender(i)}], i)
		} else if res.status.Outcome() == transport.Failed && a.sender(i).Null() {
			// RFC 5321 6.1: a notice about a notice about a notice is one too many.
			a.told = append(a.told, Noticed{ID: a.m.ID, Kind: dsn.Double, Cause: "discarded: " + res.status.Text()})
			lost = true
		}
	}
	if lost && a.w.Lost != nil {
		a.w.Lost(a.m.Envelope, a.m.Body())
	}
	joined := a.tellGrown(ctx, func(sender envelope.Address) bool { // one notice tells both
		_, fails := told[key{dsn.Failure, sender}]
		return a.w.Spoken && fails
	})
	if a.w.Spoken && a.how.untold { // and what is told at once is told as a whole
		delete(told, key{dsn.Success, a.m.Envelope.Sender})
	}
	if a.w.Spoken { // failures and receipts for one sender are one notice
		for k, indices := range told {
			if with, ok := told[key{dsn.Failure, k.sender}]; ok && k.kind == dsn.Success {
				with = append(with, indices...)
				slices.Sort(with)
				told[key{dsn.Failure, k.sender}] = with
				delete(told, k)
			}
		}
	}
	for k, indices := range told {
		var also grownTo
		if k.kind == dsn.Failure {
			also = joined[k.sender]
		}
		err := a.notice(ctx, k.kind, k.sender, indices, also.recipients)
		switch {
		case len(also.by) == 0:
		case err != nil:
			a.oweGrown(also.by)
		default:
			a.paidGrown(also.by)
		}
		for _, i := range indices {
			switch {
			case err == nil && k.kind == dsn.Delay:
				a.results[i].warned = true
			case err != nil && k.kind != dsn.Delay:
				a.results[i].owed = k.kind
			}
		}
		if err != nil {
			a.q.cfg.Log.Error("a notice cannot be written now", "id", a.m.ID, "kind", k.kind.String(), "err", err)
		}
	}
}

// notice composes one notice and accepts it.
func (a *try) notice(ctx context.Context, kind dsn.Kind, sender envelope.Address, indices []int, also []dsn.Recipient) error {
	n := a.about(kind, sender)
	n.Recipients = append(a.early(kind, indices), also...)
	if a.w.Spoken && kind == dsn.Failure {
		n.Others = a.beside()
	}
	cause := ""
	for _, i := range indices {
		res := a.results[i]
		r := dsn.Recipient{
			Place: slices.Index(a.order, i),
			Orig:  a.m.Recipients[a.root(i)].Recipient, Status: res.status, LastAttempt: a.now, Expired: res.expired,
			Age: a.now.Sub(a.m.Envelope.Arrival), RetryUntil: a.m.Envelope.Arrival.Add(res.plan.GiveUp),
		}
		switch {
		case res.expired:
			r.Status, r.Limit = res.last, res.plan.GiveUp
		case kind == dsn.Delay:
			r.Limit = res.plan.WarnAfter
		}
		if i != a.root(i) && !res.whole {
			r.Actual = a.m.Recipients[i].Name()
		} else if a.w.Spoken && strings.Contains(res.user, "@") {
			if r.Routed = res.user; res.moved {
				r.Routed, r.Moved = "", res.user
			}
		} else if a.w.Spoken {
			r.Local = strings.TrimPrefix(res.user, envelope.NoAlias)
		}
		r.Host = res.host
		r.Where = a.where[i]
		if p := a.m.Recipients[i].Parent; p >= 0 && a.w.Spoken {
			r.From = firstOf(a.from[i], a.m.Recipients[p].Name())
		}
		for p := i; p >= 0; p = a.m.Recipients[p].Parent {
			if a.m.Recipients[p].HasOwner {
				r.List = a.m.Recipients[a.m.Recipients[p].Parent].Name()
				break
			}
		}
		n.Recipients = append(n.Recipients, r)
		cause = res.status.Text()
		if exit := exitOfCause(res.status); a.w.Spoken && kind == dsn.Failure && (exit == sysexits.Software || exit == sysexits.Config) && len(n.Also) == 0 {
			n.Also = []envelope.Address{a.q.cfg.Postmaster} // it is for the people of this site to mend
			n.Same = a.isPostmaster(ctx, sender)
		}
	}
	if a.w.Spoken && kind == dsn.Failure && !sender.Null() && !a.q.cfg.NoDouble {
		if _, s := a.q.Verify(ctx, &envelope.Envelope{Origin: envelope.Origin{Protocol: "local"}}, envelope.Recipient{Addr: sender}); s.Outcome() == transport.Failed { // nobody to tell it
			n.Kind = dsn.Double
			n.Transcript = []string{"550 " + s.Code() + " " + a.q.given(a.m, string(sender), true) + "... " + a.w.said(string(sender), s)}
		}
	}
	return a.tell(ctx, n, cause)
}

// isPostmaster reports whether the postmaster's mail goes to user.
func (a *try) isPostmaster(ctx context.Context, user envelope.Address) bool {
	local, _ := a.q.cfg.Postmaster.Split()
	x, err := a.w.Expander.Expand(ctx, LocalUser{Name: local})
	return err == nil && slices.ContainsFunc(x.Members, func(m Member) bool { return strings.EqualFold(string(m.Addr), string(user)) })
}

// early are the aliases behind failures that were found when the message was queued, of which others wait: sendmail reports
// those too.
func (a *try) early(kind dsn.Kind, indices []int) (list []dsn.Recipient) {
	if !a.how.queued || kind != dsn.Failure {
		return nil
	}
	seen := map[int]bool{}
	for _, i := range indices {
		p := a.m.Recipients[i].Parent
		if p < 0 || seen[p] {
			continue
		}
		seen[p] = true
		members := 0
		for k := range a.m.Recipients {
			if a.m.Recipients[k].Parent == p {
				members++
			}
		}
		if members > 1 {
			list = append(list, dsn.Recipient{
				Orig: a.m.Recipients[a.root(p)].Recipient, Status: transport.NewStatus(transport.Delivered, "2.0.0", "expanded"), Grown: dsn.ToAlias, Early: true, LastAttempt: a.now,
			})
		}
	}
	return list
}

// beside are the recipients for whom this attempt failed for now: what was said of them stands in sendmail's transcript.
func (a *try) beside() (list []dsn.Recipient) {
	for place, i := range a.order {
		if res := a.results[i]; res.status.Outcome() == transport.Deferred {
			list = append(list, dsn.Recipient{Orig: a.m.Recipients[i].Recipient, Status: res.status, Place: place})
		}
	}
	return list
}

// exitOfCause is the exit status behind a failure: of a program, or of the rules.
func exitOfCause(s transport.Status) int {
	if strings.EqualFold(s.Diagnostic, "x-unix") {
		n, _ := strconv.Atoi(s.Reply)
		return n
	}
	return s.Exit
}

// about begins a notice to sender.
func (a *try) about(kind dsn.Kind, sender envelope.Address) dsn.Notice {
	env := *a.m.Envelope
	if env.Sender != sender { // the owner of a list did not give it (RFC 3461 5.2.7.3)
		env.EnvID = ""
	}
	env.Sender = sender
	return dsn.Notice{Kind: kind, Envelope: &env, Body: a.m.Body(), Time: a.q.cfg.Now()}
}

// tell composes a notice and accepts it.
func (a *try) tell(ctx context.Context, n dsn.Notice, cause string) error {
	receipt, err := a.q.post(ctx, a.w.Notifier, n)
	if err != nil {
		return err
	}
	a.told = append(a.told, Noticed{ID: a.m.ID, New: receipt.ID, Kind: n.Kind, Cause: cause, About: n.About(), Status: n.Recipients[len(n.Recipients)-1].Status})
	return nil
}

// grownOf is a recipient that became several in this attempt.
type grownOf struct {
	index int
	how   dsn.Growth
}

// grownTo are the recipients of one sender that became several.
type grownTo struct {
	recipients []dsn.Recipient
	by         []grownOf
}

// tellGrown writes the receipts for recipients that became several: that is the last that their sender hears, if all goes
// well. One that cannot be written is owed. Those of senders for whom joins is true are returned, and not written.
func (a *try) tellGrown(ctx context.Context, joins func(sender envelope.Address) bool) (joined map[envelope.Address]grownTo) {
	told, by := map[envelope.Address][]dsn.Recipient{}, map[envelope.Address][]grownOf{}
	joined = map[envelope.Address]grownTo{}
	for _, g := range a.grown {
		if a.m.Recipients[g.index].Status.Outcome != spool.Expanded {
			continue
		}
		sender := a.sender(g.index)
		var members []dsn.Recipient
		if a.w.Spoken {
			if members = a.arrived(g.index); len(members) == 0 && a.m.Recipients[g.index].Status.Owed == "" {
				continue // those who take the duty over, or fail, are not spoken of
			}
		}
		by[sender] = append(by[sender], g)
		told[sender] = append(told[sender], dsn.Recipient{
			Orig: a.m.Recipients[a.root(g.index)].Recipient, Status: transport.NewStatus(transport.Delivered, "2.0.0", "expanded"), Grown: g.how, Members: members,
			LastAttempt: a.now, Age: a.now.Sub(a.m.Envelope.Arrival),
		})
	}
	for sender, recipients := range told {
		if joins(sender) {
			joined[sender] = grownTo{recipients, by[sender]}
			continue
		}
		n := a.about(dsn.Success, sender)
		n.Recipients = recipients
		if err := a.tell(ctx, n, "expanded"); err != nil {
			a.q.cfg.Log.Error("a receipt cannot be written now", "id", a.m.ID, "err", err)
			a.oweGrown(by[sender])
		} else {
			a.paidGrown(by[sender])
		}
	}
	a.grown = nil
	return joined
}

// arrived are the recipients behind i who got the message here.
func (a *try) arrived(i int) (all []dsn.Recipient) {
	for _, k := range a.order {
		res := a.results[k]
		if res.status.Outcome() != transport.Delivered {
			continue
		}
		for p := a.m.Recipients[k].Parent; p >= 0; p = a.m.Recipients[p].Parent {
			if p == i {
				all = append(all, dsn.Recipient{Orig: envelope.Recipient{Addr: envelope.Address(a.m.Recipients[k].Name())}, Status: res.status})
				break
			}
		}
	}
	return all
}

// payOwed makes the notices that an earlier attempt could not.
func (a *try) payOwed(ctx context.Context) {
	for i := range a.m.Recipients {
		r := &a.m.Recipients[i]
		if r.Status.Owed == "" {
			continue
		}
		if r.Status.Outcome == spool.Expanded {
			a.grown = append(a.grown, owedGrown(i, &r.Status))
			continue
		}
		// As if it had just ended so; Due decides the same again.
		a.results[i] = &result{status: statusOf(&r.Status), mailer: r.Status.Mailer, host: r.Status.Host, user: r.Status.User, old: true}
	}
}
