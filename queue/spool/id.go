package spool

import (
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// idAlphabet is sendmail's: 60 digits that sort like the numbers they stand for.
const idAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx"

// ValidID reports whether s has the shape of a queue id: 14 letters and digits, the last six digits. Such a string is
// safe as a file name.
func ValidID(s string) bool {
	if len(s) != 14 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; i < 8 && strings.IndexByte(idAlphabet, c) < 0 || i >= 8 && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// IDs makes queue ids. They are unlikely to meet those of another process, and unique within one; creating the file
// settles the rest. The zero value is ready, and safe for concurrent use.
type IDs struct {
	mu     sync.Mutex
	second int64
	count  int // 0..3599 within the second and the tail
	left   int
	tail   int // six digits, drawn anew for each second and for every 3600 ids
}

// New returns the next id for a message that came at t.
func (g *IDs) New(t time.Time) string {
	g.mu.Lock()
	if g.left == 0 || g.second != t.Unix() {
		g.second, g.left, g.count, g.tail = t.Unix(), 3600, rand.IntN(3600), rand.IntN(1_000_000)
	}
	count, tail := g.count, g.tail
	g.count, g.left = (g.count+1)%3600, g.left-1
	g.mu.Unlock()
	t = t.UTC()
	var b [14]byte
	for i, v := range [8]int{(t.Year() - 1900) % 60, int(t.Month()) - 1, t.Day(), t.Hour(), t.Minute(), t.Second(), count / 60, count % 60} {
		b[i] = idAlphabet[v]
	}
	for i := 13; i >= 8; i-- {
		b[i] = byte('0' + tail%10)
		tail /= 10
	}
	return string(b[:])
}
