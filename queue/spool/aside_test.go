package spool

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// hardened is a file system on which nobody gives another user's file a second name (protected_hardlinks).
type hardened struct{ OS }

func (hardened) Link(from, to string) error {
	return &os.LinkError{Op: "link", Old: from, New: to, Err: syscall.EPERM}
}

// What is dropped and is no message goes to bad/, whoever owns it and whatever it is; else each scan would find it again.
func TestDropsThatAreNoMessagesAreSetAside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s, err := Open(dir, hardened{}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	for id, put := range map[string]func(name string) error{
		"kAM0gqsJ733911": func(name string) error { return os.Symlink("/etc/passwd", name) },
		"kAM0gqsJ733912": func(name string) error { return syscall.Mkfifo(name, 0o600) },
		"kAM0gqsJ733913": func(name string) error { return os.WriteFile(name, []byte("no message"), 0o600) },
	} {
		name := s.at(dropDir, id)
		if err := put(name); err != nil {
			t.Fatal(err)
		}
		if _, err := s.OpenDrop(id); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", id, err)
		}
		if err := s.SetDropAside(id, ErrDamaged); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
		if _, err := os.Lstat(s.at(badDir, id)); err != nil {
			t.Error(err)
		}
	}
}
