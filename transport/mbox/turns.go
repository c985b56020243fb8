package mbox

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"waybill/transport/envelope"
	"waybill/transport/fromline"
	"waybill/transport/identity"
)

// How many messages one turn may write into a file, and for how long it goes on taking more: other programs want the
// lock, too.
const (
	maxBatch  = 100
	batchTime = 50 * time.Millisecond
)

// errTurn tells a waiter that it is its turn to take the locks.
var errTurn = errors.New("your turn")

// turns makes deliveries of this process to one file wait for each other in a line, in place of polling for each other's
// locks, and lets the one whose turn it is write the messages of those behind it, too.
type turns struct {
	mu    sync.Mutex
	lines map[fileKey][]*waiter // a key that is there has somebody whose turn it is
}

// fileKey is a file and the identity that writes it.
type fileKey struct {
	name     string
	uid, gid int
}

// waiter is one delivery in a line.
type waiter struct {
	job  *job
	ctx  context.Context
	body io.Reader
	size int64
	done chan error // errTurn, or what became of the message; holds one
}

// deliver appends body to the job's file as id.
func (m *Mbox) deliver(ctx context.Context, id *identity.ID, j *job, body envelope.Body) error {
	r, err := body.Open()
	if err != nil {
		return errors.Join(fromline.ErrRead, err)
	}
	defer r.Close()
	key := fileKey{name: j.name, uid: -1, gid: -1}
	if id != nil {
		key.uid, key.gid = id.UID, id.GID
	}
	w := &waiter{job: j, ctx: ctx, body: r, size: body.Size(), done: make(chan error, 1)}
	if err := m.turns.wait(key, w); !errors.Is(err, errTurn) {
		return err
	}
	work := func() error { return j.append(w, func() *waiter { return m.turns.next(key) }) }
	if id == nil {
		err = work()
	} else {
		err = identity.As(*id, work)
	}
	if errors.Is(err, errLocked) {
		m.turns.all(key, err) // they waited as long, and would wait as long again
	}
	m.turns.pass(key)
	return err
}

// wait returns errTurn when it is w's turn, or what became of w's message.
func (t *turns) wait(key fileKey, w *waiter) error {
	t.mu.Lock()
	line, busy := t.lines[key]
	if !busy {
		if t.lines == nil {
			t.lines = map[fileKey][]*waiter{}
		}
		t.lines[key] = nil
		t.mu.Unlock()
		return errTurn
	}
	t.lines[key] = append(line, w)
	t.mu.Unlock()
	select {
	case err := <-w.done:
		return err
	case <-w.ctx.Done():
	}
	t.mu.Lock()
	if at := slices.Index(t.lines[key], w); at >= 0 {
		t.lines[key] = slices.Delete(t.lines[key], at, at+1)
		t.mu.Unlock()
		return w.ctx.Err()
	}
	t.mu.Unlock()
	return <-w.done // it is being written, or it is our turn: both see that ctx has ended
}

// next takes the next one out of the line.
func (t *turns) next(key fileKey) *waiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	line := t.lines[key]
	if len(line) == 0 {
		return nil
	}
	t.lines[key] = line[1:]
	return line[0]
}

// all tells everybody in the line the same.
func (t *turns) all(key fileKey, err error) {
	for w := t.next(key); w != nil; w = t.next(key) {
		w.done <- err
	}
}

// pass ends a turn.
func (t *turns) pass(key fileKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	line := t.lines[key]
	if len(line) == 0 {
		delete(t.lines, key)
		return
	}
	t.lines[key] = line[1:]
	line[0].done <- errTurn
}
