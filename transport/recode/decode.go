package recode

import (
	"bufio"
	"bytes"
	"io"
	"strings"

	"waybill/transport/envelope"
)

// Decode is the body of a message without its encoding, which is "quoted-printable" or "base64" (RFC 2045 6.7, 6.8), in any
// case; head is the size of the header section, which is left out. Line ends become LF, and as with sendmail one more line
// end stands behind all; a last line of base64 without one gets its own before. What is no encoding of anything is passed on (quoted-printable) or passed over (base64).
func Decode(body envelope.Body, head int64, encoding string) (envelope.Body, error) {
	d := &decoded{body: body, head: head, base64: strings.EqualFold(encoding, "base64")}
	in, err := d.Open()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	d.size, err = io.Copy(io.Discard, in)
	return d, err
}

type decoded struct {
	body   envelope.Body
	head   int64
	base64 bool
	size   int64
}

func (d *decoded) Size() int64 { return d.size }

func (d *decoded) Open() (io.ReadCloser, error) {
	in, err := d.body.Open()
	if err != nil {
		return nil, err
	}
	r := &decodingReader{in: bufio.NewReaderSize(in, 4096), close: in, whole: d.base64, last: -1}
	if _, err := io.CopyN(io.Discard, r.in, d.head); err != nil && err != io.EOF {
		in.Close()
		return nil, err
	}
	r.more = r.quoted
	if d.base64 {
		r.more = r.sixty
	}
	return r, nil
}

// decodingReader decodes as it is read.
type decodingReader struct {
	in    *bufio.Reader
	close io.Closer
	more  func() error // appends to out
	out   []byte
	bits  uint32 // of base64, not yet an octet
	n     int
	whole bool // the last line gets its own end, and the other stands behind it
	last  int  // octet that was decoded last; -1: none
	cr    bool // a CR was decoded, and what follows decides about it
	err   error
}

func (r *decodingReader) Close() error { return r.close.Close() }

func (r *decodingReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if r.err = r.more(); r.err == io.EOF {
			if r.cr {
				r.out = append(r.out, '\r')
			}
			if r.whole && r.last >= 0 && r.last != '\n' {
				r.out = append(r.out, '\n')
			}
			r.out = append(r.out, '\n')
		}
	}
	n := copy(p, r.out)
	r.out = append(r.out[:0], r.out[n:]...)
	return n, nil
}

// put appends one decoded octet; CR LF becomes LF.
func (r *decodingReader) put(c byte) {
	r.last = int(c)
	if r.cr && c != '\n' {
		r.out = append(r.out, '\r')
	}
	if r.cr = c == '\r'; !r.cr {
		r.out = append(r.out, c)
	}
}

const decodeAtOnce = 2048

func (r *decodingReader) quoted() error {
	for len(r.out) < decodeAtOnce {
		c, err := r.in.ReadByte()
		if err != nil {
			return err
		}
		if c != '=' {
			r.put(c)
			continue
		}
		const longest = 78 // RFC 2045 6.7: lines have 76 octets
		next, _ := r.in.Peek(longest)
		rest := bytes.TrimLeft(next, " \t\r")
		switch {
		case len(rest) > 0 && rest[0] == '\n': // a soft line break, with what transports may have added
			r.in.Discard(len(next) - len(rest) + 1)
		case len(rest) == 0 && len(next) < longest:
			r.in.Discard(len(next))
		case len(next) > 1 && unhex(next[0]) >= 0 && unhex(next[1]) >= 0:
			r.put(byte(unhex(next[0])<<4 | unhex(next[1])))
			r.in.Discard(2)
		default:
			r.put(c)
		}
	}
	return nil
}

func unhex(c byte) int {
	return strings.IndexByte("0123456789ABCDEF", bytes.ToUpper([]byte{c})[0])
}

const base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

func (r *decodingReader) sixty() error {
	for len(r.out) < decodeAtOnce {
		c, err := r.in.ReadByte()
		if err != nil {
			return err
		}
		if c == '=' { // the end of the data
			io.Copy(io.Discard, r.in)
			return io.EOF
		}
		digit := strings.IndexByte(base64Digits, c)
		if digit < 0 {
			continue
		}
		if r.bits, r.n = r.bits<<6|uint32(digit), r.n+6; r.n >= 8 {
			r.n -= 8
			r.put(byte(r.bits >> r.n))
		}
	}
	return nil
}
