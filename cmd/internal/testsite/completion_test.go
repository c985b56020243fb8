package testsite_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCompletion lets bash complete command lines with what "waybill completion bash" prints, and looks that the other
// shells ask the same question.
func TestCompletion(t *testing.T) {
	if err := build(); err != nil {
		t.Fatal(err)
	}
	waybill := filepath.Join(bin, "waybill")
	complete := func(words ...string) string {
		t.Helper()
		script := `source <("$0" completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _waybill; echo "${COMPREPLY[*]}"`
		out, err := exec.Command("bash", append([]string{"-c", script, waybill, waybill}, words...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", words, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	for _, c := range []struct{ line, want string }{
		{"ru", "rules"},
		{"comp", "completion"},
		{"completion ", "bash fish zsh"},
		{"completion z", "zsh"},
		{"rules ", "check convert default diff explain fmt grammar show test"},
		{"rules d", "default diff"},
		{"rules diff --", "--addresses --from --log"},
		{"rules diff -", "-C -addresses -from -log"},
		{"rules fmt -", "-C -w"},
		{"rules check ", ""}, // files
		{"queue -C site.rules ho", "hold"},
		{"explain -c", "-client"},
		{"nonsense ", ""},
	} {
		words := strings.Fields(c.line)
		if strings.HasSuffix(c.line, " ") {
			words = append(words, "")
		}
		if got := complete(words...); got != c.want {
			t.Errorf("%q: %q, want %q", c.line, got, c.want)
		}
	}
	if all := strings.Fields(complete("")); len(all) < 8 {
		t.Errorf("commands: %v", all)
	}
	for _, shell := range []string{"zsh", "fish"} {
		out, err := exec.Command(waybill, "completion", shell).Output()
		if err != nil || !strings.Contains(string(out), "completion words") {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
	if out, err := exec.Command("bash", "-c", `source <("$0" completion bash) && complete -p waybill`, waybill).CombinedOutput(); err != nil || !strings.Contains(string(out), "-F _waybill") {
		t.Errorf("%v\n%s", err, out)
	}
}
