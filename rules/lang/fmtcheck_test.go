package lang

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestShippedFilesAreFormatted: what we ship looks as "rules fmt" would have it.
func TestShippedFilesAreFormatted(t *testing.T) {
	more, _ := filepath.Glob("../../etc/lib/*.rules")
	for _, name := range append(more, "../../etc/waybill.rules") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		got := Format(NewSource(name, string(text)))
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if got != string(text) {
			t.Errorf("%s (-is +should be):\n%s", name, cmp.Diff(string(text), got))
		}
	}
}
