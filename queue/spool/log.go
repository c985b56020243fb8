package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// The intake log: README.md, "The log". Who finds nobody writing writes, for himself and for all who come meanwhile: one
// write and one fdatasync for a batch. Then the first of those who came during the sync does the same. What is noted
// about messages (lognote.go) is written beside that.

const (
	logDir   = "log"
	maxBatch = 4 << 20
)

// errLogFull means that every segment holds messages that are not delivered yet.
var errLogFull = errors.New("the intake log is full")

// intakeLog is the log of a running daemon.
type intakeLog struct {
	fs   FS
	dir  string
	log  *slog.Logger
	size uint32 // of a segment
	most int    // segments

	mu      sync.Mutex
	idle    *sync.Cond // nobody writes, or a segment was made
	busy    bool       // somebody writes a batch or changes segments
	waiting []*appending
	// gathering says when the next batch begins.
	gathering gathering
	closing   bool
	choked    bool // its messages cannot become files: it takes no more of them
	buf       []byte

	notes    []note
	marking  bool // somebody writes notes
	noteBuf  []byte
	dirty    bool // notes of the last segment are not synced
	settling bool // syncNotes is planned
	tired    bool // notes could not be written a moment ago

	segs    []*segment // in use, the oldest first; the last is being written
	free    []*segment // the oldest first
	next    int        // the next file's number
	epoch   uint64
	growing bool
	used    time.Time   // when something was last written
	resting *time.Timer // closes the files when nothing happens
	// pressure is called, in a goroutine of its own, when only moving the messages of the oldest segment away would
	// make room.
	pressure func(epoch uint64)
	pressed  uint64
	pressing int // calls of pressure that go on
}

// appending is a message that waits to be written.
type appending struct {
	id      string
	data    []byte
	sum     uint32
	slot    slot
	err     error
	written bool
	lead    bool          // it is to write the next batch itself
	done    chan struct{} // closed when it is written, or is to lead
}

// looksLikeRecords tells whether a part of data would be taken for the head of a record, where it lies at a sector's
// beginning: by somebody who wants the messages behind it to be lost in a recovery. Such a message becomes a file.
func looksLikeRecords(data []byte) bool {
	for at := sector - recordHeader; at+len(recordMagic) <= len(data); at += sector {
		if [4]byte(data[at:at+4]) == recordMagic {
			return true
		}
	}
	return false
}

// append writes a message and returns when it is durable.
func (l *intakeLog) append(id string, data []byte) (slot, error) {
	a := &appending{id: id, data: data, sum: Checksum(0, data)}
	l.mu.Lock()
	if l.closing || l.choked || recordSize(len(data)) > int(l.size)/4 || looksLikeRecords(data) {
		l.mu.Unlock()
		return slot{}, errLogFull
	}
	l.waiting = append(l.waiting, a)
	now := !l.busy && !l.gather() || l.gathered()
	l.busy = true
	if !now {
		a.done = make(chan struct{})
		l.mu.Unlock()
		<-a.done
		if !a.lead {
			return a.slot, a.err
		}
		l.mu.Lock()
	}
	for !a.written {
		l.batchOut()
	}
	l.yield()
	l.mu.Unlock()
	return a.slot, a.err
}

// choke tells whether a message of the log could become a file. While none can, for want of room or of inodes, the log
// takes nothing new: what comes is to be a file at once, and is refused if it cannot be one.
func (l *intakeLog) choke(err error) {
	l.mu.Lock()
	l.choked = err != nil
	l.mu.Unlock()
}

// yield ends a turn of writing: who waits takes it over. l.mu is held.
func (l *intakeLog) yield() {
	l.idle.Broadcast()
	switch {
	case len(l.waiting) == 0:
		l.busy = false
	case !l.gather():
		l.lead()
	}
}

// lead has the first of those that wait write the next batch. l.mu is held.
func (l *intakeLog) lead() {
	next := l.waiting[0]
	next.lead = true
	close(next.done)
}

// turn waits for the right to write batches and to change segments; yield ends it. l.mu is held.
func (l *intakeLog) turn() {
	for l.busy {
		l.idle.Wait()
	}
	l.busy = true
}

// batchOut writes one batch. l.mu is held, and let go meanwhile; it is our turn.
func (l *intakeLog) batchOut() {
	seg, err := l.current(recordSize(len(l.waiting[0].data)))
	if err != nil {
		failed := l.waiting
		l.waiting = nil
		finish(failed, err)
		return
	}
	off := seg.end
	batch := l.fill(seg)
	buf := l.buf
	l.growAhead(seg)
	l.dirty = false // notes that are there already are synced with the batch
	l.mu.Unlock()

	began := time.Now()
	_, err = seg.file.WriteAt(buf, int64(off))
	if err == nil {
		err = seg.file.Datasync()
	}
	l.mu.Lock()
	l.touch()
	l.gathering.batch(len(batch), len(l.waiting), time.Since(began))
	if err != nil {
		l.broken(seg, off, buf, batch, err)
	} else {
		seg.synced = off + uint32(len(buf))
	}
	finish(batch, err)
}

func finish(batch []*appending, err error) {
	for _, a := range batch {
		a.err, a.written = err, true
		if a.done != nil && !a.lead {
			close(a.done)
		}
	}
}

// fill renders what waits into l.buf, as much as fits, and takes the place for it. l.mu is held.
func (l *intakeLog) fill(seg *segment) []*appending {
	room := min(maxBatch, int(l.size-seg.end))
	buf := l.buf[:0]
	n := 0
	for _, a := range l.waiting {
		if n > 0 && len(buf)+recordSize(len(a.data)) > room {
			break
		}
		a.slot = slot{seg.epoch, seg.end + uint32(len(buf)), uint32(len(a.data))}
		buf = appendSummed(buf, seg, kindMessage, a.id, a.data, a.sum)
		n++
	}
	batch := l.waiting[:n:n]
	l.waiting = append([]*appending(nil), l.waiting[n:]...)
	l.buf = buf
	seg.end += uint32(len(buf))
	seg.live += n
	return batch
}

// broken deals with a batch that could not be written or synced: nobody is told that it is safe, and nothing is
// written to that segment any more. Its octets may be on the disk all the same: they are overwritten, as far as the
// disk still takes anything, and marked as done, so that a restart does not deliver what was refused. l.mu is held.
func (l *intakeLog) broken(seg *segment, off uint32, buf []byte, batch []*appending, err error) {
	l.log.Error("the intake log cannot be written", "file", seg.name, "err", err)
	clear(buf)
	if _, werr := seg.file.WriteAt(buf, int64(off)); werr == nil {
		seg.file.Datasync()
	}
	seg.full, seg.failed = true, true
	for _, a := range batch {
		l.notes = append(l.notes, note{slot: a.slot, done: true})
	}
	seg.live -= len(batch)
	l.rest()
}

// file opens the segment of the message at s.
func (l *intakeLog) file(id string, s slot) (File, error) {
	l.mu.Lock()
	name := ""
	for _, seg := range l.segs {
		if seg.epoch == s.epoch {
			name = seg.name
		}
	}
	l.mu.Unlock()
	if name == "" {
		return nil, fmt.Errorf("log segment of message %s: %w", id, ErrGone)
	}
	return l.fs.Open(name, false)
}

// read returns a reader of the message at s: a file to close, and where in it the message begins.
func (l *intakeLog) read(id string, s slot) (File, int64, error) {
	f, err := l.file(id, s)
	if err != nil {
		return nil, 0, err
	}
	var h [recordHeader]byte
	_, err = f.ReadAt(h[:], int64(s.off))
	if err == nil {
		if r, _, ok := readHeader(h[:], s.off); !ok || r.id != id || r.slot != s {
			err = fmt.Errorf("log record of message %s: %w", id, ErrDamaged)
		}
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, int64(s.off) + recordHeader, nil
}

// close writes what waits and ends the log.
func (l *intakeLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closing = true
	for l.busy || l.growing || l.marking || l.pressing > 0 {
		l.idle.Wait()
	}
	for try := 0; try < 3 && len(l.notes) > 0; try++ { // a segment that failed is followed by another
		l.tired, l.marking = false, true
		l.writeNotes()
	}
	l.settle()
	if l.resting != nil {
		l.resting.Stop()
	}
	l.closeFiles()
}
