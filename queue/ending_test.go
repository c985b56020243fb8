package queue

import (
	"testing"
	"time"

	"waybill/queue/spool"
)

// A message that becomes due while its attempt is ending, because a place at its destination became free at that moment,
// is not forgotten.
func TestDueWhileItsAttemptEnds(t *testing.T) {
	r := newRig(t)
	defer r.closeQueue()
	id := schedID(new(spool.IDs).New(time.Now()))
	r.q.mu.Lock()
	r.q.running[id] = true
	r.q.forced[id] = time.Now()
	r.q.schedule.Set(id, time.Now().Add(-time.Second), 0)
	r.q.mu.Unlock()
	if wait := r.q.startDue(); wait > time.Second {
		t.Errorf("nothing is due for %v", wait)
	}
	r.q.mu.Lock()
	defer r.q.mu.Unlock()
	if _, forced := r.q.forced[id]; !forced || !r.q.schedule.Has(id) {
		t.Errorf("planned %t, forced %t", r.q.schedule.Has(id), forced)
	}
	delete(r.q.running, id)
}
