package smtpserver

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"waybill/transport/envelope"
	"waybill/transport/smtp"
)

// errAborted ends a message in chunks that the client gave up: RSET or QUIT came instead of the next chunk.
var errAborted = errors.New("the client gave the message up")

// bdat: RFC 3030 2. The octets of a chunk follow the command in any case: where the command is refused they are read
// and forgotten, never obeyed.
func (c *conn) bdat(ctx context.Context, arg string) {
	size, last, ok := parseChunk(arg)
	if !ok {
		c.badChunk()
		return
	}
	if c.state != rcpt {
		c.refuseChunk(size, c.outOfOrder())
		return
	}
	c.state = chunks
	m := &chunkReader{c: c, ctx: ctx, left: size, last: last, raw: c.bodyType == envelope.BodyBinaryMIME, text: smtp.NewTextDecoder(c.cfg.Bare, c.cfg.MaxSize, c.cfg.MaxLine)}
	m.announce(size)
	c.receive(ctx, m)
	if line := m.then; line != "" && c.state != closing {
		c.run(ctx, line) // the RSET or QUIT that ended the message
	}
}

// parseChunk: RFC 3030 2: chunk-size [ "LAST" ]. A number that does not fit is no size (no wrap-around).
func parseChunk(arg string) (size int64, last, ok bool) {
	number, rest, more := strings.Cut(arg, " ")
	if number == "" || strings.Trim(number, "0123456789") != "" {
		return 0, false, false
	}
	size, err := strconv.ParseInt(number, 10, 64)
	if err != nil || more && !strings.EqualFold(rest, "LAST") {
		return 0, false, false
	}
	return size, more, true
}

// badChunk: how many octets follow is not known, so that nothing behind this command can be understood.
func (c *conn) badChunk() {
	c.close(smtp.NewReply(501, "5.5.4", "bad chunk size, closing the connection"))
}

// refuseChunk reads a chunk and forgets it.
func (c *conn) refuseChunk(size int64, r *smtp.Reply) {
	if size > c.drainLimit() {
		c.close(r)
		return
	}
	c.w.startData()
	err := skip(c.w, size)
	c.w.endData()
	if err != nil {
		c.fail(err)
		return
	}
	c.reply(r)
}

// skip forgets n octets of the connection.
func skip(w *wire, n int64) error {
	for n > 0 {
		if _, err := w.br.Peek(1); err != nil {
			return chunkError(err)
		}
		m, err := w.br.Discard(int(min(n, int64(w.br.Buffered()))))
		n -= int64(m)
		if err != nil {
			return err
		}
	}
	return nil
}

func chunkError(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// chunkReader is a message that comes in chunks. When the Session has read a chunk to its end and wants more, the
// chunk is acknowledged, and the next command is read: the Session sees one stream.
type chunkReader struct {
	c     *conn
	ctx   context.Context
	text  *smtp.TextDecoder
	raw   bool  // octets as they are: BODY=BINARYMIME
	left  int64 // octets of this chunk that were not read
	last  bool
	total int64 // octets of all chunks so far
	ended bool
	err   error
	tail  []byte // decoded octets behind the last chunk
	then  string // the command that ended the message before its end
}

func (m *chunkReader) Ended() bool { return m.ended }

// announce checks the size of the message as soon as it is known (RFC 1870 with RFC 3030).
func (m *chunkReader) announce(size int64) {
	if limit := m.c.cfg.MaxSize; limit > 0 && (size > limit || m.total > limit-size) {
		m.err = smtp.ErrTooLarge
	}
	m.total += min(size, 1<<62-m.total)
}

func (m *chunkReader) Read(p []byte) (int, error) {
	for len(p) > 0 && m.err == nil {
		switch {
		case len(m.tail) > 0:
			n := copy(p, m.tail)
			m.tail = m.tail[n:]
			return n, nil
		case m.left > 0:
			n, err := m.chunk(p)
			m.err = err
			if n > 0 {
				return n, nil
			}
		case m.ended:
			m.err = io.EOF
		case m.last:
			m.tail, m.err = m.text.Finish()
			m.ended = m.err == nil
		default:
			m.err = m.next()
		}
	}
	return 0, m.err
}

// chunk decodes what has arrived of the current chunk.
func (m *chunkReader) chunk(p []byte) (int, error) {
	w := m.c.w
	if _, err := w.br.Peek(1); err != nil {
		return 0, chunkError(err)
	}
	src, _ := w.br.Peek(int(min(m.left, int64(w.br.Buffered()))))
	if m.raw {
		n, err := w.br.Discard(copy(p, src))
		m.left -= int64(n)
		return n, err
	}
	n, used, err := m.text.Decode(p, src)
	_, _ = w.br.Discard(used)
	m.left -= int64(used)
	return n, err
}

// next acknowledges a chunk and reads commands until the next chunk comes. Which commands are legal meanwhile is in
// states.go.
func (m *chunkReader) next() error {
	c := m.c // the clock of the message runs on: it is one message, however it is cut
	c.send(smtp.NewReply(250, "2.0.0", strconv.FormatInt(m.total, 10)+" octets received so far"))
	for c.state != closing {
		line, err := c.w.line(smtp.MaxCommandLine, c.cfg.Lenient)
		if err != nil {
			if errors.Is(err, errLongLine) || errors.Is(err, errOctet) {
				c.fail(err) // answers, and the dialogue goes on
				c.checkBudgets()
				continue
			}
			return chunkError(err)
		}
		verb, arg, _ := strings.Cut(string(line), " ")
		switch strings.ToUpper(verb) {
		case "BDAT":
			var ok bool
			if m.left, m.last, ok = parseChunk(strings.TrimRight(arg, " ")); !ok {
				c.badChunk()
				return errAborted
			}
			m.announce(m.left)
			return m.err
		case "RSET", "QUIT":
			m.then = string(line)
			return errAborted
		}
		c.run(m.ctx, string(line))
		c.checkBudgets()
	}
	return errAborted
}

// Drain reads the rest of a message that the Session accepted without reading it.
func (m *chunkReader) Drain(limit int64) error {
	m.err = nil
	var scratch [2048]byte
	for {
		n, err := m.Read(scratch[:])
		limit -= int64(n)
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case limit < 0:
			return smtp.ErrTooLarge
		}
	}
}

// abandon reads the rest of the chunk that the client is sending, and no more: the reply to it says that the message
// is refused, and chunks that were sent ahead are refused one by one.
func (m *chunkReader) abandon(limit int64) error {
	if m.left > limit {
		return smtp.ErrTooLarge
	}
	err := skip(m.c.w, m.left)
	m.left = 0
	return err
}
