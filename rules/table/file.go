package table

import (
	"bytes"
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
	keys     *store  // all that content has; nil: it has no such thing
	folds    bool    // its keys are in lower case, whatever -f says
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
	if t.unsafe != nil {
		if err := t.unsafe(t.path); err != nil {
			return nil, fmt.Errorf("table %s: %s: %w", t.def.Name, t.path, &unsafeFile{err})
		}
	}
	if info, err := os.Stat(t.path); err == nil && !info.Mode().IsRegular() { // a FIFO would wait for somebody
		return nil, fmt.Errorf("table %s: %s: %w", t.def.Name, t.path, &unsafeFile{errIrregular})
	}
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
	s := &snapshot{content: c, warnings: warnings, stamp: now}
	switch c := c.(type) {
	case *entries:
		s.keys, s.folds = c.store, true
	case *records:
		s.keys = c.store
	}
	return s, nil
}

// whole reads a database: at once, where its size is known.
func whole(r io.Reader) ([]byte, error) {
	const most = 4 << 30
	var b bytes.Buffer
	if f, ok := r.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Size() < most {
			b.Grow(int(info.Size()) + bytes.MinRead)
		}
	}
	_, err := b.ReadFrom(io.LimitReader(r, most))
	return b.Bytes(), err
}

// Lacks reports whether Lookup would certainly find nothing. It is for those who ask for many keys that are not there:
// they need not make a string of each. lower tells that key has no letter in upper case. It may say false at any time.
func (t *file) Lacks(ctx context.Context, key []byte, lower bool) bool {
	s := t.at(ctx)
	switch {
	case s.err != nil:
		return false
	case s.content == nil:
		return true
	case s.keys == nil || len(s.keys.index) == 0:
		return s.keys != nil
	case len(key) > 0 && s.keys.ends.lack(len(key), key[len(key)-1]):
		return true
	case !lower && (s.folds || !t.keepCase):
		var b [128]byte
		if len(key) > len(b) {
			return false
		}
		n := copy(b[:], key)
		for i, c := range b[:n] {
			if c >= 'A' && c <= 'Z' {
				b[i] = c | 0x20
			}
		}
		key = b[:n]
	}
	return s.keys.index[s.keys.find(key)].at == 0
}

// Lookup asks the snapshot.
func (t *file) Lookup(ctx context.Context, raw string, args []string) (Result, bool, error) {
	key := t.clean(raw)
	s := t.at(ctx)
	if s.err != nil && t.optional && errors.As(s.err, new(*unsafeFile)) {
		return Result{}, false, nil
	}
	if s.err != nil {
		err := s.err
		var told *Complaint
		if first := !t.told.Swap(true); first && !errors.As(err, &told) && t.def.Class != "stab" {
			err = &Complaint{Say: t.complaint(err), Err: err}
		} else if !first && errors.As(err, &told) {
			err = told.Err
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

// unsafeFile is why a file is not read although it is there.
type unsafeFile struct{ why error }

func (u *unsafeFile) Error() string { return u.why.Error() }
func (u *unsafeFile) Unwrap() error { return u.why }

var errIrregular = errors.New("Regular files only")

// complaint is what the real engine prints when a file cannot be opened.
func (t *file) complaint(err error) string {
	why := err.Error()
	var unsafe *unsafeFile
	db := t.class == "hash" || t.class == "btree" || t.class == "implicit"
	switch {
	case errors.As(err, &unsafe) && db:
		why = unsafe.Error()
		if errors.Is(err, fs.ErrPermission) {
			why = "Permission denied"
		}
		return fmt.Sprintf("%s map \"%s\": unsafe map file %s: %s", t.class, t.def.Name, t.path, why)
	case errors.As(err, &unsafe):
		return fmt.Sprintf("%s map \"%s\": unsafe map file %s", t.class, t.def.Name, t.path)
	case t.class == "implicit" && errors.Is(err, fs.ErrNotExist):
		return ""
	case db && errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("%s map \"%s\": missing map file %s: No such file or directory", t.class, t.def.Name, t.path)
	}
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
	if s.err != nil && t.optional && errors.As(s.err, new(*unsafeFile)) {
		return false
	}
	return s.content != nil || s.err != nil
}
