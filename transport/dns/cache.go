package dns

import (
	"container/list"
	"sync"
	"time"
)

// cache keeps the answers that were used last, up to a number, until their time to live ends. A nil cache keeps none.
type cache struct {
	mu    sync.Mutex
	most  int
	byKey map[key]*list.Element
	order *list.List // front: used last
}

type cached struct {
	key   key
	ans   answer
	err   error // a failure is kept, too, for a moment (RFC 9520)
	until time.Time
}

func newCache(most int) *cache {
	return &cache{most: most, byKey: map[key]*list.Element{}, order: list.New()}
}

func (c *cache) get(k key, now time.Time) (a answer, err error, ok bool) {
	if c == nil {
		return answer{}, nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[k]
	if e == nil {
		return answer{}, nil, false
	}
	entry := e.Value.(*cached)
	if !now.Before(entry.until) {
		c.order.Remove(e)
		delete(c.byKey, k)
		return answer{}, nil, false
	}
	c.order.MoveToFront(e)
	return entry.ans, entry.err, true
}

// keepFailure is how long a failure is kept: long enough for the many who ask at once, and gone before a message is
// tried again. RFC 9520 3.2 asks for a second at least.
const keepFailure = time.Second

func (c *cache) put(k key, a answer, err error, now time.Time) {
	if err != nil {
		a.ttl = keepFailure
	}
	if c == nil || a.ttl <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byKey[k]; e != nil {
		e.Value = &cached{k, a, err, now.Add(a.ttl)}
		c.order.MoveToFront(e)
		return
	}
	c.byKey[k] = c.order.PushFront(&cached{k, a, err, now.Add(a.ttl)})
	for c.order.Len() > c.most {
		oldest := c.order.Back()
		c.order.Remove(oldest)
		delete(c.byKey, oldest.Value.(*cached).key)
	}
}
