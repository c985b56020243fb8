package testsite_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// lines are command lines, and what their last words can become.
var lines = []struct{ line, want string }{
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
}

// TestCompletion asks the functions of bash and fish what they make of command lines.
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
	fish, empty := shellFile(t, waybill, "fish"), t.TempDir()
	for _, c := range lines {
		cmd := exec.Command("fish", "--no-config", "-c", `source $argv[1]; complete -C "waybill $argv[2]"`, fish, c.line)
		cmd.Dir, cmd.Env = empty, append(os.Environ(), "HOME="+empty, "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		got := strings.Fields(string(out))
		if slices.Sort(got); err != nil || strings.Join(got, " ") != c.want { // it has an order of its own
			t.Errorf("fish: %q: %q, want %q; %v", c.line, got, c.want, err)
		}
	}
	for _, c := range lines {
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
	if out, err := exec.Command("bash", "-c", `source <("$0" completion bash) && complete -p waybill`, waybill).CombinedOutput(); err != nil || !strings.Contains(string(out), "-F _waybill") {
		t.Errorf("%v\n%s", err, out)
	}
}

// shellFile writes the completion of a shell into a file with the name under which the shell looks for it.
func shellFile(t *testing.T, waybill, shell string) string {
	t.Helper()
	out, err := exec.Command(waybill, "completion", shell).Output()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), map[string]string{"bash": "waybill", "zsh": "_waybill", "fish": "waybill.fish"}[shell])
	if err := os.WriteFile(file, out, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// drive starts an interactive shell on a terminal, lets it read a completion, types a line in which \t is the TAB key,
// and waits for a text that only the completed command prints.
const drive = `zmodload zsh/zpty
case $1 in
bash) cmd="bash --norc --noprofile -i"; setup="source $2";;
zsh)  cmd="zsh -f -i"; setup="fpath=(${2:h} \$fpath); autoload -Uz compinit; compinit -u -D";;
fish) cmd="fish --no-config -i"; setup="source $2";;
esac
zpty sh $cmd
zpty -w sh "$setup; echo re''ady"
zpty -r sh out "*ready*" || exit 1
zpty -w -n sh "$(print -rn -- ${(g::)3})"$'\r'
out=
while zpty -r sh line "*"$'\n'; do
	out+=$line
	[[ $out == *$4* ]] && { zpty -d sh; exit 0 }
done
print -r -- "$out"
exit 1
`

// TestTabKey: in each shell, at a terminal, the TAB key completes words from the first time on.
func TestTabKey(t *testing.T) {
	if err := build(); err != nil {
		t.Fatal(err)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		file := shellFile(t, filepath.Join(bin, "waybill"), shell)
		for line, shows := range map[string]string{`waybill rules gra\t`: "Statement =", `waybill compl\tzs\t`: "#compdef waybill"} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			cmd := exec.CommandContext(ctx, "zsh", "-f", "-c", drive, "drive", shell, file, line, shows)
			home := t.TempDir()
			cmd.Dir, cmd.Env = home, append(os.Environ(), "TERM=dumb", "HOME="+home, "XDG_DATA_HOME="+home, "PATH="+bin+":"+os.Getenv("PATH"))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %s: %v\n%s", shell, line, err, out)
			}
			cancel()
		}
	}
}
