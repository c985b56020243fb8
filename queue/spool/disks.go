package spool

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"
)

// sickFor is how long a directory gets no new files after one could not be written there.
const sickFor = 30 * time.Second

// disk is one of the directories over which message files are spread. The first is the spool itself; the others have
// queue, hold and bad, and nothing else.
type disk struct {
	dir  string
	sick atomic.Int64 // until when it gets nothing new, in nanoseconds since 1970
	// removed means that files were, and that it is not synced yet.
	removed atomic.Bool
}

// Spread makes the spool use further directories, best on other disks. One that cannot be used is complained about in
// the log, and its messages wait: mail goes on with the others. It is called before anything else.
func (s *Spool) Spread(dirs []string) {
	for _, dir := range dirs {
		d := &disk{dir: dir}
		for _, sub := range []string{dir, filepath.Join(dir, queueDir), filepath.Join(dir, holdDir), filepath.Join(dir, badDir)} {
			if _, err := s.fs.Stat(sub); err == nil {
				continue
			}
			if err := makeDir(s.fs, sub, 0o700); err != nil {
				s.spurn(d, err)
				break
			}
		}
		s.disks = append(s.disks, d)
	}
}

// spurn keeps new files from a disk for a while.
func (s *Spool) spurn(d *disk, err error) {
	if until := time.Now().Add(sickFor).UnixNano(); d.sick.Swap(until) < time.Now().UnixNano() && len(s.disks) > 1 {
		s.log.Error("a queue directory cannot be written; the others go on", "dir", d.dir, "err", err)
	}
}

// pick is the directory for a new file: each in turn, but for those that could not be written lately.
func (s *Spool) pick() *disk {
	n := uint32(len(s.disks))
	first := s.turn.Add(1) % n
	now := time.Now().UnixNano()
	for i := range n {
		if d := s.disks[(first+i)%n]; d.sick.Load() < now {
			return d
		}
	}
	return s.disks[first]
}

// others are the directories to try after d.
func (s *Spool) others(d *disk) []*disk {
	var list []*disk
	for _, o := range s.disks {
		if o != d {
			list = append(list, o)
		}
	}
	return list
}

// where is the path of a message, in whichever directory it is; in the first if it is in none.
func (s *Spool) where(dir, id string) string {
	if len(s.disks) > 1 {
		for _, d := range s.disks {
			path := filepath.Join(d.dir, dir, id)
			if _, err := s.fs.Stat(path); err == nil {
				return path
			}
		}
	}
	return s.at(dir, id)
}

// beside is the path of a file in another state, in the same of the spool's directories.
func beside(path, dir, id string) string {
	return filepath.Join(filepath.Dir(filepath.Dir(path)), dir, id)
}

// each calls f with the ids in one state, of all directories. One that cannot be read does not keep the others from it.
func (s *Spool) each(dir string, f func(id string) bool) error {
	on := true
	var errs error
	for _, d := range s.disks {
		if dir == dropDir && d != s.disks[0] || !on {
			break
		}
		path := filepath.Join(d.dir, dir)
		if err := s.eachIn(path, func(id string) bool { on = f(id); return on }); err != nil {
			errs = errors.Join(errs, fmt.Errorf("%s: %w", path, err))
		}
	}
	return errs
}

// Lost calls f with each file that was damaged and set aside, in all directories, until it returns false.
func (s *Spool) Lost(f func(path string, info Info) bool) error {
	on := true
	var errs error
	for _, d := range s.disks {
		dir := filepath.Join(d.dir, badDir)
		errs = errors.Join(errs, s.fs.ReadDir(dir, func(name string) bool {
			path := filepath.Join(dir, name)
			if info, err := s.fs.Stat(path); err == nil {
				on = f(path, info)
			}
			return on
		}))
		if !on {
			break
		}
	}
	return errs
}
