package sched

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

func id(n int) ID {
	var i ID
	copy(i[:], fmt.Sprintf("kAK31Xxp%06d", n))
	return i
}

func TestUrgentFirstButNothingStarves(t *testing.T) {
	start := time.Unix(1e9, 0)
	s := New(start)
	s.Set(id(1), start, 0)
	s.Set(id(2), start, 10)
	s.Set(id(3), start, -10)
	s.Set(id(4), start.Add(time.Hour), 100)
	var got []ID
	for now := start; s.Len() > 1; {
		next, ok := s.Next(now)
		if !ok {
			t.Fatal("nothing is due")
		}
		got = append(got, next)
	}
	if fmt.Sprint(got) != fmt.Sprint([]ID{id(2), id(1), id(3)}) {
		t.Errorf("order %s", got)
	}
	if _, ok := s.Next(start.Add(time.Hour - 1)); ok {
		t.Error("a message came before its time")
	}
	// Bulk mail of priority -30 against a new ordinary message every second: it must come out after half an hour.
	s = New(start)
	s.Set(id(0), start, -30)
	for n := 1; ; n++ {
		now := start.Add(time.Duration(n) * time.Second)
		s.Set(id(n), now, 0)
		next, _ := s.Next(now)
		if next == id(0) {
			if n < 1790 || n > 1810 {
				t.Errorf("bulk came out after %d s", n)
			}
			break
		}
		if n > 4000 {
			t.Fatal("bulk starves")
		}
	}
}

func TestHastenAndRemove(t *testing.T) {
	now := time.Unix(1e9, 0)
	s := New(now)
	for n := range 100 {
		s.Set(id(n), now.Add(time.Duration(n)*time.Minute), 0)
	}
	s.Remove(id(0))
	if !s.Hasten(id(50), now) || s.Hasten(id(0), now) {
		t.Error("Hasten")
	}
	if next, ok := s.Next(now); !ok || next != id(50) {
		t.Errorf("got %s", next)
	}
	if _, ok := s.Next(now); ok {
		t.Error("two came")
	}
	if wake, ok := s.Wake(); !ok || !wake.Equal(now.Add(time.Minute)) {
		t.Errorf("wake at %v", wake)
	}
	if s.Len() != 98 {
		t.Errorf("%d left", s.Len())
	}
}

// Five days of a message that is never delivered, with the default delays.
func TestFiveDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s := New(start)
		s.Set(id(1), start, 0)
		var tries []time.Duration
		for {
			wake, ok := s.Wake()
			if !ok {
				break
			}
			time.Sleep(time.Until(wake))
			next, ok := s.Next(time.Now())
			if !ok {
				t.Fatalf("woken at %v for nothing", time.Since(start))
			}
			tries = append(tries, time.Since(start))
			if time.Since(start) >= 5*24*time.Hour {
				break
			}
			s.Set(next, time.Now().Add(Default().After(len(tries))), 0)
		}
		for n, want := range []time.Duration{0, time.Minute, 6 * time.Minute, 21 * time.Minute, 51 * time.Minute, 111 * time.Minute} {
			if got := tries[n]; got < want*7/8 || got > want*9/8 {
				t.Errorf("try %d after %v, want about %v", n+1, got, want)
			}
		}
		if len(tries) < 33 || len(tries) > 42 {
			t.Errorf("%d tries in five days", len(tries))
		}
	})
}

// A million messages: the octets that stay are counted, not those that were allocated on the way.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("a million messages")
	}
	const n = 1_000_000
	before := heapInUse()
	s := New(time.Unix(0, 0))
	for i := range n {
		s.Set(id(i), time.Unix(int64(i), 0), 0)
	}
	each := float64(heapInUse()-before) / n
	t.Logf("%.0f octets a message", each)
	if each > 200 {
		t.Errorf("%.0f octets a message", each)
	}
	runtime.KeepAlive(s)
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}
