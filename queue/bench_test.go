package queue

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waybill/queue/dsn"
	"waybill/queue/spool"
	"waybill/transport"
	"waybill/transport/envelope"
)

// journaled returns a directory on a file system with a journal: a loop image when we are root, because queues of many
// files behave abnormally on ext4 without one. WAYBILL_BENCH_DIR names another place.
func journaled(b *testing.B) string {
	if dir := os.Getenv("WAYBILL_BENCH_DIR"); dir != "" {
		dir, err := os.MkdirTemp(dir, "bench")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	tmp := b.TempDir()
	if os.Getuid() != 0 {
		b.Log("not root: the figures are of whatever file system the temporary directory is on")
		return tmp
	}
	image, mnt := filepath.Join(tmp, "image"), filepath.Join(tmp, "mnt")
	os.Mkdir(mnt, 0o700)
	for _, cmd := range [][]string{
		{"truncate", "-s", "2G", image}, {"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop", image, mnt},
	} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			b.Skipf("%v: %v %s", cmd, err, out)
		}
	}
	b.Cleanup(func() {
		if out, err := exec.Command("umount", mnt).CombinedOutput(); err != nil {
			b.Errorf("umount: %v %s", err, out)
		}
	})
	return mnt
}

// null takes every message at once.
type null struct{ n atomic.Int64 }

func (t *null) Deliver(ctx context.Context, req *transport.Request) []transport.Status {
	r, err := req.Body.Open()
	if err == nil {
		io.Copy(io.Discard, r)
		r.Close()
	}
	t.n.Add(int64(len(req.Recipients)))
	return transport.All(len(req.Recipients), ok())
}

func benchQueue(b *testing.B, dir string, t transport.Transport, log bool) *Queue {
	b.Helper()
	q, err := Open(Config{Host: "mx.here.test", Dir: dir, Log: slog.New(slog.DiscardHandler), Mail: noLog{}, Deliveries: 200}, Wiring{
		Router: router(plainRoute), Mailers: map[string]Mailer{"smtp": {Transport: t, Concurrency: 200}}, Expander: &users{}, Notifier: dsn.Composer{Host: "x"},
	})
	if err != nil {
		b.Fatal(err)
	}
	unlock, err := q.Lock(log)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { q.Close(context.Background()); unlock() })
	return q
}

type noLog struct{}

func (noLog) Accepted(Accepted) {}
func (noLog) Tried(Tried)       {}
func (noLog) Noticed(Noticed)   {}
func (noLog) Removed(Removed)   {}

func produce(b *testing.B, producers int, f func() error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var wait sync.WaitGroup
	b.ResetTimer()
	start := time.Now()
	for range producers {
		wait.Go(func() {
			for left.Add(-1) >= 0 {
				if err := f(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "messages/s")
}

// BenchmarkSync is what the disk allows: one write of 10 KB and one fdatasync at a time.
func BenchmarkSync(b *testing.B) {
	f, err := os.Create(filepath.Join(journaled(b), "f"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 10<<10)
	for i := range 64 {
		f.WriteAt(page, int64(i)<<14)
	}
	n := int64(0)
	f.Sync()
	produce(b, 1, func() error {
		n++
		f.WriteAt(page, n%64<<14)
		return fdatasync(f)
	})
}

// layouts runs f for both layouts of the spool and for one and 32 producers.
func layouts(b *testing.B, f func(b *testing.B, log bool, producers int)) {
	for _, layout := range []string{"files", "log"} {
		for _, producers := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s/producers=%d", layout, producers), func(b *testing.B) { f(b, layout == "log", producers) })
		}
	}
}

// BenchmarkAccept is durable acceptance of messages of 10 KB, which are not delivered meanwhile.
func BenchmarkAccept(b *testing.B) {
	text := message("bench", 10<<10)
	layouts(b, func(b *testing.B, log bool, producers int) {
		q := benchQueue(b, journaled(b), &null{}, log)
		e := mail("alice@here.test", envelope.WhenQueue, "bob@there.test")
		accept := func() error {
			_, err := q.Accept(context.Background(), e, strings.NewReader(text), Options{Quiet: true})
			return err
		}
		if log { // segments are used again: making them is not what is measured
			produce(b, 32, accept)
			err := q.Spool().Queued(func(id string) bool {
				m, err := q.Spool().Load(id)
				if err == nil {
					err = m.Finish()
					m.Close()
				}
				return err == nil
			})
			if err != nil || q.Spool().Logged() > 0 {
				b.Fatal(err, q.Spool().Logged())
			}
		}
		produce(b, producers, accept)
		b.StopTimer()
		if log && q.Spool().Logged() < b.N {
			b.Logf("%d of %d messages did not fit into the log", b.N-q.Spool().Logged(), b.N)
		}
	})
}

// BenchmarkLife is acceptance, delivery to a transport that takes all, and removal.
func BenchmarkLife(b *testing.B) {
	text := message("bench", 10<<10)
	layouts(b, func(b *testing.B, log bool, producers int) {
		t := &null{}
		q := benchQueue(b, journaled(b), t, log)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go q.Run(ctx)
		e := mail("alice@here.test", envelope.WhenBackground, "bob@there.test")
		produce(b, producers, func() error {
			_, err := q.Accept(context.Background(), e, strings.NewReader(text), Options{})
			return err
		})
		for t.n.Load() < int64(b.N) {
			time.Sleep(time.Millisecond)
		}
		b.StopTimer()
	})
}

// unsynced is the real file system without its syncs, for filling a spool quickly.
type unsynced struct{ spool.OS }

type unsyncedFile struct{ spool.File }

func (unsyncedFile) Sync() error { return nil }

func (f unsynced) Create(name string, perm os.FileMode) (spool.File, error) {
	file, err := f.OS.Create(name, perm)
	return unsyncedFile{file}, err
}

func (unsynced) SyncDir(string) error { return nil }

// BenchmarkStart is the start of a daemon with 100,000 messages in its spool: the time until all are planned, the
// memory that each takes, and how soon new mail is accepted.
func BenchmarkStart(b *testing.B) {
	const messages = 100_000
	dir := filepath.Join(b.TempDir(), "spool")
	s, err := spool.Open(dir, unsynced{}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	for range messages {
		d, err := s.Create(mail("alice@here.test", envelope.WhenQueue, "bob@there.test"))
		if err != nil {
			b.Fatal(err)
		}
		io.WriteString(d, message("start", 500))
		m, err := d.Commit()
		if err != nil {
			b.Fatal(err)
		}
		m.Note(spool.Try{Number: 1, At: time.Now(), Next: time.Now().Add(time.Hour)})
		m.Flush(false)
		m.Close()
	}
	for range b.N {
		before := heapInUse()
		start := time.Now()
		q := benchQueue(b, dir, &null{}, false)
		ctx, cancel := context.WithCancel(context.Background())
		go q.Run(ctx)
		if _, err := q.Accept(ctx, mail("alice@here.test", envelope.WhenBackground, "bob@there.test"), strings.NewReader(message("new", 100)), Options{}); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms-to-accept")
		for q.Waiting() < messages {
			time.Sleep(10 * time.Millisecond)
		}
		b.ReportMetric(time.Since(start).Seconds(), "s-to-plan-all")
		cancel()
		b.ReportMetric(float64(heapInUse()-before)/messages, "octets/message")
		q.Close(context.Background())
	}
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// BenchmarkMillion is the memory of a million messages that wait for another attempt.
func BenchmarkMillion(b *testing.B) {
	const messages = 1_000_000
	for range b.N {
		q := benchQueue(b, b.TempDir(), &null{}, false)
		before := heapInUse()
		at := time.Now().Add(time.Hour)
		var ids spool.IDs
		for n := range messages {
			q.plan(schedID(ids.New(at)), at.Add(time.Duration(n)*time.Millisecond), n%7)
		}
		b.ReportMetric(float64(heapInUse()-before)/messages, "octets/message")
		if q.Waiting() != messages {
			b.Errorf("%d of %d wait", q.Waiting(), messages)
		}
		q.Close(context.Background())
	}
}
