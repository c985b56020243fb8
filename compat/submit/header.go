package submit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"waybill/transport/envelope"
)

// ErrHeaderTooLong means that the header section is longer than Site.HeaderLimit.
var ErrHeaderTooLong = errors.New("header section too long")

// window is the beginning of a message as far as it had to be read to find the end of the header section.
type window struct {
	src   io.Reader
	limit int
	buf   []byte // all that was read
	pos   int    // of the line that comes next
	err   error
}

// line returns the next line with its LF without passing it; at the end of the input what is left, or nothing. A line
// that ends beyond the limit is returned in part, with ErrHeaderTooLong.
func (w *window) line() ([]byte, error) {
	for seen := w.pos; ; {
		if i := bytes.IndexByte(w.buf[seen:], '\n'); i >= 0 {
			seen += i + 1
			if seen > w.limit {
				return w.buf[w.pos:seen], ErrHeaderTooLong
			}
			return w.buf[w.pos:seen], nil
		}
		seen = len(w.buf)
		switch {
		case seen > w.limit:
			return w.buf[w.pos:], ErrHeaderTooLong
		case w.err == io.EOF:
			return w.buf[w.pos:], nil
		case w.err != nil:
			return nil, w.err
		}
		if cap(w.buf)-len(w.buf) < 4096 {
			w.buf = append(make([]byte, 0, 2*cap(w.buf)+16384), w.buf...)
		}
		var n int
		n, w.err = w.src.Read(w.buf[len(w.buf):cap(w.buf)])
		w.buf = w.buf[:len(w.buf)+n]
	}
}

// fill reads what fits into the buffer, so that of a short message all is known.
func (w *window) fill() {
	for w.err == nil && len(w.buf) < cap(w.buf) {
		var n int
		n, w.err = w.src.Read(w.buf[len(w.buf):cap(w.buf)])
		w.buf = w.buf[:len(w.buf)+n]
	}
}

// section reads the header section and leaves w at the first octet of the body. What ends it: an empty line, a line of
// blanks at its beginning, a line that is no field and continues none (it belongs to the body), or the end of the message.
func (w *window) section(keepFromLine bool) ([]envelope.Field, error) {
	var (
		fields []envelope.Field
		raw    []byte
		name   string
	)
	finish := func() []envelope.Field {
		if len(raw) > 0 {
			fields = append(fields, envelope.Field{Name: name, Raw: string(raw)})
			raw = raw[:0]
		}
		return fields
	}
	for first := true; ; first = false {
		line, err := w.line()
		if err != nil && !errors.Is(err, ErrHeaderTooLong) {
			return nil, err
		}
		if len(line) == 0 {
			return finish(), nil
		}
		next, isField := fieldName(line)
		continues := line[0] == ' ' || line[0] == '\t'
		blank := len(bytes.Trim(line, " \t\n")) == 0
		if blank && len(line) > len("\n") && len(raw) > 0 && err == nil { // as sendmail has it, blanks continue a field
			w.pos += len(line) // they are left out, lest others see the end of the header in them
			continue
		}
		switch {
		case first && bytes.HasPrefix(line, []byte("From ")) && !keepFromLine:
			w.pos += len(line)
			continue
		case !isField && !continues && !blank, continues && len(raw) == 0 && !blank:
			return finish(), nil
		case err != nil:
			return nil, fmt.Errorf("more than %d octets: %w", w.limit, err)
		case blank:
			w.pos += len(line)
			return finish(), nil
		case !continues:
			finish()
			name = next
			if line[len(next)] != ':' { // blanks before the colon are not for others to stumble over
				raw = append(raw, next...)
				line = line[bytes.IndexByte(line, ':'):]
				w.pos += bytes.IndexByte(w.buf[w.pos:], ':')
			}
		}
		raw = appendWithout(raw, line, 0)
		w.pos += len(line)
	}
}

// appendWithout appends s without its octets c: sendmail drops NUL from header fields.
func appendWithout(b, s []byte, c byte) []byte {
	for _, x := range s {
		if x != c {
			b = append(b, x)
		}
	}
	return b
}

// fieldName returns the name of the field that begins on this line: printable US-ASCII without the colon
// (RFC 5322 3.6.8), and blanks before the colon (4.5).
func fieldName(line []byte) (string, bool) {
	for i, c := range line {
		switch {
		case c == ':':
			name := strings.TrimRight(string(line[:i]), " \t")
			return name, name != ""
		case c == ' ' || c == '\t':
			if rest := strings.TrimLeft(string(line[i:]), " \t"); !strings.HasPrefix(rest, ":") {
				return "", false
			}
		case c < '!' || c > '~':
			return "", false
		}
	}
	return "", false
}

// newField makes a field of ours.
func newField(name, value string) envelope.Field {
	return envelope.Field{Name: name, Raw: name + ": " + value + "\n"}
}
