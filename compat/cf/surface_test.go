package cf_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"waybill/compat/cf"
	"waybill/rules/eval"
	"waybill/rules/prog"
)

// sources are the files that act on a sendmail.cf once it is read.
func sources(t *testing.T) map[string]string {
	all := map[string]string{}
	for _, root := range []string{"../../cmd/internal/app", "../../cmd/sendmail", "../../compat", "../../queue"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "cf" || d.Name() == "convert" || d.Name() == "mc" || d.Name() == "flags"): // they know all names, and act on none
				return filepath.SkipDir
			case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") && d.Name() != "setid.go": // a list of names
				text, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				all[path] = string(text)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 40 {
		t.Fatalf("only %d source files", len(all))
	}
	return all
}

func mentions(all map[string]string, texts ...string) string {
	for path, text := range all {
		for _, s := range texts {
			if strings.Contains(text, s) {
				return path
			}
		}
	}
	return ""
}

// TestTheOptionsThatWeSayWeHonourAreRead holds the table of options against the code: what is exact is read somewhere,
// and what is read is not called ignored.
func TestTheOptionsThatWeSayWeHonourAreRead(t *testing.T) {
	all := sources(t)
	byReader := map[string]bool{"BlankSub": true, "OperatorChars": true, "DontBlameSendmail": true, "LDAPDefaultSpec": true} // what the reader itself needs
	for _, o := range cf.Surface().Options {
		at := mentions(all, `"`+o.Name+`"`, `"`+o.Name+`.`)
		switch {
		case o.How == cf.Ignored && at != "":
			t.Errorf("option %s is called ignored (%s), but %s reads it", o.Name, o.Why, at)
		case o.How == cf.Exact && at == "" && !byReader[o.Name]:
			t.Errorf("option %s is called exact, but nothing reads it", o.Name)
		}
	}
}

// TestTheFlagsThatWeSayWeHonourAreAsked does the same for the flags of mailers.
func TestTheFlagsThatWeSayWeHonourAreAsked(t *testing.T) {
	all := sources(t)
	byHeaders := "DFMx" // H lines ask for them
	for _, f := range cf.Surface().Flags {
		at := mentions(all, `Has('`+f.Name+`')`)
		switch {
		case f.How == cf.Ignored && at != "":
			t.Errorf("flag %s is called ignored (%s), but %s asks for it", f.Name, f.Why, at)
		case f.How == cf.Exact && at == "" && !strings.Contains(byHeaders, f.Name):
			t.Errorf("flag %s is called exact, but nothing asks for it", f.Name)
		}
	}
}

// TestTheTimeoutsThatWeSayWeHonourAreRead does it for the parts of the option Timeout.
func TestTheTimeoutsThatWeSayWeHonourAreRead(t *testing.T) {
	all := map[string]string{}
	for path, text := range sources(t) {
		if strings.Contains(text, `"Timeout"`) || strings.Contains(text, "c.timeout(") {
			all[path] = text
		}
	}
	for _, o := range cf.Surface().Timeouts {
		at := mentions(all, `"`+o.Name+`"`, `"`+o.Name+`.`)
		if (o.How == cf.Exact) != (at != "") {
			t.Errorf("Timeout.%s is called %s (%s); read in %q", o.Name, o.How, o.Why, at)
		}
	}
}

// TestMapClasses opens a map of each class.
func TestMapClasses(t *testing.T) {
	args := map[string][]string{"dns": {"-R", "A"}, "regex": {"x"}, "sequence": {}, "switch": {"x"}, "ldap": {"-k", "x"}, "program": {"/bin/true"}, "socket": {"inet:1@127.0.0.1"}}
	for _, m := range cf.Surface().Maps {
		p := prog.New()
		a, ok := args[m.Name]
		if !ok {
			a = []string{"-o", filepath.Join(t.TempDir(), "none")}
		}
		p.Tables = []*prog.Table{{Name: "m", Class: m.Name, Args: a, Pos: prog.Pos{Line: 1}}}
		tables, errs := eval.OpenTables(p, eval.TableEnv{})
		if tables["m"] == nil || len(errs) > 0 {
			t.Errorf("class %s: %v", m.Name, errs)
			continue
		}
		if m.How == cf.Ignored {
			if r, found, _ := tables["m"].Lookup(t.Context(), "key", nil); found {
				t.Errorf("class %s is called ignored, but finds %q", m.Name, r.Value)
			}
		}
	}
}

func TestReport(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.cf")
	text := "V10/Berkeley\nO Timeout.queuereturn=5d\nO ControlSocketName=/x\nO NoSuch=1\nKd nis hosts.byname\nC{x} a\nC{x} b\nS3\nR$*\t$1 x\n" +
		"Mlocal, P=/bin/mail, F=lsAw%, A=mail $u\nXf, S=local:/x\nOBx\nOY\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := cf.ReadFile(file, cf.Options{CheckTable: eval.CheckTable})
	if err != nil {
		t.Fatal(err)
	}
	r := cf.NewReport(c)
	lines := map[int]bool{}
	for _, it := range r.Items {
		lines[it.Line] = true
	}
	for n := 1; n <= strings.Count(text, "\n"); n++ {
		if !lines[n] {
			t.Errorf("nothing is said about line %d", n)
		}
	}
	out := r.Text(false)
	for _, want := range []string{
		"! 3          option ControlSocketName", "! 4          option NoSuch ", "! 5          map d (nis) ", "  6-7        class (2 times) ", "mailer local flag % (hold)",
		"mail filter f ", "option ForkEachJob ", "line 4: readcf: unknown option name NoSuch", "Verdict: sendmail finds 1 error in it",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if r.Verdict.Ready {
		t.Error("ready, with an error")
	}
	if brief := r.Text(true); strings.Contains(brief, " exact\n") || !strings.Contains(brief, "ControlSocketName") {
		t.Errorf("brief:\n%s", brief)
	}
	data, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(data), `{"line":3,"what":"option ControlSocketName","how":"ignored","why":`) {
		t.Errorf("%v %s", err, data)
	}
}

// TestReportOfWhatIsOff: an option that asks for nothing, and a flag that nobody asks about, are nothing to look at.
func TestReportOfWhatIsOff(t *testing.T) {
	for value, want := range map[string]int{"False": 0, "f": 0, "True": 2, "": 2} {
		file := filepath.Join(t.TempDir(), "x.cf")
		if err := os.WriteFile(file, []byte("V10/Berkeley\nO HoldExpensive="+value+"\nMlocal, P=/bin/mail, F=lsAwe, A=mail $u\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := cf.ReadFile(file, cf.Options{CheckTable: eval.CheckTable})
		if err != nil {
			t.Fatal(err)
		}
		if got := cf.NewReport(c).Summary.Matter; got != want {
			t.Errorf("HoldExpensive=%s: %d things matter, want %d", value, got, want)
		}
	}
}

// TestBadFiles reads what is no configuration: an error in time, with its place.
func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(i*i>>3 ^ i)
	}
	big := filepath.Join(dir, "big")
	f, err := os.Create(big)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(100 << 20); err != nil { // 100 MB
		t.Fatal(err)
	}
	f.Close()
	for file, want := range map[string]string{
		fifo: "line 0: not a plain file", dir: "line 0: not a plain file", big: "line 1: the file is larger than",
		write("line", []byte("V10\nCx "+strings.Repeat("a", 2<<20))): "line 2: longer than", filepath.Join(dir, "none"): "line 0: cannot open: No such file or directory",
	} {
		_, err := cf.ReadFile(file, cf.Options{})
		if err == nil || !strings.Contains(cf.CannotRead(file, err), want) {
			t.Errorf("%s: %v, want %q", filepath.Base(file), err, want)
		}
	}
	c, err := cf.ReadFile(write("noise", noise), cf.Options{})
	if err == nil && c.Errors == 0 {
		t.Error("noise is no configuration")
	}
	// classes: an unreadable file, a FIFO, a directory; a macro and a class that contain themselves
	c, err = cf.ReadFile(write("classes", []byte("V10\nF{a}"+dir+"/none\nF{b}"+fifo+"\nF{c}"+dir+"\nD{A}${B}\nD{B}${A}x\nC{D}$={D} y\nS3\nR${A} $*\t$: ${B} $1\nMlocal, P=/x, A=x\n")), cf.Options{Trust: true})
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, m := range c.Messages {
		got += m.String() + "\n"
	}
	for _, want := range []string{"line 2: fileclass: cannot open '" + dir + "/none': No such file", "line 3: fileclass: cannot open '" + fifo + "': Regular files only", "line 4: fileclass: cannot open '" + dir + "': Regular files only"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
