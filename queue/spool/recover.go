package spool

import (
	"errors"
	"fmt"
	"io"
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
	segments, err := s.scanLog()
	if err != nil {
		return nil, fmt.Errorf("intake log: %w", err)
	}
	l := &intakeLog{fs: s.fs, dir: filepath.Join(s.dir, logDir), log: s.log, size: size, most: most, closing: size == 0}
	l.idle = sync.NewCond(&l.mu)
	x := &logIndex{log: l, here: map[string]*logged{}}
	if size > 0 {
		l.pressure = func(epoch uint64) { s.pressure(x, epoch) }
	}

	done, journals := map[slot]bool{}, map[slot][]byte{}
	key := func(s slot) slot { s.size = 0; return s }
	for i, seg := range segments {
		s.mend(seg, i == len(segments)-1)
		for _, r := range seg.notes {
			switch {
			case r.kind == kindDone:
				for d := r.data; len(d) >= slotLength; d = d[slotLength:] {
					done[readSlot(d)] = true
				}
			case r.kind == kindJournal && len(r.data) > slotLength:
				at := readSlot(r.data)
				journals[at] = append(journals[at], r.data[slotLength:]...)
			}
		}
	}
	for _, seg := range segments {
		for _, r := range seg.messages {
			switch {
			case done[key(r.slot)]:
			case !ValidID(r.id):
				s.log.Error("a record of the intake log has no queue id", "segment", seg.name, "offset", r.off)
			case s.elsewhere(r.id) || x.here[r.id] != nil:
				l.notes = append(l.notes, note{slot: r.slot, done: true}) // it became a file, and the mark was lost
			default:
				x.here[r.id] = &logged{index: x, id: r.id, slot: r.slot, journal: journals[key(r.slot)], since: time.Now()}
				seg.live++
			}
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
// restart does not see it again. last: nothing was written after this segment.
func (s *Spool) mend(seg *scanned, last bool) {
	if len(seg.gaps) == 0 {
		return
	}
	f, err := s.fs.Open(seg.name, true)
	if err != nil {
		s.log.Error("a damaged segment of the intake log cannot be opened", "file", seg.name, "err", err)
		return
	}
	defer f.Close()
	for _, g := range seg.gaps {
		text := make([]byte, g.end-g.off)
		if _, err := f.ReadAt(text, int64(g.off)); err != nil && err != io.EOF {
			s.log.Error("a damaged part of the intake log cannot be read", "file", seg.name, "offset", g.off, "err", err)
			continue
		}
		if last && g.off >= int(seg.synced) && !g.cut {
			s.log.Info("an unfinished batch of the intake log is given up: nobody was told that it is safe", "segment", seg.name, "offset", g.off, "octets", len(text))
		} else if !s.keepGap(seg, g, text) {
			continue
		}
		if g.cut {
			continue // the segment has not the size of the others, and is removed when nothing is left in it
		}
		clear(text)
		_, err := f.WriteAt(text, int64(g.off))
		if err == nil {
			err = f.Datasync()
		}
		if err != nil {
			s.log.Warn("a damaged part of the intake log cannot be overwritten", "file", seg.name, "offset", g.off, "err", err)
		}
	}
}

// keepGap saves a part of the log that was acknowledged and cannot be read any more.
func (s *Spool) keepGap(seg *scanned, g gap, text []byte) bool {
	name := s.at(badDir, fmt.Sprintf("log.%d.%d", seg.epoch, g.off))
	s.log.Error("a part of the intake log is damaged and was set aside", "file", name, "segment", seg.name, "offset", g.off, "octets", len(text))
	f, err := s.fs.Create(name, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return true
	}
	if err == nil {
		if _, err = f.WriteAt(text, 0); err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close(), s.fs.SyncDir(filepath.Dir(name)))
	}
	if err != nil {
		s.log.Error("it cannot be set aside", "file", name, "err", err)
	}
	return err == nil
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
