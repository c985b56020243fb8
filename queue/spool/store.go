package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"waybill/transport/envelope"
)

// staleAfter is the age at which a half-written file whose writer is gone is removed.
const staleAfter = 10 * time.Minute

// Spool is a spool directory. It is safe for concurrent use, and several processes may have the same one open.
type Spool struct {
	dir string
	fs  FS
	log *slog.Logger
	ids IDs

	logged *logIndex // nil: every message is a file
	large  atomic.Int32
	// memories are of drafts and of messages that came from one: *[draftMemory]byte.
	memories sync.Pool
	disks    []*disk // the first is dir
	turn     atomic.Uint32

	calendar func() time.Time

	mu     sync.Mutex
	memory map[string][]Entry // journal entries that could not be written
	settle *time.Timer        // set while removals are not synced
	told   map[string]bool    // foreign names that were logged
}

// Open opens the spool at dir and makes the directories that are missing: for this user only, but for the drop
// directory, which an installation opens to the front end's group.
func Open(dir string, fsys FS, log *slog.Logger) (*Spool, error) {
	for i, d := range []string{dir, filepath.Join(dir, queueDir), filepath.Join(dir, holdDir), filepath.Join(dir, badDir), filepath.Join(dir, dropDir)} {
		perm := fs.FileMode(0o700)
		if i == 0 {
			perm = 0o755
		}
		if _, err := fsys.Stat(d); err == nil {
			continue
		}
		if err := makeDir(fsys, d, perm); err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
	}
	s := &Spool{dir: dir, disks: []*disk{{dir: dir}}, fs: fsys, log: log, calendar: time.Now, memory: map[string][]Entry{}, told: map[string]bool{}}
	s.memories.New = func() any { return new([draftMemory]byte) }
	if _, real := fsys.(OS); real {
		s.adoptFlat()
	}
	return s, nil
}

// makeDir makes a directory, durably: without that a power cut may take it away with all that was synced in it. The
// directory above the spool may be one that we cannot read.
func makeDir(fsys FS, dir string, perm fs.FileMode) error {
	if err := fsys.Mkdir(dir, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	err := fsys.SyncDir(filepath.Dir(dir))
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = fsys.SyncDir(dir) // without a journal an empty directory has a block of its own to write
	}
	return err
}

// Dir is the spool directory.
func (s *Spool) Dir() string { return s.dir }

// Socket is where the daemon listens.
func (s *Spool) Socket() string { return filepath.Join(s.dir, socketName) }

func (s *Spool) at(dir, id string) string { return filepath.Join(s.dir, dir, id) }

// LockDaemon is Lock and Recover: for a process that works with files only.
func (s *Spool) LockDaemon() (unlock func() error, err error) {
	if unlock, err = s.Lock(); err != nil {
		return nil, err
	}
	if err = s.Recover(); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// Lock takes the spool for the one daemon that may run it, until unlock. What a crash left in the intake log is to be
// taken over next, with StartLog or with Recover. ErrBusy: there is a daemon.
func (s *Spool) Lock() (unlock func() error, err error) {
	name := filepath.Join(s.dir, lockName)
	f, err := s.fs.Create(name, 0o600)
	if err == nil {
		f.Close()
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if f, err = s.fs.Open(name, false); err != nil {
		return nil, err
	}
	ok, err := f.TryLock()
	if err == nil && !ok {
		err = fmt.Errorf("%s: a daemon has this spool: %w", name, ErrBusy)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f.Close, nil
}

// Create begins a new message in the queue. e.ID is used if it is set; fs.ErrExist means that the spool has a message
// of that id. The caller ends the draft with Commit or Abort.
func (s *Spool) Create(e *envelope.Envelope) (*Draft, error) {
	id := e.ID
	if id == "" {
		id = s.NewID()
	} else if !ValidID(id) {
		return nil, fmt.Errorf("%q is not a queue id", id)
	}
	for _, dir := range []string{queueDir, holdDir} {
		if e.ID == "" {
			break // made a moment ago; the rename settles the rest
		}
		if _, err := s.fs.Stat(s.where(dir, id)); err == nil || s.logged.find(id) != nil {
			return nil, fmt.Errorf("message %s: %w", id, fs.ErrExist)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	on := s.pick()
	d, err := newDraft(s.fs, filepath.Join(on.dir, queueDir), id, 0o600, e)
	if err != nil {
		return nil, err
	}
	d.spool, d.envelope, d.on = s, e, on
	return d, nil
}

// NewID returns a queue id that was never given before.
func (s *Spool) NewID() string { return s.ids.New(s.calendar()) }

// SetCalendar makes ids tell the time of another clock. It is called before anything else.
func (s *Spool) SetCalendar(now func() time.Time) { s.calendar = now }

// ID is the id that the message will have.
func (d *Draft) ID() string { return d.id }

// Commit makes the message durable: when it returns nil, the message is safe. It is locked for the caller, who
// delivers or closes it. On an error nothing was accepted and nothing stays.
func (d *Draft) Commit() (*Message, error) {
	if d.spool.logged != nil { // what is in the log counts
		if err := d.vouched(); err != nil {
			d.Abort()
			return nil, fmt.Errorf("message %s: %w", d.id, err)
		}
	}
	if m, ok := d.toLog(); ok {
		return m, nil
	}
	f, h, err := d.commitSomewhere()
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", d.id, err)
	}
	if x := d.spool.logged; x != nil && !d.spilled {
		x.log.choke(nil) // the disk takes files again
	}
	e := *d.envelope
	e.ID = d.id
	m := &Message{ID: d.id, Envelope: &e, s: d.spool, path: d.final(), file: f, head: h, sound: true}
	m.begin()
	return m, nil
}

// Load opens and locks a queued message. Errors: ErrBusy, ErrGone, ErrDamaged, or what the disk says.
func (s *Spool) Load(id string) (*Message, error) {
	if m, err := s.loadLogged(s.logged, id, true); m != nil || err != nil {
		return m, err
	}
	return s.open(queueDir, id, true)
}

// LoadHeld is Load for the hold directory.
func (s *Spool) LoadHeld(id string) (*Message, error) { return s.open(holdDir, id, true) }

// Peek reads a queued or held message without locking it, for listings. The caller closes it.
func (s *Spool) Peek(id string, held bool) (*Message, error) {
	if held {
		return s.open(holdDir, id, false)
	}
	if m, err := s.loadLogged(s.logged, id, false); m != nil || err != nil {
		return m, err
	}
	return s.open(queueDir, id, false)
}

func (s *Spool) open(dir, id string, lock bool) (*Message, error) {
	if !ValidID(id) {
		return nil, fmt.Errorf("%q is not a queue id: %w", id, ErrGone)
	}
	m := &Message{ID: id, s: s, path: s.where(dir, id)}
	var err error
	if m.file, err = s.fs.Open(m.path, lock); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("message %s: %w", id, ErrGone)
		}
		return nil, err
	}
	if lock {
		err = m.lock()
	}
	if err == nil {
		err = m.read()
	}
	if err != nil {
		m.file.Close()
		return nil, fmt.Errorf("message %s: %w", id, err)
	}
	for _, e := range s.unwritten(id) {
		e.apply(m)
	}
	return m, nil
}

// lock takes the file's lock, and makes sure that the name is still this file's.
func (m *Message) lock() error {
	ok, err := m.file.TryLock()
	if err != nil {
		return err
	}
	if !ok {
		return ErrBusy
	}
	mine, err := m.file.Stat()
	if err != nil {
		return err
	}
	named, err := m.s.fs.Stat(m.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && named.Inode != mine.Inode {
		return ErrGone
	}
	if err == nil && mine.Links > 1 {
		return m.halfMoved(mine)
	}
	return err
}

// halfMoved takes the old name away from a message that a crash left with two.
func (m *Message) halfMoved(mine Info) error {
	for _, dir := range []string{holdDir, badDir} {
		path := beside(m.path, dir, m.ID)
		if st, err := m.s.fs.Stat(path); err == nil && st.Inode == mine.Inode && path != m.path {
			m.s.log.Info("message was being moved when the machine stopped", "id", m.ID, "now", path)
			return errors.Join(ErrGone, m.s.fs.Remove(m.path))
		}
	}
	return nil
}

// Busy reports whether somebody works on the message now. It takes no lock that others could stumble over for longer
// than a moment.
func (s *Spool) Busy(id string) bool {
	if g := s.logged.find(id); g != nil {
		return g.isBusy()
	}
	f, err := s.fs.Open(s.where(queueDir, id), false)
	if err != nil {
		return false
	}
	defer f.Close()
	ok, err := f.TryLock()
	return err == nil && !ok
}

// Queued calls f with the id of each queued message until it returns false. Foreign names are logged once; half-written
// files whose writer is gone are removed.
func (s *Spool) Queued(f func(id string) bool) error {
	seen := map[string]bool{}
	for _, id := range s.logged.ids() {
		seen[id] = true // it may become a file before the directory is read
		if !f(id) {
			return nil
		}
	}
	return s.each(queueDir, func(id string) bool { return seen[id] || f(id) })
}

// Held is Queued for the hold directory.
func (s *Spool) Held(f func(id string) bool) error { return s.each(holdDir, f) }

// Dropped calls f with the name of each file in the drop directory that a front end has finished.
func (s *Spool) Dropped(f func(id string) bool) error { return s.each(dropDir, f) }

func (s *Spool) eachIn(dir string, f func(id string) bool) error {
	return s.fs.ReadDir(dir, func(name string) bool {
		if ValidID(name) {
			return f(name)
		}
		if id, _, ok := strings.Cut(strings.TrimPrefix(name, "."), "."); ok && name[0] == '.' && ValidID(id) {
			s.sweep(dir, name)
			return true
		}
		path := filepath.Join(dir, name)
		s.mu.Lock()
		known := s.told[path]
		if len(s.told) < 10000 {
			s.told[path] = true
		}
		s.mu.Unlock()
		if !known {
			s.log.Warn("not a file of the spool, left alone", "file", path)
		}
		return true
	})
}

// sweep removes a half-written file if its writer is gone.
func (s *Spool) sweep(dir, name string) {
	path := filepath.Join(dir, name)
	st, err := s.fs.Stat(path)
	if err != nil || !st.Regular || time.Since(st.ModTime) < staleAfter {
		return
	}
	f, err := s.fs.Open(path, false)
	if err != nil {
		return
	}
	defer f.Close()
	if ok, err := f.TryLock(); err != nil || !ok {
		return
	}
	s.log.Info("half-written file removed: its writer died before it was accepted", "file", path)
	if err := s.fs.Remove(path); err != nil {
		s.log.Warn("cannot remove a half-written file", "file", path, "err", err)
	}
}

// SetAside moves a queued message that Load found damaged to the bad directory, with a log line.
func (s *Spool) SetAside(id string, reason error) error {
	if g := s.logged.find(id); g != nil {
		return s.setLoggedAside(g, reason)
	}
	return s.setAside(s.where(queueDir, id), reason)
}

func (s *Spool) setAside(path string, reason error) error {
	name := filepath.Base(path)
	to := beside(path, badDir, name)
	for n := 1; ; n++ {
		err := s.move(path, to)
		if errors.Is(err, unix.EPERM) { // proc_sys_fs(5), protected_hardlinks: no second name for a file of another user
			if err = s.fs.Rename(path, to); err == nil {
				err = errors.Join(s.fs.SyncDir(filepath.Dir(to)), s.fs.SyncDir(filepath.Dir(path)))
			}
		}
		if errors.Is(err, fs.ErrExist) && n < 1000 {
			to = beside(path, badDir, fmt.Sprintf("%s.%d", name, n))
			continue
		}
		if err != nil {
			s.log.Error("a damaged file cannot be set aside", "id", name, "file", path, "reason", reason, "err", err)
			return err
		}
		break
	}
	s.log.Error("a damaged file was set aside", "id", name, "file", to, "reason", reason)
	return nil
}

// move takes a file to another directory. A rename would do on most file systems; but where there is no journal, a power
// cut may keep the removal of the old name and lose the new one.
func (s *Spool) move(from, to string) error {
	if err := s.fs.Link(from, to); err != nil {
		return err
	}
	if err := s.fs.SyncDir(filepath.Dir(to)); err != nil {
		return errors.Join(err, s.fs.Remove(to))
	}
	if err := s.fs.Remove(from); err != nil {
		return errors.Join(err, s.fs.Remove(to))
	}
	return s.fs.SyncDir(filepath.Dir(from))
}

// settleAfter is how long removals may stay unsynced. Each that a power cut takes back is a message delivered twice.
const settleAfter = 5 * time.Millisecond

// removed plans a sync of the queue directory.
func (s *Spool) removed(path string) {
	for _, d := range s.disks {
		if len(s.disks) > 1 && d.dir == filepath.Dir(filepath.Dir(path)) {
			d.removed.Store(true)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settle == nil {
		s.settle = time.AfterFunc(settleAfter, s.Settle)
	}
}

// Settle syncs the removals that are not yet.
func (s *Spool) Settle() {
	s.mu.Lock()
	timer := s.settle
	s.settle = nil
	s.mu.Unlock()
	if timer == nil {
		return
	}
	timer.Stop()
	for _, d := range s.disks {
		if len(s.disks) > 1 && !d.removed.Swap(false) {
			continue
		}
		if err := s.fs.SyncDir(filepath.Join(d.dir, queueDir)); err != nil {
			s.log.Warn("removals are not synced: after a crash some messages may be delivered twice", "dir", d.dir, "err", err)
		}
	}
}

// unwritten returns a copy of what could not be written to the journal of id.
func (s *Spool) unwritten(id string) []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Entry(nil), s.memory[id]...)
}

func (s *Spool) remember(id string, entries []Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(entries) == 0 {
		delete(s.memory, id)
	} else {
		s.memory[id] = entries
	}
}
