package testsite_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"waybill/queue/spool"
)

// TestClientQueue is a host as Debian's sendmail has it: programs submit with a submit.cf that FEATURE(msp) made, whose
// queue is the client queue, and a daemon with a sendmail.cf of its own takes the mail by SMTP on 127.0.0.1. While the
// daemon is away the mail waits in the client queue; queue runs with -Ac take it on.
func TestClientQueue(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root")
	}
	if err := build(); err != nil {
		t.Fatal(err)
	}
	peers := os.Getenv("PEERS")
	if peers == "" {
		peers, _ = filepath.Abs("../../../run/peers")
	}
	library := filepath.Join(peers, "sendmail/usr/share/sendmail/cf")
	dir, err := os.MkdirTemp("/var/lib", "waybill-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.23:0") // an address of its own: nobody's connections come from there, so the port stays free
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	free.Close()
	fill := strings.NewReplacer("@DIR@", dir, "@PORT@", port)
	for name, text := range map[string]string{
		"submit.mc": "OSTYPE(`linux')dnl\ndefine(`MSP_QUEUE_DIR', `@DIR@/client')dnl\ndefine(`confPID_FILE', `@DIR@/client.pid')dnl\ndefine(`STATUS_FILE', `@DIR@/st')dnl\n" +
			"define(`confRUN_AS_USER', `root')dnl\ndefine(`RELAY_MAILER_ARGS', `TCP $h @PORT@')dnl\nFEATURE(`msp', `[127.0.0.23]')dnl\n",
		"sendmail.cf": "V10/Berkeley\nCwlocalhost 127.0.0.23\nDjmail.example.org\nO QueueDirectory=@DIR@/mqueue\nO OperatorChars=.:%@!^/[]+\nO DaemonPortOptions=Port=@PORT@,Addr=127.0.0.23\n" +
			"O PidFile=@DIR@/daemon.pid\nMlocal, P=@DIR@/deliver, F=lsDFMuPS, U=root:root, A=deliver $u\nMprog, P=/bin/sh, F=lsDFMo, A=sh -c $u\n" +
			"S3\nR$*<$*>$*\t$:$2\nR$+@$+\t$:$1<@$2>\nS0\nR$+<@$+>\t$#local $: $1\nR$+\t$#local $: $1\nS4\nR$*<$+>$*\t$1$2$3\n",
		"deliver": "#!/bin/sh\ncat >> @DIR@/got\n",
	} {
		mode := os.FileMode(0o644)
		if name == "deliver" {
			mode = 0o755
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fill.Replace(text)), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, queue := range []string{"client", "mqueue"} {
		if err := os.Mkdir(filepath.Join(dir, queue), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	made, err := exec.Command("m4", "-D_CF_DIR_="+library+"/", filepath.Join(library, "m4/cf.m4"), filepath.Join(dir, "submit.mc")).Output()
	if err != nil || len(made) < 10000 {
		t.Fatalf("m4: %v, %d octets", err, len(made))
	}
	if err := os.WriteFile(filepath.Join(dir, "submit.cf"), made, 0o644); err != nil {
		t.Fatal(err)
	}
	submit, daemon := filepath.Join(dir, "submit.cf"), filepath.Join(dir, "sendmail.cf")
	run := func(in string, args ...string) string {
		t.Helper()
		cmd := exec.Command(filepath.Join(bin, "sendmail"), args...)
		cmd.Stdin = strings.NewReader(in)
		began := time.Now()
		out, err := cmd.CombinedOutput()
		if d := time.Since(began); d > time.Second {
			t.Logf("%v took %v", args, d)
		}
		if err != nil {
			t.Fatalf("sendmail %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	listed := func(n int) bool {
		return strings.Contains(run("", "-Ac", "-C", submit, "-bp"), "Total requests: "+strconv.Itoa(n)+"\n")
	}
	start := func(args ...string) func() {
		t.Helper()
		cmd := exec.Command(filepath.Join(bin, "sendmail"), args...)
		var says bytes.Buffer
		cmd.Stdout, cmd.Stderr = &says, &says
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var once bool
		stop := func() {
			if !once {
				once = true
				cmd.Process.Signal(os.Interrupt)
				cmd.Wait()
			}
		}
		t.Cleanup(func() {
			stop()
			if t.Failed() {
				t.Logf("%v says:\n%s", args, &says)
			}
		})
		return stop
	}
	arrived := func(subjects ...string) bool {
		got, _ := os.ReadFile(filepath.Join(dir, "got"))
		for _, s := range subjects {
			if strings.Count(string(got), "Subject: "+s+"\n") != 1 {
				return false
			}
		}
		return true
	}
	wait := func(what string, ok func() bool) {
		began := time.Now()
		defer func() { t.Logf("%s: %v", what, time.Since(began)) }()
		t.Helper()
		for range 2400 { // the queue runner leaves a daemon alone that did not answer, up to half a minute
			if ok() {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		got, _ := os.ReadFile(filepath.Join(dir, "got"))
		t.Fatalf("%s: nothing; in the client queue:\n%s\ndelivered:\n%s", what, run("", "-Ac", "-C", submit, "-bp"), got)
	}
	message := func(subject string) string { return fmt.Sprintf("To: root@example.org\nSubject: %s\n\nx\n", subject) }

	// The daemon is away: the mail waits in the client queue, and the program that sent it hears of no failure.
	run(message("one"), "-Ac", "-C", submit, "-oi", "-t")
	wait("waiting", func() bool { return listed(1) })
	stop := start("-bD", "-C", daemon)
	wait("the daemon", func() bool {
		c, err := net.Dial("tcp", "127.0.0.23:"+port)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	wait("a queue run", func() bool { // one leaves alone what the process that took it in is still trying
		run("", "-Ac", "-C", submit, "-q")
		return arrived("one") && listed(0)
	})

	// With the daemon there, mail goes straight through, also from sendmail -bs.
	run(message("two"), "-Ac", "-C", submit, "-oi", "root@example.org")
	inTurn(t, exec.Command(filepath.Join(bin, "sendmail"), "-Ac", "-C", submit, "-bs"),
		"HELO localhost\r\n", "MAIL FROM:<root>\r\n", "RCPT TO:<root@example.org>\r\n", "DATA\r\n", strings.ReplaceAll(message("three"), "\n", "\r\n")+".\r\n", "QUIT\r\n")
	wait("straight through", func() bool { return arrived("two", "three") && listed(0) })

	// A client queue runner that was there before the daemon.
	stop()
	run(message("four"), "-Ac", "-C", submit, "-oi", "-t")
	wait("waiting", func() bool { return listed(1) })
	run("", "-Ac", "-C", submit, "-q1s")
	t.Cleanup(func() {
		located, err := spool.Locate(submit)
		if err != nil {
			t.Fatal(err)
		}
		spool.Control(context.Background(), located.Socket, []string{"ping"}, func(line string) error {
			if pid, err := strconv.Atoi(line); err == nil {
				syscall.Kill(pid, syscall.SIGTERM)
			}
			return nil
		})
	})
	start("-bD", "-C", daemon)
	wait("the client queue runner", func() bool { return arrived("one", "two", "three", "four") && listed(0) })
}

// inTurn says each of the lines when the answer to the one before has come, of one line each.
func inTurn(t *testing.T, cmd *exec.Cmd, lines ...string) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(out)
	for _, line := range lines {
		answer, err := answers.ReadString('\n')
		if err != nil || answer[0] > '3' {
			t.Errorf("before %q: %q, %v", line, answer, err)
		}
		io.WriteString(in, line)
	}
	in.Close()
	io.Copy(io.Discard, answers)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
