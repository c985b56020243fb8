package mbox_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/mbox"
	"waybill/transport/passwd"
)

// peers is a mailbox that Dovecot, procmail and we share, with the locks that all of them take.
type peers struct {
	t         *testing.T
	dir, box  string
	uid, gid  int
	cred      *syscall.Credential
	env, pop3 []string
}

func newPeers(t *testing.T) *peers {
	t.Helper()
	for _, tool := range []string{"/usr/lib/dovecot/dovecot-lda", "/usr/bin/doveadm", "/usr/lib/dovecot/pop3", "/usr/bin/procmail"} {
		if _, err := os.Stat(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("a program that shares mailboxes with us is missing: %v", err)
			}
			t.Skip(err)
		}
	}
	dir, err := os.MkdirTemp("/tmp", "mbox-peers")
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kept in %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	p := &peers{t: t, dir: dir, box: filepath.Join(dir, "mail/bob"), uid: os.Getuid(), gid: os.Getgid()}
	if p.uid == 0 {
		p.uid, p.gid = 8, 8
		p.cred = &syscall.Credential{Uid: 8, Gid: 8}
	}
	must(t, os.Chmod(dir, 0o755))
	for _, sub := range []string{"mail", "home", "run", "state", "index"} {
		must(t, os.Mkdir(filepath.Join(dir, sub), 0o755))
		must(t, os.Chown(filepath.Join(dir, sub), p.uid, p.gid))
	}
	location := fmt.Sprintf("mbox:%s/home:INBOX=%s:INDEX=%s/index", dir, p.box, dir)
	must(t, os.WriteFile(dir+"/dovecot.conf", fmt.Appendf(nil, "base_dir=%s/run\nstate_dir=%s/state\nlog_path=%s/run/log\nmail_location=%s\nmbox_write_locks=dotlock fcntl\nmbox_read_locks=dotlock fcntl\n"+
		"first_valid_uid=1\nfirst_valid_gid=1\nssl=no\nstats_writer_socket_path=\nmbox_lock_timeout=600 secs\n", dir, dir, dir, location), 0o644))
	must(t, os.WriteFile(dir+"/rc", fmt.Appendf(nil, "DEFAULT=%s\nLOCKSLEEP=1\n", p.box), 0o644))
	must(t, os.Chown(dir+"/rc", p.uid, p.gid))
	p.env = []string{"PATH=/usr/bin:/bin", "HOME=" + dir + "/home", "USER=bob", "LOGNAME=bob"}
	p.pop3 = append([]string{"MAIL=" + location}, p.env...)
	return p
}

func (p *peers) command(env []string, name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Env, c.Dir = env, p.dir+"/home"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: p.cred}
	return c
}

func text(id string) string {
	return "Subject: " + id + "\n\n" + strings.Repeat(id+" \n", 300) + "end of " + id + "\n"
}

// popAll gets and deletes everything that is in the mailbox, as a mail reader does, and returns the messages once the
// server has said that they are gone.
func (p *peers) popAll() (messages []string, err error) {
	c := p.command(p.pop3, "/usr/bin/doveadm", "-c", p.dir+"/dovecot.conf", "exec", "pop3")
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	pipe, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	defer func() {
		in.Close()
		err = errors.Join(err, c.Wait())
	}()
	out := bufio.NewReader(pipe)
	ask := func(format string, args ...any) (string, error) {
		fmt.Fprintf(in, format+"\r\n", args...)
		line, err := out.ReadString('\n')
		if err == nil && !strings.HasPrefix(line, "+OK") {
			err = errors.New(strings.TrimSpace(line))
		}
		return line, err
	}
	line, err := ask("STAT")
	if err != nil {
		return nil, err
	}
	var n int
	if _, err := fmt.Sscanf(line, "+OK %d", &n); err != nil {
		return nil, err
	}
	for i := 1; i <= n; i++ {
		if _, err := ask("RETR %d", i); err != nil {
			return nil, err
		}
		var b strings.Builder
		for {
			line, err := out.ReadString('\n')
			if err != nil {
				return nil, err
			}
			if line == ".\r\n" {
				break
			}
			b.WriteString(strings.TrimSuffix(strings.TrimPrefix(line, "."), "\r\n") + "\n")
		}
		messages = append(messages, b.String())
		if _, err := ask("DELE %d", i); err != nil {
			return nil, err
		}
	}
	if _, err := ask("QUIT"); err != nil {
		return nil, err
	}
	return messages, nil
}

// Dovecot, procmail and we append to one mailbox while a POP3 client empties it: no message is lost, torn or doubled.
// It is a thousand messages each, which takes a minute where nothing else runs; with -short, 60.
func TestDovecotAndProcmailShareTheMailbox(t *testing.T) {
	p := newPeers(t)
	each := 1000
	if testing.Short() {
		each = 60
	}
	user := passwd.Entry{UID: p.uid, GID: p.gid, Home: p.dir + "/home"}
	m := open(t, mbox.Config{Path: p.dir + "/mail/$user", Users: passwd.Static{"bob": user}, Group: -1, LockTimeout: 10 * time.Minute})

	writers := map[string]struct {
		workers int // procmail sleeps a second whenever the mailbox is locked, so there are many
		write   func(id string) error
	}{
		"waybill": {2, func(id string) error {
			req := request("bob")
			req.Body = envelope.BytesBody(text(id))
			if s := m.Deliver(context.Background(), req)[0]; s.Outcome() != transport.Delivered {
				return errors.New(s.Text())
			}
			time.Sleep(10 * time.Millisecond)
			return nil
		}},
		"dovecot": {2, func(id string) error {
			c := p.command(p.env, "/usr/lib/dovecot/dovecot-lda", "-c", p.dir+"/dovecot.conf", "-f", "s@x")
			c.Stdin = strings.NewReader(text(id))
			return run(c)
		}},
		"procmail": {32, func(id string) error {
			c := p.command(p.env, "/usr/bin/procmail", "-f", "s@x", p.dir+"/rc")
			c.Stdin = strings.NewReader(text(id))
			return run(c)
		}},
	}
	var writing sync.WaitGroup
	for name, w := range writers {
		var next atomic.Int64
		for range w.workers {
			writing.Go(func() {
				for i := next.Add(1); i <= int64(each); i = next.Add(1) {
					id := name + strconv.FormatInt(i, 10)
					if err := w.write(id); err != nil {
						t.Errorf("%s: %v", id, err)
					}
				}
			})
		}
	}
	done := make(chan struct{})
	go func() { writing.Wait(); close(done) }()
	seen := map[string]int{}
	sessions := 0
	for last := false; ; {
		messages, err := p.popAll()
		if err != nil {
			t.Errorf("pop3: %v", err)
		}
		sessions++
		for _, msg := range messages {
			_, body, _ := strings.Cut(msg, "\n\n")
			id, _, _ := strings.Cut(body, " ")
			want := text(id)
			_, want, _ = strings.Cut(want, "\n\n")
			if body != want {
				t.Errorf("damaged: %.200q", msg)
				continue
			}
			seen[id]++
		}
		if last {
			break
		}
		select {
		case <-done:
			last = true
		case <-time.After(50 * time.Millisecond):
		}
	}
	for name := range writers {
		for i := 1; i <= each; i++ {
			if id := name + strconv.Itoa(i); seen[id] != 1 {
				t.Errorf("%s arrived %d times", id, seen[id])
			}
		}
	}
	t.Logf("%d messages in %d POP3 sessions", len(seen), sessions)
}

func run(c *exec.Cmd) error {
	var out bytes.Buffer
	c.Stdout, c.Stderr = io.Writer(&out), io.Writer(&out)
	if err := c.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, out.String())
	}
	return nil
}
