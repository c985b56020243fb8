package testsite

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	const sent = "To: bob\nSubject: a\n b\nBcc: x\n\nFrom here\nbody"
	for _, c := range []struct {
		name, got, complaint string
		changes              Changes
	}{
		{"as usual", "Received: x\n\ty\nDate: now\nTo: bob\nSubject: a\n b\n\nFrom here\nbody\n", "", Changes{}},
		{"mailbox", "Return-Path: <>\nTo: bob\nSubject: a\n b\n\n>From here\nbody\n", "", Changes{Quoted: true}},
		{"Bcc stays", "To: bob\nSubject: a\n b\nBcc: x\n\nFrom here\nbody\n", "", Changes{}},
		{"replaced", "To: bob@x\nSubject: a\n b\n\nFrom here\nbody\n", "", Changes{Replaced: []string{"to"}}},
		{"changed", "To: bob@x\nSubject: a\n b\n\nFrom here\nbody\n", `got "To: bob@x\n", want "To: bob\n"`, Changes{}},
		{"refolded", "To: bob\nSubject: a b\n\nFrom here\nbody\n", "header", Changes{}},
		{"lost", "To: bob\n\nFrom here\nbody\n", "is missing", Changes{}},
		{"order", "Subject: a\n b\nTo: bob\n\nFrom here\nbody\n", "header", Changes{}},
		{"twice", "To: bob\nTo: bob\nSubject: a\n b\n\nFrom here\nbody\n", "header", Changes{}},
		{"foreign field", "X-Spam: no\nTo: bob\nSubject: a\n b\n\nFrom here\nbody\n", "X-Spam", Changes{}},
		{"one octet", "To: bob\nSubject: a\n b\n\nFrom here\nbodY\n", "octet 13", Changes{}},
		{"more body", "To: bob\nSubject: a\n b\n\nFrom here\nbody\n\n", "15 octets sent", Changes{}},
		{"not quoted", "To: bob\nSubject: a\n b\n\nFrom here\nbody\n", "octet 0", Changes{Quoted: true}},
	} {
		err := Compare([]byte(sent), []byte(c.got), c.changes)
		switch {
		case err == nil && c.complaint != "":
			t.Errorf("%s: no complaint, want %q", c.name, c.complaint)
		case err != nil && (c.complaint == "" || !strings.Contains(err.Error(), c.complaint)):
			t.Errorf("%s: %v, want %q", c.name, err, c.complaint)
		}
	}
}

func TestReadMbox(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mbox")
	for _, c := range []struct {
		text string
		n    int
		ok   bool
	}{
		{"", 0, true},
		{"From a now\nTo: b\n\nx\n\n", 1, true},
		{"From a now\nTo: b\n\nx\n\nFrom c now\nA: b\n\n\n\n\n", 2, true},
		{"From a now\nTo: b\n\nx\nFrom y\n\n", 1, true},
		{"From a now\nTo: b\n\nx\n", 0, false},
		{"To: b\n\nx\n\n", 0, false},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := ReadMbox(file)
		if (err == nil) != c.ok || len(all) != c.n {
			t.Errorf("%q: %d messages, %v", c.text, len(all), err)
		}
	}
	if all, err := ReadMbox(file + ".none"); err != nil || all != nil {
		t.Errorf("no file: %v, %v", all, err)
	}
}
