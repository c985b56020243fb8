package spool

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill/transport/envelope"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// memory is a file that is only read.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m).ReadAt(p, off) }
func (m memory) WriteAt([]byte, int64) (int, error)      { return 0, errors.ErrUnsupported }
func (m memory) Sync() error                             { return nil }
func (m memory) Datasync() error                         { return nil }
func (m memory) TryLock() (bool, error)                  { return true, nil }
func (m memory) Stat() (Info, error)                     { return Info{Size: int64(len(m)), Regular: true}, nil }
func (m memory) Close() error                            { return nil }

func openSpool(t *testing.T) *Spool {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "spool"), OS{}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, s *Spool, text string) *Message {
	t.Helper()
	d, err := s.Create(sample())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(d, text); err != nil {
		t.Fatal(err)
	}
	m, err := d.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func text(t *testing.T, m *Message) string {
	t.Helper()
	r, err := m.Body().Open()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// On the real file system: what was written is read, the lock keeps others out, and the journal is kept.
func TestMessageOnDisk(t *testing.T) {
	s := openSpool(t)
	for _, size := range []int{0, 1, draftBuffer - 700, draftBuffer, draftBuffer + 1, 5 * draftBuffer, 1_000_003} {
		want := strings.Repeat("x", size)
		m := write(t, s, want)
		id := m.ID
		if _, err := s.Load(id); !errors.Is(err, ErrBusy) {
			t.Errorf("a locked message was loaded: %v", err)
		}
		if !s.Busy(id) {
			t.Error("not busy")
		}
		if got := text(t, m); got != want {
			t.Errorf("%d octets of %d", len(got), size)
		}
		for _, e := range entries() {
			if err := m.Note(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Flush(true); err != nil {
			t.Fatal(err)
		}
		m.Close()
		m, err := s.Load(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Verify(); err != nil {
			t.Error(err)
		}
		if got := text(t, m); got != want {
			t.Errorf("%d octets of %d after loading", len(got), size)
		}
		if len(m.Recipients) != 5 || m.Recipients[3].As != "bob" || m.Recipients[1].Status.Outcome != Expanded || m.Attempts != 3 || m.Envelope.Priority != -20 {
			t.Errorf("journal: %+v", m.Recipients)
		}
		if err := m.Hold(true); err != nil {
			t.Fatal(err)
		}
		m.Close()
		if _, err := s.Load(id); !errors.Is(err, ErrGone) {
			t.Errorf("a held message is in the queue: %v", err)
		}
		if m, err = s.LoadHeld(id); err != nil {
			t.Fatal(err)
		}
		if err := m.Finish(); err != nil {
			t.Error(err)
		}
		m.Close()
		if _, err := s.LoadHeld(id); !errors.Is(err, ErrGone) {
			t.Errorf("a finished message is there: %v", err)
		}
	}
}

func TestOneDaemon(t *testing.T) {
	s := openSpool(t)
	unlock, err := s.LockDaemon()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.LockDaemon(); !errors.Is(err, ErrBusy) {
		t.Errorf("a second daemon: %v", err)
	}
	unlock()
	unlock, err = s.LockDaemon()
	if err != nil {
		t.Errorf("after the first has gone: %v", err)
	}
	unlock()
}

// Another user could plant links in the drop directory.
func TestDropsThatAreNotFiles(t *testing.T) {
	s := openSpool(t)
	id, err := Drop(s.Dir(), sample(), strings.NewReader("x\n"))
	if err != nil {
		t.Fatal(err)
	}
	drop := DropPath(s.Dir())
	secret := filepath.Join(t.TempDir(), "secret")
	os.WriteFile(secret, []byte("x"), 0o600)
	os.Symlink(secret, filepath.Join(drop, "kAK31Xxp000001"))
	os.Link(filepath.Join(drop, id), filepath.Join(drop, "kAK31Xxp000002"))
	os.Mkdir(filepath.Join(drop, "kAK31Xxp000003"), 0o700)
	for _, name := range []string{"kAK31Xxp000001", "kAK31Xxp000002", "kAK31Xxp000003", id} {
		if d, err := s.OpenDrop(name); err == nil {
			t.Errorf("%s was opened: %+v", name, d.Envelope)
			d.Close()
		}
	}
	os.Remove(filepath.Join(drop, "kAK31Xxp000002"))
	d, err := s.OpenDrop(id)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Envelope.Origin.UID != os.Getuid() {
		t.Errorf("uid %d", d.Envelope.Origin.UID)
	}
	if got, err := io.ReadAll(d.Body()); err != nil || string(got) != "x\n" {
		t.Errorf("%q %v", got, err)
	}
}

func TestCreateRefusesATakenID(t *testing.T) {
	s := openSpool(t)
	m := write(t, s, "x\n")
	e := &envelope.Envelope{ID: m.ID}
	if _, err := s.Create(e); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v", err)
	}
	m.Hold(true)
	m.Close()
	if _, err := s.Create(e); !errors.Is(err, os.ErrExist) {
		t.Errorf("held: %v", err)
	}
}
