package app

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"waybill/transport/smtpserver"
)

// MAIL is refused for now when the message, or MinFreeBlocks, is more than the disk has room for; the session goes on.
func TestMailOnAFullDisk(t *testing.T) {
	const huge = "99999999999999999"
	for option, want := range map[string]string{
		"":                               "452 250 250 250",
		"O MinFreeBlocks=10\n":           "452 250 250 250",
		"O MinFreeBlocks=" + huge + "\n": "452 452 452 503",
	} {
		dir := t.TempDir()
		config := filepath.Join(dir, "x.cf")
		text := "V10/Berkeley\nDjmail.example.org\nCwmail.example.org\nO QueueDirectory=" + dir + "\nO OperatorChars=.:%@!^/[]+\n" + option +
			"Mlocal, P=/bin/true, F=lsDFMAw5S, A=x $u\nMprog, P=/bin/sh, F=lsDFMo, A=sh -c $u\nS0\nR$+\t$#local $: $1\n"
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openCF(config, slog.LevelError, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.cf.pipe = true
		server, err := s.server(true)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		pipe := struct {
			io.Reader
			io.Writer
		}{iotest.OneByteReader(strings.NewReader("HELO x\r\nMAIL FROM:<a@mail.example.org> SIZE=" + huge + "\r\nMAIL FROM:<a@mail.example.org> SIZE=1\r\nRSET\r\n" +
			"MAIL FROM:<a@mail.example.org>\r\nRCPT TO:<root>\r\nQUIT\r\n")), &out}
		if err := server.ServeConn(t.Context(), pipe, smtpserver.Client{Name: "localhost"}); err != nil {
			t.Error(err)
		}
		s.close(t.Context())
		var codes []string
		for line := range strings.Lines(out.String()) {
			codes = append(codes, line[:3])
		}
		got := strings.Join(codes, " ")
		if w := strings.Fields(want); got != strings.Join([]string{"220 250", w[0], w[1], "250", w[2], w[3], "221"}, " ") {
			t.Errorf("%q: %s, want %s for the three MAIL and the RCPT", option, got, want)
		}
	}
}

// The file of DeadLetterDrop may be in a directory like /var/tmp, where a user can make a second name of another's file.
func TestKeepLetterOnlyInAFileOfOurs(t *testing.T) {
	dir := t.TempDir()
	file, other := filepath.Join(dir, "dead.letter"), filepath.Join(dir, "other")
	if err := keepLetter(file, "head\n\n", strings.NewReader("body\n")); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(file); string(text) != "head\n\nbody\n\n" {
		t.Errorf("%q", text)
	}
	if err := os.Link(file, other); err != nil {
		t.Fatal(err)
	}
	if err := keepLetter(other, "head\n\n", strings.NewReader("body\n")); err == nil {
		t.Error("a file with two names was written")
	}
	if err := os.Symlink(file, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := keepLetter(filepath.Join(dir, "link"), "", strings.NewReader("")); err == nil {
		t.Error("a link was followed")
	}
}
