package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"waybill/transport/envelope"
)

func sample() *envelope.Envelope {
	return &envelope.Envelope{
		Sender:   "alice@example.org",
		Arrival:  time.Unix(1795300000, 5),
		BodyType: envelope.Body8BitMIME,
		Ret:      envelope.RetHeaders,
		EnvID:    "QQ+2B1",
		When:     envelope.WhenBackground,
		Priority: -3,
		Hops:     2,
		SMTPUTF8: true,
		Origin:   envelope.Origin{Protocol: "local", User: "al ice\\", UID: 1000, Helo: "a\nb"},
		Recipients: []envelope.Recipient{
			{Addr: "bob@example.net", Notify: envelope.NotifySuccess | envelope.NotifyDelay, ORcpt: "rfc822;bob@example.net"},
			{Addr: `"c d"@example.net`, Notify: envelope.NotifyNever},
		},
	}
}

// taker is a daemon that keeps what it gets.
type taker struct {
	env   *envelope.Envelope
	body  []byte
	err   error
	reply Reply
	fail  error
	done  chan struct{}
}

func (k *taker) Submit(ctx context.Context, peer Peer, e *envelope.Envelope, body io.Reader, verbose func(string)) (Reply, error) {
	defer close(k.done)
	k.env = e
	k.body, k.err = io.ReadAll(body)
	if k.err != nil {
		return Reply{}, k.err
	}
	if verbose != nil {
		verbose("connecting\tto a \\ host")
	}
	return k.reply, k.fail
}

func (k *taker) Control(ctx context.Context, peer Peer, words []string, answer func(string) error) error {
	if len(words) > 0 && words[0] == "no" {
		return &RefusedError{77, "not you"}
	}
	for _, w := range words {
		if err := answer(w); err != nil {
			return err
		}
	}
	return nil
}

func daemon(t *testing.T, k *taker) string {
	t.Helper()
	k.done = make(chan struct{})
	socket := filepath.Join(t.TempDir(), "s")
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, k, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return socket
}

func TestHandOver(t *testing.T) {
	want := Reply{ID: "kAK31Xxp018717", Refused: []Refusal{{Index: 1, Code: "5.1.1", Text: "User unknown", Name: "a b"}}, Exit: 67, Untold: true, Joined: true, Head: "Return-Path: <a>\n", Tail: []string{"bye"}}
	k := &taker{reply: want}
	socket := daemon(t, k)
	e := sample()
	body := bytes.Repeat([]byte("0123456789abcde\n"), 10000)
	var said []string
	got, err := HandOver(context.Background(), socket, e, bytes.NewReader(body), func(s string) { said = append(said, s) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reply: %s", diff)
	}
	if diff := cmp.Diff([]string{"connecting\tto a \\ host"}, said); diff != "" {
		t.Errorf("verbose: %s", diff)
	}
	e.Origin.UID = os.Getuid() // not the 1000 that the front end claimed
	if diff := cmp.Diff(e, k.env); diff != "" {
		t.Errorf("envelope: %s", diff)
	}
	if !bytes.Equal(body, k.body) {
		t.Errorf("body: %d octets, want %d", len(k.body), len(body))
	}
}

func TestHandOverWithoutDaemon(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	body := strings.NewReader("x\n")
	if _, err := HandOver(context.Background(), socket, sample(), body, nil); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("no socket: %v", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := HandOver(context.Background(), socket, sample(), body, nil); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("stale socket: %v", err)
	}
	if body.Len() != 2 {
		t.Error("something was read of the message")
	}
}

func TestHandOverRefused(t *testing.T) {
	k := &taker{fail: &RefusedError{69, "too many hops"}}
	_, err := HandOver(context.Background(), daemon(t, k), sample(), strings.NewReader("x\n"), nil)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Exit != 69 || refused.Text != "too many hops" {
		t.Errorf("got %v", err)
	}
	k = &taker{fail: errors.New("open /secret: disk full")}
	_, err = HandOver(context.Background(), daemon(t, k), sample(), strings.NewReader("x\n"), nil)
	if !errors.As(err, &refused) || refused.Exit != 75 || strings.Contains(refused.Text, "secret") {
		t.Errorf("got %v", err)
	}
}

// A full disk of the spool is told to who sends, in words that do not tell where our files are.
func TestHandOverSaysThatTheDiskIsFull(t *testing.T) {
	k := &taker{fail: &os.PathError{Op: "write", Path: "/secret", Err: syscall.ENOSPC}}
	_, err := HandOver(context.Background(), daemon(t, k), sample(), strings.NewReader("x\n"), nil)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Exit != 75 || refused.Text != "not accepted: no space left on device; try again later" {
		t.Errorf("got %v", err)
	}
}

// A message of which a part is missing, for whatever reason, must not exist.
func TestHalfAMessageIsNone(t *testing.T) {
	k := &taker{}
	socket := daemon(t, k)
	_, err := HandOver(context.Background(), socket, sample(), io.MultiReader(strings.NewReader("half\n"), failing{}), nil)
	if !errors.Is(err, errTorn) {
		t.Errorf("got %v", err)
	}
	<-k.done
	if k.err == nil {
		t.Errorf("the daemon saw a whole message: %q", k.body)
	}
	for name, tail := range map[string]string{
		"no end":         "data 5\nhalf\n",
		"short frame":    "data 50\nhalf\n",
		"short total":    "data 5\nhalf\nend 4 00000000\n",
		"wrong checksum": "data 5\nhalf\nend 5 00000000\n",
		"unknown frame":  "data 5\nhalf\nfin\n",
	} {
		t.Run(name, func(t *testing.T) {
			k := &taker{}
			conn, err := net.Dial("unix", daemon(t, k))
			if err != nil {
				t.Fatal(err)
			}
			env := "from <>\n"
			fmt.Fprintf(conn, "%s\nenvelope %d %08x\n%s%s", greetSubmit, len(env), Checksum(0, []byte(env)), env, tail)
			conn.(*net.UnixConn).CloseWrite()
			answer, _ := io.ReadAll(conn)
			if strings.Contains(string(answer), "done") {
				t.Errorf("answer %q", answer)
			}
			select {
			case <-k.done:
				if k.err == nil {
					t.Errorf("the daemon saw a whole message: %q", k.body)
				}
			case <-time.After(time.Minute):
				t.Errorf("the daemon did not come so far: %q", answer)
			}
		})
	}
}

var errTorn = errors.New("torn")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errTorn }

func TestControl(t *testing.T) {
	socket := daemon(t, &taker{})
	var got []string
	keep := func(s string) error { got = append(got, s); return nil }
	want := []string{"run", "recipient=a b", "", "x\ny"}[:2]
	if err := Control(context.Background(), socket, want, keep); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var refused *RefusedError
	if err := Control(context.Background(), socket, []string{"no"}, keep); !errors.As(err, &refused) || refused.Exit != 77 {
		t.Errorf("got %v", err)
	}
}

// A daemon that dies over a message: the front end drops it, under the id by which the daemon would know it.
func TestSubmitDropsWhatADyingDaemonHad(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "drop"), 0o700); err != nil {
		t.Fatal(err)
	}
	site := Site{Spool: dir, Socket: filepath.Join(dir, socketName)}
	l, err := net.Listen("unix", site.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err == nil {
			io.ReadAll(io.LimitReader(conn, 300))
			conn.Close()
		}
	}()
	body := strings.Repeat("line\n", 50000)
	reply, dropped, err := Submit(context.Background(), site, sample(), strings.NewReader(body), nil)
	if err != nil || !dropped {
		t.Fatalf("%v %v", dropped, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "drop", reply.ID))
	if err != nil || !strings.Contains(string(text), body) {
		t.Errorf("%v: %d octets", err, len(text))
	}
}

func TestDropLeavesNothingOnError(t *testing.T) {
	dir := t.TempDir()
	os.Mkdir(filepath.Join(dir, "drop"), 0o700)
	for _, n := range []int{10, 1 << 20} {
		_, err := Drop(dir, sample(), io.MultiReader(strings.NewReader(strings.Repeat("x", n)), failing{}))
		if !errors.Is(err, errTorn) {
			t.Errorf("got %v", err)
		}
		if left, _ := os.ReadDir(filepath.Join(dir, "drop")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// What is to happen behind the caller's back begins when the front end is gone, or stays too long, also if it has not
// heard the answer.
func TestBegin(t *testing.T) {
	for _, stays := range []bool{true, false} {
		begun := make(chan struct{})
		k := &taker{reply: Reply{ID: "kAK31Xxp018717", Begin: func() { close(begun) }}}
		socket := daemon(t, k)
		if stays {
			if _, err := HandOver(context.Background(), socket, sample(), strings.NewReader("x\n"), nil); err != nil {
				t.Fatal(err)
			}
		} else {
			env, err := AppendEnvelope(nil, sample())
			if err != nil {
				t.Fatal(err)
			}
			conn, stop, err := dial(context.Background(), socket)
			if err != nil {
				t.Fatal(err)
			}
			if err := send(conn, env, strings.NewReader("x\n"), false); err != nil {
				t.Fatal(err)
			}
			stop()
		}
		<-begun // closed twice, it would panic
	}
}
