package uucp

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"waybill/transport"
	"waybill/transport/envelope"
)

var hostile = []string{
	"bob", "two words", "  leading and trailing  ", `"quoted string"@x`, `a"b`, "a'b", "-rf", "--help", "-oQ/tmp/x", "..", "../../etc/passwd", "/etc/passwd", "a;b", "a|b", "a&b", "$HOME", "$(id)", "`id`",
	"*", "?", "[a]", "{a,b}", "~root", "!", "a!b!c", "a%b@c", "a@b@c", "<x>", "(x)", "#x", "%s%n", `\`, `\040`, `a\\b`, "x=y", "\xe4\xf6\xfc", "ü@ö.example", "\x80\xff", "日本語", "a,b", "a:b", "^x", "=x", "+x", "@x",
	strings.Repeat("site!", 60) + "user", strings.Repeat("long", 75), "a b -c", ">x", "<x", ">>/tmp/x", "2>&1", "x\\", "'", `"`, `""`, "''",
}

func message(r *rand.Rand, id string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Subject: %s\n\n%s\nFrom here\n>From there\n.\n..\n\x00\x01\x7f\x80\xff bare \r CR\n", id, id)
	for range r.IntN(50) {
		line := make([]byte, r.IntN(300))
		for i := range line {
			if line[i] = byte(r.Uint32()); line[i] == '\n' {
				line[i] = ' '
			}
		}
		b.Write(line)
		b.WriteByte('\n')
	}
	if r.IntN(10) == 0 {
		b.WriteString(strings.Repeat("0123456789", 30_000) + "\n")
	}
	return b.Bytes()
}

// Two hundred messages each way, all of them once, octet by octet.
func TestTaylor(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	const each = 200
	type sent struct {
		recipients []string
		sender     string
		message    []byte
	}
	expected := map[string]map[string]sent{"alpha": {}, "beta": {}}
	var lock sync.Mutex
	var all sync.WaitGroup
	for site, other := range map[string]string{"alpha": "beta", "beta": "alpha"} {
		u := l.transport(site, nil)
		for i := range each {
			all.Go(func() {
				r := rand.New(rand.NewPCG(uint64(i), 1))
				id := fmt.Sprintf("%s%04d", site, i)
				var users, want []string
				for k := range 1 + r.IntN(3) {
					name := hostile[(i+k*17)%len(hostile)]
					users = append(users, name)
					if name[0] == '-' || name[0] == '~' {
						name = other + "!" + name
					}
					want = append(want, strconv.Quote(name))
				}
				sort.Strings(want)
				req := request(users...)
				req.Envelope = &envelope.Envelope{ID: id, Sender: envelope.Address("s" + strconv.Itoa(i))}
				req.Host = other
				text := message(r, id)
				req.Body = envelope.BytesBody(text)
				for k, s := range u.Deliver(context.Background(), req) {
					if s.Outcome() != transport.Relayed {
						t.Errorf("%q: %v %s", users[k], s.Outcome(), s.Text())
					}
				}
				lock.Lock()
				expected[other][id] = sent{want, site + "!s" + strconv.Itoa(i), text}
				lock.Unlock()
			})
		}
	}
	all.Wait()
	if n := strings.Count(l.run("alpha", "uustat", "-a"), "beta."); n != each {
		t.Errorf("uustat shows %d jobs, want %d", n, each)
	}
	// the caller dies on the way
	cmd := l.command("alpha", "uucico", "-D", "-S", "beta", "-q")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(150 * time.Millisecond)
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	_ = cmd.Wait()
	time.Sleep(200 * time.Millisecond)
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) { // the other end may hold its lock for a while
		l.command("alpha", "uucico", "-D", "-f", "-S", "beta", "-q").Run()
		if !strings.Contains(l.run("alpha", "uustat", "-a")+l.run("beta", "uustat", "-a"), "rmail") {
			break
		}
	}
	l.call()
	for site, want := range expected {
		for _, a := range l.arrived(site) {
			subject, _, _ := strings.Cut(string(a.Message), "\n")
			id := strings.TrimPrefix(subject, "Subject: ")
			w, ok := want[id]
			if !ok {
				t.Errorf("%s: %q arrived twice or was never sent", site, id)
				continue
			}
			delete(want, id)
			if !bytes.Equal(a.Message, w.message) {
				t.Errorf("%s: %s is damaged", site, id)
			}
			if fmt.Sprint(a.Recipients) != fmt.Sprint(w.recipients) || string(a.Sender) != w.sender {
				t.Errorf("%s: %s: from %q to %q, want from %q to %q", site, id, a.Sender, a.Recipients, w.sender, w.recipients)
			}
		}
		for id, w := range want {
			t.Errorf("%s: %s to %q did not arrive", site, id, w.recipients)
		}
		for _, sub := range []string{".Failed", ".Corrupt", "alpha/C.", "alpha/D.", "alpha/D.X", "beta/C.", "beta/D.", "beta/D.X"} {
			if left, _ := filepath.Glob(filepath.Join(l.dir, site, "spool", sub, "*")); len(left) > 0 {
				t.Errorf("%s: left in %s: %q", site, sub, left)
			}
		}
	}
	if t.Failed() {
		t.Logf("%s\n%s", l.log("alpha"), l.log("beta"))
	}
}

// Beside uux itself, on the same sequence file.
func TestTaylorBesideUux(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	u := l.transport("alpha", nil)
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			cmd := l.command("alpha", "uux", "-", "-r", "beta!rmail", "uux"+strconv.Itoa(i))
			cmd.Stdin = strings.NewReader("From uux Sun Nov  1 12:04:05 2026 remote from alpha\nSubject: uux\n\n" + strconv.Itoa(i) + "\n")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("uux: %v %s", err, out)
			}
		})
		all.Go(func() {
			req := request("ours" + strconv.Itoa(i))
			check(t, u.Deliver(context.Background(), req)[0], transport.Relayed, "2.0.0")
		})
	}
	all.Wait()
	l.call()
	seen := map[string]int{}
	for _, a := range l.arrived("beta") {
		seen[a.Recipients[0]]++
	}
	for i := range 30 {
		for _, name := range []string{"uux", "ours"} {
			if n := seen[strconv.Quote(name+strconv.Itoa(i))]; n != 1 {
				t.Errorf("%s%d arrived %d times", name, i, n)
			}
		}
	}
}

func TestTaylorBatch(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	u := l.transport("alpha", func(c *Config) { c.Batch = true })
	want := map[string]bool{}
	for i, name := range hostile {
		if back, _, err := batchPath("TO:<"+name+">", "TO:"); !strings.ContainsRune("-~", rune(name[0])) && (err != nil || back != name) {
			continue // refused
		}
		req := request(name, "second")
		req.Envelope = &envelope.Envelope{ID: "b" + strconv.Itoa(i), Sender: "s@x.example"}
		for _, s := range u.Deliver(context.Background(), req) {
			check(t, s, transport.Relayed, "2.0.0")
		}
		if name[0] == '-' || name[0] == '~' {
			name = "beta!" + name
		}
		want[strconv.Quote(name)] = true
	}
	l.call()
	for _, a := range l.arrived("beta") {
		for _, r := range a.Recipients {
			delete(want, r)
		}
		if string(a.Message) != "Subject: hi\n\nFrom me\n.\nlast\n" || a.Sender != "s@x.example" {
			t.Errorf("%q from %q: %q", a.Recipients, a.Sender, a.Message)
		}
	}
	for name := range want {
		t.Errorf("%s did not arrive", name)
	}
}

// What cannot be understood is set aside there, with a line in the log, and holds nothing up.
func TestTaylorMalformed(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for _, text := range []string{"Subject: no From line\n\n", "", "From \nSubject: x\n\n"} {
		cmd := l.command("alpha", "uux", "-", "-r", "-n", "beta!rmail", "bob")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("uux: %v %s", err, out)
		}
	}
	cmd := l.command("alpha", "uux", "-", "-r", "-n", "beta!rmail", "(-oQ/tmp)", "bob")
	cmd.Stdin = strings.NewReader("From a x remote from alpha\nX: y\n\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("uux: %v %s", err, out)
	}
	check(t, l.transport("alpha", nil).Deliver(context.Background(), request("good"))[0], transport.Relayed, "2.0.0")
	l.call()
	got := l.arrived("beta")
	if len(got) != 1 || got[0].Recipients[0] != `"good"` {
		t.Errorf("arrived: %+v", got)
	}
	if n := strings.Count(l.log("beta"), "Execution failed"); n != 4 {
		t.Errorf("%d failures in the log:\n%s", n, l.log("beta"))
	}
	if set, _ := filepath.Glob(filepath.Join(l.dir, "beta/spool/.Failed/*/X./*")); len(set) != 4 {
		t.Errorf("set aside: %q", set)
	}
}

// An execution file that is no such thing is logged and not run; the ones behind it are.
func TestTaylorMalformedX(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	u := l.transport("alpha", nil)
	check(t, u.Deliver(context.Background(), request("first"))[0], transport.Relayed, "2.0.0")
	l.call()
	dir := filepath.Join(l.dir, "beta/spool/alpha/X.")
	for name, text := range map[string]string{"X.alphaC00A0": "\x00\xffgarbage\n", "X.alphaC00A1": "U daemon alpha\nC nosuchcommand x\n", "X.alphaC00A2": "U daemon alpha\nF D.missing\nI D.missing\nC rmail x\n", "X.alphaC00A3": ""} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if l.cred != nil {
			if err := os.Chown(file, int(l.cred.Uid), int(l.cred.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	check(t, u.Deliver(context.Background(), request("second"))[0], transport.Relayed, "2.0.0")
	l.poll()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		l.run("beta", "uuxqt")
		if len(l.arrived("beta")) >= 2 {
			break
		}
	}
	if got := l.arrived("beta"); len(got) != 2 {
		t.Errorf("arrived: %+v", got)
	}
	log := l.log("beta")
	for _, said := range []string{"nosuchcommand", "X.alphaC00A0"} {
		if !strings.Contains(log, said) {
			t.Errorf("%q is not in the log:\n%s", said, log)
		}
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) > 1 { // what waits for its data waits on
		t.Errorf("left: %q", left)
	}
}

var steps = []string{"numbers reserved", "plan written", "data created", "data written", "data synced", "execution created", "execution synced", "command published"}

// killedAt is a process that delivers and dies at a step.
func killedAt(step string) int {
	conf := Config{Spool: os.Getenv("UUCP_TEST_SPOOL"), Node: "alpha", Sites: []string{"beta"}}
	switch os.Getenv("UUCP_TEST_LAYOUT") {
	case "bnu":
		conf.Layout = BNU
	case "drop":
		conf.Layout, conf.Batch = Drop, true
	}
	if conf.Uux = os.Getenv("UUCP_TEST_UUX"); conf.Uux != "" {
		conf.Options = []string{"-r", "-I" + filepath.Join(filepath.Dir(conf.Spool), "config")}
	}
	u, err := New(conf)
	if err != nil {
		return 1
	}
	u.sweepAge = 0
	u.step = func(name string) {
		if name == step {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	req := request("user")
	req.Envelope.ID = os.Getenv("UUCP_TEST_ID")
	req.Envelope.Sender = envelope.Address(req.Envelope.ID + "@x")
	if u.Deliver(context.Background(), req)[0].Outcome() != transport.Relayed {
		return 1
	}
	return 0
}

// Killed at every step, no job is lost and none is half there: the retry of the queue makes exactly one of each.
func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for _, step := range steps {
		id := "id-" + strings.ReplaceAll(step, " ", "-")
		for _, at := range []string{step, "never"} {
			cmd := exec.Command(filepath.Join(l.dir, "writer"))
			cmd.Env = append(os.Environ(), "UUCP_TEST_KILL="+at, "UUCP_TEST_ID="+id, "UUCP_TEST_SPOOL="+filepath.Join(l.dir, "alpha/spool"))
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: l.cred}
			err := cmd.Run()
			if (err == nil) != (at == "never") {
				t.Errorf("%s: %v", at, err)
			}
			commands, _ := filepath.Glob(filepath.Join(l.dir, "alpha/spool/beta/C./*"))
			for _, name := range commands {
				text, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				for line := range strings.Lines(string(text)) {
					field := strings.Fields(line)
					dir := "D."
					if len(field[1]) == len("D.X0000") {
						dir = "D.X"
					}
					if info, err := os.Stat(filepath.Join(l.dir, "alpha/spool/beta", dir, field[1])); err != nil || info.Size() == 0 {
						t.Errorf("killed at %q: %s names %s: %v", step, name, field[1], err)
					}
				}
			}
		}
	}
	u := l.transport("alpha", nil) // the last kill's remains, too
	u.sweepAge = 0
	u.sweep(slog.Default())
	l.call()
	if got := l.arrived("beta"); len(got) != len(steps) {
		t.Errorf("%d messages arrived, want %d", len(got), len(steps))
	}
	for _, sub := range []string{".Temp", "beta/C.", "beta/D.", "beta/D.X"} {
		if left, _ := filepath.Glob(filepath.Join(l.dir, "alpha/spool", sub, "*")); len(left) > 0 {
			t.Errorf("left in %s: %q", sub, left)
		}
	}
}
