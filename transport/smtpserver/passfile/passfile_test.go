package passfile

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"waybill/transport/smtpserver/sasl"
)

func write(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "passwords")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFile(t *testing.T) {
	line, err := Line("tester", "hunter2hunter2")
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(write(t, "# users\n\n"+line+"robot:PLAIN$a$b\n", 0o640))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for _, c := range []struct {
		user, password string
		ok             bool
	}{{"tester", "hunter2hunter2", true}, {"tester", "x", false}, {"robot", "a$b", true}, {"robot", "a", false}, {"nobody", "", false}, {"# users", "", false}} {
		if ok, err := f.Verify(ctx, c.user, c.password); ok != c.ok || err != nil {
			t.Errorf("%s with %q: %v, %v", c.user, c.password, ok, err)
		}
		k, found, err := f.Keys(ctx, c.user)
		again, _, _ := f.Keys(ctx, c.user)
		if err != nil || found != (c.user != "nobody" && c.user != "# users") || string(k.Salt) != string(again.Salt) || found && k.Verify(c.password) != c.ok {
			t.Errorf("keys of %s: %v, %v", c.user, found, err)
		}
	}
	if slices.Contains(sasl.Mechanisms(f.Store()), "CRAM-MD5") {
		t.Error("CRAM-MD5 would not work for everybody")
	}
	clear, err := Open(write(t, "robot:PLAIN$secret\n", 0o600))
	if err != nil {
		t.Fatal(err)
	}
	r, ok := clear.Store().(sasl.Revealer)
	if !ok {
		t.Fatal("no CRAM-MD5")
	}
	if p, found, err := r.Reveal(ctx, "robot"); p != "secret" || !found || err != nil {
		t.Errorf("%q, %v, %v", p, found, err)
	}
}

func TestBadFiles(t *testing.T) {
	for text, want := range map[string]string{
		"a:PLAIN$x\na:PLAIN$y\n":               ":2: user \"a\" again",
		"nothing\n":                            ":1: not NAME:SECRET",
		":PLAIN$x\n":                           ":1: not NAME:SECRET",
		"a:x\n":                                ":1: unknown scheme",
		"a:PLAIN$\n":                           ":1: empty password",
		"a:SCRAM-SHA-256$1:c2FsdHNhbHQ=$x:y\n": ":1: bad SCRAM-SHA-256 secret",
		"a:SCRAM-SHA-256$4096:c2FsdHNhbHQ=$c2hvcnQ=:c2hvcnQ=\n": ":1: bad SCRAM-SHA-256 secret",
	} {
		if _, err := Open(write(t, text, 0o600)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, mode := range []os.FileMode{0o644, 0o660, 0o602} {
		path := write(t, "a:PLAIN$x\n", 0o600)
		os.Chmod(path, mode)
		if _, err := Open(path); err == nil {
			t.Errorf("mode %o passed", mode)
		}
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a directory passed")
	}
}

// A file that was good and is broken now means "not now".
func TestReload(t *testing.T) {
	path := write(t, "a:PLAIN$x\n", 0o600)
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		ok   bool
		err  bool
	}{{"a:PLAIN$longer\n", false, false}, {"broken", false, true}, {"a:PLAIN$x\n\n", true, false}} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		f.checked = f.checked.Add(-2e9)
		f.mu.Unlock()
		if ok, err := f.Verify(context.Background(), "a", "x"); ok != c.ok || (err != nil) != c.err {
			t.Errorf("%q: %v, %v", c.text, ok, err)
		}
	}
	os.Remove(path)
	f.mu.Lock()
	f.checked = f.checked.Add(-2e9)
	f.mu.Unlock()
	if ok, err := f.Verify(context.Background(), "a", "x"); ok || err == nil {
		t.Errorf("removed: %v, %v", ok, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a:PLAIN$x\n# c\n\nb:SCRAM-SHA-256$4096:c2FsdHNhbHQ=$x:y\n")
	f.Fuzz(func(t *testing.T, text string) {
		users, err := parse("file", text)
		if err != nil && users != nil {
			t.Fatal("users beside an error")
		}
		for name, e := range users {
			if name == "" || !e.plain && e.keys.Rounds < 4096 || e.plain && e.clear == "" {
				t.Fatalf("%q: %+v", name, e)
			}
		}
	})
}
