package queue

import (
	"context"
	"strings"
	"time"

	"waybill/queue/dsn"
	"waybill/queue/spool"
	"waybill/transport"
	"waybill/transport/envelope"
)

// aliased says for sendmail -v what a recipient stands for.
func aliased(members []spool.Recipient) string {
	var names []string
	for _, m := range members {
		names = append(names, m.Name())
	}
	return "aliased to " + strings.Join(names, ", ")
}

// maxDepth is how many aliases and .forward files may lead to one another, whatever the Expander thinks of it.
const maxDepth = 50

// refusedStage begins the stage of a member that may not be used; the code and the text follow. It stands in the
// journal, so that the member is not taken for an address after a crash.
const refusedStage = "refused "

// refusedMember is the outcome of a member that may not be used.
func refusedMember(stage string) (transport.Status, bool) {
	rest, refused := strings.CutPrefix(stage, refusedStage)
	if !refused {
		return transport.Status{}, false
	}
	code, text, _ := strings.Cut(rest, " ")
	return transport.NewStatus(transport.Failed, code, text), true
}

// expand takes one step with a recipient that is local: to its mailbox, to members that take its place, or to an end.
func (a *try) expand(ctx context.Context, i int, j *job) *job {
	r := &a.m.Recipients[i]
	user := LocalUser{Name: j.to.User, Stage: r.Stage, Sender: j.sender, Host: j.host}
	for p := r.Parent; p >= 0; p = a.m.Recipients[p].Parent {
		user.Depth++
		user.Trail = append([]string{a.m.Recipients[p].Status.User}, user.Trail...)
	}
	x, err := a.w.Expander.Expand(ctx, user)
	switch {
	case err != nil:
		a.q.cfg.Log.Warn("a local user cannot be looked up now", "id", a.m.ID, "to", r.Name(), "err", err)
		a.settle(i, j, transport.NewStatus(transport.Deferred, "4.3.0", "Temporary failure looking up the user"), 0)
		return nil
	case x.Loop && a.w.Spoken:
		a.loops = append(a.loops, loopOf{i, j, *x.Status})
		return nil
	case x.Status != nil:
		a.settle(i, j, *x.Status, 0)
		return nil
	case len(x.Members) == 0 && x.Mailbox == "":
		a.settle(i, j, transport.NewStatus(transport.Failed, "5.2.4", "The list has no members"), 0)
		return nil
	case x.Mailbox != "":
		j.to.User, j.to.Detail = x.Mailbox, x.Detail
		if j.to.As == "" {
			j.to.As = x.Mailbox
		}
		return a.checked(i, j)
	case user.Depth >= maxDepth:
		s := transport.NewStatus(transport.Failed, "5.4.6", "aliasing/forwarding loop broken")
		a.settle(i, j, s, 0)
		return nil
	}
	owner := x.Owner
	if local, domain := owner.Split(); !a.q.cfg.BareOwners && domain == "" && local != "" && !strings.Contains(local, "!") {
		owner = envelope.Address(local + "@" + a.q.cfg.Host) // members elsewhere must be able to answer
	}
	entry := spool.Expansion{Index: i, Base: a.m.NextIndex(), User: j.to.User, At: a.now}
	for n, member := range x.Members {
		if member.Where != "" {
			if a.where == nil {
				a.where = map[int]string{}
			}
			a.where[entry.Base+n] = member.Where
		}
		if member.From != "" {
			if a.from == nil {
				a.from = map[int]string{}
			}
			a.from[entry.Base+n] = member.From
		}
		child := spool.Recipient{As: member.As, Stage: member.Stage, HasOwner: x.HasOwner, Owner: owner}
		child.Addr, child.Command, child.File = member.Addr, member.Command, member.File
		if s := member.Refused; s != nil {
			child.Recipient = envelope.Recipient{Addr: envelope.Address(member.Name)} // a name to report, not an address to route
			child.Stage = refusedStage + s.Code() + " " + s.Text()
		}
		if !x.HasOwner {
			// A list with an owner is the end of the sender's wishes (RFC 3461 5.2.7.3): its owner hears of failures.
			child.Notify, child.ORcpt = r.Notify, r.ORcpt
			if len(x.Members) > 1 { // RFC 3461 5.2.7.2: the sender hears that it was expanded, and then only of trouble
				child.Notify = dsn.WithoutSuccess(child.Notify)
			}
		}
		if a.w.Spoken && r.Notify == envelope.NotifyNever { // for sendmail that is said of the members, too
			child.Notify = r.Notify
		}
		entry.Members = append(entry.Members, child)
	}
	grown := dsn.Single
	if r.Notify.WantsSuccess() && !a.sender(i).Null() {
		switch {
		case x.HasOwner && a.w.Spoken: // sendmail leaves it at that
		case x.HasOwner:
			grown = dsn.ToList
		case len(x.Members) > 1:
			grown = dsn.ToAlias
		}
	}
	name, orig := r.Name(), a.m.Recipients[a.root(i)].Recipient
	for _, line := range x.Told {
		if a.how.verbose != nil {
			a.how.verbose(line)
		}
	}
	if a.how.verbose != nil && x.Told == nil {
		a.how.verbose(name + "... " + aliased(entry.Members))
	}
	if err := a.m.Note(entry); err != nil {
		a.q.cfg.Log.Error("expansion does not fit", "id", a.m.ID, "to", name, "err", err)
		a.settle(i, j, transport.NewStatus(transport.Deferred, "4.3.0", "internal error"), 0)
		return nil
	}
	if grown != dsn.Single {
		a.grown = append(a.grown, grownOf{i, grown})
	}
	a.q.cfg.Mail.Tried(Tried{
		ID: a.m.ID, To: name, Orig: orig, Mailer: j.mailer, Host: j.host, Priority: a.m.Envelope.Priority,
		Size: a.m.Size, Rcpts: a.left, Attempts: a.tries,
		Status: transport.NewStatus(transport.Delivered, "2.0.0", "expanded"), Final: true, Expanded: true, Age: a.now.Sub(a.m.Envelope.Arrival),
	})
	return nil
}

// oneOfSeveral reports whether recipient i came by a list: sendmail tells the next hop nothing of the sender's wishes then.
func (a *try) oneOfSeveral(i int) bool {
	for ; a.m.Recipients[i].Parent >= 0; i = a.m.Recipients[i].Parent {
		n := 0
		for k := range a.m.Recipients {
			if a.m.Recipients[k].Parent == a.m.Recipients[i].Parent {
				if n++; n > 1 {
					return true
				}
			}
		}
	}
	return false
}

// onceOnly forgets recipients that failed as another of the same name did: sendmail puts each address into its list once.
// Only who stands in his own alias does so twice.
func (a *try) onceOnly() {
	seen := map[string]bool{}
	for i := range a.m.Recipients {
		res, r := a.results[i], &a.m.Recipients[i]
		if res == nil || res.old || res.status.Outcome() != transport.Failed || r.Stage == stageSelf || r.Stage == stageListed {
			continue
		}
		key := strings.ToLower(r.Name()) + "\x00" + string(a.sender(i))
		if seen[key] {
			res.status, res.old = transport.NewStatus(transport.Discarded, "2.0.0", "duplicate"), true
		}
		seen[key] = true
	}
}

// grow has the recipients of a message that waits for a queue run replaced by those whom they stand for, as sendmail does
// before it queues a message. Who fails by that fails now.
func (q *Queue) grow(ctx context.Context, m *spool.Message, verbose func(line string)) ([]transport.Status, bool) {
	a := &try{q: q, w: q.wiring.Load(), m: m, how: &how{verbose: verbose, waited: true, queued: true}, began: time.Now(), now: q.cfg.Now(), results: map[int]*result{}, tries: m.Attempts, left: len(m.Recipients)}
	var waiting []Tried
	for _, g := range a.decide(ctx) {
		for _, j := range g.jobs {
			for n, i := range j.indices {
				if n == 0 {
					waiting = append(waiting, Tried{
						ID: m.ID, To: m.Recipients[i].Name(), Orig: m.Recipients[a.root(i)].Recipient, Mailer: j.mailer, Host: j.host, Priority: m.Envelope.Priority,
						Size: m.Size, Age: a.now.Sub(m.Envelope.Arrival), Sender: m.Envelope, Local: j.via.Local, Queued: true, More: true,
						Status: transport.NewStatus(transport.Deferred, "4.2.0", "queued"),
					})
				}
				if n > 0 {
					a.results[i] = &result{status: transport.NewStatus(transport.Discarded, "2.0.0", "duplicate"), old: true}
				}
			}
		}
	}
	for i, res := range a.results {
		if res.status.Outcome() == transport.Deferred { // the queue run will ask again
			delete(a.results, i)
		}
	}
	a.notify(ctx)
	a.record()
	a.logResults()
	for n := range waiting {
		waiting[n].Rcpts, waiting[n].More = len(waiting), n+1 < len(waiting)
		q.cfg.Mail.Tried(waiting[n])
	}
	statuses := a.summary()
	if m.Done() {
		if err := m.Finish(); err != nil {
			q.cfg.Log.Error("a message without recipients cannot be removed yet", "id", m.ID, "err", err)
		}
		return statuses, a.how.untold
	}
	if err := m.Flush(len(a.results) > 0); err != nil {
		q.cfg.Log.Error("outcome remembered in memory only", "id", m.ID, "err", err)
	}
	return statuses, a.how.untold
}

// loopOf is a recipient that leads back to itself.
type loopOf struct {
	index  int
	job    *job
	status transport.Status
}

// settleLoops ends recipients that lead back to themselves, as sendmail does: the first of them fails, if nothing is left
// of it and of the recipients before it; all others are forgotten.
func (a *try) settleLoops(jobs []*job) {
	gone := transport.NewStatus(transport.Discarded, "2.0.0", "has been expanded")
	for n, l := range a.loops {
		root := a.root(l.index)
		left := n > 0
		for _, j := range jobs {
			for _, i := range j.indices {
				left = left || a.root(i) <= root
			}
		}
		for i := range a.results {
			left = left || a.root(i) <= root
		}
		if left {
			a.settle(l.index, l.job, gone, 0)
			continue
		}
		a.settle(l.index, l.job, l.status, 0)
		a.results[l.index].whole = true
	}
	a.loops = nil
}
