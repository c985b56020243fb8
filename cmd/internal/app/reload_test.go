package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"waybill/rules"
	"waybill/transport/envelope"
)

// TestRulesAreSwappedAtOnce reads rules and tables again while questions are asked: each session sees one set of rules
// with the tables that belong to it, and rules that are wrong never become active.
func TestRulesAreSwappedAtOnce(t *testing.T) {
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
		write("hops", fmt.Sprintf("key table%d%s\n", n, strings.Repeat("x", n%5)))
		write("site.rules", strings.NewReplacer("DIR", dir, "NUMBER", fmt.Sprint(n)).Replace(`host a.example
spool DIR/spool
set log DIR/log
table hops text DIR/hops
transport out smtp
route { $u+ where hops(key) is $h => out rulesNUMBER $h }
`))
	}
	version(0)
	file := filepath.Join(dir, "site.rules")
	s, err := openSite(file, slog.LevelError)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close(context.Background())
	ctx := context.Background()
	var done atomic.Bool
	var running sync.WaitGroup
	var asked atomic.Int64
	for range 3 {
		running.Go(func() {
			for !done.Load() {
				r := s.rules().Pin()
				first, err := r.Route(ctx, rules.Query{Recipient: "x"}, nil)
				again, err2 := r.Route(ctx, rules.Query{Recipient: "y"}, nil)
				if err != nil || err2 != nil || first.Host != again.Host || first.User != again.User {
					t.Errorf("a session saw %+v %v, and then %+v %v", first, err, again, err2)
				}
				_, status := s.queue.Verify(ctx, &envelope.Envelope{}, envelope.Recipient{Addr: "z"})
				if status.Code() != "2.1.5" {
					t.Errorf("the queue says %s %s", status.Code(), status.Text())
				}
				asked.Add(1)
			}
		})
	}
	for n := 1; n <= 25; n++ {
		version(n)
		if n%3 == 0 { // wrong rules in between
			write("site.rules", "route { $u+ => nowhere $v }\n")
			if err := s.reload(); err == nil {
				t.Error("wrong rules became active")
			}
			version(n)
		}
		if n%2 == 0 {
			if _, err := s.refresh(); err != nil {
				t.Error(err)
			}
		}
		if err := s.reload(); err != nil {
			t.Fatal(err)
		}
	}
	done.Store(true)
	running.Wait()
	if asked.Load() == 0 {
		t.Error("nothing was asked meanwhile")
	}
	d, err := s.rules().Route(ctx, rules.Query{Recipient: "x"}, nil)
	if err != nil || d.Host != "rules25" || !strings.HasPrefix(d.User, "table25") {
		t.Errorf("in the end: %+v %v", d, err)
	}
}
