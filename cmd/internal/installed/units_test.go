package installed

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnits has systemd read the units as they are installed: a directive that it does not know, or a value that it
// ignores, is a line of its complaints.
func TestUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("no systemd here")
	}
	dir := t.TempDir()
	var files []string
	for _, name := range []string{"waybill.service", "waybill.socket"} {
		text, err := os.ReadFile(filepath.Join("../../../etc/systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		unit := strings.ReplaceAll(string(text), "@PREFIX@/sbin/waybill", "/bin/true")
		if strings.Contains(unit, "@") {
			t.Errorf("%s: a place is not filled in:\n%s", name, unit)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(unit), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	drop := filepath.Join(dir, "waybill.service.d")
	if err := os.Mkdir(drop, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, more := range []bool{false, true} {
		if more { // the example that closes more
			text, err := os.ReadFile("../../../etc/systemd/no-programs.conf")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(drop, "no-programs.conf"), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		out, err := exec.Command(analyze, append([]string{"verify", "--man=no"}, files...)...).CombinedOutput()
		if err != nil || strings.Contains(string(out), "waybill") {
			t.Errorf("with no-programs.conf %t: %v\n%s", more, err, out)
		}
	}
}
