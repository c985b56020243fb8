package spool_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"waybill/queue/spool"
)

// On ext2 a removal must reach the file's inode on the disk before its blocks are used again: fsck took the blocks of a
// younger directory for those of a file that was long gone, and zeroed what it did not like there.
func TestRemovalReachesTheInodeWithoutAJournal(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make and mount file systems")
	}
	dir := t.TempDir()
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "at")
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 16<<20); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"mkfs.ext2", "-q", "-F", image}, {"mount", "-o", "loop", image, at}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
	fsys := spool.OS{SyncRemoved: true}
	name := filepath.Join(at, "message")
	f, err := fsys.Create(name, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = f.WriteAt(bytes.Repeat([]byte("text\n"), 20_000), 0); err == nil {
		err = f.Sync()
	}
	st, _ := f.Stat()
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	links := func() string {
		out, err := exec.Command("debugfs", "-R", fmt.Sprintf("stat <%d>", st.Inode), image).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		_, after, _ := bytes.Cut(out, []byte("Links: "))
		n, _, _ := bytes.Cut(after, []byte(" "))
		return string(n)
	}
	if n := links(); n != "1" {
		t.Fatalf("the synced file has %q links on the disk", n)
	}
	if err := fsys.Remove(name); err != nil {
		t.Fatal(err)
	}
	if n := links(); n != "0" {
		t.Errorf("the removed file has %q links on the disk", n)
	}
}
