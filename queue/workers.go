package queue

import "time"

// idleWorker is how long a goroutine waits for another attempt. One that has made an attempt has a stack of the right
// size: growing it anew for each message costs more than most of what an attempt does.
const idleWorker = time.Second

// spawn runs f beside its caller. It is counted in q.work already.
func (q *Queue) spawn(f func()) {
	select {
	case q.tasks <- f:
	default:
		go q.worker(f)
	}
}

// worker runs f, and what comes while it waits. It waits in a daemon only.
func (q *Queue) worker(f func()) {
	idle := time.NewTimer(idleWorker)
	defer idle.Stop()
	for {
		f()
		q.mu.Lock()
		daemon := q.runners > 0
		q.mu.Unlock()
		q.work.Done()
		if !daemon {
			return
		}
		idle.Reset(idleWorker)
		select {
		case f = <-q.tasks:
		case <-idle.C:
			return
		case <-q.stopped:
			return
		}
	}
}
