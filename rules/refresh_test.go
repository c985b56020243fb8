package rules

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRefresh changes class and table files under a Router that works.
func TestRefresh(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		tmp := path + ".new"
		if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, path); err != nil {
			t.Fatal(err)
		}
	}
	rules := filepath.Join(dir, "site.rules")
	write("site.rules", strings.ReplaceAll(`class ours { mail.example.org @?DIR/names }
table hops text ?DIR/hops
table aliases aliases ?DIR/aliases
include "conf.d/*.rules"
transport local mbox
transport esmtp smtp
ruleset canonify { $u+ @ $d+ -> $u < @ $d > }
route {
    $u+ < @ $=ours >                       => local $u
    $u+ < @ $d+ > where hops($d) is $h     => esmtp $h $u@$d
    $u+ < @ $d+ >                          => esmtp $d $u@$d
    $u+                                    => local $u
}
`, "DIR", dir))
	r, err := Load(rules, Options{Hostname: "h"})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Warnings()) > 0 {
		t.Errorf("%v", r.Warnings())
	}
	want := []string{dir + "/aliases", dir + "/conf.d/*.rules", dir + "/hops", dir + "/names", dir + "/site.rules"}
	if got := r.Files(); !slices.Equal(got, want) {
		t.Errorf("files to watch: %v\nwant %v", got, want)
	}
	ask := func(address, want string) {
		t.Helper()
		d, err := r.Route(context.Background(), Query{Recipient: address}, nil)
		if got := strings.Join(decisionWords(d, err), " "); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	refresh := func(want bool) {
		t.Helper()
		if changed, err := r.Refresh(); changed != want || err != nil {
			t.Errorf("changed %v, error %v; want changed %v", changed, err, want)
		}
	}
	ask("a@b.example", "esmtp b.example a@b.example")
	refresh(false)
	write("names", "b.example # ours\n\n# none\nc.example\n")
	refresh(true)
	ask("a@b.example", "local a")
	ask("a@C.example", "local a")
	write("hops", "d.example   hub.example\n")
	refresh(true)
	ask("a@d.example", "esmtp hub.example a@d.example")
	time.Sleep(5 * time.Millisecond)
	write("hops", "d.example   hub2.example\n")
	write("names", "c.example\n")
	refresh(true)
	ask("a@d.example", "esmtp hub2.example a@d.example")
	ask("a@b.example", "esmtp b.example a@b.example")
	refresh(false)
	write("aliases", "root: bob\n")
	refresh(true)
	table, ok := r.Table("aliases")
	if v, found, err := table.Lookup(context.Background(), "ROOT"); !ok || v != "bob" || !found || err != nil {
		t.Errorf("alias: %q %v %v", v, found, err)
	}
	if err := os.Remove(filepath.Join(dir, "names")); err != nil {
		t.Fatal(err)
	}
	refresh(true)
	ask("a@c.example", "esmtp c.example a@c.example")
}
