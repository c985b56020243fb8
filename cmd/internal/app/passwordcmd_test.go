package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Two at once lost a line, since "waybill password" was there.
func TestPasswordsAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passwords")
	const n = 20
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			user := fmt.Sprintf("user%d:", i%(n/2))
			if err := replaceLine(file, user, user+"x\n"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n / 2 {
		if got := strings.Count(string(text), fmt.Sprintf("user%d:x\n", i)); got != 1 {
			t.Errorf("user%d has %d lines", i, got)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}
