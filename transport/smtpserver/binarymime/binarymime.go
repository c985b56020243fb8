// Package binarymime turns a message that came with BODY=BINARYMIME (RFC 3030 3) into one that any next hop can take:
// the octets of the message with CRLF line ends and binary parts flow in, LF lines without binary parts flow out. A
// part with Content-Transfer-Encoding binary becomes base64 (RFC 2045 6.8) where it is a leaf, and 8bit where it is a
// multipart or a message. Everything else passes as it is. It streams: it holds one header and one line.
package binarymime

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"

	"waybill/transport/smtp"
)

// Limits on what is held or remembered.
const (
	maxHeader = 32 << 10 // octets of one header section
	maxDepth  = 64       // multiparts within each other
	maxPiece  = 4 << 10  // longest line that is looked at as a whole; no delimiter is that long
)

// ErrStructure refuses a message whose MIME structure is beyond our limits.
var ErrStructure = errors.New("MIME structure too large for BINARYMIME")

// mode is what the octets of an entity's body are.
type mode uint8

const (
	header mode = iota // a header section
	text               // lines: a preamble, an epilogue, a part in 7bit, 8bit or encoded already
	binary             // a leaf with Content-Transfer-Encoding binary
)

// Reader is the converted message.
type Reader struct {
	src  io.Reader
	bare smtp.Bare

	in     []byte // octets that were read and not used
	inBuf  []byte
	out    []byte // octets that were made and not given out
	outBuf []byte // where out begins
	err    error  // of src
	failed error

	mode      mode
	head      []byte   // the header section so far, with LF
	bounds    []string // delimiters "--boundary" of the multiparts that we are in
	lineStart bool     // in begins a line
	heldCRLF  bool     // a CRLF in a binary part: it may belong to the delimiter behind it (RFC 2046 5.1.1)
	b64       [57]byte // 57 octets make a line of base64
	b64n      int
}

// NewReader returns a reader of the message in src, whose errors it passes on. bare says what happens to line ends in
// the parts that are text.
func NewReader(src io.Reader, bare smtp.Bare) *Reader {
	return &Reader{src: src, bare: bare, inBuf: make([]byte, maxPiece+256), lineStart: true}
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.out) == 0 && len(p) > 0 {
		if r.failed != nil {
			return 0, r.failed
		}
		r.out = r.outBuf[:0]
		r.failed = r.step()
		r.outBuf = r.out
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// step makes output of one piece of input: a line with its CRLF, or part of a line that is too long.
func (r *Reader) step() error {
	for {
		if i := bytes.Index(r.in, []byte("\r\n")); i >= 0 {
			line := r.in[:i]
			r.in = r.in[i+2:]
			return r.piece(line, true)
		}
		if len(r.in) > maxPiece || r.err != nil && len(r.in) > 0 {
			n := len(r.in)
			if r.err == nil && r.in[n-1] == '\r' {
				n-- // the LF may come
			}
			part := r.in[:n]
			r.in = r.in[n:]
			return r.piece(part, false)
		}
		if r.err != nil {
			if r.err == io.EOF {
				if r.heldCRLF {
					r.encode([]byte("\r\n")) // no delimiter follows: it is data
				}
				if err := r.finish(); err != nil {
					return err
				}
			}
			return r.err
		}
		r.in = r.inBuf[:copy(r.inBuf, r.in)]
		n, err := r.src.Read(r.inBuf[len(r.in):])
		r.in, r.err = r.inBuf[:len(r.in)+n], err
	}
}

// piece treats a line, or a part of one; ends tells whether a CRLF was behind it.
func (r *Reader) piece(b []byte, ends bool) error {
	start := r.lineStart
	r.lineStart = ends
	if start && ends || start && r.err != nil {
		if level, last, ok := r.delimiter(b); ok {
			return r.boundary(b, level, last)
		}
	}
	switch r.mode {
	case header:
		return r.headerLine(b, start, ends)
	case binary:
		if r.heldCRLF {
			r.encode([]byte("\r\n"))
		}
		r.encode(b)
		r.heldCRLF = ends
		return nil
	}
	return r.textLine(b, ends)
}

// delimiter tells whether line is a delimiter of one of the multiparts that we are in (RFC 2046 5.1.1: blanks may
// follow it), of which, and whether it is the last one.
func (r *Reader) delimiter(line []byte) (level int, last, ok bool) {
	if !bytes.HasPrefix(line, []byte("--")) {
		return 0, false, false
	}
	line = bytes.TrimRight(line, " \t")
	for i := len(r.bounds) - 1; i >= 0; i-- {
		rest, found := bytes.CutPrefix(line, []byte(r.bounds[i]))
		if found && len(rest) == 0 {
			return i, false, true
		}
		if found && string(rest) == "--" {
			return i, true, true
		}
	}
	return 0, false, false
}

// boundary ends the part that we are in, and perhaps multiparts that were never closed.
func (r *Reader) boundary(line []byte, level int, last bool) error {
	if err := r.finish(); err != nil {
		return err
	}
	r.out = append(append(r.out, line...), '\n')
	r.mode = header
	r.bounds = r.bounds[:level+1]
	if last {
		r.bounds = r.bounds[:level]
		r.mode = text // the epilogue
	}
	return nil
}

// finish ends a part: what is held of it goes out.
func (r *Reader) finish() error {
	switch r.mode {
	case header:
		return r.headerEnd(false)
	case binary:
		r.flush()
	}
	r.heldCRLF = false
	return nil
}

// textLine passes a line of text on, by the rules for line ends that hold for all messages (RFC 5321 2.3.8).
func (r *Reader) textLine(b []byte, ends bool) error {
	for _, c := range b {
		why := error(nil)
		switch c {
		case '\r':
			why = smtp.ErrBareCR
		case '\n':
			why = smtp.ErrBareLF
		case 0:
			why = smtp.ErrNUL
		}
		if why != nil {
			if r.bare == smtp.BareRefuse {
				return why
			}
			c = ' '
		}
		r.out = append(r.out, c)
	}
	if ends {
		r.out = append(r.out, '\n')
	}
	return nil
}

// headerLine keeps the header section until it is whole: what its fields say together decides.
func (r *Reader) headerLine(b []byte, start, ends bool) error {
	if start && ends && len(b) == 0 {
		return r.headerEnd(true)
	}
	if len(r.head)+len(b) > maxHeader {
		return ErrStructure
	}
	keep := r.out
	r.out = r.head
	err := r.textLine(b, ends)
	r.head, r.out = r.out, keep
	return err
}

// headerEnd writes the header section, with the encoding changed where it must be, and enters the body. blank tells
// that the blank line was there.
func (r *Reader) headerEnd(blank bool) error {
	e := readEntity(r.head)
	encoding := ""
	switch {
	case !e.binary:
	case e.composite():
		encoding = "8bit"
	default:
		encoding = "base64"
	}
	r.out = e.rewrite(r.out, r.head, encoding)
	r.head = r.head[:0]
	if !blank {
		return nil
	}
	r.out = append(r.out, '\n')
	r.mode = text
	switch {
	case e.multipart && e.boundary != "":
		if len(r.bounds) == maxDepth {
			return ErrStructure
		}
		r.bounds = append(r.bounds, "--"+e.boundary)
	case e.message:
		r.mode = header
	case encoding == "base64":
		r.mode = binary
	}
	return nil
}

// encode adds octets to the base64 of the current part.
func (r *Reader) encode(b []byte) {
	for len(b) > 0 {
		n := copy(r.b64[r.b64n:], b)
		r.b64n += n
		b = b[n:]
		if r.b64n == len(r.b64) {
			r.flush()
		}
	}
}

func (r *Reader) flush() {
	if r.b64n > 0 {
		r.out = base64.StdEncoding.AppendEncode(r.out, r.b64[:r.b64n])
		r.out = append(r.out, '\n')
		r.b64n = 0
	}
}
