package cf

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// What the real one says of text maps below such directories, with each DontBlameSendmail.
func TestDirectoriesOfMaps(t *testing.T) {
	base, err := os.MkdirTemp("/srv", "safe") // below directories that only root may write
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(base)
	modes := map[string]fs.FileMode{"plain": 0o755, "sticky": 0o777 | fs.ModeSticky, "world": 0o777, "group": 0o775, "groupsticky": 0o775 | fs.ModeSticky}
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir, mode := range modes {
		if err := errors.Join(os.MkdirAll(filepath.Join(base, dir, "in"), 0o755), os.Chmod(filepath.Join(base, dir), mode)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		blame string
		safe  []string
	}{
		{"safe", []string{"plain"}},
		{"TrustStickyBit", []string{"plain", "sticky", "groupsticky"}},
		{"GroupWritableDirPathSafe", []string{"plain", "group", "groupsticky"}},
		{"GroupWritableDirPathSafe,TrustStickyBit", []string{"plain", "sticky", "group", "groupsticky"}},
		{"MapInUnsafeDirPath", []string{"plain", "sticky", "group", "groupsticky", "world"}},
	} {
		safe := map[string]bool{}
		for _, dir := range c.safe {
			safe[dir] = true
		}
		for dir := range modes {
			for _, file := range []string{"m", "in/m"} {
				if err := safeFile(filepath.Join(base, dir, file), c.blame, "MapInUnsafeDirPath"); (err == nil) != safe[dir] {
					t.Errorf("%s: %s/%s: %v", c.blame, dir, file, err)
				}
			}
		}
	}
}
