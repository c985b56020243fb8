package uucp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"waybill/transport/envelope"
)

const (
	maxBatchLine  = 4096 // octets of a command
	maxBatchUsers = 10_000
)

// ReadBatch reads batched SMTP, the standard input of rsmtp: commands and messages, lines ending in LF or CRLF. Each
// complete message goes to accept; it is safe when accept returns nil. The first thing that is not understood ends the
// batch with an error that names its line, for what follows could be in the wrong place; messages before it stand.
// A message that is cut off before its final dot is never accepted.
func ReadBatch(r io.Reader, by Caller, accept func(*Incoming) error) error {
	b := &batch{in: bufio.NewReaderSize(r, 64<<10), by: by}
	for {
		line, err := b.command()
		if err == io.EOF {
			if b.mail {
				return fmt.Errorf("line %d: %w: the batch ends inside a transaction", b.line, ErrFormat)
			}
			return nil // QUIT is a courtesy
		}
		if err != nil {
			return err
		}
		done, err := b.do(line, accept)
		if err != nil {
			return fmt.Errorf("line %d: %w", b.line, err)
		}
		if done {
			return nil
		}
	}
}

type batch struct {
	in   *bufio.Reader
	by   Caller
	line int
	mail bool // MAIL was seen
	now  Incoming
}

func (b *batch) command() (string, error) {
	b.line++
	line, err := b.in.ReadSlice('\n')
	if err == io.EOF && len(line) > 0 {
		err = nil
	}
	if errors.Is(err, bufio.ErrBufferFull) || len(line) > maxBatchLine {
		return "", fmt.Errorf("line %d: %w: a command of more than %d octets", b.line, ErrFormat, maxBatchLine)
	}
	return strings.TrimRight(string(line), "\r\n"), err
}

func (b *batch) do(line string, accept func(*Incoming) error) (done bool, err error) {
	verb, rest, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "":
		if line != "" {
			return false, fmt.Errorf("%w: %q", ErrFormat, line)
		}
	case "HELO", "EHLO", "NOOP", "TICK", "VERB":
	case "RSET":
		b.mail = false
	case "QUIT":
		if b.mail {
			return false, fmt.Errorf("%w: QUIT inside a transaction", ErrFormat)
		}
		return true, nil
	case "MAIL":
		path, params, err := batchPath(rest, "FROM:")
		if err != nil {
			return false, err
		}
		if b.mail {
			return false, fmt.Errorf("%w: MAIL inside a transaction", ErrFormat)
		}
		b.mail, b.now = true, Incoming{}
		var sites []string
		if b.by.Machine != "" {
			sites = []string{b.by.Machine}
		}
		b.now.origin(b.by, sites)
		b.now.Sender = envelope.Address(path)
		for word := range strings.FieldsSeq(strings.ToUpper(params)) {
			if value, ok := strings.CutPrefix(word, "BODY="); ok && (value == "7BIT" || value == "8BITMIME") {
				b.now.BodyType = envelope.BodyType(value)
			}
		}
	case "RCPT":
		path, _, err := batchPath(rest, "TO:")
		switch {
		case err != nil:
			return false, err
		case !b.mail:
			return false, fmt.Errorf("%w: RCPT before MAIL", ErrFormat)
		case path == "":
			return false, fmt.Errorf("%w: no recipient in RCPT", ErrFormat)
		case len(b.now.Recipients) >= maxBatchUsers:
			return false, fmt.Errorf("%w: more than %d recipients", ErrFormat, maxBatchUsers)
		}
		b.now.Recipients = append(b.now.Recipients, envelope.Address(path))
	case "DATA":
		if len(b.now.Recipients) == 0 || !b.mail {
			return false, fmt.Errorf("%w: DATA without a recipient", ErrFormat)
		}
		message := &batchMessage{b: b, lineStart: true}
		b.now.Message = message
		err := accept(&b.now)
		if err == nil && !message.ended {
			_, err = io.Copy(io.Discard, message)
		}
		b.mail = false
		return false, err
	default:
		return false, fmt.Errorf("%w: command %q", ErrFormat, verb)
	}
	return false, nil
}

// batchPath reads "FROM:<path> params". Blanks round the colon and a path without brackets are common.
func batchPath(rest, keyword string) (path, params string, err error) {
	rest = strings.TrimLeft(rest, " ")
	if len(rest) < len(keyword) || !strings.EqualFold(rest[:len(keyword)], keyword) {
		return "", "", fmt.Errorf("%w: %q where %s should be", ErrFormat, rest, keyword)
	}
	rest = strings.TrimLeft(rest[len(keyword):], " ")
	if strings.HasPrefix(rest, "<") {
		end, quoted := -1, false
	scan:
		for i := 1; i < len(rest); i++ {
			switch {
			case rest[i] == '\\':
				i++
			case rest[i] == '"':
				quoted = !quoted
			case rest[i] == '>' && !quoted:
				end = i
				break scan
			}
		}
		if end < 0 {
			return "", "", fmt.Errorf("%w: %q", ErrFormat, rest)
		}
		path, params = rest[1:end], rest[end+1:]
		if strings.HasPrefix(path, "@") { // a source route is ignored (RFC 5321 C)
			if _, after, ok := strings.Cut(path, ":"); ok {
				path = after
			}
		}
	} else {
		path, params, _ = strings.Cut(rest, " ")
		if path == "" {
			return "", "", fmt.Errorf("%w: no path", ErrFormat)
		}
	}
	if len(path) > maxPath || strings.HasPrefix(path, "-") {
		return "", "", fmt.Errorf("%w: path %.40q", ErrFormat, path)
	}
	for i := 0; i < len(path); i++ {
		if path[i] < ' ' || path[i] == 0x7f {
			return "", "", fmt.Errorf("%w: control character in a path", ErrFormat)
		}
	}
	return path, params, nil
}

// batchMessage reads one message up to its final dot, the transparency dots taken away and CRLF made LF.
type batchMessage struct {
	b         *batch
	lineStart bool
	ended     bool
	left      []byte // of a line that is being handed out
	behind    []byte // and what comes behind left
	cr        bool   // a part of a long line ended in CR, which is not handed out before it is clear whether LF follows
	err       error
}

func (m *batchMessage) Read(p []byte) (int, error) {
	for len(m.left) == 0 {
		if len(m.behind) > 0 {
			m.left, m.behind = m.behind, nil
			break
		}
		if m.ended {
			return 0, io.EOF
		}
		if m.err != nil {
			return 0, m.err
		}
		m.next()
	}
	n := copy(p, m.left)
	m.left = m.left[n:]
	return n, nil
}

// next takes the next line, or a part of a long one, into left. What it refers to is valid until the next call.
func (m *batchMessage) next() {
	part, err := m.b.in.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		err = nil
	}
	if err != nil { // also io.EOF: the final dot is missing
		m.err = fmt.Errorf("%w: the batch ends inside a message", ErrFormat)
		if err != io.EOF {
			m.err = err
		}
		return
	}
	whole := part[len(part)-1] == '\n'
	start := m.lineStart
	m.lineStart = whole
	if whole {
		m.b.line++
		if n := len(part); n >= 2 && part[n-2] == '\r' {
			part[n-2] = '\n'
			part = part[:n-1]
		}
	}
	if start && part[0] == '.' {
		if len(part) == 2 && part[1] == '\n' {
			m.ended = true
			return
		}
		part = part[1:]
	}
	held := m.cr && part[0] != '\n'
	m.cr = false
	if n := len(part); !whole && n > 0 && part[n-1] == '\r' {
		m.cr, part = true, part[:n-1]
	}
	if held {
		m.left, m.behind = []byte{'\r'}, part
		return
	}
	m.left = part
}
