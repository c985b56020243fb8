package identity_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"waybill/transport/identity"
)

func TestLeave(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	dir := t.TempDir()
	theirs := filepath.Join(dir, "theirs")
	if err := os.Mkdir(theirs, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(theirs, 4711, 4712); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		dir      string
		uid, gid uint32
		foreign  bool
	}{
		{theirs, 4711, 4712, true},
		{dir, 0, uint32(os.Getegid()), false},
	} {
		f, err := os.Create(filepath.Join(tt.dir, "file"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := identity.Leave(f); err != nil {
			t.Fatal(err)
		}
		sub := filepath.Join(tt.dir, "sub")
		if err := os.Mkdir(sub, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := identity.LeaveDirectory(sub, 0o750); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{f.Name(), sub} {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			if st := info.Sys().(*syscall.Stat_t); st.Uid != tt.uid || st.Gid != tt.gid {
				t.Errorf("%s belongs to %d:%d, not to %d:%d", name, st.Uid, st.Gid, tt.uid, tt.gid)
			}
		}
		if got := identity.Foreign(f.Name()); got != tt.foreign {
			t.Errorf("Foreign(%s) = %v", f.Name(), got)
		}
	}
}

func TestLeaveDirectoryFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if err := identity.LeaveDirectory(link, 0o777); err == nil {
		t.Error("a link was followed")
	}
}
