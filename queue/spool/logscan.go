package spool

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
)

// scanWindow is how much of a segment is in memory at a time.
const scanWindow = 256 << 10

// scanned is one segment as a restart finds it. Of its messages and journals only the places are kept in memory.
type scanned struct {
	segment
	messages []record
	journals []journalAt
	gaps     []gap
	begun    bool // without a whole record: there are heads, of a batch that was being written
}

// journalAt is a journal record: of which message it speaks, and where its lines are.
type journalAt struct {
	of   slot
	off  int64
	size int
}

// gap is what stands between two records and is none, or a record whose content is wrong.
type gap struct {
	off, end int
	cut      bool // the file ends within a record, which was written to a file that was long enough
	whole    bool // a record that this version does not know
}

// window reads a file in pieces. What the disk cannot read looks like damage.
type window struct {
	f          io.ReaderAt
	size       int64
	buf        []byte
	from       int64
	n          int
	unreadable int64 // octets
}

func newWindow(f io.ReaderAt, size int64) *window {
	return &window{f: f, size: size, buf: make([]byte, min(size, scanWindow)), from: -1}
}

// at returns up to n octets from off on, as many as the file and the window have; at least a sector if the file has it.
func (w *window) at(off int64, n int) []byte {
	n = int(min(int64(n), w.size-off))
	if w.from < 0 || off < w.from || off+int64(min(n, sector)) > w.from+int64(w.n) {
		w.from, w.n = off, int(min(int64(len(w.buf)), w.size-off))
		w.unreadable += readThrough(w.f, w.buf[:w.n], off)
	}
	b := w.buf[off-w.from : w.n]
	return b[:min(n, len(b))]
}

// readThrough fills p with what is at off, and returns how many octets the disk could not read or does not have. They
// are 0xff.
func readThrough(f io.ReaderAt, p []byte, off int64) (unreadable int64) {
	if n, err := f.ReadAt(p, off); err == nil || err == io.EOF && n == len(p) {
		return 0
	}
	for len(p) > 0 {
		part := p[:min(len(p), sector)]
		if n, err := f.ReadAt(part, off); err != nil && n < len(part) {
			for i := range part {
				part[i] = 0xff
			}
			unreadable += int64(len(part))
		}
		p, off = p[len(part):], off+int64(len(part))
	}
	return unreadable
}

// record reads the head at off. ok: there is one; whole: its content is there, too.
func (w *window) record(off int64) (r record, ok, whole bool) {
	r, sum, ok := readHeader(w.at(off, recordHeader), uint32(off))
	if !ok || off+recordHeader+int64(r.size) > w.size {
		return r, ok, false
	}
	crc := uint32(0)
	for at, end := off+recordHeader, off+recordHeader+int64(r.size); at < end; {
		part := w.at(at, int(min(end-at, scanWindow)))
		crc = Checksum(crc, part)
		at += int64(len(part))
	}
	return r, true, crc == sum
}

// read returns n octets from off on.
func (w *window) read(off int64, n int) []byte {
	b := make([]byte, 0, n)
	for len(b) < n {
		b = append(b, w.at(off+int64(len(b)), n-len(b))...)
	}
	return b
}

// present is the highest epoch of a whole record: that of the segment's present use. 0: there is no record; begun is
// whether there are heads all the same, and zeros whether there is nothing.
func (w *window) present() (epoch uint64, begun, zeros bool) {
	zeros = true
	for off := int64(0); off+recordHeader <= w.size; {
		r, ok, whole := w.record(off)
		if ok && whole {
			epoch = max(epoch, r.epoch)
			off += int64(recordSize(int(r.size)))
			continue
		}
		begun = begun || ok
		zeros = zeros && zero(w.at(off, sector))
		off += sector
	}
	return epoch, begun, zeros
}

// scan finds the records of the segment's present use. Older ones behind them are what is left of an earlier use. done
// hears of each message that a mark says is done.
func (seg *scanned) scan(w *window, done func(slot)) {
	open, zeros := int64(-1), true // where a gap began, and whether there is nothing in it
	known := int64(0)              // what is before it is in a gap already
	for off := int64(0); off+recordHeader <= w.size; {
		r, ok, whole := w.record(off)
		next := off + sector
		switch {
		case ok && whole && r.epoch == seg.epoch:
			if open >= 0 && !zeros {
				seg.gaps = append(seg.gaps, gap{off: int(open), end: int(off)})
			}
			open = -1
			next = off + int64(recordSize(int(r.size)))
			seg.take(r, w, done)
			seg.end = uint32(next)
		case ok && r.epoch == seg.epoch:
			// A head whose content is damaged, perhaps the last of the segment.
			end := off + int64(recordSize(int(r.size)))
			seg.gaps = append(seg.gaps, gap{off: int(off), end: int(min(w.size, end)), cut: end > w.size})
			open, known = -1, end
		case off < known:
		default:
			if open < 0 {
				open, zeros = off, true
			}
			zeros = zeros && zero(w.at(off, sector))
		}
		off = next
	}
}

// take enters a whole record.
func (seg *scanned) take(r record, w *window, done func(slot)) {
	seg.synced, seg.before = max(seg.synced, r.synced), max(seg.before, r.before)
	at := int64(r.off) + recordHeader
	switch {
	case r.kind == kindMessage && ValidID(r.id):
		seg.messages = append(seg.messages, r)
	case r.kind == kindDone:
		for d := w.read(at, int(r.size)); len(d) >= slotLength; d = d[slotLength:] {
			done(readSlot(d))
		}
	case r.kind == kindJournal && r.size > slotLength:
		seg.journals = append(seg.journals, journalAt{of: readSlot(w.read(at, slotLength)), off: at + slotLength, size: int(r.size) - slotLength})
	default: // of another version, perhaps: nothing that was acknowledged is thrown away
		seg.gaps = append(seg.gaps, gap{off: int(r.off), end: int(r.off) + recordSize(int(r.size)), whole: true})
	}
}

// tail is a gap at the segment's end, which only the segment behind it knows of: records up to that place were synced.
func (seg *scanned) tail(w *window, upTo uint32) {
	from := int(seg.end)
	for _, g := range seg.gaps {
		from = max(from, g.end)
	}
	to := int(min(int64(upTo), w.size))
	for off := from; off < to; off += sector {
		if !zero(w.at(int64(off), min(sector, to-off))) {
			seg.gaps = append(seg.gaps, gap{off: from, end: to})
			return
		}
	}
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// segments lists the segments that are there, in the order in which they were written.
func (s *Spool) segments() ([]*scanned, error) {
	dir := filepath.Join(s.dir, logDir)
	if _, err := s.fs.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	if err := s.fs.ReadDir(dir, func(name string) bool {
		if n, err := strconv.Atoi(name); err == nil && len(name) == 4 && n >= 0 {
			names = append(names, filepath.Join(dir, name))
		}
		return true
	}); err != nil {
		return nil, err
	}
	var segments []*scanned
	for _, name := range names {
		seg := &scanned{segment: segment{name: name, full: true}}
		err := s.through(seg, func(w *window) {
			var zeros bool
			seg.size = uint32(w.size)
			if seg.epoch, seg.begun, zeros = w.present(); seg.epoch == 0 && !zeros {
				seg.gaps = []gap{{off: 0, end: int(w.size)}}
			}
			if w.unreadable > 0 {
				s.log.Error("a part of the intake log cannot be read", "file", name, "octets", w.unreadable)
			}
		})
		if err != nil {
			return nil, err
		}
		segments = append(segments, seg)
	}
	slices.SortFunc(segments, func(a, b *scanned) int { return cmp.Or(cmp.Compare(a.epoch, b.epoch), cmp.Compare(a.name, b.name)) })
	return segments, nil
}

// through opens a segment for f.
func (s *Spool) through(seg *scanned, f func(w *window)) error {
	file, err := s.fs.Open(seg.name, false)
	if err != nil {
		return err
	}
	defer file.Close()
	st, err := file.Stat()
	if err == nil {
		f(newWindow(file, st.Size))
	}
	return err
}

// unfinished is what a log has that is not done.
type unfinished struct {
	segments []*scanned // their messages and journals are those that no mark speaks of
	journals map[slot][]byte
}

// scanLog reads all segments, the youngest first: done-marks stand in younger segments than what they speak of, or in
// the same one, so that nothing is kept of what is done.
func (s *Spool) scanLog() (u unfinished, err error) {
	if u.segments, err = s.segments(); err != nil {
		return u, err
	}
	done := map[slot]struct{}{}
	isDone := func(at slot) bool { at.size = 0; _, is := done[at]; return is }
	for i := len(u.segments) - 1; i >= 0; i-- {
		seg := u.segments[i]
		if seg.epoch == 0 {
			continue
		}
		err := s.through(seg, func(w *window) {
			seg.scan(w, func(at slot) { done[at] = struct{}{} })
			if i+1 < len(u.segments) && u.segments[i+1].epoch == seg.epoch+1 {
				seg.tail(w, u.segments[i+1].before)
			}
		})
		if err != nil {
			return u, err
		}
		seg.messages = slices.DeleteFunc(seg.messages, func(r record) bool { return isDone(r.slot) })
		seg.journals = slices.DeleteFunc(seg.journals, func(j journalAt) bool { return isDone(j.of) })
	}
	u.journals = map[slot][]byte{}
	for _, seg := range u.segments {
		if len(seg.journals) == 0 {
			continue
		}
		err := s.through(seg, func(w *window) {
			for _, j := range seg.journals {
				u.journals[j.of] = append(u.journals[j.of], w.read(j.off, j.size)...)
			}
		})
		if err != nil {
			return u, err
		}
		seg.journals = nil
	}
	return u, nil
}
