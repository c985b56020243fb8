package rules

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestOneSnapshot changes a class and two tables together, again and again, while messages are routed: each decision
// sees all three of one moment, and all decisions of a pinned Router see those of the same moment.
func TestOneSnapshot(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
			t.Error(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Error(err)
		}
	}
	version := func(n int) {
		write("names", fmt.Sprintf("v%d.example\n", n))
		write("one", fmt.Sprintf("key  one%d%s\n", n, strings.Repeat("x", n%7)))
		write("two", fmt.Sprintf("key  two%d%s\nv%d.example yes\n", n, strings.Repeat("x", n%7), n))
		write("aliases", fmt.Sprintf("root: alias%d%s\n", n, strings.Repeat("x", n%7)))
	}
	version(0)
	r, err := Load("site.rules", Options{Hostname: "h", Text: []byte(strings.ReplaceAll(`class names { @DIR/names }
table one text DIR/one
table two text DIR/two
table both sequence two one
table aliases aliases DIR/aliases
transport out smtp
ruleset canonify { $u+ @ $d+ -> $u < @ $d > }
route {
    $u+ < @ $d=names > where one(key) is $a and two(key) is $b and both($d) is yes  => out $d $a.$b
    $_u+ < @ $_d+ >    where one(key) is $a and two(key) is $b                     => out none $a.$b
    $u+ => out none $u
}
`, "DIR", dir))})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	// seen asks for the version that each of the sources has: the domain that is a member, and both values.
	seen := func(r *Router, n int) string {
		var member []string
		values := ""
		for i := max(0, n-3); i <= n+3; i++ {
			d, err := r.Route(ctx, Query{Recipient: fmt.Sprintf("u@v%d.example", i)}, nil)
			if err != nil {
				t.Error(err)
			}
			if d.Host != "none" {
				member = append(member, d.Host)
			}
			if values != "" && values != d.User {
				t.Errorf("%s, then %s", values, d.User)
			}
			values = d.User
		}
		return strings.Join(member, " ") + " " + values
	}
	check := func(text string) {
		var host, one, two int
		f := strings.Fields(strings.NewReplacer("x", "", ".example", "", ".two", " two").Replace(text))
		if len(f) == 2 { // the versions looked at have gone by
			return
		}
		if len(f) != 3 {
			t.Errorf("%q", text)
			return
		}
		fmt.Sscanf(f[0], "v%d", &host)
		fmt.Sscanf(f[1], "one%d", &one)
		fmt.Sscanf(f[2], "two%d", &two)
		if host != one || one != two {
			t.Errorf("a mixture: %q", text)
		}
	}
	var now atomic.Int64
	var done atomic.Bool
	var running sync.WaitGroup
	checked := [2]atomic.Int64{}
	for range 3 {
		running.Go(func() {
			for !done.Load() {
				n := int(now.Load())
				p := r.Pin()
				aliases, _ := p.Table("aliases")
				first := seen(p, n)
				check(first)
				alias, _, _ := aliases.Lookup(ctx, "root")
				if again := seen(p, n); again != first {
					t.Errorf("a message saw %q, and then %q", first, again)
				}
				if again, _, _ := aliases.Lookup(ctx, "root"); again != alias {
					t.Errorf("a message saw the alias %q, and then %q", alias, again)
				}
				checked[0].Add(1)
				// One decision of a Router that is not pinned sees one moment as well.
				d, err := r.Route(ctx, Query{Recipient: "u@elsewhere.example"}, nil)
				if err != nil {
					t.Error(err)
				}
				check("v" + strings.TrimPrefix(strings.Split(strings.ReplaceAll(d.User, "x", ""), ".")[0], "one") + " " + d.User)
				checked[1].Add(1)
			}
		})
	}
	for n := 1; n <= 60; n++ {
		version(n)
		if changed, err := r.Refresh(); err != nil || !changed {
			t.Fatal(changed, err)
		}
		now.Store(int64(n))
	}
	done.Store(true)
	running.Wait()
	if checked[0].Load() == 0 || checked[1].Load() == 0 {
		t.Error("nothing was asked meanwhile")
	}
	if got := seen(r, 60); !strings.HasPrefix(got, "v60.example one60") {
		t.Errorf("in the end: %q", got)
	}
}
