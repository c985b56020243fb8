// Package watch tells when files change: rule files, the files of their tables, and the spool's drop directory. Paths
// flow in, calls flow out. It is the only importer of fsnotify.
//
// Editors and deployment tools replace a file by renaming another one over it, so the directory is watched, never the
// file. Where inotify is not to be had (no watches left, odd file systems) the same files are compared every
// PollInterval instead, so that a change is late but never missed.
package watch

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// PollInterval is how often files are compared that no event announces.
	PollInterval = 10 * time.Second
	// settle is how long a file must be quiet before its change is told: one save makes several events.
	settle = 50 * time.Millisecond
)

// Watcher calls functions when files or directories change. The zero value is not usable; see New.
type Watcher struct {
	log    *slog.Logger
	events *fsnotify.Watcher // nil where inotify is not to be had

	mu     sync.Mutex
	groups []*group
}

// group is a set of files with one function to call.
type group struct {
	files   map[string]state // by cleaned path
	dir     string           // instead of files: any new name in this directory
	changed func()
	due     time.Time // when to call changed; zero when nothing happened
}

// state is what a change is recognised by when no event came.
type state struct {
	size  int64
	mtime time.Time
	inode uint64 // a file that was replaced by one of the same size and time is another file
}

// New returns a Watcher that logs to log what it cannot watch.
func New(log *slog.Logger) *Watcher {
	w := &Watcher{log: log}
	events, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("no file events: changes are found by comparing", "every", PollInterval, "err", err)
		return w
	}
	w.events = events
	return w
}

// Files calls changed after one of files was written, replaced or removed. The returned function replaces the set, for
// rule files that include others after a reload.
func (w *Watcher) Files(files []string, changed func()) (replace func(files []string)) {
	g := &group{changed: changed}
	replace = func(files []string) {
		set := make(map[string]state, len(files))
		for _, f := range files {
			f = filepath.Clean(f)
			set[f] = stat(f)
			w.add(filepath.Dir(f))
		}
		w.mu.Lock()
		g.files = set
		w.mu.Unlock()
	}
	replace(files)
	w.mu.Lock()
	w.groups = append(w.groups, g)
	w.mu.Unlock()
	return replace
}

// Dir calls changed when a name appears in dir.
func (w *Watcher) Dir(dir string, changed func()) {
	w.add(dir)
	w.mu.Lock()
	w.groups = append(w.groups, &group{dir: filepath.Clean(dir), changed: changed})
	w.mu.Unlock()
}

func (w *Watcher) add(dir string) {
	if w.events == nil {
		return
	}
	if err := w.events.Add(dir); err != nil {
		w.log.Warn("directory cannot be watched: changes are found by comparing", "dir", dir, "every", PollInterval, "err", err)
	}
}

// Run calls the functions, one after the other, until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	var events chan fsnotify.Event
	var errs chan error
	if w.events != nil {
		defer w.events.Close()
		events, errs = w.events.Events, w.events.Errors
	}
	poll := time.NewTicker(PollInterval)
	defer poll.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			w.note(e)
		case err, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			// The kernel's event queue overflowed: anything may have changed.
			w.log.Warn("file events were lost: comparing all files", "err", err)
			w.compare(true)
		case <-poll.C:
			w.compare(false)
		case <-timer.C:
		}
		timer.Reset(w.fire(time.Now()))
	}
}

// note marks the groups that an event concerns.
func (w *Watcher) note(e fsnotify.Event) {
	if e.Op == fsnotify.Chmod {
		return
	}
	name := filepath.Clean(e.Name)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.groups {
		if g.dir != "" {
			// A drop is complete when it appears: files come here by rename.
			if e.Op.Has(fsnotify.Create) && filepath.Dir(name) == g.dir {
				g.due = time.Now()
			}
			continue
		}
		if _, ours := g.files[name]; ours {
			g.files[name] = stat(name)
			g.due = time.Now().Add(settle)
		}
	}
}

// compare marks the groups with a file that differs from what it was; with all, directories too.
func (w *Watcher) compare(all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.groups {
		if g.dir != "" && (all || w.events == nil) {
			g.due = time.Now()
		}
		for f, was := range g.files {
			if now := stat(f); now != was {
				g.files[f] = now
				g.due = time.Now()
			}
		}
	}
}

// fire calls what is due and returns how long to wait for what is not.
func (w *Watcher) fire(now time.Time) time.Duration {
	wait := time.Hour
	var calls []func()
	w.mu.Lock()
	for _, g := range w.groups {
		switch {
		case g.due.IsZero():
		case !g.due.After(now):
			g.due = time.Time{}
			calls = append(calls, g.changed)
		default:
			wait = min(wait, g.due.Sub(now))
		}
	}
	w.mu.Unlock()
	for _, call := range calls {
		call()
	}
	return wait
}

func stat(file string) state {
	info, err := os.Stat(file)
	if err != nil {
		return state{}
	}
	now := state{size: info.Size(), mtime: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		now.inode = sys.Ino
	}
	return now
}
