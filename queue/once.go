package queue

import (
	"context"
	"time"

	"waybill/queue/sched"
)

// RunOnce is a queue run: it takes over what was dropped, tries each selected message once, whatever it waits for, and
// returns when all those attempts have ended, and those of the notices that they made. It needs no daemon and does no
// harm beside one. A host that hangs or is dead keeps nobody waiting but mail for itself, and of that not every message
// tries it.
func (q *Queue) RunOnce(ctx context.Context, s Selection) error {
	if !q.begin() {
		return errClosing
	}
	defer q.work.Done()
	if unlock, err := q.spool.LockDaemon(); err == nil {
		unlock() // no daemon runs, and what one may have left in the intake log has become files
	}
	q.takeDrops(ctx, true)
	found, err := q.selected(ctx, s, 0)
	q.mu.Lock()
	if q.round == nil {
		q.round = map[sched.ID]bool{}
	}
	now := time.Now()
	for _, c := range found {
		id := schedID(c.id)
		q.round[id] = true
		if !q.running[id] {
			q.forced[id] = now
			q.schedule.Set(id, now, c.priority)
		}
	}
	q.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(q.startDue())
		if q.roundIsOver() {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-q.stopped:
			return err
		case <-q.changed:
		case <-timer.C:
		}
	}
}

// TakeDrops accepts what front ends left in the drop directory and begins the first attempts in the background, for a
// process that does no more than that, where no daemon runs. It returns how many messages it accepted, whether some are
// left that it could not accept, and whether attempts go on, which Settle waits for. It is called again until they do not.
func (q *Queue) TakeDrops(ctx context.Context) (taken int, left, busy bool) {
	if !q.begin() {
		return 0, true, false
	}
	defer q.work.Done()
	taken, left = q.takeDrops(ctx, false)
	q.startDue() // what found no place when it was accepted
	q.mu.Lock()
	defer q.mu.Unlock()
	return taken, left, len(q.running) > 0 || q.schedule.Ready() > 0
}

// oneShot reports whether nobody but a queue run looks at the schedule.
func (q *Queue) oneShot() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.round != nil && q.runners == 0
}

// hasRunner reports whether Run is at work: it wakes what waits for a place.
func (q *Queue) hasRunner() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.runners > 0
}

// tried tells the queue run, if there is one, that a message has had its attempt.
func (q *Queue) tried(id sched.ID) {
	q.mu.Lock()
	delete(q.round, id)
	some := q.watched()
	q.mu.Unlock()
	if some {
		q.poke()
	}
}

// roundIsOver reports whether all messages of a queue run were tried and nothing runs any more that came of it.
func (q *Queue) roundIsOver() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.round) > 0 || q.runners == 0 && (len(q.running) > 0 || q.schedule.Ready() > 0) {
		return false
	}
	q.round = nil
	return true
}
