package spool

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"waybill/transport/identity"
)

// FS is the file system below the spool: so few operations that a test can make each of them fail, or be the last.
type FS interface {
	// Create makes a new file for reading and writing; a name that exists, also as a link, is fs.ErrExist.
	Create(name string, perm fs.FileMode) (File, error)
	// Open opens a file that is there, never through a symbolic link and never waiting for a fifo's other end.
	Open(name string, write bool) (File, error)
	// Stat tells about a name without following a link.
	Stat(name string) (Info, error)
	// Rename moves a file and never replaces one: fs.ErrExist.
	Rename(from, to string) error
	// Link gives a file a second name and never replaces one: fs.ErrExist.
	Link(from, to string) error
	Remove(name string) error
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
	// ReadDir calls f for each name in dir, in no order, until it returns false.
	ReadDir(dir string, f func(name string) bool) error
	Mkdir(name string, perm fs.FileMode) error
}

// File is an open file of an FS.
type File interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	// Datasync is Sync without what reading does not need, such as times.
	Datasync() error
	// TryLock takes the file's exclusive lock, or says that another open file has it. Close releases it.
	TryLock() (bool, error)
	Stat() (Info, error)
	Close() error
}

// Info is what the spool must know of a file.
type Info struct {
	Inode   uint64
	Size    int64
	Links   uint64
	UID     int
	Regular bool
	ModTime time.Time
}

// OS is the real file system.
type OS struct {
	// SyncRemoved makes a removal durable in the file's own inode before its blocks can be used again. An ext2, and an
	// ext4 without a journal, otherwise keeps an inode on the disk that is gone in memory: after a power cut fsck finds
	// that it claims the blocks of younger files, takes what stands in one of them for a list of blocks, and "repairs" it.
	// That has destroyed synced queue directories and messages.
	SyncRemoved bool
}

type osFile struct{ *os.File }

// Create opens with O_EXCL. Group permission bits are set whatever the umask of the front end's caller says, or a
// daemon with a user of its own could not read what was dropped. What root makes is left to the spool's owner.
func (OS) Create(name string, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, perm)
	if err != nil {
		return nil, err
	}
	if perm&0o070 != 0 {
		if err := f.Chmod(perm); err != nil {
			f.Close()
			os.Remove(name)
			return nil, err
		}
	}
	if err := identity.Leave(f); err != nil {
		f.Close()
		os.Remove(name)
		return nil, err
	}
	return osFile{f}, nil
}

func (OS) Open(name string, write bool) (File, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	f, err := os.OpenFile(name, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (OS) Stat(name string) (Info, error) {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return Info{}, &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	return info(&st), nil
}

func (OS) Rename(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS {
		// A file system without the flag: a second name and the removal of the first do the same in two steps.
		if err = unix.Link(from, to); err == nil {
			err = unix.Unlink(from)
		}
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

func (OS) Link(from, to string) error { return os.Link(from, to) }

func (o OS) Remove(name string) error {
	if o.SyncRemoved {
		// While it is open, the kernel keeps the blocks; its sync writes an inode without a name, which claims none.
		if f, err := o.Open(name, false); err == nil {
			defer f.Close()
			defer f.Sync()
		}
	}
	if err := unix.Unlink(name); err != nil {
		return &fs.PathError{Op: "unlink", Path: name, Err: err}
	}
	return nil
}

func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (OS) ReadDir(dir string, f func(name string) bool) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		for _, n := range names {
			if !f(n) {
				return nil
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (OS) Mkdir(name string, perm fs.FileMode) error {
	if err := os.Mkdir(filepath.Clean(name), perm); err != nil {
		return err
	}
	if perm&0o077 == 0 {
		perm = 0
	}
	return identity.LeaveDirectory(name, perm) // whatever the umask: users must reach the socket in the spool
}

func (f osFile) TryLock() (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == unix.EWOULDBLOCK {
		return false, nil
	}
	if err != nil {
		return false, &fs.PathError{Op: "flock", Path: f.Name(), Err: err}
	}
	return true, nil
}

func (f osFile) Datasync() error {
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

func (f osFile) Stat() (Info, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return Info{}, &fs.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	return info(&st), nil
}

func info(st *unix.Stat_t) Info {
	return Info{
		Inode:   st.Ino,
		Size:    st.Size,
		Links:   uint64(st.Nlink),
		UID:     int(st.Uid),
		Regular: st.Mode&unix.S_IFMT == unix.S_IFREG,
		ModTime: time.Unix(st.Mtim.Unix()),
	}
}
