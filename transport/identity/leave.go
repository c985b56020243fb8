package identity

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// Leave gives a file that this process has just made to whoever owns the directory that it is in, when the process is
// root: a spool belongs to the user that the daemon runs as, and what root's own commands put there (sendmail without a
// daemon, waybill queue) must be the daemon's to deliver. For everybody else it does nothing.
func Leave(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	uid, gid, err := owner(filepath.Dir(f.Name()))
	if err != nil || uid == 0 {
		return err
	}
	return f.Chown(uid, gid)
}

// LeaveDirectory is Leave for a directory that this process has just made, which also gets its mode; 0: it has one.
func LeaveDirectory(name string, mode os.FileMode) error {
	if os.Geteuid() != 0 && mode == 0 {
		return nil
	}
	d, err := OpenDirectory(filepath.Clean(name))
	if err != nil {
		return err
	}
	defer d.Close()
	if mode != 0 {
		if err := d.Chmod(mode); err != nil {
			return err
		}
	}
	return Leave(d)
}

// OpenDirectory opens a directory and nothing else: its owner and mode are changed by the open file only, since whoever
// owns the directory above it can put a link in its place at any time.
func OpenDirectory(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
}

// Foreign reports whether this process is root and the directory of a file somebody else's, who could have put a
// symbolic link there for root to follow.
func Foreign(file string) bool {
	uid, _, err := owner(filepath.Dir(file))
	return os.Geteuid() == 0 && err == nil && uid != 0
}

func owner(dir string) (uid, gid int, err error) {
	info, err := os.Stat(dir)
	if err != nil {
		return 0, 0, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, errors.New(dir + ": its owner is not known")
	}
	return int(st.Uid), int(st.Gid), nil
}
