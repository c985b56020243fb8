package pipe

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// The exit statuses and, where it prints something, the outputs are those of Debian's smrsh, which has a shell behind
// it; where ours differ on purpose, the line says so.
func TestSmrsh(t *testing.T) {
	dir := t.TempDir()
	script(t, dir+"/keep", `for a; do echo "<$a>"; done; cat`)
	script(t, dir+"/fail", "exit 67")
	if err := os.WriteFile(dir+"/notexec", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		command string
		exit    int
		out     string
	}{
		{"keep a b", 0, "<a>\n<b>\nin"}, {"/usr/bin/keep x", 0, "<x>\nin"}, {"exec keep y", 0, "<y>\nin"}, {"exit 75", 75, ""}, {"exit", 0, ""}, {"echo hello  world", 0, "hello world\n"},
		{"fail || exit 75", 75, ""}, {"fail && keep", 67, ""}, {"keep && fail", 67, "in"}, {"../keep", 0, "in"}, {`keep "a b"`, 0, "<a b>\nin"}, {"keep 'a b'", 0, "<a b>\nin"}, {`keep a\ b`, 0, "<a b>\nin"},
		{"nosuch", 69, "smrsh: \"nosuch\" not available for sendmail programs (stat failed)\n"}, {"notexec", 69, "smrsh: \"notexec\" not available for sendmail programs (stat failed)\n"},
		{"keep $HOME", 69, "smrsh: cannot use $ in command\n"}, {"keep `id`", 69, "smrsh: cannot use ` in command\n"}, {"keep a;b", 69, "smrsh: cannot use ; in command\n"}, {"keep a > b", 69, "smrsh: cannot use > in command\n"},
		{"keep a | keep", 69, "smrsh: cannot use | in command\n"}, {"keep a & keep", 69, "smrsh: cannot use & in command\n"}, {"keep (a)", 69, "smrsh: cannot use ( in command\n"},
		{"keep #x", 0, "in"}, {"keep ~", 0, "<~>\nin"}, {"keep a||fail", 0, "<a>\nin"}, {"keep {a}", 0, "<{a}>\nin"},
		{"", 64, "Usage: smrsh -c command\n"}, {"  ", 64, "Usage: smrsh -c command\n"},
		{"keep *", 0, "<*>\nin"},   // smrsh lets the shell replace it by file names
		{"IFS=x && keep", 0, "in"}, // smrsh knows no assignments
		{`"keep" a`, 0, "<a>\nin"}, // smrsh does not take a quoted name
		{"exec", 69, "smrsh: exec needs a program\n"},
	} {
		var out bytes.Buffer
		exit := Smrsh([]string{"-c", c.command}, dir, strings.NewReader("in"), &out, &out)
		if exit != c.exit || out.String() != c.out {
			t.Errorf("%q: %d %q, want %d %q", c.command, exit, out.String(), c.exit, c.out)
		}
	}
	for _, args := range [][]string{nil, {"-c"}, {"-x", "y"}, {"-c", "keep", "z"}, {"keep"}} {
		if exit := Smrsh(args, dir, strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{}); exit != 64 {
			t.Errorf("%q: exit %d", args, exit)
		}
	}
}
