package passwd_test

import (
	"os"
	"path/filepath"
	"testing"

	"waybill/transport/passwd"
)

func TestLookup(t *testing.T) {
	dir := t.TempDir()
	users, groups := filepath.Join(dir, "passwd"), filepath.Join(dir, "group")
	write(t, users, "root:x:0:0:root:/root:/bin/bash\n#bob:x:1:1::/:/bin/sh\nbob:x:1001:1001:Bob,,,:/home/bob:/bin/sh\nbob:x:0:0:second:/:/bin/sh\n"+
		"+nis:::::::\nbad:x:zero:0::/:/bin/sh\nneg:x:-1:0::/:/bin/sh\nshort:x:5\n")
	write(t, groups, "mail:x:8:bob,root\nbob:x:1001:bob\n")
	f := passwd.Open(users, groups)
	e, found, err := f.Lookup("bob")
	if err != nil || !found || e.UID != 1001 || e.Home != "/home/bob" || e.Gecos != "Bob,,," || len(e.Groups) != 1 || e.Groups[0] != 8 {
		t.Fatalf("bob: %+v %v %v", e, found, err)
	}
	for _, name := range []string{"", "Bob", "#bob", "+nis", "bad", "neg", "short", "nobody"} {
		if e, found, err := f.Lookup(name); found || err != nil {
			t.Errorf("%q: %+v %v %v, want not found", name, e, found, err)
		}
	}
	if e, found, err := f.ByUID(1001); err != nil || !found || e.Name != "bob" {
		t.Errorf("uid 1001: %+v %v %v", e, found, err)
	}
	write(t, users, "carol:x:7:7::/:/bin/sh\n")
	if _, found, _ := f.Lookup("carol"); !found {
		t.Error("the changed file was not read again")
	}
	if err := os.Remove(users); err != nil {
		t.Fatal(err)
	}
	if _, found, err := f.Lookup("carol"); err == nil {
		t.Errorf("without the file the answer must be an error, not found=%v", found)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
