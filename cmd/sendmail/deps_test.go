package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The front end starts for every mail of every cron job: what it links decides how long that takes, and how much there is
// to trust in a set-group-ID program.
func TestWhatIsLinked(t *testing.T) {
	never := map[string]bool{"crypto/tls": true, "net/http": true, "regexp": true, "text/template": true, "html/template": true, "os/user": true, "plugin": true, "os/exec": true}
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Dir,Module,Standard", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	ours := 0
	for in := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath, Dir string
			Standard        bool
			Module          *struct{ Path string }
		}
		if err := in.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		switch {
		case p.Standard:
			if never[p.ImportPath] {
				t.Errorf("%s is linked into the front end", p.ImportPath)
			}
		case p.Module == nil || p.Module.Path != "waybill":
			if !strings.HasPrefix(p.ImportPath, "golang.org/x/sys/") {
				t.Errorf("%s is linked into the front end", p.ImportPath)
			}
		default:
			ours++
			// Reading the files makes the test cache notice when they change; the go command's reading does not.
			files, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
			if err != nil || len(files) == 0 {
				t.Fatalf("%s: %v", p.Dir, err)
			}
			for _, f := range files {
				if _, err := os.ReadFile(f); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if ours < 4 {
		t.Fatalf("only %d packages of ours: the list is broken", ours)
	}
}
