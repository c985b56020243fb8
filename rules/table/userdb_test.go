package table

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// writeUsers writes "key value" lines into a file of type btree.
func writeUsers(t *testing.T, path string, lines ...string) {
	t.Helper()
	var all []Entry
	for _, l := range lines {
		key, value, _ := strings.Cut(l, " ")
		all = append(all, Entry{[]byte(key), []byte(value)})
	}
	slices.SortStableFunc(all, func(a, b Entry) int { return bytes.Compare(a.Key, b.Key) })
	var b bytes.Buffer
	if err := WriteBtree(&b, all, true); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestUserDB(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one.db"), filepath.Join(dir, "two.db")
	writeUsers(t, one, "bob:maildrop carol@example.com", "bob:maildrop dave@example.com", "bob:mailname Robert@example.net",
		"team:maildrop alice", "team:mailsender owner@example.net", "frank:maildrop frank", ":default:mailname hub.example.org")
	writeUsers(t, two, "bob:maildrop nobody", "erin:maildrop erin@home.example.com")
	spec := one + ", " + strings.TrimSuffix(two, ".db") + "," + filepath.Join(dir, "missing")
	db := OpenUserDB(spec)
	for user, want := range map[string]string{
		"bob": "[carol@example.com dave@example.com] ", "BOB": "[carol@example.com dave@example.com] ", "team": "[alice] owner@example.net",
		"erin": "[erin@home.example.com] ", "grace": "[] ",
	} {
		drops, sender, err := db.Drops(user)
		if got := fmt.Sprint(drops, " ", sender); got != want || err != nil {
			t.Errorf("%s goes to %s, %v; want %s", user, got, err, want)
		}
	}
	for user, want := range map[string]string{"bob": "Robert@example.net", "Frank": "frank@hub.example.org", "grace": "", "erin": ""} {
		if user == "erin" {
			want = "erin@hub.example.org"
		}
		if got, err := db.MailName(user); got != want || err != nil {
			t.Errorf("%s is shown as %q, %v; want %q", user, got, err, want)
		}
	}
	if drops, _, _ := OpenUserDB(spec + ",@hub.example.com").Drops("grace"); fmt.Sprint(drops) != "[grace@hub.example.com]" {
		t.Errorf("grace goes to %s", drops)
	}
	if said := OpenUserDB("bob,/x").Complaints(); len(said) != 1 {
		t.Errorf("a name that is no path: %q", said)
	}

	// What changes is read again; what cannot be read is no "no".
	writeUsers(t, one, "bob:maildrop erin")
	if err := os.Chtimes(one, time.Time{}, time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if drops, _, err := db.Drops("bob"); fmt.Sprint(drops) != "[erin]" || err != nil {
		t.Errorf("bob goes to %s, %v", drops, err)
	}
	if err := os.WriteFile(one, []byte(strings.Repeat("bob:maildrop x\n", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := db.Drops("bob"); err == nil {
		t.Error("a file that is no database answers")
	}
}

// TestManyValues reads what Debian's makemap wrote with -d: 2,000 values of one key stand on pages of their own.
func TestManyValues(t *testing.T) {
	for _, name := range []string{"duphash", "dupbtree"} {
		data := unpacked(t, name)
		all, err := ReadDB(data)
		if err != nil || len(all) != 2001 {
			t.Fatalf("%s: %d entries, %v", name, len(all), err)
		}
		n := 0
		for _, e := range all {
			if string(e.Key) == "big" {
				if n++; string(e.Value) != fmt.Sprintf("value%04d-%060d", n, n) {
					t.Fatalf("%s: value %d is %q", name, n, e.Value)
				}
			}
		}
		path := filepath.Join(t.TempDir(), "map.db")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := ask(t, open(t, Env{}, strings.TrimPrefix(name, "dup"), path), "big"); got != fmt.Sprintf("value%04d-%060d", 1, 1) {
			t.Errorf("%s: the value is %q", name, got)
		}
		for at := 4096; at+8 < len(data); at += 97 { // damage is an error or other text, and ends
			broken := bytes.Clone(data)
			broken[at] ^= 0x55
			ReadDB(broken)
		}
	}
}
