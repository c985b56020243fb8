package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"waybill/queue/sched"
	"waybill/queue/spool"
)

const (
	// rescanDrops is how often the drop directory is read although nobody said that something is there.
	rescanDrops = time.Minute
	// rescanQueue is how often the queue directory is read for messages that other processes put there.
	rescanQueue = 5 * time.Minute
	// rescanFirst is how long after the start it is read again, and then twice as long after that, until rescanQueue: a
	// process that worked while there was no daemon may put a message there a moment after the daemon looked, and die.
	rescanFirst = 2 * time.Second
	// retryTrouble is the delay after trouble of our own: a full disk, no descriptors.
	retryTrouble = 5 * time.Second
	// stillRunning is when a message is looked at again whose attempt is just ending.
	stillRunning = 20 * time.Millisecond
)

func schedID(id string) sched.ID {
	var s sched.ID
	copy(s[:], id)
	return s
}

func stringID(id sched.ID) string { return string(id[:]) }

// plan sets when the message is tried next. Times carry Go's monotonic reading, so that clock jumps do not matter.
func (q *Queue) plan(id sched.ID, at time.Time, priority int) {
	q.mu.Lock()
	q.schedule.Set(id, at, priority)
	q.mu.Unlock()
	q.poke()
}

// hasten makes a planned message due now; false when it is not planned.
func (q *Queue) hasten(id sched.ID) bool {
	q.mu.Lock()
	there := q.schedule.Hasten(id, time.Now())
	q.mu.Unlock()
	q.poke()
	return there
}

// start takes a place for f, an attempt at the message, if there is room and the queue is not closing: what it returns,
// if not nil, runs f beside its caller, and must be called.
func (q *Queue) start(id sched.ID, f func(ctx context.Context)) (begin func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.startLocked(id, f)
}

func (q *Queue) startLocked(id sched.ID, f func(ctx context.Context)) (begin func()) {
	select {
	case <-q.stopped:
		return nil
	default:
	}
	if q.full() || q.running[id] {
		return nil
	}
	q.running[id] = true
	q.quick++
	q.work.Add(1)
	return func() {
		q.spawn(func() {
			place := &place{q: q}
			timer := time.AfterFunc(newcomerAfter, place.slow)
			f(q.ctx)
			timer.Stop()
			place.free(id)
		})
	}
}

// full reports whether as many attempts run as may. Those for unknown destinations have places of their own.
func (q *Queue) full() bool { return q.quick-int(q.limits.newcomers.Load()) >= q.cfg.Deliveries }

// place is one of the attempts that run at a time. An attempt that takes long leaves it to another, as long as there
// are not too many of those: what hangs must not keep others from being tried.
type place struct {
	q      *Queue
	isSlow bool
	ended  bool
}

func (p *place) slow() {
	q := p.q
	q.mu.Lock()
	if !p.ended && q.slow < slowMax(q.cfg.Deliveries) {
		p.isSlow = true
		q.quick--
		q.slow++
	}
	some := q.watched()
	q.mu.Unlock()
	if some {
		q.poke()
	}
}

func (p *place) free(id sched.ID) {
	q := p.q
	q.mu.Lock()
	p.ended = true
	delete(q.running, id)
	// A queue run that came meanwhile is for those whom the attempt lets wait, too.
	at, asked := q.asked[id]
	if asked && q.resting[id] && q.schedule.Hasten(id, time.Now()) {
		q.forced[id] = at
	}
	delete(q.asked, id)
	delete(q.resting, id)
	if _, again := q.forced[id]; !again {
		delete(q.round, id)
	}
	if p.isSlow {
		q.slow--
	} else {
		q.quick--
	}
	some := q.watched()
	q.mu.Unlock()
	if some {
		q.poke()
	}
}

// watched reports whether somebody waits for the end of an attempt: what is planned, or a queue run. q.mu is held.
func (q *Queue) watched() bool { return q.schedule.Len() > 0 || q.round != nil }

// Kick says that there may be something new in the drop directory.
func (q *Queue) Kick() {
	select {
	case q.drops <- struct{}{}:
	default:
	}
}

// Run delivers what is queued, when it is due, until ctx ends. One process at a time should, the one that has the
// spool's daemon lock; several do no harm. Messages that were accepted before are read in the background.
func (q *Queue) Run(ctx context.Context) {
	drops, wait := time.NewTicker(rescanDrops), rescanFirst
	queue := time.NewTimer(wait)
	q.mu.Lock()
	q.runners++
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		q.runners--
		q.mu.Unlock()
	}()
	defer drops.Stop()
	defer queue.Stop()
	q.background(ctx, q.scanQueue)
	q.background(ctx, q.settleLog)
	q.Kick()
	timer := time.NewTimer(0)
	defer timer.Stop()
	scanning := make(chan struct{}, 1)
	for {
		timer.Reset(q.startDue())
		select {
		case <-ctx.Done():
			return
		case <-q.stopped:
			return
		case <-q.changed:
		case <-timer.C:
		case <-drops.C:
			q.Kick()
		case <-queue.C:
			q.background(ctx, q.scanQueue)
			wait = min(2*wait, rescanQueue)
			queue.Reset(wait)
		case <-q.drops:
			select {
			case scanning <- struct{}{}:
				q.background(ctx, func(ctx context.Context) { q.takeDrops(ctx, false); <-scanning })
			default:
				// A scan runs; what came after it read the directory needs another one.
				time.AfterFunc(100*time.Millisecond, q.Kick)
			}
		}
	}
}

func (q *Queue) background(ctx context.Context, f func(ctx context.Context)) {
	if !q.begin() {
		return
	}
	go func() {
		defer q.work.Done()
		f(ctx)
	}()
}

// startDue starts the attempts that are due and returns how long nothing else will be.
func (q *Queue) startDue() time.Duration {
	for {
		q.mu.Lock()
		if q.full() {
			q.mu.Unlock()
			return time.Hour // the end of an attempt wakes us
		}
		id, ok := q.schedule.Next(time.Now())
		if !ok {
			wake, some := q.schedule.Wake()
			q.mu.Unlock()
			if !some {
				return time.Hour
			}
			return max(time.Millisecond, time.Until(wake))
		}
		how := how{}
		how.asked, how.forced = q.forced[id]
		delete(q.forced, id)
		if begin := q.startLocked(id, func(ctx context.Context) { q.again(ctx, id, &how) }); begin != nil {
			begin()
		} else {
			// It runs at this moment, and may have planned its next attempt already: that one must not be lost.
			if how.forced {
				q.forced[id] = how.asked
			}
			q.schedule.Set(id, time.Now().Add(stillRunning), 0)
		}
		q.mu.Unlock()
	}
}

// again loads a message and tries it.
func (q *Queue) again(ctx context.Context, id sched.ID, how *how) error {
	q.limits.unpark(id)
	m, err := q.spool.Load(stringID(id))
	if err != nil {
		return q.unloadable(id, err)
	}
	now := q.cfg.Now()
	if every := q.cfg.RunEvery; every > 0 && !how.forced && m.Attempts > 0 && min(m.NextTry.Sub(now), m.NextTry.Sub(m.LastTry)) > every {
		// Another process was at it when it was found, and has written down that it waits longer than mail does here.
		defer m.Close()
		q.mu.Lock()
		q.forced[id] = time.Now()
		q.schedule.Set(id, time.Now().Add(every), m.Envelope.Priority)
		q.mu.Unlock()
		return nil
	}
	age := now.Sub(m.Envelope.Arrival)
	how.first = !how.forced && m.Attempts == 0 && age < q.cfg.Interval
	q.attempt(ctx, m, how)
	return nil
}

// unloadable deals with a message that cannot be opened.
func (q *Queue) unloadable(id sched.ID, err error) error {
	log := q.cfg.Log.With("id", stringID(id))
	q.tried(id)
	switch {
	case errors.Is(err, spool.ErrGone):
		return nil // another process delivered it
	case errors.Is(err, spool.ErrBusy):
		q.plan(id, time.Now().Add(2*time.Second), 0) // another process is at it
		return err
	case errors.Is(err, spool.ErrDamaged):
		if q.spool.SetAside(stringID(id), err) == nil {
			return err
		}
	}
	log.Error("message cannot be opened now", "err", err)
	q.plan(id, time.Now().Add(retryTrouble), 0)
	return err
}

// scanQueue plans every message of the queue directory that is not planned yet.
func (q *Queue) scanQueue(ctx context.Context) {
	var found []string
	err := q.spool.Queued(func(id string) bool {
		if !q.knows(schedID(id)) {
			found = append(found, id)
		}
		return ctx.Err() == nil
	})
	if err != nil {
		q.cfg.Log.Error("the queue directory cannot be read", "err", err)
	}
	for _, id := range found {
		if ctx.Err() != nil {
			return
		}
		q.adopt(id)
	}
}

func (q *Queue) knows(id sched.ID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.running[id] || q.schedule.Has(id)
}

// adopt plans a message that was found in the queue directory.
func (q *Queue) adopt(id string) {
	m, err := q.spool.Peek(id, false)
	if err != nil {
		if !errors.Is(err, spool.ErrGone) {
			q.plan(schedID(id), time.Now(), 0) // the attempt says what is wrong with it
		}
		return
	}
	m.Close()
	// The wait is what the journal says, but never longer than it was: the clock may have been set.
	wait := min(m.NextTry.Sub(q.cfg.Now()), m.NextTry.Sub(m.LastTry))
	if m.Attempts == 0 {
		wait = 0
	}
	sooner := q.cfg.RunEvery > 0 && wait > q.cfg.RunEvery
	if sooner {
		wait = q.cfg.RunEvery
	}
	q.mu.Lock()
	if s := schedID(id); !q.running[s] && !q.schedule.Has(s) {
		if sooner {
			q.forced[s] = time.Now() // the journal would have it wait on
		}
		q.schedule.Set(s, time.Now().Add(max(0, wait)), m.Envelope.Priority)
	}
	q.mu.Unlock()
	q.poke()
}

// takeDrops accepts what front ends left in the drop directory. With quiet no attempt begins. It returns how
// many it accepted, and whether there are some that it could not.
func (q *Queue) takeDrops(ctx context.Context, quiet bool) (taken int, left bool) {
	var found []string
	if err := q.spool.Dropped(func(id string) bool { found = append(found, id); return ctx.Err() == nil }); err != nil {
		q.cfg.Log.Error("the drop directory cannot be read", "err", err)
		left = true
	}
	for _, id := range found {
		if ctx.Err() != nil {
			break
		}
		_, err := q.takeDrop(ctx, id, Options{Quiet: quiet})
		switch {
		case err == nil:
			taken++
		case errors.Is(err, spool.ErrGone):
		case errors.Is(err, spool.ErrBusy):
			time.AfterFunc(200*time.Millisecond, q.Kick) // the front end has renamed it and not yet closed it
		default:
			q.cfg.Log.Error("a dropped message cannot be taken over", "id", id, "err", err)
			left = true
		}
	}
	return taken, left
}

// takeDrop accepts one dropped message. Its sender has been told that it is safe, so there is nobody to refuse it to:
// what Accept refuses is returned by mail.
func (q *Queue) takeDrop(ctx context.Context, id string, opt Options) (Receipt, error) {
	d, err := q.spool.OpenDrop(id)
	if errors.Is(err, spool.ErrDamaged) {
		return Receipt{}, errors.Join(err, q.spool.SetDropAside(id, err))
	}
	if err != nil {
		return Receipt{}, err
	}
	defer d.Close()
	Local(d.Envelope)
	opt.Known, opt.Source = true, d.Source
	receipt, err := q.accept(ctx, d.Envelope, d.Body(), opt)
	var refused *RefusedError
	switch {
	case errors.Is(err, errDuplicate):
		receipt = Receipt{ID: id}
	case errors.As(err, &refused):
		if err := q.returned(ctx, d, refused.Status); err != nil {
			return Receipt{}, err
		}
		receipt = Receipt{ID: id}
	case errors.Is(err, spool.ErrDamaged):
		return Receipt{}, errors.Join(err, q.spool.SetDropAside(id, err))
	case err != nil:
		return Receipt{}, err
	}
	if err := d.Taken(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return receipt, fmt.Errorf("dropped %s is accepted and cannot be removed: %w", id, err)
	}
	return receipt, nil
}
