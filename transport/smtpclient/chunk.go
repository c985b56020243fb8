package smtpclient

import (
	"bytes"
	"context"
	"strconv"
)

// Sending with BDAT (RFC 3030): the message goes out in chunks of a known length, without dot stuffing and without
// waiting for 354. Several chunks may be under way before their replies are read.
const (
	chunkSize   = 64 << 10
	chunkWindow = 8
)

// chunkWriter turns LF lines into the octets of the wire and sends them chunk by chunk. As a DotWriter it sends CR only
// before LF, replaces other CRs and NULs by blanks, and cuts long lines at limit as sendmail does.
type chunkWriter struct {
	send  func(chunk []byte, last bool) error
	buf   *[chunkSize]byte
	n     int
	limit int // longest line; 0: none

	line int  // octets of the current line
	held byte // octet number limit of a line: what follows decides whether the line is cut before it
	hold bool
	cr   bool // a CR was read: what follows decides what it was
	err  error
}

func (w *chunkWriter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 && w.err == nil {
		if n := w.plain(p); n > 0 {
			w.put(p[:n])
			w.line += n
			p = p[n:]
			continue
		}
		w.octet(p[0])
		p = p[1:]
	}
	if w.err != nil {
		return 0, w.err
	}
	return total, nil
}

// plain is the length of the part at the front of p that goes out as it is.
func (w *chunkWriter) plain(p []byte) int {
	if w.cr || w.hold {
		return 0
	}
	if i := bytes.IndexByte(p, '\n'); i >= 0 {
		p = p[:i]
	}
	if i := bytes.IndexByte(p, '\r'); i >= 0 {
		p = p[:i]
	}
	if i := bytes.IndexByte(p, 0); i >= 0 {
		p = p[:i]
	}
	if w.limit > 0 {
		p = p[:min(len(p), max(0, w.limit-1-w.line))]
	}
	return len(p)
}

func (w *chunkWriter) octet(c byte) {
	if c == '\n' {
		if w.hold {
			w.put([]byte{w.held})
		}
		w.put([]byte("\r\n"))
		w.line, w.hold, w.cr = 0, false, false
		return
	}
	if w.cr {
		w.cr = false
		w.octet(0)
	}
	switch c {
	case '\r':
		w.cr = true
		return
	case 0:
		c = ' '
	}
	switch {
	case w.hold:
		w.put([]byte{'!', '\r', '\n', ' ', w.held})
		w.line, w.hold = 2, false
		w.octet(c)
	case w.limit > 0 && w.line == w.limit-1:
		w.held, w.hold = c, true
	default:
		w.put([]byte{c})
		w.line++
	}
}

func (w *chunkWriter) put(b []byte) {
	for len(b) > 0 && w.err == nil {
		n := copy(w.buf[w.n:], b)
		w.n += n
		b = b[n:]
		if w.n == chunkSize {
			w.err = w.send(w.buf[:], false)
			w.n = 0
		}
	}
}

// close ends the last line and sends what is left as the last chunk.
func (w *chunkWriter) close() error {
	if w.cr {
		w.cr = false
		w.octet(0)
	}
	if w.line > 0 || w.hold {
		w.octet('\n')
	}
	if w.err == nil {
		w.err = w.send(w.buf[:w.n], true)
	}
	return w.err
}

// chunks sends what write writes, up to the last chunk, and leaves the reply to that one to be read. A verdict means
// that the last chunk was not sent.
func (d *delivery) chunks(ctx context.Context, s *session, write func(*chunkWriter) error) *verdict {
	buf := d.client.chunks.Get().(*[chunkSize]byte)
	defer d.client.chunks.Put(buf)
	open := 0 // chunks whose replies are still to come
	ending := false
	var v *verdict
	reply := func() error {
		r, lost := s.expect(ctx, atDot, d.client.conf.Timeouts.DataBlock)
		open--
		switch {
		case lost != nil:
			lost.next = true // the message is not complete there
			v = lost
		case !r.Positive():
			x := judge(atDot, r, s)
			v = &x
		default:
			return nil
		}
		return errProtocol
	}
	w := &chunkWriter{buf: buf, limit: s.conf.LineLimit}
	w.send = func(chunk []byte, last bool) error {
		line := "BDAT " + strconv.Itoa(len(chunk))
		if last {
			line += " LAST"
			for open > 0 {
				if err := reply(); err != nil {
					return err
				}
			}
		} else if open == chunkWindow {
			if err := reply(); err != nil {
				return err
			}
		}
		ending = last
		s.send(line)
		_, err := s.bw.Write(chunk)
		open++
		if err == nil && (last || !s.ext.pipelining) {
			err = s.bw.Flush()
		}
		if err == nil && !last && !s.ext.pipelining {
			err = reply()
		}
		return err
	}
	if err := write(w); err != nil && v == nil {
		var x verdict
		if ending { // part of the last chunk may have left, or all of it
			x = lost(atDot, err, s)
		} else {
			x = d.broken(ctx, s, err)
		}
		v = &x
	}
	return v
}
