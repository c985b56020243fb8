package table

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill/rules/prog"
)

// The first line with a key decides, also when it has no value; what stands behind a separator is there even when it is
// empty. What is wanted was answered by sendmail 8.17.1.
func TestLinesWithoutValue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "map")
	for _, c := range []struct {
		text, args string
		want       map[string]string
	}{
		{"b,beta\nB,BETA,2\nb,x,3\nc,,4\nd\ne,\ne,y,5\nf,z,\nf,z,6\n", "-k0 -v2 -z,", map[string]string{"b": "-", "B": "-", "c": "4", "d": "-", "e": "-", "f": ""}},
		{"b beta\nB BETA 2\nc  4\ne \ne y 5\nf z \nf z 6\n", "-k0 -v2", map[string]string{"b": "-", "c": "-", "e": "-", "f": "", "": "-"}},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		tab, err := Open(&prog.Table{Name: "m", Class: "text", Args: append(strings.Fields(c.args), path)}, Env{}.Shared())
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range c.want {
			r, found, err := tab.Lookup(context.Background(), key, nil)
			if got := r.Value; err != nil || found != (want != "-") || found && got != want {
				t.Errorf("%s %q: %q %v %v, want %q", c.args, key, got, found, err, want)
			}
		}
	}
}
