package uucp

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

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
		writeProgram(t, name, text, mode)
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

// writeProgram writes a file that may be run at once. No program is started meanwhile: until it is really there it would
// have our descriptor, and a file that somebody may write to cannot be run (ETXTBSY).
func writeProgram(t *testing.T, name string, text []byte, mode os.FileMode) {
	t.Helper()
	syscall.ForkLock.RLock()
	err := os.WriteFile(name, text, mode)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
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
	l.poll()
	// The called uucico may still be putting files in place when the caller is done.
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		left := 0
		for _, site := range []string{"alpha", "beta"} {
			l.run(site, "uuxqt")
			jobs, _ := filepath.Glob(filepath.Join(l.dir, site, "spool", "*", "X.", "X.*"))
			left += len(jobs)
		}
		if left == 0 {
			return
		}
	}
	l.t.Error("uuxqt does not end its work")
}

// poll has alpha call beta. The called uucico of the call before may still hold its lock.
func (l *lab) poll() {
	l.t.Helper()
	var out []byte
	var err error
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if out, err = l.command("alpha", "uucico", "-D", "-S", "beta", "-q").CombinedOutput(); err == nil {
			return
		}
	}
	l.t.Errorf("uucico at alpha: %v\n%s", err, out)
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
