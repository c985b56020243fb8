package table

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"waybill/rules/prog"
)

// A table lacks a key only if looking it up finds nothing, whatever its options and the case of letters.
func TestLacks(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text := write("text", "Joe x\nexample.org y\nABC z\n")
	routes := write("routes", ".rutgers.edu seismo!%s\n")
	known := 0
	for _, def := range []*prog.Table{
		{Name: "a", Class: "text", Args: []string{"-v1", text}},
		{Name: "b", Class: "text", Args: []string{"-f", "-v1", text}},
		{Name: "c", Class: "text", Args: []string{"-o", filepath.Join(dir, "missing")}},
		{Name: "d", Class: "text", Args: []string{write("empty", "")}},
		{Name: "e", Class: "pathalias", Args: []string{routes}},
		{Name: "f", Class: "text", Args: []string{filepath.Join(dir, "missing")}},
	} {
		tab, err := Open(def, Env{}.Shared())
		if tab == nil {
			t.Fatal(err)
		}
		lacker, ok := tab.(interface {
			Lacks(ctx context.Context, key []byte, lower bool) bool
		})
		if !ok {
			t.Fatalf("%s: cannot tell", def.Name)
		}
		for _, key := range []string{"joe", "Joe", "JOE", "example.org", "abc", "ABC", "nobody", "NOBODY", "caip.rutgers.edu", ""} {
			lower := key == string(foldBytes([]byte(key)))
			lacks := lacker.Lacks(context.Background(), []byte(key), lower)
			_, found, err := tab.Lookup(context.Background(), key, nil)
			if lacks && (found || err != nil) {
				t.Errorf("%s lacks %q, but finds it: %v %v", def.Name, key, found, err)
			}
			if lacks {
				known++
			}
		}
	}
	if known < 20 {
		t.Errorf("only %d keys were known not to be there", known)
	}
}
