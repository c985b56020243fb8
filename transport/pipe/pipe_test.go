package pipe

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/identity"
	"waybill/transport/mbox"
	"waybill/transport/passwd"
)

// site is a directory that an unprivileged program can write to, and a user to run it as.
func site(t *testing.T) (dir string, users passwd.Static) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pipe-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	e := passwd.Entry{UID: os.Getuid(), GID: os.Getgid(), Home: dir}
	if identity.CanChange() {
		e.UID, e.GID = 20001, 20002
	}
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, e.UID, e.GID)); err != nil {
		t.Fatal(err)
	}
	return dir, passwd.Static{"prog": e, "bob": e}
}

// script writes a program. Scripts are ours here; the code under test starts no shell.
func script(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func request(rcpts ...transport.Recipient) *transport.Request {
	return &transport.Request{
		Envelope: &envelope.Envelope{ID: "id1", Sender: "s@x"}, Body: envelope.BytesBody("Subject: hi\n\nbody\n"), Log: slog.New(slog.DiscardHandler), Host: "h.example",
		Recipients: rcpts,
	}
}

func user(name string) transport.Recipient {
	return transport.Recipient{User: name, Orig: envelope.Recipient{Addr: envelope.Address(name)}}
}

func command(text string) transport.Recipient {
	return transport.Recipient{Orig: envelope.Recipient{Command: envelope.Command(text)}}
}

func open(t *testing.T, c Config) *Pipe {
	t.Helper()
	c.Now = func() time.Time { return time.Date(2026, 11, 1, 12, 4, 5, 0, time.UTC) }
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func check(t *testing.T, what string, s transport.Status, outcome transport.Outcome, code string) {
	t.Helper()
	if s.Outcome() != outcome || s.Code() != code {
		t.Errorf("%s: %v %s %q, want %v %s", what, s.Outcome(), s.Code(), s.Text(), outcome, code)
	}
}

func TestProgram(t *testing.T) {
	dir, users := site(t)
	prog := script(t, dir+"/prog", `for a; do echo "<$a>"; done >`+dir+`/args; cat >`+dir+`/stdin; env >`+dir+`/env; id -u >`+dir+`/id; id -g >>`+dir+`/id; umask >>`+dir+`/id; pwd >>`+dir+`/id; ls /proc/self/fd | wc -l >>`+dir+`/id`)
	t.Setenv("LD_PRELOAD_TEST", "must not be there")
	p := open(t, Config{Program: prog, Args: []string{"prog", "-a$f", "$h", "-d", "$u"}, Users: users, User: "prog", MaxUsers: 3, Env: []string{"EXTRA=1"}})
	statuses := p.Deliver(context.Background(), request(user("bob"), user("a b;c$(d)"), user("`x`"), user("four")))
	for _, s := range statuses {
		check(t, "program", s, transport.Delivered, "2.0.0")
	}
	if got := read(t, dir+"/args"); got != "<-as@x>\n<h.example>\n<-d>\n<four>\n" {
		t.Errorf("arguments of the last run: %q", got)
	}
	check(t, "three", p.Deliver(context.Background(), request(user("bob"), user("a b;c$(d)"), user("`x`")))[0], transport.Delivered, "2.0.0")
	if got := read(t, dir+"/args"); got != "<-as@x>\n<h.example>\n<-d>\n<bob>\n<a b;c$(d)>\n<`x`>\n" {
		t.Errorf("arguments: %q", got)
	}
	if got := read(t, dir+"/stdin"); got != "From s@x Sun Nov  1 12:04:05 2026\nSubject: hi\n\nbody\n" {
		t.Errorf("stdin: %q", got)
	}
	env := read(t, dir+"/env")
	if strings.Contains(env, "LD_PRELOAD_TEST") || !strings.Contains(env, "EXTRA=1") || !strings.Contains(env, "HOME="+dir) || !strings.Contains(env, "AGENT=sendmail") {
		t.Errorf("environment:\n%s", env)
	}
	e := users["prog"]
	if got, want := read(t, dir+"/id"), strconv.Itoa(e.UID)+"\n"+strconv.Itoa(e.GID)+"\n0022\n"+dir+"\n4\n"; got != want {
		t.Errorf("ids, umask, directory, descriptors of ls: %q, want %q", got, want)
	}
}

// A program runs as its configured user, whoever owns the mailbox, unless the configuration says otherwise (flag o).
func TestWhoItRunsAs(t *testing.T) {
	if !identity.CanChange() {
		t.Skip("needs root")
	}
	dir, users := site(t)
	bob := users["bob"]
	bob.UID = 20003
	users["bob"] = bob
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	prog := script(t, dir+"/prog", "id -u >"+dir+"/id; chmod 666 "+dir+"/id; env >"+dir+"/env; rm -f "+dir+"/env")
	for _, c := range []struct {
		as   bool
		rcpt transport.Recipient
		want string
	}{
		{false, transport.Recipient{User: "bob", As: "bob"}, "20001\n"}, {true, transport.Recipient{User: "bob", As: "bob"}, "20003\n"},
		{true, transport.Recipient{User: "bob"}, "20003\n"}, {true, transport.Recipient{User: "bob+x", As: "bob"}, "20003\n"},
	} {
		_ = os.Remove(dir + "/id")
		p := open(t, Config{Program: prog, Args: []string{"prog"}, Users: users, User: "prog", AsRecipient: c.as})
		check(t, "as", p.Deliver(context.Background(), request(c.rcpt))[0], transport.Delivered, "2.0.0")
		if got := read(t, dir+"/id"); got != c.want {
			t.Errorf("%+v ran as %q, want %q", c, got, c.want)
		}
	}
}

func TestArgumentsOfStrangers(t *testing.T) {
	dir, users := site(t)
	prog := script(t, dir+"/prog", "exit 0")
	plain := open(t, Config{Program: prog, Args: []string{"prog", "$u"}, Users: users, User: "prog"})
	ended := open(t, Config{Program: prog, Args: []string{"prog", "--", "$u"}, Users: users, User: "prog"})
	glued := open(t, Config{Program: prog, Args: []string{"prog", "-d$u"}, Users: users, User: "prog"})
	sender := open(t, Config{Program: prog, Args: []string{"prog", "$f", "$u"}, Users: users, User: "prog"})
	shell := open(t, Config{Program: "/bin/sh", Args: []string{"sh", "-c", "$u"}, Users: users, User: "prog"})
	for name, c := range map[string]struct {
		p    *Pipe
		user string
		code string
	}{
		"option":            {plain, "-rf", "5.1.3"},
		"option behind --":  {ended, "-rf", "2.0.0"},
		"option glued":      {glued, "-rf", "2.0.0"},
		"empty":             {plain, "", "5.1.3"},
		"line end":          {plain, "a\nb", "5.1.3"},
		"control":           {glued, "a\x1bb", "5.1.3"},
		"macro stays data":  {plain, "$h${u}", "2.0.0"},
		"address for shell": {shell, "touch /tmp/owned", "5.3.5"},
	} {
		check(t, name, c.p.Deliver(context.Background(), request(user(c.user)))[0], map[byte]transport.Outcome{'2': transport.Delivered, '5': transport.Failed}[c.code[0]], c.code)
	}
	req := request(user("bob"))
	req.Envelope = &envelope.Envelope{Sender: "-oQ/tmp@x"}
	check(t, "sender as option", sender.Deliver(context.Background(), req)[0], transport.Failed, "5.1.3")
	check(t, "command for a shell that the configuration names", shell.Deliver(context.Background(), request(command("cat > "+dir+"/got; exit 0")))[0], transport.Delivered, "2.0.0")
	if got := read(t, dir+"/got"); !strings.Contains(got, "Subject: hi") {
		t.Errorf("got %q", got)
	}
}

func TestExitStatuses(t *testing.T) {
	dir, users := site(t)
	for exit, want := range map[int]string{
		0: "2.0.0", 1: "5.0.0", 64: "5.0.0", 65: "5.6.0", 67: "5.1.1", 68: "5.1.2", 69: "5.0.0", 70: "5.3.0", 71: "4.3.0", 73: "5.2.0", 74: "4.3.0", 75: "4.3.0", 77: "5.7.1", 78: "5.3.5", 200: "5.0.0",
	} {
		prog := script(t, dir+"/prog", "cat >/dev/null; printf 'why\\n\\033[31m it\\n' >&2; exit "+strconv.Itoa(exit))
		p := open(t, Config{Program: prog, Args: []string{"prog"}, Users: users, User: "prog"})
		s := p.Deliver(context.Background(), request(user("bob")))[0]
		if s.Code() != want {
			t.Errorf("exit %d: %s %q, want %s", exit, s.Code(), s.Text(), want)
		}
		if exit != 0 && (s.Reply != strconv.Itoa(exit) || s.Diagnostic != "x-unix" || !strings.Contains(s.Text(), "why [31m it")) {
			t.Errorf("exit %d: reply %q, diagnostic %q, text %q", exit, s.Reply, s.Diagnostic, s.Text())
		}
	}
	named := open(t, Config{Program: script(t, dir+"/prog", "echo why; exit 75"), Args: []string{"prog"}, Users: users, User: "prog", Name: "prog"})
	if s := named.Deliver(context.Background(), request(user("bob")))[0]; s.Text() != "prog mailer ("+dir+"/prog) exited with EX_TEMPFAIL" {
		t.Errorf("text %q", s.Text())
	}
	p := open(t, Config{Program: script(t, dir+"/prog", "kill -9 $$"), Args: []string{"prog"}, Users: users, User: "prog"})
	check(t, "signal", p.Deliver(context.Background(), request(user("bob")))[0], transport.Deferred, "4.3.0")
	p = open(t, Config{Program: dir + "/missing", Args: []string{"prog"}, Users: users, User: "prog"})
	check(t, "missing program", p.Deliver(context.Background(), request(user("bob")))[0], transport.Deferred, "4.3.0")
	p = open(t, Config{Program: script(t, dir+"/prog", "yes 1234567890 | head -c 1000000; exit 69"), Args: []string{"prog"}, Users: users, User: "prog", MaxOutput: 100})
	if s := p.Deliver(context.Background(), request(user("bob")))[0]; len(s.Text()) > 200 || !strings.HasSuffix(s.Text(), "[...]") {
		t.Errorf("long output: %d octets: %s", len(s.Text()), s.Text())
	}
}

func TestTimeLimitKillsTheGroup(t *testing.T) {
	dir, users := site(t)
	prog := script(t, dir+"/prog", "trap '' TERM; sleep 1000 & echo $! >"+dir+"/child; wait; wait; sleep 1000")
	for _, limit := range []time.Duration{2 * time.Second, 10 * time.Second, 30 * time.Second} { // a busy machine starts it late
		p := open(t, Config{Program: prog, Args: []string{"prog"}, Users: users, User: "prog", Timeout: limit})
		begin := time.Now()
		check(t, "time limit", p.Deliver(context.Background(), request(user("bob")))[0], transport.Deferred, "4.3.0")
		if took := time.Since(begin); took > limit+time.Minute {
			t.Errorf("took %v", took)
		}
		if text, err := os.ReadFile(dir + "/child"); err == nil && len(text) > 0 {
			break
		}
	}
	pid, err := strconv.Atoi(strings.TrimSpace(read(t, dir+"/child")))
	if err != nil {
		t.Fatal(err)
	}
	alive := func() (string, bool) {
		state, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return string(state), err == nil && !strings.Contains(string(state), ") Z ")
	}
	for range 500 {
		if _, lives := alive(); !lives {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if state, lives := alive(); lives {
		_ = unix.Kill(pid, unix.SIGKILL)
		t.Errorf("the child lives on: %s", state)
	}
}

func TestBackgroundChildHoldsNothingUp(t *testing.T) {
	dir, users := site(t)
	p := open(t, Config{Program: script(t, dir+"/prog", "sleep 100 & echo $! >"+dir+"/child; exit 0"), Args: []string{"prog"}, Users: users, User: "prog"})
	begin := time.Now()
	check(t, "background child", p.Deliver(context.Background(), request(user("bob")))[0], transport.Delivered, "2.0.0")
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(read(t, dir+"/child"))); err == nil {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

type body struct{ open func() io.Reader }

func (b body) Open() (io.ReadCloser, error) { return io.NopCloser(b.open()), nil }
func (b body) Size() int64                  { return -1 }

func TestFeeding(t *testing.T) {
	dir, users := site(t)
	endless := body{func() io.Reader { return io.LimitReader(zeros{}, 50<<20) }}
	p := open(t, Config{Program: script(t, dir+"/prog", "head -c 10 >/dev/null; exit 0"), Args: []string{"prog"}, Users: users, User: "prog"})
	req := request(user("bob"))
	req.Body = endless
	check(t, "a program that reads little", p.Deliver(context.Background(), req)[0], transport.Delivered, "2.0.0")

	req.Body = body{func() io.Reader {
		return io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("disk")))
	}}
	p = open(t, Config{Program: script(t, dir+"/prog", "cat >/dev/null && touch "+dir+"/whole"), Args: []string{"prog"}, Users: users, User: "prog"})
	check(t, "half a message", p.Deliver(context.Background(), req)[0], transport.Deferred, "4.3.0")
	time.Sleep(100 * time.Millisecond)
	if _, err := os.Stat(dir + "/whole"); err == nil {
		t.Error("the program took half a message for a whole one")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	p = open(t, Config{Program: script(t, dir+"/prog", "sleep 100"), Args: []string{"prog"}, Users: users, User: "prog"})
	check(t, "shut down", p.Deliver(ctx, request(user("bob")))[0], transport.Deferred, "4.3.2")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestCommands(t *testing.T) {
	dir, users := site(t)
	programs := dir + "/allowed"
	if err := os.Mkdir(programs, 0o755); err != nil {
		t.Fatal(err)
	}
	script(t, programs+"/keep", `for a; do echo "<$a>"; done >`+dir+`/args; echo "$IFSX" >>`+dir+`/args; cat >`+dir+`/stdin`)
	script(t, programs+"/fail", "cat >/dev/null; echo sorry; exit ${1:-1}")
	script(t, dir+"/outside", "touch "+dir+"/ran")
	p := open(t, Config{Users: users, User: "prog", Programs: programs, Files: files(t)})
	for _, c := range []struct{ text, code, args string }{
		{"keep a 'b c'", "2.0.0", "<a>\n<b c>\n\n"},
		{`"keep a 'b c'"`, "2.0.0", "<a>\n<b c>\n\n"},
		{"/usr/local/bin/keep x", "2.0.0", "<x>\n\n"},
		{"IFSX=' y' && exec keep $x", "5.3.0", ""},
		{"IFSX=y && exec keep '$x' || exit 75 #bob", "2.0.0", "<$x>\ny\n"},
		{"fail || exit 75", "4.3.0", ""},
		{"fail 67 && keep", "5.1.1", ""},
		{"fail 67; keep", "5.3.0", ""},
		{"true && keep z", "2.0.0", "<z>\n\n"},
		{"echo hello", "2.0.0", ""},
		{"outside", "5.0.0", ""},
		{dir + "/outside", "5.0.0", ""},
		{"../outside", "5.0.0", ""},
		{"..", "5.0.0", ""},
		{"keep `touch /tmp/x`", "5.3.0", ""},
	} {
		_ = os.Remove(dir + "/args")
		s := p.Deliver(context.Background(), request(command(c.text)))[0]
		if s.Code() != c.code {
			t.Errorf("%s: %s %q, want %s", c.text, s.Code(), s.Text(), c.code)
		}
		if args, _ := os.ReadFile(dir + "/args"); string(args) != c.args {
			t.Errorf("%s: arguments %q, want %q", c.text, args, c.args)
		}
	}
	if _, err := os.Stat(dir + "/ran"); err == nil {
		t.Error("a program outside the allowed directory ran")
	}
	if got := read(t, dir+"/stdin"); got != "From s@x Sun Nov  1 12:04:05 2026\nSubject: hi\n\nbody\n" {
		t.Errorf("stdin: %q", got)
	}
	script(t, programs+"/where", "pwd >"+dir+"/where")
	for as, want := range map[string]string{"": "/\n", "bob": dir + "\n"} {
		rcpt := command("where")
		rcpt.As = as
		check(t, "where", p.Deliver(context.Background(), request(rcpt))[0], transport.Delivered, "2.0.0")
		if got := read(t, dir+"/where"); got != want {
			t.Errorf("a command of %q works in %q, want %q", as, got, want)
		}
	}
	anywhere := open(t, Config{Users: users, User: "prog"})
	check(t, "any path", anywhere.Deliver(context.Background(), request(command(dir+"/outside")))[0], transport.Delivered, "2.0.0")
	check(t, "address", anywhere.Deliver(context.Background(), request(user("bob")))[0], transport.Deferred, "4.3.5")

	file := transport.Recipient{Orig: envelope.Recipient{File: envelope.FileName(filepath.Join(dir, "file"))}}
	check(t, "file", p.Deliver(context.Background(), request(file))[0], transport.Delivered, "2.0.0")
	check(t, "file without files", anywhere.Deliver(context.Background(), request(file))[0], transport.Failed, "5.3.5")
	as := command("keep")
	as.As = "nobody-known"
	check(t, "unknown controlling user", p.Deliver(context.Background(), request(as))[0], transport.Deferred, "4.3.0")
	if identity.CanChange() {
		nobody := open(t, Config{Users: users})
		check(t, "as root without a user", nobody.Deliver(context.Background(), request(command("true")))[0], transport.Deferred, "4.3.5")
	}
}

func files(t *testing.T) *mbox.Mbox {
	t.Helper()
	m, err := mbox.New(mbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestTemplates(t *testing.T) {
	values := map[string]string{"user": "U", "host": "H", "sender": "S", "id": "I", "home": "Z", "detail": "D"}
	for in, want := range map[string]string{"$u": "U", "$u@$h": "U@H", "a$$b": "a$b", "${user}x": "Ux", "$uxyz": "Uxyz", "$user": "U", "-f$g": "-fS", "$z/$d.$i": "Z/D.I", "": ""} {
		tpl, err := compile(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if got, err := tpl.expand(values); err != nil || got != want {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"$", "$x", "${u", "${nope}", "$1", "a\nb"} {
		if _, err := compile(in); err == nil {
			t.Errorf("%q compiles", in)
		}
	}
	for _, c := range []Config{{Program: "relative", Args: []string{"x"}}, {Program: "/bin/true"}, {Env: []string{"x"}}, {Programs: "rel"}, {Program: "/bin/true", Args: []string{"$nope"}}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}
