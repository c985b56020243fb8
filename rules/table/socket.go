package table

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// socket is the class socket: a server is asked over a stream socket with the socketmap protocol. A request is the
// netstring "name key", the answer the netstring "OK value", "NOTFOUND", "TEMP why", "TIMEOUT why" or "PERM why".
type socket struct {
	*flags
	network, address string
	timeout          time.Duration
	broken           string // what sendmail says when it opens such a socket; empty when all is well
	told             atomic.Bool
	env              Env
	opened, gone     bool // of an optional one: whether it was tried, and nobody was there

	mu   sync.Mutex
	conn net.Conn
	in   *bufio.Reader
}

// Limits of an answer and of the time for it.
const (
	maxSocketAnswer = 100_000
	socketTimeout   = 30 * time.Second
)

func newSocket(f *flags, env Env) (Table, error) {
	if len(f.rest) == 0 && !env.Native { // sendmail has complained
		return Broken{}, nil
	}
	if len(f.rest) == 0 {
		return nil, fmt.Errorf("%s: table %s: no socket", f.def.Pos, f.def.Name)
	}
	s := &socket{flags: f, timeout: socketTimeout, env: env}
	kind, rest, ok := strings.Cut(f.rest[0], ":")
	switch {
	case ok && (kind == "unix" || kind == "local"):
		s.network, s.address = "unix", rest
	case ok && (kind == "inet" || kind == "inet6"):
		port, host, at := strings.Cut(rest, "@")
		if !at {
			host = "localhost"
		}
		s.network, s.address = "tcp", net.JoinHostPort(strings.Trim(host, "[]"), port)
	case ok && !env.Native:
		s.broken = "unknown socket type " + kind + ": Protocol not supported"
	default:
		s.network, s.address = "unix", f.rest[0]
	}
	if f.join != "" { // -d is the timeout here
		d, err := strconv.Atoi(strings.TrimSuffix(f.join, "s"))
		if err != nil || d < 1 {
			return nil, fmt.Errorf("%s: table %s: -d wants seconds", f.def.Pos, f.def.Name)
		}
		s.timeout = time.Duration(d) * time.Second
	}
	return s, nil
}

// Lookup asks the server. One connection is kept open; when it has gone, it is opened once more.
func (s *socket) Lookup(ctx context.Context, raw string, args []string) (Result, bool, error) {
	if !s.Open() {
		return Result{}, false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := s.clean(raw)
	if s.broken == "" && s.network == "unix" && s.conn == nil {
		if _, err := os.Stat(s.address); errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("table %s: %w", s.def.Name, err)
			return s.failed(raw, s.complain("local socket name "+s.address+" unsafe: No such file or directory", err))
		}
	}
	if s.broken != "" {
		return s.failed(raw, s.complain(s.broken, fmt.Errorf("table %s: %s", s.def.Name, s.broken)))
	}
	had := s.conn != nil
	answer, err := s.ask(ctx, key)
	if err != nil && had && ctx.Err() == nil {
		answer, err = s.ask(ctx, key)
	}
	if err != nil {
		return s.failed(raw, fmt.Errorf("table %s: %s: %w", s.def.Name, s.address, err))
	}
	word, value, _ := strings.Cut(answer, " ")
	switch word {
	case "OK":
		r := s.found(raw, value, args, s.def.Pos)
		r.Pos.File, r.Pos.Line, r.Pos.Col = "", 0, 0
		return r, true, nil
	case "NOTFOUND":
		return Result{}, false, nil
	case "PERM":
		return Result{}, false, &Trouble{Status: 69, Err: fmt.Errorf("table %s: %s says %q", s.def.Name, s.address, answer)}
	case "TEMP", "TIMEOUT":
		return s.failed(raw, fmt.Errorf("table %s: %s says %q", s.def.Name, s.address, answer))
	}
	s.close()
	return s.failed(raw, fmt.Errorf("table %s: %s says %q, which is no answer", s.def.Name, s.address, answer[:min(len(answer), 40)]))
}

// Open reports whether there is anything to ask: sendmail tries to reach the server of an optional one when it opens it.
func (s *socket) Open() bool {
	if !s.optional || s.env.Native {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened {
		return !s.gone
	}
	s.opened, s.gone = true, true
	if s.broken != "" {
		return false
	}
	if conn, err := net.DialTimeout(s.network, s.address, s.timeout); err == nil {
		s.conn, s.in, s.gone = conn, bufio.NewReader(conn), false
	}
	return !s.gone
}

// complain makes a complaint of an error, the first time.
func (s *socket) complain(say string, err error) error {
	if s.told.Swap(true) {
		return err
	}
	return &Complaint{Say: fmt.Sprintf("socket map \"%s\": %s", s.def.Name, say), Err: err}
}

func (s *socket) close() {
	if s.conn != nil {
		s.conn.Close()
	}
	s.conn, s.in = nil, nil
}

// ask sends one request and reads the answer. After an error the connection is closed.
func (s *socket) ask(ctx context.Context, key string) (answer string, err error) {
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	deadline := time.Now().Add(s.timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if s.conn == nil {
		dialer := net.Dialer{Deadline: deadline}
		if s.conn, err = dialer.DialContext(ctx, s.network, s.address); err != nil {
			s.conn = nil
			return "", err
		}
		s.in = bufio.NewReader(s.conn)
	}
	if err = s.conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	request := s.def.Name + " " + key
	if err = WriteNetstring(s.conn, request); err != nil {
		return "", err
	}
	return ReadNetstring(s.in)
}

// WriteNetstring writes "length:octets,".
func WriteNetstring(out io.Writer, text string) error {
	_, err := fmt.Fprintf(out, "%d:%s,", len(text), text)
	return err
}

// ReadNetstring reads "length:octets,".
func ReadNetstring(in *bufio.Reader) (string, error) {
	n := 0
	for digits := 0; ; digits++ {
		c, err := in.ReadByte()
		if err != nil {
			return "", err
		}
		if c == ':' && digits > 0 {
			break
		}
		if c < '0' || c > '9' || digits > 6 {
			return "", fmt.Errorf("no netstring")
		}
		n = n*10 + int(c-'0')
	}
	if n > maxSocketAnswer {
		return "", fmt.Errorf("an answer of %d octets", n)
	}
	b := make([]byte, n+1)
	if _, err := io.ReadFull(in, b); err != nil {
		return "", err
	}
	if b[n] != ',' {
		return "", fmt.Errorf("no comma behind the netstring")
	}
	return string(b[:n]), nil
}
