package uucp

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// reserve makes the directories of the site and takes two sequence numbers that name no file yet.
func (j *job) reserve() (names, error) {
	top := filepath.Join(j.conf.Spool, j.site)
	node := j.conf.Node[:min(len(j.conf.Node), 7)] // as uux cuts it
	grade := string(j.conf.Grade)
	var n names
	var seqFile string
	if j.conf.Layout == BNU {
		seqFile = filepath.Join(j.conf.Spool, ".Sequence", j.site)
		n.dataDir, n.execDir, n.cmdDir = top, top, top
	} else {
		seqFile = filepath.Join(top, "SEQF")
		n.dataDir, n.execDir, n.cmdDir = filepath.Join(top, "D."), filepath.Join(top, "D.X"), filepath.Join(top, "C.")
	}
	for _, dir := range []string{top, filepath.Dir(seqFile), n.dataDir, n.execDir, n.cmdDir} {
		if err := mkdir(dir); err != nil {
			return names{}, err
		}
	}
	seq, err := lockSequence(seqFile)
	if err != nil {
		return names{}, err
	}
	defer seq.close()
	for range len(digits) * len(digits) {
		a, b := seq.next(), ""
		if j.conf.Layout == BNU {
			site := j.site[:min(len(j.site), 7)]
			n.data, n.remoteData = "D."+site+a+"001", "D."+node+a+"001"
			n.exec, n.remoteExec = "D."+site+a+"002", "X."+node+grade+a
			n.command = "C." + site + grade + a
		} else {
			b = seq.next()
			n.data, n.remoteData = "D."+a, "D."+node+grade+a
			n.exec, n.remoteExec = "D.X"+b, "X."+node+grade+b
			n.command = "C." + grade + j.unique()
		}
		if exists(filepath.Join(n.dataDir, n.data)) || exists(filepath.Join(n.execDir, n.exec)) {
			continue
		}
		if j.conf.Layout == BNU && exists(filepath.Join(n.cmdDir, n.command)) {
			continue
		}
		return n, seq.save()
	}
	return names{}, fmt.Errorf("%s: no free sequence number", seqFile)
}

// sequence is a file of four digits that uux and uucico count up under an fcntl lock ("Spool Lock Files" in Taylor's
// manual). Ours is an open-file-description lock, which conflicts with theirs and, unlike theirs, also with another
// goroutine's.
type sequence struct {
	f   *os.File
	now [4]byte
}

const sequenceWait = 30 * time.Second

func lockSequence(name string) (*sequence, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(sequenceWait)
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		if err == nil {
			break
		}
		if err != unix.EAGAIN && err != unix.EACCES && err != unix.EINTR || time.Now().After(deadline) {
			f.Close()
			return nil, &os.PathError{Op: "lock", Path: name, Err: err}
		}
		time.Sleep(wait)
	}
	s := &sequence{f: f, now: [4]byte{'0', '0', '0', '0'}}
	var text [4]byte
	if n, _ := f.ReadAt(text[:], 0); n == 4 && strings.Trim(string(text[:]), digits) == "" {
		s.now = text
	}
	return s, nil
}

// next counts: 0009, 000A, ..., 000Z, 0010, ..., ZZZZ, 0000.
func (s *sequence) next() string {
	for i := 3; i >= 0; i-- {
		d := strings.IndexByte(digits, s.now[i]) + 1
		if d < len(digits) {
			s.now[i] = digits[d]
			break
		}
		s.now[i] = '0'
	}
	return string(s.now[:])
}

func (s *sequence) save() error {
	_, err := s.f.WriteAt(s.now[:], 0)
	return err
}

func (s *sequence) close() { s.f.Close() } // gives the lock back

func exists(name string) bool {
	_, err := os.Lstat(name)
	return !errors.Is(err, os.ErrNotExist)
}

// mkdir makes one directory, durably, unless it is there.
func mkdir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return &os.PathError{Op: "fsync", Path: dir, Err: err}
	}
	return nil
}

const maxSysFile = 1 << 20

func readSysFile(name string) ([]string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxSysFile {
		return nil, fmt.Errorf("%s: larger than %d octets", name, maxSysFile)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return parseSysFile(text), nil
}
