//go:build oracle

package testmode

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestBesideSendmail runs the real sendmail 8.17 beside ours, over random commands for the rule files of the
// recordings, and compares every answer. It needs root (for namespaces: the real one asks for its host name and would
// wait a minute for an answer), and in WAYBILL_SENDMAIL the path of Debian's binary; WAYBILL_SENDMAIL_LIB is where its
// libraries are, when the package was only unpacked. Run it with: go test -tags oracle ./compat/testmode
func TestBesideSendmail(t *testing.T) {
	real := os.Getenv("WAYBILL_SENDMAIL")
	if real == "" {
		t.Fatal("WAYBILL_SENDMAIL does not name sendmail's binary (Debian: unpack sendmail-bin, usr/libexec/sendmail/sendmail)")
	}
	base, err := os.UserCacheDir() // below /tmp, sendmail would refuse the files
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(base, "waybill-oracle-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob("testdata/*.txtar")
	cases, wrong := 0, 0
	for n, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range a.Files {
			if f.Name != "in" && f.Name != "out" {
				text := strings.ReplaceAll(string(f.Data), "$DIR", dir)
				if err := os.WriteFile(filepath.Join(dir, f.Name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		cf, err := os.ReadFile(filepath.Join(dir, "cf"))
		if err != nil {
			t.Fatal(err)
		}
		commands := randomCommands(string(cf), rand.New(rand.NewPCG(uint64(n), 17)), 400)
		input := marked(commands)
		want := answers(runReal(t, real, dir, input))
		var out bytes.Buffer
		Main([]string{"-bt", "-C", filepath.Join(dir, "cf")}, strings.NewReader(input), &out, Config{Trust: true, Host: host, Resolver: nothing{}})
		got := answers(out.String())
		if len(want) < len(commands) {
			t.Fatalf("%s: the real one answered %d of %d commands", file, len(want), len(commands))
		}
		for i, c := range commands {
			cases++
			if got[i] != want[i] {
				if wrong++; wrong <= 10 {
					t.Logf("%s: %q\n got  %q\n want %q", filepath.Base(file), c, got[i], want[i])
				}
			}
		}
	}
	t.Logf("%d of %d answers differ", wrong, cases)
	if wrong*1000 > cases { // 99.9 percent
		t.Errorf("%d of %d answers differ", wrong, cases)
	}
}

// runReal runs the real one in namespaces of its own: no network, the host's name and hosts file of the recordings.
func runReal(t *testing.T, binary, dir, input string) string {
	t.Helper()
	hosts := "127.0.0.1\tlocalhost\n192.0.2.10\toracle.example.org oracle\n192.0.2.11\trelay.example.org relay\n"
	for name, text := range map[string]string{"etc-hosts": hosts, "etc-resolv": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n", "etc-nsswitch": "passwd: files\ngroup: files\nhosts: files\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script := "echo oracle.example.org >/proc/sys/kernel/hostname && mount --bind etc-hosts /etc/hosts && " +
		"mount --bind etc-resolv /etc/resolv.conf && mount --bind etc-nsswitch /etc/nsswitch.conf && exec \"$0\" -bt -C \"$1\" 2>&1"
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "-n", "-u", "-m", "--", "/bin/sh", "-c", script, binary, filepath.Join(dir, "cf"))
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TZ=UTC", "HOME=/nonexistent"}
	if lib := os.Getenv("WAYBILL_SENDMAIL_LIB"); lib != "" {
		cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+lib)
	}
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.Output()
	if len(out) == 0 {
		t.Fatalf("the real one says nothing: %v", err)
	}
	return string(out)
}

// marked puts a line in front of each command that makes the answer findable.
func marked(commands []string) string {
	var b strings.Builder
	for i, c := range commands {
		fmt.Fprintf(&b, ".D{zzcase}@@CASE %d@@\n${zzcase}\n%s\n", i, c)
	}
	return b.String() + ".D{zzcase}@@CASE END@@\n${zzcase}\n"
}

var (
	caseMark = regexp.MustCompile(`@@CASE (\d+|END)@@\n`)
	prompts  = regexp.MustCompile(`(?m)^(?:> )+`)
)

// answers cuts a transcript at the marks.
func answers(transcript string) []string {
	parts := caseMark.Split(transcript, -1)
	if len(parts) < 2 {
		return nil
	}
	var out []string
	for _, p := range parts[1:] {
		out = append(out, strings.TrimRight(prompts.ReplaceAllString(p, ""), "\n"))
	}
	return out
}

// randomCommands makes commands for the rulesets of a file out of pieces of addresses.
func randomCommands(cf string, r *rand.Rand, n int) []string {
	rulesets := []string{"3", "0", "3,0"}
	for line := range strings.Lines(cf) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "S"); ok && name != "" && !strings.ContainsAny(name, " =*!-") && name[0] > '9' {
			rulesets = append(rulesets, name)
		}
	}
	pieces := strings.Fields(`a b x y z joe Joe host.x a.b.c example.org localhost mini "a b" "q" \a \! <a> < > @ @ . . : ; ! % + [1.2.3.4] ( ) (c) $| | / foo one two three user relay ` + "\xe9 \xc3\xbc")
	glue := []string{"", "", " ", "@", ".", "<", ">", "!"}
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	var out []string
	for range n {
		var b strings.Builder
		for i := range 1 + r.IntN(7) {
			if i > 0 {
				b.WriteString(pick(glue))
			}
			b.WriteString(pick(pieces))
		}
		// What sendmail takes for the address in a text without sense is not compared: here they are addresses.
		address := fmt.Sprintf(pick([]string{"%s", "%s", "<%s>", "%s (c)", "Joe <%s>", "\"Doe, Joe\" <%s> (c)", "group: %s;", "@a,@b:%s", "(c) %s"}),
			pick([]string{"joe", "a!b", "\"a b\"", "joe@host.x", "joe%a@b", "a::b", "joe@[1.2.3.4]", "\\joe", "/file", "|prog", ":include:/f", "\xe9@x"}))
		switch r.IntN(12) {
		case 0:
			out = append(out, "/parse "+address)
		case 1:
			out = append(out, "/try "+pick([]string{"smtp", "local", "prog", "nosuch"})+" "+address)
		case 2:
			out = append(out, "/tryflags "+pick([]string{"ES", "ER", "HS", "HR"}))
		default:
			out = append(out, pick(rulesets)+" "+b.String())
		}
	}
	return out
}
