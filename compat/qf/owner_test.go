package qf

import (
	"errors"
	"os"
	"path/filepath"
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
		m, err := openAt(t, q)
		if (err == nil) != c.accepted || err != nil && (!errors.Is(err, ErrUntrusted) || errors.Is(err, ErrDamaged)) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil {
			m.Close()
		}
	}
}

// In a directory of somebody else, what lies there is theirs, whoever wrote it; nothing leads out of it.
func TestForeignDirectory(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("gives files away")
	}
	dir := t.TempDir()
	q := put(t, dir, "qfABCDEFG123", control)
	put(t, dir, "dfABCDEFG123", "body\n")
	if err := os.Chown(dir, 1234, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := openAt(t, q); !errors.Is(err, ErrUntrusted) {
		t.Errorf("root's program, moved to a user's directory: %v", err)
	}
	victim := t.TempDir()
	put(t, victim, "qfABCDEFG124", control)
	os.Symlink(victim, filepath.Join(dir, "qd1"))
	os.Symlink(victim, filepath.Join(dir, "qf"))
	if err := os.Link(filepath.Join(victim, "qfABCDEFG124"), filepath.Join(dir, "qfABCDEFG125")); err != nil {
		t.Fatal(err)
	}
	var found []string
	if err := Names(dir, func(f File) error { found = append(found, f.Path); return nil }); err != nil || len(found) != 2 {
		t.Errorf("%v %v", found, err)
	}
	if _, err := openAt(t, filepath.Join(dir, "qfABCDEFG125")); !errors.Is(err, ErrUntrusted) {
		t.Errorf("a second name of a file: %v", err)
	}
	// What was found stays what it is when the directory is exchanged for another.
	err := Names(dir, func(f File) error {
		if filepath.Base(f.Path) != "qfABCDEFG123" {
			return nil
		}
		if err := errors.Join(os.Rename(dir, dir+".away"), os.Symlink(victim, dir)); err != nil {
			return err
		}
		_, err := f.SetAside()
		return err
	})
	if _, away := os.Stat(filepath.Join(dir+".away", "QfABCDEFG123")); err != nil || away != nil {
		t.Errorf("%v %v", err, away)
	}
}
