package testsite_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"waybill/cmd/internal/testsite"
)

// TestALargeMessageTakesNoMemory holds what the README promises: 50 MB through the front end, the queue and a mailbox
// raise no process's peak by more than 8 MB.
func TestALargeMessageTakesNoMemory(t *testing.T) {
	const allowed, large = 8 << 20, 50 << 20
	w := newWorld(t, func(a, _ *testsite.Options) { a.Settings = "set retry 1s 2s 4s\nset queue log\n" })
	measure := func(subject string, size int64) (front, daemon, deliver int64) {
		if err := w.a.Start(soon(t)); err != nil {
			t.Fatal(err)
		}
		r, front, err := w.a.MeasuredCommand(testsite.Stream(subject, size), "sendmail", "-C", w.a.Rules, "-i", "bob")
		if err != nil || r.Exit != 0 {
			t.Fatalf("%+v %v", r, err)
		}
		before, _ := os.Stat(filepath.Join(w.a.Dir, "mail", "bob"))
		had := int64(0)
		if before != nil {
			had = before.Size()
		}
		arrived := func() bool {
			info, err := os.Stat(filepath.Join(w.a.Dir, "mail", "bob"))
			return err == nil && (info.Size() >= size && had == 0 || info.Size() > had || had >= size)
		}
		if err := testsite.Wait(soon(t), arrived); err != nil {
			t.Fatal(err, w.a.Trouble())
		}
		if err := w.a.WaitEmpty(soon(t)); err != nil {
			t.Fatal(err)
		}
		if daemon, err = testsite.PeakMemory(w.a.PID()); err != nil {
			t.Fatal(err)
		}
		if err := w.a.Stop(); err != nil {
			t.Fatal(err)
		}

		// without a daemon: another process delivers
		if r, _, err := w.a.MeasuredCommand(testsite.Stream(subject+" again", size), "sendmail", "-C", w.a.Rules, "-i", "-odq", "bob"); err != nil || r.Exit != 0 {
			t.Fatalf("%+v %v", r, err)
		}
		waiting := w.a.Spooled()
		if len(waiting) != 1 {
			t.Fatalf("in the spool: %v", waiting)
		}
		r, deliver, err = w.a.MeasuredCommand(nil, "waybill", "deliver", "-C", w.a.Rules, filepath.Base(waiting[0]))
		if err != nil || r.Exit != 0 || len(w.a.Spooled()) != 0 {
			t.Fatalf("deliver: %+v %v %v\n%s", r, err, w.a.Spooled(), w.a.Trouble())
		}
		if err := os.Remove(filepath.Join(w.a.Dir, "mail", "bob")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		return front, daemon, deliver
	}
	// A daemon reads the log that the one before it left: the first run leaves one, so that both others find one.
	measure("first", 1000)
	front, daemon, deliver := measure("small", 1000)
	front50, daemon50, deliver50 := measure("large", large)
	for _, c := range []struct {
		name         string
		small, large int64
	}{{"sendmail", front, front50}, {"waybill serve", daemon, daemon50}, {"waybill deliver", deliver, deliver50}} {
		t.Logf("%-16s %5d kB with a small message, %5d kB with 50 MB", c.name, c.small>>10, c.large>>10)
		if c.large-c.small > allowed {
			t.Errorf("%s: 50 MB raise the peak by %d kB, more than %d", c.name, (c.large-c.small)>>10, allowed>>10)
		}
	}
}
