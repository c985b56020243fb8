package queue

import (
	"container/heap"
	"context"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"waybill/queue/sched"
	"waybill/transport"
)

const (
	// firstWindow is how many deliveries a destination that we know nothing of gets at a time.
	firstWindow = 1
	// newcomerAfter is when a delivery to a destination that we know nothing of leaves its place to another newcomer, and
	// an attempt its place to another attempt: most hosts answer sooner.
	newcomerAfter = 250 * time.Millisecond
	// slowAfter is when a delivery no longer counts as one that will soon make room.
	slowAfter = time.Second
	// forgetAfter is how long the behaviour of a destination is remembered.
	forgetAfter = 15 * time.Minute
	// deadAfter is after how many failed connections in a row a destination is left alone for a while; after one that
	// took hangs or longer it is at once.
	deadAfter = 3
	hangs     = 10 * time.Second
	// slowest is how many deliveries that take long there may be beside the others, at least.
	slowest = 1000
)

// limits knows how each destination behaves, how many deliveries run to it, and which messages wait for one to end. One
// dead or slow destination does not delay another, because
//   - a destination has a window of deliveries, which grows with success and shrinks with trouble;
//   - destinations that have not shown yet that they answer share places of their own, half as many as there are for
//     those which do answer;
//   - a delivery that takes long gives its place back, and so does its attempt (see Queue.start), as long as there are
//     not too many of those;
//   - a destination that cannot be reached is not tried again for every message that waits for it.
type limits struct {
	newcomersMax int                    // places for destinations that have not answered yet
	slowMax      int                    // deliveries that have given their place back
	rest         time.Duration          // how long a dead destination is left alone
	hasten       func(id sched.ID) bool // tries a message now; called with mu held

	mu        sync.Mutex
	dest      map[string]*destination
	newcomers atomic.Int32
	slows     int
	crowd     waiting // for a newcomer's place
	waiters   map[sched.ID]*waiter
	leaves    int
}

// bound is what a destination may get: deliveries at a time, and in a time. rank is the place of who asks in the order.
type bound struct {
	limit int
	rate  sched.Rate
	rank  int64
}

type destination struct {
	running   int
	limit     int
	rate      sched.Rate
	bucket    sched.Bucket
	timer     *time.Timer // wakes those that wait because of the rate; nil: none is set
	wakes     time.Time   // when it does
	window    float64
	threshold float64 // up to this window it grows by one with each success, above by one in each round
	proven    bool    // it answered lately
	failures  int     // deliveries that failed for now, in a row
	trouble   int     // connections that failed, in a row
	died      time.Time
	shrunk    time.Time
	until     time.Time
	why       transport.Status
	used      time.Time
	parked    waiting
}

// places is how many deliveries the destination may have at a time now.
func (d *destination) places() int { return min(int(d.window), d.limit) }

// room reports whether there is a place for somebody of this rank: who waits already is woken first, and must not find
// that place taken.
func (d *destination) room(rank int64) bool {
	if d.running > 0 && d.parked.Len() > 0 && d.parked[0].rank < rank {
		return false
	}
	return d.running < d.places()
}

// ticket is a place at a destination.
type ticket struct {
	d        *destination
	since    time.Time
	newcomer bool // it takes one of the newcomers' places
	slow     bool // it counts in limits.slows
	ended    bool
}

func newLimits(deliveries int, rest time.Duration, hasten func(sched.ID) bool) *limits {
	return &limits{
		newcomersMax: max(1, deliveries/2), slowMax: slowMax(deliveries), rest: rest, hasten: hasten,
		dest: map[string]*destination{}, waiters: map[sched.ID]*waiter{},
	}
}

// slowMax is how many attempts, and deliveries, that take long may run beside the others.
func slowMax(deliveries int) int { return min(max(10*deliveries, slowest), descriptors()/4) }

func (l *limits) at(key string, b bound) *destination {
	d := l.dest[key]
	if d == nil {
		d = &destination{window: firstWindow, threshold: math.MaxInt32}
		if strings.HasSuffix(key, "\x00") { // no host: it is this machine
			d.window, d.proven = float64(b.limit), true
		}
		l.dest[key] = d
	}
	d.limit, d.rate = b.limit, b.rate
	d.used = time.Now()
	return d
}

// admit takes a place at the destination. It never waits; nil: there is none, see park.
func (l *limits) admit(key string, b bound) *ticket {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.take(key, b)
}

func (l *limits) take(key string, b bound) *ticket {
	d := l.at(key, b)
	if !d.room(b.rank) || !d.proven && int(l.newcomers.Load()) >= l.newcomersMax {
		return nil
	}
	if ok, wait := d.bucket.Take(d.rate, time.Now()); !ok {
		l.wakeLater(d, wait)
		return nil
	}
	d.running++
	t := &ticket{d: d, newcomer: !d.proven, since: time.Now()}
	if t.newcomer {
		l.newcomers.Add(1)
	} else if int(l.newcomers.Load()) < l.newcomersMax {
		l.wake(&l.crowd, 1) // if a newcomer's place was meant for this one, another can have it
	}
	return t
}

// wakeLater sets the timer of a destination whose rate is used up. An attempt comes a moment after the timer, so that the
// next one may come a moment too early: it must not wait for a whole turn again.
func (l *limits) wakeLater(d *destination, wait time.Duration) {
	at := time.Now().Add(wait)
	if d.timer != nil {
		if !at.Before(d.wakes) {
			return
		}
		d.timer.Stop()
	}
	d.wakes = at
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if d.timer != timer { // it was too late to stop this one
			return
		}
		d.timer = nil
		l.wake(&d.parked, 1)
		if d.parked.Len() > 0 { // the one that was woken may have gone: somebody must take its turn
			l.wakeLater(d, max(d.rate.Gap(), 10*time.Millisecond))
		}
	})
	d.timer = timer
}

// admitWait waits for a place, but not longer than patience. When ctx ends it takes one at once: the delivery will see
// that ctx has ended. nil: there was none.
func (l *limits) admitWait(ctx context.Context, key string, b bound, patience time.Duration) *ticket {
	t, w := l.admitOr(key, b)
	if t != nil {
		return t
	}
	over := time.NewTimer(patience)
	defer over.Stop()
	for {
		select {
		case <-w.ready:
		case <-ctx.Done():
			l.mu.Lock()
			defer l.mu.Unlock()
			l.withdraw(w)
			d := l.at(key, b)
			d.running++
			return &ticket{d: d, since: time.Now()}
		case <-over.C:
			l.mu.Lock()
			woken := !l.withdraw(w)
			l.mu.Unlock()
			if !woken {
				return nil
			}
			over.Reset(0) // the place that it was woken for is not lost
		}
		if t, w = l.admitOr(key, b); t != nil {
			return t
		}
	}
}

// admitOr takes a place, or one in the order of those that wait.
func (l *limits) admitOr(key string, b bound) (*ticket, *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.take(key, b); t != nil {
		return t, nil
	}
	d := l.at(key, b)
	w := &waiter{rank: b.rank, ready: make(chan struct{}), list: &d.parked}
	if room := l.newcomersMax - int(l.newcomers.Load()); d.room(b.rank) && d.timer == nil && !d.proven && room <= 0 {
		w.list = &l.crowd
	} else {
		l.wake(&l.crowd, min(1, room)) // it may have been given a newcomer's place that it cannot use
	}
	heap.Push(w.list, w)
	return nil, w
}

// withdraw takes a waiter out of the order; false: it was woken before. The caller holds the lock.
func (l *limits) withdraw(w *waiter) bool {
	select {
	case <-w.ready:
		return false
	default:
		heap.Remove(w.list, w.index)
		return true
	}
}

// long tells that the delivery has taken newcomerAfter: its place goes to another newcomer if there is room for one
// more that takes long.
func (l *limits) long(t *ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !t.ended && !t.slow && l.slows < l.slowMax {
		t.slow = true
		l.slows++
		l.giveUpPlace(t)
	}
}

// slow tells that the delivery takes longer than slowAfter: its destination is a newcomer again.
func (l *limits) slow(t *ticket) {
	l.long(t)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !t.ended {
		t.d.proven = false
	}
}

func (l *limits) giveUpPlace(t *ticket) {
	if t.newcomer {
		t.newcomer = false
		l.newcomers.Add(-1)
		l.wake(&l.crowd, 1)
	}
}

// done gives the place back, learns from how the delivery ended, and lets those try that may now.
func (l *limits) done(t *ticket, statuses []transport.Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := t.d
	t.ended = true
	if t.slow {
		l.slows--
	}
	took := time.Since(t.since)
	verdict, why := judge(statuses, took)
	d.failures++
	switch verdict {
	case answered:
		d.proven, d.trouble, d.until = true, 0, time.Time{}
		if len(statuses) == 0 || why.Outcome() != transport.Deferred {
			d.failures = 0
		}
		if d.window+1 <= d.threshold { // doubles in each round
			d.window++
		} else {
			d.window += 1 / d.window
		}
		d.window = min(d.window, float64(max(d.limit, 1)))
	case unreachable:
		d.trouble++
		d.shrink(t)
		if d.trouble >= deadAfter || took >= hangs {
			d.died = time.Now()
			d.until, d.why = d.died.Add(l.rest), why
		}
	case overloaded:
		d.shrink(t)
	}
	l.giveUpPlace(t)
	if time.Now().Before(d.until) {
		l.wake(&d.parked, d.parked.Len()) // they need not wait to hear the same
	}
	l.release(d)
}

// giveBack returns a place that was not used.
func (l *limits) giveBack(t *ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t.ended = true
	l.giveUpPlace(t)
	l.release(t.d)
}

// shrink halves the window, and lets it grow slowly from there. What began before the last time says nothing new.
func (d *destination) shrink(t *ticket) {
	if t.since.Before(d.shrunk) {
		return
	}
	d.shrunk = time.Now()
	d.window = max(1, math.Floor(d.window/2))
	d.threshold = max(2, d.window)
}

type behaviour uint8

const (
	answered behaviour = iota
	unreachable
	overloaded
)

// judge tells from the statuses of one delivery, and from how long it took, how the destination behaves.
func judge(statuses []transport.Status, took time.Duration) (behaviour, transport.Status) {
	for _, s := range statuses {
		code := s.Code()
		switch {
		case s.Outcome() != transport.Deferred:
			return answered, s
		case code == "4.4.1" && s.Reply == "", code == "4.4.2" && s.Reply == "" && took >= hangs: // no answer from the host (RFC 3463)
			return unreachable, s
		case strings.HasPrefix(code, "4.4."), strings.HasPrefix(s.Reply, "421"), code == "4.3.2", code == "4.7.0":
			return overloaded, s
		}
	}
	for _, s := range statuses {
		return answered, s
	}
	return answered, transport.Status{}
}

func (l *limits) release(d *destination) {
	d.running--
	d.used = time.Now()
	if l.leaves++; l.leaves%1000 == 0 {
		for key, d := range l.dest {
			if d.running == 0 && d.parked.Len() == 0 && d.timer == nil && time.Since(d.used) > forgetAfter {
				delete(l.dest, key)
			}
		}
	}
	l.wake(&d.parked, max(1, d.places()-d.running))
}

// wake lets the first n that still wait be tried.
func (l *limits) wake(list *waiting, n int) {
	for n > 0 && list.Len() > 0 {
		w := heap.Pop(list).(*waiter)
		if w.ready != nil {
			close(w.ready)
			n--
			continue
		}
		delete(l.waiters, w.id)
		if l.hasten(w.id) {
			n--
		}
	}
}

// dead reports whether the destination is left alone for now, and why. For an attempt that somebody has asked for, only
// what was found since then counts, but for as long as they ask.
func (l *limits) dead(key string, asked time.Time) (transport.Status, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.dest[key]
	switch {
	case d == nil || d.until.IsZero():
	case asked.IsZero() && time.Now().Before(d.until), !asked.IsZero() && d.died.After(asked):
		return d.why, true
	}
	return transport.Status{}, false
}

// park lets a planned message wait for a place at the destination, or has it tried at once if there is one by now.
func (l *limits) park(key string, id sched.ID, rank int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(id)
	d := l.dest[key]
	room := l.newcomersMax - int(l.newcomers.Load())
	w := &waiter{id: id, rank: rank}
	switch {
	case d != nil && (!d.room(rank) || d.timer != nil):
		w.list = &d.parked
		heap.Push(w.list, w)
		l.wake(&l.crowd, min(1, room)) // it was given a newcomer's place that it cannot use
	case d != nil && !d.proven && room <= 0:
		w.list = &l.crowd
		heap.Push(w.list, w)
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
		heap.Remove(w.list, w.index)
		delete(l.waiters, id)
	}
}

// failures is how many deliveries to a host have failed for now, in a row.
func (l *limits) failures(mailer, host string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := l.dest[destinationKey(mailer, host)]; d != nil {
		return d.failures
	}
	return 0
}

// waitsFor names the host for which a message waits: for a place at it, or for one of those for unknown hosts; empty:
// for nothing.
func (l *limits) waitsFor(id sched.ID) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.waiters[id]
	if w == nil {
		return ""
	}
	for key, d := range l.dest {
		if w.list == &d.parked {
			_, host, _ := strings.Cut(key, "\x00")
			return host
		}
	}
	return "a host that is not known yet"
}

// busy is the number of destinations with deliveries or waiting messages.
func (l *limits) busy() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, d := range l.dest {
		if d.running > 0 || d.parked.Len() > 0 {
			n++
		}
	}
	return n
}
