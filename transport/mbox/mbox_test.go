package mbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/mbox"
	"waybill/transport/passwd"
)

var clock = func() time.Time { return time.Date(2026, 11, 1, 12, 4, 5, 0, time.UTC) }

func TestMain(m *testing.M) {
	if dir := os.Getenv("MBOX_TEST_WRITER"); dir != "" { // see TestTwoProcesses
		os.Exit(writer(dir, os.Getenv("MBOX_TEST_LOCKS"), os.Getenv("MBOX_TEST_NAME")))
	}
	if dir := os.Getenv("MBOX_TEST_KILLED"); dir != "" { // see TestKilled
		os.Exit(acknowledging(dir, os.Getenv("MBOX_TEST_NAME")))
	}
	os.Exit(m.Run())
}

func request(users ...string) *transport.Request {
	req := &transport.Request{
		Envelope: &envelope.Envelope{ID: "1", Sender: "s@x"}, Body: envelope.BytesBody("Subject: hi\n\nFrom me\n.\nlast"),
		Log: slog.New(slog.DiscardHandler),
	}
	for _, u := range users {
		req.Recipients = append(req.Recipients, transport.Recipient{User: u, Orig: envelope.Recipient{Addr: envelope.Address(u)}})
	}
	return req
}

func open(t *testing.T, c mbox.Config) *mbox.Mbox {
	t.Helper()
	c.Now = clock
	m, err := mbox.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func check(t *testing.T, s transport.Status, outcome transport.Outcome, code string) {
	t.Helper()
	if s.Outcome() != outcome || s.Code() != code {
		t.Errorf("status %v %s %q, want %v %s", s.Outcome(), s.Code(), s.Text(), outcome, code)
	}
}

const delivered = "From s@x Sun Nov  1 12:04:05 2026\nReturn-Path: <s@x>\nSubject: hi\n\n>From me\n.\nlast\n\n"

func TestDeliver(t *testing.T) {
	dir := t.TempDir()
	m := open(t, mbox.Config{Path: dir + "/$user", Locks: []string{"dotlock", "fcntl", "flock"}})
	for range 2 {
		check(t, m.Deliver(context.Background(), request("bob"))[0], transport.Delivered, "2.0.0")
	}
	if got := read(t, dir+"/bob"); got != delivered+delivered {
		t.Errorf("mailbox:\n%s", got)
	}
	info, err := os.Stat(dir + "/bob")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	if left := names(t, dir); len(left) != 1 {
		t.Errorf("left in the directory: %q", left)
	}
}

func TestUsersAndNames(t *testing.T) {
	dir := t.TempDir()
	me := passwd.Entry{Name: "bob", UID: os.Getuid(), GID: os.Getgid(), Home: dir}
	m := open(t, mbox.Config{Path: "$home/$user$$", Users: passwd.Static{"bob": me, "a/b": me, "..": me, "homeless": {UID: me.UID, GID: me.GID}}, Group: -1})
	for user, want := range map[string]string{
		"bob": "2.0.0", "carol": "5.1.1", "a/b": "5.1.1", "..": "5.1.1", ".": "5.1.1", "": "5.1.1", "-bob": "5.1.1", "bob\n": "5.1.1", "bob\x00": "5.1.1",
		"bob.lock": "5.1.1", ".hidden": "5.1.1", strings.Repeat("x", 300): "5.1.1", "../" + filepath.Base(dir) + "/bob": "5.1.1", "homeless": "4.3.5",
	} {
		if s := m.Deliver(context.Background(), request(user))[0]; s.Code() != want {
			t.Errorf("%q: %s %s, want %s", user, s.Code(), s.Text(), want)
		}
	}
	if left := names(t, dir); len(left) != 1 || left[0] != "bob$" {
		t.Errorf("files: %q", left)
	}
	broken := open(t, mbox.Config{Path: dir + "/$user", Users: passwd.Open("/nonexistent/passwd", "")})
	check(t, broken.Deliver(context.Background(), request("bob"))[0], transport.Deferred, "4.3.0")
}

func TestNotAMailbox(t *testing.T) {
	dir := t.TempDir()
	m := open(t, mbox.Config{Path: dir + "/$user", LockTimeout: time.Second})
	victim := filepath.Join(dir, "victim")
	must(t, os.WriteFile(victim, []byte("secret\n\n"), 0o600))
	must(t, os.Symlink(victim, dir+"/symlink"))
	must(t, os.Symlink(dir+"/newfile", dir+"/dangling"))
	must(t, os.Link(victim, dir+"/hardlink"))
	must(t, unix.Mkfifo(dir+"/fifo", 0o600))
	must(t, os.Mkdir(dir+"/directory", 0o700))
	for _, user := range []string{"symlink", "dangling", "hardlink", "victim", "fifo", "directory"} {
		check(t, m.Deliver(context.Background(), request(user))[0], transport.Deferred, "4.2.0")
	}
	if got := read(t, victim); got != "secret\n\n" {
		t.Errorf("written through a link: %q", got)
	}
	if _, err := os.Stat(dir + "/newfile"); !os.IsNotExist(err) {
		t.Errorf("created through a symbolic link: %v", err)
	}
	for _, left := range names(t, dir) {
		if strings.HasSuffix(left, ".lock") || strings.HasPrefix(left, ".lk") {
			t.Errorf("%s is left", left)
		}
	}
}

func TestQuota(t *testing.T) {
	dir := t.TempDir()
	room := int64(len(delivered))
	m := open(t, mbox.Config{Path: dir + "/$user", Quota: room})
	check(t, m.Deliver(context.Background(), request("bob"))[0], transport.Delivered, "2.0.0")
	s := m.Deliver(context.Background(), request("bob"))[0]
	check(t, s, transport.Failed, "5.2.2")
	if s.Text() != "mailbox is full" {
		t.Errorf("text %q", s.Text())
	}
	m = open(t, mbox.Config{Path: dir + "/$user", Quota: room, QuotaTemporary: true})
	check(t, m.Deliver(context.Background(), request("bob"))[0], transport.Deferred, "4.2.2")
	m = open(t, mbox.Config{Path: dir + "/$user", Quota: room - 1}) // found out while writing: what was added counts
	check(t, m.Deliver(context.Background(), request("carol"))[0], transport.Failed, "5.2.2")
	if got := read(t, dir+"/bob"); got != delivered {
		t.Errorf("mailbox:\n%s", got)
	}
	if got := read(t, dir+"/carol"); got != "" {
		t.Errorf("a full mailbox keeps a part of the message: %q", got)
	}
}

type brokenBody struct{ good string }

func (b brokenBody) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader(b.good), failing{})), nil
}
func (b brokenBody) Size() int64 { return -1 }

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("disk gone") }

func TestFailureCutsBack(t *testing.T) {
	dir := t.TempDir()
	m := open(t, mbox.Config{Path: dir + "/$user"})
	check(t, m.Deliver(context.Background(), request("bob"))[0], transport.Delivered, "2.0.0")
	req := request("bob")
	req.Body = brokenBody{strings.Repeat("line\n", 100_000)} // several buffers are written before the error
	check(t, m.Deliver(context.Background(), req)[0], transport.Deferred, "4.3.0")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	check(t, m.Deliver(ctx, request("bob"))[0], transport.Deferred, "4.3.2")
	if got := read(t, dir+"/bob"); got != delivered {
		t.Errorf("%d octets, want %d", len(got), len(delivered))
	}
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=200k"); err != nil {
		if os.Geteuid() == 0 && os.Getenv("CI") == "true" {
			t.Fatalf("mounting a tmpfs: %v", err)
		}
		t.Skipf("needs root to mount a small disk: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	m := open(t, mbox.Config{Path: dir + "/$user"})
	check(t, m.Deliver(context.Background(), request("bob"))[0], transport.Delivered, "2.0.0")
	req := request("bob")
	req.Body = envelope.BytesBody(strings.Repeat("line\n", 100_000))
	check(t, m.Deliver(context.Background(), req)[0], transport.Deferred, "4.3.1")
	if got := read(t, dir+"/bob"); got != delivered {
		t.Errorf("%d octets, want %d", len(got), len(delivered))
	}
	check(t, m.Deliver(context.Background(), request("bob"))[0], transport.Delivered, "2.0.0")
}

func TestAfterACrash(t *testing.T) {
	dir := t.TempDir()
	m := open(t, mbox.Config{Path: dir + "/$user"})
	for name, text := range map[string]string{"torn": "From a b\nSubject: to", "short": "From a b\n\nx\n"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		check(t, m.Deliver(context.Background(), request(name))[0], transport.Delivered, "2.0.0")
		if got := read(t, filepath.Join(dir, name)); !strings.HasSuffix(got, "\n\n"+delivered) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestLockFile(t *testing.T) {
	dir := t.TempDir()
	host, _ := os.Hostname()
	m := open(t, mbox.Config{Path: dir + "/$user", LockTimeout: 50 * time.Millisecond})
	for _, c := range []struct {
		name, content string
		age           time.Duration
		code          string
	}{
		{"fresh", strconv.Itoa(os.Getpid()) + ":" + host, 0, "4.2.0"},
		{"held", strconv.Itoa(os.Getpid()) + ":" + host, time.Minute, "4.2.0"},
		{"old", strconv.Itoa(os.Getpid()) + ":" + host, time.Hour, "2.0.0"},
		{"dead", "999999999:" + host, 10 * time.Second, "2.0.0"},
		{"elsewhere", "999999999:other.example", 10 * time.Second, "4.2.0"},
		{"empty", "", 10 * time.Second, "4.2.0"},
	} {
		lock := filepath.Join(dir, c.name+".lock")
		must(t, os.WriteFile(lock, []byte(c.content), 0o644))
		then := time.Now().Add(-c.age)
		must(t, os.Chtimes(lock, then, then))
		if s := m.Deliver(context.Background(), request(c.name))[0]; s.Code() != c.code {
			t.Errorf("%s: %s %s, want %s", c.name, s.Code(), s.Text(), c.code)
		}
		if _, err := os.Stat(lock); (err == nil) != (c.code == "4.2.0") {
			t.Errorf("%s: lock afterwards: %v", c.name, err)
		}
	}
}

func TestForeignFileLocks(t *testing.T) {
	dir := t.TempDir()
	m := open(t, mbox.Config{Path: dir + "/$user", LockTimeout: 50 * time.Millisecond, Locks: []string{"fcntl", "flock"}})
	f, err := os.Create(dir + "/bob")
	must(t, err)
	defer f.Close()
	must(t, unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})) // the POSIX lock of a mail reader
	check(t, m.Deliver(context.Background(), request("bob"))[0], transport.Deferred, "4.2.0")
	must(t, unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_UNLCK}))
	must(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	check(t, m.Deliver(context.Background(), request("bob"))[0], transport.Deferred, "4.2.0")
	must(t, unix.Flock(int(f.Fd()), unix.LOCK_UN))
	check(t, m.Deliver(context.Background(), request("bob"))[0], transport.Delivered, "2.0.0")
}

func TestFileOfAnAlias(t *testing.T) {
	dir := t.TempDir()
	m := open(t, mbox.Config{})
	must(t, os.WriteFile(dir+"/program", nil, 0o755))
	must(t, os.Symlink(dir+"/list", dir+"/link"))
	for name, want := range map[string]string{
		dir + "/list": "2.0.0", "/dev/null": "2.0.0", dir + "/program": "5.3.0", dir + "/link": "5.3.0", dir + "/no/such": "5.3.0",
		"relative": "5.3.0", dir: "5.3.0", dir + "/": "5.3.0", dir + "/a\nb": "5.3.0", "/dev/zero": "5.3.0",
	} {
		req := request("bob")
		req.Recipients[0].Orig = envelope.Recipient{File: envelope.FileName(name)}
		if s := m.Deliver(context.Background(), req)[0]; s.Code() != want {
			t.Errorf("%s: %s %s, want %s", name, s.Code(), s.Text(), want)
		}
	}
	if got := read(t, dir+"/list"); got != delivered {
		t.Errorf("file:\n%s", got)
	}
	req := request("bob")
	req.Recipients[0].Orig = envelope.Recipient{Command: "x"}
	check(t, m.Deliver(context.Background(), req)[0], transport.Failed, "5.3.5")
}

func TestAsRootTheMailboxBelongsToTheUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("/tmp", "mbox")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chown(dir, 0, 8))
	must(t, os.Chmod(dir, 0o2775))
	must(t, os.Mkdir(dir+"/home", 0o700))
	must(t, os.Chown(dir+"/home", 20001, 20001))
	users := passwd.Static{"bob": {UID: 20001, GID: 20001, Home: dir + "/home"}, "eve": {UID: 20002, GID: 20002}}
	m := open(t, mbox.Config{Path: dir + "/$user", Users: users})
	check(t, m.Deliver(context.Background(), request("bob"))[0], transport.Delivered, "2.0.0")
	owner(t, dir+"/bob", 20001, 8)
	must(t, os.Rename(dir+"/bob", dir+"/eve")) // a mailbox of somebody else
	check(t, m.Deliver(context.Background(), request("eve"))[0], transport.Deferred, "4.2.0")

	req := request("x", "x", "x")
	for i, file := range []string{dir + "/home/mine", dir + "/home/notmine", "/root/x"} {
		req.Recipients[i].Orig = envelope.Recipient{File: envelope.FileName(file)}
		req.Recipients[i].As = []string{"bob", "eve", "bob"}[i]
	}
	statuses := m.Deliver(context.Background(), req)
	check(t, statuses[0], transport.Delivered, "2.0.0")
	check(t, statuses[1], transport.Failed, "5.3.0")
	check(t, statuses[2], transport.Failed, "5.3.0")
	owner(t, dir+"/home/mine", 20001, 20001)
}

// The file of an alias may stand in a directory where its owner can make no lock file: then the lock on the file itself
// has to do. A mailbox in such a directory still waits.
func TestFileOfAnAliasWhereNoLockFileCanBe(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("/tmp", "mbox")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o755))
	must(t, os.WriteFile(dir+"/archive", nil, 0o600))
	must(t, os.Chown(dir+"/archive", 20001, 20001))
	m := open(t, mbox.Config{Path: dir + "/$user", Users: passwd.Static{"archive": {UID: 20001, GID: 20001}}, DefaultUser: "archive"})
	req := request("list")
	req.Recipients[0].Orig = envelope.Recipient{File: envelope.FileName(dir + "/archive")}
	check(t, m.Deliver(context.Background(), req)[0], transport.Delivered, "2.0.0")
	if got := read(t, dir+"/archive"); got != delivered {
		t.Errorf("file:\n%s", got)
	}
	check(t, m.Deliver(context.Background(), request("archive"))[0], transport.Deferred, "4.2.0")
}

func owner(t *testing.T, name string, uid, gid uint32) {
	t.Helper()
	info, err := os.Stat(name)
	must(t, err)
	if st := info.Sys().(*syscall.Stat_t); st.Uid != uid || st.Gid != gid {
		t.Errorf("%s belongs to %d:%d, want %d:%d", name, st.Uid, st.Gid, uid, gid)
	}
}

const perWriter = 200

func writer(dir, lock, name string) int {
	m, err := mbox.New(mbox.Config{Path: dir + "/$user", Locks: strings.Split(lock, ","), NoSync: true})
	if err != nil {
		return 1
	}
	var all sync.WaitGroup
	failed := 0
	for part := range 2 {
		all.Go(func() {
			for i := range perWriter / 2 {
				req := request("bob")
				id := fmt.Sprintf("%s-%d-%d", name, part, i)
				req.Body = envelope.BytesBody("Id: " + id + "\n\n" + strings.Repeat(id+"\n", 1000) + "end " + id + "\n")
				if s := m.Deliver(context.Background(), req)[0]; s.Outcome() != transport.Delivered {
					fmt.Fprintln(os.Stderr, s.Text())
					failed = 1
				}
			}
		})
	}
	all.Wait()
	return failed
}

// Two processes with two goroutines each append to one mailbox: every message is there once, whole.
func TestTwoProcesses(t *testing.T) {
	for _, lock := range []string{"dotlock", "fcntl", "flock", "dotlock,fcntl"} {
		t.Run(lock, func(t *testing.T) {
			dir := t.TempDir()
			var all sync.WaitGroup
			for _, name := range []string{"a", "b"} {
				all.Go(func() {
					cmd := exec.Command(os.Args[0])
					cmd.Env = append(os.Environ(), "MBOX_TEST_WRITER="+dir, "MBOX_TEST_LOCKS="+lock, "MBOX_TEST_NAME="+name)
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Errorf("%v: %s", err, out)
					}
				})
			}
			all.Wait()
			seen := map[string]bool{}
			for i, text := range strings.Split(read(t, dir+"/bob"), "From s@x ")[1:] {
				_, rest, _ := strings.Cut(text, "Id: ")
				id, rest, _ := strings.Cut(rest, "\n\n")
				if rest != strings.Repeat(id+"\n", 1000)+"end "+id+"\n\n" {
					t.Fatalf("message %d (%q) is torn", i, id)
				}
				if seen[id] {
					t.Errorf("%s is there twice", id)
				}
				seen[id] = true
			}
			if len(seen) != 2*perWriter {
				t.Errorf("%d messages, want %d", len(seen), 2*perWriter)
			}
		})
	}
}

type bigBody int64

func (b bigBody) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(repeat{}, int64(b))), nil
}
func (b bigBody) Size() int64 { return int64(b) }

type repeat struct{}

func (repeat) Read(p []byte) (int, error) {
	for i := 0; i < len(p); i += len(line) {
		copy(p[i:], line)
	}
	return len(p), nil
}

const line = "Sixty-three octets of text and an end of line make one big body\n"

func TestMemoryDoesNotGrowWithTheMessage(t *testing.T) {
	m := open(t, mbox.Config{Path: t.TempDir() + "/$user", NoSync: true})
	req := request("bob")
	req.Body = bigBody(50 << 20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	check(t, m.Deliver(context.Background(), req)[0], transport.Delivered, "2.0.0")
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("a 50 MB message allocated %d octets", grown)
	}
}

// A message stands behind an empty line, whatever the file ended with; with Close it follows the last line, as with
// sendmail, and with FromLine its From line is another.
func TestWhatAFileEndsWith(t *testing.T) {
	for _, c := range []struct {
		conf         mbox.Config
		before, want string
	}{
		{mbox.Config{}, "old\n\n", "old\n\nFrom s@x "},
		{mbox.Config{}, "old\n", "old\n\nFrom s@x "},
		{mbox.Config{}, "old", "old\n\nFrom s@x "},
		{mbox.Config{Close: true}, "old\n\n", "old\n\nFrom s@x "},
		{mbox.Config{Close: true}, "old\n", "old\nFrom s@x "},
		{mbox.Config{Close: true}, "old", "old\nFrom s@x "},
		{mbox.Config{FromLine: func(s envelope.Address, _ time.Time) string { return "From other " + string(s) }}, "", "From other s@x\n"},
	} {
		box := filepath.Join(t.TempDir(), "bob")
		c.conf.Path = filepath.Dir(box) + "/$user"
		must(t, os.WriteFile(box, []byte(c.before), 0o600))
		if s := open(t, c.conf).Deliver(context.Background(), request("bob"))[0]; s.Outcome() != transport.Delivered {
			t.Fatal(s.Text())
		}
		got, err := os.ReadFile(box)
		must(t, err)
		if !strings.HasPrefix(string(got), c.want) {
			t.Errorf("Close %v, %q: %.40q, want %q", c.conf.Close, c.before, got, c.want)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
