package smtp

import (
	"bufio"
	"bytes"
	"errors"
)

// DotWriter writes a message with LF line ends behind DATA: strict CRLF line ends, dots stuffed (RFC 5321 4.5.2), and
// CRLF.CRLF at Close. Whatever is written to it, nothing but its Close ends the message at the other side: an LF is
// always sent as CRLF, and a CR is never sent but as part of one (RFC 5321 2.3.8). One CR before an LF belongs to the line
// end, as programs write that pipe CRLF text into sendmail; any other CR, and NUL, becomes a blank.
type DotWriter struct {
	w    *bufio.Writer
	fold int // longest line without CRLF; 0 is no limit

	line     int  // octets of the current line that were written, as far as they count
	begun    bool // there is something on the current line
	whole    int  // octets of the line as it came, since they were last counted anew
	body     bool // the header section is over
	held     int  // the octet that fills the line to its limit: it is sent when the line ends there; -1: none
	cr       bool // a CR is held back: what follows decides what it was
	replaced int64
	closed   bool

	// Odd lets NUL pass, and a CR within a line that has no dot beside it and so cannot look like an end of the message to
	// anybody: for mail of this host with a sendmail.cf, which says to send what was written.
	Odd  bool
	last byte // the octet before a CR that is held back

	// Window is how many octets of a line of the body sendmail looks at together: it counts anew behind them, without a
	// line end, so that lines above its limit leave. 0: all.
	Window int
}

// NewDotWriter returns a writer for one message on w. lineLimit is the longest line in octets without CRLF that the
// other side takes (RFC 5321 4.5.3.1.6: 998); a longer one is cut as sendmail cuts it, with "!" at the cut and a blank
// before the rest, so that a cut header line stays one field. 0 is no limit; others below 16 count as 16.
func NewDotWriter(w *bufio.Writer, lineLimit int) *DotWriter {
	if lineLimit > 0 {
		lineLimit = max(lineLimit, 16)
	}
	return &DotWriter{w: w, fold: lineLimit, held: -1}
}

// Replaced is the number of octets that became blanks.
func (d *DotWriter) Replaced() int64 { return d.replaced }

// Write implements io.Writer. An error is the connection's.
func (d *DotWriter) Write(p []byte) (int, error) {
	if d.closed {
		return 0, errors.New("smtp: write after the end of the message")
	}
	total := len(p)
	for len(p) > 0 {
		lf := bytes.IndexByte(p, '\n')
		text := p
		if lf >= 0 {
			text = p[:lf]
		}
		if d.cr || bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, 0) >= 0 {
			d.odd(text, lf >= 0)
		} else if len(text) > 0 {
			d.text(text)
			d.last = text[len(text)-1]
		}
		if lf < 0 {
			break
		}
		d.endLine()
		p = p[lf+1:]
	}
	// bufio.Writer keeps its error: Flush or the next Write reports it
	if _, err := d.w.Write(nil); err != nil {
		return 0, err
	}
	return total, nil
}

// text writes part of a line that holds neither CR, LF nor NUL.
func (d *DotWriter) text(b []byte) {
	if !d.begun && b[0] == '.' {
		d.w.WriteByte('.') // RFC 5321 4.5.2
	}
	d.begun = true
	for d.Window > 0 && d.body && d.fold > 0 && d.whole+len(b) > d.Window {
		room := d.Window - d.whole
		d.piece(b[:room])
		b = b[room:]
		if d.held >= 0 {
			d.w.WriteByte(byte(d.held))
		}
		d.line, d.whole, d.held = 0, 0, -1
	}
	d.whole += len(b)
	d.piece(b)
}

// piece writes part of a line, and cuts it where it is too long.
func (d *DotWriter) piece(b []byte) {
	if len(b) == 0 {
		return
	}
	if d.held >= 0 {
		d.w.WriteString("!\r\n ")
		d.w.WriteByte(byte(d.held))
		d.line, d.held = 2, -1
	}
	for d.fold > 0 && d.line+len(b) > d.fold {
		room := d.fold - 1 - d.line
		d.w.Write(b[:room])
		b = b[room:]
		d.w.WriteString("!\r\n ")
		d.line = 1
	}
	if d.fold > 0 && d.line+len(b) == d.fold {
		d.line += len(b) - 1
		d.held = int(b[len(b)-1])
		d.w.Write(b[:len(b)-1])
		return
	}
	d.w.Write(b)
	d.line += len(b)
}

// odd is text for the rare line with a CR or a NUL in it; ends tells that an LF follows b.
func (d *DotWriter) odd(b []byte, ends bool) {
	for len(b) > 0 {
		if b[0] == '\r' {
			if d.cr {
				d.blank()
			}
			d.cr = true
			b = b[1:]
			continue
		}
		if d.cr {
			if d.Odd && b[0] != '.' && b[0] != 0 && d.last != '.' && d.begun {
				d.text([]byte{'\r'})
			} else {
				d.blank()
			}
			d.cr = false
		}
		if b[0] == 0 {
			if d.Odd {
				d.text(b[:1])
			} else {
				d.blank()
			}
			b = b[1:]
			continue
		}
		n := 1
		for n < len(b) && b[n] != '\r' && b[n] != 0 {
			n++
		}
		d.text(b[:n])
		d.last = b[n-1]
		b = b[n:]
	}
	if ends {
		d.cr = false
	}
}

func (d *DotWriter) blank() {
	d.text([]byte{' '})
	d.replaced++
}

func (d *DotWriter) endLine() {
	if d.held >= 0 {
		d.w.WriteByte(byte(d.held))
		d.held = -1
	}
	d.w.WriteString("\r\n")
	d.body = d.body || !d.begun
	d.line, d.whole, d.begun = 0, 0, false
}

// Close ends the message: the last line gets its CRLF when it has none (RFC 5321 4.1.1.4), then comes the dot. It
// flushes the buffer, and leaves the connection open.
func (d *DotWriter) Close() error {
	if d.closed {
		return nil
	}
	d.closed = true
	if d.cr {
		d.cr = false
		d.blank()
	}
	if d.begun {
		d.endLine()
	}
	d.w.WriteString(".\r\n")
	return d.w.Flush()
}
