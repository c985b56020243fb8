package uucp

import (
	"errors"
	"io"
	"strings"
	"testing"

	"waybill/transport/envelope"
	"waybill/transport/fromline"
)

// The expected paths and clients are what Debian's rmail (sendmail 8.17.1) hands to sendmail for the same input, apart
// from the null sender, which it passes on as a name.
func TestReadMail(t *testing.T) {
	const date = " Sun Nov  1 12:04:05 2026"
	for _, c := range []struct{ in, sender, host string }{
		{"From a" + date + " remote from alpha\nX: y\n\nb\n", "alpha!a", "alpha.UUCP"},
		{"From a!b" + date + " remote from alpha\nX: y\n", "alpha!a!b", "alpha.UUCP"},
		{"From uucp" + date + " remote from alpha\n>From c" + date + " remote from beta\nX: y\n", "alpha!beta!c", "alpha.UUCP"},
		{"From uucp" + date + " remote from alpha\n>From uucp" + date + " remote from beta\n>From d@e" + date + " remote from gamma\nX: y\n", "alpha!beta!gamma!d@e", "alpha.UUCP"},
		{"From x!uucp d remote from alpha\n>From y!c d remote from beta\nX: y\n", "alpha!beta!y!c", "alpha.UUCP"},
		{"From uucp d\n>From y!c d remote from beta\nX: y\n", "beta!y!c", "beta.UUCP"},
		{"From uucp d remote from alpha\n>From c d\nX: y\n", "alpha!c", "alpha.UUCP"},
		{"From a" + date + "\nX: y\n", "a", ""},
		{"From a\nX: y\n", "a", ""},
		{"From a!b\nX: y\n", "a!b", "a.UUCP"},
		{"From x!a@b.c" + date + " remote from alpha\nX: y\n", "alpha!x!a@b.c", "alpha.UUCP"},
		{"From a" + date + " remote from\nX: y\n", "a", ""},
		{"From uucp d remote from alpha beta\nX: y\n", "alpha!uucp", "alpha.UUCP"},
		{"From a" + date + " remote from alpha\n\n>From c x remote from beta\n", "alpha!a", "alpha.UUCP"},
		{"From a" + date + " remote from alpha\n>From: x\nX: y\n", "alpha!a", "alpha.UUCP"},
		{"From -a x remote from alpha\nX: y\n", "alpha!-a", "alpha.UUCP"},
		{"From MAILER-DAEMON" + date + " remote from alpha\nX: y\n", "", "alpha.UUCP"},
		{"From <>" + date + " remote from alpha\nX: y\n", "", "alpha.UUCP"},
	} {
		m, err := ReadMail([]string{"bob"}, strings.NewReader(c.in), Caller{})
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		rest, _ := io.ReadAll(m.Message)
		if string(m.Sender) != c.sender || m.Host != c.host || m.Protocol != "UUCP" || !strings.HasSuffix(c.in, string(rest)) || strings.HasPrefix(string(rest), "From ") {
			t.Errorf("%q: sender %q host %q rest %q", c.in, m.Sender, m.Host, rest)
		}
	}
	m, err := ReadMail([]string{"bob"}, strings.NewReader("From a x remote from liar\nX: y\n"), Caller{Machine: "alpha", Domain: "uucp.example.org"})
	if err != nil || m.Sender != "alpha!liar!a" || m.Host != "alpha.uucp.example.org" {
		t.Errorf("a neighbour that names another: %+v %v", m, err)
	}
	for _, in := range []string{"", "X: y\n", "From\nX: y\n", "From \nX: y\n", "From a x remote from alpha\n", "From a x remote from alpha\n>From \nX: y\n", "From a\x01b x\nX: y\n",
		"From " + strings.Repeat("a!", 2000) + "b\nX: y\n", "From " + strings.Repeat("a", 70000) + "\nX: y\n", strings.Repeat("From a x remote from b\n", 200) + "X: y\n", "From a x remote from b<c\nX: y\n"} {
		if m, err := ReadMail([]string{"bob"}, strings.NewReader(in), Caller{}); ExitStatus(err) != 65 {
			t.Errorf("%.60q: %+v %v, want a format error", in, m, err)
		}
	}
	for _, args := range [][]string{nil, {"-x"}, {"bob", "-oQ/tmp"}, {""}, {"a\nb"}, {"-"}} {
		if m, err := ReadMail(args, strings.NewReader("From a x\nX: y\n"), Caller{}); ExitStatus(err) != 64 {
			t.Errorf("%q: %+v %v, want a usage error", args, m, err)
		}
	}
}

func FuzzReadMail(f *testing.F) {
	f.Add("bob", "From uucp d remote from alpha\n>From y!c d remote from beta\nX: y\n")
	f.Add("-x", ">From \"a b\"@c d\n\n")
	f.Fuzz(func(t *testing.T, arg, in string) {
		m, err := ReadMail([]string{arg}, strings.NewReader(in), Caller{Machine: "alpha"})
		if err != nil {
			return
		}
		for _, a := range append(m.Recipients, m.Sender) {
			if strings.ContainsAny(string(a), "\n\r\x00") || strings.HasPrefix(string(a), "-") {
				t.Errorf("address %q", a)
			}
		}
		if m.Sender != "" && !strings.HasPrefix(strings.ToLower(string(m.Sender)), "alpha!") {
			t.Errorf("return path %q does not begin with the machine", m.Sender)
		}
	})
}

func readBatch(text string, by Caller) (string, error) {
	var all []string
	err := ReadBatch(strings.NewReader(text), by, func(m *Incoming) error {
		body, err := io.ReadAll(m.Message)
		if err != nil {
			return err
		}
		s := string(m.Sender) + ">"
		for _, r := range m.Recipients {
			s += string(r) + ","
		}
		all = append(all, s+m.Host+string(m.BodyType)+":"+string(body))
		return nil
	})
	return strings.Join(all, "|"), err
}

func TestReadBatch(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"HELO a\nMAIL FROM:<a@b>\nRCPT TO:<c@d>\nDATA\nX: y\n\n.\nQUIT\n", "a@b>c@d,alpha.UUCP:X: y\n\n"},
		{"mail from: <> BODY=8BITMIME\r\nrcpt to: c@d \r\nRCPT TO:<e>\r\nDATA\r\n..x\r\n.y\r\na\rb\r\n.\r\n", ">c@d,e,alpha.UUCP8BITMIME:.x\ny\na\rb\n"},
		{"MAIL FROM:<\"a>b\"@c>\nRCPT TO:<@x,@y:c@d>\nDATA\n.\nRSET\nNOOP\nMAIL FROM:<a>\nRSET\nMAIL FROM:<b>\nRCPT TO:<c>\nDATA\nX\n.\n", `"a>b"@c>c@d,alpha.UUCP:|b>c,alpha.UUCP:X` + "\n"},
		{"MAIL FROM:<a>\nRCPT TO:<b>\nDATA\n" + strings.Repeat("x", 65535) + "\r\n" + strings.Repeat("y", 65535) + "\rz\n.\n", "a>b,alpha.UUCP:" + strings.Repeat("x", 65535) + "\n" + strings.Repeat("y", 65535) + "\rz\n"},
	} {
		got, err := readBatch(c.in, Caller{Machine: "alpha"})
		if err != nil || got != c.want {
			t.Errorf("%.100q:\n got %.200q %v\nwant %.200q", c.in, got, err, c.want)
		}
	}
	for _, c := range []struct{ in, line string }{
		{"HELO a\nFOO\n", "line 2"}, {"MAIL TO:<a>\n", "line 1"}, {"MAIL FROM:<a\n", "line 1"}, {"RCPT TO:<a>\n", "line 1"}, {"DATA\n", "line 1"}, {"MAIL FROM:<a>\nDATA\n", "line 2"},
		{"MAIL FROM:<a>\nRCPT TO:<>\n", "line 2"}, {"MAIL FROM:<a>\nRCPT TO:<-x>\n", "line 2"}, {"MAIL FROM:<a>\nMAIL FROM:<a>\n", "line 2"}, {"MAIL FROM:<a>\nQUIT\n", "line 2"},
		{"MAIL FROM:<a>\nRCPT TO:<b>\nDATA\nX: y\n", "line 4"}, {"MAIL FROM:<a>\nRCPT TO:<b>\nDATA\nX: y", "line 4"}, {"MAIL FROM:<a>\n", "line 2"}, {"X" + strings.Repeat("x", 5000) + "\n", "line 1"},
		{"MAIL FROM:<a\x00b>\n", "line 1"},
	} {
		got, err := readBatch(c.in, Caller{})
		if !errors.Is(err, ErrFormat) || got != "" {
			t.Errorf("%.100q: %q %v, want a format error", c.in, got, err)
		}
		_ = c.line
	}
	// messages before the error stand
	got, err := readBatch("MAIL FROM:<a>\nRCPT TO:<b>\nDATA\nX\n.\nFOO\n", Caller{})
	if got != "a>b,:X\n" || err == nil || !strings.Contains(err.Error(), "line 6") {
		t.Errorf("%q %v", got, err)
	}
	refused := errors.New("disk full")
	if err := ReadBatch(strings.NewReader("MAIL FROM:<a>\nRCPT TO:<b>\nDATA\nX\n.\n"), Caller{}, func(*Incoming) error { return refused }); !errors.Is(err, refused) || ExitStatus(err) != 75 {
		t.Errorf("a message that was not accepted: %v", err)
	}
}

func FuzzBatch(f *testing.F) {
	f.Add("X: y\n\n.\n..\n.x\nend")
	f.Add("\r\n.\r\n")
	f.Fuzz(func(t *testing.T, message string) {
		var out strings.Builder
		w := NewBatchWriter(&out, "alpha")
		for range 2 {
			if err := w.Message("a@b", []envelope.Address{"c", "d"}, strings.NewReader(message)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		want := strings.ReplaceAll(message, "\r\n", "\n")
		if want != "" && !strings.HasSuffix(want, "\n") {
			if strings.HasSuffix(want, "\r") {
				return // the line end that is added makes CRLF of it
			}
			want += "\n"
		}
		if got, err := readBatch(out.String(), Caller{}); err != nil || got != "a@b>c,d,:"+want+"|a@b>c,d,:"+want {
			t.Errorf("%q comes back as %q, %v", message, got, err)
		}
		_, _ = readBatch(message, Caller{})
	})
}

func TestBatchWriterReportsTheReader(t *testing.T) {
	w := NewBatchWriter(io.Discard, "alpha")
	if err := w.Message("a", nil, io.MultiReader(strings.NewReader("x"), errReader{})); !errors.Is(err, fromline.ErrRead) {
		t.Error(err)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("gone") }
