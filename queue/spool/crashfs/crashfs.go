// Package crashfs is a file system in memory that can fail or stop at any step, and that knows what a power cut would
// leave: a spool.FS for tests. Octets flow in through files; Crash returns the file system that a restart would find.
package crashfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"waybill/queue/spool"
)

// ErrStopped is what every operation returns after the step at which the machine stopped.
var ErrStopped = errors.New("the machine has stopped")

// Loss says how much of what was not synced a crash takes.
type Loss uint8

const (
	Nothing Loss = iota // a killed process: the kernel still writes everything
	All                 // a power cut at its worst: only what was synced is left
	Some                // a power cut: of what was not synced, any part, and a part of a write
)

// FS is such a file system. Make one with New.
type FS struct {
	mu      sync.Mutex
	dirs    map[string]*dir
	inodes  uint64
	step    int
	stopAt  int // 0: never
	torn    bool
	failAt  map[int]error
	failAll error // every change fails with it: a full or read-only disk
}

type dir struct {
	names   map[string]*inode
	durable map[string]*inode
	pending []change
}

type change struct {
	name string
	node *inode // nil: removed
}

type inode struct {
	number  uint64
	data    []byte
	durable []byte
	pending []write
	links   uint64
	locked  *file
	mod     time.Time
	uid     int
}

type write struct {
	off  int64
	data []byte
}

// New returns an empty file system.
func New() *FS { return &FS{dirs: map[string]*dir{}, failAt: map[int]error{}} }

// StopAt makes step n, counted from 1, not happen, nor anything after it. With torn, half of it happens if it is a
// write.
func (m *FS) StopAt(n int, torn bool) { m.stopAt, m.torn = n, torn }

// FailAt makes step n fail with err; what comes after works again. A sync that fails loses what it should have synced,
// although later syncs succeed.
func (m *FS) FailAt(n int, err error) { m.failAt[n] = err }

// FailAll makes every change fail with err until it is called with nil.
func (m *FS) FailAll(err error) {
	m.mu.Lock()
	m.failAll = err
	m.mu.Unlock()
}

// Steps is the number of changes so far: writes, syncs, and what creates, renames and removes names.
func (m *FS) Steps() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.step
}

// Crash returns what a restart finds.
func (m *FS) Crash(loss Loss, rng *rand.Rand) *FS {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := New()
	n.inodes = m.inodes
	copied := map[*inode]*inode{}
	copyOf := func(old *inode) *inode {
		if c := copied[old]; c != nil {
			return c
		}
		c := &inode{number: old.number, mod: old.mod, uid: old.uid}
		switch loss {
		case Nothing:
			c.data = append([]byte(nil), old.data...)
		case All:
			c.data = append([]byte(nil), old.durable...)
		case Some:
			c.data = append([]byte(nil), old.durable...)
			for _, w := range old.pending {
				if rng.IntN(2) == 0 {
					continue
				}
				c.put(w.off, w.data[:len(w.data)-rng.IntN(2)*rng.IntN(len(w.data)+1)])
			}
		}
		c.durable = append([]byte(nil), c.data...)
		copied[old] = c
		return c
	}
	for path, d := range m.dirs {
		nd := &dir{names: map[string]*inode{}, durable: map[string]*inode{}}
		n.dirs[path] = nd
		names := map[string]*inode{}
		for k, v := range d.durable {
			names[k] = v
		}
		if loss == Nothing {
			names = d.names
		}
		if loss == Some {
			for _, c := range d.pending[:rng.IntN(len(d.pending)+1)] {
				names[c.name] = c.node
			}
		}
		for k, v := range names {
			if v == nil {
				continue
			}
			c := copyOf(v)
			c.links++
			nd.names[k], nd.durable[k] = c, c
		}
	}
	return n
}

func (i *inode) put(off int64, p []byte) {
	if end := off + int64(len(p)); end > int64(len(i.data)) {
		i.data = append(i.data, make([]byte, end-int64(len(i.data)))...)
	}
	copy(i.data[off:], p)
}

// change counts a step and says what is to become of it. m.mu is held.
func (m *FS) change(op, name string) error {
	m.step++
	if m.stopAt > 0 && m.step >= m.stopAt {
		return ErrStopped
	}
	if m.failAll != nil {
		return &fs.PathError{Op: op, Path: name, Err: m.failAll}
	}
	if err := m.failAt[m.step]; err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

func (m *FS) stopped() bool { return m.stopAt > 0 && m.step >= m.stopAt }

func (m *FS) find(name string) (*dir, *inode, string, error) {
	d := m.dirs[filepath.Dir(name)]
	if d == nil {
		return nil, nil, "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return d, d.names[filepath.Base(name)], filepath.Base(name), nil
}

// Create implements spool.FS.
func (m *FS) Create(name string, perm fs.FileMode) (spool.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.change("create", name); err != nil {
		return nil, err
	}
	d, node, base, err := m.find(name)
	if err != nil {
		return nil, err
	}
	if node != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	m.inodes++
	node = &inode{number: m.inodes, links: 1, mod: time.Now()}
	d.set(base, node)
	return &file{fs: m, node: node, name: name, write: true}, nil
}

func (d *dir) set(name string, node *inode) {
	if node == nil {
		delete(d.names, name)
	} else {
		d.names[name] = node
	}
	d.pending = append(d.pending, change{name, node})
}

// Open implements spool.FS.
func (m *FS) Open(name string, write bool) (spool.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped() {
		return nil, ErrStopped
	}
	_, node, _, err := m.find(name)
	if err != nil {
		return nil, err
	}
	if node == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &file{fs: m, node: node, name: name, write: write}, nil
}

// Stat implements spool.FS.
func (m *FS) Stat(name string) (spool.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped() {
		return spool.Info{}, ErrStopped
	}
	if m.dirs[name] != nil {
		return spool.Info{Links: 2}, nil
	}
	_, node, _, err := m.find(name)
	if err == nil && node == nil {
		err = &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	if err != nil {
		return spool.Info{}, err
	}
	return node.info(), nil
}

func (i *inode) info() spool.Info {
	return spool.Info{Inode: i.number, Size: int64(len(i.data)), Links: i.links, UID: i.uid, Regular: true, ModTime: i.mod}
}

// Rename implements spool.FS.
func (m *FS) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.change("rename", from+" "+to); err != nil {
		return err
	}
	d1, node, base1, err1 := m.find(from)
	d2, there, base2, err2 := m.find(to)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if node == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	if there != nil {
		return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
	}
	d2.set(base2, node)
	d1.set(base1, nil)
	return nil
}

// Link implements spool.FS.
func (m *FS) Link(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.change("link", from+" "+to); err != nil {
		return err
	}
	_, node, _, err1 := m.find(from)
	d, there, base, err2 := m.find(to)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if node == nil {
		return &fs.PathError{Op: "link", Path: from, Err: fs.ErrNotExist}
	}
	if there != nil {
		return &fs.PathError{Op: "link", Path: to, Err: fs.ErrExist}
	}
	node.links++
	d.set(base, node)
	return nil
}

// Remove implements spool.FS.
func (m *FS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.change("remove", name); err != nil {
		return err
	}
	d, node, base, err := m.find(name)
	if err == nil && node == nil {
		err = &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	if err != nil {
		return err
	}
	node.links--
	d.set(base, nil)
	return nil
}

// SyncDir implements spool.FS.
func (m *FS) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.dirs[name]
	if d == nil {
		return &fs.PathError{Op: "sync", Path: name, Err: fs.ErrNotExist}
	}
	if err := m.change("syncdir", name); err != nil {
		if err != ErrStopped {
			d.pending = nil
		}
		return err
	}
	for _, c := range d.pending {
		if c.node == nil {
			delete(d.durable, c.name)
		} else {
			d.durable[c.name] = c.node
		}
	}
	d.pending = nil
	return nil
}

// ReadDir implements spool.FS.
func (m *FS) ReadDir(name string, f func(string) bool) error {
	m.mu.Lock()
	d := m.dirs[name]
	if d == nil {
		m.mu.Unlock()
		return &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	names := make([]string, 0, len(d.names))
	for n := range d.names {
		names = append(names, n)
	}
	m.mu.Unlock()
	for _, n := range names {
		if !f(n) {
			return nil
		}
	}
	return nil
}

// Mkdir implements spool.FS; directories are durable at once.
func (m *FS) Mkdir(name string, perm fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dirs[name] != nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: fs.ErrExist}
	}
	m.dirs[name] = &dir{names: map[string]*inode{}, durable: map[string]*inode{}}
	return nil
}

// Names lists what is in a directory.
func (m *FS) Names(dir string) []string {
	var names []string
	m.ReadDir(dir, func(n string) bool { names = append(names, n); return true })
	return names
}

// Edit changes the octets of a file behind everybody's back: a bad disk.
func (m *FS) Edit(name string, f func([]byte) []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, node, _, err := m.find(name)
	if err != nil || node == nil {
		return fmt.Errorf("%s is not there", name)
	}
	node.data = f(node.data)
	return nil
}

type file struct {
	fs    *FS
	node  *inode
	name  string
	write bool
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.stopped() {
		return 0, ErrStopped
	}
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if !f.write {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: fs.ErrPermission}
	}
	before := f.fs.stopped()
	if err := f.fs.change("write", f.name); err != nil {
		n := 0
		if err == ErrStopped && f.fs.torn && !before || err != ErrStopped && f.fs.failAll == nil {
			n = len(p) / 2 // a full disk takes a part, too
			f.put(p[:n], off)
		}
		return n, err
	}
	f.put(p, off)
	return len(p), nil
}

func (f *file) put(p []byte, off int64) {
	f.node.put(off, p)
	f.node.pending = append(f.node.pending, write{off, append([]byte(nil), p...)})
	f.node.mod = time.Now()
}

func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.change("sync", f.name); err != nil {
		if err != ErrStopped {
			f.node.pending = nil // fsyncgate: the pages are clean now, and were never written
		}
		return err
	}
	d := inode{data: f.node.durable}
	for _, w := range f.node.pending {
		d.put(w.off, w.data)
	}
	f.node.durable, f.node.pending = d.data, nil
	return nil
}

func (f *file) Datasync() error { return f.Sync() }

func (f *file) TryLock() (bool, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.node.locked != nil && f.node.locked != f {
		return false, nil
	}
	f.node.locked = f
	return true, nil
}

func (f *file) Stat() (spool.Info, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.node.info(), nil
}

func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.node.locked == f {
		f.node.locked = nil
	}
	return nil
}
