package testmode

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestProgramsComplain: what the program of a map complains of is shown where it happens.
func TestProgramsComplain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cf")
	text := "V10/Berkeley\nO HelpFile=/dev/null\nMlocal, P=/bin/false, F=lsDFM, S=0, R=0, A=x\nMprog, P=/bin/false, F=lsDFM, S=0, R=0, A=x\nKp program /bin/ls /nonexistent\nSA\nR$*\t$: $(p $1 $: none $)\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	Main([]string{"-bt", "-C", path}, strings.NewReader("A /dev/null\n"), &out, Config{Trust: true, Host: host, Resolver: nothing{}, Stderr: &out})
	said := strings.Index(out.String(), "/nonexistent")
	if said < strings.Index(out.String(), "input:") || said > strings.Index(out.String(), "returns: none") {
		t.Errorf("%s", out.String())
	}
}

// TestTabsBetweenWords: commands and their arguments are divided by tabs as well as by blanks.
func TestTabsBetweenWords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cf")
	if err := os.WriteFile(path, []byte("V10/Berkeley\nMlocal, P=/bin/false, A=x\nMprog, P=/bin/false, A=x\nKd dequote\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	Main([]string{"-bt", "-C", path}, strings.NewReader("/map\td \"k\"\n/map  d\t\"k\"\n/map d\t k \n"), &out, Config{Trust: true, Host: host, Resolver: nothing{}})
	if got := out.String(); strings.Count(got, "map_lookup: d (\"k\") returns k (0)\n") != 2 || !strings.Contains(got, "map_lookup: d ( k) no match (0)\n") {
		t.Errorf("%s", got)
	}
}
