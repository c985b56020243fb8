package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// logLimit is the largest message file, in octets, that goes into the log.
const logLimit = 1 << 20

// logIndex knows which messages are in the intake log and nowhere else. Messages leave it when their first attempt
// has ended, in one way or the other.
type logIndex struct {
	log *intakeLog

	mu   sync.Mutex
	here map[string]*logged
}

// logged is one message in the log.
type logged struct {
	index   *logIndex
	id      string
	slot    slot
	since   time.Time
	journal []byte // what was noted about it
	busy    bool   // some Message is open and locked
	marked  bool   // the log says that it is done
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
	g := &logged{index: x, id: id, slot: s, busy: true, since: time.Now()}
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
	if g.marked {
		g.index.log.vacate(g.slot)
	} else {
		g.index.log.done(g.slot)
	}
}

// ids lists what is there.
func (x *logIndex) ids() []string { return x.which(func(*logged) bool { return true }) }

// which lists the messages that want says yes to.
func (x *logIndex) which(want func(g *logged) bool) []string {
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	ids := make([]string, 0, len(x.here))
	for id, g := range x.here {
		if want(g) {
			ids = append(ids, id)
		}
	}
	return ids
}

// toLog writes a finished draft into the log. ok false: it is to be a file of its own.
func (d *Draft) toLog() (m *Message, ok bool) {
	x := d.spool.logged
	if x == nil || d.plain || d.spilled || d.err != nil || d.file != nil {
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
	file := &image{text: text, size: int64(len(text))}
	if len(text) > draftBuffer { // the memory is for those who are still writing
		if f, off, err := x.log.read(d.id, s); err == nil {
			file.text, file.segment, file.off = nil, f, off
		}
		d.giveBack()
	}
	if memory := d.memory; memory != nil {
		d.memory, d.buf = nil, nil
		if len(text) <= draftMemory && len(file.text) > 0 { // text is in it
			file.free = func() { d.spool.memories.Put(memory) }
		} else {
			d.spool.memories.Put(memory)
		}
	}
	m = &Message{ID: d.id, Envelope: &e, s: d.spool, path: d.final(), file: file, head: h, sound: true, logged: x.add(d.id, s)}
	m.begin()
	d.err = fs.ErrClosed
	return m, true
}

// loadLogged opens a message of the log; nil: it is not there.
func (s *Spool) loadLogged(x *logIndex, id string, lock bool) (*Message, error) {
	var g *logged
	var err error
	if lock {
		if g, err = x.take(id); err != nil {
			return nil, fmt.Errorf("message %s: %w", id, err)
		}
	} else {
		g = x.find(id)
	}
	if g == nil {
		return nil, nil
	}
	f, off, err := x.log.read(id, g.slot)
	if err == nil {
		x.mu.Lock()
		journal := g.journal
		x.mu.Unlock()
		m := &Message{ID: id, s: s, path: s.at(queueDir, id), file: &image{segment: f, off: off, size: int64(g.slot.size), journal: journal}}
		if err = m.read(); err == nil {
			if lock {
				m.logged = g
			}
			for _, e := range s.unwritten(id) {
				e.apply(m)
			}
			return m, nil
		}
		f.Close()
	}
	if lock {
		g.release()
	} else if x.find(id) == nil {
		return nil, nil // it left the log meanwhile
	}
	return nil, fmt.Errorf("message %s: %w", id, err)
}

// Checkpoint writes down what was noted while more is to come in the same attempt: a crash repeats little. Nothing of it
// need be durable.
func (m *Message) Checkpoint() error {
	if m.logged == nil {
		return m.Flush(false)
	}
	var text []byte
	for _, e := range append(m.s.unwritten(m.ID), m.noted...) {
		text = appendLine(text, e)
	}
	if looksLikeRecords(append(make([]byte, slotLength), text...)) {
		return nil // it is written at the end of the attempt, when nobody reads the message any more
	}
	m.noted = nil
	m.s.remember(m.ID, nil)
	if len(text) == 0 {
		return nil
	}
	g := m.logged
	g.index.mu.Lock()
	g.journal = append(g.journal[:len(g.journal):len(g.journal)], text...)
	g.index.mu.Unlock()
	g.index.log.journal(g.slot, g.id, text)
	return nil
}

// materialize makes a message of the log a file, with what was noted in its journal, and frees its place.
func (m *Message) materialize(pending []Entry) error {
	var text []byte
	for _, e := range pending {
		text = appendLine(text, e)
	}
	d, err := m.draft(text)
	var f File
	if err == nil {
		f, err = d.named()
	}
	m.logged.index.log.choke(err)
	if err != nil {
		return err
	}
	m.file.Close()
	m.file, m.end, m.torn = f, d.off, false
	g := m.logged
	m.logged = nil
	g.remove()
	return nil
}

// draft writes a message of the log into a file that has no name yet, and syncs it. journal comes behind what the log
// has.
func (m *Message) draft(journal []byte) (*Draft, error) {
	m.logged.index.mu.Lock()
	journal = append(m.logged.journal[:len(m.logged.journal):len(m.logged.journal)], journal...)
	m.logged.index.mu.Unlock()
	on := m.s.pick()
	d, err := m.draftOn(on, journal)
	for _, other := range m.s.others(on) {
		if err == nil {
			break
		}
		m.s.spurn(on, err)
		on = other
		d, err = m.draftOn(on, journal)
	}
	if err == nil {
		m.path = d.final()
	}
	return d, err
}

func (m *Message) draftOn(on *disk, journal []byte) (*Draft, error) {
	d := &Draft{fs: m.s.fs, dir: filepath.Join(on.dir, queueDir), id: m.ID, suffix: "log", perm: 0o600}
	d.fs.Remove(d.temp()) // of a crash
	err := d.create()
	size := int64(m.logged.slot.size)
	if err == nil {
		buf := make([]byte, min(size, draftBuffer))
		for d.off < size && err == nil {
			part := buf[:min(size-d.off, int64(len(buf)))]
			if _, err = m.file.ReadAt(part, d.off); err == nil || err == io.EOF {
				_, err = d.file.WriteAt(part, d.off)
			}
			d.off += int64(len(part))
		}
	}
	if err == nil && len(journal) > 0 {
		_, err = d.file.WriteAt(journal, d.off)
		d.off += int64(len(journal))
	}
	if err == nil {
		err = d.file.Sync()
	}
	if err != nil {
		d.Abort()
		return nil, err
	}
	return d, nil
}

// toFiles makes files of messages of the log, several at a time, because a file system commits what comes together at
// once. It returns what became of each. Those that somebody is at are left alone: ErrBusy.
func (s *Spool) toFiles(x *logIndex, ids []string) []error {
	const atATime, together = 16, 512
	errs := make([]error, len(ids))
	for start := 0; start < len(ids); start += together {
		part := ids[start:min(len(ids), start+together)]
		messages, drafts := make([]*Message, len(part)), make([]*Draft, len(part))
		var wait sync.WaitGroup
		work := make(chan int)
		for range min(atATime, len(part)) {
			wait.Go(func() {
				for i := range work {
					messages[i], drafts[i], errs[start+i] = s.toFile(x, part[i])
				}
			})
		}
		for i := range part {
			work <- i
		}
		close(work)
		wait.Wait()
		synced := map[string]error{}
		for i, m := range messages {
			if m == nil {
				continue
			}
			if d := drafts[i]; d != nil {
				err, ok := synced[d.dir]
				if !ok {
					err = s.fs.SyncDir(d.dir)
					synced[d.dir] = err
				}
				if err != nil {
					errs[start+i] = errors.Join(err, s.fs.Remove(d.final()))
				} else {
					g := m.logged
					m.logged = nil
					g.remove()
					s.remember(m.ID, nil)
				}
				d.file.Close()
			}
			m.Close()
		}
	}
	return errs
}

// toFile gives a message of the log a file under its name; the directory is not synced yet.
func (s *Spool) toFile(x *logIndex, id string) (*Message, *Draft, error) {
	m, err := s.loadLogged(x, id, true)
	if m != nil {
		if err = m.Verify(); err != nil {
			m.Close()
		}
	}
	if errors.Is(err, ErrDamaged) || errors.Is(err, unix.EIO) {
		err = s.setLoggedAside(x.find(id), err)
		m = nil
	}
	if err != nil || m == nil {
		return nil, nil, err
	}
	var text []byte
	for _, e := range s.unwritten(id) {
		text = appendLine(text, e)
	}
	d, err := m.draft(text)
	if err == nil {
		err = s.fs.Rename(d.temp(), d.final())
		if err != nil {
			d.Abort()
			d = nil
		}
	}
	return m, d, err
}

// setLoggedAside copies what the log has of a damaged message to the bad directory, with a log line, and frees its place.
func (s *Spool) setLoggedAside(g *logged, reason error) error {
	if g == nil {
		return ErrGone
	}
	from, err := g.index.log.file(g.id, g.slot)
	to := s.at(badDir, g.id)
	d := &Draft{fs: s.fs, dir: filepath.Join(s.dir, badDir), id: g.id, suffix: "log", perm: 0o600}
	if err == nil {
		if err = d.create(); err == nil {
			err = copyOut(d.file, from, int64(g.slot.off)+recordHeader, int64(g.slot.size))
		}
		from.Close()
		if err == nil {
			err = d.file.Sync()
		}
		d.err = err
		var f File
		if f, err = d.named(); err == nil {
			err = f.Close()
		}
	}
	if err != nil {
		s.log.Error("a damaged message of the intake log cannot be set aside", "id", g.id, "reason", reason, "err", err)
		return err
	}
	s.log.Error("a damaged file was set aside", "id", g.id, "file", to, "reason", reason)
	g.remove()
	return nil
}

// pressure makes files of the messages in the oldest segment that nobody is delivering.
func (s *Spool) pressure(x *logIndex, epoch uint64) {
	s.makeFiles(x, func(g *logged) bool { return g.slot.epoch == epoch && !g.busy })
}

// SettleLog makes files of the messages that have been in the log for longer than age and that nobody is delivering.
func (s *Spool) SettleLog(age time.Duration) {
	if s.logged != nil {
		s.makeFiles(s.logged, func(g *logged) bool { return !g.busy && time.Since(g.since) > age })
	}
}

func (s *Spool) makeFiles(x *logIndex, want func(g *logged) bool) {
	ids := x.which(want)
	for i, err := range s.toFiles(x, ids) {
		if errors.Is(err, ErrBusy) || errors.Is(err, ErrGone) {
			continue
		}
		x.log.choke(err)
		if err != nil {
			s.log.Warn("a message of the log cannot become a file now", "id", ids[i], "err", err)
			return
		}
	}
}

// Logged is the number of messages that are in the intake log only.
func (s *Spool) Logged() int { return len(s.logged.ids()) }

// StopLog makes files of what is in the log and ends it. No message may be open.
func (s *Spool) StopLog() {
	if s.logged == nil {
		return
	}
	s.makeFiles(s.logged, func(*logged) bool { return true })
	s.logged.log.close()
	s.logged = nil
}
