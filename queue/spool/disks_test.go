package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// sickDisk is a file system that takes no new file below a directory.
type sickDisk struct {
	OS
	below  atomic.Pointer[string]
	reason error
}

func (s *sickDisk) Create(name string, perm os.FileMode) (File, error) {
	if p := s.below.Load(); p != nil && strings.HasPrefix(name, *p+"/") {
		return nil, &os.PathError{Op: "open", Path: name, Err: s.reason}
	}
	return s.OS.Create(name, perm)
}

// Files are spread over several directories; one that is full or broken keeps nobody from the others.
func TestSeveralDirectories(t *testing.T) {
	for _, useLog := range []bool{false, true} {
		for _, reason := range []error{syscall.ENOSPC, syscall.EROFS, syscall.EDQUOT, syscall.EIO, syscall.EMFILE} {
			t.Run(fmt.Sprint(reason, useLog), func(t *testing.T) {
				dir := t.TempDir()
				first, second := filepath.Join(dir, "one"), filepath.Join(dir, "two")
				disk := &sickDisk{reason: reason}
				s, err := Open(first, disk, quiet())
				if err != nil {
					t.Fatal(err)
				}
				s.Spread([]string{second})
				unlock, err := s.Lock()
				if err != nil {
					t.Fatal(err)
				}
				defer unlock()
				if useLog {
					if err := s.StartLog(1<<20, 4); err != nil {
						t.Fatal(err)
					}
				}
				count := func(dir string) int {
					names, _ := os.ReadDir(filepath.Join(dir, queueDir))
					return len(names)
				}
				ids := map[string]bool{}
				add := func(n int, body string) {
					t.Helper()
					for range n {
						ids[put(t, s, body)] = true
					}
					s.SettleLog(0)
				}
				add(10, "x\n")
				if count(first) != 5 || count(second) != 5 {
					t.Errorf("spread %d and %d", count(first), count(second))
				}
				disk.below.Store(&second)
				add(10, "x\n")
				add(2, strings.Repeat("large\n", logLimit/6+1))
				if count(first) != 17 || count(second) != 5 {
					t.Errorf("with the second sick: %d and %d", count(first), count(second))
				}
				s.disks[1].sick.Store(time.Now().UnixNano())
				disk.below.Store(&first)
				add(10, "x\n")
				if count(first) != 17 || count(second) != 15 {
					t.Errorf("with the first sick: %d and %d", count(first), count(second))
				}
				disk.below.Store(nil)
				seen := map[string]bool{}
				s.Queued(func(id string) bool { seen[id] = true; return true })
				if len(seen) != len(ids) {
					t.Errorf("%d of %d listed", len(seen), len(ids))
				}
				n := 0
				for id := range ids {
					m, err := s.Load(id)
					if err != nil {
						t.Fatal(err)
					}
					if !s.Busy(id) {
						t.Errorf("%s is not busy", id)
					}
					at := filepath.Dir(filepath.Dir(m.path))
					switch n++; n % 3 {
					case 0:
						if err := m.Hold(true); err != nil || filepath.Dir(filepath.Dir(m.path)) != at {
							t.Errorf("%v: held in %s, was in %s", err, m.path, at)
						}
						m.Close()
						if m, err = s.LoadHeld(id); err != nil || m.Hold(false) != nil {
							t.Error(err)
						}
					case 1:
						if err := m.SetAside(errors.New("test")); err != nil {
							t.Error(err)
						}
						if _, err := os.Stat(filepath.Join(at, badDir, id)); err != nil {
							t.Error(err)
						}
						m.Close()
						continue
					}
					if err := m.Finish(); err != nil {
						t.Error(err)
					}
					m.Close()
				}
				s.Queued(func(id string) bool { t.Errorf("%s is left", id); return true })
				s.Settle()
				if useLog {
					s.StopLog()
				}
			})
		}
	}
}
