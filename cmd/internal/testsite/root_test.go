package testsite_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"waybill/cmd/internal/testsite"
)

// TestDeliveryAsTheRecipient needs root, because only root can become somebody else: mailboxes, programs of .forward
// files and programs of aliases get the rights of their owners, and no more.
func TestDeliveryAsTheRecipient(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	w := newWorld(t, func(a, _ *testsite.Options) {
		a.IDs = map[string]int{"bob": 6001, "mail": 6002, "alice": 6003}
		a.Aliases = "robot: |\"/bin/sh " + filepath.Join(a.Dir, "who.sh") + " " + filepath.Join(a.Dir, "out", "robot") + "\"\n"
	})
	dir := w.a.Dir
	for p := dir; len(p) > len(os.TempDir()); p = filepath.Dir(p) { // the recipients must get there
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o777); err != nil {
		t.Fatal(err)
	}
	os.Chmod(out, 0o777)
	if err := os.WriteFile(filepath.Join(dir, "who.sh"), []byte("{ id -u; id -G; tr '\\0' '\\n' </proc/self/environ; ls -l /proc/self/fd; cat; } >\"$1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	forward := filepath.Join(dir, "home", "alice", ".forward")
	if err := os.WriteFile(forward, []byte("\"|/bin/sh "+dir+"/who.sh "+out+"/alice\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(forward, 6003, 6003); err != nil {
		t.Fatal(err)
	}
	start(t, w.a)

	submit(t, w.a, 0, "Subject: mine\n\nx\n", "bob")
	mailbox(t, w.a, "bob", "Subject: mine")
	info, err := os.Stat(filepath.Join(dir, "mail", "bob"))
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 6001 || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("bob's mailbox belongs to %d with mode %v", st.Uid, info.Mode())
	}
	for user, id := range map[string]string{"robot": "6002", "alice": "6003"} {
		submit(t, w.a, 0, "Subject: run\n\nfor "+user+"\n", user)
		file := filepath.Join(out, user)
		if err := testsite.Wait(soon(t), func() bool { text, _ := os.ReadFile(file); return strings.Contains(string(text), "for "+user) }); err != nil {
			t.Fatal(user, err, w.a.Trouble())
		}
		text, _ := os.ReadFile(file)
		lines := strings.SplitN(string(text), "\n", 3)
		if lines[0] != id || lines[1] != id {
			t.Errorf("the program of %s ran as user %s, groups %s, want %s", user, lines[0], lines[1], id)
		}
		for _, never := range []string{"LD_", "GIT_", dir + "/spool/lock", "socket:"} {
			if strings.Contains(lines[2], never) {
				t.Errorf("the program of %s sees %q:\n%s", user, never, lines[2])
			}
		}
	}
	if err := w.a.WaitEmpty(soon(t)); err != nil {
		t.Error(err)
	}
}
