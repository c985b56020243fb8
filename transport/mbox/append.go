package mbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"waybill/transport/fromline"
)

var (
	errFull      = errors.New("mailbox is full")
	errIrregular = errors.New("not a plain file of its owner")
	errNoUser    = errors.New("the users file has no such user")
	errReplaced  = errors.New("the file was replaced while we waited for its lock")
)

// job is one append to one file.
type job struct {
	*Mbox
	log   *slog.Logger
	name  string
	user  string
	quota int64
	mode  os.FileMode
	owner int  // uid that the file must belong to; -1: any
	alias bool // a file of an alias: other modes are tolerated, the owner is who wrote it
	form  fromline.Form

	start int64 // length of the file before us
}

// append delivers the message of w, and those of others who wait for the same file by then, with the identity that the
// caller has taken. The locks are taken once and the file is synced once for all of them; nobody hears of success before
// that. The error is w's; the others get theirs through their channels.
func (j *job) append(w *waiter, next func() *waiter) error {
	held := locks{job: j}
	defer held.release()
	if err := held.dotlocks(w.ctx); err != nil {
		return err
	}
	// A mail reader may replace the file by renaming a new one over it while we wait for its lock: then start over
	// with the new one.
	for range 10 {
		f, created, err := j.open()
		if err != nil {
			return err
		}
		err = held.fileLocks(w.ctx, f)
		if err == nil {
			err = j.current(f)
		}
		if err == nil {
			err = j.batch(f, created, w, next)
		}
		closeErr := f.Close() // gives the file's locks back
		if errors.Is(err, errReplaced) {
			continue
		}
		if err == nil && closeErr != nil {
			// After a successful fsync the data are safe; an error here says something about the file system.
			j.log.Warn("closing a mailbox", "mailbox", j.name, "err", closeErr)
		}
		return err
	}
	return errReplaced
}

// batch writes the message of w and those that next gives to f, which is locked, and syncs them together. A message that
// cannot be written is cut off again and concerns nobody else.
func (j *job) batch(f *os.File, created bool, w *waiter, next func() *waiter) error {
	start, end := j.start, j.start
	var written []*waiter
	began := time.Now()
	var own error
	for n, x := 0, w; x != nil; n++ {
		x.job.start = end
		grown, err := x.job.write(x.ctx, f, x.body, x.size)
		end += grown
		switch {
		case err == nil:
			written = append(written, x)
		case x == w:
			own = err
		default:
			x.done <- err
		}
		x = nil
		if n < maxBatch && time.Since(began) < batchTime {
			x = next()
		}
	}
	if len(written) == 0 {
		return own
	}
	err := j.sync(f, created || start == 0, start, end)
	for _, x := range written {
		if x != w {
			x.done <- err
		}
	}
	if own != nil {
		return own
	}
	return err
}

// sync makes what was written from start to end durable, or takes it away again: after a failed fsync nobody knows what
// is on the disk.
func (j *job) sync(f *os.File, newName bool, start, end int64) error {
	if j.conf.NoSync {
		return nil
	}
	err := f.Sync()
	if err != nil {
		err = &os.PathError{Op: "fsync", Path: j.name, Err: err}
	} else if newName { // an earlier delivery may have created it and failed
		err = syncDir(filepath.Dir(j.name))
	}
	if err != nil {
		j.cut(f, start, end, err)
	}
	return err
}

// cut takes away what we wrote from start to end, because of err.
func (j *job) cut(f *os.File, start, end int64, err error) {
	// Only what is ours: a program that locks nothing may have written behind us.
	if info, statErr := f.Stat(); statErr != nil || info.Size() != end {
		j.log.Error("mailbox changed under our lock, half a message may be left", "mailbox", j.name, "offset", start, "err", err)
		return
	}
	if cutErr := f.Truncate(start); cutErr != nil {
		j.log.Error("half a message is left in the mailbox", "mailbox", j.name, "offset", start, "err", cutErr)
	} else if syncErr := f.Sync(); syncErr != nil {
		j.log.Warn("syncing a mailbox after cutting it back", "mailbox", j.name, "err", syncErr)
	}
}

// open opens the file or creates it, and judges what it got by the descriptor, never by the name.
func (j *job) open() (f *os.File, created bool, err error) {
	const flags = unix.O_RDWR | unix.O_APPEND | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY
	for range 3 {
		fd, err := unix.Open(j.name, flags, 0)
		if err == unix.ENOENT {
			fd, err = unix.Open(j.name, flags|unix.O_CREAT|unix.O_EXCL, uint32(j.mode.Perm()))
			if err == unix.EEXIST {
				continue // somebody was quicker
			}
			created = err == nil
		}
		switch {
		case err == unix.ELOOP || err == unix.ENXIO || err == unix.EISDIR || err == unix.ENODEV:
			return nil, false, fmt.Errorf("%w: %s: %w", errIrregular, j.name, err)
		case err == unix.EACCES && j.alias:
			// write-only files are fine for appending
			if fd, err = unix.Open(j.name, flags&^unix.O_RDWR|unix.O_WRONLY, 0); err != nil {
				return nil, false, &os.PathError{Op: "open", Path: j.name, Err: err}
			}
		case err != nil:
			return nil, false, &os.PathError{Op: "open", Path: j.name, Err: err}
		}
		if created { // the umask of the process must not decide
			if err := unix.Fchmod(fd, uint32(j.mode.Perm())); err != nil {
				unix.Close(fd)
				return nil, false, &os.PathError{Op: "fchmod", Path: j.name, Err: err}
			}
		}
		f := os.NewFile(uintptr(fd), j.name)
		if err := j.inspect(f); err != nil {
			f.Close()
			return nil, false, err
		}
		return f, created, nil
	}
	return nil, false, errReplaced
}

// inspect refuses everything that is not a plain file with one name that belongs to whom it should.
func (j *job) inspect(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return &os.PathError{Op: "fstat", Path: j.name, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("%w: %s: mode %o", errIrregular, j.name, st.Mode)
	case st.Nlink > 1:
		return fmt.Errorf("%w: %s: %d hard links", errIrregular, j.name, st.Nlink)
	case j.owner >= 0 && int(st.Uid) != j.owner:
		return fmt.Errorf("%w: %s: belongs to uid %d, not %d", errIrregular, j.name, st.Uid, j.owner)
	case j.alias && st.Mode&0o111 != 0: // sendmail(8): no mail into something executable
		return fmt.Errorf("%w: %s: is executable", errIrregular, j.name)
	}
	return nil
}

// current reports errReplaced when the name no longer leads to f.
func (j *job) current(f *os.File) error {
	var open, named unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &open); err != nil {
		return &os.PathError{Op: "fstat", Path: j.name, Err: err}
	}
	if err := unix.Lstat(j.name, &named); err != nil || open.Dev != named.Dev || open.Ino != named.Ino {
		return errReplaced
	}
	j.start = open.Size
	return nil
}

// write appends the message to f, which is locked, and tells by how much it grew. Whatever fails, the file has its old
// length afterwards. Nothing is synced.
func (j *job) write(ctx context.Context, f *os.File, r io.Reader, size int64) (grown int64, err error) {
	if j.quota > 0 && j.start+max(size, 0) > j.quota {
		return 0, errFull
	}
	w := &appender{f: f, ctx: ctx, room: -1}
	if j.quota > 0 {
		w.room = j.quota - j.start
	}
	if err = j.separate(f, w); err == nil {
		err = j.form.Copy(w, r)
	}
	if err != nil {
		if w.written > 0 {
			j.cut(f, j.start, j.start+w.written, err)
		}
		return 0, err
	}
	return w.written, nil
}

// separate makes sure that the file ends in an empty line, so that a message that a crash cut short (anyone's) does
// not swallow the one that we append.
func (j *job) separate(f *os.File, w io.Writer) error {
	if j.start == 0 {
		return nil
	}
	var tail [2]byte
	n := min(j.start, 2)
	if _, err := f.ReadAt(tail[2-n:], j.start-n); err != nil {
		if errors.Is(err, unix.EBADF) { // write-only file
			return nil
		}
		return err
	}
	switch {
	case j.conf.Close && tail[1] == '\n':
	case j.conf.Close:
		_, err := io.WriteString(w, "\n")
		return err
	case tail[1] != '\n':
		_, err := io.WriteString(w, "\n\n")
		return err
	case tail[0] != '\n':
		_, err := io.WriteString(w, "\n")
		return err
	}
	return nil
}

// appender counts, and ends a delivery that takes too much room or too long.
type appender struct {
	f       *os.File
	ctx     context.Context
	room    int64 // octets that may still come; -1: any number
	written int64
}

func (a *appender) Write(p []byte) (int, error) {
	if err := a.ctx.Err(); err != nil {
		return 0, err
	}
	if a.room >= 0 && a.written+int64(len(p)) > a.room {
		return 0, errFull
	}
	n, err := a.f.Write(p)
	a.written += int64(n)
	return n, err
}

// syncDir makes a new name durable. Some directories may be searched but not read by who delivers (/var/mail with
// mode 1733): then nothing more can be done.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if errors.Is(err, unix.EACCES) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return &os.PathError{Op: "fsync", Path: dir, Err: err}
	}
	return nil
}

// notify tells comsat(8) about new mail: "user@offset" in one datagram. Nobody answers, and nobody need listen.
func notify(address, user string, offset int64, log *slog.Logger) {
	conn, err := net.DialTimeout("udp", address, time.Second)
	if err != nil {
		log.Debug("biff", "err", err)
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, user+"@"+strconv.FormatInt(offset, 10))
}
