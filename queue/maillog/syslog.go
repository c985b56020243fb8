package maillog

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// syslog sends each line as one datagram to the system's log (RFC 3164), facility mail. It never waits: when the log
// is slow or away, lines are kept up to maxBacklog, and then the oldest are dropped and counted.
type syslog struct {
	path string
	opt  Options

	mu      sync.Mutex
	conn    *net.UnixConn
	retry   time.Time // no new connection before this
	backlog []string  // datagrams that could not be sent yet
	lost    int       // datagrams dropped since the last report
}

const (
	maxBacklog   = 1000
	redialAfter  = time.Second
	facilityMail = 2 << 3
)

func (s *syslog) write(t time.Time, level slog.Level, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.backlog) >= maxBacklog {
		s.backlog = s.backlog[1:]
		s.lost++
	}
	s.backlog = append(s.backlog, s.datagram(t, level, line))
	s.flush(t)
}

func (s *syslog) datagram(t time.Time, level slog.Level, line string) string {
	severity := 6 // info
	switch {
	case level >= slog.LevelError:
		severity = 3
	case level >= slog.LevelWarn:
		severity = 4
	case level < slog.LevelInfo:
		severity = 7
	}
	return fmt.Sprintf("<%d>%s %s[%d]: %s", facilityMail|severity, t.Format(stamp), s.opt.Tag, os.Getpid(), line)
}

// flush sends what it can without waiting.
func (s *syslog) flush(now time.Time) {
	for len(s.backlog) > 0 {
		if s.conn == nil {
			if now.Before(s.retry) {
				return
			}
			conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.path, Net: "unixgram"})
			if err != nil {
				s.retry = now.Add(redialAfter)
				return
			}
			s.conn = conn
		}
		if s.lost > 0 {
			text := s.datagram(now, slog.LevelWarn, fmt.Sprintf("%d log lines were lost", s.lost))
			if !s.send(text, now) {
				return
			}
			s.lost = 0
		}
		if !s.send(s.backlog[0], now) {
			return
		}
		s.backlog = s.backlog[1:]
	}
}

// send tries once and reports whether the datagram is off our hands. A connection that broke is given up: the daemon
// was restarted, and the next flush finds the new socket.
func (s *syslog) send(text string, now time.Time) bool {
	raw, err := s.conn.SyscallConn()
	if err == nil {
		var sent error
		err = raw.Control(func(fd uintptr) {
			sent = unix.Sendto(int(fd), []byte(text), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
		})
		if err == nil {
			err = sent
		}
	}
	switch {
	case err == nil, errors.Is(err, unix.EMSGSIZE): // one that is too long can never be sent
		return true
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EINTR):
		return false
	}
	s.conn.Close()
	s.conn = nil
	return false
}

func (s *syslog) reopen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retry = time.Time{}
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}

func (s *syslog) close() error {
	s.mu.Lock()
	s.flush(time.Now())
	s.mu.Unlock()
	return s.reopen()
}
