package main

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// queueRounds is how often each benchmark of the queue runs; the median counts.
const queueRounds = 3

// figure is what one benchmark of package queue reported, by unit.
type figure map[string][]float64

func (f figure) median(unit string) float64 {
	if len(f[unit]) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(f[unit]))
	return sorted[len(sorted)/2]
}

func (f figure) String() string {
	var units []string
	for unit := range f {
		units = append(units, unit)
	}
	slices.Sort(units)
	var b strings.Builder
	for _, unit := range units {
		if unit == "ns/op" || strings.HasPrefix(unit, "B/") || strings.HasPrefix(unit, "allocs/") {
			continue
		}
		fmt.Fprintf(&b, "  %s", unit)
		for _, v := range f[unit] {
			fmt.Fprintf(&b, " %.4g", v)
		}
	}
	return b.String()
}

// queueFigures runs the benchmarks of package queue: the spool lies on a journaled loop image when we are root.
func queueFigures(ctx context.Context) error {
	source, err := moduleRoot()
	if err != nil {
		return err
	}
	fmt.Printf("\nThe queue, 10 KB, %d runs each", queueRounds)
	if os.Getuid() != 0 {
		fmt.Printf(" (not root: on whatever file system %s is on)", os.TempDir())
	}
	fmt.Println(":")
	all := map[string]figure{}
	for _, part := range []struct{ pattern, times string }{{"^BenchmarkSync$|^Benchmark(Accept|Life)$/^log$", "10000x"}, {"^Benchmark(Start|Million)$", "1x"}} {
		cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", part.pattern, "-benchtime", part.times, "-count", strconv.Itoa(queueRounds), "./queue")
		cmd.Dir, cmd.Stderr = source, os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if !figures(all, lines.Text()) && strings.Contains(lines.Text(), "FAIL") {
				fmt.Println(lines.Text())
			}
		}
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("the benchmarks of package queue: %w", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Printf("  %-24s%s\n", name, all[name])
	}
	const rate = "messages/s"
	sync, one, many := all["Sync"].median(rate), all["Accept/log/producers=1"].median(rate), all["Accept/log/producers=32"].median(rate)
	fmt.Printf("  one producer gets %.2f of what one fdatasync for each message allows\n", one/max(1, sync))
	verdict(one >= 0.8*sync && sync > 0, "0.8 of it")
	verdict(many >= 15000, "15,000 accepted a second with 32 producers")
	verdict(all["Life/log/producers=32"].median(rate) >= 12000, "12,000 lives a second")
	start := all["Start"]
	verdict(start.median("s-to-plan-all") < 5 && start.median("ms-to-accept") < 1000, "100,000 files planned within 5 s, new mail accepted within the first")
	verdict(max(start.median("octets/message"), all["Million"].median("octets/message")) <= 400, "400 octets for each waiting message")
	return nil
}

// figures reads a result line of the testing package: name, runs, and pairs of a value and its unit.
func figures(all map[string]figure, line string) bool {
	words := strings.Fields(line)
	name, ok := strings.CutPrefix(line, "Benchmark")
	if !ok || len(words) < 4 {
		return false
	}
	name, _, _ = strings.Cut(name, " ")
	name = strings.Fields(name)[0]
	if i := strings.LastIndexByte(name, '-'); i > 0 { // the number of processors
		name = name[:i]
	}
	f := all[name]
	if f == nil {
		f = figure{}
		all[name] = f
	}
	for i := 2; i+1 < len(words); i += 2 {
		v, err := strconv.ParseFloat(words[i], 64)
		if err != nil {
			return false
		}
		f[words[i+1]] = append(f[words[i+1]], v)
	}
	return true
}

// moduleRoot is the directory with go.mod, from here upwards.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", fmt.Errorf("no go.mod above the working directory: the queue is measured from its source")
		}
		dir = filepath.Dir(dir)
	}
}
