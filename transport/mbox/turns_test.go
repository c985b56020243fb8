package mbox_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/mbox"
)

// Deliveries of one process to one mailbox go in turns, and are written together. Each is whole, those that fail leave
// nothing, and one that gives up waiting is not delivered.
func TestTurns(t *testing.T) {
	dir := t.TempDir()
	m := open(t, mbox.Config{Path: dir + "/$user"})
	over, cancel := context.WithCancel(context.Background())
	cancel()
	var all sync.WaitGroup
	const each = 60
	for n := range 3 * each {
		all.Go(func() {
			req := request("bob")
			switch n % 3 {
			case 0:
				req.Body = envelope.BytesBody(fmt.Sprintf("Subject: whole %d.\n\n%s", n, strings.Repeat("From here on\n", n)))
				check(t, m.Deliver(context.Background(), req)[0], transport.Delivered, "2.0.0")
			case 1:
				req.Body = brokenBody{"Subject: broken\n\nhalf of"}
				check(t, m.Deliver(context.Background(), req)[0], transport.Deferred, "4.3.0")
			case 2:
				req.Body = envelope.BytesBody("Subject: too late\n\n")
				check(t, m.Deliver(over, req)[0], transport.Deferred, "4.3.2")
			}
		})
	}
	all.Wait()
	text := read(t, dir+"/bob")
	if strings.Contains(text, "broken") || strings.Contains(text, "half") || strings.Contains(text, "too late") {
		t.Errorf("the mailbox has what must not be in it:\n%s", text)
	}
	for n := range 3 * each {
		want := fmt.Sprintf("Subject: whole %d.\n\n%s\n", n, strings.Repeat(">From here on\n", n))
		if got := strings.Count(text, want); n%3 == 0 && got != 1 {
			t.Errorf("message %d is there %d times", n, got)
		}
	}
	if left := names(t, dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

// While another program has the mailbox locked, those who wait in line wait no longer than the first of them.
func TestTurnsWhileLocked(t *testing.T) {
	dir := t.TempDir()
	m := open(t, mbox.Config{Path: dir + "/$user", LockTimeout: 2 * time.Second})
	must(t, os.WriteFile(dir+"/bob.lock", []byte("1:elsewhere\n"), 0o600))
	began := time.Now()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { check(t, m.Deliver(context.Background(), request("bob"))[0], transport.Deferred, "4.2.0") })
	}
	all.Wait()
	if took := time.Since(began); took > 30*time.Second { // one after the other they would wait for forty
		t.Errorf("twenty deliveries wait %v", took)
	}
}

// Twenty deliveries at a time to one mailbox, each durable before it is reported.
func BenchmarkOneMailbox(b *testing.B) {
	m, err := mbox.New(mbox.Config{Path: b.TempDir() + "/$user"})
	if err != nil {
		b.Fatal(err)
	}
	body := envelope.BytesBody(bytes.Repeat([]byte(line), 160))
	b.SetParallelism(max(1, 20/runtime.GOMAXPROCS(0)))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req := request("bob")
			req.Body = body
			if s := m.Deliver(context.Background(), req)[0]; s.Outcome() != transport.Delivered {
				b.Error(s.Text())
			}
		}
	})
}

func BenchmarkDeliver10K(b *testing.B) {
	for _, sync := range []bool{true, false} {
		b.Run(fmt.Sprintf("fsync=%v", sync), func(b *testing.B) {
			m, err := mbox.New(mbox.Config{Path: b.TempDir() + "/$user", NoSync: !sync})
			if err != nil {
				b.Fatal(err)
			}
			req := request("bob")
			req.Body = envelope.BytesBody(bytes.Repeat([]byte(line), 160))
			for b.Loop() {
				if s := m.Deliver(context.Background(), req)[0]; s.Outcome() != transport.Delivered {
					b.Fatal(s.Text())
				}
			}
		})
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	must(t, err)
	return string(text)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}
