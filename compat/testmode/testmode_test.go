package testmode

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"waybill/compat/cf"
	"waybill/rules/eval"
)

// host is the machine of the recorded runs.
var host = cf.Host{Name: "oracle.example.org", NodeName: "oracle.example.org", Addresses: []string{"[192.0.2.10]"}}

// TestAgainstRecordings compares with what the real sendmail printed for the same file and the same input. The files
// also say with which status it ended; sessions with errors end otherwise in ours, and are not compared in that.
func TestAgainstRecordings(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txtar")
	if len(files) < 10 {
		t.Fatalf("only %d recordings", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			var in, want string
			for _, f := range a.Files {
				text := strings.ReplaceAll(string(f.Data), "$DIR", dir)
				switch f.Name {
				case "in":
					in = text
				case "out":
					want = text
				default:
					if err := os.WriteFile(filepath.Join(dir, f.Name), []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			var out bytes.Buffer
			Main([]string{"-bt", "-C", filepath.Join(dir, "cf")}, strings.NewReader(in), &out, Config{Trust: true, Host: host, Resolver: nothing{}})
			want = want[:strings.LastIndex(strings.TrimSuffix(want, "\n"), "\n")+1]
			got := out.String()
			if !strings.HasSuffix(got, "\n") {
				got += "\n"
			}
			g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
			bad := 0
			for i := 0; i < max(len(g), len(w)) && bad < 5; i++ {
				var x, y string
				if i < len(g) {
					x = g[i]
				}
				if i < len(w) {
					y = w[i]
				}
				if x != y {
					bad++
					t.Errorf("line %d:\n got  %q\n want %q", i+1, x, y)
				}
			}
		})
	}
}

// nothing is a DNS without names.
type nothing struct{}

func (nothing) Query(context.Context, string, string) ([]eval.Record, bool, error) {
	return nil, false, nil
}

func TestMissingFile(t *testing.T) {
	var out bytes.Buffer
	gone := filepath.Join(t.TempDir(), "gone.cf")
	if code := Main([]string{"-bt", "-C" + gone}, strings.NewReader(""), &out, Config{Trust: true, Host: host}); code != 72 || out.String() != gone+": line 0: cannot open: No such file or directory\n" {
		t.Errorf("code %d, %q", code, out.String())
	}
}

// What the real one cannot stand: a stray $), and lookups of a macro table (it ends with a signal).
func TestWhereTheRealOneCrashes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cf")
	if err := os.WriteFile(file, []byte("V10\nKm macro\nSA\nR$*\t$: $) $] $1\nSB\nR$*\t$>B $1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	start := time.Now()
	Main([]string{"-C", file}, strings.NewReader("A x\n/map m x\nB x\n/quit\nA never\n"), &out, Config{Trust: true, Host: host})
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("took %v", d)
	}
	if s := out.String(); !strings.Contains(s, "A                returns: $) $] x\n") || strings.Contains(s, "never") {
		t.Errorf("%s", s[:min(len(s), 2000)])
	}
}

// FuzzCommands types anything into test mode.
func FuzzCommands(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		if a, err := txtar.ParseFile(file); err == nil {
			for _, x := range a.Files {
				if x.Name == "in" && len(x.Data) < 4000 {
					f.Add(string(x.Data))
				}
			}
		}
	}
	conf := filepath.Join(f.TempDir(), "cf")
	text := "V10\nO OperatorChars=.:%@!^/[]+\nMlocal, P=x, F=l:|/@, A=x $u\nMsmtp, P=[IPC], A=TCP $h\nKm macro\nKd dequote\nKa arith\nKs sequence d a\nCXa a.b\nDYy.z\n" +
		"S3\nR$* < $* > $*\t$: $2\nR$+ @ $+\t$: $1 < @ $2 >\nS0\nR$+ < @ $=X >\t$#local $: $1\nR$* < @ $+ > $*\t$#smtp $@ $2 $: $1 < @ $2 > $3\nR$+\t$#local $: $>D $1\n" +
		"SD\nR$*\t$: $(d $1 $: $1 $)\nR$* . $*\t$: $(m {Q} $@ $1 $) $(a + $@ $1 $@ $2 $: $&{Q} $)\nSL\nR$*\t$>L $1 $1\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, commands string) {
		if len(commands) > 4096 || strings.Count(commands, "L") > 3 {
			return
		}
		start := time.Now()
		Main([]string{"-C", conf}, strings.NewReader(commands), io.Discard, Config{Trust: true, Host: host})
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("%v for %q", d, commands)
		}
	})
}
