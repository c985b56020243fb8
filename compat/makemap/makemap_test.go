package makemap_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"waybill/compat/makemap"
	"waybill/rules/table"
)

// env gives the formats of package table.
func env(in string, out, errs io.Writer) makemap.Env {
	format := func(suffix string, read func([]byte) ([]table.Entry, error), write func(io.Writer, []table.Entry, bool) error) makemap.Format {
		return makemap.Format{Suffix: suffix, Read: func(data []byte) (all []makemap.Entry, err error) {
			list, err := read(data)
			for _, e := range list {
				all = append(all, makemap.Entry(e))
			}
			return all, err
		}, Write: func(w io.Writer, all []makemap.Entry, dup bool) error {
			var list []table.Entry
			for _, e := range all {
				list = append(list, table.Entry(e))
			}
			return write(w, list, dup)
		}}
	}
	return makemap.Env{In: strings.NewReader(in), Out: out, Err: errs,
		Trusted: func(c string) (string, error) {
			if c == "" {
				return "", nil
			}
			_, err := os.Stat(c)
			return "", err
		},
		Formats: map[string]makemap.Format{
			"hash": format(".db", table.ReadDB, table.WriteHash), "btree": format(".db", table.ReadDB, table.WriteBtree),
			"cdb": format(".cdb", table.ReadCDB, func(w io.Writer, all []table.Entry, _ bool) error { return table.WriteCDB(w, all) }),
		}}
}

var here, _ = os.Getwd() // the tests go elsewhere

// peers are Debian's makemap and editmap, which make peers unpacks.
func peers(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("PEERS")
	if dir == "" {
		dir = filepath.Join(here, "../../run/peers")
	}
	dir = filepath.Join(dir, "sendmail/usr/libexec/sendmail")
	if _, err := os.Stat(filepath.Join(dir, "makemap")); err != nil {
		t.Fatalf("Debian's makemap is not here; run make peers (as root, with network): %v", err)
	}
	return dir
}

// place is a directory that sendmail's programs trust: not below /tmp.
func place(t *testing.T) string {
	t.Helper()
	base, err := os.UserCacheDir()
	if err != nil {
		base = "/root/.cache"
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(base, "waybill-maps-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// call runs a command and returns what it printed, with its exit status behind it.
func call(in string, run func(args []string, e makemap.Env) int, args ...string) string {
	var out bytes.Buffer
	return fmt.Sprintf("%[2]s(%[1]d)", run(args, env(in, &out, &out)), &out)
}

func callPeer(t *testing.T, in, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(peers(t), program), append([]string{"-C", "/dev/null"}, args...)...)
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.CombinedOutput()
	code := 0
	if err != nil {
		exit, ok := err.(*exec.ExitError)
		if !ok {
			t.Fatal(err)
		}
		code = exit.ExitCode()
	}
	return fmt.Sprintf("%s(%d)", out, code)
}

// sorted sorts lines: a hash has no order.
func sorted(s string) string {
	lines := strings.SplitAfter(s, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "")
}

var input = "# c\nFoo\tbar\nfoo dup\n\n  lead v\nnoval\nempty\t\nQux  two  words  \nx%%y 100%%\n\"q r\" z\na\\#b v # c\nlong " + longValue + "\n"

var longValue = strings.Repeat("0123456789", 100)

// TestBesideMakemap runs each call with Debian's program and with ours; what they print must be the same, and so must
// what is in the file, read by either.
func TestBesideMakemap(t *testing.T) {
	for _, kind := range []string{"hash", "btree"} {
		for _, c := range [][]string{{}, {"-f", "-e"}, {"-v"}, {"-r"}, {"-N"}, {"-t", ":"}, {"-D", "F"}, {"-d"}, {"-f", "-v", "-e", "-r"}} {
			t.Run(kind+strings.Join(c, ""), func(t *testing.T) {
				dir := place(t)
				t.Chdir(dir)
				want := callPeer(t, input, "makemap", append(slices.Clone(c), kind, "real")...)
				got := call(input, makemap.Makemap, append(slices.Clone(c), kind, "ours")...)
				if want = strings.ReplaceAll(want, "real", "ours"); got != want {
					t.Errorf("makemap %v:\n got %q\nwant %q", c, got, want)
				}
				dump := sorted(callPeer(t, "", "makemap", "-u", kind, "real"))
				for _, file := range []string{"ours", "real"} {
					if got := sorted(call("", makemap.Makemap, "-u", kind, file)); got != dump {
						t.Errorf("ours reads %s:\n got %.200q\nwant %.200q", file, got, dump)
					}
				}
				if got := sorted(callPeer(t, "", "makemap", "-u", kind, "ours")); got != dump {
					t.Errorf("the real one reads ours:\n got %.200q\nwant %.200q", got, dump)
				}
				for _, key := range []string{"foo", "FOO", "qux", "nosuch", "long"} { // by the hash function or the order of keys
					for _, args := range [][]string{{"-q", kind, "ours", key}, {"-f", "-q", kind, "ours", key}, {"-N", "-q", kind, "ours", key}} {
						if got, want := call("", makemap.Editmap, args...), callPeer(t, "", "editmap", args...); got != want {
							t.Errorf("editmap %v:\n got %.100q\nwant %.100q", args, got, want)
						}
					}
				}
			})
		}
	}
}

// TestEditsBesideEditmap lets both programs change files that the other made.
func TestEditsBesideEditmap(t *testing.T) {
	for _, kind := range []string{"hash", "btree"} {
		t.Chdir(place(t))
		var lines strings.Builder
		want := map[string]string{}
		for i := range 3000 {
			fmt.Fprintf(&lines, "key%d\tvalue %d\n", i, i)
			want[fmt.Sprintf("key%d", i)] = fmt.Sprintf("value %d", i)
		}
		if got := call(lines.String(), makemap.Makemap, kind, "m"); got != "(0)" {
			t.Fatal(got)
		}
		for i := range 40 { // the real one changes ours, ours changes what came out, in turns
			k, n := fmt.Sprintf("key%d", i*71), fmt.Sprintf("new%d", i)
			steps := [][]string{{"-u", kind, "m", k, n}, {"-x", kind, "m", fmt.Sprintf("key%d", i*71+1)}, {"-u", kind, "m", n, strings.Repeat("x", i*300+1)}}
			for j, args := range steps {
				out := ""
				if (i+j)%2 == 0 {
					out = callPeer(t, "", "editmap", args...)
				} else {
					out = call("", makemap.Editmap, args...)
				}
				if out != "(0)" {
					t.Fatalf("%v: %s", args, out)
				}
			}
			want[k], want[n] = n, strings.Repeat("x", i*300+1)
			delete(want, fmt.Sprintf("key%d", i*71+1))
		}
		var all []string
		for k, v := range maps.All(want) {
			all = append(all, k+"\t"+v+"\n")
		}
		slices.Sort(all)
		text := strings.Join(all, "")
		if got := sorted(callPeer(t, "", "makemap", "-u", kind, "m")); got != "(0)"+text && got != text+"(0)" {
			t.Errorf("%s: the real one reads other entries (%d octets, want %d)", kind, len(got), len(text))
		}
		if got := sorted(call("", makemap.Makemap, "-u", kind, "m")); got != "(0)"+text && got != text+"(0)" {
			t.Errorf("%s: ours reads other entries (%d octets, want %d)", kind, len(got), len(text))
		}
	}
}

// TestManyValuesOfAKey writes keys with more values than a page holds, which then stand on pages of their own; the real
// programs read ours, find the first value, and change and extend the file.
func TestManyValuesOfAKey(t *testing.T) {
	for _, kind := range []string{"hash", "btree"} {
		t.Chdir(place(t))
		var lines strings.Builder
		for key, n := range map[string]int{"few": 3, "some": 60, "many": 5000} {
			for i := range n {
				fmt.Fprintf(&lines, "%s	%s value %d\n", key, key, i)
			}
		}
		lines.WriteString("one\tonly\nzz\t" + longValue + "\nzz\tshort\n")
		for i := range 3000 {
			fmt.Fprintf(&lines, "key%d\tv\n", i)
		}
		for _, make := range []string{callPeer(t, lines.String(), "makemap", "-d", kind, "real"), call(lines.String(), makemap.Makemap, "-d", kind, "ours")} {
			if make != "(0)" {
				t.Fatal(kind, make)
			}
		}
		values := func(dump, key string) (list []string) {
			for line := range strings.Lines(dump) {
				if strings.HasPrefix(line, key+"\t") {
					list = append(list, line)
				}
			}
			return list
		}
		real := callPeer(t, "", "makemap", "-u", kind, "real")
		for what, dump := range map[string]string{
			"the real one reads ours": callPeer(t, "", "makemap", "-u", kind, "ours"), "ours reads ours": call("", makemap.Makemap, "-u", kind, "ours"),
			"ours reads the real one": call("", makemap.Makemap, "-u", kind, "real"),
		} {
			if sorted(dump) != sorted(real) {
				t.Errorf("%s: %s: other entries", kind, what)
			}
			for _, key := range []string{"few", "some", "many", "zz"} {
				if !slices.Equal(values(dump, key), values(real, key)) {
					t.Errorf("%s: %s: the values of %s have another order", kind, what, key)
				}
			}
		}
		for _, key := range []string{"few", "some", "many", "one", "zz", "key2999"} {
			if got, want := callPeer(t, "", "editmap", "-q", kind, "ours", key), callPeer(t, "", "editmap", "-q", kind, "real", key); got != want {
				t.Errorf("%s: %s is %.60q, want %.60q", kind, key, got, want)
			}
		}
		if out := callPeer(t, "many\tlast\nnew\tx\n", "makemap", "-d", "-o", kind, "ours"); out != "(0)" {
			t.Errorf("%s: the real one cannot add to ours: %s", kind, out)
		}
		if list := values(call("", makemap.Makemap, "-u", kind, "ours"), "many"); len(list) != 5001 || list[5000] != "many\tlast\n" {
			t.Errorf("%s: %d values", kind, len(list))
		}
	}
}

// TestManyKeys writes 200,000 keys, which the real one and ours find.
func TestManyKeys(t *testing.T) {
	for _, kind := range []string{"hash", "btree", "cdb"} {
		t.Chdir(place(t))
		var lines strings.Builder
		for i := range 200_000 {
			fmt.Fprintf(&lines, "user%d@domain%d.example\tvalue of %d\n", i, i%977, i)
		}
		if got := call(lines.String(), makemap.Makemap, kind, "m"); got != "(0)" {
			t.Fatal(got)
		}
		if got := sorted(call("", makemap.Makemap, "-u", kind, "m")); got != sorted(lines.String()+"(0)") {
			t.Errorf("%s: ours reads other entries", kind)
		}
		if kind == "cdb" {
			continue
		}
		if got := sorted(callPeer(t, "", "makemap", "-u", kind, "m")); got != sorted(lines.String()+"(0)") {
			t.Errorf("%s: the real one reads other entries", kind)
		}
		if out := callPeer(t, lines.String(), "makemap", kind, "theirs"); out != "(0)" {
			t.Fatal(out)
		}
		if got := sorted(call("", makemap.Makemap, "-u", kind, "theirs")); got != sorted(lines.String()+"(0)") {
			t.Errorf("%s: ours reads other entries from theirs", kind)
		}
		for i := 0; i < 200_000; i += 9973 {
			key := fmt.Sprintf("user%d@domain%d.example", i, i%977)
			if got, want := callPeer(t, "", "editmap", "-q", kind, "m", key), fmt.Sprintf("value of %d\n(0)", i); got != want {
				t.Errorf("%s: %s: the real one finds %q, want %q", kind, key, got, want)
			}
		}
	}
}

func TestUsage(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range []struct {
		run  func([]string, makemap.Env) int
		args string
		want string
	}{
		{makemap.Makemap, "", "(64)"}, {makemap.Makemap, "hash", "(64)"}, {makemap.Makemap, "-Z hash m", "(64)"}, {makemap.Makemap, "-l", "btree\ncdb\nhash\n(0)"},
		{makemap.Makemap, "foo m", "makemap: error opening type foo map m: Unknown database type\n(73)"},
		{makemap.Makemap, "-C /nonexistent hash m", "makemap: /nonexistent: No such file or directory\n(66)"},
		{makemap.Makemap, "hash nodir/m", "makemap: error opening type hash map nodir/m: No such file or directory\n(73)"},
		{makemap.Makemap, "-u hash m", "makemap: error opening type hash map m: No such file or directory\n(73)"},
		{makemap.Editmap, "hash m k", "(64)"}, {makemap.Editmap, "-q -x hash m k", "(64)"}, {makemap.Editmap, "-u hash m k", "(64)"},
		{makemap.Editmap, "-q hash m k", "editmap: error opening type hash map m: No such file or directory\n(73)"},
	} {
		if got := call("", c.run, strings.Fields(c.args)...); !strings.HasSuffix(got, c.want) {
			t.Errorf("%s: %q, want %q", c.args, got, c.want)
		}
	}
	for _, step := range []struct {
		in, args, want string
	}{
		{"a 1\nb 2\n", "cdb m", "(0)"}, {"b 3\nc 4\n", "-o -r cdb m", "(0)"}, {"", "-u cdb m", "a\t1\nb\t3\nc\t4\n(0)"}, {"b 9\n", "-o cdb m", "makemap: m: line 1: key b: duplicate key\n(65)"},
	} {
		if got := call(step.in, makemap.Makemap, strings.Fields(step.args)...); got != step.want {
			t.Errorf("%s: %q, want %q", step.args, got, step.want)
		}
	}
	if got := call("", makemap.Editmap, "-u", "cdb", "m", "A", "new", "value"); got != "(0)" {
		t.Error(got)
	}
	if got := call("", makemap.Editmap, "-q", "cdb", "m", "a"); got != "new value\n(0)" {
		t.Error(got)
	}
}
