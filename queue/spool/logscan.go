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

// scanned is one segment as a restart finds it. No message of it is kept in memory.
type scanned struct {
	segment
	messages []record
	notes    []record // done-marks and journals
	gaps     []gap
}

// gap is what stands between two records and is none, or a record whose content is wrong.
type gap struct {
	off, end int
	cut      bool // the file ends within a record, which was written to a file that was long enough
}

// parseSegment finds the records of a segment's present use: those of its highest epoch. Older ones behind them are
// what is left of an earlier use. text may be used again afterwards.
func parseSegment(text []byte) *scanned {
	seg := &scanned{segment: segment{size: uint32(len(text)), full: true}}
	for off := 0; off+recordHeader <= len(text); {
		r, ok, whole := readRecord(text, off)
		if ok && whole {
			seg.epoch = max(seg.epoch, r.epoch)
			off += recordSize(len(r.data))
		} else {
			off += sector
		}
	}
	if seg.epoch == 0 {
		return seg
	}
	open := -1 // where a gap began
	for off := 0; off+recordHeader <= len(text); {
		r, ok, whole := readRecord(text, off)
		switch {
		case ok && whole && r.epoch == seg.epoch:
			if open >= 0 && !zero(text[open:off]) {
				seg.gaps = append(seg.gaps, gap{off: open, end: off})
			}
			open = -1
			seg.synced = max(seg.synced, r.synced)
			size := len(r.data)
			if r.kind == kindMessage {
				r.data = nil
				seg.messages = append(seg.messages, r)
			} else {
				r.data = slices.Clone(r.data)
				seg.notes = append(seg.notes, r)
			}
			off += recordSize(size)
			seg.end = uint32(off)
			continue
		case ok && r.epoch == seg.epoch:
			// A head whose content is damaged, perhaps the last of the segment.
			end := off + recordSize(int(r.size))
			seg.gaps = append(seg.gaps, gap{off, min(len(text), end), end > len(text)})
			open = -1
		case open < 0:
			open = off
		}
		off += sector
	}
	return seg
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// scanLog reads all segments, and returns them in the order in which they were written.
func (s *Spool) scanLog() ([]*scanned, error) {
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
	var text []byte
	for _, name := range names {
		f, err := s.fs.Open(name, false)
		if err != nil {
			return nil, err
		}
		st, err := f.Stat()
		if err == nil {
			text = slices.Grow(text[:0], int(st.Size))[:st.Size]
			if _, err = f.ReadAt(text, 0); err == io.EOF {
				err = nil
			}
		}
		f.Close()
		if err != nil {
			return nil, err
		}
		seg := parseSegment(text)
		seg.name = name
		segments = append(segments, seg)
	}
	slices.SortFunc(segments, func(a, b *scanned) int { return cmp.Or(cmp.Compare(a.epoch, b.epoch), cmp.Compare(a.name, b.name)) })
	return segments, nil
}
