package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// sickFS is the real file system with a bad sector in a segment, and perhaps without room in bad/.
type sickFS struct {
	OS
	bad     atomic.Int64 // offset in segment 0000 that cannot be read; -1: none
	noRoom  atomic.Bool
	largest atomic.Int64 // of the reads of segments
}

type sickFile struct {
	File
	fs *sickFS
}

func (s *sickFS) Open(name string, write bool) (File, error) {
	f, err := s.OS.Open(name, write)
	if err == nil && filepath.Base(name) == "0000" {
		f = sickFile{f, s}
	}
	return f, err
}

func (s *sickFS) Create(name string, perm fs.FileMode) (File, error) {
	if s.noRoom.Load() && filepath.Base(filepath.Dir(name)) == badDir {
		return nil, unix.ENOSPC
	}
	return s.OS.Create(name, perm)
}

func (f sickFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.largest.Store(max(f.fs.largest.Load(), int64(len(p))))
	if bad := f.fs.bad.Load(); bad >= off && bad < off+int64(len(p)) {
		return 0, unix.EIO
	}
	return f.File.ReadAt(p, off)
}

// sickSpool is a spool on fsys with five messages in its log, after a crash.
func sickSpool(t *testing.T) (dir string, ids []string, slots []slot) {
	dir = filepath.Join(t.TempDir(), "spool")
	s, unlock := loggedSpool(t, dir, quiet())
	for n := range 5 {
		ids = append(ids, put(t, s, strings.Repeat(fmt.Sprintf("message %d\n", n), 300)))
		slots = append(slots, s.logged.find(ids[n]).slot)
	}
	crash(s, unlock)
	return dir, ids, slots
}

func reopen(t *testing.T, dir string, fsys FS, log *slog.Logger, inLog bool) (*Spool, func() error) {
	t.Helper()
	s, err := Open(dir, fsys, log)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := s.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if inLog {
		err = s.StartLog(1<<20, 4)
	} else {
		err = s.Recover()
	}
	if err != nil {
		t.Fatal(err)
	}
	return s, unlock
}

func lostItems(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(dir, badDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// A sector that the disk cannot read costs the message in it, which is set aside, and keeps no daemon from starting. No
// read of a segment is larger than the window.
func TestUnreadableSegment(t *testing.T) {
	for _, inLog := range []bool{true, false} {
		dir, ids, slots := sickSpool(t)
		fsys := &sickFS{}
		fsys.bad.Store(int64(slots[2].off) + 700)
		var log bytes.Buffer
		s, unlock := reopen(t, dir, fsys, slog.New(slog.NewTextHandler(&log, nil)), inLog)
		for n, id := range ids {
			m, err := s.Load(id)
			if (err == nil) != (n != 2) {
				t.Errorf("log %v, message %d: %v", inLog, n, err)
			}
			if err == nil {
				m.Close()
			}
		}
		if names := lostItems(t, dir); len(names) != 1 || !strings.Contains(log.String(), "set aside") {
			t.Errorf("set aside: %v; log: %s", names, log.String())
		}
		if n := fsys.largest.Load(); n == 0 || n > scanWindow {
			t.Errorf("a read of %d octets", n)
		}
		s.StopLog()
		unlock()
	}
}

// A message of a running daemon whose record goes bad on the disk, head or content, is set aside where people see it.
func TestRecordGoesBadUnderADaemon(t *testing.T) {
	for name, hurt := range map[string]int64{"head": 0, "content": 300} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "spool")
			s, unlock := loggedSpool(t, dir, quiet())
			defer unlock()
			id := put(t, s, strings.Repeat("text\n", 300))
			at := s.logged.find(id).slot
			f, err := os.OpenFile(filepath.Join(dir, logDir, "0000"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.WriteAt([]byte("garbage"), int64(at.off)+hurt)
			f.Close()
			if name == "head" {
				if _, err := s.Load(id); !errors.Is(err, ErrDamaged) {
					t.Fatalf("loading a record without a head: %v", err)
				}
				if err := s.SetAside(id, ErrDamaged); err != nil {
					t.Fatal(err)
				}
			}
			s.SettleLog(0)
			kept, err := os.ReadFile(filepath.Join(dir, badDir, id))
			if err != nil || !strings.Contains(string(kept), "text\ntext\n") {
				t.Errorf("set aside: %v, %d octets", err, len(kept))
			}
			if s.Logged() != 0 {
				t.Error("it is still in the log")
			}
			s.StopLog()
		})
	}
}

// The last record of a segment has nothing behind it that would tell that it had been synced: the next segment does.
func TestLastRecordOfASegmentIsMissed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s, unlock := loggedSpool(t, dir, quiet())
	var last slot
	for range 100 {
		m := write(t, s, strings.Repeat("0123456789abcde\n", 2000))
		if m.logged == nil {
			t.Fatal("the log is full")
		}
		at := m.logged.slot
		m.Close()
		if last.epoch != 0 && at.epoch != last.epoch {
			break
		}
		last = at
	}
	crash(s, unlock)
	file := filepath.Join(dir, logDir, "0000")
	seg, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	clear(seg[last.off : last.off+recordHeader])
	os.WriteFile(file, seg, 0o600)
	var log bytes.Buffer
	s, unlock = reopen(t, dir, OS{}, slog.New(slog.NewTextHandler(&log, nil)), true)
	if names := lostItems(t, dir); len(names) != 1 || names[0] != fmt.Sprintf("log.%d.%d", last.epoch, last.off) {
		t.Errorf("set aside: %v, want the record at %d; log: %s", names, last.off, log.String())
	}
	s.StopLog()
	unlock()
}

// What cannot be set aside for want of room stays where it is until it can.
func TestDamageWithoutRoomToSaveIt(t *testing.T) {
	dir, _, slots := sickSpool(t)
	file := filepath.Join(dir, logDir, "0000")
	seg, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	clear(seg[slots[2].off : slots[2].off+recordHeader])
	os.WriteFile(file, seg, 0o600)
	fsys := &sickFS{}
	fsys.bad.Store(-1)
	fsys.noRoom.Store(true)
	for _, inLog := range []bool{true, false} {
		s, unlock := reopen(t, dir, fsys, quiet(), inLog)
		s.Queued(func(id string) bool {
			m, err := s.Load(id)
			if err == nil {
				m.Finish()
				m.Close()
			}
			return true
		})
		if inLog {
			for range 200 { // enough for all segments to be used again
				m := write(t, s, strings.Repeat("0123456789abcde\n", 2000))
				m.Finish()
				m.Close()
			}
		}
		s.StopLog()
		if _, err := os.Stat(file); err != nil {
			t.Fatalf("log %v: %v", inLog, err)
		}
		if s, err := os.ReadFile(file); err != nil || !bytes.Contains(s[slots[2].off:], []byte("message 2\n")) {
			t.Fatalf("log %v: the damaged message is gone, %v", inLog, err)
		}
		unlock()
	}
	fsys.noRoom.Store(false)
	_, unlock := reopen(t, dir, fsys, quiet(), false)
	defer unlock()
	if names := lostItems(t, dir); len(names) != 1 {
		t.Errorf("set aside: %v", names)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the segment is still there")
	}
}
