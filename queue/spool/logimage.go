package spool

import (
	"errors"
	"io"
	"io/fs"
	"sync"
)

// image is a message file that is not on the disk under its own name: it reads like one.
type image struct {
	mu     sync.RWMutex
	closed bool
	free   func() // takes back what text is in; nil: nobody wants it

	text    []byte // the file, unless it is to be read from the segment
	segment File   // of the log
	off     int64  // where it begins there
	size    int64
	journal []byte
}

func (b *image) ReadAt(p []byte, off int64) (n int, err error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return 0, fs.ErrClosed
	}
	if off < b.size {
		part := p[:min(int64(len(p)), b.size-off)]
		if b.segment != nil {
			n, err = b.segment.ReadAt(part, b.off+off)
		} else {
			n = copy(part, b.text[off:])
		}
		if err != nil || n < len(part) {
			return n, err
		}
	}
	if n < len(p) {
		tail := max(0, off-b.size)
		if tail < int64(len(b.journal)) {
			n += copy(p[n:], b.journal[tail:])
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (b *image) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (b *image) Sync() error                        { return nil }
func (b *image) Datasync() error                    { return nil }
func (b *image) TryLock() (bool, error)             { return true, nil }

func (b *image) Stat() (Info, error) {
	return Info{Size: b.size + int64(len(b.journal)), Links: 1, Regular: true}, nil
}

func (b *image) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return fs.ErrClosed
	}
	b.closed = true
	if b.free != nil {
		b.free()
	}
	if b.segment != nil {
		return b.segment.Close()
	}
	return nil
}
