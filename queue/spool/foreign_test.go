package spool

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// Root works in spools of others, who can put links where root expects directories and sockets of its own making.
func TestRootFollowsNoLinkInASpoolOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("is about root")
	}
	const other = 4711
	dir, victim := t.TempDir(), t.TempDir()
	target := filepath.Join(victim, "target")
	if err := errors.Join(os.Chmod(victim, 0o700), os.WriteFile(target, nil, 0o600), os.Chown(dir, other, other), os.Chmod(dir, 0o770)); err != nil {
		t.Fatal(err)
	}
	link := func(to, name string) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.Symlink(to, name); err != nil {
			t.Fatal(err)
		}
		return name
	}
	link(victim, dropDir)
	s, err := Open(dir, OS{}, slog.New(slog.DiscardHandler)) // adopts a queue that its group may write
	if err != nil {
		t.Fatal(err)
	}
	if s.Dir() != dir {
		t.Error(s.Dir())
	}
	if err := openToAll(link(target, "sock")); err == nil {
		t.Error("a link was opened to all")
	}
	if _, err := os.Lstat(filepath.Join(dir, queueDir)); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]fs.FileMode{victim: 0o700, target: 0o600} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want || info.Mode()&fs.ModeSticky != 0 {
			t.Errorf("%s has mode %v now", name, info.Mode())
		}
	}
}
