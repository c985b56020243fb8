package mbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Three locks are in use between programs that share mailboxes; which ones a site's mail readers take is a matter of
// that site. The order is always: lock file first, then the locks on the file itself.
//
// The fcntl lock is an open-file-description lock (F_OFD_SETLK). It conflicts with the POSIX locks that others take,
// but belongs to our descriptor: with POSIX locks two goroutines of one process would both hold it, and closing any
// other descriptor of the same file would silently give it back. It is polled, since a blocking wait cannot be
// interrupted.
type lockKind uint8

const (
	dotlock lockKind = iota
	dotlockTry
	fcntlLock
	flockLock
)

var lockWords = map[string]lockKind{"dotlock": dotlock, "dotlock-try": dotlockTry, "fcntl": fcntlLock, "flock": flockLock}

var errLocked = errors.New("locked by another program")

type locks struct {
	*job
	file string // our lock file, if we hold one
	ino  uint64
	dev  uint64
	stop chan struct{}
}

// dotlocks takes the lock file, if one is configured. The file of an alias often stands where its owner may not create
// others, as logs and archives do: there the locks on the file itself must do, as with sendmail.
func (l *locks) dotlocks(ctx context.Context) error {
	for _, kind := range l.Mbox.locks {
		if kind != dotlock && kind != dotlockTry {
			continue
		}
		err := l.takeFile(ctx)
		if err != nil && (kind == dotlockTry || l.alias) && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EROFS) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENAMETOOLONG)) {
			l.log.Debug("no lock file possible", "mailbox", l.name, "err", err)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// takeFile makes FILE.lock: a file with a name of its own is created with O_EXCL, then linked to the lock's name.
// link(2) fails if that exists, also over NFS, where the answer may get lost: two links then say that it worked.
// What stands in it, "PID:HOST", is what Dovecot writes too: a lock of a process of this host that is gone is stale.
func (l *locks) takeFile(ctx context.Context) error {
	host, _ := os.Hostname()
	dir := filepath.Dir(l.name)
	lock := l.name + ".lock"
	own := filepath.Join(dir, ".lk-"+strconv.Itoa(os.Getpid())+"-"+strconv.FormatUint(rand.Uint64(), 36))
	fd, err := unix.Open(own, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return &os.PathError{Op: "create", Path: own, Err: err}
	}
	f := os.NewFile(uintptr(fd), own)
	defer f.Close()
	defer os.Remove(own)
	// A full disk is no reason not to lock: the content only helps to see that a lock is stale.
	_, _ = f.WriteString(strconv.Itoa(os.Getpid()) + ":" + host + "\n")

	deadline := time.Now().Add(l.conf.LockTimeout)
	for wait := 2 * time.Millisecond; ; wait = min(wait*2, 500*time.Millisecond) {
		err := unix.Link(own, lock)
		var st unix.Stat_t
		if statErr := unix.Fstat(fd, &st); statErr != nil {
			return &os.PathError{Op: "fstat", Path: own, Err: statErr}
		}
		if err == nil || st.Nlink == 2 {
			l.file, l.dev, l.ino = lock, st.Dev, st.Ino
			l.stop = make(chan struct{})
			go l.keepFresh(fdDup(fd), l.stop)
			return nil
		}
		if err != unix.EEXIST {
			return &os.LinkError{Op: "link", Old: own, New: lock, Err: err}
		}
		if l.breakStale(lock, host, st) {
			continue
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: %s", errLocked, lock)
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
		// our file's time is "now" on the server that holds the mailbox, whatever its clock says
		_ = unix.Futimes(fd, nil)
	}
}

// fdDup gives the refreshing goroutine a descriptor of its own; -1 when there is none.
func fdDup(fd int) int {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return -1
	}
	return n
}

// keepFresh touches a lock that is held for long, so that nobody takes it for stale.
func (l *locks) keepFresh(fd int, stop chan struct{}) {
	if fd < 0 {
		return
	}
	defer unix.Close(fd)
	tick := time.NewTicker(20 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			_ = unix.Futimes(fd, nil)
		}
	}
}

// breakStale removes a lock that a crash left behind, and reports whether it is worth trying again at once. The lock is
// renamed first: if somebody else broke it and took it meanwhile, what we hold in hands is not what we judged, and it
// is put back.
func (l *locks) breakStale(lock, host string, own unix.Stat_t) bool {
	var st unix.Stat_t
	if err := unix.Lstat(lock, &st); err != nil {
		return err == unix.ENOENT
	}
	age := time.Duration(own.Mtim.Nano() - st.Mtim.Nano())
	if age < l.conf.LockStale && !(age > 2*time.Second && ownerGone(lock, host)) {
		return false
	}
	aside := filepath.Join(filepath.Dir(lock), ".lk-stale-"+strconv.FormatUint(rand.Uint64(), 36))
	if err := unix.Rename(lock, aside); err != nil {
		return err == unix.ENOENT
	}
	var got unix.Stat_t
	if err := unix.Lstat(aside, &got); err == nil && (got.Ino != st.Ino || got.Dev != st.Dev || got.Mtim != st.Mtim) {
		if unix.Link(aside, lock) == nil {
			_ = os.Remove(aside)
			return false
		}
	}
	_ = os.Remove(aside)
	l.log.Warn("stale mailbox lock removed", "lock", lock, "age", age.Round(time.Second))
	return true
}

// ownerGone reports whether the lock names a process of this host that no longer runs.
func ownerGone(lock, host string) bool {
	fd, err := unix.Open(lock, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	f := os.NewFile(uintptr(fd), lock)
	defer f.Close()
	var text [300]byte
	n, _ := f.Read(text[:])
	number, where, found := strings.Cut(strings.TrimSpace(string(text[:n])), ":")
	pid, err := strconv.Atoi(number)
	return found && where == host && host != "" && err == nil && pid > 1 && unix.Kill(pid, 0) == unix.ESRCH
}

// fileLocks takes the locks on f itself. They end when f is closed.
func (l *locks) fileLocks(ctx context.Context, f *os.File) error {
	for _, kind := range l.Mbox.locks {
		var try func() error
		switch kind {
		case fcntlLock:
			try = func() error {
				return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: 0})
			}
		case flockLock:
			try = func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
		default:
			continue
		}
		deadline := time.Now().Add(l.conf.LockTimeout)
		for wait := time.Millisecond; ; wait = min(wait*2, 250*time.Millisecond) {
			err := try()
			if err == nil {
				break
			}
			if err != unix.EAGAIN && err != unix.EACCES && err != unix.EINTR {
				return &os.PathError{Op: "lock", Path: l.name, Err: err}
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%w: %s", errLocked, l.name)
			}
			if err := pause(ctx, wait); err != nil {
				return err
			}
		}
	}
	return nil
}

// release removes our lock file, if it still is ours.
func (l *locks) release() {
	if l.file == "" {
		return
	}
	close(l.stop)
	var st unix.Stat_t
	if err := unix.Lstat(l.file, &st); err != nil || st.Ino != l.ino || st.Dev != l.dev {
		l.log.Warn("our mailbox lock was taken away", "lock", l.file, "err", err)
		return
	}
	if err := os.Remove(l.file); err != nil {
		l.log.Warn("removing a mailbox lock", "lock", l.file, "err", err)
	}
}

// pause waits a little, not always the same, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
