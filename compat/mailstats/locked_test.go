package mailstats

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Everybody may open the file, and so lock it. Mail must not wait for them.
func TestRecorderDoesNotWaitForTheLock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "statistics")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	r := NewRecorder(file, nil, func(err error) { t.Error(err) })
	r.CountMailer(1, func(m *Mailer) { m.To++ })
	done := make(chan struct{})
	go func() { r.write(); r.CountMailer(1, func(m *Mailer) { m.To++ }); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("counting waits for the lock")
	}
	unix.Flock(int(f.Fd()), unix.LOCK_UN)
	r.Close()
	if s, err := Read(file, false); err != nil || s.Mailers[1].To != 2 {
		t.Errorf("%+v %v", s.Mailers[1], err)
	}
	if err := os.Link(file, file+"2"); err != nil {
		t.Fatal(err)
	}
	told := 0
	r = NewRecorder(file, nil, func(error) { told++ })
	r.CountMailer(1, func(m *Mailer) { m.To++ })
	r.Close()
	if told != 1 {
		t.Error("a file with two names was written")
	}
}
