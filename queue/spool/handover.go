package spool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"waybill/transport/envelope"
)

const (
	greetSubmit  = "waybill 1 submit"
	greetControl = "waybill 1 control"
	maxLine      = 64 << 10 // of the hand-over protocol, either way
	frameLength  = 32 << 10
)

// Reply is what the daemon says to a message that it took, or that it could not take for some recipients.
type Reply struct {
	ID      string    // queue id; empty when no recipient was left
	Refused []Refusal // recipients that the daemon did not accept; the others are safe
	Exit    int       // what sendmail would exit with (sysexits)
	// Untold says that a delivery failed and its sender was not told, as the envelope asked for.
	Untold bool
	// Joined says that refused recipients are with the message all the same, and that its sender will be told.
	Joined bool
	// Head is what the daemon would have put on top of the message: fields for a dead.letter; mostly empty.
	Head string
	// Partly names those behind an alias whom nothing can reach, where others of the alias are safe: "NAME... TEXT".
	Partly []string
	// Told are lines that the caller gets to see in every error mode.
	Told []string
	// Tail is what the daemon says of the delivery behind everything else, to a front end that watches.
	Tail []string
	// Begin, if not nil, is for the server to call when the front end has its answer and is gone: what is to happen behind
	// the caller's back. It does not travel.
	Begin func()
}

// Refusal is one recipient that was not accepted.
type Refusal struct {
	Index int    // in the envelope's Recipients
	Code  string // enhanced status code, "5.1.1"
	Text  string
	Name  string // of whom an alias made of the recipient; empty: the recipient itself
}

// RefusedError is the daemon's "no" to a message as a whole: nothing was accepted, and dropping it would not help.
type RefusedError struct {
	Exit int // sysexits
	Text string
}

func (e *RefusedError) Error() string { return e.Text }

// HandOver gives a message to the daemon behind socket and waits for its answer, after which the message is safe or
// was refused. body is read to its end; lines end in LF. verbose, if not nil, gets what the daemon tells about the
// delivery as it goes. Errors: ErrNoDaemon before anything was read of body; ErrBroken when the daemon went away
// before its answer; a *RefusedError; else body's own. After a success the connection stays until the program ends: that
// is when the daemon begins to deliver what is to be delivered behind the caller's back.
func HandOver(ctx context.Context, socket string, e *envelope.Envelope, body io.Reader, verbose func(string)) (Reply, error) {
	env, err := AppendEnvelope(nil, e)
	if err != nil {
		return Reply{}, err
	}
	conn, stop, err := dial(ctx, socket)
	if err != nil {
		return Reply{}, err
	}
	err = send(conn, env, body, verbose != nil)
	var reply Reply
	if err == nil {
		reply, err = readReply(bufio.NewReaderSize(conn, 4096), len(e.Recipients), verbose)
	}
	if err != nil {
		stop()
	}
	return reply, err
}

// dial connects; stop closes, and the end of ctx does it earlier.
func dial(ctx context.Context, socket string) (net.Conn, func(), error) {
	var conn net.Conn
	var err error
	for wait := 5 * time.Millisecond; ; wait *= 2 {
		conn, err = new(net.Dialer).DialContext(ctx, "unix", socket)
		// EAGAIN: the daemon is there and its backlog is full.
		if !errors.Is(err, syscall.EAGAIN) || wait > 2*time.Second {
			break
		}
		time.Sleep(wait)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrNoDaemon, err)
	}
	release := context.AfterFunc(ctx, func() { conn.Close() })
	return conn, func() { release(); conn.Close() }, nil
}

// send writes the request. It returns only errors of body: when the daemon stops reading it has an answer for us.
func send(conn net.Conn, env []byte, body io.Reader, verbose bool) error {
	greet := greetSubmit
	if verbose {
		greet += " verbose"
	}
	first := fmt.Appendf(nil, "%s\nenvelope %d %08x\n%s", greet, len(env), Checksum(0, env), env)
	_, werr := conn.Write(first)
	var total int64
	var crc uint32
	frame := make([]byte, 16+frameLength)
	for werr == nil {
		n, rerr := body.Read(frame[16:])
		if n > 0 {
			crc = Checksum(crc, frame[16:16+n])
			total += int64(n)
			head := fmt.Sprintf("data %d\n", n)
			start := 16 - len(head)
			copy(frame[start:], head)
			_, werr = conn.Write(frame[start : 16+n])
		}
		if rerr == io.EOF {
			if werr == nil {
				fmt.Fprintf(conn, "end %d %08x\n", total, crc)
			}
			return nil
		}
		if rerr != nil {
			return rerr // the connection closes without "end": the message does not exist
		}
	}
	return nil
}

func readReply(in *bufio.Reader, recipients int, verbose func(string)) (Reply, error) {
	var reply Reply
	for {
		word, rest, err := readLine(in)
		if err != nil {
			return Reply{}, fmt.Errorf("%w: %w", ErrBroken, err)
		}
		switch word {
		case "verbose":
			text, err := unescape(rest)
			if err == nil && verbose != nil {
				verbose(text)
			}
		case "refused":
			index, rest, _ := strings.Cut(rest, " ")
			code, text, _ := strings.Cut(rest, " ")
			i, err1 := strconv.Atoi(index)
			text, err2 := unescape(text)
			if errors.Join(err1, err2) != nil || i < 0 || i >= recipients {
				return Reply{}, fmt.Errorf("%w: answer %q not understood", ErrBroken, rest)
			}
			reply.Refused = append(reply.Refused, Refusal{Index: i, Code: code, Text: text})
		case "name": // of the last one that was refused
			text, err := unescape(rest)
			if n := len(reply.Refused); err == nil && n > 0 {
				reply.Refused[n-1].Name = text
			}
		case "head":
			text, err := unescape(rest)
			if err != nil {
				return Reply{}, fmt.Errorf("%w: answer %q not understood", ErrBroken, rest)
			}
			reply.Head = text
		case "partly":
			text, err := unescape(rest)
			if err != nil {
				return Reply{}, fmt.Errorf("%w: answer %q not understood", ErrBroken, rest)
			}
			reply.Partly = append(reply.Partly, text)
		case "told":
			text, err := unescape(rest)
			if err != nil {
				return Reply{}, fmt.Errorf("%w: answer %q not understood", ErrBroken, rest)
			}
			reply.Told = append(reply.Told, text)
		case "tail":
			text, err := unescape(rest)
			if err != nil {
				return Reply{}, fmt.Errorf("%w: answer %q not understood", ErrBroken, rest)
			}
			reply.Tail = append(reply.Tail, text)
		case "joined":
			reply.Joined = true
		case "untold":
			reply.Untold = true
		case "done":
			id, exit, _ := strings.Cut(rest, " ")
			n, err := strconv.Atoi(exit)
			if err != nil || id != "-" && !ValidID(id) {
				return Reply{}, fmt.Errorf("%w: answer %q not understood", ErrBroken, rest)
			}
			if id != "-" {
				reply.ID = id
			}
			reply.Exit = n
			return reply, nil
		case "error":
			return Reply{}, parseRefused(rest)
		default:
			return Reply{}, fmt.Errorf("%w: answer %q not understood", ErrBroken, word)
		}
	}
}

func parseRefused(rest string) error {
	exit, text, _ := strings.Cut(rest, " ")
	n, err1 := strconv.Atoi(exit)
	text, err2 := unescape(text)
	if errors.Join(err1, err2) != nil {
		return fmt.Errorf("%w: answer %q not understood", ErrBroken, rest)
	}
	return &RefusedError{n, text}
}

// readLine reads one line of the protocol and cuts its first word off.
func readLine(in *bufio.Reader) (word, rest string, err error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			return "", "", errors.New("line too long")
		}
		line = append(line, part...)
		if err == nil {
			break
		}
		if err != bufio.ErrBufferFull {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return "", "", err
		}
	}
	word, rest, _ = strings.Cut(string(line[:len(line)-1]), " ")
	return word, rest, nil
}

// Control sends a request that is not a message, such as "run", and calls answer for each line of the daemon's
// answer. Errors: ErrNoDaemon, ErrBroken, a *RefusedError, or answer's own.
func Control(ctx context.Context, socket string, words []string, answer func(line string) error) error {
	conn, stop, err := dial(ctx, socket)
	if err != nil {
		return err
	}
	defer stop()
	request := []byte(greetControl)
	for _, w := range words {
		request = append(request, ' ')
		request = appendWord(request, w)
	}
	if len(request) >= maxLine {
		return errors.New("the request is too long")
	}
	if _, err := conn.Write(append(request, '\n')); err != nil {
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	in := bufio.NewReaderSize(conn, 4096)
	for {
		word, rest, err := readLine(in)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBroken, err)
		}
		switch word {
		case "line":
			text, err := unescape(rest)
			if err != nil {
				return fmt.Errorf("%w: %w", ErrBroken, err)
			}
			if err := answer(text); err != nil {
				return err
			}
		case "ok":
			return nil
		case "error":
			return parseRefused(rest)
		default:
			return fmt.Errorf("%w: answer %q not understood", ErrBroken, word)
		}
	}
}

// removeSocket takes a stale socket away. The caller holds the daemon's lock, so nobody listens on it.
func removeSocket(socket string) error {
	err := os.Remove(socket)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
