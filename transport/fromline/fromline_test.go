package fromline_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"waybill/transport/envelope"
	"waybill/transport/fromline"
)

var noon = time.Date(2026, 11, 1, 12, 4, 5, 0, time.UTC)

func TestLine(t *testing.T) {
	for _, c := range []struct{ sender, remote, want string }{
		{"bob@example.org", "", "From bob@example.org Sun Nov  1 12:04:05 2026"},
		{"", "", "From MAILER-DAEMON Sun Nov  1 12:04:05 2026"},
		{"bob", "alpha", "From bob Sun Nov  1 12:04:05 2026 remote from alpha"},
		{`"a b"@x`, "", `From "a-b"@x Sun Nov  1 12:04:05 2026`},
		{"a\nFrom b", "", "From a-From-b Sun Nov  1 12:04:05 2026"},
	} {
		if got := fromline.Line(envelope.Address(c.sender), noon, c.remote); got != c.want {
			t.Errorf("%q: %q, want %q", c.sender, got, c.want)
		}
	}
}

func TestCopy(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	all := fromline.Form{FromLine: true, ReturnPath: true, EscapeFrom: true, BlankEnd: true, Sender: "s@x", When: noon}
	const head = "From s@x Sun Nov  1 12:04:05 2026\nReturn-Path: <s@x>\n"
	for name, c := range map[string]struct {
		form     fromline.Form
		in, want string
	}{
		"nothing asked":          {fromline.Form{}, "A: b\n\nFrom me\n", "A: b\n\nFrom me\n"},
		"last line end":          {fromline.Form{}, "A: b\n\nx", "A: b\n\nx\n"},
		"empty":                  {fromline.Form{}, "", ""},
		"empty in full form":     {all, "", head + "\n"},
		"quoting":                {all, "A: b\n\nFrom me\n>From me\nFrom\nfrom x\n From x\nFrom \n", head + "A: b\n\n>From me\n>From me\nFrom\nfrom x\n From x\n>From \n\n"},
		"old return path":        {all, "A: b\nreturn-path: <x@y>\n\tmore\nC: d\n\nReturn-Path: stays\n", head + "A: b\nC: d\n\nReturn-Path: stays\n\n"},
		"return path alone":      {all, "Return-Path: <x@y>", head + "\n"},
		"long lines":             {all, long + "\nFrom " + long + "\nFrom", head + long + "\n>From " + long + "\nFrom\n\n"},
		"From across buffers":    {all, "\n" + strings.Repeat("y", 65535) + "From x\nFrom y\n", head + "\n" + strings.Repeat("y", 65535) + "From x\n>From y\n\n"},
		"only after blank lines": {fromline.Form{EscapeFrom: true, AfterBlank: true}, "From a\nFrom b\n\nFrom c\nFrom d\n\n\nFrom e\n", ">From a\nFrom b\n\n>From c\nFrom d\n\n\n>From e\n"},
		"bare CR and NUL":        {all, "A: b\n\na\rFrom x\x00\n", head + "A: b\n\na\rFrom x\x00\n\n"},
	} {
		for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.HalfReader} {
			var out strings.Builder
			if err := c.form.Copy(&out, wrap(strings.NewReader(c.in))); err != nil || out.String() != c.want {
				t.Errorf("%s: %v\n got %.300q\nwant %.300q", name, err, out.String(), c.want)
			}
		}
	}
	broken := errors.New("disk")
	if err := all.Copy(io.Discard, io.MultiReader(strings.NewReader("A: b\n"), iotest.ErrReader(broken))); !errors.Is(err, fromline.ErrRead) || !errors.Is(err, broken) {
		t.Errorf("error of the reader: %v", err)
	}
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		line, sender, date, remote string
		ok                         bool
	}{
		{"From bob Sun Nov  1 12:04:05 2026", "bob", "Sun Nov  1 12:04:05 2026", "", true},
		{">From bob Sun Nov  1 12:04:05 2026 remote from alpha", "bob", "Sun Nov  1 12:04:05 2026", "alpha", true},
		{"From bob Sun Nov  1 12:04 EST 2026 forwarded by alpha", "bob", "Sun Nov  1 12:04 EST 2026", "alpha", true},
		{`From "a b"@c x remote from beta`, `"a b"@c`, "x", "beta", true},
		{`From "a b x remote from beta`, `"a`, "b x", "beta", true},
		{"From bob remote from alpha", "bob", "", "alpha", true},
		{"From bob", "bob", "", "", true},
		{"From ", "", "", "", false},
		{"From: bob", "", "", "", false},
		{"from bob", "", "", "", false},
		{">>From bob", "", "", "", false},
		{"From b\x01b x", "", "", "", false},
		{"From bob x remote from a b", "bob", "x", "a", true},
		{"From bob x remote from", "bob", "x", "", true},
		{"From bob x remote from b remote from c", "bob", "x", "b", true},
	} {
		sender, date, remote, ok := fromline.Read(c.line)
		if sender != c.sender || date != c.date || remote != c.remote || ok != c.ok {
			t.Errorf("%q: %q %q %q %v", c.line, sender, date, remote, ok)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("From bob Sun Nov  1 12:04:05 2026 remote from alpha")
	f.Add(`>From "a \" b"@c d forwarded by x remote from y`)
	f.Fuzz(func(t *testing.T, line string) {
		sender, _, remote, ok := fromline.Read(line)
		if ok && (sender == "" || strings.ContainsAny(remote, " \n")) {
			t.Errorf("%q: sender %q remote %q", line, sender, remote)
		}
		if got := fromline.Line(envelope.Address(line), noon, ""); strings.ContainsAny(got, "\n\r\x00") {
			t.Errorf("%q gives a line with a line end: %q", line, got)
		}
	})
}

func FuzzCopy(f *testing.F) {
	f.Add("A: b\n\nFrom x\n")
	f.Add("Return-Path: x\n y\nFrom z")
	f.Fuzz(func(t *testing.T, message string) {
		var out strings.Builder
		form := fromline.Form{FromLine: true, ReturnPath: true, EscapeFrom: true, BlankEnd: true, When: noon}
		if err := form.Copy(&out, strings.NewReader(message)); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count("\n"+out.String(), "\nFrom "); n != 1 {
			t.Errorf("%q: %d messages in the mailbox", message, n)
		}
		if !strings.HasSuffix(out.String(), "\n\n") {
			t.Errorf("%q: no empty line at the end", message)
		}
	})
}
