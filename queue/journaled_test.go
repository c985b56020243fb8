package queue_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"waybill/queue"
)

func TestJournaled(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make and mount file systems")
	}
	for _, tt := range []struct {
		name string
		make []string
		want bool
	}{
		{"ext4", []string{"mkfs.ext4", "-q", "-F"}, true},
		{"ext4 without a journal", []string{"mkfs.ext4", "-q", "-F", "-O", "^has_journal"}, false},
		{"ext2", []string{"mkfs.ext2", "-q", "-F"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
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
			for _, args := range [][]string{append(tt.make, image), {"mount", "-o", "loop", image, at}} {
				if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
					t.Fatalf("%v: %v\n%s", args, err, out)
				}
			}
			t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
			if got := queue.Journaled(at); got != tt.want {
				t.Errorf("Journaled = %v", got)
			}
		})
	}
	if queue.Journaled(filepath.Join(t.TempDir(), "none")) {
		t.Error("a directory that is not there has a journal")
	}
}
