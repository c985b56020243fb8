package testsite_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill/cmd/internal/testsite"
)

const importMC = `divert(0)dnl
OSTYPE(` + "`linux'" + `)dnl
define(` + "`QUEUE_DIR', `DIR/q'" + `)dnl
define(` + "`ALIAS_FILE', `DIR/aliases'" + `)dnl
define(` + "`STATUS_FILE', `DIR/statistics'" + `)dnl
define(` + "`confSERVICE_SWITCH_FILE', `DIR/switch'" + `)dnl
define(` + "`confDONT_BLAME_SENDMAIL', `GroupWritableDirPathSafe,AssumeSafeChown,TrustStickyBit'" + `)dnl
define(` + "`confDOMAIN_NAME', `here.example'" + `)dnl
define(` + "`confQUEUE_LA', `10000'" + `)define(` + "`confREFUSE_LA', `10000'" + `)define(` + "`confMIN_FREE_BLOCKS', `0'" + `)dnl
define(` + "`confDELIVERY_MODE', `queueonly'" + `)dnl
FEATURE(` + "`nocanonify'" + `)FEATURE(` + "`accept_unresolvable_domains'" + `)FEATURE(` + "`accept_unqualified_senders'" + `)dnl
MAILER(` + "`local'" + `)dnl
MAILER(` + "`smtp'" + `)dnl
`

// What Debian's sendmail has queued is taken over by "waybill queue import", and by a daemon whose spool directory it is
// in: delivered, held with its reason, or set aside, with senders, recipients, DSN parameters and times.
func TestQueueOfARealSendmail(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("sendmail wants to be root")
	}
	peers := os.Getenv("PEERS") // where "make peers" unpacks them
	if peers == "" {
		peers, _ = filepath.Abs("../../../run/peers")
	}
	reference, macros := filepath.Join(peers, "sendmail/usr/libexec/sendmail/sendmail"), filepath.Join(peers, "sendmail/usr/share/sendmail/cf")
	if _, err := os.Stat(reference); err != nil {
		t.Fatalf("%v; \"make peers\" unpacks it", err)
	}
	if err := build(); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/var/tmp", "import") // every component must be one that sendmail trusts
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kept in %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	os.Chmod(dir, 0o755)
	for _, sub := range []string{"q", "q/qd1"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"hosts": "127.0.0.1 here.example localhost\n", "resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
		"aliases": "filter: \"|/bin/false\"\n", "switch": "hosts files\naliases files\n", "config.mc": strings.ReplaceAll(importMC, "DIR/", dir+"/"),
	} {
		put(t, filepath.Join(dir, name), text)
	}
	config, err := exec.Command("m4", "-D_CF_DIR_="+macros+"/", filepath.Join(macros, "m4/cf.m4"), filepath.Join(dir, "config.mc")).Output()
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "sendmail.cf"), string(config))
	queued := func(in string, args ...string) {
		t.Helper()
		args = append([]string{"-um", "/bin/sh", "-c", alone, dir, reference, "-C", filepath.Join(dir, "sendmail.cf")}, args...)
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "unshare", args...)
		cmd.Stdin = strings.NewReader(in)
		if args[len(args)-1] == "-bs" { // a client that talks before it is greeted is cut off
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stdin = r
			defer r.Close()
			go func() {
				for range 600 {
					time.Sleep(50 * time.Millisecond)
					if log, _ := os.ReadFile(filepath.Join(dir, "smtp.out")); len(log) > 0 {
						break
					}
				}
				for line := range strings.Lines(in) {
					w.WriteString(line)
					time.Sleep(100 * time.Millisecond)
				}
				w.Close()
			}()
		}
		cmd.Dir, cmd.Env = dir, []string{"PATH=/usr/bin:/bin", "TZ=UTC", "USER=root", "LOGNAME=root", "HOME=/root"}
		said, err := os.Create(filepath.Join(dir, "smtp.out"))
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = said, said
		err = cmd.Run()
		out, _ := os.ReadFile(said.Name())
		said.Close()
		if err != nil || strings.Contains(string(out), "\n5") {
			t.Fatalf("sendmail %v: %v %s", args[6:], err, out)
		}
	}
	queued("Subject: one\nX-Folded: a\n\tb\n\nfirst line\n.\n", "-odq", "-i", "-f", "alice@far.test", "-N", "success,failure", "-R", "hdrs", "-V", "env+2B1", "bob@else.test", "Carol C <carol@else.test>")
	queued("Subject: two\n\nb\xe9\n", "-odq", "-B8BITMIME", "-f", "<>", "root")
	queued("Subject: held\n\nq\n", "-odq", "-f", "held@far.test", "root")
	queued("", "-Qbecause of me", "-qSheld@far.test")
	queued("Subject: hurt\n\nq\n", "-odq", "-f", "alice@far.test", "hurt@else.test")
	queued("EHLO c.test\r\nMAIL FROM:<s@far.test> BODY=8BITMIME RET=FULL ENVID=a+3Db\r\nRCPT TO:<never@else.test> NOTIFY=NEVER\r\nRCPT TO:<orcpt@else.test> ORCPT=rfc822;o+2Br@z.test NOTIFY=DELAY,FAILURE\r\nDATA\r\nSubject: three\r\n\r\nx\r\n.\r\nQUIT\r\n", "-bs")
	control, _ := filepath.Glob(filepath.Join(dir, "q", "[qh]f*"))
	if len(control) != 5 {
		t.Fatalf("sendmail queued %v", control)
	}
	held := ""
	for _, name := range control {
		if filepath.Base(name)[0] == 'h' {
			held = filepath.Base(name)[2:]
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "hurt@") { // half of it is gone
			put(t, name, string(text[:len(text)/2]))
		}
	}

	addrs, port, err := testsite.Ports(2)
	if err != nil {
		t.Fatal(err)
	}
	sink, err := testsite.StartSink(fmt.Sprintf("%s:%d", addrs[1], port))
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	s, err := testsite.Layout(testsite.Options{
		Bin: bin, Dir: filepath.Join(dir, "site"), Host: "here.example", Addr: net.JoinHostPort(addrs[0], fmt.Sprint(port)), SMTPPort: port,
		Rules: fmt.Sprintf("transport hop smtp { port %d; mx no }\n", port), Route: fmt.Sprintf("$user+ < @ else.test > => hop [%s] $user@else.test\n", addrs[1]),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer s.Kill()
	r, err := s.Waybill("queue", "-C", s.Rules, "import", filepath.Join(dir, "q"))
	if err != nil || !strings.Contains(r.Out, "4 messages taken over, 1 left there") {
		t.Fatalf("%v %+v", err, r)
	}
	if err := testsite.Wait(ctx, func() bool { return strings.Join(s.Spooled(), " ") == "hold/"+held }); err != nil {
		t.Fatalf("%v\n%s", s.Spooled(), s.Trouble())
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "q", "[a-z]f*")); len(left) != 1 || filepath.Base(left[0])[:2] != "df" {
		t.Errorf("left in sendmail's queue: %v", left)
	}
	if aside, _ := filepath.Glob(filepath.Join(dir, "q", "Qf*")); len(aside) != 1 {
		t.Errorf("set aside: %v", aside)
	}
	if _, err := s.WaitLog(ctx, `damaged queue file of sendmail was set aside.*Qf`); err != nil {
		t.Error(err)
	}
	for to, want := range map[string][]string{
		"bob@else.test":   {"From:<alice@far.test>", "ENVID=env+2B1", "RET=HDRS", "NOTIFY=SUCCESS,FAILURE", "X-Folded: a\r\n\tb\r\n", "\r\nfirst line\r\n", "Message-Id: "},
		"carol@else.test": {"From:<alice@far.test>"},
		"never@else.test": {"From:<s@far.test>", "ENVID=a+3Db", "RET=FULL", "NOTIFY=NEVER"},
		"orcpt@else.test": {"ORCPT=rfc822;o+2Br@z.test", "NOTIFY=FAILURE,DELAY"},
	} {
		got := sink.For(to)
		if len(got) != 1 {
			t.Errorf("%s got %d copies", to, len(got))
			continue
		}
		text := fmt.Sprintf("%+v\n%s", got[0], got[0].Data)
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: no %q in\n%s", to, w, text)
			}
		}
		if strings.Contains(text, "Return-Path") {
			t.Errorf("%s: %s", to, text)
		}
	}
	if _, err := s.WaitMailbox(ctx, "root", "Subject: two"); err != nil {
		t.Error(err)
	}
	list, err := s.Waybill("queue", "-C", s.Rules, "--json", "list")
	if err != nil || !strings.Contains(list.Out, "because of me") || !strings.Contains(list.Out, "held@far.test") {
		t.Errorf("%v %+v", err, list)
	}

	// A queue in the spool directory itself is taken over at start.
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	queued("Subject: late\n\nq\n", "-odq", "-f", "alice@far.test", "late@else.test")
	files, _ := filepath.Glob(filepath.Join(dir, "q", "[qd]f*"))
	for _, f := range files {
		if err := os.Rename(f, filepath.Join(s.Dir, "spool", filepath.Base(f))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := testsite.Wait(ctx, func() bool { return len(sink.For("late@else.test")) == 1 }); err != nil {
		t.Error(s.Trouble())
	}
}
