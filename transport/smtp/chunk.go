package smtp

import "bytes"

// TextDecoder turns the octets of BDAT chunks (RFC 3030), in pieces of any size, into LF lines. There is no dot
// stuffing and no end mark in chunks; line ends are treated as DotReader treats them: CRLF becomes LF, and a bare CR, a
// bare LF or NUL is refused or replaced.
type TextDecoder struct {
	bare    Bare
	maxSize int64
	maxLine int

	size int64
	line int
	cr   bool // the last octet was a CR: the next one decides
}

// NewTextDecoder returns a decoder for one message, with the limits of NewDotReader.
func NewTextDecoder(bare Bare, maxSize int64, maxLine int) *TextDecoder {
	return &TextDecoder{bare: bare, maxSize: maxSize, maxLine: maxLine}
}

// Size is the number of octets taken so far.
func (d *TextDecoder) Size() int64 { return d.size }

// Decode reads from src and writes to dst, as much as is there and fits. It returns the octets written and read.
func (d *TextDecoder) Decode(dst, src []byte) (nDst, nSrc int, err error) {
	for nDst < len(dst) && nSrc < len(src) {
		c := src[nSrc]
		out := c
		switch {
		case d.cr && c == '\n':
			d.cr = false
			dst[nDst] = '\n'
			nDst++
			nSrc++
			d.size++
			d.line = 0
			continue
		case d.cr: // the CR before was a bare one; c is looked at again
			if err := d.odd(ErrBareCR); err != nil {
				return nDst, nSrc, err
			}
			d.cr = false
			dst[nDst] = ' '
			nDst++
			continue
		case c == '\r':
			if err := d.count(1, d.line); err != nil {
				return nDst, nSrc, err
			}
			d.cr = true
			nSrc++
			continue
		case c == '\n':
			err = d.odd(ErrBareLF)
			out = ' '
		case c == 0:
			err = d.odd(ErrNUL)
			out = ' '
		default:
			n := 1 + run(src[nSrc+1:min(len(src), nSrc+len(dst)-nDst)])
			if err := d.count(n, d.line+n); err != nil {
				return nDst, nSrc, err
			}
			copy(dst[nDst:], src[nSrc:nSrc+n])
			nDst += n
			nSrc += n
			d.line += n
			continue
		}
		if err == nil {
			err = d.count(1, d.line+1)
		}
		if err != nil {
			return nDst, nSrc, err
		}
		d.line++
		dst[nDst] = out
		nDst++
		nSrc++
	}
	return nDst, nSrc, nil
}

// Finish is called behind the last octet: a CR that is still waiting for its LF is a bare one. It returns what is left
// to append to the message.
func (d *TextDecoder) Finish() (rest []byte, err error) {
	if !d.cr {
		return nil, nil
	}
	d.cr = false
	if err := d.odd(ErrBareCR); err != nil {
		return nil, err
	}
	return []byte{' '}, nil
}

func (d *TextDecoder) odd(why error) error {
	if d.bare == BareRefuse {
		return why
	}
	return nil
}

func (d *TextDecoder) count(n, line int) error {
	if d.maxSize > 0 && d.size+int64(n) > d.maxSize {
		return ErrTooLarge
	}
	if d.maxLine > 0 && line > d.maxLine {
		return ErrLineTooLong
	}
	d.size += int64(n)
	return nil
}

// run is the number of octets of b before the first that needs a decision.
func run(b []byte) int {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b = b[:i]
	}
	if i := bytes.IndexByte(b, '\r'); i >= 0 {
		b = b[:i]
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return len(b)
}
