package spool

import (
	"errors"
	"io"
	"path/filepath"
	"testing"
)

// What nobody vouches for leaves nothing behind, and is asked about once, when all else is done.
func TestNothingCountsBeforeItIsVouchedFor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	logged, unlock := loggedSpool(t, dir, quiet())
	defer unlock()
	defer logged.StopLog()
	for name, s := range map[string]*Spool{"files": openSpool(t), "log": logged} {
		no := errors.New("no")
		for _, verdict := range []error{no, nil} {
			d, err := s.Create(sample())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(d, "text\n"); err != nil {
				t.Fatal(err)
			}
			asked := 0
			d.VouchedBy(func() error {
				asked++
				if n := count(t, s); n != 0 {
					t.Errorf("%s: %d messages count already", name, n)
				}
				return verdict
			})
			m, err := d.Commit()
			if !errors.Is(err, verdict) || asked != 1 {
				t.Errorf("%s: asked %d times: %v, want %v", name, asked, err, verdict)
			}
			if n := count(t, s); (n == 0) != (verdict != nil) {
				t.Errorf("%s: %v, and the queue has %d messages", name, verdict, n)
			}
			if left, _ := filepath.Glob(filepath.Join(s.Dir(), queueDir, ".*")); len(left) > 0 {
				t.Errorf("%s: %v is left of it", name, left)
			}
			if m != nil {
				m.Close()
			}
		}
	}
}

// count is how many messages the queue has.
func count(t *testing.T, s *Spool) (n int) {
	t.Helper()
	if err := s.Queued(func(string) bool { n++; return true }); err != nil {
		t.Fatal(err)
	}
	return n
}
