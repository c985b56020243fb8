// Package sched decides which queued message is tried next, and when. Ids with a time and a priority flow in; out come
// those that are due, the most urgent first. It reads no clock and touches no file: the caller says what time it is.
package sched

import (
	"container/heap"
	"time"
)

// AgePoint is the waiting time that outweighs one point of priority: a message of priority -60 that has been ready for
// an hour goes before an ordinary one that has just become ready. So nothing starves, however much urgent mail comes.
const AgePoint = time.Minute

// ID is a queue id.
type ID [14]byte

// Schedule holds the messages that wait. It takes some 120 octets for each. It is not safe for concurrent use. Make
// one with New.
type Schedule struct {
	base  time.Time
	items map[ID]*item
	later byTime // not due yet
	ready byRank // due
}

type item struct {
	id       ID
	priority int16
	isReady  bool
	index    int32 // in its heap
	due      int64 // nanoseconds since base
	rank     int64 // in ready: smaller goes first
}

// New returns an empty schedule. Times are kept relative to now: if now and the times given later carry Go's monotonic
// reading, as those made from time.Now do, a jump of the machine's clock changes nothing.
func New(now time.Time) *Schedule { return &Schedule{base: now, items: map[ID]*item{}} }

func (s *Schedule) at(t time.Time) int64 { return int64(t.Sub(s.base)) }

// Len is the number of messages that wait.
func (s *Schedule) Len() int { return len(s.items) }

// Ready is the number of messages that Next would return.
func (s *Schedule) Ready() int { return len(s.ready) }

// Set adds a message, or changes one that is there: it becomes due at the given time. Priorities go from -1000 to 1000.
func (s *Schedule) Set(id ID, due time.Time, priority int) {
	s.Remove(id)
	it := &item{id: id, due: s.at(due), priority: int16(max(-1000, min(1000, priority)))}
	s.items[id] = it
	heap.Push(&s.later, it)
}

// Has reports whether the message waits.
func (s *Schedule) Has(id ID) bool { return s.items[id] != nil }

// Due tells when a message is due.
func (s *Schedule) Due(id ID) (due time.Time, ok bool) {
	it := s.items[id]
	if it == nil {
		return time.Time{}, false
	}
	return s.base.Add(time.Duration(it.due)), true
}

// Hasten makes a message due at the given time unless it is due earlier. It reports whether the message is there.
func (s *Schedule) Hasten(id ID, due time.Time) bool {
	it := s.items[id]
	if it == nil {
		return false
	}
	if !it.isReady && s.at(due) < it.due {
		it.due = s.at(due)
		heap.Fix(&s.later, int(it.index))
	}
	return true
}

// Remove forgets a message.
func (s *Schedule) Remove(id ID) {
	it := s.items[id]
	if it == nil {
		return
	}
	delete(s.items, id)
	if it.isReady {
		heap.Remove(&s.ready, int(it.index))
	} else {
		heap.Remove(&s.later, int(it.index))
	}
}

// Next takes the most urgent message that is due out of the schedule.
func (s *Schedule) Next(now time.Time) (ID, bool) {
	for len(s.later) > 0 && s.later[0].due <= s.at(now) {
		it := heap.Pop(&s.later).(*item)
		// Ageing is linear, so the order of two ready messages never changes and one key says it.
		it.rank = it.due - int64(it.priority)*int64(AgePoint)
		it.isReady = true
		heap.Push(&s.ready, it)
	}
	if len(s.ready) == 0 {
		return ID{}, false
	}
	it := heap.Pop(&s.ready).(*item)
	delete(s.items, it.id)
	return it.id, true
}

// Wake is when the next message becomes due, at the earliest; false when none waits. It may lie in the past.
func (s *Schedule) Wake() (time.Time, bool) {
	switch {
	case len(s.ready) > 0:
		return s.base, true
	case len(s.later) > 0:
		return s.base.Add(time.Duration(s.later[0].due)), true
	}
	return time.Time{}, false
}

// Each calls f for every message, in no order.
func (s *Schedule) Each(f func(id ID, due time.Time)) {
	for id, it := range s.items {
		f(id, s.base.Add(time.Duration(it.due)))
	}
}

type byTime []*item

func (h byTime) Len() int           { return len(h) }
func (h byTime) Less(i, j int) bool { return h[i].due < h[j].due }
func (h byTime) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = int32(i), int32(j)
}
func (h *byTime) Push(x any) { it := x.(*item); it.index = int32(len(*h)); *h = append(*h, it) }
func (h *byTime) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return it
}

type byRank []*item

func (h byRank) Len() int           { return len(h) }
func (h byRank) Less(i, j int) bool { return h[i].rank < h[j].rank }
func (h byRank) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = int32(i), int32(j)
}
func (h *byRank) Push(x any) { it := x.(*item); it.index = int32(len(*h)); *h = append(*h, it) }
func (h *byRank) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return it
}
