package table

import (
	"os"
	"path/filepath"
	"testing"
)

// A name of the hosts file is found as it stands there; only one that ends where the own domain begins is completed.
func TestHostsFileNames(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(file, []byte("127.0.0.1 mx.here.test mx localhost # ours\n192.0.2.1 far.example\n192.0.2.2 p.q.r p.q\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := &hostsFile{path: file}
	for name, want := range map[string]string{
		"mx": "mx.here.test", "MX.HERE.TEST": "mx.here.test", "localhost": "mx.here.test", "mx.here": "mx.here.test", "far.example": "far.example", "p.q": "p.q.r",
		"far": "", "mx.there": "", "p": "", "here": "", "mx.here.test.org": "",
	} {
		got := ""
		if line := h.named(name, "here.test"); line != nil {
			got = line[1]
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
