package queue

import (
	"context"
	"fmt"
	"sync"
	"time"

	"waybill/transport"
)

// groupPatience is how long a group of a message with several waits for a place while the others are delivered.
const groupPatience = 30 * time.Second

// deliver hands the groups to their transports, side by side as far as each destination has room.
func (a *try) deliver(ctx context.Context, groups []*group) {
	if a.q.inOrder() {
		a.deliverInOrder(ctx, groups)
		return
	}
	var wait sync.WaitGroup
	for n, g := range groups {
		key := g.destination()
		if status, dead := a.q.limits.dead(key, a.how.asked); dead && (!a.how.forced || !a.how.asked.IsZero()) {
			a.unsent(g, status)
			continue
		}
		b := a.bound(g)
		if place := a.q.limits.admit(key, b); place != nil && n == len(groups)-1 {
			a.send(ctx, g, place, len(groups) > 1)
		} else if place != nil {
			wait.Go(func() { a.send(ctx, g, place, true) })
		} else if len(groups) > 1 || a.how.block {
			// What others of this message take must not keep this one waiting, nor the other way round.
			wait.Go(func() { a.sendLater(ctx, g, key, b) })
		} else {
			a.parked = key
		}
	}
	wait.Wait()
}

// sendLater makes a delivery when there is a place for it.
func (a *try) sendLater(ctx context.Context, g *group, key string, b bound) {
	patience := groupPatience
	if a.how.block {
		patience = 24 * time.Hour
	}
	if place := a.q.limits.admitWait(ctx, key, b, patience); place != nil {
		// Who had the place before may have found that nobody answers there.
		if status, dead := a.q.limits.dead(key, a.how.asked); dead && (!a.how.forced || !a.how.asked.IsZero()) {
			a.q.limits.giveBack(place)
			a.unsent(g, status)
			return
		}
		a.send(ctx, g, place, true)
		return
	}
	a.mu.Lock()
	a.parked = key
	a.mu.Unlock()
}

// bound is what the destination of a group may get: as its plan says, else as its mailer says.
func (a *try) bound(g *group) bound {
	b := bound{limit: g.via.Concurrency, rank: a.rank()}
	if a.w.Planner != nil {
		p := a.plan(g.jobs[0].indices[0], g.jobs[0], transport.Status{})
		b.rate = p.Rate
		if p.Concurrency > 0 {
			b.limit = p.Concurrency
		}
	}
	if b.limit <= 0 {
		b.limit = DefaultConcurrency
	}
	return b
}

// unsent settles a group whose destination did not answer a moment ago: not every message needs to find that out.
func (a *try) unsent(g *group, status transport.Status) {
	for _, j := range g.jobs {
		for _, i := range j.indices {
			a.settle(i, j, status, 0)
		}
	}
}

// send makes one delivery.
func (a *try) send(ctx context.Context, g *group, place *ticket, more bool) {
	env := *a.m.Envelope
	env.Sender = g.sender
	req := &transport.Request{Envelope: &env, Host: g.host, Body: a.m.Body(), Log: a.q.cfg.Log.With("id", a.m.ID), Verbose: a.how.verbose}
	for _, j := range g.jobs {
		req.Recipients = append(req.Recipients, j.to)
	}
	start := time.Now()
	stop := a.q.watch(place, nil)
	statuses := guarded(ctx, g.via.Transport, req)
	stop()
	took := time.Since(start)
	a.q.limits.done(place, statuses)
	for n, j := range g.jobs {
		for _, i := range j.indices {
			a.settle(i, j, statuses[n], took)
			a.sent(i)
		}
	}
	if more {
		a.checkpoint(g)
	}
}

// watch sees to it that the others of a destination need not wait for a slow delivery; and if cancel is not nil, the
// client behind it not for ever. The caller calls what it returns at the end.
func (q *Queue) watch(place *ticket, cancel func()) (stop func()) {
	if place == nil {
		return func() {}
	}
	var mu sync.Mutex
	step := 0
	mu.Lock()
	defer mu.Unlock()
	var next *time.Timer
	next = time.AfterFunc(newcomerAfter, func() {
		mu.Lock()
		defer mu.Unlock()
		switch step++; {
		case step == 1:
			q.limits.long(place)
			next.Reset(slowAfter - newcomerAfter)
		case step == 2:
			q.limits.slow(place)
			if cancel != nil {
				next.Reset(slowNextHop - slowAfter)
			}
		case step == 3:
			cancel()
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		next.Stop()
		step = 3
	}
}

// guarded calls the transport and makes sure of one status for each recipient: a mistake there is no reason to lose or
// to bounce mail.
func guarded(ctx context.Context, t transport.Transport, req *transport.Request) (statuses []transport.Status) {
	n := len(req.Recipients)
	defer func() {
		if p := recover(); p != nil {
			req.Log.Error("transport failed", "panic", fmt.Sprint(p))
			statuses = transport.All(n, transport.NewStatus(transport.Deferred, "4.3.0", "internal error"))
		}
	}()
	statuses = t.Deliver(ctx, req)
	if len(statuses) != n {
		req.Log.Error("transport returned the wrong number of statuses", "got", len(statuses), "want", n)
		statuses = append(statuses, make([]transport.Status, n)...)[:n]
	}
	return statuses
}
