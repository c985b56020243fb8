package smtpclient

import (
	"crypto/sha256"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
)

// stream is a body that exists nowhere.
type stream struct{ size int64 }

func (s stream) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(lines{}, s.size)), nil
}
func (s stream) Size() int64 { return s.size }

type lines struct{}

const streamLine = "The quick brown fox jumps over the lazy dog, again and again and again.\n"

func (lines) Read(p []byte) (int, error) {
	n := 0
	for len(p)-n >= len(streamLine) {
		n += copy(p[n:], streamLine)
	}
	if n == 0 {
		n = copy(p, strings.Repeat("x", len(p)))
	}
	return n, nil
}

func TestMemoryDoesNotGrowWithTheMessage(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	sum := sha256.New()
	go sinkOnce(ln, sum)
	c, err := New(Config{Hello: "client.example", ConnectTo: ln.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	req := request("[192.0.2.1]", "", "b@x")
	req.Body = stream{50 << 20}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	got := c.Deliver(t.Context(), req)
	runtime.ReadMemStats(&after)
	if outcomes(got) != "relayed 2.0.0" {
		t.Fatal(outcomes(got), got[0].Text())
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d octets were allocated for a message of 50 MB", n)
	}
}

// sinkOnce is a peer that allocates nothing while it reads.
func sinkOnce(ln net.Listener, sum io.Writer) {
	c, err := ln.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	buf := make([]byte, 64<<10)
	say := func(s string) { io.WriteString(c, s+"\r\n") }
	say("220 sink")
	for _, r := range []string{"250 sink", "250 ok", "250 ok", "354 go"} {
		if _, err := c.Read(buf); err != nil {
			return
		}
		say(r)
	}
	var tail [5]byte
	for tail != [5]byte([]byte("\r\n.\r\n")) {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		sum.Write(buf[:n])
		last := buf[max(0, n-len(tail)):n]
		copy(tail[:], tail[len(last):])
		copy(tail[len(tail)-len(last):], last)
	}
	say("250 ok")
	c.Read(buf)
}
