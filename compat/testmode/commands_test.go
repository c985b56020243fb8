package testmode

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRareCommands compares commands with what the real sendmail prints for them.
func TestRareCommands(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"help": "#vers\t2\nsmtp\tnot this\n-bt\tHelp for test mode:\n-bt\t$v?\n",
		"cf": "V10/Berkeley\nO OperatorChars=.:%@!^/[]+\nO HelpFile=" + filepath.Join(dir, "help") + "\nHSubject: $>Chk\nH*: $>All\n" +
			"SChk\nR$*\t$: checked $1\nSAll\nR$*\t$: all $1 $&{hdr_name} $&{currHeader} $&{hdrlen}\nS3\nR$+ @ $+\t$: $1 < @ $2 >\n" +
			"S0\nR$+ < @ $+ >\t$#smtp $@ $2 $: $1 < @ $2 >\nS4\nR$+ < @ $+ >\t$1 @ $2\nS5\nR$* x\t$: $1 y\nR$* y\t$@ $1 z\n" +
			"Mlocal, P=/x, F=l, A=x $u\nMsmtp, P=[IPC], F=u, A=TCP $h\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ in, want string }{
		{"/header Subject: foo (c)", "> Chk                input: foo\nChk              returns: checked foo\nul = 0x00058000\n> "},
		{"/header X-Other: z", "> All                input: z\nAll              returns: all z X-Other \" z\" 2\nul = 0x00040000\n> "},
		{"/header Received:", "> ul = 0x000400c0\n> "},
		{"/header bad", "> header syntax error, line \"bad\"\nul = 00000000\n> "},
		{"/expand $j", "> $j> "},
		{"/expand", "> Usage: /expand string\n> "},
		{"/dnslookup x y", "> Unknown \"/\" command /dnslookup\n> "},
		{"-", "> Usage: -d{debug arguments}\n> "},
		{"=S nosuch", "> Undefined ruleset  nosuch\n> "},
		{"?", "> Help for test mode:\n8.17.1.9?\nEnd of HELP info\n> "},
		{"/sender a@b\n$f", "> 3                  input: a @ b\n3                returns: a < @ b >\n0                  input: a < @ b >\n" +
			"0                returns: $# smtp $@ b $: a < @ b >\n2                  input: a < @ b >\n2                returns: a < @ b >\n" +
			"4                  input: a < @ b >\n4                returns: a @ b\n" +
			"3                  input: a @ b\n3                returns: a < @ b >\n1                  input: a < @ b >\n1                returns: a < @ b >\n" +
			"4                  input: a < @ b >\n4                returns: a @ b\naddr=a@b\n> a@b\n> "},
		{"-d21.12\n5 a x\n-d21.0\n5 q", "> > 5                  input: a x\n-----trying rule: $* x\n-----rule matches: $: $1 y\nrewritten as: a y\n" +
			"-----trying rule: $* y\n-----rule matches: $@ $1 z\nrewritten as: a z\n5                returns: a z\n> > " +
			"5                  input: q\n5                returns: q\n> "},
	} {
		var out bytes.Buffer
		Main([]string{"-bt", "-C", filepath.Join(dir, "cf")}, strings.NewReader(c.in+"\n"), &out, Config{Host: host, Trust: true})
		_, got, _ := strings.Cut(out.String(), "<address>\n")
		if got != c.want {
			t.Errorf("%q:\n got %q\nwant %q", c.in, got, c.want)
		}
	}
}
