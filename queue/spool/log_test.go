package spool

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// loggedSpool is a spool with an intake log of small segments.
func loggedSpool(t *testing.T, dir string, log *slog.Logger) (*Spool, func() error) {
	t.Helper()
	s, err := Open(dir, OS{}, log)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := s.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.StartLog(1<<20, 4); err != nil {
		t.Fatal(err)
	}
	return s, unlock
}

// crash leaves the log as a killed process does.
func crash(s *Spool, unlock func() error) {
	s.logged.log.close()
	unlock()
}

func put(t *testing.T, s *Spool, text string) string {
	m := write(t, s, text)
	m.Close()
	return m.ID
}

// Messages of the log are found, locked, held, removed and made files like others.
func TestLoggedMessages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s, unlock := loggedSpool(t, dir, quiet())
	m := write(t, s, "one\n")
	if m.logged == nil {
		t.Fatal("the message is not in the log")
	}
	if _, err := s.Load(m.ID); !errors.Is(err, ErrBusy) || !s.Busy(m.ID) {
		t.Errorf("a locked message was loaded: %v", err)
	}
	m.Close()
	large := write(t, s, strings.Repeat("x", logLimit))
	if large.logged != nil {
		t.Error("a large message is in the log")
	}
	large.Close()
	var ids []string
	s.Queued(func(id string) bool { ids = append(ids, id); return true })
	if len(ids) != 2 || s.Logged() != 1 {
		t.Errorf("queued %v, %d of them in the log", ids, s.Logged())
	}
	m, err := s.Load(m.ID)
	if err != nil || text(t, m) != "one\n" || m.Verify() != nil {
		t.Fatalf("%v", err)
	}
	for _, e := range entries() {
		m.Note(e)
	}
	if err := m.Flush(false); err != nil {
		t.Fatal(err)
	}
	m.Close()
	if s.Logged() != 0 {
		t.Error("a message with a journal is still in the log")
	}
	if m, err = s.Load(m.ID); err != nil || m.Attempts != 3 || text(t, m) != "one\n" {
		t.Errorf("%v: %+v", err, m)
	}
	m.Close()
	held, err := s.Load(put(t, s, "held\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := held.Hold(true); err != nil {
		t.Error(err)
	}
	held.Close()
	done, err := s.Load(put(t, s, "done\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := done.Finish(); err != nil {
		t.Error(err)
	}
	done.Close()
	left := put(t, s, "left\n")
	crash(s, unlock)

	s, unlock = loggedSpool(t, dir, quiet())
	defer unlock()
	if _, err := s.LoadHeld(held.ID); err != nil {
		t.Errorf("held: %v", err)
	}
	if _, err := s.Load(done.ID); !errors.Is(err, ErrGone) {
		t.Errorf("done: %v", err)
	}
	if m, err := s.Load(left); err != nil || text(t, m) != "left\n" || m.logged == nil {
		t.Errorf("left: %v", err)
	}
	s.StopLog()
}

// More than the log holds, from many producers: segments are used again, and what does not fit becomes files.
func TestLogIsUsedAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s, unlock := loggedSpool(t, dir, quiet())
	var wait sync.WaitGroup
	var mu sync.Mutex
	want := map[string]string{}
	for p := range 8 {
		wait.Go(func() {
			for n := range 200 {
				body := strings.Repeat(fmt.Sprintf("%d %d\n", p, n), 1000)
				m := write(t, s, body)
				if n%20 == 0 {
					mu.Lock()
					want[m.ID] = body
					mu.Unlock()
				} else if err := m.Finish(); err != nil {
					t.Error(err)
				}
				m.Close()
			}
		})
	}
	wait.Wait()
	if files, _ := os.ReadDir(filepath.Join(dir, logDir)); len(files) > 4 {
		t.Errorf("%d segments", len(files))
	}
	crash(s, unlock)
	s, unlock = loggedSpool(t, dir, quiet())
	defer unlock()
	for id, body := range want {
		m, err := s.Load(id)
		for try := 0; errors.Is(err, ErrBusy) && try < 100; try++ { // it is just becoming a file
			time.Sleep(20 * time.Millisecond)
			m, err = s.Load(id)
		}
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		if text(t, m) != body {
			t.Errorf("%s differs", id)
		}
		m.Finish()
		m.Close()
	}
	s.Queued(func(id string) bool { t.Errorf("%s came back", id); return true })
	s.StopLog()
}

// A damaged part of the log costs what was in it, with a log line and a copy, and nothing else.
func TestGarbledLog(t *testing.T) {
	for name, hurt := range map[string]func(seg []byte, at int){
		"cut":     nil,
		"head":    func(seg []byte, at int) { clear(seg[at : at+64]) },
		"message": func(seg []byte, at int) { seg[at+300] ^= 1 },
		"sector":  func(seg []byte, at int) { clear(seg[at+512 : at+1024]) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "spool")
			s, unlock := loggedSpool(t, dir, quiet())
			var ids []string
			for n := range 5 {
				ids = append(ids, put(t, s, strings.Repeat(fmt.Sprintf("message %d\n", n), 300)))
			}
			at := int(s.logged.find(ids[2]).slot.off)
			crash(s, unlock)
			file := filepath.Join(dir, logDir, "0000")
			seg, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if hurt == nil {
				seg = seg[:at+1000] // the messages behind this one are gone, too
				os.Remove(file)
			} else {
				hurt(seg, at)
			}
			os.WriteFile(file, seg, 0o600)
			var log bytes.Buffer
			s, unlock = loggedSpool(t, dir, slog.New(slog.NewTextHandler(&log, nil)))
			defer unlock()
			for n, id := range ids {
				m, err := s.Load(id)
				if (err != nil) != (n == 2 || hurt == nil && n > 2) {
					t.Errorf("message %d: %v", n, err)
				}
				if err == nil {
					m.Close()
				}
			}
			aside, _ := os.ReadDir(filepath.Join(dir, badDir))
			if len(aside) == 0 || !strings.Contains(log.String(), "set aside") {
				t.Errorf("set aside: %v; log: %s", aside, log.String())
			}
			s.StopLog()
		})
	}
}

func FuzzSegment(f *testing.F) {
	at := func(epoch uint64, synced uint32) *segment { return &segment{epoch: epoch, synced: synced} }
	text := appendRecord(nil, at(3, 0), kindMessage, "kAK31Xxp018717", []byte("body"))
	text = appendRecord(text, at(3, 512), kindDone, "", make([]byte, slotLength))
	text = appendRecord(text, at(2, 9), kindMessage, "kAK31Xxp018718", bytes.Repeat([]byte("x"), 600))
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		w := newWindow(bytes.NewReader(text), int64(len(text)))
		seg := &scanned{}
		seg.epoch, _, _ = w.present()
		seg.scan(w, func(slot) {})
		seg.tail(w, uint32(len(text)))
		for _, r := range seg.messages {
			if r.epoch != seg.epoch || int(r.off)+recordHeader+int(r.size) > len(text) {
				t.Errorf("record %+v of %d octets", r.slot, len(text))
			}
		}
		for _, j := range seg.journals {
			if int(j.off)+j.size > len(text) {
				t.Errorf("journal %+v of %d octets", j, len(text))
			}
		}
		for _, g := range seg.gaps {
			if g.off < 0 || g.end <= g.off || g.end > len(text)+sector {
				t.Errorf("gap %+v of %d octets", g, len(text))
			}
		}
	})
}
