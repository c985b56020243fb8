package queue

import (
	"context"
	"strings"
	"sync"
	"time"

	"waybill/queue/sched"
	"waybill/transport"
)

const (
	// firstWindow is how many deliveries a destination that we know nothing of gets at a time. Each success doubles it,
	// up to the mailer's limit.
	firstWindow = 1
	// slowAfter is when a delivery no longer counts as one that will soon make room.
	slowAfter = time.Second
	// forgetAfter is how long the behaviour of a destination is remembered.
	forgetAfter = 15 * time.Minute
	// deadAfter is after how many failed connections in a row a destination is left alone for a while.
	deadAfter = 3
)

// limits knows how each destination behaves, how many deliveries run to it, and which messages wait for one to end. One
// dead or slow destination does not delay another, because
//   - a destination has a window of deliveries, which grows with success and shrinks with trouble;
//   - destinations that have not shown yet that they answer share half of the places, so that those which do answer
//     always have the other half;
//   - a delivery that takes long gives its place back, and so does its attempt (see Queue.start);
//   - a destination that cannot be reached is not tried again for every message that waits for it.
type limits struct {
	newcomersMax int                    // places for destinations that have not answered yet
	rest         time.Duration          // how long a dead destination is left alone
	hasten       func(id sched.ID) bool // tries a message now; called with mu held

	mu        sync.Mutex
	free      *sync.Cond // a place became free somewhere
	dest      map[string]*destination
	newcomers int
	crowd     []*waiter // for a newcomer's place
	waiters   map[sched.ID]*waiter
	leaves    int
}

// waiter is a message that waits for a place, in one list.
type waiter struct {
	id   sched.ID
	gone bool // it is tried for another reason
}

type destination struct {
	running int
	limit   int
	window  int
	proven  bool // it answered lately
	trouble int  // connections that failed, in a row
	until   time.Time
	why     transport.Status
	used    time.Time
	parked  []*waiter
}

// ticket is a place at a destination.
type ticket struct {
	d        *destination
	newcomer bool // it takes one of the newcomers' places
	ended    bool
}

func newLimits(deliveries int, rest time.Duration, hasten func(sched.ID) bool) *limits {
	l := &limits{newcomersMax: max(1, deliveries/2), rest: rest, hasten: hasten, dest: map[string]*destination{}, waiters: map[sched.ID]*waiter{}}
	l.free = sync.NewCond(&l.mu)
	return l
}

func (l *limits) at(key string, limit int) *destination {
	d := l.dest[key]
	if d == nil {
		d = &destination{window: firstWindow}
		if strings.HasSuffix(key, "\x00") { // no host: it is this machine
			d.window, d.proven = limit, true
		}
		l.dest[key] = d
	}
	d.limit = limit
	d.used = time.Now()
	return d
}

// admit takes a place at the destination. It never waits; nil: there is none, see park.
func (l *limits) admit(key string, limit int) *ticket {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.take(key, limit)
}

func (l *limits) take(key string, limit int) *ticket {
	d := l.at(key, limit)
	if d.running >= min(d.window, limit) || !d.proven && l.newcomers >= l.newcomersMax {
		return nil
	}
	d.running++
	t := &ticket{d: d, newcomer: !d.proven}
	if t.newcomer {
		l.newcomers++
	} else if l.newcomers < l.newcomersMax {
		l.wake(&l.crowd, 1) // if a newcomer's place was meant for this one, another can have it
	}
	return t
}

// admitWait waits for a place. When ctx ends it takes one at once: the delivery will see that ctx has ended.
func (l *limits) admitWait(ctx context.Context, key string, limit int) *ticket {
	defer context.AfterFunc(ctx, func() {
		l.mu.Lock()
		l.free.Broadcast()
		l.mu.Unlock()
	})()
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if t := l.take(key, limit); t != nil {
			return t
		}
		if ctx.Err() != nil {
			d := l.at(key, limit)
			d.running++
			return &ticket{d: d}
		}
		l.free.Wait()
	}
}

// slow tells that the delivery takes long. Its place goes to another newcomer, and the destination is one again.
func (l *limits) slow(t *ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !t.ended {
		t.d.proven = false
		l.giveUpPlace(t)
	}
}

func (l *limits) giveUpPlace(t *ticket) {
	if t.newcomer {
		t.newcomer = false
		l.newcomers--
		l.free.Broadcast()
		l.wake(&l.crowd, 1)
	}
}

// done gives the place back, learns from how the delivery ended, and lets those try that may now.
func (l *limits) done(t *ticket, statuses []transport.Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := t.d
	t.ended = true
	switch verdict, why := judge(statuses); verdict {
	case answered:
		d.proven, d.trouble, d.until = true, 0, time.Time{}
		d.window = min(d.limit, d.window*2)
	case unreachable:
		d.trouble++
		d.window = max(1, d.window/2)
		if d.trouble >= deadAfter {
			d.until, d.why = time.Now().Add(l.rest), why
		}
	case overloaded:
		d.window = max(1, d.window/2)
	}
	l.giveUpPlace(t)
	if time.Now().Before(d.until) {
		l.wake(&d.parked, len(d.parked)) // they need not wait to hear the same
	}
	l.release(d)
}

type behaviour uint8

const (
	answered behaviour = iota
	unreachable
	overloaded
)

// judge tells from the statuses of one delivery how the destination behaves.
func judge(statuses []transport.Status) (behaviour, transport.Status) {
	for _, s := range statuses {
		switch {
		case s.Outcome() != transport.Deferred:
			return answered, s
		case s.Code() == "4.4.1": // no answer from the host (RFC 3463)
			return unreachable, s
		case strings.HasPrefix(s.Code(), "4.4.") || s.Code() == "4.3.2" || s.Code() == "4.7.0":
			return overloaded, s
		}
	}
	return answered, transport.Status{}
}

func (l *limits) release(d *destination) {
	d.running--
	d.used = time.Now()
	l.free.Broadcast()
	if l.leaves++; l.leaves%1000 == 0 {
		for key, d := range l.dest {
			if d.running == 0 && len(d.parked) == 0 && time.Since(d.used) > forgetAfter {
				delete(l.dest, key)
			}
		}
	}
	l.wake(&d.parked, max(1, min(d.window, d.limit)-d.running))
}

// wake lets the first n that still wait be tried.
func (l *limits) wake(list *[]*waiter, n int) {
	for n > 0 && len(*list) > 0 {
		w := (*list)[0]
		*list = (*list)[1:]
		if !w.gone {
			w.gone = true
			delete(l.waiters, w.id)
			if l.hasten(w.id) {
				n--
			}
		}
	}
	if len(*list) == 0 {
		*list = nil
	}
}

// dead reports whether the destination is left alone for now, and why.
func (l *limits) dead(key string) (transport.Status, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.dest[key]
	if d == nil || !time.Now().Before(d.until) {
		return transport.Status{}, false
	}
	return d.why, true
}

// park lets a planned message wait for a place at the destination, or has it tried at once if there is one by now.
func (l *limits) park(key string, id sched.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(id)
	d := l.dest[key]
	room := l.newcomersMax - l.newcomers
	w := &waiter{id: id}
	switch {
	case d != nil && d.running >= min(d.window, d.limit):
		d.parked = append(d.parked, w)
		l.wake(&l.crowd, min(1, room)) // it was given a newcomer's place that it cannot use
	case d != nil && !d.proven && room <= 0:
		l.crowd = append(l.crowd, w)
	default:
		l.hasten(id)
		return
	}
	l.waiters[id] = w
}

// unpark is called when the message is tried.
func (l *limits) unpark(id sched.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(id)
}

func (l *limits) drop(id sched.ID) {
	if w := l.waiters[id]; w != nil {
		w.gone = true
		delete(l.waiters, id)
	}
}

// enter takes a place for a delivery that teaches nothing; leave gives it back.
func (l *limits) enter(key string, limit int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.at(key, limit)
	if d.running >= min(d.window, limit) {
		return false
	}
	d.running++
	return true
}

func (l *limits) leave(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.release(l.dest[key])
}

// busy is the number of destinations with deliveries or waiting messages.
func (l *limits) busy() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, d := range l.dest {
		if d.running > 0 || len(d.parked) > 0 {
			n++
		}
	}
	return n
}
