package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/mbox"
	"waybill/transport/passwd"
	"waybill/transport/smtp"
	"waybill/transport/sysexits"
)

const (
	maxCommand = 4096 // octets of a command line
	maxUsers   = 1000 // recipients of a message
)

// session is one LMTP dialogue (RFC 2033): as SMTP, but with a reply for every recipient behind the final dot. The
// replies are worded as those of sendmail's mail.local.
type session struct {
	options
	box   *mbox.Mbox
	users passwd.Source
	log   *slog.Logger

	in  *bufio.Reader
	out *bufio.Writer

	greeted bool
	mail    bool
	sender  envelope.Address
	to      []string
}

// serve speaks LMTP until QUIT or the end of input.
func serve(in io.Reader, out io.Writer, s session) int {
	s.in, s.out = bufio.NewReaderSize(in, 32<<10), bufio.NewWriter(out)
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	s.say("220 %s LMTP ready", host)
	for {
		line, crlf, err := s.command()
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			s.say("500 5.5.2 Line too long")
			if _, err := s.skipLine(); err != nil {
				return s.end(err)
			}
			continue
		case err != nil:
			return s.end(err)
		}
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "LHLO":
			if strings.TrimSpace(rest) == "" {
				s.say("500 5.5.2 Syntax error")
				continue
			}
			s.hello(host)
		case "MAIL":
			s.from(rest)
		case "RCPT":
			s.recipient(rest)
		case "DATA":
			if err := s.data(crlf); err != nil {
				return s.end(err)
			}
		case "RSET":
			s.mail, s.to = false, nil
			s.say("250 2.0.0 Ok")
		case "NOOP":
			s.say("250 2.0.0 Ok")
		case "VRFY":
			s.say("252 2.3.3 Try RCPT to attempt delivery")
		case "QUIT":
			s.say("221 2.0.0 Bye")
			return s.end(nil)
		default:
			s.say("500 5.5.2 Syntax error")
		}
	}
}

// say writes a reply. It is sent when no further command is waiting (RFC 2920 3.2).
func (s *session) say(format string, args ...any) {
	fmt.Fprintf(s.out, format+"\r\n", args...)
	if s.in.Buffered() == 0 {
		_ = s.out.Flush() // a client that is gone shows when we read
	}
}

func (s *session) end(err error) int {
	_ = s.out.Flush()
	if err != nil && err != io.EOF {
		s.log.Warn("LMTP session", "err", err)
		return sysexits.IOErr
	}
	return sysexits.OK
}

// command reads one line; crlf tells how it ended, since a client that ends its commands in LF does so in its data.
func (s *session) command() (line string, crlf bool, err error) {
	if s.in.Buffered() == 0 {
		_ = s.out.Flush()
	}
	text, err := s.in.ReadSlice('\n')
	if err != nil {
		return "", false, err
	}
	if len(text) > maxCommand {
		return strings.Repeat("x", 10), false, nil // no command has this length
	}
	line = strings.TrimSuffix(string(text), "\n")
	return strings.TrimSuffix(line, "\r"), strings.HasSuffix(line, "\r"), nil
}

func (s *session) skipLine() (int, error) {
	for n := 0; ; {
		part, err := s.in.ReadSlice('\n')
		n += len(part)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return n, err
		}
	}
}

func (s *session) hello(host string) {
	if s.greeted {
		s.say("503 %s Duplicate LHLO", host)
		return
	}
	s.greeted = true
	s.say("250-%s", host)
	if !s.sevenBit {
		s.say("250-8BITMIME")
	}
	s.say("250-ENHANCEDSTATUSCODES")
	s.say("250 PIPELINING")
}

func (s *session) from(rest string) {
	after, ok := cutPrefixFold(rest, "FROM:")
	switch {
	case s.mail:
		s.say("503 5.5.1 Nested MAIL command")
		return
	case !ok || !strings.HasPrefix(strings.TrimLeft(after, " "), "<") || !strings.Contains(after, ">"):
		s.say("501 5.5.4 Syntax error in parameters")
		return
	}
	path, _, err := smtp.ParseReversePath(after)
	if err != nil {
		s.say("501 5.5.4 Syntax error in parameters")
		return
	}
	s.mail, s.sender, s.to = true, path.Addr, nil
	s.say("250 2.5.0 Ok")
}

// recipient accepts who has a mailbox. The domain and a "+detail" behind the name are taken off.
func (s *session) recipient(rest string) {
	after, ok := cutPrefixFold(rest, "TO:")
	switch {
	case !s.mail:
		s.say("503 5.5.1 Need MAIL command")
		return
	case !ok || !strings.HasPrefix(strings.TrimLeft(after, " "), "<"):
		s.say("501 5.5.4 Syntax error in parameters")
		return
	case strings.TrimSpace(after) == "<>":
		s.say("550 5.1.1 User unknown")
		return
	case len(s.to) >= maxUsers:
		s.say("452 4.5.3 Too many recipients")
		return
	}
	path, _, err := smtp.ParseForwardPath(after)
	if err != nil {
		s.say("501 5.5.4 Syntax error in parameters")
		return
	}
	name, _ := path.Addr.Split()
	if s.keep {
		name = string(path.Addr)
	}
	name = strings.TrimPrefix(name, `\`)
	_, found, err := s.users.Lookup(name)
	if base, _, plus := strings.Cut(name, "+"); err == nil && !found && plus {
		name = base
		_, found, err = s.users.Lookup(name)
	}
	switch {
	case err != nil:
		s.log.Warn("user database", "err", err)
		s.say("451 4.3.0 User database not available")
	case !found || !mbox.ValidName(name):
		s.say("550 5.1.1 User unknown")
	default:
		s.to = append(s.to, name)
		s.say("250 2.1.5 Ok")
	}
}

// data takes the message and answers once for every recipient, in order (RFC 2033 4.2).
func (s *session) data(crlf bool) error {
	if len(s.to) == 0 {
		s.say("503 5.5.1 No recipients")
		return nil
	}
	s.say("354 Go ahead")
	_ = s.out.Flush()
	dots := &dots{in: s.in, crlf: crlf, start: true}
	body, err := keep(dots)
	if err != nil && dots.err != nil && dots.err != io.EOF {
		return dots.err // cut off: nothing was promised
	}
	var statuses []transport.Status
	if err != nil {
		s.log.Warn("temporary file", "err", err)
		if _, err := io.Copy(io.Discard, dots); err != nil {
			return err
		}
		statuses = transport.All(len(s.to), transport.NewStatus(transport.Deferred, "4.3.1", "cannot store the message"))
	} else {
		statuses = deliver(s.box, s.sender, s.to, body, s.log)
		body.file.Close()
	}
	for i, st := range statuses {
		switch st.Outcome() {
		case transport.Delivered:
			s.say("250 2.1.5 %s Ok", s.to[i])
		case transport.Failed:
			s.say("%d %s %s", reply(550, 552, st), st.Code(), st.Text())
		default:
			s.say("%d %s %s", reply(451, 452, st), st.Code(), st.Text())
		}
	}
	s.mail, s.to = false, nil
	return nil
}

// reply is the SMTP code: another one where room is missing (RFC 5321 4.2.3).
func reply(plain, room int, st transport.Status) int {
	if code := st.Code()[1:]; code == ".2.2" || code == ".3.1" {
		return room
	}
	return plain
}

func cutPrefixFold(s, prefix string) (string, bool) {
	s = strings.TrimLeft(s, " ")
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

// dots reads a message up to its final dot. With a client that speaks CRLF only CRLF.CRLF is the end, and a bare LF is
// a line end in the mailbox and nothing more; with one that speaks LF, LF is both. CRLF becomes LF; a bare CR stays.
type dots struct {
	in    *bufio.Reader
	crlf  bool
	start bool // the next octet begins a line
	held  bool // a CR that may belong to a CRLF
	left  []byte
	err   error
}

func (d *dots) Read(p []byte) (int, error) {
	for len(d.left) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		d.next()
	}
	n := copy(p, d.left)
	d.left = d.left[n:]
	return n, nil
}

func (d *dots) next() {
	part, err := d.in.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		if d.err = err; err == io.EOF {
			d.err = io.ErrUnexpectedEOF
		}
		return
	}
	begins := d.start
	if begins && (string(part) == ".\r\n" || string(part) == ".\n" && !d.crlf) {
		d.err = io.EOF
		return
	}
	if begins && part[0] == '.' {
		part = part[1:]
	}
	if d.held { // only after a full buffer: copying it does not matter
		d.held = false
		part = append([]byte{'\r'}, part...)
	}
	n := len(part)
	switch {
	case n >= 2 && part[n-2] == '\r' && part[n-1] == '\n':
		part[n-2] = '\n'
		part = part[:n-1]
		d.start = true
	case n >= 1 && part[n-1] == '\n':
		d.start = !d.crlf
	case n >= 1 && part[n-1] == '\r':
		d.held, part, d.start = true, part[:n-1], false
	default:
		d.start = false
	}
	d.left = part
}
