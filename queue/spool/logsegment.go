package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

const (
	// firstSegments is how many there are at first.
	firstSegments = 2
	// restAfter is how long nothing happens before the files are closed.
	restAfter = time.Second
)

// segment is one file of the log, written once from its beginning and then used again.
type segment struct {
	name    string
	file    File   // nil while nothing happens
	size    uint32 // of the file
	epoch   uint64 // of its present use
	end     uint32 // where the next record goes
	synced  uint32 // messages before it are durable
	before  uint32 // where the segment of the epoch before ended, all of it durable; 0: not known
	live    int    // messages in it that are not done, and damaged parts that could not be set aside
	full    bool   // nothing more is written to it
	failed  bool   // a write or a sync of it failed
	writers int    // of notes
}

// room is how much can still be written. It is 0 for a segment of an earlier process, which ends somewhere.
func (s *segment) room() int {
	if s.full {
		return 0
	}
	return int(s.size - s.end)
}

// last is the segment that is written to; nil: none yet. l.mu is held.
func (l *intakeLog) last() *segment {
	if len(l.segs) == 0 {
		return nil
	}
	return l.segs[len(l.segs)-1]
}

// current is the segment to write to, with room for need octets. l.mu is held, and let go while a disk is waited for; it
// is our turn.
func (l *intakeLog) current(need int) (*segment, error) {
	last := l.last()
	if last != nil && last.room() >= need {
		return last, l.open(last)
	}
	// What notes are in the full segment becomes durable before any segment is used again.
	if last != nil {
		for last.writers > 0 {
			l.idle.Wait()
		}
		l.settle()
	}
	// Segments are freed in their order: a younger one has the marks of the older.
	for len(l.segs) > 0 && l.segs[0].live == 0 {
		seg := l.segs[0]
		l.segs = l.segs[1:]
		if seg.size != l.size {
			l.discard(seg)
			continue
		}
		l.free = append(l.free, seg)
	}
	for l.growing && len(l.free) == 0 {
		l.idle.Wait()
	}
	if len(l.segs) > 0 && len(l.segs) >= l.most/2 && l.pressed != l.segs[0].epoch && l.pressure != nil {
		l.pressed = l.segs[0].epoch
		l.pressing++
		go l.press(l.pressed)
	}
	if len(l.free) == 0 {
		if len(l.segs) >= l.most {
			return nil, errLogFull
		}
		n := l.next
		l.next++
		l.mu.Unlock()
		seg, err := l.grow(n)
		l.mu.Lock()
		if err != nil {
			return nil, err
		}
		l.free = append(l.free, seg)
	}
	seg := l.free[0]
	if err := l.open(seg); err != nil {
		return nil, err
	}
	l.free = l.free[1:]
	before := uint32(0)
	if last != nil && last.epoch == l.epoch && !last.failed {
		before = last.end
	}
	l.epoch++
	seg.epoch, seg.end, seg.synced, seg.live, seg.full, seg.failed, seg.before = l.epoch, 0, 0, 0, false, false, before
	l.segs = append(l.segs, seg)
	return seg, nil
}

// press has the messages of the segment of epoch moved away. close waits for it: who uses the spool next must not find
// files coming into it that were begun before.
func (l *intakeLog) press(epoch uint64) {
	l.pressure(epoch)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pressing--
	l.idle.Broadcast()
}

// open opens the segment's file if it is closed. l.mu is held.
func (l *intakeLog) open(seg *segment) (err error) {
	if seg.file == nil {
		seg.file, err = l.fs.Open(seg.name, true)
	}
	return err
}

// discard removes a segment that nothing needs, and that has not the right size. l.mu is held.
func (l *intakeLog) discard(seg *segment) {
	if seg.file != nil {
		seg.file.Close()
		seg.file = nil
	}
	if err := l.fs.Remove(seg.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.log.Warn("a segment of the intake log cannot be removed", "file", seg.name, "err", err)
	}
}

// grow makes segment file n. It is written through with zeros first: only then does a later fdatasync have nothing to do
// but to write the octets.
func (l *intakeLog) grow(n int) (*segment, error) {
	name := filepath.Join(l.dir, fmt.Sprintf("%04d", n))
	f, err := l.fs.Create(name, 0o600)
	if err != nil {
		return nil, err
	}
	zero := make([]byte, 1<<20)
	for off := int64(0); err == nil && off < int64(l.size); off += int64(len(zero)) {
		_, err = f.WriteAt(zero[:min(int64(len(zero)), int64(l.size)-off)], off)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = l.fs.SyncDir(l.dir)
	}
	if err != nil {
		f.Close()
		return nil, errors.Join(err, l.fs.Remove(name)) // a full disk gets back what was taken
	}
	return &segment{name: name, file: f, size: l.size}, nil
}

// growAhead makes one more segment while there is still one to write to: when that is half full, and the oldest will not
// be free by the end of it. l.mu is held.
func (l *intakeLog) growAhead(seg *segment) {
	if l.growing || l.closing || l.choked || len(l.free) > 0 || len(l.segs) >= l.most || seg.end < l.size/2 || len(l.segs) > 1 && l.segs[0].live == 0 {
		return
	}
	l.growing = true
	n := l.next
	l.next++
	go func() {
		seg, err := l.grow(n)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.growing = false
		l.idle.Broadcast()
		if err != nil {
			l.log.Warn("the intake log cannot grow", "err", err)
			return
		}
		l.free = append(l.free, seg)
	}()
}

// touch notes that something was written, so that the files stay open. l.mu is held.
func (l *intakeLog) touch() {
	l.used = time.Now()
	if l.resting == nil && !l.closing {
		l.resting = time.AfterFunc(restAfter, l.closeIdle)
	}
}

// closeIdle closes the files if nothing happens: an open file keeps a file system from being remounted read-only.
func (l *intakeLog) closeIdle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resting = nil
	if l.closing {
		return
	}
	wait := restAfter - time.Since(l.used)
	if wait <= 0 && !l.busy && !l.marking && !l.growing && !l.dirty && len(l.notes) == 0 {
		l.closeFiles()
		return
	}
	l.resting = time.AfterFunc(max(wait, restAfter/10), l.closeIdle)
}

// closeFiles closes the files of all segments. l.mu is held.
func (l *intakeLog) closeFiles() {
	for _, list := range [][]*segment{l.segs, l.free} {
		for _, seg := range list {
			if seg.file != nil {
				seg.file.Close()
				seg.file = nil
			}
		}
	}
}
