package qf

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// place is an open directory of the queue. Everything in it is named below its descriptor, so that nobody can put another
// directory in its place meanwhile.
type place struct {
	dir   *os.File
	path  string
	owner int
	loose bool // others than its owner may put files into it
	below bool // opened for one message, and closed with it
}

// newPlace opens the directory name below at; nil: a path.
func newPlace(at *place, name string) (*place, error) {
	p := &place{path: name}
	fd := -1
	var err error
	if at == nil {
		fd, err = unix.Open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	} else {
		p.path = filepath.Join(at.path, name)
		flags := unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
		if !at.ours() { // sendmail's queues on other disks are links; but not everybody may lead us elsewhere
			flags |= unix.O_NOFOLLOW
		}
		fd, err = unix.Openat(int(at.dir.Fd()), name, flags, 0)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: p.path, Err: err}
	}
	p.dir = os.NewFile(uintptr(fd), p.path)
	st, err := p.dir.Stat()
	if err != nil {
		p.dir.Close()
		return nil, err
	}
	p.owner, p.loose = ownerOf(st), st.Mode().Perm()&0o002 != 0
	return p, nil
}

// ours reports whether only root and whoever we are decide what is in the directory.
func (p *place) ours() bool { return trusted(p.owner) && !p.loose }

// open opens a regular file with one name, never through a link.
func (p *place) open(name string) (*os.File, error) {
	full := filepath.Join(p.path, name)
	fd, err := unix.Openat(int(p.dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", full, ErrGone)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: full, Err: err}
	}
	f := os.NewFile(uintptr(fd), full)
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s: not a regular file: %w", full, ErrDamaged)
	}
	if linksOf(st) > 1 && !p.ours() {
		f.Close()
		return nil, fmt.Errorf("%s has other names: %w", full, ErrUntrusted)
	}
	return f, nil
}

// is reports whether name is still the open file.
func (p *place) is(name string, f *os.File) bool {
	var named, own unix.Stat_t
	return unix.Fstatat(int(p.dir.Fd()), name, &named, unix.AT_SYMLINK_NOFOLLOW) == nil && unix.Fstat(int(f.Fd()), &own) == nil &&
		named.Dev == own.Dev && named.Ino == own.Ino
}

func (p *place) remove(name string) error {
	err := unix.Unlinkat(int(p.dir.Fd()), name, 0)
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return err
	}
	return &os.PathError{Op: "unlink", Path: filepath.Join(p.path, name), Err: err}
}

// File is a control file of the queue.
type File struct {
	Path string
	name string
	in   *place
	up   *place // of a queue whose control files are in a directory of their own; nil: it is not
}

// Names calls f with each control file in dir, and in its directories as sendmail lays them out, until f fails. A File is
// good until f returns.
func Names(dir string, f func(File) error) error {
	top, err := newPlace(nil, dir)
	if err != nil {
		return err
	}
	defer top.dir.Close()
	inside, err := top.dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	if err := queueAt(nil, top, inside, f); err != nil {
		return err
	}
	for _, name := range inside {
		qd, _ := path.Match("qd*", name)
		q, _ := path.Match("q[0-9]*", name)
		if !qd && !q {
			continue
		}
		sub, err := newPlace(top, name)
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		names, err := sub.dir.Readdirnames(-1)
		if err == nil {
			err = queueAt(nil, sub, names, f)
		}
		sub.dir.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// queueAt calls f for the control files of one queue, and of the directory qf in it.
func queueAt(up, in *place, names []string, f func(File) error) error {
	for _, name := range names {
		if len(name) > 8 && (strings.HasPrefix(name, "qf") || strings.HasPrefix(name, "hf")) {
			if err := f(File{Path: filepath.Join(in.path, name), name: name, in: in, up: up}); err != nil {
				return err
			}
		}
	}
	if up != nil || !slices.Contains(names, "qf") {
		return nil
	}
	sub, err := newPlace(in, "qf")
	if err != nil {
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	defer sub.dir.Close()
	if names, err = sub.dir.Readdirnames(-1); err != nil {
		return err
	}
	return queueAt(in, sub, names, f)
}

// SetAside gives a damaged message the name by which sendmail keeps what it cannot read: Qf.
func (f File) SetAside() (now string, err error) {
	name := "Qf" + f.name[2:]
	now = filepath.Join(f.in.path, name)
	if err := unix.Renameat(int(f.in.dir.Fd()), f.name, int(f.in.dir.Fd()), name); err != nil {
		return now, &os.LinkError{Op: "rename", Old: f.Path, New: now, Err: err}
	}
	return now, nil
}
