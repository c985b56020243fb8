package smtpserver

import (
	"net/netip"
	"sync"
	"time"
)

// rates counts events of each client over a sliding window. Its memory is bounded: clients that were quiet for two
// windows are forgotten, and when there are too many that were not, new ones go uncounted rather than old ones free.
type rates struct {
	window time.Duration
	most   int // clients

	mu      sync.Mutex
	clients map[netip.Prefix]*rate
	swept   time.Time
}

// rate approximates a sliding window by two fixed ones: what happened in the one before counts by the part of it that
// the sliding window still covers.
type rate struct {
	start         time.Time
	before, since int
}

func newRates(window time.Duration) *rates {
	return &rates{window: window, most: 100_000, clients: make(map[netip.Prefix]*rate)}
}

// add counts n events now and returns how many there were within the window, these included. With n zero it only looks.
func (r *rates) add(client netip.Prefix, n int, now time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.clients[client]
	if c == nil {
		if n == 0 || !r.room(now) {
			return n
		}
		c = &rate{start: now}
		r.clients[client] = c
	}
	switch age := now.Sub(c.start); {
	case age >= 2*r.window:
		*c = rate{start: now}
	case age >= r.window:
		*c = rate{start: c.start.Add(r.window), before: c.since}
	}
	c.since += n
	covered := 1 - float64(now.Sub(c.start))/float64(r.window)
	return c.since + int(float64(c.before)*covered)
}

// room makes room for one more client.
func (r *rates) room(now time.Time) bool {
	if len(r.clients) >= r.most || now.Sub(r.swept) > 2*r.window {
		if now.Sub(r.swept) < r.window/60 {
			return false // swept a moment ago, and it did not help
		}
		r.swept = now
		for client, c := range r.clients {
			if now.Sub(c.start) >= 2*r.window {
				delete(r.clients, client)
			}
		}
	}
	return len(r.clients) < r.most
}

// exceeds counts n events of c's client and reports whether there were more than limit of them within the window. A
// limit of zero or less is none; trusted clients have none.
func (c *conn) exceeds(r *rates, n, limit int) bool {
	return limit > 0 && !c.trusted && r.add(c.group, n, time.Now()) > limit
}

// pace lets at most limit events a second pass, over all clients: it sleeps until the next one may.
type pace struct {
	limit int
	begin time.Time
	n     int
}

// wait returns how long to wait before the event, which it counts.
func (p *pace) wait(now time.Time) time.Duration {
	if p.limit <= 0 {
		return 0
	}
	if now.Sub(p.begin) >= time.Second {
		p.begin, p.n = now, 0
	}
	if p.n++; p.n <= p.limit {
		return 0
	}
	next := p.begin.Add(time.Second)
	p.begin, p.n = next, 1
	return next.Sub(now)
}
