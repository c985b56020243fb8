package sched

import (
	"math/rand/v2"
	"time"
)

// Delays is a retry schedule: the waiting time after the first attempt, the second, and so on; the last repeats. Each
// is between a second and a day.
type Delays []time.Duration

// Default returns the schedule of a site that sets none. It grows quickly at first, because most trouble is short.
func Default() Delays {
	return Delays{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour}
}

// After is the time to wait after the attempt with this number, counted from 1. It varies by an eighth either way, so
// that what failed together is not tried again together.
func (d Delays) After(attempt int) time.Duration {
	if len(d) == 0 {
		d = Default()
	}
	base := max(time.Second, min(24*time.Hour, d[max(0, min(attempt, len(d))-1)]))
	return base - base/8 + rand.N(base/4+1)
}
