package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sort"
	"strconv"
)

// recover makes files of the messages that a crash left in the intake log. The caller holds the daemon's lock. It is
// called at every start, whether the log is used or not; without a log it does nothing.
func (s *Spool) recover() error {
	segments, err := s.readSegments()
	if err != nil {
		return fmt.Errorf("intake log: %w", err)
	}
	var top uint64 // the last batch: nothing behind it was acknowledged
	done := map[slot]bool{}
	for _, seg := range segments {
		for _, r := range seg.records {
			if r.data != nil {
				top = max(top, r.batch)
			}
			if r.kind == kindDone {
				for d := r.data; len(d) >= doneEntry; d = d[doneEntry:] {
					done[slot{epoch: binary.LittleEndian.Uint64(d), off: binary.LittleEndian.Uint32(d[8:])}] = true
				}
			}
		}
	}
	count := 0
	for _, seg := range segments {
		for _, g := range seg.garbled {
			if g.batch < top {
				seg.keep = !s.keepGarbled(seg, g) || seg.keep
			}
		}
		for _, r := range seg.records {
			if r.kind != kindMessage || done[slot{epoch: r.epoch, off: r.off}] {
				continue
			}
			if err := s.recoverOne(r); err != nil {
				return err
			}
			count++
		}
	}
	if count > 0 {
		s.log.Info("messages of the intake log became files", "count", count)
	}
	return s.retire(segments)
}

// recoverOne makes a file of a record, unless that had been done before the crash.
func (s *Spool) recoverOne(r record) error {
	for _, dir := range []string{queueDir, holdDir, badDir} {
		if _, err := s.fs.Stat(s.at(dir, r.id)); err == nil {
			return nil
		}
	}
	d := &Draft{fs: s.fs, dir: filepath.Join(s.dir, queueDir), id: r.id, suffix: "log", perm: 0o600, buf: r.data}
	d.fs.Remove(d.temp())
	f, err := d.place()
	if err != nil {
		return fmt.Errorf("message %s of the intake log: %w", r.id, err)
	}
	return f.Close()
}

// retire makes sure that what was recovered is not recovered again: the segments are removed.
func (s *Spool) retire(segments []*readSegment) error {
	for _, seg := range segments {
		if seg.keep { // the disk had no room for the damaged part alone
			if err := s.move(seg.name, s.at(badDir, fmt.Sprintf("log.%d", seg.epoch))); err != nil {
				return err
			}
			continue
		}
		if err := s.fs.Remove(seg.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if len(segments) == 0 {
		return nil
	}
	return s.fs.SyncDir(filepath.Join(s.dir, logDir))
}

// keepGarbled saves a part of the log that was acknowledged and cannot be read any more.
func (s *Spool) keepGarbled(seg *readSegment, g garbled) bool {
	name := fmt.Sprintf("log.%d.%d", seg.epoch, g.off)
	s.log.Error("a part of the intake log is damaged and was set aside", "file", s.at(badDir, name), "segment", seg.name, "offset", g.off, "octets", len(g.data))
	f, err := s.fs.Create(s.at(badDir, name), 0o600)
	if err != nil {
		s.log.Error("it cannot be set aside", "file", name, "err", err)
		return false
	}
	if _, err = f.WriteAt(g.data, 0); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close(), s.fs.SyncDir(filepath.Join(s.dir, badDir))); err != nil {
		s.log.Error("it cannot be set aside", "file", name, "err", err)
		return false
	}
	return true
}

// readSegment is one segment as recovery finds it.
type readSegment struct {
	name    string
	epoch   uint64
	records []record
	garbled []garbled
	keep    bool // it has damaged parts that could not be saved
}

// garbled is what stands between two records and is none, or a record whose checksum is wrong.
type garbled struct {
	off   int
	batch uint64 // the last batch before it
	data  []byte
}

// readSegments reads all segments, in the order in which they were written.
func (s *Spool) readSegments() ([]*readSegment, error) {
	var segments []*readSegment
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
	for _, name := range names {
		f, err := s.fs.Open(name, false)
		if err != nil {
			return nil, err
		}
		st, err := f.Stat()
		text := make([]byte, max(0, st.Size))
		if err == nil && len(text) > 0 {
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
	sort.Slice(segments, func(i, j int) bool { return segments[i].epoch < segments[j].epoch })
	return segments, nil
}

// parseSegment finds the records of a segment's present use: those of its highest epoch. Older ones behind them are
// what is left of an earlier use.
func parseSegment(text []byte) *readSegment {
	seg := &readSegment{}
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
	gap, batch := -1, uint64(0)
	for off := 0; off+recordHeader <= len(text); {
		r, ok, whole := readRecord(text, off)
		if ok && whole && r.epoch == seg.epoch {
			if gap >= 0 {
				seg.garbled = append(seg.garbled, garbled{gap, batch, text[gap:off]})
				gap = -1
			}
			batch = r.batch
			seg.records = append(seg.records, r)
			off += recordSize(len(r.data))
			continue
		}
		if gap < 0 {
			gap = off
		}
		if ok && r.epoch == seg.epoch { // a head whose message is damaged, perhaps the last of the segment
			seg.garbled = append(seg.garbled, garbled{off, r.batch, text[off:min(len(text), off+recordSize(int(r.size)))]})
		}
		off += sector
	}
	return seg
}

// lastEpoch is the highest epoch of any segment that is there.
func (s *Spool) lastEpoch() (uint64, error) {
	dir := filepath.Join(s.dir, logDir)
	if err := s.fs.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return 0, err
	}
	segments, err := s.readSegments()
	if err != nil {
		return 0, err
	}
	var last uint64
	for _, seg := range segments {
		last = max(last, seg.epoch)
		if len(seg.records) > 0 {
			return 0, fmt.Errorf("%s: the intake log has not been recovered", seg.name)
		}
	}
	return last, nil
}
