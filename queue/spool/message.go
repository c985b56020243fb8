package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"waybill/transport/envelope"
)

// maxJournal is the largest journal that is read, in octets.
const maxJournal = 64 << 20

// Message is a message file that is open. One that came from Commit or Load is locked until Close: nobody else
// delivers it.
type Message struct {
	ID         string
	Envelope   *envelope.Envelope
	Recipients []Recipient // those of the envelope, then members
	Size       int64       // octets of the message
	Attempts   int
	LastTry    time.Time // zero before the first
	NextTry    time.Time // zero before the first
	HeldFor    string    // the reason that was given when it was held

	s     *Spool
	path  string
	file  File
	head  head
	sound bool  // the message's checksum is known to be right
	end   int64 // where the next journal line goes
	torn  bool  // what is before end has no line end
	top   int   // the next free recipient index
	noted []Entry

	logged *logged // the message is in the intake log, and this is its lock; nil: it is a file, or not locked
}

func (h head) bodyAt() int64 { return int64(headLength + h.env) }

// Body is the message. It can be read until Close.
func (m *Message) Body() envelope.Body { return section{m.file, m.head.bodyAt(), m.head.body} }

type section struct {
	r    io.ReaderAt
	off  int64
	size int64
}

func (s section) Open() (io.ReadCloser, error) {
	return struct {
		*io.SectionReader
		io.Closer
	}{io.NewSectionReader(s.r, s.off, s.size), noClose{}}, nil
}

func (s section) Size() int64 { return s.size }

type noClose struct{}

func (noClose) Close() error { return nil }

// Verify reads the message through and checks it, unless this process wrote it. ErrDamaged: set it aside.
func (m *Message) Verify() error {
	if m.sound {
		return nil
	}
	crc, err := checksum(m.file, m.head)
	if err != nil {
		return fmt.Errorf("%s: %w", m.path, err)
	}
	if crc != m.head.crc {
		return fmt.Errorf("%s: message checksum %08x, should be %08x: %w", m.path, crc, m.head.crc, ErrDamaged)
	}
	m.sound = true
	return nil
}

func checksum(f io.ReaderAt, h head) (uint32, error) {
	sum := summer{w: io.Discard}
	n, err := io.Copy(&sum, io.NewSectionReader(f, h.bodyAt(), h.body))
	if err == nil && n < h.body {
		err = fmt.Errorf("message has %d octets of %d: %w", n, h.body, ErrDamaged)
	}
	return sum.crc, err
}

// readHead reads first line and envelope of a file of this size.
func readHead(f File, size int64) (head, *envelope.Envelope, error) {
	first := make([]byte, min(size, 4096))
	if _, err := f.ReadAt(first, 0); err != nil && err != io.EOF {
		return head{}, nil, err
	}
	if len(first) < headLength {
		return head{}, nil, fmt.Errorf("first line: %w", ErrDamaged)
	}
	h, err := parseHead(first[:headLength])
	if err != nil {
		return h, nil, err
	}
	if size < h.bodyAt()+h.body+1 {
		return h, nil, fmt.Errorf("file has %d octets, should have %d or more: %w", size, h.bodyAt()+h.body+1, ErrDamaged)
	}
	env := first[headLength:min(int64(len(first)), h.bodyAt())]
	if len(env) < h.env {
		env = make([]byte, h.env)
		if _, err := f.ReadAt(env, int64(headLength)); err != nil {
			return h, nil, err
		}
	}
	if string(h.render(env)) != string(first[:headLength]) {
		return h, nil, fmt.Errorf("envelope checksum: %w", ErrDamaged)
	}
	text, ok := strings.CutSuffix(string(env), "\n")
	if !ok {
		return h, nil, fmt.Errorf("envelope: %w", ErrDamaged)
	}
	e, err := ParseEnvelope(text)
	if err != nil {
		return h, nil, fmt.Errorf("%w: %w", err, ErrDamaged)
	}
	return h, e, nil
}

// read fills m from its file.
func (m *Message) read() error {
	st, err := m.file.Stat()
	if err != nil {
		return err
	}
	if !st.Regular {
		return errors.New("not a regular file")
	}
	m.head, m.Envelope, err = readHead(m.file, st.Size)
	if err != nil {
		return err
	}
	if m.Envelope.ID != m.ID {
		return fmt.Errorf("the envelope says id %q: %w", m.Envelope.ID, ErrDamaged)
	}
	m.begin()
	return m.readJournal(st.Size)
}

// begin sets what follows from head and envelope, before any journal.
func (m *Message) begin() {
	m.Size = m.head.body
	m.end = m.head.bodyAt() + m.head.body + 1
	m.Recipients = make([]Recipient, len(m.Envelope.Recipients))
	for i, r := range m.Envelope.Recipients {
		m.Recipients[i] = Recipient{Recipient: r, Parent: -1}
	}
	m.top = len(m.Recipients)
}

func (m *Message) readJournal(size int64) error {
	if size == m.end {
		return nil
	}
	if size-m.end > maxJournal {
		return fmt.Errorf("journal of %d octets: %w", size-m.end, ErrDamaged)
	}
	text := make([]byte, size-m.end)
	if _, err := m.file.ReadAt(text, m.end); err != nil && err != io.EOF {
		return err
	}
	m.end = size
	bad := 0
	rest := string(text)
	for n := 1; rest != ""; n++ {
		var line string
		var whole bool
		line, rest, whole = strings.Cut(rest, "\n")
		if !whole {
			m.torn = true
			m.s.log.Debug("the last journal line is torn", "id", m.ID, "line", n)
			return nil
		}
		if line == "" {
			continue
		}
		e, err := parseEntry(line)
		if err == nil {
			err = e.apply(m)
		}
		if err != nil {
			if bad++; bad <= 3 {
				m.s.log.Warn("journal line ignored: a recipient may get this message twice", "id", m.ID, "file", m.path, "line", n, "err", err)
			}
		}
	}
	return nil
}

// NextIndex is the index that the first member of the next Expansion gets.
func (m *Message) NextIndex() int { return max(m.top, len(m.Recipients)) }

// Note applies entries to m; Flush or Finish takes them to the disk.
func (m *Message) Note(entries ...Entry) error {
	for _, e := range entries {
		if err := e.apply(m); err != nil {
			return fmt.Errorf("message %s: %w", m.ID, err)
		}
		m.noted = append(m.noted, e)
	}
	return nil
}

// Flush appends what was noted to the journal; with sync it is durable when Flush returns nil. On an error it holds all
// the same for this process, which remembers it until it could be written.
func (m *Message) Flush(sync bool) error {
	pending := append(m.s.unwritten(m.ID), m.noted...)
	m.noted = nil
	if len(pending) == 0 {
		return nil
	}
	var err error
	if m.logged != nil {
		err = m.materialize(pending)
	} else {
		err = m.write(pending, sync)
	}
	if err != nil {
		m.s.remember(m.ID, pending)
		return fmt.Errorf("journal of %s: %w", m.ID, err)
	}
	m.s.remember(m.ID, nil)
	return nil
}

func (m *Message) write(entries []Entry, sync bool) error {
	var b []byte
	if m.torn {
		b = append(b, '\n')
	}
	for _, e := range entries {
		b = appendLine(b, e)
	}
	_, err := m.file.WriteAt(b, m.end)
	if err == nil && sync {
		err = m.file.Sync()
	}
	if err != nil {
		// Part of it may stand there: what comes next begins behind it, on a line of its own.
		m.torn = true
		if st, serr := m.file.Stat(); serr == nil {
			m.end = st.Size
		}
		return err
	}
	m.torn = false
	m.end += int64(len(b))
	return nil
}

// Done reports whether nothing is left to do for any recipient.
func (m *Message) Done() bool {
	for i := range m.Recipients {
		if !m.Recipients[i].Done() {
			return false
		}
	}
	return true
}

// Seal says where a crash finds it that nothing is left to do. Finish follows: between the two a caller may write logs,
// which takes time, and a message that was delivered meanwhile would be delivered again.
func (m *Message) Seal() {
	if g := m.logged; g != nil && !g.marked {
		g.index.log.mark(g.slot)
		g.marked = true
	}
}

// Finish removes the message: nothing is left to do. What was noted needs no line in the journal, unless the file
// cannot be removed.
func (m *Message) Finish() error {
	if m.logged != nil {
		m.leaveLog()
		return nil
	}
	err := m.s.fs.Remove(m.path)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		m.noted = nil
		m.s.remember(m.ID, nil)
		m.s.removed(m.path)
		return nil
	}
	return errors.Join(fmt.Errorf("message %s is done and cannot be removed: %w", m.ID, err), m.Flush(true))
}

// Remove takes the message away whatever is left to do: an operator wants it so.
func (m *Message) Remove() error {
	if m.logged != nil {
		m.leaveLog()
		return nil
	}
	if err := m.s.fs.Remove(m.path); err != nil {
		return err
	}
	m.s.remember(m.ID, nil)
	return nil
}

// Hold moves the message to the hold directory, or with false back to the queue.
func (m *Message) Hold(hold bool) error {
	to := queueDir
	if hold {
		to = holdDir
	}
	path := beside(m.path, to, m.ID)
	if path == m.path {
		return nil
	}
	if m.logged != nil {
		if err := m.materialize(append(m.s.unwritten(m.ID), m.noted...)); err != nil {
			return err
		}
		m.noted = nil
	}
	err := m.s.move(m.path, path)
	if err == nil {
		m.path = path
	}
	return err
}

// SetAside moves a damaged message to the bad directory.
func (m *Message) SetAside(reason error) error {
	if m.logged != nil {
		if err := m.materialize(nil); err != nil {
			return err
		}
	}
	return m.s.setAside(m.path, reason)
}

// Close releases the lock.
func (m *Message) Close() error {
	if m.logged != nil {
		m.logged.release()
		m.logged = nil
	}
	return m.file.Close()
}

// leaveLog ends a message of the log.
func (m *Message) leaveLog() {
	m.logged.remove()
	m.logged, m.noted = nil, nil
	m.s.remember(m.ID, nil)
}

// Source is the checksum of the message as it was handed in.
func (m *Message) Source() uint32 { return m.head.src }
