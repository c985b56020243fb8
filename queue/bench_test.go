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
	"runtime/debug"
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
	gc := debug.SetGCPercent(400) // as a daemon does
	b.Cleanup(func() { debug.SetGCPercent(gc) })
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

// produce has f called b.N times by so many producers.
func produce(b *testing.B, producers int, f func() error) {
	b.ResetTimer()
	took := share(b, producers, b.N, f)
	b.ReportMetric(float64(b.N)/took.Seconds(), "messages/s")
}

// share has f called n times by so many producers, and returns how long that took.
func share(b *testing.B, producers, n int, f func() error) time.Duration {
	var left atomic.Int64
	left.Store(int64(n))
	var wait sync.WaitGroup
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
	return time.Since(start)
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

// logRound is how many messages of 10 KB the log takes before it makes files of the oldest.
const logRound = 8000

// BenchmarkAccept is durable acceptance of messages of 10 KB, which are not delivered meanwhile. With a log they are
// removed after each round, while nothing is measured: making segments, and files of what nobody delivers, is not
// acceptance.
func BenchmarkAccept(b *testing.B) {
	text := message("bench", 10<<10)
	layouts(b, func(b *testing.B, log bool, producers int) {
		q := benchQueue(b, journaled(b), &null{}, log)
		e := mail("alice@here.test", envelope.WhenQueue, "bob@there.test")
		accept := func() error {
			_, err := q.Accept(context.Background(), e, strings.NewReader(text), Options{Quiet: true})
			return err
		}
		if !log {
			produce(b, producers, accept)
			return
		}
		share(b, 32, logRound, accept)
		finishAll(b, q, logRound)
		took := time.Duration(0)
		b.ResetTimer()
		for left := b.N; left > 0 && !b.Failed(); left -= logRound {
			n := min(left, logRound)
			took += share(b, producers, n, accept)
			b.StopTimer()
			finishAll(b, q, n)
			b.StartTimer()
		}
		b.ReportMetric(float64(b.N)/took.Seconds(), "messages/s")
	})
}

// finishAll removes the n messages that are in the log, as if they were delivered.
func finishAll(b *testing.B, q *Queue, n int) {
	b.Helper()
	if in := q.Spool().Logged(); in != n {
		b.Errorf("%d of %d messages are in the log", in, n)
	}
	err := q.Spool().Queued(func(id string) bool {
		m, err := q.Spool().Load(id)
		if err == nil {
			err = m.Finish()
			m.Close()
		}
		if err != nil {
			b.Error(err)
		}
		return err == nil
	})
	if err != nil || q.Spool().Logged() > 0 {
		b.Fatal(err, q.Spool().Logged())
	}
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
