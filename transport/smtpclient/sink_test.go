package smtpclient

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waybill/transport/envelope"
)

// postfixProgram finds a program of Postfix: installed, or unpacked without installing.
func postfixProgram(tb testing.TB, name string) *exec.Cmd {
	for _, dir := range []string{"/usr/sbin", "/usr/lib/postfix/sbin"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return exec.Command(filepath.Join(dir, name))
		}
	}
	unpacked := os.Getenv("PEERS") // where "make peers" unpacks them
	file := filepath.Join(unpacked, "postfix/usr/sbin", name)
	if _, err := os.Stat(file); err != nil {
		if os.Getenv("CI") == "true" {
			tb.Fatalf("%s of Postfix is not installed: run make peers", name)
		}
		tb.Skipf("%s of Postfix is not installed", name)
	}
	cmd := exec.Command(file)
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(unpacked, "postfix/usr/lib/postfix"))
	return cmd
}

// startSink runs Postfix's smtp-sink with more options and returns its address.
func startSink(tb testing.TB, options ...string) string {
	cmd := postfixProgram(tb, "smtp-sink")
	ln, err := net.Listen("tcp", "127.0.0.20:0") // an address of its own: nobody's connections come from there, so the port stays free
	if err != nil {
		tb.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	if os.Getuid() == 0 {
		options = append([]string{"-u", "nobody"}, options...)
	}
	cmd.Args = append(append(cmd.Args, options...), addr, "1000")
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 3000 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr
		}
		time.Sleep(10 * time.Millisecond)
	}
	tb.Fatalf("smtp-sink does not answer: %s", log.String())
	return ""
}

// deliverMany sends n messages over a number of sessions, and returns how many did not arrive.
func deliverMany(tb testing.TB, addr string, n, sessions int, body envelope.Body, change func(*Config)) (failed int64, dials int64) {
	var dialed atomic.Int64
	conf := Config{Hello: "client.example", ConnectTo: addr, MaxPerHost: sessions}
	if change != nil {
		change(&conf)
	}
	c, err := New(conf)
	if err != nil {
		tb.Fatal(err)
	}
	inner := c.conf.Dial
	c.conf.Dial = countingDial(inner, &dialed)
	var left, bad atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	for range sessions {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				req := request("[192.0.2.1]", "", "bob@example.com")
				req.Body = body
				if got := c.Deliver(tb.Context(), req); outcomes(got) != "relayed 2.0.0" {
					if bad.Add(1) == 1 {
						tb.Errorf("%s: %s", outcomes(got), got[0].Text())
					}
				}
			}
		})
	}
	wg.Wait()
	c.Close()
	return bad.Load(), dialed.Load()
}

var tenKB = envelope.BytesBody("Subject: ten kilobytes\nFrom: alice@example.org\n\n" + strings.Repeat("The quick brown fox jumps over the lazy dog, and again and again.\n", 150))

func TestSmtpSink(t *testing.T) {
	for _, options := range [][]string{nil, {"-p"}, {"-e"}, {"-p", "-8"}, {"-L"}} {
		t.Run(strings.Join(options, ""), func(t *testing.T) {
			addr := startSink(t, options...)
			lmtp := len(options) > 0 && options[0] == "-L"
			if lmtp {
				c, err := New(Config{Hello: "client.example", ConnectTo: addr, LMTP: true})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if got := c.Deliver(t.Context(), request("[192.0.2.1]", "x\n", "a", "b", "c")); strings.Count(outcomes(got), "delivered 2.") != 3 {
					t.Error(outcomes(got))
				}
				return
			}
			if failed, dials := deliverMany(t, addr, 500, 20, tenKB, nil); failed > 0 || dials > 25 {
				t.Errorf("%d of 500 failed, %d connections", failed, dials)
			}
		})
	}
}

// A thousand sessions at once hold without error.
func TestAThousandSessions(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	addr := startSink(t, "-m", "2000")
	start := time.Now()
	failed, dials := deliverMany(t, addr, 5000, 1000, tenKB, nil)
	if failed > 0 {
		t.Errorf("%d of 5000 failed", failed)
	}
	t.Logf("5000 messages over 1000 sessions: %d connections, %v", dials, time.Since(start).Round(time.Millisecond))
}

func BenchmarkSend10KB(b *testing.B) {
	addr := startSink(b)
	for _, sessions := range []int{1, 20} {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(tenKB)))
			deliverMany(b, addr, b.N, sessions, tenKB, nil)
		})
	}
}
