package rules

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"waybill/etc"
)

// cpuTime is what this process has used: on a machine with other work, elapsed time says little.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func defaultRouter(b *testing.B) *Router {
	r, err := Load("default.rules", Options{Text: etc.DefaultRules(), Library: etc.Library(), Hostname: "mail.example.org"})
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// BenchmarkDefaultRules: decisions with the shipped rules.
func BenchmarkDefaultRules(b *testing.B) {
	benchDecisions(b, defaultRouter(b), "alice@example.com", "bob", "carol@mail.example.org", "dave@a.b.c.example.net")
}

// benchDecisions asks about addresses in turn.
func benchDecisions(b *testing.B, r *Router, addresses ...string) {
	ctx := context.Background()
	q := Query{Sender: "x@example.org", Time: time.Now()}
	b.ReportAllocs()
	start := cpuTime()
	for i := 0; b.Loop(); i++ {
		q.Recipient = addresses[i%len(addresses)]
		if _, err := r.Route(ctx, q, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/(cpuTime()-start).Seconds(), "decisions/cpu-s")
}

// largeRules is a file with n route rules, most of which a plain address must pass by.
func largeRules(n int) string {
	var s strings.Builder
	s.WriteString("transport local mbox { path /var/mail/$user }\ntransport esmtp smtp\ntransport uucp uucp\n")
	s.WriteString("class local { mail.example.org localhost }\n")
	s.WriteString("ruleset canonify {\n    $user+ @ $domain+    -> $user < @ $domain >\n    $user+ < @ $domain+ . >    -> $user < @ $domain >\n    $site- ! $user+    -> $user < @ $site . UUCP >\n}\n")
	s.WriteString("route {\n")
	for i := range n {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&s, "    $user+ < @ dept%d . example . net >    => esmtp    hub%d.example.net    $user@dept%d.example.net\n", i, i, i)
		case 1:
			fmt.Fprintf(&s, "    $user+ < @ $host+ . zone%d . example >    => esmtp    $host.gate%d.example    $user@$host.zone%d.example\n", i, i, i)
		case 2:
			fmt.Fprintf(&s, "    list%d - $x+ < @ $d=local >    => local    list%d-$x\n", i, i)
		case 3:
			fmt.Fprintf(&s, "    $user+ < @ site%d . UUCP >    => uucp    gate%d    site%d!$user    queue\n", i, i, i)
		}
	}
	s.WriteString("    $user+ < @ $d=local >    => local    $user\n    $user+ < @ $d+ >    => esmtp    $d    $user@$d\n    $user+    => local    $user\n}\n")
	return s.String()
}

// BenchmarkLargeRules: decisions with 600 rules, as many as a stock sendmail.cf has.
func BenchmarkLargeRules(b *testing.B) {
	r, err := Load("large.rules", Options{Text: []byte(largeRules(600)), Hostname: "h"})
	if err != nil {
		b.Fatal(err)
	}
	benchDecisions(b, r, "alice@example.com", "bob", "carol@mail.example.org", "dave@x.zone401.example", "eve@dept400.example.net")
}

// BenchmarkLoad: reading and checking a file of 3,000 lines.
func BenchmarkLoad(b *testing.B) {
	text := []byte(largeRules(3000))
	start := cpuTime()
	for b.Loop() {
		if _, err := Load("large.rules", Options{Text: text, Hostname: "h"}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime()-start).Milliseconds())/float64(b.N), "cpu-ms/op")
}

// BenchmarkMillion: a class of a million domains, and a text table of a million lines.
func BenchmarkMillion(b *testing.B) {
	dir := b.TempDir()
	var names, hops strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintf(&names, "host%d.dept%d.example.net\n", i, i%1000)
		fmt.Fprintf(&hops, "host%d.dept%d.example.net hub%d.example.com\n", i, i%1000, i%50)
	}
	for name, text := range map[string]string{"names": names.String(), "hops": hops.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	names.Reset()
	hops.Reset()
	rest := "\ntransport a smtp\nruleset canonify { $u+ @ $d+ -> $u < @ $d > }\nroute {\n $u+ < @ $d=big > => a in $u\n $u+ < @ $d+ > where hops($d) is $h => a $h $u\n $u+ => a out x\n}\n"
	for _, c := range []struct{ name, text, address string }{
		{"class", "class big { @" + dir + "/names }\ntable hops text ?" + dir + "/none" + rest, "bob@host777777.dept777.example.net"},
		{"table", "class big { x }\ntable hops text " + dir + "/hops" + rest, "bob@host777777.dept777.example.net"},
	} {
		b.Run(c.name+"/load", func(b *testing.B) {
			start := cpuTime()
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var r *Router
			for b.Loop() {
				var err error
				if r, err = Load("x", Options{Text: []byte(c.text), Hostname: "h"}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpuTime()-start).Milliseconds())/float64(b.N), "cpu-ms/op")
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "B/entry")
			runtime.KeepAlive(r)
		})
		b.Run(c.name+"/ask", func(b *testing.B) {
			r, err := Load("x", Options{Text: []byte(c.text), Hostname: "h"})
			if err != nil {
				b.Fatal(err)
			}
			q := Query{Recipient: c.address, Time: time.Now()}
			for b.Loop() {
				if d, err := r.Route(context.Background(), q, nil); err != nil || d.Host == "out" {
					b.Fatal(d, err)
				}
			}
		})
	}
}

// BenchmarkLookupSize: a question to tables and classes takes as long with a million entries as with a thousand.
func BenchmarkLookupSize(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		dir := b.TempDir()
		var names, hops strings.Builder
		for i := range n {
			fmt.Fprintf(&names, "host%d.example.net\n", i)
			fmt.Fprintf(&hops, "host%d.example.net hub%d.example.com\n", i, i%50)
		}
		for name, text := range map[string]string{"names": names.String(), "hops": hops.String()} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				b.Fatal(err)
			}
		}
		r, err := Load("x", Options{Hostname: "h", Text: []byte(strings.ReplaceAll(`class names { @DIR/names }
table hops text DIR/hops
transport a smtp
ruleset canonify { $u+ @ $d+ -> $u < @ $d > }
route {
    $u+ < @ $d+ > where hops($d) is $h and $d in names => a $h $u
    $u+ => a none $u
}
`, "DIR", dir))})
		if err != nil {
			b.Fatal(err)
		}
		asked := make([]string, 512)
		for i := range asked {
			asked[i] = fmt.Sprintf("bob@host%d.example.net", i*7919%n)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			q := Query{Time: time.Now()}
			for i := 0; b.Loop(); i++ {
				q.Recipient = asked[i%len(asked)]
				if d, err := r.Route(context.Background(), q, nil); err != nil || d.Host == "none" {
					b.Fatal(d, err)
				}
			}
		})
	}
}
