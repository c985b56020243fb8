package identity_test

import (
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"waybill/transport/identity"
)

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
