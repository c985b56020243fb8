package table

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"waybill/rules/prog"
)

// Warning is something odd in a table's file that did not keep it from being loaded.
type Warning struct {
	Pos  prog.Pos
	Text string
}

func (w Warning) String() string { return w.Pos.String() + ": " + w.Text }

// content is what a file became: an immutable snapshot.
type content interface {
	lookup(key string, args []string) (Result, bool)
}

// loader reads a file.
type loader func(r io.Reader, name string) (content, []Warning, error)

// file is a table that comes from one file. Its content is a snapshot that Reload replaces as a whole.
type file struct {
	*flags
	path string
	load loader
	now  atomic.Pointer[snapshot]
	mu   sync.Mutex // one Reload at a time
	told atomic.Bool
}

type snapshot struct {
	content  content // nil: the file is missing
	err      error   // why there is no content, when it may not be missing
	warnings []Warning
	stamp    string // size, time and inode of the file
}

func openFile(f *flags, load loader) (Table, error) {
	path, err := f.file()
	if err != nil {
		return nil, err
	}
	t := &file{flags: f, path: path, load: load}
	s, err := t.read("")
	if err != nil {
		s = &snapshot{err: err}
	}
	t.now.Store(s)
	return t, err
}

// read makes a snapshot of the file. It returns nil when the file is still the one with the stamp.
func (t *file) read(stamp string) (*snapshot, error) {
	in, err := os.Open(t.path)
	if errors.Is(err, fs.ErrNotExist) && t.optional {
		if stamp == "missing" {
			return nil, nil
		}
		return &snapshot{stamp: "missing"}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", t.def.Name, err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", t.def.Name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("table %s: %s is no regular file", t.def.Name, t.path)
	}
	now := fmt.Sprint(info.Size(), info.ModTime().UnixNano(), inode(info))
	if now == stamp {
		return nil, nil
	}
	c, warnings, err := t.load(in, t.path)
	if err != nil {
		return nil, fmt.Errorf("table %s: %s: %w", t.def.Name, t.path, err)
	}
	return &snapshot{content: c, warnings: warnings, stamp: now}, nil
}

// Lookup asks the snapshot.
func (t *file) Lookup(_ context.Context, raw string, args []string) (Result, bool, error) {
	key := t.clean(raw)
	s := t.now.Load()
	if s.err != nil {
		err := s.err
		if !t.told.Swap(true) {
			err = &Complaint{Say: t.complaint(err), Err: err}
		}
		return t.failed(raw, err)
	}
	if s.content == nil {
		return Result{}, false, nil
	}
	r, ok := s.content.lookup(key, args)
	if !ok {
		return Result{}, false, nil
	}
	return t.found(raw, r.Value, args, r.Pos), true, nil
}

// complaint is what the real engine prints when a file cannot be opened.
func (t *file) complaint(err error) string {
	why := err.Error()
	var pe *fs.PathError
	if errors.As(err, &pe) {
		why = pe.Err.Error()
		if errors.Is(err, fs.ErrNotExist) {
			why = "No such file or directory"
			if _, err := os.Stat(filepath.Dir(t.path)); err == nil { // the real one has no reason then
				return fmt.Sprintf("%s map \"%s\": unsafe map file %s", t.class, t.def.Name, t.path)
			}
		}
	}
	return fmt.Sprintf("%s map \"%s\": unsafe map file %s: %s", t.class, t.def.Name, t.path, why)
}

// Reload reads the file again when it changed.
func (t *file) Reload() (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, err := t.read(t.now.Load().stamp)
	if err != nil || s == nil {
		return false, err
	}
	t.now.Store(s)
	return true, nil
}

// Files names the file.
func (t *file) Files() []string { return []string{t.path} }

// Warnings tells what was odd in the file.
func (t *file) Warnings() []Warning { return t.now.Load().warnings }

// Miss is the status of a lookup that found nothing: for files of Berkeley DB, sendmail calls that no error.
func (t *file) Miss(string) int {
	if _, ok := t.now.Load().content.(*records); ok {
		return 0
	}
	return 68
}

// Open reports whether there is anything to ask: an optional file may be missing.
func (t *file) Open() bool {
	s := t.now.Load()
	return s.content != nil || s.err != nil
}
