package table

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill/rules/prog"
)

// unpacked returns a file that Debian's makemap wrote: "keyNNN" for 400 numbers, one value of 900 octets, and one key
// that had a capital letter. hashN was made with -N.
func unpacked(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".db.gz"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	data, err = io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestBerkeleyDB(t *testing.T) {
	for _, name := range []string{"hash", "btree", "hashN"} {
		path := filepath.Join(t.TempDir(), "map.db")
		if err := os.WriteFile(path, unpacked(t, name), 0o644); err != nil {
			t.Fatal(err)
		}
		class := strings.TrimSuffix(name, "N")
		tab := open(t, Env{}, class, strings.TrimSuffix(path, ".db"))
		for i := range 400 {
			if got, want := ask(t, tab, fmt.Sprintf("key%03d", i)), fmt.Sprintf("value %d of the table", i); got != want {
				t.Fatalf("%s: key%03d: got %q", name, i, got)
			}
		}
		for key, want := range map[string]string{"long": strings.Repeat("x", 900), "UPPER": "folded", "nosuch": "-", "key": "-"} {
			if got := ask(t, tab, key); got != want {
				t.Errorf("%s: %s: got %q", name, key, got)
			}
		}
		for flag, want := range map[string]string{"-N": "-", "-O": "value 7 of the table"} {
			if name == "hashN" {
				want = map[string]string{"-N": "value 7 of the table", "-O": "-"}[flag]
			}
			if got := ask(t, open(t, Env{}, class, flag, path), "key007"); got != want {
				t.Errorf("%s %s: got %q, want %q", name, flag, got, want)
			}
		}
		if got := ask(t, open(t, Env{}, class, "-f", path), "UPPER"); got != "-" {
			t.Errorf("%s -f: got %q", name, got)
		}
	}
}

// A damaged file is an error, never a crash and never an endless loop.
func TestDamagedDB(t *testing.T) {
	for _, name := range []string{"hash", "btree"} {
		whole := unpacked(t, name)
		for _, n := range []int{0, 10, 511, 512, 4096, 8192, len(whole) - 1} {
			if _, _, err := (&flags{}).loadDB(bytes.NewReader(whole[:n]), name); err == nil {
				t.Errorf("%s cut to %d octets passes", name, n)
			}
		}
		loop := bytes.Clone(whole)
		for p := 4096; p < len(loop); p += 4096 { // every page is followed by itself
			binary.LittleEndian.PutUint32(loop[p+16:], uint32(p/4096))
		}
		if _, _, err := (&flags{}).loadDB(bytes.NewReader(loop), name); err == nil && name == "btree" {
			t.Errorf("%s with loops passes", name)
		}
	}
}

func FuzzDB(f *testing.F) {
	f.Add(unpacked(f, "hash")[:12288])
	f.Add(unpacked(f, "btree")[:12288])
	f.Fuzz(func(t *testing.T, data []byte) {
		c, _, err := (&flags{}).loadDB(bytes.NewReader(data), "f")
		if err == nil {
			c.lookup("key001", nil)
		}
	})
}

// Expressions, texts, and the results of regcomp and regexec of Debian's C library for them; only the back-reference
// would pass there.
func TestPosix(t *testing.T) {
	for _, c := range []struct {
		re, text string
		basic    bool
		want     string // the match and its groups, separated by "/"; "-" for none; else the error
	}{
		{`a|ab|abc`, "abcd", false, "abc"},
		{`(a|ab)(c|bcd)`, "abcd", false, "abcd/a/bcd"},
		{`^([a-z]+)-([a-z]+)@([a-z]+)`, "ab-cd@ef", false, "ab-cd@ef/ab/cd/ef"},
		{`a\(b\)c`, "a(b)c", false, "a(b)c"},
		{`a\(b\)c`, "abc", true, "abc/b"},
		{`a*b`, "AAAB", false, "AAAB"},
		{`*a`, "*a", true, "*a"},
		{`a\{2,3\}`, "aaaa", true, "aaa"},
		{`a{2}`, "aaaa", false, "aa"},
		{`a{,2}b`, "aab", false, "aab"},
		{`a+?`, "aaa", false, "aaa"},
		{`a**`, "aaa", false, "aaa"},
		{`[]a]+`, "a]b", false, "a]"},
		{`[^]a]+`, "xa", false, "x"},
		{`[a\]+`, `a\b`, false, `a\`},
		{`[[:digit:].-]+`, "1.2-3x", false, "1.2-3"},
		{`[[.a.]-c]+`, "abcd", false, "abc"},
		{`\<b\w+`, "a bcd", false, "bcd"},
		{`a.c`, "a\nc", false, "a\nc"},
		{`x^y`, "x^y", true, "x^y"},
		{`a$b`, "a$b", true, "a$b"},
		{`([unclosed`, "", false, "Unmatched [, [^, [:, [., or [="},
		{`(a`, "", false, `Unmatched ( or \(`},
		{`a\`, "", false, "Trailing backslash"},
		{`+a`, "", false, "Invalid preceding regular expression"},
		{`a{1`, "", false, `Unmatched \{`},
		{`[z-a]`, "", false, "Invalid range end"},
		{`[[:foo:]]`, "", false, "Invalid character class name"},
		{`(a)\1`, "", false, errBackref.Error()},
	} {
		re, err := compilePosix(c.re, c.basic, true)
		got := ""
		if err != nil {
			got = err.Error()
		} else if m := re.FindStringSubmatch(c.text); m == nil {
			got = "-"
		} else {
			got = strings.Join(m, "/")
		}
		if got != c.want {
			t.Errorf("%s on %q: got %q, want %q", c.re, c.text, got, c.want)
		}
	}
}

func FuzzPosix(f *testing.F) {
	f.Add(`^([a-z]+)-(\w*|[^]x[:digit:]]{1,3})$`, false, "a-b")
	f.Add(`a\(b\|c\)\{2,\}*`, true, "abcb")
	f.Fuzz(func(t *testing.T, text string, basic bool, in string) {
		if len(text) > 200 {
			return
		}
		if re, err := compilePosix(text, basic, true); err == nil {
			re.MatchString(in)
		}
	})
}

func TestCheck(t *testing.T) {
	known := func(n string) bool { return n == "a" }
	for _, c := range []struct {
		class  string
		args   string
		say    string
		broken bool
	}{
		{"text", "-k0", "No file name for text map m", true},
		{"text", "-Y /x", "Illegal option Y map m", false},
		{"sequence", "a b", "Sequence map m: unknown member map b", false},
		{"regex", "(", `pattern-compile-error: Unmatched ( or \(`, true},
		{"regex", "a", "", false},
		{"macro", "", "", false},
	} {
		say, broken := Check(&prog.Table{Name: "m", Class: c.class, Args: strings.Fields(c.args)}, known)
		if say != c.say || broken != c.broken {
			t.Errorf("%s %s: got %q %v", c.class, c.args, say, broken)
		}
	}
}
