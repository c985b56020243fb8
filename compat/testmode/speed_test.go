package testmode

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"waybill/compat/cf"
	"waybill/rules/addr"
	"waybill/rules/eval"
)

// BenchmarkBesideSendmail measures sendmail -bt against the real one, in turns and in one run, with its output thrown
// away: how many times its lines a second ours takes (x-lines; the goal is 10), how long reading the configuration takes
// beside it (x-load: its time is 1), and how many times its lines a second the engine takes when nobody wants a trace:
// of addresses that came before (x-api; the goal is 40), of others after them (x-api-others), and of the first ones that it
// gets at all (x-api-first). All are processor times, because the real one runs in namespaces that cost time to make; both
// do here.
func BenchmarkBesideSendmail(b *testing.B) {
	binaries, macros := peer(b)
	dir := workDir(b)
	build := exec.Command("go", "build", "-trimpath", "-o", dir+"/", "waybill/cmd/sendmail", "waybill/cmd/waybill-bt", "waybill/cmd/waybill")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"isp", "campus"} {
		b.Run(name, func(b *testing.B) {
			path := m4(b, binaries, macros, dir, name)
			const lines = 5000
			input := filepath.Join(dir, name+".in")
			known := benchLines(lines, 3)
			if err := os.WriteFile(input, []byte(strings.Join(known, "\n")+"\n"), 0o644); err != nil {
				b.Fatal(err)
			}
			commands := map[string][]string{"nothing": {"/bin/true", "/dev/null"}}
			for who, program := range map[string]string{"real": filepath.Join(binaries, "sendmail"), "ours": filepath.Join(dir, "sendmail")} {
				commands[who+" load"] = []string{program, "/dev/null"}
				commands[who+" lines"] = []string{program, input}
			}
			times := map[string][]time.Duration{}
			for b.Loop() {
				for range 5 {
					for what, c := range commands {
						times[what] = append(times[what], processorTime(b, dir, c[0], path, c[1]))
					}
				}
			}
			median := func(what string) float64 {
				slices.Sort(times[what])
				return times[what][len(times[what])/2].Seconds()
			}
			realLoad, load := median("real load")-median("nothing"), median("ours load")-median("nothing")
			realLine, line := (median("real lines")-median("real load"))/lines, (median("ours lines")-median("ours load"))/lines
			first, again, others := apiTime(b, path, known, benchLines(lines, 4))
			perAPI := func(d time.Duration) float64 { return realLine / (d.Seconds() / lines) }
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(load/realLoad, "x-load")
			b.ReportMetric(realLine/line, "x-lines")
			b.ReportMetric(perAPI(again), "x-api")
			b.ReportMetric(perAPI(others), "x-api-others")
			b.ReportMetric(perAPI(first), "x-api-first")
			b.ReportMetric(1/line, "lines/s")
			b.ReportMetric(lines/again.Seconds(), "api-lines/s")
			b.ReportMetric(load*1e3, "load-ms")
		})
	}
}

// benchLines are commands like those that the rules of a mail server see: most addresses have a domain.
func benchLines(n int, seed uint64) []string {
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	var out []string
	for len(out) < n {
		user := pick("joe", "root", "first.last", "info", "list-owner", "j.doe+detail", "postmaster", "\"a b\"", "abuse") + fmt.Sprint(pick("", "", fmt.Sprint(r.IntN(90))))
		host := pick("example.org", "example.com", "mail.example.net", "oracle.example.org", "a.b.c.example", "localhost", "[192.0.2.1]", "host", "virt.example.com")
		out = append(out, "3,0 "+pick(user+"@"+host, user+"@"+host, user+"@sub."+host, user, "<"+user+"@"+host+">", user+"%x@"+host, host+"!"+user, "@"+host+":"+user+"@"+host))
	}
	return out
}

// processorTime runs a program in the namespaces of runReal.
func processorTime(b *testing.B, dir, program, conf, input string) time.Duration {
	b.Helper()
	cmd := inside(context.Background(), dir, `exec "$0" -bt -C "$1" <"$2" >/dev/null 2>&1`, program, conf, input)
	if err := cmd.Run(); cmd.ProcessState == nil {
		b.Fatal(err)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// threadTime is the processor time of this thread.
func threadTime() time.Duration {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// apiTime is how long the engine takes for lines without a tracer: the first time, later, and then for as many others.
// All are medians over several engines.
func apiTime(b *testing.B, path string, lines, otherLines []string) (first, again, others time.Duration) {
	b.Helper()
	c, err := cf.ReadFile(path, cf.Options{Host: host, Mode: "t", CheckTable: eval.CheckTable, Trust: true})
	if err != nil {
		b.Fatal(err)
	}
	tables, _ := eval.OpenTables(c.Prog, eval.TableEnv{Resolver: nothing{}})
	run := func(e *eval.Engine, lines []string) time.Duration {
		st := &eval.State{Macros: eval.NewMacros(c.Prog), Out: make([]addr.Token, 0, addr.MaxTokens)}
		one, two := c.Prog.Ruleset("3").Index, c.Prog.Ruleset("0").Index
		var buf []addr.Token
		start := threadTime()
		for _, l := range lines {
			buf, _ = e.Syntax().Append(buf[:0], l[len("3,0 "):], false)
			r, _ := e.Run(context.Background(), one, buf, st)
			e.Run(context.Background(), two, r.Tokens, st)
		}
		return threadTime() - start
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var firsts, agains, laters []time.Duration
	for range 9 {
		e, err := eval.New(c.Prog, eval.Options{Tables: tables})
		if err != nil {
			b.Fatal(err)
		}
		firsts = append(firsts, run(e, lines))
		for range 4 {
			agains = append(agains, run(e, lines))
		}
		laters = append(laters, run(e, otherLines))
	}
	median := func(d []time.Duration) time.Duration {
		slices.Sort(d)
		return d[len(d)/2]
	}
	return median(firsts), median(agains), median(laters)
}
