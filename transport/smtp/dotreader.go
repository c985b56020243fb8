package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// Bare says what happens to a CR that is not followed by LF, an LF that does not follow CR, and a NUL in a message.
// None of them is ever a line end on its way in: only CRLF is (RFC 5321 2.3.8), and only CRLF.CRLF ends a message
// (RFC 5321 4.1.1.4).
type Bare uint8

const (
	BareRefuse  Bare = iota // the message is refused: Read fails with ErrBareCR, ErrBareLF or ErrNUL
	BareReplace             // each such octet becomes a blank
	BareKeepNUL             // NUL stays, as sendmail has it; the others are refused
)

// Errors with which a DotReader or a ChunkReader ends a message before its end. The rest of it is still on the
// connection: call Drain before the next command is read.
var (
	ErrBareCR      = errors.New("bare CR in the message")
	ErrBareLF      = errors.New("bare LF in the message")
	ErrNUL         = errors.New("NUL in the message")
	ErrLineTooLong = errors.New("line of the message too long")
	ErrTooLarge    = errors.New("message too large")
)

// DotReader reads the message behind DATA: dot-stuffed lines that end in CRLF, up to the line that is a single dot
// (RFC 5321 4.5.2). It yields the message with LF line ends, without the stuffing, and io.EOF behind its last line.
// It streams: it holds no more than the buffer of the bufio.Reader that it reads from, which must have room for at
// least 16 octets, and gives out what has arrived without waiting for more. A connection that ends in mid-message is
// io.ErrUnexpectedEOF, never io.EOF.
type DotReader struct {
	br      *bufio.Reader
	bare    Bare
	maxSize int64
	maxLine int

	size  int64 // octets of the message so far, a line end counted as two (RFC 1870 5)
	line  int   // octets of the current line so far
	err   error
	ended bool // CRLF.CRLF was read
}

// NewDotReader returns a reader for one message. maxSize is the largest message in octets with CRLF line ends, and
// maxLine the longest line in octets without CRLF; 0 is no limit.
func NewDotReader(br *bufio.Reader, bare Bare, maxSize int64, maxLine int) *DotReader {
	return &DotReader{br: br, bare: bare, maxSize: maxSize, maxLine: maxLine}
}

// Size is the number of octets of the message so far, with CRLF line ends and without stuffing (RFC 1870 5).
func (d *DotReader) Size() int64 { return d.size }

// Ended reports whether the end of the message was seen: only then may it be acknowledged.
func (d *DotReader) Ended() bool { return d.ended }

// Read yields octets of the message. It returns what it has rather than wait.
func (d *DotReader) Read(p []byte) (int, error) {
	if len(p) == 0 || d.err != nil {
		return 0, d.err
	}
	n := 0
	for n < len(p) && d.err == nil && (n == 0 || d.br.Buffered() > 0) {
		m := d.lines(p[n:])
		if m == 0 {
			m, d.err = d.step(p[n:])
		}
		n += m
	}
	if n > 0 {
		return n, nil
	}
	return 0, d.err
}

// Drain reads and forgets the rest of the message, whatever is in it, so that the next command can be read. It gives
// up with ErrTooLarge after limit octets.
func (d *DotReader) Drain(limit int64) error {
	if d.ended {
		return nil
	}
	if errors.Is(d.err, io.ErrUnexpectedEOF) {
		return d.err
	}
	d.err, d.bare, d.maxSize, d.maxLine = nil, BareReplace, d.size+limit, 0
	var scratch [2048]byte
	for {
		if _, err := d.Read(scratch[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// lines is the fast way: whole, faultless lines that lie in the buffer and fit into p. It returns 0 where the slow
// way must look.
func (d *DotReader) lines(p []byte) int {
	if d.line > 0 {
		return 0
	}
	buf, _ := d.br.Peek(d.br.Buffered())
	n, used := 0, 0
	for {
		rest := buf[used:]
		lf := bytes.IndexByte(rest, '\n')
		if lf < 1 || rest[lf-1] != '\r' {
			break
		}
		text := rest[:lf-1]
		if bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, 0) >= 0 {
			break
		}
		if len(text) > 0 && text[0] == '.' {
			if len(text) == 1 {
				break
			}
			text = text[1:]
		}
		if len(text)+1 > len(p)-n || d.tooMuch(len(text)+2, len(text)) != nil {
			break
		}
		n += copy(p[n:], text)
		p[n] = '\n'
		n++
		d.size += int64(len(text)) + 2
		used += lf + 1
	}
	d.br.Discard(used)
	return n
}

// step moves part of a line: what lies in the buffer, or fits into p, up to the next octet that needs a decision. It
// waits for the connection where the decision needs more than one octet. It may return 0 and nil after a dot was
// dropped.
func (d *DotReader) step(p []byte) (int, error) {
	buf, err := d.window(1)
	if err != nil {
		return 0, err
	}
	if d.line == 0 && buf[0] == '.' {
		// RFC 5321 4.5.2: a single dot ends the message, otherwise the first dot of a line is dropped. The octet
		// behind it is moved at once, so that a second dot is not taken for stuffing again.
		if buf, err = d.window(3); err != nil {
			return 0, err
		}
		if buf[1] == '\r' && buf[2] == '\n' {
			d.br.Discard(3)
			d.ended = true
			return 0, io.EOF
		}
		d.br.Discard(1)
		buf = buf[1:]
	}
	switch buf[0] {
	case '\r':
		if buf, err = d.window(2); err != nil {
			return 0, err
		}
		if buf[1] != '\n' {
			return d.odd(p, ErrBareCR)
		}
		d.br.Discard(2)
		p[0] = '\n'
		d.line = 0
		err := d.tooMuch(2, 0)
		d.size += 2
		return 1, err
	case '\n':
		return d.odd(p, ErrBareLF)
	case 0:
		return d.odd(p, ErrNUL)
	}
	return d.put(p, buf[:1+run(buf[1:])])
}

// put moves text, which lies at the front of the buffer, to p.
func (d *DotReader) put(p, text []byte) (int, error) {
	n := copy(p, text)
	if err := d.tooMuch(n, d.line+n); err != nil {
		return 0, err
	}
	d.br.Discard(n)
	d.size += int64(n)
	d.line += n
	return n, nil
}

// odd treats one octet that has no place in a message.
func (d *DotReader) odd(p []byte, why error) (int, error) {
	switch {
	case d.bare == BareKeepNUL && why == ErrNUL:
		return d.put1(p, 0)
	case d.bare != BareReplace:
		return 0, why
	}
	return d.put1(p, ' ')
}

func (d *DotReader) put1(p []byte, octet byte) (int, error) {
	if err := d.tooMuch(1, d.line+1); err != nil {
		return 0, err
	}
	d.br.Discard(1)
	p[0] = octet
	d.size++
	d.line++
	return 1, nil
}

// tooMuch tells whether n more octets make the message too large, or a line of that length is too long.
func (d *DotReader) tooMuch(n, line int) error {
	switch {
	case d.maxSize > 0 && d.size+int64(n) > d.maxSize:
		return ErrTooLarge
	case d.maxLine > 0 && line > d.maxLine:
		return ErrLineTooLong
	}
	return nil
}

// window waits until n octets of the wire are there, and returns all that are.
func (d *DotReader) window(n int) ([]byte, error) {
	if _, err := d.br.Peek(n); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // RFC 5321 4.1.1.4: without its end there is no message
		}
		return nil, err
	}
	return d.br.Peek(d.br.Buffered())
}
