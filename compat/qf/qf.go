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
	files   []located // all of it
	dataLen int64
}

// located is a file by its directory.
type located struct {
	in   *place
	name string
}

// Open reads a control file and opens its data. Errors: ErrBusy, ErrGone, ErrDamaged, ErrUntrusted and what the disk says.
func (c File) Open() (m *Message, err error) {
	f, err := c.in.open(c.name)
	if err != nil {
		return nil, err
	}
	m = &Message{ID: c.name[2:], control: f, files: []located{{c.in, c.name}}}
	defer func() {
		if err != nil {
			m.Close()
			m = nil
		}
	}()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return m, fmt.Errorf("%s: %w", c.Path, ErrBusy)
	}
	if !c.in.is(c.name, f) {
		return m, fmt.Errorf("%s: %w", c.Path, ErrGone) // delivered while we waited
	}
	text, err := io.ReadAll(io.LimitReader(f, maxControl+1))
	if err != nil {
		return m, err
	}
	if len(text) > maxControl {
		return m, fmt.Errorf("%s: more than %d octets: %w", c.Path, maxControl, ErrDamaged)
	}
	if err := m.parse(string(text)); err != nil {
		return m, fmt.Errorf("%s: %w: %w", c.Path, err, ErrDamaged)
	}
	owner, err := m.checkOwner(c.in)
	if err != nil {
		return m, fmt.Errorf("%s: %w", c.Path, err)
	}
	in, name := c.in, "df"+m.ID
	m.data, err = in.open(name)
	if errors.Is(err, ErrGone) && c.up != nil {
		in = c.up
		var df *place
		if df, err = newPlace(in, "df"); err == nil {
			df.below = true
			m.files = append(m.files, located{df, name})
			m.data, err = df.open(name)
		}
	} else {
		m.files = append(m.files, located{in, name})
	}
	if errors.Is(err, ErrGone) || errors.Is(err, os.ErrNotExist) {
		return m, fmt.Errorf("%s: there is no %s: %w", c.Path, name, ErrDamaged)
	}
	if err != nil {
		return m, err
	}
	st, err := m.data.Stat()
	if err != nil {
		return m, err
	}
	if uid := ownerOf(st); !trusted(owner) && uid != owner {
		return m, fmt.Errorf("%s belongs to user %d, and %s to %d: %w", c.Path, owner, m.data.Name(), uid, ErrUntrusted)
	}
	m.dataLen = st.Size()
	m.Size = int64(len(m.header)) + 1 + m.dataLen
	if xf, err := newPlace(in, "xf"); err == nil {
		xf.below = true
		m.files = append(m.files, located{xf, "xf" + m.ID})
	}
	m.files = append(m.files, located{in, "xf" + m.ID}, located{in, "tf" + m.ID})
	return m, nil
}

// checkOwner is about who wrote the control file: with it one chooses whose programs run, so that only those of root and of
// whoever we are may name any. Nobody else may be able to write it at all. In somebody else's directory everything is
// theirs: they may have moved it there.
func (m *Message) checkOwner(in *place) (owner int, err error) {
	st, err := m.control.Stat()
	if err != nil {
		return 0, err
	}
	if owner = ownerOf(st); !trusted(in.owner) {
		owner = in.owner
	}
	if st.Mode().Perm()&0o002 != 0 || in.loose {
		return owner, fmt.Errorf("everybody may write it, or its directory: %w", ErrUntrusted)
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

func linksOf(info os.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 1
}

// Body reads the message from its beginning: header, empty line, body, lines ending in LF.
func (m *Message) Body() io.Reader {
	return io.MultiReader(strings.NewReader(m.header), strings.NewReader("\n"), io.NewSectionReader(m.data, 0, m.dataLen))
}

// Remove takes the message out of sendmail's queue: it is safe elsewhere. The control file goes first: without it
// sendmail knows nothing of the rest.
func (m *Message) Remove() error {
	for i, f := range m.files {
		if err := f.in.remove(f.name); err != nil && (i == 0 || !errors.Is(err, os.ErrNotExist)) {
			return err
		}
	}
	return nil
}

// Close unlocks it.
func (m *Message) Close() error {
	for _, f := range m.files {
		if f.in.below {
			f.in.dir.Close()
		}
	}
	if m.data != nil {
		m.data.Close()
	}
	return m.control.Close()
}
