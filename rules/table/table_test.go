package table

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"waybill/rules/prog"
)

func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, env Env, class string, args ...string) Table {
	t.Helper()
	tab, err := Open(&prog.Table{Name: "t", Class: class, Args: args, Pos: prog.Pos{File: "x.rules", Line: 3}}, env)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// ask returns "value", "-" for not found, or "error".
func ask(t testing.TB, tab Table, key string, args ...string) string {
	t.Helper()
	r, ok, err := tab.Lookup(context.Background(), key, args)
	switch {
	case err != nil && ok:
		return "error " + r.Value
	case err != nil:
		return "error"
	case !ok:
		return "-"
	}
	return r.Value
}

// SEMANTICS facts 34, 35, 37, 40.
func TestText(t *testing.T) {
	plain := "foo bar baz\nFOO second\n  led lead\nonly\n# c d\nkey  %0-%1-%2-%%-%z\nab c\n"
	semi := "k1;v1;w\n k3; v two \nempty;\nnone\n"
	for _, c := range []struct{ args, file, key, want string }{
		{"", plain, "foo", "foo"},
		{"-k0 -v1", plain, "foo", "bar"},
		{"-k 0 -v 2", plain, "Foo", "baz"},
		{"-k1 -v0", plain, "bar", "foo"},
		{"-k0 -v1", plain, "led", "led"},
		{"-k0 -v1", plain, "only", "-"},
		{"-k0 -v1", plain, "nosuch", "-"},
		{"-f -k0 -v1", plain, "fOO", "bar"},
		{"-k0 -v1 -a.SUF", plain, "foo", "bar.SUF"},
		{"-m -k0 -v1", plain, "FOO", "FOO"},
		{"-k0 -v1", plain, "key", "key-x--%-%z"},
		{"-z; -k0 -v1", semi, "k1", "v1"},
		{"-z; -k0 -v1", semi, " k3", " v two "},
		{"-z; -k0 -v1", semi, "empty", ""},
		{"-z; -k0 -v1", semi, "none", "-"},
	} {
		tab := open(t, Env{}, "text", append(strings.Fields(c.args), write(t, "f", c.file))...)
		if got := ask(t, tab, c.key, "x"); got != c.want {
			t.Errorf("%s: %q: got %q, want %q", c.args, c.key, got, c.want)
		}
	}
}

func TestTextOfOurLanguage(t *testing.T) {
	path := write(t, "f", "# comment\nexample.org   [10.0.0.1] more\n\nalone\n")
	tab := open(t, Env{Native: true}, "text", path)
	if got := ask(t, tab, "Example.ORG"); got != "[10.0.0.1] more" {
		t.Errorf("got %q", got)
	}
	if got := ask(t, tab, "alone"); got != "" {
		t.Errorf("got %q", got)
	}
	if got := ask(t, tab, "#"); got != "-" {
		t.Errorf("got %q", got)
	}
	r, _, _ := tab.Lookup(context.Background(), "example.org", nil)
	if r.Pos.Line != 2 || r.Pos.File != path {
		t.Errorf("position %v", r.Pos)
	}
}

func TestAliases(t *testing.T) {
	path := write(t, "aliases", "# all\nroot: joe,\n  # hm\n\tann\nPostmaster: root # x\n\"a:b\" : c\nlong: a,\\\nb\nroot: again\nempty:\nno colon here\nlast: \"|prog -x\", /file, :include:/l\nhm: joe,\n  # hm\n\tann\ncut: a,\n# not part of it\n b\n")
	tab := open(t, Env{}, "aliases", path)
	for key, want := range map[string]string{"root": "again", "hm": "joe, # hm ann", "cut": "a,", "postmaster": "root # x", "a:b": "c", "long": "a, b", "empty": "-", "last": `"|prog -x", /file, :include:/l`, "nosuch": "-"} {
		if got := ask(t, tab, key); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	r, _, _ := tab.Lookup(context.Background(), "LONG", nil)
	if r.Pos.Line != 7 {
		t.Errorf("line %d", r.Pos.Line)
	}
	var lines []string
	for _, w := range tab.(*file).Warnings() {
		lines = append(lines, fmt.Sprint(w.Pos.Line))
	}
	if got := strings.Join(lines, " "); got != "10 11 18 9" {
		t.Errorf("warnings at %s", got)
	}
}

func TestCIDR(t *testing.T) {
	tab := open(t, Env{}, "cidr", write(t, "f", "10.0.0.0/8 ten\n10.1.0.0/16 ten-one\n10.1.2.3 host\n2001:db8::/32 six\n0.0.0.0/0 any\nbad x\n"))
	for key, want := range map[string]string{"10.9.9.9": "ten", "10.1.9.9": "ten-one", "10.1.2.3": "host", "[10.1.2.3]": "host", "IPv6:2001:db8::1": "six",
		"2001:db9::1": "-", "192.0.2.1": "any", "::ffff:10.1.2.3": "host", "name": "-"} {
		if got := ask(t, tab, key); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
}

// SEMANTICS facts 41 to 43.
func TestSmallClasses(t *testing.T) {
	for _, c := range []struct {
		class, args, key string
		with             []string
		want             string
	}{
		{"arith", "", "+", []string{"1", "2"}, "3"},
		{"arith", "", "*", []string{"9223372036854775807", "2"}, "-2"},
		{"arith", "", "+", []string{"1000000000000000", "1"}, "100000000000000"},
		{"arith", "", "/", []string{"1", "0"}, "-"},
		{"arith", "", "l", []string{"1", "0x10"}, "TRUE"},
		{"arith", "", "=", []string{"08", "x"}, "TRUE"},
		{"arith", "", "?", []string{"1", "2"}, "-"},
		{"dequote", "", `"foo"`, nil, "foo"},
		{"dequote", "", `foo`, nil, "-"},
		{"dequote", "", `"a b"`, nil, "-"},
		{"dequote", "-s.", `"a b"`, nil, "a.b"},
		{"dequote", "", `"a<b"`, nil, "-"},
		{"dequote", "", `""`, nil, ""},
		{"null", "", "x", nil, "-"},
		{"regex", "-s1,2 ([a-z]+)=([0-9]+)", "ABC=12", nil, "ABC$|12"},
		{"regex", "-d+ -s2,1 ([a-z]+)=([0-9]+)", "abc=12", nil, "12+abc"},
		{"regex", "-d+ -s1,2 ([a-z]+)=([0-9]+)", "abc=12", []string{"2,1", "x"}, "12+abc"},
		{"regex", "-s1 ([a-z]+)=([0-9]+)", "abc=12", []string{"x"}, "abc=12"},
		{"regex", "-s1 ([a-z]+)=([0-9]+)", "abc=12", []string{"3"}, "error"},
		{"regex", "-s1 -a%1 (.*)=([0-9]+)", "a%0%2%%=12", []string{"1", "z"}, "aa%0%2%%=12z%%1"},
		{"regex", "^[a-z]+$", "abc", nil, ""},
		{"regex", "-a<M> ^[0-9]", "1x", nil, "<M>"},
		{"regex", "-n -a<N> ^[0-9]", "x", nil, "<N>"},
		{"regex", "-f ^[A-Z]", "abc", nil, "-"},
	} {
		tab := open(t, Env{}, c.class, strings.Fields(c.args)...)
		if got := ask(t, tab, c.key, c.with...); got != c.want {
			t.Errorf("%s %s: %q %v: got %q, want %q", c.class, c.args, c.key, c.with, got, c.want)
		}
	}
}

func TestReload(t *testing.T) {
	path := write(t, "f", "a 1\n")
	tab := open(t, Env{Native: true}, "text", path).(*file)
	if changed, err := tab.Reload(); changed || err != nil {
		t.Errorf("nothing changed: %v %v", changed, err)
	}
	if err := os.WriteFile(path, []byte("a 22\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if changed, err := tab.Reload(); !changed || err != nil || ask(t, tab, "a") != "22" {
		t.Errorf("%v %v %s", changed, err, ask(t, tab, "a"))
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if changed, err := tab.Reload(); changed || err == nil || ask(t, tab, "a") != "22" {
		t.Errorf("a vanished file: %v %v %s", changed, err, ask(t, tab, "a"))
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := tab.Reload(); err == nil || ask(t, tab, "a") != "22" {
		t.Errorf("a directory: %v", err)
	}
}

// SEMANTICS fact 39.
func TestMissingFile(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "nosuch", "gone")
	tab, err := Open(&prog.Table{Name: "t", Class: "text", Args: []string{gone}}, Env{})
	if err == nil || tab == nil {
		t.Fatalf("want a table and an error, got %v %v", tab, err)
	}
	_, _, err = tab.Lookup(context.Background(), "x", nil)
	if want := `text map "t": unsafe map file ` + gone + `: No such file or directory`; Said(err) != want || Status(err) != 75 {
		t.Errorf("said %q status %d", Said(err), Status(err))
	}
	if _, _, err = tab.Lookup(context.Background(), "x", nil); err == nil || Said(err) != "" {
		t.Errorf("second time: %v", err)
	}
	tab, _ = Open(&prog.Table{Name: "t", Class: "text", Args: []string{"-T<TMP>", gone}}, Env{})
	if got := ask(t, tab, "Key"); got != "error Key<TMP>" {
		t.Errorf("got %q", got)
	}
	if got := ask(t, open(t, Env{}, "text", "-o", gone), "x"); got != "-" {
		t.Errorf("optional: %q", got)
	}
	if _, err := Open(&prog.Table{Name: "t", Class: "nosuch"}, Env{}); !errors.Is(err, ErrClass) {
		t.Errorf("class: %v", err)
	}
}

type fakeDNS map[string][]Record

func (f fakeDNS) Query(_ context.Context, name, typ string) ([]Record, bool, error) {
	if strings.HasPrefix(name, "broken") {
		return nil, false, errors.New("SERVFAIL")
	}
	rs, ok := f[strings.ToLower(name)]
	var out []Record
	for _, r := range rs {
		if r.Type == typ || r.Type == "CNAME" {
			r.Name = name
			out = append(out, r)
		}
	}
	return out, ok, nil
}

func TestHost(t *testing.T) {
	env := Env{Resolver: fakeDNS{"www.x": {{Type: "CNAME", Value: "real.x."}}, "real.x": {{Type: "A", Value: "192.0.2.1"}}, "mx.x": {{Type: "MX", Value: "10 real.x"}}, "none.x": nil}}
	env.Native = true
	tab := open(t, env, "host")
	for key, want := range map[string]string{"www.x": "real.x.", "mx.x": "mx.x.", "none.x": "-", "nosuch": "-", "broken.x": "error"} {
		if got := ask(t, tab, key); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	env.Native = false // one that a K line declares adds only what -a says
	if got := ask(t, open(t, env, "host"), "www.x"); got != "real.x" {
		t.Errorf("K line: %q", got)
	}
	if got := ask(t, open(t, env, "host", "-a."), "www.x"); got != "real.x." {
		t.Errorf("K line with -a: %q", got)
	}
	if got := ask(t, open(t, env, "dns", "-R", "MX"), "mx.x"); got != "real.x" { // sendmail leaves the preference out
		t.Errorf("dns: %q", got)
	}
}

func TestMemoryOfAMillionEntries(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	const n = 1_000_000
	path := filepath.Join(t.TempDir(), "big")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		fmt.Fprintf(out, "user%07d@customers.example.net\tmailbox%07d\n", i, i)
	}
	out.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tab := open(t, Env{Native: true}, "text", path)
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(after.HeapAlloc-before.HeapAlloc) / n
	t.Logf("%.0f octets an entry", each)
	if each > 200 {
		t.Errorf("%.0f octets an entry", each)
	}
	if got := ask(t, tab, "user0765432@customers.example.net"); got != "mailbox0765432" {
		t.Errorf("got %q", got)
	}
}

func TestReadClass(t *testing.T) {
	path := write(t, "f", "# x\nexample.org\n  b.example rest\nc # d\n\n")
	words, err := ReadClass(prog.ClassFile{Path: path})
	if got := strings.Join(words, " "); got != "example.org b.example c" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	if _, err := ReadClass(prog.ClassFile{Path: path + "x"}); err == nil {
		t.Error("a missing file is no error")
	}
	if _, err := ReadClass(prog.ClassFile{Path: path + "x", Optional: true}); err != nil {
		t.Error(err)
	}
}

func FuzzAliases(f *testing.F) {
	f.Add("root: joe\n ann\n\"a\" : b\\\n")
	f.Add(": x\n y\n\\\n:\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, _, err := loadAliases(strings.NewReader(text), "f")
		if err != nil {
			return
		}
		e := c.(*entries)
		n := 0
		e.store.each(func(key, value string) bool {
			n++
			if _, ok := e.lookup(key, nil); !ok {
				t.Errorf("%q is not found", key)
			}
			if key == "" || value == "" {
				t.Errorf("entry %q: %q", key, value)
			}
			return true
		})
		if n < e.store.n {
			t.Errorf("%d entries, %d in the index", n, e.store.n)
		}
	})
}

func FuzzColumns(f *testing.F) {
	f.Add("a b c\n d e", 1, ";")
	f.Fuzz(func(t *testing.T, text string, col int, delim string) {
		for _, line := range strings.Split(text, "\n") {
			cutColumn([]byte(line), col&7, delim)
		}
		foldBytes([]byte(text))
		Unquote(text)
		number(text)
	})
}
