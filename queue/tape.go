package queue

import (
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// tapeMemory is how much of a message stays in memory before the rest goes to a file without a name.
const tapeMemory = 32 << 10

// tape is a message that is still arriving: one writes, several read, each from the beginning, and wait for what is not
// there yet. It is an envelope.Body.
type tape struct {
	dir string                  // for the file
	buf *[tapeMemory]byte       // mem is at its front
	put func(*[tapeMemory]byte) // takes buf back

	mu    sync.Mutex
	more  *sync.Cond
	mem   []byte
	file  *os.File // what did not fit into mem; nil while all fits
	size  int64
	ended bool
	err   error // how it ended; nil is the end of a whole message
}

// newTape makes a tape in buf, which put gets back when the tape is closed.
func newTape(dir string, buf *[tapeMemory]byte, put func(*[tapeMemory]byte)) *tape {
	t := &tape{dir: dir, buf: buf, put: put, mem: buf[:0]}
	t.more = sync.NewCond(&t.mu)
	return t
}

// Write appends to the message.
func (t *tape) Write(p []byte) (int, error) {
	n := min(len(p), tapeMemory-len(t.mem)) // only the writer changes mem and file
	if n < len(p) {
		if t.file == nil {
			f, err := nameless(t.dir)
			if err != nil {
				return 0, err
			}
			t.mu.Lock()
			t.file = f
			t.mu.Unlock()
		}
		if _, err := t.file.WriteAt(p[n:], t.size+int64(n)-tapeMemory); err != nil {
			return 0, err
		}
	}
	t.mu.Lock()
	t.mem = append(t.mem, p[:n]...)
	t.size += int64(len(p))
	t.mu.Unlock()
	t.more.Broadcast()
	return len(p), nil
}

// nameless opens a file that is gone when it is closed. It is never synced: what is on it is acknowledged to nobody.
func nameless(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), "cut-through"), nil
	}
	f, err := os.CreateTemp("", "waybill-") // a file system without O_TMPFILE
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// end says that nothing more comes. With an error, readers get that at the end instead of io.EOF.
func (t *tape) end(err error) {
	t.mu.Lock()
	t.ended, t.err = true, err
	t.mu.Unlock()
	t.more.Broadcast()
}

// Close gives the memory and the file back. Readers get errors from then on.
func (t *tape) Close() error {
	t.mu.Lock()
	t.ended, t.err, t.size = true, os.ErrClosed, 0
	t.mem = nil
	if t.buf != nil {
		t.put(t.buf)
		t.buf = nil
	}
	t.mu.Unlock()
	t.more.Broadcast()
	if t.file != nil {
		return t.file.Close()
	}
	return nil
}

// Size is what has arrived when the message is whole, else -1.
func (t *tape) Size() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		return -1
	}
	return t.size
}

// Open returns a reader at the beginning.
func (t *tape) Open() (io.ReadCloser, error) { return &tapeReader{t: t}, nil }

type tapeReader struct {
	t   *tape
	off int64
}

func (r *tapeReader) Read(p []byte) (int, error) {
	t := r.t
	t.mu.Lock()
	for r.off >= t.size && !t.ended {
		t.more.Wait()
	}
	size, file, err := t.size, t.file, t.err
	if r.off < int64(len(t.mem)) { // with the lock: the memory is somebody else's once the tape is closed
		n := copy(p, t.mem[r.off:])
		t.mu.Unlock()
		r.off += int64(n)
		return n, nil
	}
	t.mu.Unlock()
	switch {
	case r.off >= size && err != nil:
		return 0, err
	case r.off >= size:
		return 0, io.EOF
	}
	n, err := file.ReadAt(p[:min(int64(len(p)), size-r.off)], r.off-tapeMemory)
	r.off += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (r *tapeReader) Close() error { return nil }
