package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// takeLog takes over the intake log that is there: its messages, its free segments, and what is damaged in it is set
// aside. The caller holds the daemon's lock. Nothing of it needs room on the disk. size is that of a segment from now on;
// 0: the log takes nothing new.
func (s *Spool) takeLog(size uint32, most int) (*logIndex, error) {
	found, err := s.scanLog()
	if err != nil {
		return nil, fmt.Errorf("intake log: %w", err)
	}
	l := &intakeLog{fs: s.fs, dir: filepath.Join(s.dir, logDir), log: s.log, size: size, most: most, closing: size == 0}
	l.idle = sync.NewCond(&l.mu)
	x := &logIndex{log: l, here: map[string]*logged{}}
	if size > 0 {
		l.pressure = func(epoch uint64) { s.pressure(x, epoch) }
	}
	for i, seg := range found.segments {
		seg.live = s.mend(seg, i == len(found.segments)-1)
		for _, r := range seg.messages {
			if s.elsewhere(r.id) || x.here[r.id] != nil {
				l.notes = append(l.notes, note{slot: r.slot, done: true}) // it became a file, and the mark was lost
				continue
			}
			key := r.slot
			key.size = 0
			x.here[r.id] = &logged{index: x, id: r.id, slot: r.slot, journal: found.journals[key], since: time.Now()}
			seg.live++
		}
		n, _ := strconv.Atoi(filepath.Base(seg.name))
		l.next = max(l.next, n+1)
		l.epoch = max(l.epoch, seg.epoch)
		own := seg.segment
		if seg.live == 0 && len(l.segs) == 0 && own.size == size {
			l.free = append(l.free, &own)
		} else {
			l.segs = append(l.segs, &own)
		}
	}
	if len(x.here) > 0 {
		s.log.Info("the intake log has messages of an earlier process", "count", len(x.here))
	}
	return x, nil
}

// elsewhere tells whether a message of the log is a file already.
func (s *Spool) elsewhere(id string) bool {
	for _, dir := range []string{queueDir, holdDir, badDir} {
		if _, err := s.fs.Stat(s.where(dir, id)); err == nil {
			return true
		}
	}
	return false
}

// mend saves what is damaged in a segment and had been synced, and overwrites all that is no record, so that the next
// restart does not see it again. last: nothing was written after this segment. It returns how many damaged parts could not
// be saved: the segment must stay as it is.
func (s *Spool) mend(seg *scanned, last bool) (unsaved int) {
	if len(seg.gaps) == 0 {
		return 0
	}
	f, err := s.fs.Open(seg.name, true)
	if err != nil {
		s.log.Error("a damaged segment of the intake log cannot be opened", "file", seg.name, "err", err)
		return len(seg.gaps)
	}
	defer f.Close()
	for _, g := range seg.gaps {
		if (last || seg.begun) && g.off >= int(seg.synced) && !g.cut && !g.whole {
			s.log.Info("an unfinished batch of the intake log is given up: nobody was told that it is safe", "segment", seg.name, "offset", g.off, "octets", g.end-g.off)
		} else if !s.keepGap(seg, g, f) {
			unsaved++
			continue
		}
		if g.cut {
			continue // the segment has not the size of the others, and is removed when nothing is left in it
		}
		zeros := make([]byte, min(scanWindow, g.end-g.off))
		for off := g.off; off < g.end && err == nil; off += len(zeros) {
			_, err = f.WriteAt(zeros[:min(len(zeros), g.end-off)], int64(off))
		}
		if err == nil {
			err = f.Datasync()
		}
		if err != nil {
			s.log.Warn("a damaged part of the intake log cannot be overwritten", "file", seg.name, "offset", g.off, "err", err)
		}
	}
	return unsaved
}

// keepGap saves a part of the log that was acknowledged and cannot be read any more.
func (s *Spool) keepGap(seg *scanned, g gap, from File) bool {
	name := s.at(badDir, fmt.Sprintf("log.%d.%d", seg.epoch, g.off))
	s.log.Error("a part of the intake log is damaged and was set aside", "file", name, "segment", seg.name, "offset", g.off, "octets", g.end-g.off)
	f, err := s.fs.Create(name, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return true
	}
	if err == nil {
		if err = copyOut(f, from, int64(g.off), int64(g.end-g.off)); err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close(), s.fs.SyncDir(filepath.Dir(name))); err != nil {
			s.fs.Remove(name) // half of it would look like all of it to the next restart
		}
	}
	if err != nil {
		s.log.Error("it cannot be set aside", "file", name, "err", err)
	}
	return err == nil
}

// copyOut copies n octets of a segment from off on to the beginning of f; for what cannot be read there is 0xff.
func copyOut(f, from File, off, n int64) error {
	buf := make([]byte, min(n, scanWindow))
	for at := int64(0); at < n; at += int64(len(buf)) {
		part := buf[:min(int64(len(buf)), n-at)]
		readThrough(from, part, off+at)
		if _, err := f.WriteAt(part, at); err != nil {
			return err
		}
	}
	return nil
}

// StartLog makes this process, which holds the daemon's lock, take messages of up to 1 MB into the intake log, and
// deliver what an earlier process left in it. size is that of a segment in octets, at least 1 MB, and most is the
// largest number of segments.
func (s *Spool) StartLog(size uint32, most int) error {
	if err := makeDir(s.fs, filepath.Join(s.dir, logDir), 0o700); err != nil {
		return fmt.Errorf("intake log: %w", err)
	}
	x, err := s.takeLog(size, most)
	if err != nil {
		return err
	}
	l := x.log
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.free) < firstSegments && len(l.segs)+len(l.free) < most {
		seg, err := l.grow(l.next)
		if err != nil {
			if len(x.here) == 0 && len(l.free) == 0 {
				l.closeFiles()
				return fmt.Errorf("intake log: %w", err)
			}
			s.log.Warn("the intake log cannot grow", "err", err)
			break
		}
		l.next++
		l.free = append(l.free, seg)
	}
	if len(l.notes) > 0 {
		l.marking = true
		l.writeNotes()
	}
	l.touch()
	s.logged = x
	return nil
}

// Recover makes files of the messages that a crash left in the intake log, and removes the log. The caller holds the
// daemon's lock. Without a log it does nothing.
func (s *Spool) Recover() error {
	x, err := s.takeLog(0, 0)
	if err != nil {
		return err
	}
	ids := x.ids()
	for i, err := range s.toFiles(x, ids) {
		if err != nil && !errors.Is(err, ErrGone) {
			return fmt.Errorf("message %s of the intake log: %w", ids[i], err)
		}
	}
	// The oldest first: done-marks stand in younger segments than what they speak of.
	for _, seg := range append(x.log.free, x.log.segs...) {
		if seg.live > 0 {
			break // what is damaged in it could not be saved
		}
		if err := s.fs.Remove(seg.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if len(ids) > 0 {
		s.log.Info("messages of the intake log became files", "count", len(ids))
	}
	if len(x.log.free)+len(x.log.segs) == 0 {
		return nil
	}
	return s.fs.SyncDir(filepath.Join(s.dir, logDir))
}

// LogSize is what the segments of the log take up, in octets.
func (s *Spool) LogSize() (size uint64) {
	dir := filepath.Join(s.dir, logDir)
	s.fs.ReadDir(dir, func(name string) bool {
		if st, err := s.fs.Stat(filepath.Join(dir, name)); err == nil {
			size += uint64(st.Size)
		}
		return true
	})
	return size
}
