package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
)

// logIndex knows which messages are in the intake log and nowhere else. Messages leave it when their first attempt
// has ended, in one way or the other.
type logIndex struct {
	log *intakeLog

	mu   sync.Mutex
	here map[string]*logged
}

// logged is one message in the log.
type logged struct {
	index *logIndex
	id    string
	slot  slot
	busy  bool // some Message is open and locked
}

func (x *logIndex) find(id string) *logged {
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.here[id]
}

// take locks a message; nil: it is not here, or not any more.
func (x *logIndex) take(id string) (*logged, error) {
	if x == nil {
		return nil, nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	g := x.here[id]
	if g == nil {
		return nil, nil
	}
	if g.busy {
		return nil, ErrBusy
	}
	g.busy = true
	return g, nil
}

// add enters a message that was just written, locked.
func (x *logIndex) add(id string, s slot) *logged {
	g := &logged{index: x, id: id, slot: s, busy: true}
	x.mu.Lock()
	x.here[id] = g
	x.mu.Unlock()
	return g
}

func (g *logged) isBusy() bool {
	g.index.mu.Lock()
	defer g.index.mu.Unlock()
	return g.busy
}

func (g *logged) release() {
	g.index.mu.Lock()
	g.busy = false
	g.index.mu.Unlock()
}

// remove takes the message out of the log: it is done, or a file.
func (g *logged) remove() {
	g.index.mu.Lock()
	delete(g.index.here, g.id)
	g.index.mu.Unlock()
	g.index.log.done(g.slot)
}

// ids lists what is there.
func (x *logIndex) ids() []string {
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	ids := make([]string, 0, len(x.here))
	for id := range x.here {
		ids = append(ids, id)
	}
	return ids
}

// image is a message file that is not on the disk under its own name: its octets are in the log.
type image []byte

func (b image) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (b image) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (b image) Sync() error                        { return nil }
func (b image) Datasync() error                    { return nil }
func (b image) TryLock() (bool, error)             { return true, nil }
func (b image) Stat() (Info, error)                { return Info{Size: int64(len(b)), Links: 1, Regular: true}, nil }
func (b image) Close() error                       { return nil }

// toLog writes a finished draft into the log. ok false: it is to be a file of its own.
func (d *Draft) toLog() (m *Message, ok bool) {
	x := d.spool.logged
	if x == nil || d.spilled || d.err != nil || d.file != nil {
		return nil, false
	}
	h, text := d.image()
	s, err := x.log.append(d.id, text)
	if err != nil {
		// Full or broken: a file may still do.
		if !errors.Is(err, errLogFull) {
			d.spool.log.Warn("the intake log refused a message, which becomes a file", "id", d.id, "err", err)
		}
		d.buf = d.buf[:len(d.buf)-1] // the octet between message and journal: finish writes it again
		return nil, false
	}
	e := *d.envelope
	e.ID = d.id
	m = &Message{ID: d.id, Envelope: &e, s: d.spool, path: d.final(), file: image(text), head: h, sound: true, logged: x.add(d.id, s)}
	m.begin()
	d.err = fs.ErrClosed
	return m, true
}

// loadLogged opens a message of the log.
func (s *Spool) loadLogged(id string, lock bool) (*Message, error) {
	var g *logged
	var err error
	if lock {
		if g, err = s.logged.take(id); err != nil {
			return nil, fmt.Errorf("message %s: %w", id, err)
		}
	} else {
		g = s.logged.find(id)
	}
	if g == nil {
		return nil, nil
	}
	text, err := s.logged.log.read(id, g.slot)
	m := &Message{ID: id, s: s, path: s.at(queueDir, id), file: image(text), sound: true}
	if lock {
		m.logged = g
	}
	if err == nil {
		err = m.read()
	}
	if err != nil {
		if lock {
			g.release()
		}
		return nil, fmt.Errorf("message %s: %w", id, err)
	}
	for _, e := range s.unwritten(id) {
		e.apply(m)
	}
	return m, nil
}

// materialize makes a message of the log a file, with what was noted in its journal, and frees its place.
func (m *Message) materialize(pending []Entry) error {
	text := append([]byte(nil), m.file.(image)...)
	for _, e := range pending {
		text = appendLine(text, e)
	}
	d := &Draft{fs: m.s.fs, dir: filepath.Join(m.s.dir, queueDir), id: m.ID, suffix: "log", perm: 0o600, buf: text}
	f, err := d.place()
	if err != nil {
		return err
	}
	m.file, m.end, m.torn = f, int64(len(text)), false
	g := m.logged
	m.logged = nil
	g.remove()
	return nil
}

// place writes d.buf, which is a whole file, under its name.
func (d *Draft) place() (File, error) {
	d.err = d.spill()
	if d.err == nil {
		d.err = d.file.Sync()
	}
	return d.named()
}

// StartLog makes this process, which holds the daemon's lock, take messages of up to 64 KB into the intake log. size is
// that of a segment in octets, at least 1 MB, and most is the largest number of segments.
func (s *Spool) StartLog(size uint32, most int) error {
	last, err := s.lastEpoch()
	if err != nil {
		return err
	}
	x := &logIndex{here: map[string]*logged{}}
	if x.log, err = newIntakeLog(s.fs, filepath.Join(s.dir, logDir), s.log, size, most, last, s.pressure); err != nil {
		return fmt.Errorf("intake log: %w", err)
	}
	s.logged = x
	return nil
}

// pressure makes files of the messages in the oldest segment that nobody is delivering.
func (s *Spool) pressure(epoch uint64) {
	for _, id := range s.logged.ids() {
		g := s.logged.find(id)
		if g == nil || g.slot.epoch != epoch {
			continue
		}
		m, err := s.loadLogged(id, true)
		if err != nil || m == nil {
			continue
		}
		if err := m.materialize(s.unwritten(id)); err != nil {
			s.log.Warn("a message of the log cannot become a file now", "id", id, "err", err)
		}
		m.Close()
	}
}

// Logged is the number of messages that are in the intake log only.
func (s *Spool) Logged() int { return len(s.logged.ids()) }

// StopLog makes files of what is in the log and ends it. No message may be open.
func (s *Spool) StopLog() {
	if s.logged == nil {
		return
	}
	for _, id := range s.logged.ids() {
		m, err := s.loadLogged(id, true)
		if err != nil || m == nil {
			continue
		}
		if err := m.materialize(s.unwritten(id)); err != nil {
			s.log.Warn("a message stays in the log", "id", id, "err", err)
		}
		m.Close()
	}
	s.logged.log.close()
	s.logged = nil
}
