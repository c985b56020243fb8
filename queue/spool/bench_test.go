package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkLog is the intake log alone: messages of 10 KB that are done as soon as they are durable. BenchmarkSync of
// package queue is what the disk allows. WAYBILL_BENCH_DIR says where.
func BenchmarkLog(b *testing.B) {
	data := make([]byte, 10700)
	for _, producers := range []int{1, 32} {
		b.Run(fmt.Sprint("producers=", producers), func(b *testing.B) {
			dir, err := os.MkdirTemp(os.Getenv("WAYBILL_BENCH_DIR"), "log")
			if err != nil {
				b.Fatal(err)
			}
			defer os.RemoveAll(dir)
			s, err := Open(filepath.Join(dir, "spool"), OS{}, quiet())
			if err == nil {
				err = s.StartLog(16<<20, 16)
			}
			if err != nil {
				b.Fatal(err)
			}
			defer s.StopLog()
			l := s.logged.log
			var left atomic.Int64
			left.Store(int64(b.N))
			var wait sync.WaitGroup
			b.ResetTimer()
			for range producers {
				wait.Go(func() {
					for left.Add(-1) >= 0 {
						s, err := l.append("kAK31Xxp018717", data)
						if err != nil {
							b.Error(err)
							return
						}
						l.done(s)
					}
				})
			}
			wait.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
