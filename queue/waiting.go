package queue

import "waybill/queue/sched"

// waiter is a message that waits for a place, in one list: one of the schedule, or one whose goroutine waits.
type waiter struct {
	id    sched.ID
	ready chan struct{} // closed when its turn comes; nil: it is one of the schedule
	rank  int64         // smaller goes first: urgent ones, and those that have waited long
	list  *waiting
	index int // in its list
}

// waiting is a heap of those that wait for the same.
type waiting []*waiter

func (h waiting) Len() int           { return len(h) }
func (h waiting) Less(i, j int) bool { return h[i].rank < h[j].rank }
func (h waiting) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for package heap.
func (h *waiting) Push(x any) { w := x.(*waiter); w.index = len(*h); *h = append(*h, w) }

// Pop is for package heap.
func (h *waiting) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return w
}
