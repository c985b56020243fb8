package queue

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"waybill/queue/dsn"
	"waybill/transport/envelope"
)

// A message of 50 MB goes through the queue without being in memory.
func TestMemoryOfALargeMessage(t *testing.T) {
	n := &null{}
	q, err := Open(Config{Host: "mx.here.test", Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Mail: noLog{}}, Wiring{
		Router: router(plainRoute), Mailers: map[string]Mailer{"smtp": {Transport: n}}, Expander: &users{}, Notifier: dsn.Composer{Host: "x"},
	})
	if err != nil {
		t.Fatal(err)
	}
	line := bytes.Repeat([]byte("0123456789"), 7)
	line[69] = '\n'
	body := io.MultiReader(bytes.NewReader([]byte("Subject: large\n\n")), &repeated{line: line, left: 50 << 20})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var peak atomic.Uint64
	done := make(chan struct{})
	go func() {
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapInuse))
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	receipt, err := q.Accept(context.Background(), mail("alice@here.test", envelope.WhenNow, "bob@there.test"), body, Options{})
	close(done)
	runtime.ReadMemStats(&after)
	if err != nil || receipt.Size < 50<<20 || n.n.Load() != 1 {
		t.Fatalf("%v: %d octets, %d deliveries", err, receipt.Size, n.n.Load())
	}
	if grown := int64(peak.Load()) - int64(before.HeapInuse); grown > 8<<20 {
		t.Errorf("the heap grew by %d octets", grown)
	}
	q.Close(context.Background())
}

// repeated yields a line again and again.
type repeated struct {
	line []byte
	left int
	at   int
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.left)], r.line[r.at:])
	r.at = (r.at + n) % len(r.line)
	r.left -= n
	return n, nil
}
