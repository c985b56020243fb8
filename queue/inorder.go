package queue

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// inOrder reports whether the deliveries of a message come one after the other, in sendmail's order.
func (q *Queue) inOrder() bool { return q.cfg.InOrder != nil && q.cfg.InOrder() }

// stageSelf is the stage of somebody who stands in his own alias (package expand).
const stageSelf = "noalias"

// stageListed is the Stage of a member who stands in his own entry of the user database.
const stageListed = "listed"

// arrange puts the targets of a message into the order of sendmail: by host, and for one host as the recipients stand
// in the envelope, those of a list from the last to the first.
func (a *try) arrange(jobs []*job) {
	for _, j := range jobs {
		slices.SortStableFunc(j.indices, a.earlier)
	}
	slices.SortStableFunc(jobs, func(x, y *job) int { return a.earlier(x.indices[0], y.indices[0]) })
	slices.SortStableFunc(jobs, func(x, y *job) int { return strings.Compare(strings.ToLower(x.host), strings.ToLower(y.host)) })
}

// earlier compares recipients i and j by that order, hosts apart.
func (a *try) earlier(i, j int) int {
	path := func(i int) []int {
		var p []int
		for ; i >= 0; i = a.m.Recipients[i].Parent {
			p = append(p, i)
		}
		slices.Reverse(p)
		return p
	}
	p, q := path(i), path(j)
	for depth := 0; depth < len(p) && depth < len(q); depth++ {
		if p[depth] != q[depth] {
			if depth == 0 {
				return cmp.Compare(p[0], q[0])
			}
			// Who stands in his own alias keeps the place that he had before it was looked at.
			if x, y := a.m.Recipients[p[depth]].Stage == stageSelf, a.m.Recipients[q[depth]].Stage == stageSelf; x != y {
				return map[bool]int{true: -1, false: 1}[x]
			}
			return cmp.Compare(q[depth], p[depth])
		}
	}
	return cmp.Compare(len(p), len(q))
}

// deliverInOrder hands the groups to their transports, one after the other; the recipients of one stand from the last to
// the first.
func (a *try) deliverInOrder(ctx context.Context, groups []*group) {
	for _, g := range groups {
		slices.Reverse(g.jobs)
		key := g.destination()
		if status, dead := a.q.limits.dead(key, a.how.asked); dead && (!a.how.forced || !a.how.asked.IsZero()) {
			a.unsent(g, status)
			continue
		}
		b := a.bound(g)
		if place := a.q.limits.admit(key, b); place != nil {
			a.send(ctx, g, place, len(groups) > 1)
		} else {
			a.sendLater(ctx, g, key, b)
		}
	}
}

const (
	// inOrderPatience is how long the messages behind wait for one that takes long; the more hang already, the shorter.
	inOrderPatience = 3 * time.Second
	// inOrderWaits is how long a whole run may wait so: behind a few messages the order can be seen, and a thousand are
	// delivered side by side.
	inOrderWaits = 30 * time.Second
)

// RunInOrder is a queue run like RunOnce, with one message after the other, the order of which less decides; but what
// hangs does not keep the others waiting, unless verbose gets the dialogues. begin hears of each before it is tried. What
// runs beside it (notices) may go on afterwards.
func (q *Queue) RunInOrder(ctx context.Context, s Selection, less func(a, b Listed) int, begin func(id string, n, of int), verbose func(line string)) error {
	if !q.begin() {
		return errClosing
	}
	defer q.work.Done()
	if unlock, err := q.spool.LockDaemon(); err == nil {
		unlock()
	}
	q.takeDrops(ctx, true)
	found, err := q.selected(ctx, s, 0)
	var list []Listed
	for _, c := range found {
		l := Listed{ID: c.id}
		if m, err := q.spool.Peek(c.id, false); err == nil {
			q.fill(&l, m)
			m.Close()
		}
		list = append(list, l)
	}
	slices.SortStableFunc(list, less)
	if q.cfg.MaxRun > 0 && len(list) > q.cfg.MaxRun {
		list = list[:q.cfg.MaxRun]
	}
	asked := time.Now()
	var running sync.WaitGroup
	places := make(chan struct{}, slowMax(q.cfg.Deliveries))
	patience := min(inOrderPatience, inOrderWaits/time.Duration(max(1, len(list))))
	for n, l := range list {
		if ctx.Err() != nil {
			break
		}
		begin(l.ID, n+1, len(list))
		places <- struct{}{}
		done := make(chan struct{})
		running.Go(func() {
			_ = q.again(ctx, schedID(l.ID), &how{forced: true, asked: asked, block: true, verbose: verbose}) // it is logged
			close(done)
			<-places
		})
		if verbose != nil {
			<-done
			continue
		}
		select {
		case <-done:
		case <-time.After(max(patience/30, patience/time.Duration(max(1, len(places))))):
		}
	}
	running.Wait()
	return err
}
