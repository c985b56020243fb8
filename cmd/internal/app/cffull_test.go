package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The file of DeadLetterDrop may be in a directory like /var/tmp, where a user can make a second name of another's file.
func TestKeepLetterOnlyInAFileOfOurs(t *testing.T) {
	dir := t.TempDir()
	file, other := filepath.Join(dir, "dead.letter"), filepath.Join(dir, "other")
	if err := keepLetter(file, "head\n\n", strings.NewReader("body\n")); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(file); string(text) != "head\n\nbody\n\n" {
		t.Errorf("%q", text)
	}
	if err := os.Link(file, other); err != nil {
		t.Fatal(err)
	}
	if err := keepLetter(other, "head\n\n", strings.NewReader("body\n")); err == nil {
		t.Error("a file with two names was written")
	}
	if err := os.Symlink(file, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := keepLetter(filepath.Join(dir, "link"), "", strings.NewReader("")); err == nil {
		t.Error("a link was followed")
	}
}
