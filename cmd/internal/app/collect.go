package app

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// smallHeap is up to which size of what is in use memory is collected rarely: a daemon with a short queue has a few
	// megabytes, and would collect them many times a second.
	smallHeap  = 24 << 20
	rarely     = 400 // percent, see runtime/debug.SetGCPercent
	asUsual    = 100
	collectAsk = 5 * time.Second
)

// collect sets how often memory is collected, until ctx ends.
func collect(ctx context.Context) {
	defer debug.SetGCPercent(debug.SetGCPercent(rarely))
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(collectAsk)
	defer tick.Stop()
	now := rarely
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(live)
		want := rarely
		if live[0].Value.Uint64() > smallHeap {
			want = asUsual
		}
		if want != now {
			debug.SetGCPercent(want)
			now = want
		}
	}
}
