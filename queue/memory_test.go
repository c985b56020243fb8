package queue

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"waybill/queue/dsn"
	"waybill/queue/sched"
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
	receipt, err := q.Accept(context.Background(), mail("alice@here.test", envelope.WhenNow, "bob@there.test"), body, Options{})
	runtime.ReadMemStats(&after)
	if err != nil || receipt.Size < 50<<20 || n.n.Load() != 1 {
		t.Fatalf("%v: %d octets, %d deliveries", err, receipt.Size, n.n.Load())
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20 {
		t.Errorf("%d octets were allocated on the way", grown)
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

// A million messages that wait, all of them for a place at one busy host and all asked for by a queue run, take no more
// than 400 octets each.
func TestMemoryOfAMillion(t *testing.T) {
	if testing.Short() {
		t.Skip("a million messages")
	}
	const n = 1_000_000 / (stride * stride) // the race detector is slow, and takes memory of its own
	before := heapInUse()
	now := time.Now()
	schedule, forced := sched.New(now), map[sched.ID]time.Time{}
	l := newLimits(100, time.Minute, func(sched.ID) bool { return true })
	b := bound{limit: 1}
	if l.admit("smtp\x00busy", b) == nil {
		t.Fatal("no place")
	}
	for i := range n {
		var id sched.ID
		copy(id[:], fmt.Sprintf("6AM2dnRb%06d", i))
		schedule.Set(id, now.Add(time.Duration(i)*time.Second), 0)
		forced[id] = now
		l.park("smtp\x00busy", id, int64(i))
	}
	each := float64(heapInUse()-before) / n
	t.Logf("%.0f octets a message", each)
	if stride == 1 && each > 400 {
		t.Errorf("%.0f octets a message", each)
	}
	if l.dest["smtp\x00busy"].parked.Len() != n || schedule.Len() != n || len(forced) != n {
		t.Error("not all are there")
	}
}
