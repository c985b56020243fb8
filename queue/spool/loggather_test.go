package spool

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// slowFS takes a millisecond for a sync of a segment.
type slowFS struct {
	OS
	syncs atomic.Int64
}

type slowFile struct {
	File
	fs *slowFS
}

func (s *slowFS) Open(name string, write bool) (File, error) {
	f, err := s.OS.Open(name, write)
	return slowFile{f, s}, err
}

func (s *slowFS) Create(name string, perm fs.FileMode) (File, error) {
	f, err := s.OS.Create(name, perm)
	return slowFile{f, s}, err
}

func (f slowFile) Datasync() error {
	f.fs.syncs.Add(1)
	time.Sleep(time.Millisecond)
	return nil
}

func slowLog(t *testing.T) (*Spool, *slowFS) {
	t.Helper()
	fsys := &slowFS{}
	s, err := Open(filepath.Join(t.TempDir(), "spool"), fsys, quiet())
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := s.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.StartLog(16<<20, 4); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { crash(s, unlock) })
	return s, fsys
}

// Clients who come back at once share syncs: all of them one, not half of them each.
func TestBatchesWaitForThoseWhoComeBack(t *testing.T) {
	const clients, each = 32, 40
	synctest.Test(t, func(t *testing.T) {
		s, fsys := slowLog(t)
		var wait sync.WaitGroup
		for n := range clients {
			wait.Go(func() {
				time.Sleep(time.Duration(n) * 50 * time.Microsecond)
				for range each {
					put(t, s, "one\n")
					time.Sleep(300 * time.Microsecond)
				}
			})
		}
		wait.Wait()
		if n := fsys.syncs.Load(); n > each*3/2 {
			t.Errorf("%d syncs for %d messages of each of %d clients", n, each, clients)
		}
	})
}

// A client who is alone does not wait.
func TestBatchesDoNotWaitForNobody(t *testing.T) {
	const messages = 100
	synctest.Test(t, func(t *testing.T) {
		s, _ := slowLog(t)
		start := time.Now()
		for range messages {
			put(t, s, "one\n")
		}
		if took := time.Since(start); took != messages*time.Millisecond {
			t.Errorf("%v for %d syncs of 1 ms", took, messages)
		}
	})
}

// Where those who were there do not come back in time, ever fewer batches wait for them.
func TestBatchesLearnThatNobodyComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gathering
		vain := 0
		for range 1000 {
			g.batch(2, 2, time.Millisecond)
			if g.hope(1) > 0 {
				vain++
				g.on, g.had, g.since = true, 1, time.Now()
				time.Sleep(g.patience())
				g.over(1)
			}
		}
		if vain == 0 || vain > 15 {
			t.Errorf("%d of 1000 batches waited in vain", vain)
		}
	})
}

// Nobody reads another message through one that is closed, whose memory is used again.
func TestClosedMessageCannotBeRead(t *testing.T) {
	s, unlock := loggedSpool(t, filepath.Join(t.TempDir(), "spool"), quiet())
	defer unlock()
	defer s.StopLog()
	m := write(t, s, "the first\n")
	body := m.Body()
	before, err := body.Open()
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(before); err != nil || string(text) != "the first\n" {
		t.Fatalf("%q, %v", text, err)
	}
	m.Close()
	other := write(t, s, "a secret\n")
	defer other.Close()
	after, err := body.Open()
	if err == nil {
		var text []byte
		text, err = io.ReadAll(after)
		if len(text) > 0 {
			t.Errorf("a closed message reads %q", text)
		}
	}
	if !errors.Is(err, fs.ErrClosed) {
		t.Errorf("reading a closed message: %v", err)
	}
}

// A sealed message is done for a restart, and keeps its place until it is finished.
func TestSealedMessageIsNotDeliveredAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s, unlock := loggedSpool(t, dir, quiet())
	sealed, open := write(t, s, "one\n"), write(t, s, "two\n")
	sealed.Seal()
	sealed.Seal()
	if n := s.Logged(); n != 2 {
		t.Errorf("%d messages, want 2 until one is finished", n)
	}
	if live := s.logged.log.last().live; live != 2 {
		t.Errorf("%d places taken", live)
	}
	crash(s, unlock)
	s, unlock = loggedSpool(t, dir, quiet())
	defer unlock()
	defer s.StopLog()
	var ids []string
	if err := s.Queued(func(id string) bool { ids = append(ids, id); return true }); err != nil || len(ids) != 1 || ids[0] != open.ID {
		t.Errorf("a restart finds %v, want %s only; %v", ids, open.ID, err)
	}
	again, err := s.Load(open.ID)
	if err != nil {
		t.Fatal(err)
	}
	again.Seal()
	if err := again.Finish(); err != nil || s.Logged() != 0 {
		t.Errorf("%v, %d left", err, s.Logged())
	}
	again.Close()
}
