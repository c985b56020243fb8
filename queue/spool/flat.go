package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"waybill/transport/envelope"
	"waybill/transport/identity"
)

// A submission queue of sendmail (clientmqueue) is one directory that only a group may write, which no user belongs to:
// the set-group-ID front end does. Where such a directory has no drop directory yet, front ends drop their mail into it
// as it is; the next process of root's makes the drop directory, and takes over what lies there.

// groupOwned reports whether dir is a submission queue of that kind.
func groupOwned(dir string) (gid int, ok bool) {
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil || st.Mode&0o020 == 0 || st.Mode&0o002 != 0 || st.Gid == 0 {
		return 0, false
	}
	return int(st.Gid), true
}

// dropInto is the directory in which a front end of ours leaves mail for the spool at dir.
func dropInto(dir string) string {
	drop := filepath.Join(dir, dropDir)
	if _, err := os.Lstat(drop); !errors.Is(err, os.ErrNotExist) {
		return drop
	}
	if gid, ok := groupOwned(dir); ok && gid == os.Getegid() && gid != os.Getgid() {
		return dir
	}
	return drop
}

// DroppedFile is where the dropped message with this id is, for the front end that dropped it.
func DroppedFile(dir, id string) string { return filepath.Join(dropInto(dir), id) }

// adoptFlat makes the drop directory of a submission queue what its group can use, and takes over what lies beside it.
func (s *Spool) adoptFlat() {
	if os.Geteuid() != 0 {
		return
	}
	gid, ok := groupOwned(s.dir)
	if !ok {
		return
	}
	drop := filepath.Join(s.dir, dropDir)
	into, err := identity.OpenDirectory(drop)
	if err == nil {
		defer into.Close()
		err = errors.Join(into.Chown(0, gid), into.Chmod(0o730|os.ModeSticky))
	}
	if err != nil {
		s.log.Warn("the drop directory is not usable for its group", "dir", drop, "err", err)
		return
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		s.log.Warn("the submission queue cannot be read", "dir", s.dir, "err", err)
		return
	}
	for _, e := range entries {
		if !ValidID(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		if err := unix.Renameat(unix.AT_FDCWD, filepath.Join(s.dir, e.Name()), int(into.Fd()), e.Name()); err != nil {
			s.log.Warn("a dropped message cannot be taken over", "id", e.Name(), "err", err)
		}
	}
}

// ReadDropped reads a dropped message that somebody else has opened. Nothing is locked or removed.
func ReadDropped(f *os.File) (*envelope.Envelope, io.Reader, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("not a regular file: %w", ErrDamaged)
	}
	d := &Dropped{file: osFile{f}}
	if d.head, d.Envelope, err = readHead(d.file, info.Size()); err != nil {
		return nil, nil, err
	}
	return d.Envelope, d.Body(), nil
}
