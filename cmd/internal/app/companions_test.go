package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPraliases(t *testing.T) {
	file := filepath.Join(t.TempDir(), "aliases")
	text := "# comment\n\nRoot: alice,\n\tbob\n\"two words\": x:y\nteam: a, \\\nb\n  # not a comment\npipe: \"|/bin/x y: z\"\nnonsense\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"":        "root:alice, bob\ntwo words:x:y\nteam:a, b # not a comment\npipe:\"|/bin/x y: z\"\n",
		"team no": "team:a, b # not a comment\nno: No such key\n",
	} {
		var out, errs strings.Builder
		exit := Main(append([]string{"praliases", "-f", file}, strings.Fields(args)...), strings.NewReader(""), &out, &errs)
		if exit != 0 || out.String() != want || errs.Len() > 0 {
			t.Errorf("%q: exit %d, %q, %q", args, exit, out.String(), errs.String())
		}
	}
	var out, errs strings.Builder
	if exit := Main([]string{"waybill", "praliases", "-f", file + "x"}, strings.NewReader(""), &out, &errs); exit != 66 || !strings.Contains(errs.String(), "no such file") {
		t.Errorf("exit %d, %q", exit, errs.String())
	}
}

func TestVacationIsThere(t *testing.T) {
	var out, errs strings.Builder
	if exit := Main([]string{"/usr/bin/vacation", "-d"}, strings.NewReader(""), &out, &errs); exit != 64 || !strings.HasPrefix(errs.String(), "usage: vacation ") {
		t.Errorf("exit %d, %q", exit, errs.String())
	}
}

// Where there is no text file praliases reads the database beside it, with the mark that newaliases leaves.
func TestPraliasesOfDatabase(t *testing.T) {
	file := filepath.Join(t.TempDir(), "al")
	var out, errs strings.Builder
	if exit := Main([]string{"makemap", "-N", "hash", file}, strings.NewReader("a bob\nteam carol, dave\n@ @\n"), &out, &errs); exit != 0 {
		t.Fatal(exit, errs.String())
	}
	if exit := Main([]string{"praliases", "-f", file, "team", "zz"}, strings.NewReader(""), &out, &errs); exit != 0 || out.String() != "team:carol, dave\nzz: No such key\n" {
		t.Errorf("exit %d, %q, %q", exit, out.String(), errs.String())
	}
	out.Reset()
	Main([]string{"praliases", "-f", file}, strings.NewReader(""), &out, &errs)
	if !strings.Contains(out.String(), "@:@\n") || !strings.Contains(out.String(), "a:bob\n") {
		t.Errorf("%q", out.String())
	}
}
