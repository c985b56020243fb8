package queue

import (
	"context"
	"sync"

	"waybill/queue/sched"
)

// limits counts the deliveries that run to each destination, and knows which messages wait for one to end.
type limits struct {
	mu   sync.Mutex
	free *sync.Cond // a place became free somewhere
	dest map[string]*destination
}

type destination struct {
	running int
	limit   int
	parked  []sched.ID
}

func newLimits() *limits {
	l := &limits{dest: map[string]*destination{}}
	l.free = sync.NewCond(&l.mu)
	return l
}

// enter takes a place at the destination, of which there are limit. It never waits.
func (l *limits) enter(key string, limit int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.take(key, limit)
}

func (l *limits) take(key string, limit int) bool {
	d := l.dest[key]
	if d == nil {
		d = &destination{}
		l.dest[key] = d
	}
	d.limit = limit
	if d.running >= limit {
		return false
	}
	d.running++
	return true
}

// enterWait waits for a place. When ctx ends it takes one at once: the delivery will see that ctx has ended.
func (l *limits) enterWait(ctx context.Context, key string, limit int) {
	defer context.AfterFunc(ctx, func() {
		l.mu.Lock()
		l.free.Broadcast()
		l.mu.Unlock()
	})()
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.take(key, limit) {
		if ctx.Err() != nil {
			l.dest[key].running++
			return
		}
		l.free.Wait()
	}
}

// leave gives a place back, and returns the messages that may have it: one for each free place.
func (l *limits) leave(key string) []sched.ID {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.dest[key]
	d.running--
	l.free.Broadcast()
	n := min(len(d.parked), max(1, d.limit-d.running))
	woken := append([]sched.ID(nil), d.parked[:n]...)
	d.parked = d.parked[n:]
	if len(d.parked) == 0 {
		d.parked = nil
		if d.running == 0 {
			delete(l.dest, key)
		}
	}
	return woken
}

// park lets the message wait for a place at the destination; false when there is one by now.
func (l *limits) park(key string, id sched.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.dest[key]
	if d == nil || d.running < d.limit {
		return false
	}
	d.parked = append(d.parked, id)
	return true
}

// busy is the number of destinations with deliveries or waiting messages.
func (l *limits) busy() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.dest)
}
