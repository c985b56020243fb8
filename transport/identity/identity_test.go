package identity_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"waybill/transport/identity"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("IDENTITY_TEST_DIR"); dir != "" {
		os.Exit(unprivileged(dir))
	}
	os.Exit(m.Run())
}

// unprivileged is an ordinary user with two capabilities.
func unprivileged(dir string) int {
	if os.Geteuid() == 0 || !identity.CanChange() {
		return 2
	}
	err := identity.As(identity.ID{UID: 20001, GID: 20002}, func() error { return os.WriteFile(filepath.Join(dir, "file"), nil, 0o600) })
	if err != nil {
		return 3
	}
	return 0
}

// A daemon need not be root: an ordinary user with CAP_SETUID and CAP_SETGID delivers as the recipient as well.
func TestCapabilitiesAreEnough(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to give capabilities away")
	}
	dir, err := os.MkdirTemp("/tmp", "identity")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o777), os.WriteFile(filepath.Join(dir, "program"), program, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "program"))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "IDENTITY_TEST_DIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 20009, Gid: 20009}, AmbientCaps: []uintptr{unix.CAP_SETUID, unix.CAP_SETGID}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	info, err := os.Stat(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 20001 || st.Gid != 20002 {
		t.Errorf("the file belongs to %d:%d", st.Uid, st.Gid)
	}
}

func TestAsActsWithTheRightsOfTheUser(t *testing.T) {
	if !identity.CanChange() {
		ran := false
		if err := identity.As(identity.ID{UID: 12345, GID: 12345}, func() error { ran = true; return nil }); err != nil || !ran {
			t.Fatalf("as an ordinary user the work must run as ourselves: ran %v, %v", ran, err)
		}
		return
	}
	dir, err := os.MkdirTemp("/tmp", "identity")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o1777); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for uid := 20001; uid < 20021; uid++ {
		all.Go(func() {
			name := filepath.Join(dir, "of-user"+string(rune('a'+uid-20001)))
			err := identity.As(identity.ID{UID: uid, GID: uid + 1000}, func() error {
				if _, err := os.ReadFile(secret); !os.IsPermission(err) {
					t.Errorf("uid %d reads root's file: %v", uid, err)
				}
				return os.WriteFile(name, nil, 0o600)
			})
			if err != nil {
				t.Error(err)
				return
			}
			info, err := os.Stat(name)
			if err != nil {
				t.Error(err)
				return
			}
			if st := info.Sys().(*syscall.Stat_t); int(st.Uid) != uid || int(st.Gid) != uid+1000 {
				t.Errorf("%s belongs to %d:%d, want %d:%d", name, st.Uid, st.Gid, uid, uid+1000)
			}
		})
	}
	all.Wait()
	for range 50 { // no thread that others use kept the ids
		all.Go(func() {
			if _, err := os.ReadFile(secret); err != nil {
				t.Errorf("root no longer reads its file: %v", err)
			}
		})
	}
	all.Wait()
}
