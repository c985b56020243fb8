//go:build labclock

package app

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// calendar is the time of day as a test tells it: the file $LAB_CLOCK_FILE holds how far the clock is off, such as "-1d",
// "+2h" or "+0s", and may change at any time. Nothing but stamps and ages depends on it, as with a clock that is set: time
// that passes is measured by another clock. This build is for crash tests only.
func calendar() time.Time {
	now := time.Now().Round(0) // without the reading of the clock that nobody sets
	text, err := os.ReadFile(os.Getenv("LAB_CLOCK_FILE"))
	if err != nil {
		return now
	}
	return now.Add(offset(strings.TrimSpace(string(text))))
}

// offset reads a number with a unit: s, m, h or d.
func offset(s string) time.Duration {
	if s == "" {
		return 0
	}
	unit, ok := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}[s[len(s)-1]]
	n, err := strconv.ParseInt(s[:len(s)-1], 10, 32)
	if err != nil || !ok {
		return 0
	}
	return time.Duration(n) * unit
}
