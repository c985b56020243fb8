package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"

	"waybill/transport/envelope"
)

// Dropped is a message in the drop directory. Its file belongs to whoever dropped it, who may still write to it: what
// is read counts only once Body has ended in io.EOF.
type Dropped struct {
	Envelope *envelope.Envelope // Origin.UID is the file's owner
	Source   uint32             // checksum that its writer noted

	s    *Spool
	id   string
	file File
	head head
}

// OpenDrop opens a dropped message for taking it over. Errors as for Load; ErrDamaged: set it aside with SetDropAside.
func (s *Spool) OpenDrop(id string) (*Dropped, error) {
	path := s.at(dropDir, id)
	f, err := s.fs.Open(path, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("dropped %s: %w", id, ErrGone)
	}
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) { // O_NOFOLLOW met a link; a socket
		return nil, fmt.Errorf("dropped %s: not a regular file: %w", id, ErrDamaged)
	}
	if err != nil {
		return nil, err
	}
	d := &Dropped{s: s, id: id, file: f}
	if err := d.check(); err != nil {
		f.Close()
		return nil, fmt.Errorf("dropped %s: %w", id, err)
	}
	return d, nil
}

func (d *Dropped) check() error {
	ok, err := d.file.TryLock() // two queue runs must not take it over both
	if err != nil {
		return err
	}
	if !ok {
		return ErrBusy
	}
	st, err := d.file.Stat()
	if err != nil {
		return err
	}
	if _, err := d.s.fs.Stat(d.s.at(dropDir, d.id)); err != nil {
		return ErrGone
	}
	// A hard link would let a user submit, and have removed, a file of another.
	if !st.Regular || st.Links != 1 {
		return fmt.Errorf("not a regular file with one name: %w", ErrDamaged)
	}
	if d.head, d.Envelope, err = readHead(d.file, st.Size); err != nil {
		return err
	}
	d.Envelope.ID = d.id
	d.Envelope.Origin.UID = st.UID
	d.Source = d.head.src
	return nil
}

// Body reads the message; it ends in ErrDamaged instead of io.EOF when the checksum is wrong.
func (d *Dropped) Body() io.Reader {
	return &checked{r: io.NewSectionReader(d.file, d.head.bodyAt(), d.head.body), want: d.head.crc, left: d.head.body}
}

type checked struct {
	r    io.Reader
	crc  uint32
	want uint32
	left int64
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.crc = Checksum(c.crc, p[:n])
	c.left -= int64(n)
	if err == io.EOF && (c.left != 0 || c.crc != c.want) {
		err = fmt.Errorf("message checksum: %w", ErrDamaged)
	}
	return n, err
}

// Size is the number of octets that Body has.
func (d *Dropped) Size() int64 { return d.head.body }

// Taken removes the drop: its message is in the queue, synced.
func (d *Dropped) Taken() error { return d.s.fs.Remove(d.s.at(dropDir, d.id)) }

// Close releases the file.
func (d *Dropped) Close() error { return d.file.Close() }

// SetDropAside moves a damaged drop to the bad directory, with a log line.
func (s *Spool) SetDropAside(id string, reason error) error {
	return s.setAside(s.at(dropDir, id), reason)
}
