package app

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"waybill/etc"
	"waybill/rules"
	"waybill/transport/sysexits"
)

// foldFile runs waybill rules convert --fold.
func foldFile(t *testing.T, file string) (out, says string, folded bool) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	exit := rulesCommand(stdio{strings.NewReader(""), &stdout, &stderr}, []string{"convert", "--fold", file})
	if exit != sysexits.OK {
		t.Errorf("%s: exit status %d\n%s", file, exit, &stderr)
	}
	return stdout.String(), stderr.String(), !strings.Contains(stderr.String(), "not folded as a whole")
}

// TestFold folds what m4 made: what has a counterpart in the library becomes a file that a newcomer reads, Debian's own
// among them; for what has none the command says why, and converts line by line.
func TestFold(t *testing.T) {
	files := madeByM4(t)
	for name, want := range map[string]bool{"debian": true, "client": true, "satellite": true, "department": true, "gateway": false, "lists": false, "bangs": false} {
		out, says, folded := foldFile(t, files[name])
		if folded != want {
			t.Errorf("%s: folded %v\n%s", name, folded, says)
			continue
		}
		lines := strings.Count(out, "\n")
		if folded && lines > 150 || !folded && lines < 500 {
			t.Errorf("%s: %d lines", name, lines)
		}
		if folded && !strings.Contains(out, "\nuse standard\n") {
			t.Errorf("%s: nothing of the library is used:\n%s", name, out)
		}
		if _, err := rules.Load(name+".rules", rules.Options{Text: []byte(out), Library: etc.Library(), Hostname: oracleHost.Name, SkipTests: true}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFoldSeesWhatSomebodyChanged changes one line of a file that would be folded.
func TestFoldSeesWhatSomebodyChanged(t *testing.T) {
	file := madeByM4(t)["debian"]
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "SParse1") })
	own := "R$* < @ special.example . > $*\t$#esmtp $@ elsewhere.example $: $1 < @ special.example . > $2"
	if at < 0 {
		t.Fatal("no SParse1")
	}
	for name, changed := range map[string][]string{
		"a rule of their own goes along": slices.Insert(slices.Clone(lines), at+1, own),
		"a stock rule that is changed":   slices.Insert(slices.Clone(lines), slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "SBasic_check_rcpt") })+1, "R< $* @ friend.example >\t$@ OK"),
	} {
		changedFile := filepath.Join(t.TempDir(), "changed.cf")
		if err := os.WriteFile(changedFile, []byte(strings.Join(changed, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
		out, says, folded := foldFile(t, changedFile)
		if strings.Contains(name, "along") {
			if !folded || !strings.Contains(out, "special.example") {
				t.Errorf("%s: folded %v\n%s%s", name, folded, says, out[:min(len(out), 2000)])
			}
		} else if folded {
			t.Errorf("%s: folded\n%s", name, out)
		}
	}
}
