package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waybill/transport/envelope"
)

func TestKnown(t *testing.T) {
	dir, conf := t.TempDir(), filepath.Join(t.TempDir(), "rules")
	none := filepath.Join(filepath.Dir(conf), "aliases")
	if err := os.WriteFile(conf, []byte("host a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	to := func(names ...string) (list []envelope.Recipient) {
		for _, n := range names {
			list = append(list, envelope.Recipient{Addr: envelope.Address(n)})
		}
		return list
	}
	now := time.Now()
	note := func(from envelope.Address, names ...string) {
		t.Helper()
		if err := NoteKnown(dir, conf, []string{conf, none, conf}, from, to(names...), now); err != nil {
			t.Fatal(err)
		}
	}
	is := func(want bool, config string, from envelope.Address, at time.Time, names ...string) {
		t.Helper()
		if got := Known(dir, config, from, to(names...), at); got != want {
			t.Errorf("%s %q to %q: known %t", config, from, names, got)
		}
	}
	is(false, conf, "root", now, "bob")
	note("root", "bob", "carol@example.org", "bob")
	note("root", "line\n to x")
	is(true, conf, "root", now, "bob")
	is(true, conf, "root", now, "carol@example.org", "bob", "line\n to x")
	is(false, conf, "root", now, "bob", "dave")
	is(false, conf, "alice", now, "bob")
	is(false, conf, "root", now, "BOB") // another one, as far as we can tell
	is(false, "", "root", now, "bob")
	is(false, conf+"x", "root", now, "bob")
	is(false, conf, "root", now.Add(2*knownTime), "bob")
	is(false, conf, "root", now.Add(-time.Minute), "bob") // the clock went back
	note("alice", "bob")
	is(true, conf, "alice", now, "bob")
	is(true, conf, "root", now, "bob")

	// A file that was not there appears; the next note forgets all that was before it.
	if err := os.WriteFile(none, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	is(false, conf, "root", now, "bob")
	note("root", "carol")
	is(true, conf, "root", now, "carol")
	is(false, conf, "root", now, "bob")
	if err := os.Chtimes(conf, now, now.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	is(false, conf, "root", now, "carol")

	// It never grows beyond its limit, and what is damaged knows nobody.
	for i := range 200 {
		var many []string
		for j := range 20 {
			many = append(many, fmt.Sprintf("%s%d.%d@example.org", strings.Repeat("x", 40), i, j))
		}
		note("root", many...)
		is(true, conf, "root", now, many...)
	}
	info, err := os.Stat(filepath.Join(dir, knownName))
	if err != nil || info.Size() > knownLimit || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	for _, text := range []string{"", "waybill-known 1 ", "waybill-known 2 1 \\e\nto root bob\n", "waybill-known 1 x \\e\nto root bob\n",
		fmt.Sprintf("waybill-known 1 %d \\e\nfile 1 2 3\nto root bob\n", now.Unix()), strings.Repeat("x", knownLimit+10)} {
		if err := os.WriteFile(filepath.Join(dir, knownName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		is(false, "", "root", now, "bob")
	}
	os.Remove(filepath.Join(dir, knownName))
	if err := os.Symlink(conf, filepath.Join(dir, knownName)); err != nil {
		t.Fatal(err)
	}
	is(false, conf, "root", now, "carol")
}

func TestTaking(t *testing.T) {
	dir := t.TempDir()
	first, err := TryTaking(dir)
	if err != nil || first == nil {
		t.Fatal(first, err)
	}
	if second, err := TryTaking(dir); second != nil || err != nil {
		t.Errorf("taken twice: %v", err)
	}
	first.GiveUp()
	second, err := TryTaking(dir)
	if err != nil || second == nil {
		t.Fatal(err)
	}
	if first.Again() {
		t.Error("taken while another one has it")
	}
	second.Close()
	if !first.Again() {
		t.Error("not free again")
	}
	first.Close()
	if _, err := TryTaking(filepath.Join(dir, "none")); err == nil {
		t.Error("no spool, no error")
	}
}
