package smtpserver

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"waybill/transport/smtp"
)

// TestDialogues plays testdata/dialogue/*.txt and compares the whole transcript. UPDATE=1 writes it anew.
//
//	config: WORD...   how the server is set up; first line
//	C: TEXT           the client sends TEXT and CRLF; lines in a row go in one packet
//	C| "TEXT"         the client sends the Go string as it is
//	wait DURATION     time passes
//	close             the client goes away
//	stop              the server is asked to stop
//	S: TEXT           what the server sent; S| when it does not end in CRLF
//	B: TEXT           what the session saw
//	X: TEXT           how the connection ended
func TestDialogues(t *testing.T) {
	files, _ := filepath.Glob("testdata/dialogue/*.txt")
	if len(files) == 0 {
		t.Fatal("no dialogues")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			synctest.Test(t, func(t *testing.T) { got = play(t, string(want)) })
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("got\n%s", firstDifference(got, string(want)))
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			line := "nothing"
			if i < len(w) {
				line = w[i]
			}
			return fmt.Sprintf("line %d: %s\nwant    %s\nin\n%s", i+1, g[i], line, got)
		}
	}
	return "less than wanted:\n" + got
}

type inbox struct {
	mu   sync.Mutex
	text []byte
	eof  bool
}

func (b *inbox) collect(r io.Reader) {
	p := make([]byte, 4096)
	for {
		n, err := r.Read(p)
		b.mu.Lock()
		b.text = append(b.text, p[:n]...)
		b.eof = b.eof || err != nil
		b.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func play(t *testing.T, script string) string {
	var out strings.Builder
	cfg, backend := testConfig(t), &fakeBackend{}
	lines := strings.Split(strings.TrimSuffix(script, "\n"), "\n")
	for word := range strings.FieldsSeq(strings.TrimPrefix(lines[0], "config:")) {
		setWord(t, &cfg, backend, word)
	}
	srv, err := New(cfg, backend)
	if err != nil {
		t.Fatal(err)
	}
	client, server := net.Pipe()
	in := &inbox{}
	ended := make(chan error, 1)
	go func() {
		err := srv.ServeConn(t.Context(), server, testClient)
		server.Close()
		ended <- err
	}()
	go in.collect(client)

	over := false
	hear := func() {
		synctest.Wait()
		for _, call := range backend.take() {
			fmt.Fprintf(&out, "B: %s\n", call)
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		for line := range strings.SplitAfterSeq(string(in.text), "\r\n") {
			if text, ok := strings.CutSuffix(line, "\r\n"); ok {
				fmt.Fprintf(&out, "S: %s\n", text)
			} else if line != "" {
				fmt.Fprintf(&out, "S| %q\n", line)
			}
		}
		in.text = nil
		select {
		case err := <-ended:
			over = true
			fmt.Fprintf(&out, "X: %v\n", err)
		default:
		}
	}
	fmt.Fprintln(&out, lines[0])
	hear()
	packet := ""
	for i, line := range lines[1:] {
		switch {
		case line == "", strings.HasPrefix(line, "#"):
			fmt.Fprintln(&out, line)
		case strings.HasPrefix(line, "C: "), line == "C:", strings.HasPrefix(line, "C| "):
			fmt.Fprintln(&out, line)
			if raw, ok := strings.CutPrefix(line, "C| "); ok {
				text, err := strconv.Unquote(raw)
				if err != nil {
					t.Fatalf("line %d: %v", i+2, err)
				}
				packet += text
			} else {
				packet += strings.TrimPrefix(strings.TrimPrefix(line, "C:"), " ") + "\r\n"
			}
			if next := lines[min(i+2, len(lines)-1)]; i+2 < len(lines) && strings.HasPrefix(next, "C") {
				continue
			}
			client.SetWriteDeadline(time.Now().Add(time.Second))
			client.Write([]byte(packet)) // an error shows as X
			packet = ""
			hear()
		case strings.HasPrefix(line, "wait "):
			fmt.Fprintln(&out, line)
			d, err := time.ParseDuration(strings.TrimPrefix(line, "wait "))
			if err != nil {
				t.Fatalf("line %d: %v", i+2, err)
			}
			time.Sleep(d)
			hear()
		case line == "close":
			fmt.Fprintln(&out, line)
			client.Close()
			hear()
		case line == "stop":
			fmt.Fprintln(&out, line)
			go srv.Shutdown(context.Background())
			hear()
		case strings.HasPrefix(line, "S: "), strings.HasPrefix(line, "S:"), strings.HasPrefix(line, "S| "), strings.HasPrefix(line, "B: "), strings.HasPrefix(line, "X: "):
		default:
			t.Fatalf("line %d: %q is no line of a dialogue", i+2, line)
		}
	}
	client.Close()
	if !over {
		<-ended
	}
	if backend.open != 0 {
		t.Errorf("%d sessions were not closed", backend.open)
	}
	if n := srv.Sessions(); n != 0 {
		t.Errorf("%d connections are still counted", n)
	}
	return out.String()
}

func setWord(t *testing.T, cfg *Config, backend *fakeBackend, word string) {
	key, value, _ := strings.Cut(word, "=")
	n, _ := strconv.Atoi(value)
	switch key {
	case "lmtp":
		cfg.LMTP = true
	case "lenient":
		cfg.Lenient = true
	case "verify":
		backend.verify = true
	case "replace":
		cfg.Bare = smtp.BareReplace
	case "maxsize":
		cfg.MaxSize = int64(n)
	case "maxline":
		cfg.MaxLine = n
	case "maxmessages":
		cfg.MaxMessages = n
	case "maxrecipients":
		cfg.MaxRecipients = n
	case "maxerrors":
		cfg.MaxErrors = n
	case "maxjunk":
		cfg.MaxJunk = n
	case "throttle":
		cfg.BadRcptThrottle = n
	case "maxbad":
		cfg.MaxBadRecipients = n
	case "utf8":
		cfg.UTF8 = true
	case "deliverby":
		cfg.DeliverBy = true
	case "xclient":
		cfg.XClient = func(netip.Addr) bool { return true }
	case "messagerate":
		cfg.MessageRate = n
	case "recipientrate":
		cfg.RecipientRate = n
	case "pause":
		cfg.GreetPause, _ = time.ParseDuration(value)
	case "refuse":
		backend.refuse = smtp.NewReply(n, "", "not you")
	default:
		t.Fatalf("%q is no word of config", word)
	}
}
