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
