package queue

import "context"

// Settle waits until nothing runs any more: deliveries in the background, and those of the notices that they made. It
// is for a program that takes one message and ends: Close would keep those notices from beginning. Nothing else may
// hand messages to the queue meanwhile.
func (q *Queue) Settle(ctx context.Context) {
	done := make(chan struct{})
	go func() { q.work.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}
