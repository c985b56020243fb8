package queue

import (
	"context"
	"time"

	"waybill/queue/spool"
	"waybill/transport/sysexits"
)

// Queue runs that anybody may ask for: a local user by sendmail -q, a client by ETRN. Each reads the whole queue directory
// and tries mail before its time, so that they come one after the other, some time apart, and leave alone what was tried
// a moment ago.
const (
	nudgeGap     = time.Second // between two of them
	nudgeRest    = time.Minute // a message is not tried more often
	nudgesInWait = 20          // more are refused
)

// nudges is who asks for queue runs now.
type nudges struct {
	turn chan struct{} // holds one: somebody's run
	wait chan struct{} // as many as may wait
	last time.Time     // the end of the last; whose turn it is may look
}

func newNudges() nudges {
	return nudges{turn: make(chan struct{}, 1), wait: make(chan struct{}, nudgesInWait)}
}

// Nudge is Flush for those who may not do what they like with the queue.
func (q *Queue) Nudge(ctx context.Context, s Selection) (int, error) {
	select {
	case q.nudges.wait <- struct{}{}:
		defer func() { <-q.nudges.wait }()
	default:
		return 0, &spool.RefusedError{Exit: sysexits.TempFail, Text: "too many queue runs are asked for; try again later"}
	}
	select {
	case q.nudges.turn <- struct{}{}:
		defer func() { q.nudges.last = time.Now(); <-q.nudges.turn }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if wait := nudgeGap - time.Since(q.nudges.last); !q.nudges.last.IsZero() && wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return q.flush(ctx, s, nudgeRest)
}
