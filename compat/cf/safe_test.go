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
				if err := safeFile(filepath.Join(base, dir, file), c.blame, "MapInUnsafeDirPath", "LinkedMapInWritableDir"); (err == nil) != safe[dir] {
					t.Errorf("%s: %s/%s: %v", c.blame, dir, file, err)
				}
			}
		}
	}
}

// A link that others may have put there is not followed, unless DontBlameSendmail says so, even where the directory
// itself is forgiven; one in a directory of ours is.
func TestLinks(t *testing.T) {
	base, err := os.MkdirTemp("/srv", "safe")
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(base)
	open := filepath.Join(base, "open")
	if err := errors.Join(os.Chmod(base, 0o755), os.Mkdir(open, 0o700), os.Chmod(open, 0o777), os.WriteFile(filepath.Join(base, "file"), nil, 0o644),
		os.Symlink(filepath.Join(base, "file"), filepath.Join(open, "link")), os.Symlink("file", filepath.Join(base, "link"))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ file, blame, why string }{
		{"link", "safe", ""},
		{"open/link", "safe", "World writable directory"},
		{"open/link", "ClassFileInUnsafeDirPath", "Symbolic links not allowed"},
		{"open/link", "ClassFileInUnsafeDirPath,LinkedClassFileInWritableDir", ""},
	} {
		err := safeFile(filepath.Join(base, c.file), c.blame, "ClassFileInUnsafeDirPath", "LinkedClassFileInWritableDir")
		if err == nil && c.why != "" || err != nil && err.Error() != c.why {
			t.Errorf("%s with %s: %v, not %q", c.file, c.blame, err, c.why)
		}
	}
}
