// Command try lets real mail flow on a throw-away site and shows what happened to each message: "make try". It needs no
// root and leaves nothing behind. Two hosts, a.example.test and b.example.test, run on loopback addresses with the
// embedded default rules, a small name server tells them about each other, and real programs send mail.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"waybill/cmd/internal/testsite"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: try DIRECTORY-OF-THE-COMMANDS (or: make try)")
		os.Exit(64)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "try:", err)
		os.Exit(1)
	}
}

// trial is the throw-away world.
type trial struct {
	ctx    context.Context
	out    io.Writer
	dir    string
	a, b   *testsite.Site
	seen   map[*testsite.Site]int // lines of the log that were there before the present message
	failed int
}

func run(ctx context.Context, bin string, out io.Writer) error {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "waybill-try-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	t := &trial{ctx: ctx, out: out, dir: dir, seen: map[*testsite.Site]int{}}
	stop, err := t.set(bin)
	if err != nil {
		return err
	}
	defer stop()
	for _, s := range []*testsite.Site{t.a, t.b} {
		if err := s.Start(ctx); err != nil {
			return err
		}
		defer s.Kill()
	}
	fmt.Fprintf(t.out, "Two hosts are up, with the embedded default rules: a.example.test (%s) and b.example.test (%s).\n", t.a.Addr, t.b.Addr)

	t.messages()

	for _, s := range []*testsite.Site{t.a, t.b} {
		if err := s.Stop(); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return errors.New("interrupted")
	}
	if t.failed > 0 {
		return fmt.Errorf("%d of the messages did not go as they should", t.failed)
	}
	fmt.Fprint(t.out, "\nAll of it arrived as it was sent, or came back with an explanation. Nothing is left behind.\n")
	return nil
}

// set lays the world out: two sites, and a name server that knows them.
func (t *trial) set(bin string) (stop func(), err error) {
	addrs, port, err := testsite.Ports(2)
	if err != nil {
		return nil, err
	}
	resolver, stop, err := testsite.ServeDNS(fmt.Sprintf("a.example.test. MX 10 a.example.test.\na.example.test. A %s\nb.example.test. MX 10 b.example.test.\nb.example.test. A %s\n", addrs[0], addrs[1]))
	if err != nil {
		return nil, err
	}
	sites := make([]*testsite.Site, 2)
	for i, name := range []string{"a", "b"} {
		s, err := testsite.Layout(testsite.Options{Bin: bin, Dir: filepath.Join(t.dir, name), Host: name + ".example.test", Addr: fmt.Sprintf("%s:%d", addrs[i], port)})
		if err != nil {
			stop()
			return nil, err
		}
		rules, err := defaultRules(s, resolver, port)
		if err == nil {
			err = os.WriteFile(s.Rules, rules, 0o644)
		}
		if err != nil {
			stop()
			return nil, err
		}
		sites[i] = s
	}
	t.a, t.b = sites[0], sites[1]
	return stop, nil
}

// defaultRules are the embedded rules with what an administrator would write above them, and with places that a user
// without privileges may use.
func defaultRules(s *testsite.Site, resolver string, port int) ([]byte, error) {
	r, err := s.Waybill("rules", "default")
	if err != nil || r.Exit != 0 {
		return nil, fmt.Errorf("waybill rules default: exit %d %w\n%s", r.Exit, err, r.Err)
	}
	text := r.Out
	for _, change := range [][2]string{
		{"/var/mail/$user", s.Dir + "/mail/$user"},
		{"/var/spool/uucp", s.Dir + "/uucp; sites host"},
		{"?/etc/aliases", s.Dir + "/aliases"},
		{"smtp { ", fmt.Sprintf("smtp { port %d; ", port)},
	} {
		if !strings.Contains(text, change[0]) {
			return nil, fmt.Errorf("the default rules do not contain %q any more", change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	head := fmt.Sprintf("host %s\nspool %s/spool\nset listen %s\nset resolver %s\nset users %s/users\nset log %s\nset retry 1s 2s\n\n", s.Host, s.Dir, s.Addr, resolver, s.Dir, s.LogFile)
	return []byte(head + text), nil
}

// say announces a message.
func (t *trial) say(format string, args ...any) {
	for _, s := range []*testsite.Site{t.a, t.b} {
		t.seen[s] = len(s.Log())
	}
	fmt.Fprintf(t.out, "\n"+format+"\n", args...)
}

// send runs sendmail on host a and prints the command.
func (t *trial) send(message string, args ...string) testsite.Result {
	fmt.Fprintf(t.out, "    $ sendmail %s <message\n", strings.Join(args, " "))
	r, err := t.a.Sendmail(strings.NewReader(message), args...)
	if err != nil {
		t.fail("%v", err)
	}
	for line := range strings.Lines(r.Out + r.Err) {
		fmt.Fprint(t.out, "    ", line)
	}
	if r.Exit != 0 {
		fmt.Fprintf(t.out, "    exit status %d\n", r.Exit)
	}
	return r
}

func (t *trial) fail(format string, args ...any) {
	t.failed++
	fmt.Fprintf(t.out, "    FAILED: "+format+"\n", args...)
}

// log shows what the mail log of a site says about a recipient of the present message.
func (t *trial) log(s *testsite.Site, recipient string) {
	ctx, cancel := context.WithTimeout(t.ctx, time.Minute)
	defer cancel()
	text := ""
	err := testsite.Wait(ctx, func() bool {
		for _, e := range s.Log()[t.seen[s]:] {
			if strings.HasPrefix(e.Text, "to=<"+recipient+">") && strings.Contains(e.Text, "stat=") {
				text = e.Text
			}
		}
		return text != ""
	})
	if err != nil {
		t.fail("the log does not say what became of it\n%s", s.Trouble())
		return
	}
	host, _, _ := strings.Cut(s.Host, ".")
	fmt.Fprintf(t.out, "    log of %s: %s\n", host, text)
}

// arrived waits for a message with text in a mailbox, compares it with what was sent, and shows its way.
func (t *trial) arrived(s *testsite.Site, user, text, sent string) {
	ctx, cancel := context.WithTimeout(t.ctx, time.Minute)
	defer cancel()
	m, err := s.WaitMailbox(ctx, user, text)
	if err != nil {
		t.fail("%v\n%s", err, s.Trouble())
		return
	}
	if sent == "" {
		return
	}
	if err := testsite.Compare([]byte(sent), m.Data, testsite.Changes{Quoted: true, Replaced: []string{"from", "to"}}); err != nil {
		t.fail("it changed on its way: %v", err)
		return
	}
	fmt.Fprintf(t.out, "    in the mailbox of %s@%s, %d octets, as it was sent\n", user, s.Host, len(m.Data))
}

// bounced waits for the notice about a message and shows why it came back.
func (t *trial) bounced(user, about string) {
	ctx, cancel := context.WithTimeout(t.ctx, time.Minute)
	defer cancel()
	m, err := t.a.WaitMailbox(ctx, user, about)
	if err != nil {
		t.fail("no notice came: %v\n%s", err, t.a.Trouble())
		return
	}
	for line := range strings.Lines(string(m.Data)) {
		for _, field := range []string{"Final-Recipient:", "Action:", "Status:", "Diagnostic-Code:"} {
			if strings.HasPrefix(line, field) {
				fmt.Fprint(t.out, "    notice to ", user, ": ", line)
			}
		}
	}
}

// messages sends them, one kind after the other.
func (t *trial) messages() {
	t.say("1. A job of cron writes to root.")
	sent := "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@a> backup --all\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\nSicherung: 12 Dateien übertragen\n"
	t.send(sent, "-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root")
	t.log(t.a, "root")
	t.arrived(t.a, "root", "Sicherung", sent)

	t.say("2. Lines that mean something to mail programs, to the other host.")
	sent = "From: alice@a.example.test\nTo: bob@b.example.test\nSubject: lines\n\nFrom here\n.\n..\nFrom there\n"
	t.send(sent, "-i", "-t", "-f", "alice@a.example.test")
	t.log(t.a, "bob@b.example.test")
	t.arrived(t.b, "bob", "Subject: lines", sent)

	t.patch()
	t.attachment()

	t.say("5. Somebody who does not exist: sendmail says so at once, and mails the message back as asked.")
	if r := t.send("Subject: typo\n\nhello\n", "-oem", "-f", "alice", "nosuch"); r.Exit != 67 {
		t.fail("exit status %d, want 67", r.Exit)
	}
	t.bounced("alice", "typo")

	t.say("6. A domain that does not exist: the message is accepted, and comes back from Mailer-Daemon.")
	t.send("Subject: no domain\n\nhello\n", "-f", "alice", "bob@nosuch.test")
	t.log(t.a, "bob@nosuch.test")
	t.bounced("alice", "no domain")

	t.say("7. By UUCP: a job for the neighbour \"host\" in the UUCP spool.")
	t.send("Subject: by telephone\n\nhello\n", "host!user")
	t.log(t.a, "host!user")
	t.files(filepath.Join(t.a.Dir, "uucp"))

	t.say("8. Why does mail go where it goes?")
	fmt.Fprint(t.out, "    $ waybill rules explain bob@b.example.test host!user\n")
	r, err := t.a.Waybill("rules", "explain", "-C", t.a.Rules, "bob@b.example.test", "host!user")
	if err != nil || r.Exit != 0 {
		t.fail("exit %d %v %s", r.Exit, err, r.Err)
	}
	for line := range strings.Lines(r.Out) {
		fmt.Fprint(t.out, "    ", strings.ReplaceAll(line, t.a.Dir+"/", ""))
	}

	t.say("9. Nothing waits any more.")
	ctx, cancel := context.WithTimeout(t.ctx, time.Minute)
	defer cancel()
	for _, s := range []*testsite.Site{t.a, t.b} {
		if err := s.WaitEmpty(ctx); err != nil {
			t.fail("%v\n%s", err, s.Trouble())
		}
	}
	fmt.Fprint(t.out, "    $ mailq\n")
	if r, err := t.a.Sendmail(nil, "-bp"); err == nil {
		for line := range strings.Lines(r.Out) {
			fmt.Fprint(t.out, "    ", strings.ReplaceAll(line, t.a.Dir+"/", ""))
		}
	}
}

// patch sends a patch with git send-email, where that is installed.
func (t *trial) patch() {
	t.say("3. A patch by git send-email, from a to b.")
	script := `git init -q . && printf 'one\n' >file && git add file && git commit -qm first &&
printf 'one\ntwo\n' >file && git commit -qam 'add a line' && git format-patch -q -1 HEAD >/dev/null &&
git send-email --quiet --confirm=never --suppress-cc=all --from='Alice <alice@a.example.test>' --to=bob@b.example.test --sendmail-cmd="$SENDMAIL" 0001-*.patch`
	if !gitSendEmail() {
		fmt.Fprintln(t.out, "    left out: git send-email is not installed (Debian: git and git-email)")
		return
	}
	dir := filepath.Join(t.dir, "patch")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.fail("%v", err)
		return
	}
	c := exec.CommandContext(t.ctx, "sh", "-c", script)
	c.Dir = dir
	c.Env = append(os.Environ(), "SENDMAIL="+filepath.Join(t.a.Bin, "sendmail")+" -C "+t.a.Rules, "HOME="+dir, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=Alice", "GIT_AUTHOR_EMAIL=alice@a.example.test", "GIT_COMMITTER_NAME=Alice", "GIT_COMMITTER_EMAIL=alice@a.example.test")
	fmt.Fprintln(t.out, "    $ git send-email --sendmail-cmd=sendmail --to=bob@b.example.test 0001-add-a-line.patch")
	if out, err := c.CombinedOutput(); err != nil {
		t.fail("%v\n%s", err, out)
		return
	}
	t.log(t.a, "bob@b.example.test")
	t.arrived(t.b, "bob", "[PATCH] add a line", "")
	fmt.Fprintln(t.out, "    it is in the mailbox of bob@b.example.test")
}

// gitSendEmail reports whether git has the command, in a version that can be told which sendmail to use.
func gitSendEmail() bool {
	out, _ := exec.Command("git", "send-email", "-h").CombinedOutput()
	return bytes.Contains(out, []byte("--sendmail-cmd"))
}

// attachment sends 10 MB, packed by a real MIME program where one is installed.
func (t *trial) attachment() {
	t.say("4. An attachment of 10 MB, from a to b.")
	data := make([]byte, 10<<20)
	rand.NewChaCha8([32]byte{1}).Read(data)
	var sent []byte
	if _, err := exec.LookPath("mpack"); err == nil {
		c := exec.CommandContext(t.ctx, "mpack", "-s", "holiday photo", "-c", "application/octet-stream", "-o", "photo.eml", "photo.bin")
		c.Dir = t.dir
		err := os.WriteFile(filepath.Join(t.dir, "photo.bin"), data, 0o644)
		if err == nil {
			err = c.Run()
		}
		if err == nil {
			sent, err = os.ReadFile(filepath.Join(t.dir, "photo.eml"))
		}
		if err != nil {
			t.fail("mpack: %v", err)
			return
		}
	} else {
		fmt.Fprintln(t.out, "    packed by ourselves: mpack is not installed")
		var err error
		if sent, err = io.ReadAll(testsite.Stream("holiday photo", 14<<20)); err != nil {
			t.fail("%v", err)
			return
		}
	}
	t.send(string(sent), "-i", "bob@b.example.test")
	t.arrived(t.b, "bob", "holiday photo", string(sent))
}

// files lists what lies below a directory.
func (t *trial) files(dir string) {
	n := 0
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		if name := info.Name(); strings.HasPrefix(name, "C.") || strings.HasPrefix(name, "D.") || strings.HasPrefix(name, "X.") {
			n++
			rel, _ := filepath.Rel(t.a.Dir, path)
			fmt.Fprintf(t.out, "    %s, %d octets\n", rel, info.Size())
		}
		return nil
	})
	if err != nil || n != 3 {
		t.fail("%d files of a job, want 3 %v", n, err)
	}
}
