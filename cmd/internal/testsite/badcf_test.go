package testsite_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBadConfigurationRefusesEveryMode gives each mode of sendmail a sendmail.cf that the real one refuses. It was seen to say
// why on standard output, with this exit status, in all of them; the caller has its message still, and nothing is kept.
func TestBadConfigurationRefusesEveryMode(t *testing.T) {
	if err := build(); err != nil {
		t.Fatal(err)
	}
	const mailers = "Mlocal, P=/bin/true, F=lsDFMAw5:/|@q, A=cat $u\nMprog, P=/bin/sh, F=lsDFMoqeu9, A=sh -c $u\n"
	for name, c := range map[string]struct {
		lines, says string
		exit        int
	}{
		"option":   {"O NoSuchOption=1\n" + mailers, "line 7: readcf: unknown option name", 70},
		"rule":     {"S7\nRx\n" + mailers, "line 8: invalid rewrite line", 70},
		"class":    {"Fw/nonexistent/file\n" + mailers, "line 7: fileclass: cannot open '/nonexistent/file'", 71},
		"no local": {"", "No local mailer defined", 70},
		"mailer":   {"Mx\n" + mailers, "line 7: Mx: A= argument required", 70},
		"line":     {"Zjunk\n" + mailers, "line 7: unknown configuration line", 70},
	} {
		modes := [][]string{{"-bm", "root"}, {"-bi"}}
		if name == "option" {
			modes = [][]string{{"-bm", "root"}, {"-t"}, {"-bv", "root"}, {"-bp"}, {"-bi"}, {"-bh"}, {"-bH"}, {"-bP"}, {"-q"}, {"-bC"}}
		}
		for _, mode := range modes {
			dir := t.TempDir()
			spool := filepath.Join(dir, "q")
			if err := os.Mkdir(spool, 0o700); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "bad.cf")
			text := "V10/Berkeley\nO QueueDirectory=" + spool + "\nO DeliveryMode=q\nDjmail.example.org\nS0\nR$*\t$#local $: $1\n" + c.lines
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			cmd := exec.CommandContext(ctx, filepath.Join(bin, "sendmail"), append([]string{"-C", file}, mode...)...)
			cmd.Stdin = strings.NewReader("To: root\nSubject: x\n\nhi\n")
			cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + dir}
			var out, says bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &says
			err := cmd.Run()
			cancel()
			exit := 0
			var failed *exec.ExitError
			if errors.As(err, &failed) {
				exit = failed.ExitCode()
			}
			if exit != c.exit || !strings.Contains(out.String(), c.says) {
				t.Errorf("%s %v: exit status %d, want %d\n%s%s", name, mode, exit, c.exit, &out, &says)
			}
			if kept, _ := filepath.Glob(filepath.Join(spool, "*", "*")); len(kept) > 0 {
				t.Errorf("%s %v: kept %v", name, mode, kept)
			}
			if _, err := os.Stat(filepath.Join(dir, "dead.letter")); err == nil {
				t.Errorf("%s %v: there is a dead.letter", name, mode)
			}
		}
	}
}
