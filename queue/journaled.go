package queue

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Journaled reports whether the file system of dir is known to survive a power cut with its own structures whole: ext3 and
// ext4 with a journal, XFS, Btrfs and ZFS; and a tmpfs, which survives none. On ext2, and on ext4 without a journal, fsck
// mends what two files claim by guessing, and a segment of an intake log has more to lose by it than one message.
func Journaled(dir string) bool {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return false
	}
	const zfs = 0x2fc12fc1
	switch fs.Type {
	case unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, zfs:
		return true
	case unix.EXT4_SUPER_MAGIC: // that of ext2 and ext3, too
		return jbd2(dir)
	}
	return false
}

// unjournaled reports whether dir, or where it will be made, is on an ext file system without a journal.
func unjournaled(dir string) bool {
	var fs unix.Statfs_t
	err := unix.Statfs(dir, &fs)
	for err == unix.ENOENT && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		err = unix.Statfs(dir, &fs)
	}
	return err == nil && fs.Type == unix.EXT4_SUPER_MAGIC && !jbd2(dir)
}

// jbd2 reports whether the ext file system of dir has a journal.
func jbd2(dir string) bool {
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return false
	}
	device, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return false
	}
	journals, err := os.ReadDir("/proc/fs/jbd2") // "sda1-8": the device, and the inode of its journal
	if err != nil {
		return false
	}
	for _, j := range journals {
		if rest, found := strings.CutPrefix(j.Name(), filepath.Base(device)); found && (rest[0] == '-' || rest[0] == ':') {
			return true
		}
	}
	return false
}
