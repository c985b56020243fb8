// Package spool keeps accepted messages on disk and loses none. Envelopes and messages flow in, from the queue and, in
// the drop directory and on the hand-over socket, from front ends that run as other users; the queue takes them out
// again. The states of a message, the one operation between any two of them, the file format and the protocol of the
// hand-over are in README.md beside this file.
//
// The front end links this package and must start in a millisecond: nothing here imports more than the standard
// library's files and sockets and x/sys.
package spool

import (
	"errors"
	"path/filepath"
)

const (
	dropDir    = "drop"
	queueDir   = "queue"
	holdDir    = "hold"
	badDir     = "bad"
	lockName   = "lock"
	socketName = "submit.sock"
)

var (
	// ErrNoDaemon means that nobody answers on the socket: nothing was read from the message yet, and it can be dropped.
	ErrNoDaemon = errors.New("no daemon answers")
	// ErrBroken means that the connection ended before the daemon's last word: it may have accepted the message or not.
	ErrBroken = errors.New("the connection to the daemon broke before its answer")
	// ErrDamaged means that a file is not what was once written.
	ErrDamaged = errors.New("damaged")
	// ErrBusy means that another process holds the lock.
	ErrBusy = errors.New("locked by another process")
	// ErrGone means that the message is no longer there.
	ErrGone = errors.New("no such message")
)

// DropPath is the directory below spool dir in which front ends leave mail when no daemon answers: what to watch.
func DropPath(dir string) string { return filepath.Join(dir, dropDir) }
