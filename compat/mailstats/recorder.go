package mailstats

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// every is how long numbers stay in memory. A crash loses that much; statistics are not mail.
const every = 10 * time.Second

// Recorder adds numbers to a statistics file, which several processes may do at the same time. A Recorder that is nil
// counts nothing.
type Recorder struct {
	file string
	made func(*os.File) error
	tell func(error) // hears, once, that the file cannot be written

	mu    sync.Mutex
	fresh Statistics // what the file does not have yet
	timer *time.Timer
	told  bool
}

// NewRecorder counts into file. sendmail counts only if the file exists, and so do we when made is nil; otherwise the file
// is made, and made gets it. tell hears the first error; mail goes on without statistics.
func NewRecorder(file string, made func(*os.File) error, tell func(error)) *Recorder {
	return &Recorder{file: file, made: made, tell: tell}
}

// Count lets f count. It writes nothing itself; that happens within ten seconds, or in Close.
func (r *Recorder) Count(f func(s *Statistics)) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.fresh)
	if r.timer == nil {
		r.timer = time.AfterFunc(every, r.write)
	}
}

// CountMailer lets f count for mailer number n.
func (r *Recorder) CountMailer(n int, f func(m *Mailer)) {
	if n >= 0 && n < Mailers {
		r.Count(func(s *Statistics) { f(&s.Mailers[n]) })
	}
}

// Close writes what is left. It waits a second for a lock, at most.
func (r *Recorder) Close() {
	if r == nil {
		return
	}
	for try := 0; try < 100; try++ {
		r.mu.Lock()
		waiting := r.timer != nil
		if waiting {
			r.timer.Stop()
		}
		r.mu.Unlock()
		if !waiting {
			return
		}
		if try > 0 {
			time.Sleep(10 * time.Millisecond)
		}
		r.write()
	}
}

func (r *Recorder) write() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = nil
	err := r.add()
	if errors.Is(err, unix.EWOULDBLOCK) {
		// Everybody may read the file and lock it: they keep us from counting for a while, and not from anything else.
		r.timer = time.AfterFunc(every, r.write)
		return
	}
	if err == nil || r.made == nil && errors.Is(err, fs.ErrNotExist) {
		r.fresh = Statistics{}
		return
	}
	if !r.told {
		r.told = true
		r.tell(fmt.Errorf("statistics: %w", err))
	}
}

func (r *Recorder) add() error {
	const flag = os.O_RDWR | unix.O_NOFOLLOW
	f, err := os.OpenFile(r.file, flag, 0)
	if errors.Is(err, fs.ErrNotExist) && r.made != nil {
		// Everybody may look at the numbers, whatever the umask is.
		if f, err = os.OpenFile(r.file, flag|os.O_CREATE|os.O_EXCL, 0o644); err == nil {
			err = errors.Join(f.Chmod(0o644), r.made(f))
		} else if errors.Is(err, fs.ErrExist) { // another process was quicker
			f, err = os.OpenFile(r.file, flag, 0)
		}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink > 1 { // sendmail's WriteStatsToHardLink is off by default
		return fmt.Errorf("%s: not a regular file of one name", r.file)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(f, fileSize+1))
	if err != nil {
		return err
	}
	s, err := Decode(b)
	if err != nil {
		// Torn by a crash, or of an older version: sendmail begins anew, too.
		s = Statistics{}
	}
	if s.Since.IsZero() {
		s.Since = time.Now()
	}
	s.Add(r.fresh)
	_, err = f.WriteAt(s.Encode(), 0)
	return err
}

// Read reads a statistics file; with clear it empties it, which is where sendmail begins anew.
func Read(file string, clear bool) (Statistics, error) {
	flag := os.O_RDONLY
	if clear {
		flag = os.O_RDWR
	}
	f, err := os.OpenFile(file, flag, 0)
	if err != nil {
		return Statistics{}, err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return Statistics{}, err
	}
	b, err := io.ReadAll(io.LimitReader(f, fileSize+1))
	if err != nil {
		return Statistics{}, err
	}
	s, err := Decode(b)
	if err == nil && clear {
		err = f.Truncate(0)
	}
	return s, err
}
