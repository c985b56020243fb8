//go:build !labclock

package app

import "time"

// calendar is the time of day, for stamps and ages. Builds with the tag labclock let a test set it.
func calendar() time.Time { return time.Now() }
