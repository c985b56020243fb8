package app

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill/compat/flags"
	"waybill/rules/table"
	"waybill/transport/sysexits"
)

// TestAliasDatabase: with a sendmail.cf, -bi writes the database that sendmail writes; who names the file without a class gets
// keys and values with NUL octets.
func TestAliasDatabase(t *testing.T) {
	const text = "root: alice\nList: bob,\n\tcarol@x.example\nroot: dave\n"
	for spec, want := range map[string]string{
		"":          "@\x00=@\x00 root\x00=dave\x00 list\x00=bob,\tcarol@x.example\x00",
		"hash:":     "@=@ root=dave list=bob,\tcarol@x.example",
		"btree:":    "@=@ list=bob,\tcarol@x.example root=dave",
		"hash:-N ":  "@\x00=@\x00 root\x00=dave\x00 list\x00=bob,\tcarol@x.example\x00",
		"implicit:": "@=@ root=dave list=bob,\tcarol@x.example",
		"text:":     "",
	} {
		dir := t.TempDir()
		conf, aliases := filepath.Join(dir, "x.cf"), filepath.Join(dir, "aliases")
		cf := "V10/Berkeley\nO OperatorChars=.:%@!^/[]+\nO DontBlameSendmail=MapInUnsafeDirPath,LinkedAliasFileInWritableDir,GroupWritableDirPathSafe,WorldWritableAliasFile\nO AliasFile=" + spec + aliases + "\n" +
			"Mlocal, P=/bin/true, F=lsA5, A=true\nMprog, P=/bin/sh, A=sh -c $u\nS3\nS0\nR$+\t$#local $: $1\n"
		for file, text := range map[string]string{conf: cf, aliases: text} {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		if exit := initAliases(stdio{strings.NewReader(""), &out, &out}, &flags.Invocation{ConfigFile: conf}); exit != sysexits.OK {
			t.Errorf("%q: exit %d\n%s", spec, exit, &out)
		}
		data, err := os.ReadFile(aliases + ".db")
		if want == "" {
			if err == nil {
				t.Errorf("%q: there is a database", spec)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v\n%s", spec, err, &out)
			continue
		}
		all, err := table.ReadDB(data)
		var got []string
		for _, e := range all {
			got = append(got, string(e.Key)+"="+string(e.Value))
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q %v, want %q", spec, strings.Join(got, " "), err, want)
		}
		if st, err := os.Stat(aliases + ".db"); err != nil || st.Mode().Perm() != 0o640 {
			t.Errorf("%q: %v %v", spec, st, err)
		}
	}
}
