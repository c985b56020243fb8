package recode

import (
	"bufio"
	"encoding/base64"
)

// quotedWriter writes quoted-printable (RFC 2045 6.7): lines of at most 76 octets, broken where sendmail breaks them, line
// ends as they are.
type quotedWriter struct {
	out   *bufio.Writer
	col   int
	space byte // a blank or tab that must be encoded if the line ends behind it; 0: none
}

const hexDigits = "0123456789ABCDEF"

func (q *quotedWriter) write(b []byte) {
	if len(b) == 1 && b[0] == '.' && q.col == 0 && q.space == 0 { // no gateway shall take it for the end
		q.hex('.')
		return
	}
	for _, c := range b {
		q.flushSpace(false)
		switch {
		case c == ' ' || c == '\t':
			q.space = c
		case c > ' ' && c < 0x7f && c != '=':
			q.plain(c)
		default:
			q.hex(c)
		}
	}
}

func (q *quotedWriter) plain(c byte) {
	q.room(1)
	q.out.WriteByte(c)
}

func (q *quotedWriter) hex(c byte) {
	q.room(3)
	q.out.WriteByte('=')
	q.out.WriteByte(hexDigits[c>>4])
	q.out.WriteByte(hexDigits[c&15])
}

// room puts a soft line break where n octets more do not fit.
func (q *quotedWriter) room(n int) {
	if q.col > 72 {
		q.out.WriteString("=\n")
		q.col = 0
	}
	q.col += n
}

func (q *quotedWriter) flushSpace(last bool) {
	switch {
	case q.space == 0:
	case last:
		q.hex(q.space)
	default:
		q.plain(q.space)
	}
	q.space = 0
}

func (q *quotedWriter) lineEnd() {
	q.flushSpace(true)
	q.out.WriteByte('\n')
	q.col = 0
}

func (q *quotedWriter) end() { q.flushSpace(true) }

// base64Writer writes base64 in lines of 72 (RFC 2045 6.8 allows 76). Line ends are part of the data, as CRLF.
type base64Writer struct {
	out *bufio.Writer
	buf [54]byte // 54 octets make a line of 72
	n   int
	any bool
}

func (w *base64Writer) write(b []byte) {
	for len(b) > 0 {
		n := copy(w.buf[w.n:], b)
		w.n += n
		b = b[n:]
		if w.n == len(w.buf) {
			w.line()
		}
	}
}

func (w *base64Writer) line() {
	var text [72]byte
	if w.any {
		w.out.WriteByte('\n')
	}
	w.any = true
	base64.StdEncoding.Encode(text[:], w.buf[:w.n])
	w.out.Write(text[:base64.StdEncoding.EncodedLen(w.n)])
	w.n = 0
}

func (w *base64Writer) lineEnd() { w.write([]byte("\r\n")) }

func (w *base64Writer) end() {
	if w.n > 0 {
		w.line()
	}
}
