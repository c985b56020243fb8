// Package qf reads the queue of sendmail. In flow control files (qf, hf for quarantined messages, Qf for lost ones) with
// the data files (df) beside them or in a df directory; out flow envelopes with what sendmail knew of them, and readers
// of the messages as sendmail would send them. The format is that of sendmail's Installation and Operation Guide,
// appendix B ("Queue files"), version 8 and older.
package qf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"waybill/transport/envelope"
)

// maxControl is the largest control file that is read, in octets.
const maxControl = 16 << 20

var (
	// ErrBusy means that a running sendmail has the message locked.
	ErrBusy = errors.New("locked by a running sendmail")
	// ErrGone means that the message is no longer there.
	ErrGone = errors.New("no such message")
	// ErrDamaged means that the file is not one that sendmail finished.
	ErrDamaged = errors.New("damaged")
	// ErrUntrusted means that the file may be the work of somebody who may not have written it. It stays where it is.
	ErrUntrusted = errors.New("not taken from whoever wrote this")
)

// Message is one message of the queue, locked until Close.
type Message struct {
	ID       string // as sendmail knew it
	Envelope envelope.Envelope
	// Users are the login names with whose rights the programs and files among the recipients are used; Aliases what
	// stood for them. Both are as long as the recipients, and empty for addresses.
	Users, Aliases []string
	Tries          int
	LastTry        time.Time // zero before the first
	Why            string    // what kept it from being delivered
	Quarantine     string    // why it is held; empty: it is not
	Warned         bool      // its sender was told of the delay
	Ignored        []string  // lines that were not understood
	Size           int64     // octets of header and body

	header  string
	control *os.File
	data    *os.File
	paths   []string // of all its files
	dataLen int64
}

// Names calls f with the path of each control file in dir, and in its directories as sendmail lays them out, until f
// fails.
func Names(dir string, f func(control string) error) error {
	for _, pattern := range []string{"", "qf", "qd*", "qd*/qf", "q[0-9]*", "q[0-9]*/qf"} {
		dirs, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, d := range dirs {
			d, err := os.Open(d)
			if err != nil {
				return err
			}
			names, err := d.Readdirnames(-1)
			d.Close()
			if errors.Is(err, unix.ENOTDIR) {
				continue
			}
			if err != nil {
				return err
			}
			for _, name := range names {
				if len(name) > 8 && (strings.HasPrefix(name, "qf") || strings.HasPrefix(name, "hf")) {
					if err := f(filepath.Join(d.Name(), name)); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// Open reads a control file and opens its data. Errors: ErrBusy, ErrGone, ErrDamaged and what the disk says.
func Open(control string) (m *Message, err error) {
	f, err := open(control)
	if err != nil {
		return nil, err
	}
	m = &Message{ID: filepath.Base(control)[2:], control: f, paths: []string{control}}
	defer func() {
		if err != nil {
			m.Close()
			m = nil
		}
	}()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return m, fmt.Errorf("%s: %w", control, ErrBusy)
	}
	if st, err := os.Lstat(control); err != nil {
		return m, fmt.Errorf("%s: %w", control, ErrGone) // delivered while we waited
	} else if own, err := f.Stat(); err != nil || !os.SameFile(st, own) {
		return m, fmt.Errorf("%s: %w", control, ErrGone)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxControl+1))
	if err != nil {
		return m, err
	}
	if len(text) > maxControl {
		return m, fmt.Errorf("%s: more than %d octets: %w", control, maxControl, ErrDamaged)
	}
	if err := m.parse(string(text)); err != nil {
		return m, fmt.Errorf("%s: %w: %w", control, err, ErrDamaged)
	}
	owner, err := m.checkOwner()
	if err != nil {
		return m, fmt.Errorf("%s: %w", control, err)
	}
	dir := filepath.Dir(control)
	name := "df" + m.ID
	m.data, err = open(filepath.Join(dir, name))
	if errors.Is(err, ErrGone) && filepath.Base(dir) == "qf" {
		dir = filepath.Dir(dir)
		m.data, err = open(filepath.Join(dir, "df", name))
	}
	if errors.Is(err, ErrGone) {
		return m, fmt.Errorf("%s: there is no %s: %w", control, name, ErrDamaged)
	}
	if err != nil {
		return m, err
	}
	st, err := m.data.Stat()
	if err != nil {
		return m, err
	}
	if uid := ownerOf(st); !trusted(owner) && uid != owner {
		return m, fmt.Errorf("%s belongs to user %d, and %s to %d: %w", control, owner, m.data.Name(), uid, ErrUntrusted)
	}
	m.dataLen = st.Size()
	m.Size = int64(len(m.header)) + 1 + m.dataLen
	m.paths = append(m.paths, m.data.Name(), filepath.Join(dir, "xf"+m.ID), filepath.Join(dir, "xf", "xf"+m.ID), filepath.Join(dir, "tf"+m.ID))
	return m, nil
}

// checkOwner is about who wrote the control file: with it one chooses whose programs run, so that only those of root and of
// whoever we are may name any. Nobody else may be able to write it at all.
func (m *Message) checkOwner() (owner int, err error) {
	st, err := m.control.Stat()
	if err != nil {
		return 0, err
	}
	owner = ownerOf(st)
	if st.Mode().Perm()&0o002 != 0 {
		return owner, fmt.Errorf("everybody may write it: %w", ErrUntrusted)
	}
	for _, r := range m.Envelope.Recipients {
		if (r.Command != "" || r.File != "") && !trusted(owner) {
			return owner, fmt.Errorf("it names a program or a file, and belongs to user %d: %w", owner, ErrUntrusted)
		}
	}
	return owner, nil
}

func trusted(uid int) bool { return uid == 0 || uid == os.Geteuid() }

func ownerOf(info os.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

// open opens a regular file, never through a link.
func open(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", name, ErrGone)
	}
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s: not a regular file: %w", name, ErrDamaged)
	}
	return f, nil
}

// Body reads the message from its beginning: header, empty line, body, lines ending in LF.
func (m *Message) Body() io.Reader {
	return io.MultiReader(strings.NewReader(m.header), strings.NewReader("\n"), io.NewSectionReader(m.data, 0, m.dataLen))
}

// Remove takes the message out of sendmail's queue: it is safe elsewhere. The control file goes first: without it
// sendmail knows nothing of the rest.
func (m *Message) Remove() error {
	for i, p := range m.paths {
		if err := os.Remove(p); err != nil && (i == 0 || !errors.Is(err, os.ErrNotExist)) {
			return err
		}
	}
	return nil
}

// Close unlocks it.
func (m *Message) Close() error {
	if m.data != nil {
		m.data.Close()
	}
	return m.control.Close()
}

// SetAside gives a damaged message the name by which sendmail keeps what it cannot read: Qf.
func SetAside(control string) (now string, err error) {
	now = filepath.Join(filepath.Dir(control), "Qf"+filepath.Base(control)[2:])
	return now, os.Rename(control, now)
}
