package sched

import "time"

// Rate is a number of events in a time. The zero Rate is no limit.
type Rate struct {
	N   int
	Per time.Duration
}

// Limited reports whether r limits anything.
func (r Rate) Limited() bool { return r.N > 0 && r.Per > 0 }

// Gap is the time between two events that are spread evenly.
func (r Rate) Gap() time.Duration {
	if !r.Limited() {
		return 0
	}
	return r.Per / time.Duration(r.N)
}

// Bucket lets events pass at a rate: evenly spread, but what was saved in a second of silence may come at once. The
// zero Bucket is full.
type Bucket struct{ next time.Time }

// Take reports whether an event may happen now, and counts it; otherwise it says when the next one may.
func (b *Bucket) Take(r Rate, now time.Time) (ok bool, wait time.Duration) {
	gap := r.Gap()
	if gap == 0 {
		return true, 0
	}
	if slack := now.Add(-max(0, time.Second-gap)); b.next.Before(slack) {
		b.next = slack
	}
	if wait := b.next.Sub(now); wait > 0 {
		return false, wait
	}
	b.next = b.next.Add(gap)
	return true, 0
}
