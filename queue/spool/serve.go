package spool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"waybill/transport/envelope"
	"waybill/transport/identity"
	"waybill/transport/sysexits"
)

const (
	maxConnections     = 1000 // at a time
	maxConnectionsUser = 200  // of one uid other than root
)

// Peer is who is at the other end of the socket; the kernel says so.
type Peer struct{ PID, UID, GID int }

// Handler does what front ends ask for. Its methods are called concurrently.
type Handler interface {
	// Submit accepts a message. body ends in io.EOF only when the front end has sent it whole; any other error means
	// that there is no message. e.Origin.UID is the peer's, whatever the front end wrote. verbose is nil unless the
	// front end wants to watch. An error is told to the front end: a *RefusedError as it is, others as temporary.
	Submit(ctx context.Context, peer Peer, e *envelope.Envelope, body io.Reader, verbose func(string)) (Reply, error)
	// Control does what words say, checks that peer may, and answers in lines.
	Control(ctx context.Context, peer Peer, words []string, answer func(line string) error) error
}

// Listen makes the spool's socket, which every user may connect to. The caller holds the daemon's lock.
func Listen(socket string) (*net.UnixListener, error) {
	if err := removeSocket(socket); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := openToAll(socket); err != nil {
		l.Close()
		return nil, fmt.Errorf("%s: %w", socket, err)
	}
	return l, nil
}

// openToAll lets every user connect. Where the directory is somebody else's than ours, they can put a link in the socket's
// place at any time: what is changed is what was looked at.
func openToAll(socket string) error {
	if !identity.Foreign(socket) {
		return unix.Chmod(socket, 0o666)
	}
	fd, err := unix.Open(socket, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK || st.Nlink != 1 {
		return errors.New("not the socket that was made")
	}
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), 0o666) // fchmod(2) knows no such descriptors
}

// Serve answers front ends until ctx ends, and then until those are answered whose message has arrived whole; the
// others lose their connection and drop their mail. It closes l.
func Serve(ctx context.Context, l *net.UnixListener, h Handler, log *slog.Logger) error {
	s := &server{h: h, log: log, users: map[int]int{}}
	defer s.wait.Wait()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			// Out of descriptors or memory: those who are being served will give some back.
			log.Warn("cannot accept a front end", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		peer, err := peerOf(conn)
		if err == nil && !s.enter(peer.UID) {
			err = errors.New("too many connections")
		}
		if err != nil {
			log.Warn("front end turned away", "uid", peer.UID, "err", err)
			conn.SetWriteDeadline(time.Now().Add(time.Second))
			fmt.Fprintf(conn, "error %d too many connections, try again later\n", sysexits.TempFail)
			conn.Close()
			continue
		}
		s.wait.Go(func() {
			defer s.leave(peer.UID)
			defer conn.Close()
			s.serve(ctx, conn, peer)
		})
	}
}

type server struct {
	h    Handler
	log  *slog.Logger
	wait sync.WaitGroup

	mu    sync.Mutex
	total int
	users map[int]int
}

func (s *server) enter(uid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= maxConnections || uid != 0 && s.users[uid] >= maxConnectionsUser {
		return false
	}
	s.total++
	s.users[uid]++
	return true
}

func (s *server) leave(uid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.users[uid]--; s.users[uid] == 0 {
		delete(s.users, uid)
	}
}

func peerOf(conn *net.UnixConn) (Peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return Peer{UID: -1}, err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return Peer{UID: -1}, err
	}
	if cerr != nil {
		return Peer{UID: -1}, cerr
	}
	return Peer{PID: int(cred.Pid), UID: int(cred.Uid), GID: int(cred.Gid)}, nil
}

func (s *server) serve(ctx context.Context, conn net.Conn, peer Peer) {
	// Until the request is whole, the end of ctx ends the reading.
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	in := bufio.NewReaderSize(conn, 16<<10)
	word, rest, err := readLine(in)
	if err != nil {
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			s.log.Warn("front end not understood", "uid", peer.UID, "err", err)
		}
		return
	}
	out := &answers{conn: conn}
	switch line := word + " " + rest; {
	case line == greetSubmit || line == greetSubmit+" verbose":
		s.submit(ctx, out, in, peer, line != greetSubmit)
	case line == greetControl || strings.HasPrefix(line, greetControl+" "):
		var words []string
		for w := range strings.FieldsSeq(line[len(greetControl):]) {
			w, err := unescape(w)
			if err != nil {
				out.fail(err)
				return
			}
			words = append(words, w)
		}
		err := s.h.Control(ctx, peer, words, func(line string) error { return out.line("line", line) })
		if err != nil {
			s.refuse(out, peer, err)
			return
		}
		out.raw("ok\n")
	default:
		out.fail(errors.New("request not understood"))
	}
}

func (s *server) submit(ctx context.Context, out *answers, in *bufio.Reader, peer Peer, verbose bool) {
	e, err := readEnvelope(in)
	if err != nil {
		s.log.Warn("front end not understood", "uid", peer.UID, "err", err)
		out.fail(errors.New("envelope not understood"))
		return
	}
	e.Origin.UID = peer.UID
	body := &frames{in: in}
	var say func(string)
	if verbose {
		say = func(line string) { out.line("verbose", line) }
	}
	reply, err := s.h.Submit(ctx, peer, e, body, say)
	if reply.Begin != nil {
		defer func() {
			out.awaitEnd(in)
			reply.Begin()
		}()
	}
	if err != nil {
		s.refuse(out, peer, err)
		return
	}
	if reply.ID != "" && !body.whole {
		s.log.Error("a message was accepted before it was read to its end", "id", reply.ID, "uid", peer.UID)
		out.fail(errors.New("internal error"))
		return
	}
	for _, r := range reply.Refused {
		out.line("refused", fmt.Sprintf("%d %s %s", r.Index, r.Code, r.Text))
		if r.Name != "" {
			out.line("name", r.Name)
		}
	}
	if reply.Head != "" {
		out.line("head", reply.Head)
	}
	for _, l := range reply.Partly {
		out.line("partly", l)
	}
	for _, l := range reply.Told {
		out.line("told", l)
	}
	for _, l := range reply.Tail {
		out.line("tail", l)
	}
	if reply.Untold {
		out.raw("untold\n")
	}
	if reply.Joined {
		out.raw("joined\n")
	}
	id := reply.ID
	if id == "" {
		id = "-"
	}
	out.raw(fmt.Sprintf("done %s %d\n", id, reply.Exit))
}

// refuse tells the front end. What is not a *RefusedError is ours: its text goes to the log.
func (s *server) refuse(out *answers, peer Peer, err error) {
	var refused *RefusedError
	if errors.As(err, &refused) {
		out.line("error", fmt.Sprintf("%d %s", refused.Exit, refused.Text))
		return
	}
	s.log.Warn("front end's request failed", "uid", peer.UID, "err", err)
	// Of the reason the front end hears what says nothing about our files: "no space left on device".
	why := "the daemon's log says why"
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		why = errno.Error()
	}
	out.line("error", fmt.Sprintf("%d not accepted: %s; try again later", sysexits.TempFail, why))
}

// answers writes lines to the front end; it may be called concurrently.
type answers struct {
	mu   sync.Mutex
	conn net.Conn
	err  error
}

func (a *answers) line(word, text string) error {
	text = text[:min(len(text), maxLine/4-64)] // an escape makes four octets of one
	b := appendText(append([]byte(word), ' '), text)
	return a.raw(string(append(b, '\n')))
}

func (a *answers) raw(s string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		// A front end that was stopped in the middle must not hold a delivery up.
		a.conn.SetWriteDeadline(time.Now().Add(30 * time.Second))
		_, a.err = io.WriteString(a.conn, s)
	}
	return a.err
}

// leave is how long a front end may take to end before the delivery of its message begins.
const leave = 20 * time.Millisecond

// awaitEnd waits until the front end is gone. Its caller waits for it, and nobody for the delivery, which would take the
// processor away from its last steps.
func (a *answers) awaitEnd(in *bufio.Reader) {
	a.conn.SetReadDeadline(time.Now().Add(leave))
	in.ReadByte()
}

func (a *answers) fail(err error) { a.line("error", fmt.Sprintf("%d %v", sysexits.Protocol, err)) }

func readEnvelope(in *bufio.Reader) (*envelope.Envelope, error) {
	word, rest, err := readLine(in)
	if err != nil {
		return nil, err
	}
	length, sum, _ := strings.Cut(rest, " ")
	n, err1 := strconv.ParseUint(length, 10, 31)
	want, err2 := strconv.ParseUint(sum, 16, 32)
	if word != "envelope" || errors.Join(err1, err2) != nil || n > maxEnvelope {
		return nil, fmt.Errorf("envelope frame %q not understood", rest)
	}
	var text strings.Builder
	if _, err := io.CopyN(&text, in, int64(n)); err != nil {
		return nil, err
	}
	if Checksum(0, []byte(text.String())) != uint32(want) {
		return nil, errors.New("envelope checksum differs")
	}
	return ParseEnvelope(text.String())
}

// frames reads the data frames of a message. It yields io.EOF only behind an end frame that fits.
type frames struct {
	in    *bufio.Reader
	left  int64 // of the present frame
	total int64
	crc   uint32
	whole bool
	err   error
}

func (f *frames) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	for f.left == 0 {
		if f.err = f.next(); f.err != nil {
			return 0, f.err
		}
	}
	n, err := f.in.Read(p[:min(int64(len(p)), f.left)])
	f.left -= int64(n)
	f.total += int64(n)
	f.crc = Checksum(f.crc, p[:n])
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	f.err = err
	return n, err
}

func (f *frames) next() error {
	word, rest, err := readLine(f.in)
	if err != nil {
		return err
	}
	switch word {
	case "data":
		n, err := strconv.ParseUint(rest, 10, 31)
		if err != nil || n == 0 {
			return fmt.Errorf("data frame %q not understood", rest)
		}
		f.left = int64(n)
		return nil
	case "end":
		if rest != fmt.Sprintf("%d %08x", f.total, f.crc) {
			return fmt.Errorf("the message is not what was sent: %d octets %08x, announced %s", f.total, f.crc, rest)
		}
		f.whole = true
		return io.EOF
	}
	return fmt.Errorf("frame %q not understood", word)
}
