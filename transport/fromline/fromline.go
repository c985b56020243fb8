// Package fromline is the form in which a message stands in a mailbox file, goes to a program, or travels by UUCP:
// the "From sender date" line in front (mbox(5); with "remote from HOST" between UUCP sites), a Return-Path field,
// ">" before body lines that look like such a line, an empty line behind. A stream with LF line ends flows in, the
// same stream in that form flows out. Four transports need it, which is why it is a package.
package fromline

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"time"

	"waybill/transport/envelope"
)

// Form says what is done to a message on its way.
type Form struct {
	FromLine   bool // "From sender date" in front
	ReturnPath bool // "Return-Path: <sender>" in front; the ones that are in the header are dropped (RFC 5321 4.4)
	EscapeFrom bool // ">" before every line that begins with "From " (the rest of mbox(5) forms quote more or nothing)
	AfterBlank bool // EscapeFrom only behind an empty line, as sendmail's mail.local does
	BlankEnd   bool // one empty line at the end

	Text   string // of the From line, in place of the one that Sender, When and Remote make; no line end
	Sender envelope.Address
	When   time.Time // time of the From line, printed in its own zone
	Remote string    // "remote from" of the From line; empty for none
}

// ErrRead marks an error of the message's own stream, which is never the fault of where it goes.
var ErrRead = errors.New("reading the message")

// Line returns the "From " line without its line end. The null sender is MAILER-DAEMON. White space and control
// characters of a sender would make other programs read another date or another sender: each becomes "-".
func Line(sender envelope.Address, when time.Time, remote string) string {
	name := "MAILER-DAEMON"
	if !sender.Null() {
		name = strings.Map(func(r rune) rune {
			if r <= ' ' || r == 0x7f || r == 0x85 || r == 0xa0 || r == 0x2028 || r == 0x2029 {
				return '-'
			}
			return r
		}, string(sender))
	}
	line := "From " + name + " " + when.Format(time.ANSIC)
	if remote != "" {
		line += " remote from " + remote
	}
	return line
}

// Ugly returns the From line of sendmail's mailer flag U, for uux: the first site of the sender's path stands at the end,
// "From user  date remote from site". Where there is no path it is that of other mailers, whose blanks stay as well.
func Ugly(sender envelope.Address, when time.Time) string {
	site, user, path := strings.Cut(oneLine(string(sender)), "!")
	if !path {
		return Plain(sender, when)
	}
	return "From " + user + "  " + when.Format(time.ANSIC) + " remote from " + site
}

// Plain returns the From line that sendmail writes for programs: the sender as he is.
func Plain(sender envelope.Address, when time.Time) string {
	name := oneLine(string(sender))
	if name == "" {
		name = "MAILER-DAEMON"
	}
	return "From " + name + " " + when.Format(time.ANSIC)
}

const bufferSize = 64 << 10

// Copy writes the message of r to w in the given form. It holds one buffer of 64 KB and no more, whatever the length of
// the lines. A missing last line end is added. An error of r is wrapped in ErrRead; others are those of w.
func (f Form) Copy(w io.Writer, r io.Reader) error {
	out := bufio.NewWriterSize(w, bufferSize)
	in := bufio.NewReaderSize(r, bufferSize)
	if f.FromLine {
		text := f.Text
		if text == "" {
			text = Line(f.Sender, f.When, f.Remote)
		}
		out.WriteString(text)
		out.WriteByte('\n')
	}
	if f.ReturnPath {
		out.WriteString("Return-Path: <" + oneLine(string(f.Sender)) + ">\n")
	}
	var (
		lineStart = true         // the next octet begins a line
		header    = f.ReturnPath // Return-Path fields are looked for
		dropping  = false        // inside such a field
		blank     = true         // the line before was empty
		last      = byte('\n')
	)
	for {
		part, err := in.ReadSlice('\n')
		if len(part) > 0 {
			if lineStart && header {
				switch {
				case part[0] == '\n' || part[0] == '\r':
					header, dropping = false, false
				case part[0] == ' ' || part[0] == '\t': // continues what went before
				default:
					dropping = isReturnPath(part)
				}
			}
			whole := part[len(part)-1] == '\n'
			if !dropping {
				if lineStart && f.EscapeFrom && (blank || !f.AfterBlank) && bytes.HasPrefix(part, []byte("From ")) {
					out.WriteByte('>')
				}
				if _, werr := out.Write(part); werr != nil {
					return werr
				}
				last = part[len(part)-1]
				blank = lineStart && len(part) == 1 && whole
			}
			lineStart = whole
		}
		if err == io.EOF {
			break
		}
		if err != nil && err != bufio.ErrBufferFull {
			return errors.Join(ErrRead, err)
		}
	}
	if last != '\n' {
		out.WriteByte('\n')
	}
	if f.BlankEnd {
		out.WriteByte('\n')
	}
	return out.Flush()
}

func isReturnPath(line []byte) bool {
	name, _, found := bytes.Cut(line, []byte(":"))
	return found && strings.EqualFold(string(bytes.TrimRight(name, " \t")), "Return-Path")
}

// oneLine makes sure that nothing of an address can begin a new header line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// Read parses a line that begins with "From " or ">From ", without its line end: who, when, and from which site
// ("remote from SITE", in older software also "forwarded by SITE"). The date may be in any form or missing; it is
// returned as written. ok is false for a line that is no such line.
func Read(line string) (sender, date, remote string, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(line, ">"), "From ")
	if !ok {
		return "", "", "", false
	}
	rest = strings.TrimLeft(rest, " ")
	end := endOfSender(rest)
	sender, rest = rest[:end], strings.TrimSpace(rest[end:])
	if sender == "" || strings.ContainsFunc(sender, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", "", "", false
	}
	for _, phrase := range []string{" remote from ", " forwarded by "} {
		if before, after, found := strings.Cut(" "+rest+" ", phrase); found {
			remote, _, _ = strings.Cut(strings.TrimSpace(after), " ")
			rest = strings.TrimSpace(before)
			break
		}
	}
	return sender, rest, remote, true
}

// endOfSender finds the first blank outside a quoted string.
func endOfSender(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
		case s[i] == '"':
			quoted = !quoted
		case !quoted && (s[i] == ' ' || s[i] == '\t'):
			return i
		}
	}
	if quoted { // no closing quote: the first blank it is
		if i := strings.IndexAny(s, " \t"); i >= 0 {
			return i
		}
	}
	return len(s)
}
