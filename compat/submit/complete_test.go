package submit

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestComplete(t *testing.T) {
	const from = "From: a@example.org\n"
	for name, c := range map[string]struct{ in, want string }{
		"nothing is there":         {"Subject: s\n\nb\n", date + from + id + "Subject: s\n\nb\n"},
		"all is there":             {"Date: d\nFrom: f\nMessage-Id: <m>\n\nb\n", "Date: d\nFrom: f\nMessage-Id: <m>\n\nb\n"},
		"one is missing":           {"Date: d\nFrom: f\n\nb\n", id + "Date: d\nFrom: f\n\nb\n"},
		"Bcc and others stay":      {"Bcc: x\nReturn-Path: <y>\n\nb\n", date + from + id + "Bcc: x\nReturn-Path: <y>\n\nb\n"},
		"no header":                {"text: is\nnot this\n", date + from + id + "text: is\nnot this\n"},
		"no header but text":       {"only text\n", date + from + id + "\nonly text\n"},
		"an empty line first":      {"\nb\n", date + from + id + "\nb\n"},
		"nothing at all":           {"", date + from + id},
		"CR and dots are not ours": {"Subject: s\n\n.\na\rb\n", date + from + id + "Subject: s\n\n.\na\rb\n"},
	} {
		r, err := Complete(strings.NewReader(c.in), "a@example.org", site())
		if err != nil {
			t.Fatal(name, err)
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != c.want || r.Made != len(got)-len(c.in) {
			t.Errorf("%s: %v\n%q\n%q", name, err, got, c.want)
		}
	}
	long := "X: " + strings.Repeat("y", 2000) + "\n\nb\n"
	s := site()
	s.HeaderLimit = 1000
	r, err := Complete(strings.NewReader(long), "a@example.org", s)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != long {
		t.Errorf("too long: %v, %d octets", err, len(got))
	}
	boom := errors.New("boom")
	if _, err := Complete(iotest.ErrReader(boom), "a", site()); !errors.Is(err, boom) {
		t.Error(err)
	}
}

// TestCompleteNames has NoRecipientAction put the recipients of a client into the header, and a From field on one line.
func TestCompleteNames(t *testing.T) {
	s := site()
	s.Bare, s.FullName = true, nil
	s.To, s.Options = []string{"<bob>", "<carol>", "<dave@example.com>"}, map[string]string{"NoRecipientAction": "add-to", "SingleLineFromHeader": "True"}
	r, err := Complete(strings.NewReader("Date: d\nMessage-Id: <m>\nFrom: a\n b\n\nx\n"), "a@h", s)
	if err != nil {
		t.Fatal(err)
	}
	const want = "Date: d\nMessage-Id: <m>\nFrom: a  b\nTo: <dave@example.com>\nTo: <carol>\nTo: <bob>\n\nx\n"
	if got, err := io.ReadAll(r); err != nil || string(got) != want {
		t.Errorf("%v\n%q\n%q", err, got, want)
	}
}

// TestCompleteBare: with a sendmail.cf, what is not for the recipients goes, and a user of this host has a full name.
func TestCompleteBare(t *testing.T) {
	s := site()
	s.Bare = true
	s.FullName = func(string) string { return "Alice O. Example" }
	in := "From a@b Mon Jan  1 00:00:00 2001\nTo: x\nBcc: y\nReturn-Path: <q>\nFull-Name: z\nContent-Length: 3\nDate: d\nMessage-Id: <m>\n\nb\n"
	want := "From: \"Alice O. Example\" <alice@h>\nTo: x\nDate: d\nMessage-Id: <m>\n\nb\n"
	r, err := Complete(strings.NewReader(in), "alice@h", s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if !strings.Contains(string(got), "From: z <alice@h>") {
		t.Errorf("Full-Name does not count: %q", got)
	}
	if text := strings.Replace(string(got), "From: z <", "From: \"Alice O. Example\" <", 1); err != nil || text != want || r.Made != len(got)-len(in) {
		t.Errorf("%v %d\n%q\n%q", err, r.Made, got, want)
	}
}
