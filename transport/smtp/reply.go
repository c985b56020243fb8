package smtp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Reply is an SMTP reply (RFC 5321 4.2), with its enhanced status code (RFC 2034, RFC 3463) where it has one. A nil
// *Reply from a Session means "accepted, with the usual words".
type Reply struct {
	Code     int      // 200..599
	Enhanced string   // "5.1.1"; empty in replies that carry none (greeting, EHLO, 354)
	Lines    []string // the text, at least one line, without codes
}

// NewReply returns a reply of one line.
func NewReply(code int, enhanced, text string) *Reply {
	return &Reply{Code: code, Enhanced: enhanced, Lines: []string{text}}
}

// Positive reports whether the request was carried out (2yz).
func (r *Reply) Positive() bool { return r.Code >= 200 && r.Code < 300 }

// Intermediate reports whether the other side waits for more (3yz).
func (r *Reply) Intermediate() bool { return r.Code >= 300 && r.Code < 400 }

// Temporary reports whether the same request may succeed later (4yz).
func (r *Reply) Temporary() bool { return r.Code >= 400 && r.Code < 500 }

// Permanent reports whether the request will not succeed (5yz).
func (r *Reply) Permanent() bool { return r.Code >= 500 && r.Code < 600 }

// Text is the text of all lines, joined with blanks.
func (r *Reply) Text() string { return strings.Join(r.Lines, " ") }

// String is the reply as one line for logs, bounces and listings: "550 5.1.1 no such user".
func (r *Reply) String() string {
	s := strconv.Itoa(r.Code)
	if r.Enhanced != "" {
		s += " " + r.Enhanced
	}
	return s + " " + r.Text()
}

// Append appends the wire form to dst, each line ending in CRLF. A line that would be longer than MaxReplyLine is
// split (RFC 5321 4.5.3.1.5); octets outside printable ASCII become "?", so that no text of ours or of a peer can
// break the protocol or a terminal. With utf8 set, octets from 0x80 pass (RFC 6531 3.7.4.2).
func (r *Reply) Append(dst []byte, utf8 bool) []byte {
	prefix := 4
	if r.Enhanced != "" {
		prefix += len(r.Enhanced) + 1
	}
	room := MaxReplyLine - 2 - prefix
	lines := r.Lines
	if len(lines) == 0 {
		lines = []string{""}
	}
	for i, line := range lines {
		for {
			part := line
			if len(part) > room {
				part = part[:room]
				if cut := strings.LastIndexByte(part, ' '); cut > room/2 {
					part = part[:cut+1]
				}
			}
			line = line[len(part):]
			dst = strconv.AppendInt(dst, int64(r.Code), 10)
			if i == len(lines)-1 && line == "" {
				dst = append(dst, ' ')
			} else {
				dst = append(dst, '-')
			}
			if r.Enhanced != "" {
				dst = append(dst, r.Enhanced...)
				dst = append(dst, ' ')
			}
			for j := 0; j < len(part); j++ {
				c := part[j]
				if odd(c) || (c >= 0x80 && !utf8) {
					c = '?'
				}
				dst = append(dst, c)
			}
			dst = append(dst, '\r', '\n')
			if line == "" {
				break
			}
		}
	}
	return dst
}

// Errors of ReadReply. Both mean that the peer does not speak SMTP: the connection is of no more use.
var (
	ErrReplySyntax = errors.New("not an SMTP reply")
	ErrReplyLength = errors.New("SMTP reply too long")
)

// Limits of ReadReply: far above what any server sends, far below what hurts.
const (
	maxReadLine  = 2048
	maxReadLines = 256
)

// ReadReply reads one reply, of one line or more (RFC 5321 4.2.1). Lines that end in LF alone are taken, as clients
// do; control characters in the text become "?". An enhanced code is recognised where its class fits the code
// (RFC 2034 4). EOF before the first octet is io.EOF, later io.ErrUnexpectedEOF. The buffer of br must hold a line:
// a line longer than it, or than 2048 octets, is ErrReplyLength.
func ReadReply(br *bufio.Reader) (*Reply, error) {
	r := &Reply{}
	for n := 0; ; n++ {
		if n == maxReadLines {
			return nil, ErrReplyLength
		}
		raw, err := br.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull) || len(raw) > maxReadLine:
			return nil, ErrReplyLength
		case errors.Is(err, io.EOF) && (n > 0 || len(raw) > 0):
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
		raw = raw[:len(raw)-1]
		if len(raw) > 0 && raw[len(raw)-1] == '\r' {
			raw = raw[:len(raw)-1]
		}
		more, err := r.addLine(string(raw))
		if err != nil {
			return nil, err
		}
		if !more {
			return r, nil
		}
	}
}

// addLine takes one line without its end, and reports whether more follow.
func (r *Reply) addLine(line string) (more bool, err error) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return false, fmt.Errorf("%w: %q", ErrReplySyntax, clip(line, 64))
	}
	code := int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if r.Code != 0 && r.Code != code {
		// RFC 5321 4.2.1: the code is the same on every line
		return false, fmt.Errorf("%w: code %d continued as %q", ErrReplySyntax, r.Code, clip(line, 64))
	}
	text := ""
	if len(line) > 3 {
		switch line[3] {
		case '-':
			more = true
		case ' ':
		default:
			return false, fmt.Errorf("%w: %q", ErrReplySyntax, clip(line, 64))
		}
		text = line[4:]
	}
	first := r.Code == 0
	r.Code = code
	if enhanced, rest, ok := cutEnhanced(text); ok && int(enhanced[0]-'0') == code/100 {
		if first {
			r.Enhanced = enhanced
		}
		if enhanced == r.Enhanced {
			text = rest
		}
	}
	r.Lines = append(r.Lines, Printable(text))
	return more, nil
}

// cutEnhanced splits "5.1.1 text" into the enhanced code and the text (RFC 2034 4).
func cutEnhanced(text string) (code, rest string, ok bool) {
	code, rest, _ = strings.Cut(text, " ")
	return code, rest, ValidEnhanced(code)
}

// ValidEnhanced reports whether s is class "." subject "." detail of RFC 3463 2.
func ValidEnhanced(s string) bool {
	if len(s) < 5 || len(s) > 9 || (s[0] != '2' && s[0] != '4' && s[0] != '5') || s[1] != '.' {
		return false
	}
	subject, detail, ok := strings.Cut(s[2:], ".")
	return ok && isNumber(subject, 3) && isNumber(detail, 3)
}

// Printable replaces every control character of s but the tab (RFC 5321 4.2) by "?": for logs, replies and bounces.
func Printable(s string) string {
	for i := 0; i < len(s); i++ {
		if odd(s[i]) {
			b := []byte(s)
			for ; i < len(b); i++ {
				if odd(b[i]) {
					b[i] = '?'
				}
			}
			return string(b)
		}
	}
	return s
}

func odd(c byte) bool { return c < ' ' && c != '\t' || c == 0x7f }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isNumber(s string, most int) bool {
	return len(s) >= 1 && len(s) <= most && strings.Trim(s, "0123456789") == ""
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "..."
	}
	return s
}
