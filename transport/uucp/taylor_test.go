package uucp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
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
	"waybill/transport/passwd"
)

// The tests of this file run against the real thing: uucico, uuxqt, uux and uustat of Taylor UUCP 1.07, copied without
// their set-user-id bits, between two spool trees. What uuxqt starts as rmail and rsmtp is this test binary.

func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "rmail", "rsmtp":
		os.Exit(companion())
	}
	if step := os.Getenv("UUCP_TEST_KILL"); step != "" {
		os.Exit(killedAt(step))
	}
	os.Exit(m.Run())
}

// arrived is what our rmail writes down about one message.
type arrived struct {
	Machine    string
	Sender     envelope.Address
	Recipients []string // quoted, since JSON knows UTF-8 only
	Message    []byte
}

func companion() int {
	self, err := os.Executable()
	if err != nil {
		return 71
	}
	dir := filepath.Join(filepath.Dir(self), "in")
	by := Caller{Machine: os.Getenv("UU_MACHINE")}
	keep := func(m *Incoming) error {
		a := arrived{Machine: by.Machine, Sender: m.Sender}
		for _, r := range m.Recipients {
			a.Recipients = append(a.Recipients, strconv.Quote(string(r)))
		}
		if a.Message, err = io.ReadAll(m.Message); err != nil {
			return err
		}
		text, err := json.Marshal(a)
		if err != nil {
			return err
		}
		f, err := os.CreateTemp(dir, "m")
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.Write(text)
		return err
	}
	if filepath.Base(os.Args[0]) == "rsmtp" {
		err = ReadBatch(os.Stdin, by, keep)
	} else {
		var m *Incoming
		if m, err = ReadMail(os.Args[1:], os.Stdin, by); err == nil {
			err = keep(m)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rmail:", err)
	}
	return ExitStatus(err)
}

// plainSelf is this test program without the race detector, with which every process would sleep for a second at its
// end: uuxqt starts four hundred of them.
var plainSelf = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "uucp-test")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "test")
	build := exec.Command("go", "test", "-c", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the companion: %w\n%s", err, out)
	}
	return os.ReadFile(program)
})

// lab is two sites, alpha and beta.
type lab struct {
	t    *testing.T
	dir  string
	cred *syscall.Credential // as whom UUCP runs; nil: as ourselves
	own  Config              // what all transports of the lab share
}

func newLab(t *testing.T) *lab {
	t.Helper()
	tools := map[string]string{"uucico": "/usr/lib/uucp/uucico", "uuxqt": "/usr/sbin/uuxqt", "uux": "/usr/bin/uux", "uustat": "/usr/bin/uustat"}
	for name, path := range tools {
		if _, err := os.Stat(path); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s of Taylor UUCP is missing: %v", name, err)
			}
			t.Skipf("%s of Taylor UUCP is not installed", name)
		}
	}
	dir, err := os.MkdirTemp("/tmp", "uucp-lab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the two sites are kept in %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	l := &lab{t: t, dir: dir}
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 { // Taylor's tools do not work as root
		u, err := user.Lookup("uucp")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ = strconv.Atoi(u.Uid)
		gid, _ = strconv.Atoi(u.Gid)
		l.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	l.own = Config{Owner: "uucp", Users: passwd.Static{"uucp": {UID: uid, GID: gid}}, Quoting: true}
	own := func(name string) {
		if err := os.Chown(name, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	put := func(name string, mode os.FileMode, text []byte) {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, text, mode); err != nil {
			t.Fatal(err)
		}
		own(name)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, path := range tools {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		put(name, 0o755, text)
	}
	self, err := plainSelf()
	if err != nil {
		t.Fatal(err)
	}
	for site, other := range map[string]string{"alpha": "beta", "beta": "alpha"} {
		at := filepath.Join(dir, site)
		put(site+"/config", 0o644, fmt.Appendf(nil, "nodename %s\nspool %s/spool\npubdir %s/spool\nlockdir %s\nlogfile %s/Log\nstatfile %s/Stats\ndebugfile %s/Debug\nsysfile %s/sys\nportfile %s/port\nrun-uuxqt never\n",
			site, at, at, at, at, at, at, at, at))
		put(site+"/sys", 0o644, fmt.Appendf(nil, "system %s\ntime any\nport pipe\nchat \"\"\ncommands rmail rsmtp\ncommand-path %s\nfree-space 0\nprotocol-parameter i timeout 2\n", other, at))
		put(site+"/port", 0o644, fmt.Appendf(nil, "port pipe\ntype pipe\nreliable true\ncommand %s/uucico -I %s/%s/config -q -u uucp\n", dir, dir, other))
		put(site+"/rmail", 0o755, self)
		put(site+"/rsmtp", 0o755, self)
		put("writer", 0o755, self)
		for _, sub := range []string{"spool", "in"} {
			if err := os.Mkdir(filepath.Join(at, sub), 0o755); err != nil {
				t.Fatal(err)
			}
			own(filepath.Join(at, sub))
		}
		own(at)
	}
	return l
}

// transport is Waybill's end at a site.
func (l *lab) transport(site string, change func(*Config)) *UUCP {
	l.t.Helper()
	c := l.own
	c.Spool, c.Node, c.SysFile = filepath.Join(l.dir, site, "spool"), site, filepath.Join(l.dir, site, "sys")
	if change != nil {
		change(&c)
	}
	u, err := New(c)
	if err != nil {
		l.t.Fatal(err)
	}
	return u
}

// command prepares a tool of a site.
func (l *lab) command(site, tool string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(l.dir, tool), append([]string{"-I", filepath.Join(l.dir, site, "config")}, args...)...)
	cmd.Dir = l.dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=/", "USER=uucp", "LOGNAME=uucp"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: l.cred}
	return cmd
}

func (l *lab) run(site, tool string, args ...string) string {
	l.t.Helper()
	out, err := l.command(site, tool, args...).CombinedOutput()
	if err != nil {
		l.t.Errorf("%s at %s: %v\n%s", tool, site, err, out)
	}
	return string(out)
}

// call moves everything between the two sites and executes it.
func (l *lab) call() {
	l.t.Helper()
	l.run("alpha", "uucico", "-D", "-S", "beta", "-q")
	// The called uucico may still be putting files in place when the caller is done.
	for range 100 {
		left := 0
		for _, site := range []string{"alpha", "beta"} {
			l.run(site, "uuxqt")
			jobs, _ := filepath.Glob(filepath.Join(l.dir, site, "spool", "*", "X.", "X.*"))
			left += len(jobs)
		}
		if left == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	l.t.Error("uuxqt does not end its work")
}

// arrived returns what rmail and rsmtp of a site got.
func (l *lab) arrived(site string) []arrived {
	l.t.Helper()
	names, err := filepath.Glob(filepath.Join(l.dir, site, "in", "*"))
	if err != nil {
		l.t.Fatal(err)
	}
	all := make([]arrived, len(names))
	for i, name := range names {
		text, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(text, &all[i])
		}
		if err != nil {
			l.t.Fatal(err)
		}
		sort.Strings(all[i].Recipients)
	}
	return all
}

// log is a site's UUCP log.
func (l *lab) log(site string) string {
	text, err := os.ReadFile(filepath.Join(l.dir, site, "Log"))
	if err != nil {
		l.t.Error(err)
	}
	return string(text)
}

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
	for range 5 {
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

var steps = []string{"numbers reserved", "data created", "data written", "data synced", "execution created", "execution synced", "command written", "command published"}

// killedAt is a process that delivers and dies at a step.
func killedAt(step string) int {
	u, err := New(Config{Spool: os.Getenv("UUCP_TEST_SPOOL"), Node: "alpha", Sites: []string{"beta"}})
	if err != nil {
		return 1
	}
	u.step = func(name string) {
		if name == step {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	req := request("user")
	req.Envelope.ID = os.Getenv("UUCP_TEST_ID")
	if u.Deliver(context.Background(), req)[0].Outcome() != transport.Relayed {
		return 1
	}
	return 0
}

// Killed at every step, no job is lost and none is half there: the retry of the queue makes exactly one of each.
func TestKilledAtEveryStep(t *testing.T) {
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
					if strings.HasPrefix(field[1], "D.X") {
						dir = "D.X"
					}
					if info, err := os.Stat(filepath.Join(l.dir, "alpha/spool/beta", dir, field[1])); err != nil || info.Size() == 0 {
						t.Errorf("killed at %q: %s names %s: %v", step, name, field[1], err)
					}
				}
			}
		}
	}
	l.call()
	if got := l.arrived("beta"); len(got) != len(steps) {
		t.Errorf("%d messages arrived, want %d", len(got), len(steps))
	}
}
