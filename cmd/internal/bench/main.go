// Command bench prints the figures that Waybill promises, measured on this machine: how long a program waits for
// "sendmail -t", how much memory a large message costs, how fast one mailbox fills. Times are told as ratios to an empty Go program and to
// peers, taken in turns in one run, because the machine says more about milliseconds than the mailer does. In flow the
// directory with the built commands and, with -peer, commands to compare with; out flows a table.
//
//	bench [-n RUNS] [-part PART] [-peer NAME=COMMAND]... BIN
//
// A peer's COMMAND is split at blanks, gets the message on standard input, and must take it: "postfix=sendmail -t".
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"waybill/cmd/internal/testsite"
)

func main() {
	runs := flag.Int("n", 200, "timed runs of each command")
	var peers []contestant
	flag.Func("peer", "NAME=COMMAND to compare with", func(s string) error {
		name, command, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("%q is not NAME=COMMAND", s)
		}
		peers = append(peers, contestant{name: name, args: strings.Fields(command)})
		return nil
	})
	part := flag.String("part", "", "only this: submission, memory, smtp, mailbox or queue")
	flag.Parse()
	enterNamespace()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: bench [-n RUNS] [-part PART] [-peer NAME=COMMAND]... BIN")
		os.Exit(64)
	}
	if err := bench(flag.Arg(0), *runs, *part, peers); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(bin string, runs int, part string, peers []contestant) error {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "waybill-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // peers drop root
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	for _, p := range []struct {
		name string
		run  func() error
	}{
		{"submission", func() error { return submission(ctx, bin, dir, runs, peers) }},
		{"memory", func() error { return memory(ctx, bin, dir) }},
		{"smtp", func() error { return smtp(ctx, bin, dir, min(2000, 10*runs)) }},
		{"mailbox", func() error { return oneMailbox(ctx, bin, dir, min(2000, 10*runs)) }},
		{"queue", func() error {
			if runs < 10 { // so few only try this program out
				return nil
			}
			return queueFigures(ctx)
		}},
	} {
		if part != "" && part != p.name {
			continue
		}
		if err := p.run(); err != nil {
			return err
		}
	}
	return nil
}

// site starts a site whose only user is bob.
func site(ctx context.Context, bin, dir string) (*testsite.Site, error) {
	addrs, port, err := testsite.Ports(1)
	if err != nil {
		return nil, err
	}
	s, err := testsite.Layout(testsite.Options{Bin: bin, Dir: dir, Host: "bench.example.test", Addr: fmt.Sprintf("%s:%d", addrs[0], port), SMTPPort: port})
	if err != nil {
		return nil, err
	}
	return s, s.Start(ctx)
}

// contestant is a command whose run is timed.
type contestant struct {
	name  string
	args  []string
	times []time.Duration
	empty func(ctx context.Context) error // waits until what was handed over is delivered; nil: nobody waits
}

// submission times "sendmail -t" with a message of 10 KB to one, ten and a hundred recipients, while the daemon runs and
// while it does not.
func submission(ctx context.Context, bin, dir string, runs int, peers []contestant) error {
	empty, err := emptyProgram(dir)
	if err != nil {
		return err
	}
	servers, err := mailServers()
	if err != nil {
		return err
	}
	for _, m := range servers {
		defer m.stop()
		peers = append(peers, m.contestant)
	}
	if len(servers) == 0 {
		fmt.Println("Postfix and sendmail are not here (make peers, as root): their times are not measured")
	}
	for _, daemon := range []bool{true, false} {
		for i, m := range servers {
			m.stop()
			here := &peers[len(peers)-len(servers)+i]
			here.empty = nil
			if daemon {
				if err := m.start(ctx); err != nil {
					return fmt.Errorf("%s: %w", m.serve[0], err)
				}
				here.empty = m.settle
			}
		}
		for _, recipients := range []int{1, 10, 100} {
			n := runs
			if recipients > 1 || !daemon {
				n = max(min(runs, 20), runs/4)
			}
			if err := submissions(ctx, bin, dir, empty, n, recipients, daemon, peers); err != nil {
				return err
			}
		}
	}
	return nil
}

// emptyProgram builds a Go program that does nothing: what starting a program costs here.
func emptyProgram(dir string) (string, error) {
	empty := filepath.Join(dir, "empty")
	source := filepath.Join(dir, "empty.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", empty, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building an empty program: %w\n%s", err, out)
	}
	return empty, nil
}

// tenKB is a message of that size. Its recipients are bob, and bob+1, bob+2 and so on, who are bob as well.
func tenKB(recipients int) string {
	to := "bob@bench.example.test"
	for i := 1; i < recipients; i++ {
		to += fmt.Sprintf(",\n bob+%d@bench.example.test", i)
	}
	return "From: alice@bench.example.test\nTo: " + to + "\nSubject: ten kilobytes\n\n" +
		strings.Repeat("The quick brown fox jumps over the lazy dog, and 78 octets are in this line...\n", 128)
}

func submissions(ctx context.Context, bin, dir, empty string, runs, recipients int, daemon bool, peers []contestant) error {
	s, err := site(ctx, bin, filepath.Join(dir, fmt.Sprintf("submission-%d-%t", recipients, daemon)))
	if err != nil {
		return err
	}
	defer s.Kill()
	if !daemon {
		if err := s.Stop(); err != nil {
			return err
		}
	}
	message := filepath.Join(dir, "message")
	if err := os.WriteFile(message, []byte(tenKB(recipients)), 0o644); err != nil {
		return err
	}
	complaints, err := os.Create(filepath.Join(dir, "complaints"))
	if err != nil {
		return err
	}
	defer complaints.Close()
	all := append([]contestant{
		{name: "an empty Go program", args: []string{empty}},
		{name: "waybill: sendmail -t", args: []string{filepath.Join(bin, "sendmail"), "-C", s.Rules, "-t"}, empty: s.WaitEmpty},
	}, peers...)
	if !daemon {
		all[1].empty = nil // as with the others: what takes over is not waited for
	}
	pause := 5 * time.Millisecond
	if len(peers) > 1 {
		pause = 40 * time.Millisecond
	}
	for round := range runs + 5 {
		for i := range all {
			in, err := os.Open(message)
			if err != nil {
				return err
			}
			c := exec.Command(all[i].args[0], all[i].args[1:]...)
			c.Stdin, c.Stderr = in, complaints // files: what runs on behind the user's back delays nothing
			began := time.Now()
			err = c.Run()
			took := time.Since(began)
			in.Close()
			if err != nil {
				text, _ := os.ReadFile(complaints.Name())
				return fmt.Errorf("%s: %w\n%s", all[i].name, err, text)
			}
			if round >= 5 { // the first ones warm up
				all[i].times = append(all[i].times, took)
			}
			// What a mailer does behind the user's back is not the next one's burden: with a hundred recipients each of
			// them delivers for longer than it takes to hand the message over.
			if all[i].empty != nil {
				if err := all[i].empty(ctx); err != nil {
					return fmt.Errorf("%s: %w", all[i].name, err)
				}
			}
			time.Sleep(pause)
		}
	}
	state := "runs"
	if !daemon {
		state = "does not run"
	}
	fmt.Printf("A program hands over 10 KB to %d (%d runs in turns, the daemon %s):\n", recipients, runs, state)
	base := median(all[0].times)
	for _, c := range all {
		m := median(c.times)
		fmt.Printf("  %-28s median %6.2f ms   90%% %6.2f ms   %5.1f x empty\n", c.name, ms(m), ms(quantile(c.times, 0.9)), float64(m)/float64(base))
	}
	ours := median(all[1].times)
	if len(peers) > 0 {
		fastest := median(slices.MinFunc(all[2:], func(a, b contestant) int { return cmp.Compare(median(a.times), median(b.times)) }).times)
		fmt.Printf("  that is %.2f of the faster peer's time\n", float64(ours)/float64(fastest))
		verdict(2*ours <= fastest, "at most 0.5 of it")
	}
	if len(peers) > 0 {
		load, _ := os.ReadFile("/proc/loadavg")
		fmt.Printf("  load of the machine: %s", load)
	}
	if recipients == 1 && daemon {
		verdict(ours <= 4*time.Millisecond, "at most 4 ms")
		fmt.Printf("  the goal was set where an empty program takes 1 ms: that is 4.0 x empty, and here it is %.1f x\n", float64(ours)/float64(base))
	}
	if !daemon {
		if err := s.Start(ctx); err != nil {
			return err
		}
	}
	if err := s.WaitEmpty(ctx); err != nil {
		return err
	}
	if got, err := s.Mailbox("bob"); err != nil || len(got) != recipients*(runs+5) {
		return fmt.Errorf("%d of %d messages arrived: %v", len(got), recipients*(runs+5), err)
	}
	return s.Stop()
}

// memory compares the peaks of the processes for a small and a 50 MB message.
func memory(ctx context.Context, bin, dir string) error {
	const large, allowed = 50 << 20, 8 << 20
	var front, daemon [2]int64
	for i, size := range []int64{1000, large} {
		s, err := site(ctx, bin, filepath.Join(dir, fmt.Sprint("memory", i)))
		if err != nil {
			return err
		}
		defer s.Kill()
		r, peak, err := s.MeasuredCommand(testsite.Stream("memory", size), "sendmail", "-C", s.Rules, "-i", "bob")
		if err != nil || r.Exit != 0 {
			return fmt.Errorf("sendmail: %+v %v", r, err)
		}
		front[i] = peak
		if err := testsite.Wait(ctx, func() bool {
			info, err := os.Stat(filepath.Join(s.Dir, "mail", "bob"))
			return err == nil && info.Size() >= size
		}); err != nil {
			return fmt.Errorf("the message does not arrive: %w\n%s", err, s.Trouble())
		}
		if err := s.WaitEmpty(ctx); err != nil {
			return err
		}
		if daemon[i], err = testsite.PeakMemory(s.PID()); err != nil {
			return err
		}
		if err := s.Stop(); err != nil {
			return err
		}
	}
	fmt.Printf("\nPeak memory, 1 KB and 50 MB through front end, queue and mailbox:\n")
	for _, p := range []struct {
		name string
		peak [2]int64
	}{{"sendmail", front}, {"waybill serve", daemon}} {
		fmt.Printf("  %-28s %6.1f MB   %6.1f MB   %+.1f MB\n", p.name, mb(p.peak[0]), mb(p.peak[1]), mb(p.peak[1]-p.peak[0]))
	}
	verdict(front[1]-front[0] <= allowed && daemon[1]-daemon[0] <= allowed, "at most 8 MB more")
	return nil
}

func verdict(ok bool, goal string) {
	word := "reached"
	if !ok {
		word = "MISSED"
	}
	fmt.Printf("  goal, %s: %s\n", goal, word)
}

func median(d []time.Duration) time.Duration { return quantile(d, 0.5) }

func quantile(d []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[int(q*float64(len(sorted)-1))]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func mb(n int64) float64 { return float64(n) / (1 << 20) }
