package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"waybill/cmd/internal/testsite"
)

// relayRounds is how often each way of relaying is measured; the median counts.
const relayRounds = 3

// relaySite starts a site that gives all mail to next, when it says so.
func relaySite(ctx context.Context, bin, dir, next, when string) (*testsite.Site, error) {
	addrs, port, err := testsite.Ports(1)
	if err != nil {
		return nil, err
	}
	_, nextPort, _ := net.SplitHostPort(next)
	s, err := testsite.Layout(testsite.Options{
		Bin: bin, Dir: dir, Host: "bench.example.test", Addr: fmt.Sprintf("%s:%d", addrs[0], port), SMTPPort: port,
		Settings: "set retry 1s\nset sessions 3000\n",
		Rules:    "transport next smtp { port " + nextPort + "; mx no; concurrency 1000 }\nsend { otherwise " + when + " }\n",
		Route:    "$user+ < @ sink . test > => next [127.0.0.1] $user@sink.test\n",
	})
	if err != nil {
		return nil, err
	}
	return s, s.Start(ctx)
}

// postfixTool finds a program that comes with Postfix: installed, or unpacked by make peers.
func postfixTool(name string, args ...string) (*exec.Cmd, error) {
	if file, err := exec.LookPath(name); err == nil {
		return exec.Command(file, args...), nil
	}
	tree := filepath.Join(os.Getenv("PEERS"), "postfix", "usr")
	file := filepath.Join(tree, "sbin", name)
	if _, err := os.Stat(file); err != nil {
		return nil, err
	}
	c := exec.Command(file, args...)
	c.Env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(tree, "lib", "postfix"))
	return c, nil
}

// freePort is an address of 127.0.0.1 where nobody listens.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// answers waits until somebody listens at addr.
func answers(ctx context.Context, addr string) error {
	return testsite.Wait(ctx, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// journaledDir makes a directory on a journaled file system of its own when this is root: file-per-message queues behave
// abnormally on ext4 without a journal. free takes it away.
func journaledDir(dir string) (at string, free func(), err error) {
	if os.Getuid() != 0 {
		return dir, func() {}, nil
	}
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "journaled")
	if err := os.MkdirAll(at, 0o755); err != nil {
		return "", nil, err
	}
	for _, c := range [][]string{{"truncate", "-s", "4G", image}, {"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop", image, at}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			return "", nil, fmt.Errorf("%v: %w\n%s", c, err, out)
		}
	}
	return at, func() {
		syscall.Unmount(at, syscall.MNT_DETACH)
		os.Remove(image)
	}, os.Chmod(at, 0o755)
}

// way is one way from smtp-source to smtp-sink.
type way struct {
	name  string
	addr  string
	times []time.Duration
}

func (w *way) rate(n int) float64 { return float64(n) / median(w.times).Seconds() }

// relay sends messages of 10 KB over 20 sessions to Postfix's smtp-sink: straight; through us, while the client waits and
// by the spool; through Postfix and through sendmail. The clock stops when the sink has them all. Then 1,000 sessions at
// once.
func relay(ctx context.Context, bin, dir string, n int) error {
	if _, err := postfixTool("smtp-sink"); err != nil {
		fmt.Printf("\nSMTP relay: not measured, Postfix's smtp-source and smtp-sink are not here (make peers)\n")
		return nil
	}
	next, err := freePort()
	if err != nil {
		return err
	}
	disk, free, err := journaledDir(dir)
	if err != nil {
		return err
	}
	defer free()
	through, err := relaySite(ctx, bin, filepath.Join(disk, "through"), next, "now")
	if err != nil {
		return err
	}
	defer through.Kill()
	spooled, err := relaySite(ctx, bin, filepath.Join(disk, "spooled"), next, "background")
	if err != nil {
		return err
	}
	defer spooled.Kill()
	direct, cut, spool := &way{name: "smtp-source to smtp-sink", addr: next}, &way{name: "cut-through", addr: through.Addr}, &way{name: "by the spool", addr: spooled.Addr}
	ways := []*way{direct, cut, spool}
	var postfix, sendmail *way
	if os.Getenv(insideVar) != "" {
		p, stop, err := relayPostfix(ctx, filepath.Join(disk, "postfix"), next)
		if err != nil {
			return err
		}
		defer stop()
		s, stop, err := relaySendmail(ctx, filepath.Join(disk, "sendmail"), next)
		if err != nil {
			return err
		}
		defer stop()
		postfix, sendmail = p, s
		ways = append(ways, p, s)
	} else {
		fmt.Println("\nPostfix and sendmail are not here (make peers, as root): relaying is not compared")
	}
	for range relayRounds {
		for _, w := range ways {
			took, err := relayRound(ctx, w.addr, next, n)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			w.times = append(w.times, took)
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("\nSMTP relay, 10 KB, 20 sessions, %d messages, medians of %d rounds in turns (load of the machine: %s):\n", n, relayRounds, strings.TrimSpace(string(load)))
	for _, w := range ways {
		fmt.Printf("  %-28s %8.0f/s   %.2f of the tools alone  ", w.name, w.rate(n), w.rate(n)/direct.rate(n))
		for _, t := range w.times {
			fmt.Printf(" %.0f", float64(n)/t.Seconds())
		}
		fmt.Println()
	}
	verdict(cut.rate(n) >= 0.6*direct.rate(n), "cut-through at 60% of the tools alone")
	if postfix != nil {
		fmt.Printf("  by the spool %.2f x Postfix, %.2f x sendmail; cut-through %.2f x Postfix\n", spool.rate(n)/postfix.rate(n), spool.rate(n)/sendmail.rate(n), cut.rate(n)/postfix.rate(n))
		verdict(spool.rate(n) >= 2.5*postfix.rate(n), "by the spool 2.5 x Postfix")
		verdict(spool.rate(n) >= 10*sendmail.rate(n), "by the spool 10 x sendmail")
		verdict(cut.rate(n) >= 4*postfix.rate(n), "cut-through 4 x Postfix")
	}
	sink, err := startSink(ctx, next, 0)
	if err != nil {
		return err
	}
	defer sink.stop()
	sessions := min(1000, n)
	took, err := smtpSource(ctx, through.Addr, sessions, max(n, 2*sessions))
	fmt.Printf("  %-28s %8.0f/s\n", fmt.Sprintf("cut-through, %d sessions", sessions), float64(max(n, 2*sessions))/took.Seconds())
	verdict(err == nil, "all sessions without an error")
	return errors.Join(through.Stop(), spooled.Stop())
}

// sink is a running smtp-sink.
type sink struct {
	cmd  *exec.Cmd
	done chan struct{} // it has ended
}

// startSink starts one that ends when it has n messages; 0: it does not.
func startSink(ctx context.Context, addr string, n int) (*sink, error) {
	args := []string{"-m", "2000"}
	if os.Getuid() == 0 {
		args = append(args, "-u", "nobody")
	}
	if n > 0 {
		args = append(args, "-M", strconv.Itoa(n))
	}
	cmd, err := postfixTool("smtp-sink", append(args, addr, "2000")...)
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	s := &sink{cmd: cmd, done: make(chan struct{})}
	go func() { cmd.Wait(); close(s.done) }()
	return s, answers(ctx, addr)
}

func (s *sink) stop() {
	s.cmd.Process.Kill()
	<-s.done
}

// relayRound sends n messages to addr and waits until the sink at next has them.
func relayRound(ctx context.Context, addr, next string, n int) (time.Duration, error) {
	s, err := startSink(ctx, next, n)
	if err != nil {
		return 0, err
	}
	defer s.stop()
	start := time.Now()
	sent := make(chan error, 1)
	go func() {
		_, err := smtpSource(ctx, addr, 20, n)
		sent <- err
	}()
	limit := time.After(3 * time.Minute)
	for {
		select {
		case <-s.done:
			took := time.Since(start)
			if sent != nil {
				<-sent // straight to the sink it fails: the sink ends before smtp-source has said QUIT
			}
			return took, nil
		case err := <-sent:
			if err != nil && addr != next {
				return 0, err
			}
			sent = nil
		case <-limit:
			return 0, fmt.Errorf("%d messages did not arrive within 3 minutes", n)
		}
	}
}

// smtpSource sends messages of 10 KB.
func smtpSource(ctx context.Context, to string, sessions, messages int) (time.Duration, error) {
	c, err := postfixTool("smtp-source", "-s", strconv.Itoa(sessions), "-m", strconv.Itoa(messages), "-l", "10240", "-f", "a@bench.example.test", "-t", "b@sink.test", to)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if out, err := c.CombinedOutput(); err != nil {
		return time.Since(start), fmt.Errorf("smtp-source: %w: %s", err, out)
	}
	return time.Since(start), nil
}
