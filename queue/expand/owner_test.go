package expand

import (
	"context"
	"os"
	"syscall"
	"testing"

	"waybill/transport/passwd"
)

// later is a user database that cannot say who a user id is, for a reason that looks like one of files.
type later struct{ passwd.Static }

func (later) ByUID(int) (passwd.Entry, bool, error) { return passwd.Entry{}, false, syscall.EACCES }

// "Not now" about the owner of an :include: file is not "no" about the programs in it.
func TestOwnerOfIncludeNotKnownNow(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("gives a file away")
	}
	dir := t.TempDir()
	put(t, dir+"/list", "\"|/bin/prog\"\n", 0o644)
	if err := os.Chown(dir+"/list", 12345, -1); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != "/tmp" && d != "/"; d = d[:max(1, lastSlash(d))] {
		os.Chmod(d, 0o755)
	}
	x, err := New(Config{Users: later{}, Aliases: aliasMap{"list": ":include:" + dir + "/list"}})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := x.Expand(context.Background(), User{Name: "list"}); err == nil {
		t.Errorf("%+v", r)
	}
}

func lastSlash(s string) int {
	i := len(s) - 1
	for i > 0 && s[i] != '/' {
		i--
	}
	return i
}
