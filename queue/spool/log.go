package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"
)

// The intake log: README.md, "The log". Who finds nobody writing writes, for himself and for all who come meanwhile: one
// write and one fdatasync for a batch. Then the first of those who came during the sync does the same.

const (
	logDir       = "log"
	sector       = 512 // records begin at multiples of it; a disk writes it whole or not at all
	recordHeader = 64
	kindMessage  = 1
	kindDone     = 2
	doneEntry    = 12
	maxBatch     = 4 << 20
	// markAfter is how long a done-mark waits for a batch to go with. A process that is killed meanwhile has the message
	// delivered twice.
	markAfter = 2 * time.Millisecond
)

var recordMagic = [4]byte{'W', 'B', 'L', '1'}

// errLogFull means that every segment holds messages that are not delivered yet.
var errLogFull = errors.New("the intake log is full")

// slot is where a record is.
type slot struct {
	epoch uint64
	off   uint32
	size  uint32 // of the payload
}

// record is one record as it was read.
type record struct {
	slot
	kind  byte
	batch uint64
	id    string
	data  []byte
}

// appendRecord renders a record, padded to whole sectors.
func appendRecord(b []byte, epoch, batch uint64, kind byte, id string, data []byte) []byte {
	start := len(b)
	var h [recordHeader]byte
	copy(h[0:4], recordMagic[:])
	binary.LittleEndian.PutUint64(h[8:], epoch)
	binary.LittleEndian.PutUint64(h[16:], batch)
	binary.LittleEndian.PutUint32(h[24:], uint32(len(data)))
	binary.LittleEndian.PutUint32(h[28:], crc32.Checksum(data, castagnoli))
	h[32] = kind
	copy(h[33:47], id)
	binary.LittleEndian.PutUint32(h[4:], crc32.Checksum(h[8:], castagnoli))
	b = append(b, h[:]...)
	b = append(b, data...)
	if pad := (len(b) - start) % sector; pad > 0 {
		b = append(b, make([]byte, sector-pad)...)
	}
	return b
}

func recordSize(data int) int { return (recordHeader + data + sector - 1) / sector * sector }

// readRecord reads the record at off of a segment's text. ok: there is a header; whole: what it says is there, too.
func readRecord(text []byte, off int) (r record, ok, whole bool) {
	if off+recordHeader > len(text) {
		return r, false, false
	}
	h := text[off : off+recordHeader]
	if [4]byte(h[:4]) != recordMagic || binary.LittleEndian.Uint32(h[4:]) != crc32.Checksum(h[8:], castagnoli) {
		return r, false, false
	}
	size := binary.LittleEndian.Uint32(h[24:])
	r = record{slot: slot{binary.LittleEndian.Uint64(h[8:]), uint32(off), size}, kind: h[32], batch: binary.LittleEndian.Uint64(h[16:]), id: string(h[33:47])}
	end := int64(off) + recordHeader + int64(size)
	if end > int64(len(text)) {
		return r, true, false
	}
	r.data = text[off+recordHeader : end]
	return r, true, crc32.Checksum(r.data, castagnoli) == binary.LittleEndian.Uint32(h[28:])
}

// segment is one file of the log, written once from its beginning and then used again.
type segment struct {
	file  File
	name  string
	epoch uint64 // of its present use; 0: free
	end   uint32
	live  int // messages in it that are not done
}

// intakeLog is the log of a running daemon.
type intakeLog struct {
	fs   FS
	dir  string
	log  *slog.Logger
	size uint32 // of a segment
	most int    // segments

	mu      sync.Mutex
	idle    *sync.Cond // nobody writes
	busy    bool       // somebody does
	waiting []*appending
	marks   []slot
	soon    bool // flushMarks is planned
	settle  bool // syncMarks is
	tired   bool // the marks could not be written a moment ago
	closing bool
	growing bool
	buf     []byte     // of whoever writes
	segs    []*segment // in use, the oldest first; the last is being written
	free    []*segment
	epoch   uint64
	batch   uint64
	files   int
	// pressure is called, in a goroutine of its own, when only moving the messages of the oldest segment away would
	// make room.
	pressure func(epoch uint64)
	pressed  uint64
}

// appending is a message that waits to be written.
type appending struct {
	id      string
	data    []byte
	slot    slot
	err     error
	written bool
	lead    bool          // it is to write the next batch itself
	done    chan struct{} // closed when it is written, or is to lead
}

func newIntakeLog(fsys FS, dir string, log *slog.Logger, size uint32, most int, epoch uint64, pressure func(uint64)) (*intakeLog, error) {
	l := &intakeLog{fs: fsys, dir: dir, log: log, size: size, most: most, epoch: epoch, pressure: pressure}
	l.idle = sync.NewCond(&l.mu)
	for range 2 {
		seg, err := l.grow(l.files)
		if err != nil {
			l.closeFiles()
			return nil, err
		}
		l.files++
		l.free = append(l.free, seg)
	}
	return l, nil
}

// grow makes segment file n, or takes it over. It is written through with zeros first: only then does a later fdatasync
// have nothing to do but to write the octets.
func (l *intakeLog) grow(n int) (*segment, error) {
	name := filepath.Join(l.dir, fmt.Sprintf("%04d", n))
	f, err := l.fs.Open(name, true)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = l.fs.Create(name, 0o600)
	}
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	zero := make([]byte, 1<<20)
	for off := st.Size; err == nil && off < int64(l.size); off += int64(len(zero)) {
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
		return nil, err
	}
	return &segment{file: f, name: name}, nil
}

// growAhead makes one more segment while there is still one to write to. l.mu is held.
func (l *intakeLog) growAhead() {
	if l.growing || l.closing || len(l.free) > 0 || l.files >= l.most {
		return
	}
	l.growing = true
	n := l.files
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
		l.files++
		l.free = append(l.free, seg)
	}()
}

// append writes a message and returns when it is durable.
func (l *intakeLog) append(id string, data []byte) (slot, error) {
	a := &appending{id: id, data: data, done: make(chan struct{})}
	l.mu.Lock()
	if l.closing || recordSize(len(data)) > int(l.size)/4 {
		l.mu.Unlock()
		return slot{}, errLogFull
	}
	l.waiting = append(l.waiting, a)
	if l.busy {
		l.mu.Unlock()
		<-a.done
		if !a.lead {
			return a.slot, a.err
		}
		l.mu.Lock()
	}
	l.busy = true
	l.drive(a)
	return a.slot, a.err
}

// done tells that the message at s needs no place any more. The mark is written with the next batch, or by itself if none
// comes at once; it is synced with the next batch.
func (l *intakeLog) done(s slot) {
	l.mu.Lock()
	l.marks = append(l.marks, s)
	for _, seg := range l.segs {
		if seg.epoch == s.epoch {
			seg.live--
		}
	}
	if !l.soon {
		l.soon = true
		time.AfterFunc(markAfter, l.flushMarks)
	}
	l.mu.Unlock()
}

// flushMarks writes the marks that no batch has taken along.
func (l *intakeLog) flushMarks() {
	l.mu.Lock()
	l.soon = false
	if l.busy || l.tired || l.closing || len(l.marks) == 0 {
		if len(l.marks) > 0 && l.busy && !l.soon {
			l.soon = true
			time.AfterFunc(markAfter, l.flushMarks)
		}
		l.mu.Unlock()
		return
	}
	l.busy = true
	l.drive(nil)
}

// syncMarks makes marks durable that were written by themselves.
func (l *intakeLog) syncMarks() {
	l.mu.Lock()
	l.settle = false
	if l.busy || l.closing || len(l.segs) == 0 {
		l.mu.Unlock() // the batch that is being written syncs them
		return
	}
	l.busy = true
	seg := l.segs[len(l.segs)-1]
	l.mu.Unlock()
	err := seg.file.Datasync()
	l.mu.Lock()
	if err != nil {
		l.log.Warn("done-marks are not synced: after a crash some messages may be delivered twice", "file", seg.name, "err", err)
	}
	l.drive(nil)
}

// read returns the message at s.
func (l *intakeLog) read(id string, s slot) ([]byte, error) {
	l.mu.Lock()
	var f File
	for _, seg := range l.segs {
		if seg.epoch == s.epoch {
			f = seg.file
		}
	}
	l.mu.Unlock()
	if f == nil {
		return nil, fmt.Errorf("log segment of message %s: %w", id, ErrGone)
	}
	text := make([]byte, recordHeader+int(s.size))
	if _, err := f.ReadAt(text, int64(s.off)); err != nil {
		return nil, err
	}
	r, _, whole := readRecord(text, 0)
	if !whole || r.id != id || r.epoch != s.epoch {
		return nil, fmt.Errorf("log record of message %s: %w", id, ErrDamaged)
	}
	return r.data, nil
}

// drive writes batches until a is written, nil for none, and hands over to who waits then. l.mu is held and l.busy set;
// drive lets go of l.mu.
func (l *intakeLog) drive(a *appending) {
	for {
		if len(l.waiting) > 0 || a == nil && len(l.marks) > 0 && !l.tired {
			l.batchOut()
		}
		switch {
		case a != nil && !a.written:
		case len(l.waiting) > 0:
			next := l.waiting[0]
			next.lead = true
			close(next.done)
			l.mu.Unlock()
			return
		case a != nil || len(l.marks) == 0 || l.tired:
			l.busy = false
			l.idle.Broadcast()
			l.mu.Unlock()
			return
		}
	}
}

// batchOut writes one batch. l.mu is held, and let go meanwhile.
func (l *intakeLog) batchOut() {
	seg, err := l.current()
	if seg == nil {
		failed := l.waiting
		l.waiting = nil
		l.rest()
		finish(failed, err)
		return
	}
	marks := l.marks
	buf, batch := l.fill(l.buf[:0], seg)
	l.buf = buf
	marks = marks[:len(marks)-len(l.marks)]
	off := seg.end
	l.mu.Unlock()

	_, err = seg.file.WriteAt(buf, int64(off))
	if err == nil && len(batch) > 0 {
		err = seg.file.Datasync()
	}
	l.mu.Lock()
	if err != nil {
		l.broken(seg, off, len(buf), err)
		l.marks = append(marks[:len(marks):len(marks)], l.marks...)
		l.rest()
	} else {
		seg.end += uint32(len(buf))
		seg.live += len(batch)
		if len(batch) == 0 && !l.settle {
			l.settle = true
			time.AfterFunc(settleAfter, l.syncMarks)
		}
	}
	finish(batch, err)
}

func finish(batch []*appending, err error) {
	for _, a := range batch {
		a.err, a.written = err, true
		if !a.lead {
			close(a.done)
		}
	}
}

// current is the segment to write to, with room for the next message, or nil and the reason. l.mu is held, and let go
// while a new segment is awaited.
func (l *intakeLog) current() (*segment, error) {
	need := recordSize(min(len(l.marks), 4096) * doneEntry)
	if len(l.waiting) > 0 {
		need += recordSize(len(l.waiting[0].data))
	}
	if n := len(l.segs); n > 0 && int(l.segs[n-1].end)+need <= int(l.size) {
		return l.segs[n-1], nil
	}
	if n := len(l.segs); n > 0 {
		// What marks are in the full segment becomes durable before any segment is used again.
		if err := l.segs[n-1].file.Datasync(); err != nil {
			return nil, err
		}
	}
	// Segments are freed in their order: a younger one has the marks of the older.
	for len(l.segs) > 0 && l.segs[0].live == 0 {
		seg := l.segs[0]
		seg.epoch = 0
		l.segs = l.segs[1:]
		l.free = append(l.free, seg)
	}
	for l.growing && len(l.free) == 0 {
		l.idle.Wait()
	}
	if oldest := l.segs; len(oldest) > 0 && len(oldest) >= l.most/2 && l.pressed != oldest[0].epoch {
		l.pressed = oldest[0].epoch
		go l.pressure(oldest[0].epoch)
	}
	if len(l.free) == 0 {
		return nil, errLogFull
	}
	seg := l.free[0]
	l.free = l.free[1:]
	l.epoch++
	seg.epoch, seg.end, seg.live = l.epoch, 0, 0
	l.segs = append(l.segs, seg)
	l.growAhead()
	return seg, nil
}

// fill renders what waits, as much as fits. l.mu is held.
func (l *intakeLog) fill(buf []byte, seg *segment) ([]byte, []*appending) {
	l.batch++
	room := min(maxBatch, int(l.size-seg.end))
	if len(l.marks) > 0 {
		data := make([]byte, 0, len(l.marks)*doneEntry)
		n := 0
		for _, s := range l.marks {
			if recordSize(len(data)+doneEntry) > room {
				break
			}
			data = binary.LittleEndian.AppendUint64(data, s.epoch)
			data = binary.LittleEndian.AppendUint32(data, s.off)
			n++
		}
		l.marks = append([]slot(nil), l.marks[n:]...)
		buf = appendRecord(buf, seg.epoch, l.batch, kindDone, "", data)
	}
	n := 0
	for _, a := range l.waiting {
		if len(buf)+recordSize(len(a.data)) > room {
			break
		}
		a.slot = slot{seg.epoch, seg.end + uint32(len(buf)), uint32(len(a.data))}
		buf = appendRecord(buf, seg.epoch, l.batch, kindMessage, a.id, a.data)
		n++
	}
	batch := append([]*appending(nil), l.waiting[:n]...)
	l.waiting = append([]*appending(nil), l.waiting[n:]...)
	return buf, batch
}

// broken deals with a batch that could not be written or synced: nobody is told that it is safe, and nothing is
// written to that segment any more. Its octets may be on the disk all the same: they are overwritten, as far as the
// disk still takes anything, so that a restart does not deliver what was refused. l.mu is held.
func (l *intakeLog) broken(seg *segment, off uint32, n int, err error) {
	l.log.Error("the intake log cannot be written", "file", seg.name, "err", err)
	if _, werr := seg.file.WriteAt(make([]byte, n), int64(off)); werr == nil {
		seg.file.Datasync()
	}
	seg.end = l.size
}

// rest keeps marks alone from being tried for a second. l.mu is held.
func (l *intakeLog) rest() {
	if l.tired {
		return
	}
	l.tired = true
	time.AfterFunc(time.Second, func() {
		l.mu.Lock()
		l.tired = false
		l.mu.Unlock()
		l.flushMarks()
	})
}

func (l *intakeLog) closeFiles() {
	for _, seg := range append(l.segs, l.free...) {
		seg.file.Close()
	}
}

// close writes what waits and ends the log.
func (l *intakeLog) close() {
	l.mu.Lock()
	l.closing = true
	for l.busy || l.growing {
		l.idle.Wait()
	}
	for try := 0; try < 3 && (try == 0 || len(l.marks) > 0); try++ { // a segment that failed is followed by another
		l.busy, l.tired = true, false
		l.drive(nil)
		l.mu.Lock()
	}
	defer l.mu.Unlock()
	l.closeFiles()
}
