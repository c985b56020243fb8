package spool

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"waybill/transport/envelope"
)

// Drop leaves a message in the drop directory of the spool at dir, for the next daemon or queue run, and returns its
// id once it is on stable storage. It is what a front end does when no daemon answers. body is read to its end; lines
// end in LF. On an error, also one of body's, nothing stays behind. e.ID, if it has one, is used unless taken.
func Drop(dir string, e *envelope.Envelope, body io.Reader) (id string, err error) {
	return DropIn(OS{}, dir, e, body)
}

// DropIn is Drop on any file system.
func DropIn(fsys FS, dir string, e *envelope.Envelope, body io.Reader) (string, error) {
	if _, real := fsys.(OS); real {
		dir = dropInto(dir)
	} else {
		dir = filepath.Join(dir, dropDir)
	}
	id := e.ID
	if id == "" {
		id = new(IDs).New(time.Now())
	}
	if !ValidID(id) {
		return "", fmt.Errorf("%q is not a queue id", id)
	}
	perm := fs.FileMode(0o600)
	if os.Getegid() != os.Getgid() {
		perm = 0o640 // set-gid: the file has the daemon's group, which must read it
	}
	with := *e
	if with.Arrival.IsZero() {
		with.Arrival = time.Now()
	}
	d, err := newDraft(fsys, dir, id, perm, &with)
	if err != nil {
		return "", err
	}
	// A journal that writes the file down then writes its name as well, and the sync of the directory finds nothing left
	// to do: the caller waits for the disk once. Until then the lock keeps the message from being taken.
	d.namedFirst = true
	sum := summer{w: d}
	if _, err := io.Copy(&sum, onlyReader{body}); err != nil {
		d.Abort()
		return "", fmt.Errorf("drop %s: %w", id, err)
	}
	d.SetSource(sum.crc)
	f, _, err := d.commit()
	if err != nil {
		return "", fmt.Errorf("drop %s: %w", id, err)
	}
	return id, f.Close()
}

// summer is a writer that keeps the checksum of what went through.
type summer struct {
	w   io.Writer
	crc uint32
}

func (s *summer) Write(p []byte) (int, error) {
	s.crc = Checksum(s.crc, p)
	return s.w.Write(p)
}

// onlyReader hides a WriterTo, which would hand over pieces as large as it likes.
type onlyReader struct{ io.Reader }

// replayLimit is how much of a message the front end remembers, so that it can drop what a dying daemon may not have
// taken. A larger message is then answered "not accepted".
const replayLimit = 1 << 20

// Submit hands a message to the daemon of site, or drops it where no daemon answers or it dies over it. dropped tells
// which: a dropped message waits for a daemon or a queue run. An id is chosen here, so that a daemon which had
// accepted the message before its connection broke recognises the copy.
func Submit(ctx context.Context, site Site, e *envelope.Envelope, body io.Reader, verbose func(string)) (reply Reply, dropped bool, err error) {
	return SubmitThrough(ctx, site, e, body, verbose, func() (net.Conn, error) { return nil, ErrNoDaemon })
}

// replay remembers what was read, up to replayLimit.
type replay struct {
	r    io.Reader
	seen []byte
	at   int // reading position once rewound
	back bool
	over bool
	err  error // of r, other than io.EOF
}

func (m *replay) Read(p []byte) (int, error) {
	if m.back {
		if m.at == len(m.seen) {
			return 0, io.EOF
		}
		n := copy(p, m.seen[m.at:])
		m.at += n
		return n, nil
	}
	n, err := m.r.Read(p)
	if len(m.seen)+n > replayLimit {
		m.over, m.seen = true, nil
	}
	if !m.over {
		m.seen = append(m.seen, p[:n]...)
	}
	if err != nil && err != io.EOF {
		m.err = err
	}
	return n, err
}

func (m *replay) rewind() { m.back = true }
