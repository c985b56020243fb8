package qf

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// Whoever may put files into a queue directory must not choose programs, nor have files of others sent to them.
func TestOwners(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("gives files away")
	}
	var plain []string
	skip := false
	for line := range strings.Lines(control) { // without the program and the file
		skip = skip && !strings.HasPrefix(line, "C:") || strings.HasPrefix(line, "Ctheuser")
		if !skip {
			plain = append(plain, line)
		}
	}
	for _, c := range []struct {
		name     string
		text     string
		qf, df   int
		mode     os.FileMode
		accepted bool
	}{
		{"root's", control, 0, 0, 0o600, true},
		{"a user's program", control, 1234, 1234, 0o600, false},
		{"a user's addresses", strings.Join(plain, ""), 1234, 1234, 0o600, true},
		{"a user's control file, root's data", strings.Join(plain, ""), 1234, 0, 0o600, false},
		{"open to everybody", strings.Join(plain, ""), 0, 0, 0o666, false},
	} {
		dir := t.TempDir()
		q, d := put(t, dir, "qfABCDEFG123", c.text), put(t, dir, "dfABCDEFG123", "body\n")
		if err := errors.Join(os.Chown(q, c.qf, -1), os.Chown(d, c.df, -1), os.Chmod(q, c.mode)); err != nil {
			t.Fatal(err)
		}
		m, err := Open(q)
		if (err == nil) != c.accepted || err != nil && (!errors.Is(err, ErrUntrusted) || errors.Is(err, ErrDamaged)) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil {
			m.Close()
		}
	}
}
