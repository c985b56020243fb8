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
	until time.Time
}

func newCache(most int) *cache {
	return &cache{most: most, byKey: map[key]*list.Element{}, order: list.New()}
}

func (c *cache) get(k key, now time.Time) (answer, bool) {
	if c == nil {
		return answer{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[k]
	if e == nil {
		return answer{}, false
	}
	entry := e.Value.(*cached)
	if !now.Before(entry.until) {
		c.order.Remove(e)
		delete(c.byKey, k)
		return answer{}, false
	}
	c.order.MoveToFront(e)
	return entry.ans, true
}

func (c *cache) put(k key, a answer, now time.Time) {
	if c == nil || a.ttl <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byKey[k]; e != nil {
		e.Value = &cached{k, a, now.Add(a.ttl)}
		c.order.MoveToFront(e)
		return
	}
	c.byKey[k] = c.order.PushFront(&cached{k, a, now.Add(a.ttl)})
	for c.order.Len() > c.most {
		oldest := c.order.Back()
		c.order.Remove(oldest)
		delete(c.byKey, oldest.Value.(*cached).key)
	}
}
