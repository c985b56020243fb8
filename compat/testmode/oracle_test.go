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

// peer finds Debian's sendmail, which make peers unpacks: its binaries and the macros of sendmail-cf.
func peer(t testing.TB) (binaries, macros string) {
	t.Helper()
	dir := os.Getenv("PEERS")
	if dir == "" {
		dir, _ = filepath.Abs("../../run/peers")
	}
	binaries, macros = filepath.Join(dir, "sendmail/usr/libexec/sendmail"), filepath.Join(dir, "sendmail/usr/share/sendmail/cf")
	for _, f := range []string{filepath.Join(binaries, "sendmail"), filepath.Join(macros, "m4/cf.m4")} {
		if _, err := os.Stat(f); err != nil {
			t.Fatalf("Debian's sendmail is not here; run make peers (as root, with network): %v", err)
		}
	}
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root, for a network and a host name of its own: the real sendmail asks for its name, and would wait a minute for an answer")
	}
	return binaries, macros
}

// workDir makes a directory in which the real one takes files, with those that both need.
func workDir(t testing.TB) string {
	t.Helper()
	base, err := os.UserCacheDir() // below /tmp, sendmail would refuse the files
	if err != nil {
		base = "/root/.cache"
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(base, "waybill-oracle-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "switch", "hosts\tfiles\naliases\tfiles\n")
	writeFile(t, dir, "etc-hosts", hostsText)
	writeFile(t, dir, "etc-resolv", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
	writeFile(t, dir, "etc-nsswitch", "passwd: files\ngroup: files\nhosts: files\n")
	return dir
}

// writeFile writes a file that may name its directory.
func writeFile(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.NewReplacer("$DIR", dir, "@DIR@", dir).Replace(text)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestBesideSendmail runs the real sendmail 8.17 beside ours, over random commands for the rule files of the recordings
// and for configurations that its own macros make of testdata/mc, and compares every answer.
func TestBesideSendmail(t *testing.T) {
	binaries, macros := peer(t)
	dir := workDir(t)
	write := func(name, text string) { writeFile(t, dir, name, text) }
	files, _ := filepath.Glob("testdata/*.txtar")
	mcs, _ := filepath.Glob("testdata/mc/*")
	cases, wrong := 0, 0
	for n, file := range append(files, mcs...) {
		conf := "cf"
		switch filepath.Ext(file) {
		case ".txtar":
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range a.Files {
				if f.Name != "in" && f.Name != "out" {
					write(f.Name, string(f.Data))
				}
			}
		case ".mc":
			continue // below, when all their maps are there
		default:
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			write(filepath.Base(file), string(data))
			continue
		}
		c, w := beside(t, binaries, dir, conf, file, uint64(n))
		cases, wrong = cases+c, wrong+w
	}
	for n, file := range mcs {
		if filepath.Ext(file) != ".mc" {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		write(name, string(data))
		m4 := exec.Command("m4", "-D_CF_DIR_="+macros+"/", filepath.Join(macros, "m4/cf.m4"), filepath.Join(dir, name))
		text, err := m4.Output()
		if err != nil {
			t.Fatalf("m4 %s: %v", file, err)
		}
		write(name+".cf", string(text))
		makeMaps(t, binaries, string(text))
		c, w := beside(t, binaries, dir, name+".cf", file, uint64(100+n))
		cases, wrong = cases+c, wrong+w
	}
	t.Logf("%d of %d answers differ", wrong, cases)
	if wrong*1000 > cases { // 99.9 percent
		t.Errorf("%d of %d answers differ", wrong, cases)
	}
}

// makeMaps makes the hash and btree files that a configuration names, with sendmail's own makemap.
func makeMaps(t testing.TB, binaries, text string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^K\S+\s+(hash|btree)\s+(?:-\S+\s+)*(/\S+)$`).FindAllStringSubmatch(text, -1) {
		in, err := os.Open(m[2])
		if err != nil {
			continue // one of the machine's, which is not there for either
		}
		cmd := exec.Command(filepath.Join(binaries, "makemap"), "-C", "/dev/null", m[1], m[2])
		cmd.Stdin = in
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("makemap %s: %v %s", m[2], err, out)
		}
		in.Close()
	}
}

// beside asks both about one configuration and returns how many answers were compared, and how many differ.
func beside(t *testing.T, binaries, dir, conf, file string, seed uint64) (cases, wrong int) {
	t.Helper()
	path := filepath.Join(dir, conf)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	commands := randomCommands(string(text), rand.New(rand.NewPCG(seed, 17)), 400)
	input := marked(commands)
	want := answers(runReal(t, filepath.Join(binaries, "sendmail"), dir, path, input))
	var out bytes.Buffer
	Main([]string{"-bt", "-C", path}, strings.NewReader(input), &out, Config{Host: host, Resolver: nothing{}})
	got := answers(out.String())
	if len(want) < len(commands) || len(got) < len(want) {
		t.Fatalf("%s: the real one answered %d of %d commands, ours %d", file, len(want), len(commands), len(got))
	}
	for i, c := range commands {
		cases++
		if got[i] != want[i] {
			if wrong++; wrong <= 5 {
				t.Logf("%s: %q\n got  %q\n want %q", filepath.Base(file), c, got[i], want[i])
			}
		}
	}
	return cases, wrong
}

// hostsText is the hosts file for both.
const hostsText = "127.0.0.1\tlocalhost\n192.0.2.10\toracle.example.org oracle\n192.0.2.11\trelay.example.org relay\n"

// inside is a command of the shell in namespaces of its own: no network, the host's name and hosts file of the recordings.
func inside(ctx context.Context, dir, script string, args ...string) *exec.Cmd {
	script = "echo oracle.example.org >/proc/sys/kernel/hostname && mount --bind etc-hosts /etc/hosts && " +
		"mount --bind etc-resolv /etc/resolv.conf && mount --bind etc-nsswitch /etc/nsswitch.conf && " + script
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"-n", "-u", "-m", "--", "/bin/sh", "-c", script}, args...)...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TZ=UTC", "HOME=/nonexistent"}
	return cmd
}

// m4 makes a configuration of testdata/mc.
func m4(t testing.TB, binaries, macros, dir, name string) string {
	t.Helper()
	files, _ := filepath.Glob("testdata/mc/*")
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, dir, filepath.Base(f), string(data))
	}
	text, err := exec.Command("m4", "-D_CF_DIR_="+macros+"/", filepath.Join(macros, "m4/cf.m4"), filepath.Join(dir, name+".mc")).Output()
	if err != nil {
		t.Fatalf("m4 %s: %v", name, err)
	}
	writeFile(t, dir, name+".cf", string(text))
	makeMaps(t, binaries, string(text))
	return filepath.Join(dir, name+".cf")
}

// runReal runs the real one in namespaces of its own: no network, the host's name and hosts file of the recordings.
func runReal(t *testing.T, binary, dir, conf, input string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := inside(ctx, dir, `exec "$0" -bt -C "$1" 2>&1`, binary, conf)
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
