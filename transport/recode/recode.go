// Package recode turns a message with 8-bit octets into one of 7 bits, for a next hop without 8BITMIME (RFC 6152 3). A
// message with LF line ends flows in and one with LF line ends flows out: each part of 8-bit or binary data is encoded
// as quoted-printable or base64 (RFC 2045 6), and its header says so. Parts that are 7-bit, or encoded already, stay as
// they are, to the octet.
//
// The message is read twice: Scan looks at every part, Convert writes. Neither holds more than one header section and
// one piece of a line.
package recode

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"strings"
)

// ErrTooManyParts is what Scan says of a message that has more parts than anybody writes.
var ErrTooManyParts = errors.New("recode: too many parts")

// Limits. What is nested deeper, or has a longer header, is not taken apart: it is one part, encoded as a whole.
const (
	maxHeader = 64 << 10 // octets of one header section
	maxDepth  = 50       // parts inside parts
	maxParts  = 10000
	piece     = 32 << 10 // octets of a line that are looked at together
)

// encoding is what happens to one part.
type encoding byte

const (
	asIs encoding = iota
	quoted
	base64Enc
)

var encodingNames = map[encoding]string{quoted: "quoted-printable", base64Enc: "base64"}

// Plan says what is to be done with each part, in the order in which they come.
type Plan struct {
	parts []encoding
}

// Needed reports whether any part has to change.
func (p *Plan) Needed() bool { return bytes.ContainsAny(bytesOf(p.parts), "\x01\x02") }

func bytesOf(list []encoding) []byte {
	b := make([]byte, len(list))
	for i, e := range list {
		b[i] = byte(e)
	}
	return b
}

// Scan reads a message and says what is to be done.
func Scan(r io.Reader) (*Plan, error) {
	p := &Plan{}
	w := &walker{br: bufio.NewReaderSize(r, piece), plan: p}
	return p, w.walk()
}

// Convert writes the message that r yields, the same that was scanned, in 7 bits. by is who did it, for the
// X-MIME-Autoconverted field: "mail.example.org id 5ALx"; empty: no such field.
func (p *Plan) Convert(out io.Writer, r io.Reader, by string) error {
	bw := bufio.NewWriter(out)
	w := &walker{br: bufio.NewReaderSize(r, piece), plan: p, out: bw, by: by}
	if err := w.walk(); err != nil {
		return err
	}
	return bw.Flush()
}

// walker goes through a message. Without out it fills the plan, with out it carries it out.
type walker struct {
	br   *bufio.Reader
	plan *Plan
	out  *bufio.Writer
	by   string

	stack []string // boundaries of the multiparts around, outermost first
	next  int      // number of the next leaf
	leaf  *leaf    // the part whose octets come now; nil between parts
}

// leaf is a part without parts.
type leaf struct {
	text          bool
	octets, eight int64
	encoded       bool // it has an encoding already
	enc           encoder
	newline       bool // a line end is held back: it belongs to the boundary, if one follows (RFC 2046 5.1.1)
}

// encoder writes the octets of a leaf. end is called when the leaf is over.
type encoder interface {
	write(b []byte)
	lineEnd()
	end()
}

func (w *walker) walk() error {
	if err := w.header(true); err != nil {
		return end(err)
	}
	start := true
	for {
		line, err := w.br.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			err = nil
		}
		if len(line) > 0 {
			whole := start && line[len(line)-1] == '\n'
			start = line[len(line)-1] == '\n'
			if level, closing := w.boundary(line, whole || err == io.EOF); level >= 0 {
				w.finish(true)
				w.raw(line)
				w.stack = w.stack[:level]
				if !closing {
					w.stack = w.stack[:level+1]
					if herr := w.header(false); herr != nil {
						return end(herr)
					}
				}
				continue
			}
			w.body(line)
		}
		if err != nil {
			w.finish(false)
			return end(err)
		}
	}
}

func end(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// boundary finds which multipart a line belongs to: its level in the stack, or -1. An outer boundary ends all that is
// inside (RFC 2046 5.1.2).
func (w *walker) boundary(line []byte, whole bool) (level int, closing bool) {
	if !whole || len(line) < 3 || line[0] != '-' || line[1] != '-' {
		return -1, false
	}
	text := strings.TrimRight(string(line[2:]), " \t\r\n")
	for i := len(w.stack) - 1; i >= 0; i-- {
		if text == w.stack[i] {
			return i, false
		}
		if text == w.stack[i]+"--" {
			return i, true
		}
	}
	return -1, false
}

func (w *walker) raw(b []byte) {
	if w.out != nil {
		w.out.Write(b)
	}
}

// body takes a piece of a line of a leaf, or of the text between parts.
func (w *walker) body(b []byte) {
	if w.leaf == nil { // nobody reads what stands between parts (RFC 2046 5.1.1), but it must have 7 bits
		if w.out != nil {
			for _, c := range b {
				if c >= 0x80 {
					c = '?'
				}
				w.out.WriteByte(c)
			}
		}
		return
	}
	l := w.leaf
	for _, c := range b {
		if c >= 0x80 {
			l.eight++
		}
	}
	l.octets += int64(len(b))
	if l.enc == nil {
		w.raw(b)
		return
	}
	if l.newline {
		l.enc.lineEnd()
		l.newline = false
	}
	if b[len(b)-1] == '\n' {
		l.newline = true
		b = b[:len(b)-1]
	}
	l.enc.write(b)
}

// finish ends a leaf. inside tells that a boundary follows.
func (w *walker) finish(inside bool) {
	l := w.leaf
	w.leaf = nil
	if l == nil {
		return
	}
	if w.out == nil {
		e := asIs
		switch {
		case l.eight == 0 || l.encoded:
		case l.text && l.eight*8 <= l.octets:
			e = quoted
		default:
			e = base64Enc
		}
		w.plan.parts = append(w.plan.parts, e)
		return
	}
	if l.enc == nil {
		return
	}
	if l.newline && !inside {
		l.enc.lineEnd()
	}
	l.enc.end()
	if l.newline && inside {
		w.out.WriteByte('\n')
	}
}

// header reads a header section, writes it as the plan says, and sets up what follows it.
func (w *walker) header(top bool) error {
	h, rest, err := readHeader(w.br)
	kind, params, merr := mime.ParseMediaType(h.value("Content-Type"))
	if merr != nil || kind == "" {
		kind = "text/plain" // RFC 2045 5.2
	}
	encoded := strings.ToLower(strings.TrimSpace(h.value("Content-Transfer-Encoding")))
	container := false
	switch {
	case rest || len(w.stack) >= maxDepth:
	case strings.HasPrefix(kind, "multipart/") && params["boundary"] != "":
		container = true
		w.stack = append(w.stack, params["boundary"])
	case kind == "message/rfc822" || kind == "message/global":
		container = true
	}
	if container {
		w.leaf = nil
		if encoded == "8bit" || encoded == "binary" {
			h.set("Content-Transfer-Encoding", "7bit")
		}
		w.raw(h.bytes(w.converted(), top, w.by, ""))
		if err == nil && !strings.HasPrefix(kind, "multipart/") {
			return w.header(false) // the header section of the message inside
		}
		return err
	}
	w.leaf = &leaf{text: strings.HasPrefix(kind, "text/"), encoded: encoded == "base64" || encoded == "quoted-printable"}
	e := asIs
	if w.out != nil && w.next < len(w.plan.parts) {
		e = w.plan.parts[w.next]
	}
	w.next++
	if len(w.plan.parts) > maxParts {
		return ErrTooManyParts
	}
	if e != asIs {
		if top && h.find("MIME-Version") < 0 {
			h.set("MIME-Version", "1.0")
		}
		if merr != nil && h.value("Content-Type") == "" && top {
			h.set("Content-Type", "text/plain; charset=unknown-8bit") // RFC 1428 3
		}
		h.set("Content-Transfer-Encoding", encodingNames[e])
		if w.out != nil {
			w.leaf.enc = &quotedWriter{out: w.out}
			if e == base64Enc {
				w.leaf.enc = &base64Writer{out: w.out}
			}
		}
	}
	w.raw(h.bytes(w.converted(), top, w.by, encodingNames[e]))
	if err != nil {
		w.finish(false)
	}
	return err
}

func (w *walker) converted() bool { return w.out != nil && w.plan.Needed() }
