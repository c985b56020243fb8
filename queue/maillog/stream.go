package maillog

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"waybill/transport/identity"
)

// stream is standard error or a file. A line is one write, so that lines of several processes do not mix.
type stream struct {
	path string // empty for a stream that cannot be opened anew
	opt  Options

	mu sync.Mutex
	w  io.Writer
}

// stamp is the time of RFC 3164 4.1.2.
const stamp = "Jan _2 15:04:05"

func (s *stream) write(t time.Time, _ slog.Level, line string) {
	text := fmt.Sprintf("%s %s %s[%d]: %s\n", t.Format(stamp), s.opt.Host, s.opt.Tag, os.Getpid(), line)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := io.WriteString(s.w, text); err != nil && s.path != "" {
		// a full disk must not stop mail that goes elsewhere; the line goes to whoever keeps our standard error
		fmt.Fprintf(os.Stderr, "%s: %v: %s", s.path, err, text)
	}
}

func (s *stream) reopen() error {
	if s.path == "" {
		return nil
	}
	flag, create := os.O_WRONLY|os.O_APPEND, os.O_CREATE
	if identity.Foreign(s.path) { // no link of its owner's, of either kind
		flag |= unix.O_NOFOLLOW
		create |= os.O_EXCL
	}
	f, err := os.OpenFile(s.path, flag, 0)
	if errors.Is(err, os.ErrNotExist) {
		if f, err = os.OpenFile(s.path, flag|create, 0o640); err == nil {
			err = identity.Leave(f)
		} else if errors.Is(err, os.ErrExist) { // another process was quicker
			f, err = os.OpenFile(s.path, flag, 0)
		}
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	old := s.w
	s.w = f
	s.mu.Unlock()
	if c, ok := old.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func (s *stream) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.w.(io.Closer); ok && s.path != "" {
		s.w = io.Discard
		return c.Close()
	}
	return nil
}
