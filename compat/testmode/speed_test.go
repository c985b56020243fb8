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
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"waybill/compat/cf"
	"waybill/rules/addr"
	"waybill/rules/eval"
)

// What BenchmarkBesideSendmail does: in every round of a configuration each program runs in turn, so that a machine that is
// busy for a while slows all of them down.
const (
	benchRounds = 9
	benchLoads  = 12   // starts in a round that only read the file, and that ask for one address
	benchSize   = 5000 // addresses
	benchPasses = 8    // times that an engine takes all addresses in one measurement
	benchEach   = 3    // engines in a round
)

// BenchmarkBesideSendmail measures sendmail -bt against the real one, with its output thrown away:
//
//	x-load   the time of a start that reads the file and ends, as a part of the real one's; the goal is at most 1
//	x-one    the same for a start that takes one address: the rules are made ready for the first one
//	x-lines  how many times the real one's lines a second ours takes; what x-load measures is taken off both; the goal is 10
//	x-api-first, x-api-again, x-api-others  the engine alone, without a trace, in the real one's lines a second: addresses that
//	         a new engine has never seen, the same ones later, and as many others after them; the goal is 40
//
// All are medians of processor time, of a whole process where programs are measured, and with that of the garbage collector
// where the engine is.
func BenchmarkBesideSendmail(b *testing.B) {
	binaries, macros := peer(b)
	dir := workDir(b)
	build := exec.Command("go", "build", "-trimpath", "-o", dir+"/", "waybill/cmd/sendmail", "waybill/cmd/waybill-bt", "waybill/cmd/waybill")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	known, others := benchLines(benchSize, 3), benchLines(benchSize, 4)
	inputs := map[string]string{"load": "", "one": known[0] + "\n", "lines": strings.Join(known, "\n") + "\n"}
	for what, text := range inputs {
		writeFile(b, dir, what+".in", text)
	}
	programs := map[string]string{"real": filepath.Join(binaries, "sendmail"), "ours": filepath.Join(dir, "sendmail")}
	for _, name := range []string{"hub", "isp", "campus"} {
		b.Run(name, func(b *testing.B) {
			path := m4(b, binaries, macros, dir, name)
			engines := benchEngines(b, dir, path)
			times := map[string][]time.Duration{}
			took := func(what string, d time.Duration) { times[what] = append(times[what], d) }
			for b.Loop() {
				for range benchRounds {
					inNamespaces(b, dir, func() {
						for who, program := range programs {
							took(who+" lines", processorTime(b, dir, program, path, "lines"))
						}
						for range benchLoads {
							for who, program := range programs {
								took(who+" load", processorTime(b, dir, program, path, "load"))
								took(who+" one", processorTime(b, dir, program, path, "one"))
							}
						}
					})
					engines().take(known, 1) // the processor has had other things in its caches
					for range benchEach {
						e := engines()
						took("first", e.take(known, 1))
						took("again", e.take(known, benchPasses))
						took("others", e.take(others, 1))
					}
				}
			}
			median := func(what string) float64 {
				slices.Sort(times[what])
				return times[what][len(times[what])/2].Seconds()
			}
			perLine := func(who string) float64 { return (median(who+" lines") - median(who+" load")) / benchSize }
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median("ours load")/median("real load"), "x-load")
			b.ReportMetric(median("ours one")/median("real one"), "x-one")
			b.ReportMetric(perLine("real")/perLine("ours"), "x-lines")
			b.ReportMetric(perLine("real")*benchSize/median("first"), "x-api-first")
			b.ReportMetric(perLine("real")*benchSize/median("again"), "x-api-again")
			b.ReportMetric(perLine("real")*benchSize/median("others"), "x-api-others")
			b.ReportMetric(median("ours load")*1e3, "load-ms")
			b.ReportMetric(median("real load")*1e3, "real-load-ms")
			b.ReportMetric(1/perLine("ours"), "lines/s")
			b.ReportMetric(1/perLine("real"), "real-lines/s")
			b.ReportMetric(benchSize/median("first"), "api-first/s")
			b.ReportMetric(benchSize/median("again"), "api-again/s")
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

// inNamespaces runs f in a thread that has the namespaces of the function inside; so have the programs that f starts.
func inNamespaces(b *testing.B, dir string, f func()) {
	b.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and no unlocking: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		for _, name := range []string{"hosts", "resolv.conf", "nsswitch.conf"} {
			if err == nil {
				ours, _, _ := strings.Cut(name, ".")
				err = unix.Mount(filepath.Join(dir, "etc-"+ours), "/etc/"+name, "", unix.MS_BIND, "")
			}
		}
		if err == nil {
			err = unix.Sethostname([]byte("oracle.example.org"))
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// processorTime is what a run of sendmail -bt takes, from its start to its end.
func processorTime(b *testing.B, dir, program, conf, input string) time.Duration {
	in, err := os.Open(filepath.Join(dir, input+".in"))
	if err != nil {
		b.Error(err)
		return 0
	}
	defer in.Close()
	cmd := exec.Command(program, "-bt", "-C", conf)
	cmd.Dir, cmd.Stdin = dir, in
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TZ=UTC", "HOME=/nonexistent"}
	if err := cmd.Run(); cmd.ProcessState == nil {
		b.Error(err)
		return 0
	}
	u := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchEngine is an engine as sendmail -bt has it.
type benchEngine struct {
	*eval.Engine
	macros   *eval.Macros
	one, two int // its first rulesets
}

// benchEngines makes engines for a file.
func benchEngines(b *testing.B, dir, path string) func() benchEngine {
	b.Helper()
	c, err := cf.ReadFile(path, cf.Options{Host: host, Mode: "t", CheckTable: eval.CheckTable, Trust: true})
	if err != nil {
		b.Fatal(err)
	}
	tables, _ := eval.OpenTables(c.Prog, eval.TableEnv{Resolver: nothing{}, Services: filepath.Join(dir, "switch"), Hosts: filepath.Join(dir, "etc-hosts"), Domain: "example.org"})
	return func() benchEngine {
		e, err := eval.New(c.Prog, eval.Options{Tables: tables})
		if err != nil {
			b.Fatal(err)
		}
		return benchEngine{e, eval.NewMacros(c.Prog), c.Prog.Ruleset("3").Index, c.Prog.Ruleset("0").Index}
	}
}

// take is the processor time that the engine needs for each pass over these lines.
func (e benchEngine) take(lines []string, passes int) time.Duration {
	st := &eval.State{Macros: e.macros, Out: make([]addr.Token, 0, addr.MaxTokens)}
	var buf []addr.Token
	runtime.GC()
	start := processTime()
	for range passes {
		for _, l := range lines {
			buf, _ = e.Syntax().Append(buf[:0], l[len("3,0 "):], false)
			r, _ := e.Run(context.Background(), e.one, buf, st)
			e.Run(context.Background(), e.two, r.Tokens, st)
		}
	}
	return (processTime() - start) / time.Duration(passes)
}

// processTime is the processor time of this process so far, to the nanosecond: getrusage would count the ticks of the clock.
func processTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
