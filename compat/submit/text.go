package submit

import (
	"bytes"
	"io"
)

// text turns what a program wrote on standard input into a message as Waybill keeps it: CR LF becomes LF, a line that
// is a lone dot ends the message and of two dots in front of a line one goes (unless dots are ignored), and a last line
// without LF gets one. A lone dot at the very end, without LF, is never part of the message. A bare CR stays.
// It works on one buffer and looks at each octet once.
type text struct {
	src   io.Reader
	dots  bool   // a lone dot ends the message
	buf   []byte // holds out, and behind it nothing that matters
	out   []byte // converted, not yet read
	held  []byte // the end of what was read, when the next octet decides what it is: "\r", ".", ".\r"
	begin bool   // out so far ends at the beginning of a line
	any   bool   // something came at all
	// completed tells that the last line had no end.
	completed bool
	err       error // after out is used up
}

const textBuffer = 32 << 10

func newText(src io.Reader, ignoreDots bool) *text {
	return &text{src: src, dots: !ignoreDots, begin: true, buf: make([]byte, textBuffer)}
}

// Read implements io.Reader.
func (t *text) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(t.out) == 0 {
		if t.err != nil {
			return 0, t.err
		}
		t.fill()
	}
	n := copy(p, t.out)
	t.out = t.out[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: a body goes out without another copy.
func (t *text) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		if len(t.out) > 0 {
			n, err := w.Write(t.out)
			total += int64(n)
			t.out = t.out[n:]
			if err != nil {
				return total, err
			}
			continue
		}
		if t.err == io.EOF {
			return total, nil
		}
		if t.err != nil {
			return total, t.err
		}
		t.fill()
	}
}

// fill reads once and converts what came.
func (t *text) fill() {
	n := copy(t.buf, t.held)
	t.held = t.held[:0]
	m, err := t.src.Read(t.buf[n:])
	data := t.buf[:n+m]
	if err == nil {
		keep := t.undecided(data)
		t.held = append(t.held, data[len(data)-keep:]...)
		data = data[:len(data)-keep]
	}
	t.err = err
	if len(data) > 0 {
		t.any = true
	}
	t.convert(data)
	if t.err == io.EOF && !t.begin {
		t.completed = true
		t.out = append(t.out, '\n') // room: buf is longer than any read when something is missing at its end
		t.begin = true
	}
}

// undecided tells how many octets at the end of data mean nothing yet.
func (t *text) undecided(data []byte) int {
	n := 0
	if n < len(data) && data[len(data)-1] == '\r' {
		n++
	}
	if n < len(data) && data[len(data)-1-n] == '.' {
		at := len(data) - 1 - n
		if at == 0 && t.begin || at > 0 && data[at-1] == '\n' {
			n++
		}
	}
	return n
}

// convert works in place: what it keeps is never longer than what it read.
func (t *text) convert(data []byte) {
	if !t.dots && bytes.IndexByte(data, '\r') < 0 {
		if rest, ok := bytes.CutSuffix(data, []byte(".")); ok && t.err == io.EOF && (len(rest) == 0 && t.begin || bytes.HasSuffix(rest, []byte("\n"))) {
			data = rest
		}
		t.out = data
		if len(data) > 0 {
			t.begin = data[len(data)-1] == '\n'
		}
		return
	}
	w := 0
	for r := 0; r < len(data); {
		end := bytes.IndexByte(data[r:], '\n')
		line, complete := data[r:], false
		if end >= 0 {
			line, complete = data[r:r+end], true
			r += end + 1
		} else {
			r = len(data)
		}
		if complete && len(line) > 0 && line[len(line)-1] == '\r' {
			line = line[:len(line)-1]
		}
		if t.dots && t.begin && len(line) == 1 && line[0] == '.' {
			t.err = io.EOF // an incomplete line is only seen here at the end of the input
			break
		}
		switch {
		case t.begin && t.dots && len(line) > 1 && line[0] == '.' && line[1] == '.':
			line = line[1:]
		case t.begin && !complete && t.err == io.EOF && len(line) == 1 && line[0] == '.':
			line, complete = nil, false
			continue
		}
		w += copy(data[w:], line)
		t.begin = false
		if complete {
			data[w] = '\n'
			w++
			t.begin = true
		}
	}
	t.out = data[:w]
}
