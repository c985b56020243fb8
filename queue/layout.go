package queue

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// logSegment is the largest size of a segment of the intake log, and minLogSegment the smallest that is worth it.
	logSegment    = 16 << 20
	minLogSegment = 1 << 20
	logSegments   = 16
	// logShare is the part of what is free on the file system that one segment may have.
	logShare = 64
	// readableAfter is the age at which a message of the log that nobody is delivering becomes a file.
	readableAfter = 10 * time.Second
)

// Lock takes the spool for this process, the daemon, until unlock, which comes after Close. With useLog, messages are
// taken into the intake log of the spool, which is several times faster than a file for each; where there is no room for
// one, or it cannot be made, the queue works with files as it does without useLog. What an earlier process left in a log
// is delivered in any case. spool.ErrBusy: another daemon has the spool.
func (q *Queue) Lock(useLog bool) (unlock func() error, err error) {
	if unlock, err = q.spool.Lock(); err != nil {
		return nil, err
	}
	if size := q.segmentSize(); useLog && size > 0 {
		if err = q.spool.StartLog(size, logSegments); err == nil {
			return unlock, nil
		}
		q.cfg.Log.Warn("there is no intake log: every message becomes a file at once", "err", err)
	}
	if err = q.spool.Recover(); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// segmentSize is the size of the log's segments; 0 where there is no room for a log.
func (q *Queue) segmentSize() uint32 {
	var st unix.Statfs_t
	if err := unix.Statfs(q.cfg.Dir, &st); err != nil {
		return 0
	}
	size := (st.Bavail*uint64(st.Bsize) + q.spool.LogSize()) / logShare
	if size < minLogSegment {
		q.cfg.Log.Info("the file system is too small for an intake log: every message becomes a file at once", "dir", q.cfg.Dir)
		return 0
	}
	return uint32(min(size/minLogSegment*minLogSegment, logSegment))
}

// settleLog makes files of what waits in the log, until ctx ends.
func (q *Queue) settleLog(ctx context.Context) {
	tick := time.NewTicker(readableAfter / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.stopped:
			return
		case <-tick.C:
			q.spool.SettleLog(readableAfter)
		}
	}
}

// recoverDead makes files of what a daemon that died has left in its log, if none runs: else nobody else would see it.
func (q *Queue) recoverDead() {
	if q.hasRunner() {
		return
	}
	if unlock, err := q.spool.LockDaemon(); err == nil {
		unlock()
	}
}
