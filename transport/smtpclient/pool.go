package smtpclient

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// pool keeps connections that have nothing to do at the moment, and limits how many are at work with one host.
//
// A connection is in one of three places: with the delivery that opened or took it, here, or saying good-bye. It comes
// here only at rest: between two transactions, with nothing unread that we know of. The peer may close it meanwhile;
// the delivery that takes it notices at MAIL, before anything was promised, and opens a new one.
type pool struct {
	most    int           // idle connections altogether; 0: none is kept
	wait    time.Duration // an idle connection is closed after this
	perHost int           // deliveries at work with one host; 0: no limit
	bye     func(*session)

	mu     sync.Mutex
	closed bool
	idle   map[string][]*session // by key, used last at the end
	order  *list.List            // of *session, idle longest at the front
	gates  map[string]*gate
}

// gate lets perHost deliveries in. users counts those who are in or wait: the gate is forgotten when it is 0.
type gate struct {
	slots chan struct{}
	users int
}

func newPool(most, perHost int, wait time.Duration, bye func(*session)) *pool {
	return &pool{most: most, wait: wait, perHost: perHost, bye: bye, idle: map[string][]*session{}, order: list.New(), gates: map[string]*gate{}}
}

// enter waits until another delivery to the host may start, and returns what ends it.
func (p *pool) enter(ctx context.Context, host string) (leave func(), err error) {
	if p.perHost <= 0 {
		return func() {}, nil
	}
	p.mu.Lock()
	g := p.gates[host]
	if g == nil {
		g = &gate{slots: make(chan struct{}, p.perHost)}
		p.gates[host] = g
	}
	g.users++
	p.mu.Unlock()
	gone := func() {
		p.mu.Lock()
		if g.users--; g.users == 0 {
			delete(p.gates, host)
		}
		p.mu.Unlock()
	}
	select {
	case g.slots <- struct{}{}:
		return func() { <-g.slots; gone() }, nil
	case <-ctx.Done():
		gone()
		return nil, context.Cause(ctx)
	}
}

// take returns an idle connection that fulfils a demand, or nil.
func (p *pool) take(key, print string) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	sessions := p.idle[key]
	for i := len(sessions) - 1; i >= 0; i-- { // the one used last has the best chance to be alive
		if s := sessions[i]; s.print == print {
			p.forget(s)
			return s
		}
	}
	return nil
}

// rank is 1 when an idle connection to the host is there, otherwise 0.
func (p *pool) rank(key string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return min(1, len(p.idle[key]))
}

// park keeps s for the next one who wants it; false means that there is no place for it.
func (p *pool) park(s *session) bool {
	p.mu.Lock()
	if p.closed || p.most <= 0 {
		p.mu.Unlock()
		return false
	}
	var out *session
	if p.order.Len() >= p.most {
		out = p.order.Front().Value.(*session)
		p.forget(out)
	}
	p.idle[s.key] = append(p.idle[s.key], s)
	s.place = p.order.PushBack(s)
	s.timer = time.AfterFunc(p.wait, func() { p.expire(s) })
	if out != nil {
		p.bye(out)
	}
	p.mu.Unlock()
	return true
}

func (p *pool) expire(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.place != nil {
		p.forget(s)
		p.bye(s) // it does not wait; with the lock held, Close waits for it
	}
}

// forget takes s out of the books. The caller holds the lock.
func (p *pool) forget(s *session) {
	s.timer.Stop()
	p.order.Remove(s.place)
	s.place = nil
	sessions := p.idle[s.key]
	for i, other := range sessions {
		if other == s {
			sessions = append(sessions[:i], sessions[i+1:]...)
			break
		}
	}
	if len(sessions) == 0 {
		delete(p.idle, s.key)
	} else {
		p.idle[s.key] = sessions
	}
}

// youngest takes the connection that was used last, or nil.
func (p *pool) youngest() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.order.Len() == 0 {
		return nil
	}
	s := p.order.Back().Value.(*session)
	p.forget(s)
	return s
}

// close ends all idle connections and takes no more.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	var all []*session
	for p.order.Len() > 0 {
		s := p.order.Front().Value.(*session)
		p.forget(s)
		all = append(all, s)
	}
	p.mu.Unlock()
	for _, s := range all {
		p.bye(s)
	}
}
