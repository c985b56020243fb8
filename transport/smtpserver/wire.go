package smtpserver

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"waybill/transport/smtp"
)

// Sizes of the two buffers of a connection: they are all the memory that a client can fill.
const (
	readBuffer  = 16 << 10 // a line of AUTH has 12288 octets (RFC 4954 4)
	writeBuffer = 2 << 10
	maxFlood    = 64 << 10 // octets without a line end behind which we hang up
)

var (
	errStopping = errors.New("the server is stopping")
	errTooSlow  = errors.New("the message comes too slowly")
	errOusted   = errors.New("another client needs the place")

	// What is wrong with a command line. The line was read, and nothing of it is obeyed.
	errLongLine = errors.New("line too long")
	errBareLine = errors.New("line does not end in CRLF")
	errOctet    = errors.New("CR or NUL in a line")
	errFlood    = errors.New("no line end")
)

// wire is the connection with its buffers and its clocks. It flushes what we have to say whenever it is about to wait
// for the client (RFC 2920 3.2), sets every deadline, and lets a stopping server interrupt a wait between commands.
type wire struct {
	rw    io.ReadWriter // a net.Conn, a *tls.Conn over it, or a pipe
	clock deadliner     // nil where rw has no deadlines
	br    *bufio.Reader
	bw    *bufio.Writer

	timeout time.Duration // of a command line, and of a write
	lineEnd time.Time     // when the line that is being read must be there

	// The clock of a message: data is set while one is read. waited counts the time that we waited for the client,
	// not the time that the Session took.
	data        bool
	dataTimeout time.Duration
	minRate     int64
	waited      time.Duration
	got         int64

	mu       sync.Mutex
	idle     bool      // between commands, outside of a transaction
	since    time.Time // when that began
	stopping bool
	ousted   bool
}

type deadliner interface {
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

func newWire(rw io.ReadWriter, cfg *Config) *wire {
	w := &wire{timeout: cfg.CommandTimeout, dataTimeout: cfg.DataTimeout, minRate: cfg.MinRate}
	w.clock, _ = rw.(deadliner)
	w.rw = rw
	w.br = readers.Get().(*bufio.Reader)
	w.br.Reset(w)
	w.bw = writers.Get().(*bufio.Writer)
	w.bw.Reset(writerSide{w})
	return w
}

// The buffers of connections that are over serve new ones.
var (
	readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }}
	writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, writeBuffer) }}
)

// giveBack ends the use of the buffers: nobody reads from the connection any more.
func (w *wire) giveBack() {
	w.br.Reset(nil)
	w.bw.Reset(nil)
	readers.Put(w.br)
	writers.Put(w.bw)
}

// restart puts the wire on top of rw and forgets everything that was read and not used (RFC 3207 4.2: what came
// before the handshake must not be obeyed behind it).
func (w *wire) restart(rw io.ReadWriter) {
	w.mu.Lock()
	w.rw = rw
	w.clock, _ = rw.(deadliner)
	w.mu.Unlock()
	w.br.Reset(w)
	w.bw.Reset(writerSide{w})
}

// Read is called by br when it has nothing left.
func (w *wire) Read(p []byte) (int, error) {
	if w.bw.Buffered() > 0 {
		if err := w.bw.Flush(); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	end := w.lineEnd
	if w.data {
		end = start.Add(w.dataTimeout)
		if w.minRate > 0 {
			left := w.dataTimeout + time.Duration(w.got/w.minRate)*time.Second - w.waited
			if left <= 0 {
				return 0, errTooSlow
			}
			end = start.Add(min(left, w.dataTimeout))
		}
	}
	if err := w.setReadDeadline(end); err != nil {
		return 0, err
	}
	n, err := w.rw.Read(p)
	if w.data {
		w.waited += time.Since(start)
		w.got += int64(n)
	}
	return n, err
}

func (w *wire) setReadDeadline(end time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.idle && w.stopping:
		return errStopping
	case w.idle && w.ousted:
		return errOusted
	}
	if w.clock != nil {
		// an error means that rw has no deadlines after all: a pipe, a file
		_ = w.clock.SetReadDeadline(end)
	}
	return nil
}

// stop ends a wait between commands, now or when it comes.
func (w *wire) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopping = true
	if w.idle && w.clock != nil {
		_ = w.clock.SetReadDeadline(time.Unix(1, 0))
	}
}

func (w *wire) setIdle(idle bool) (stopping bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if idle && !w.idle {
		w.since = time.Now()
	}
	w.idle = idle
	return w.stopping
}

// idleSince tells when the wait between two commands began, if there is one now, and the client was not sent away yet.
func (w *wire) idleSince() (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.since, w.idle && !w.ousted
}

// oust ends a wait between commands to make room for another client.
func (w *wire) oust() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ousted = true
	if w.idle && w.clock != nil {
		_ = w.clock.SetReadDeadline(time.Unix(1, 0))
	}
}

// wasOusted tells the deadline that oust set from one that has passed.
func (w *wire) wasOusted(err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ousted && errors.Is(err, os.ErrDeadlineExceeded)
}

// startData starts the clock of a message.
func (w *wire) startData() { w.data, w.waited, w.got = true, 0, 0 }

func (w *wire) endData() { w.data = false }

// writerSide keeps Write out of reach of br.
type writerSide struct{ w *wire }

func (s writerSide) Write(p []byte) (int, error) {
	if s.w.clock != nil {
		_ = s.w.clock.SetWriteDeadline(time.Now().Add(s.w.timeout))
	}
	return s.w.rw.Write(p)
}

// send puts a reply into the buffer. It goes out when the buffer is full or we wait for the client.
func (w *wire) send(r *smtp.Reply, utf8 bool) error {
	_, err := w.bw.Write(r.Append(w.bw.AvailableBuffer(), utf8))
	return err
}

// line reads one line of at most most octets with CRLF, and returns it without; the slice is good until the next
// read. One deadline holds for the line as a whole, however many pieces it comes in. With lenient an LF alone ends it
// too.
//
// Only CRLF ends a line (RFC 5321 2.3.8). A line with an LF in it that does not follow CR is errBareLine: the client
// and we disagree where lines end, so the caller hangs up.
func (w *wire) line(most int, lenient bool) ([]byte, error) {
	w.lineEnd = time.Now().Add(w.timeout)
	text, err := w.br.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, w.skipLine(len(text))
	}
	if err != nil {
		return nil, err
	}
	long := len(text) > most
	text = text[:len(text)-1]
	if len(text) > 0 && text[len(text)-1] == '\r' {
		text = text[:len(text)-1]
	} else if !lenient {
		return nil, errBareLine
	}
	if bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, 0) >= 0 {
		return text, errOctet
	}
	if long {
		return nil, errLongLine
	}
	return text, nil
}

// skipLine reads the rest of a line that does not fit into the buffer, so that no part of it is taken for a command.
func (w *wire) skipLine(n int) error {
	last := byte(0)
	for n <= maxFlood {
		text, err := w.br.ReadSlice('\n')
		n += len(text)
		if err == nil {
			if len(text) > 1 {
				last = text[len(text)-2]
			}
			if last != '\r' {
				return errBareLine
			}
			return errLongLine
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		last = text[len(text)-1]
	}
	return errFlood
}
