package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
)

// site is a mail spool, and a passwd file with alice and bob, who are whoever runs the test.
func site(t *testing.T) (spool string, args []string) {
	t.Helper()
	dir := t.TempDir()
	spool = filepath.Join(dir, "mail")
	for _, sub := range []string{"mail", "home"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	users := filepath.Join(dir, "passwd")
	me := fmt.Sprintf("%d:%d::%s/home:/bin/sh\n", os.Getuid(), os.Getgid(), dir)
	if err := os.WriteFile(users, []byte("alice:x:"+me+"bob:x:"+me), 0o600); err != nil {
		t.Fatal(err)
	}
	return spool, []string{"-D", users, "-p", spool}
}

func call(args []string, in string) (exit int, out, errs string) {
	var o, e bytes.Buffer
	exit = run(args, strings.NewReader(in), &o, &e)
	return exit, o.String(), e.String()
}

var stamp = regexp.MustCompile(`(?m)^(From \S*) .*$`)

func mailbox(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
	}
	return stamp.ReplaceAllString(string(text), "$1 DATE")
}

func TestDeliver(t *testing.T) {
	spool, base := site(t)
	exit, _, errs := call(append(base, "-dfs@x", "alice", "bob"), "Subject: hi\n\nFrom one\nFrom two\n\nFrom three\nend")
	if exit != 0 || errs != "" {
		t.Errorf("exit %d, %s", exit, errs)
	}
	for _, user := range []string{"alice", "bob"} {
		if got := mailbox(t, filepath.Join(spool, user)); got != "From s@x DATE\nSubject: hi\n\n>From one\nFrom two\n\n>From three\nend\n\n" {
			t.Errorf("%s: %q", user, got)
		}
	}
	if exit, _, errs = call(append(base, "-h", "Mbox", "-r", "", "alice"), "X: y\n"); exit != 0 {
		t.Errorf("-h: exit %d, %s", exit, errs)
	}
	if got := mailbox(t, filepath.Join(spool, "../home/Mbox")); got != "From MAILER-DAEMON DATE\nX: y\n\n" {
		t.Errorf("-h: %q", got)
	}
}

// The exit statuses and messages are those of sendmail's mail.local for the same arguments, unless told otherwise.
func TestFailures(t *testing.T) {
	spool, base := site(t)
	if err := os.Symlink("/etc/passwd", filepath.Join(spool, "bob")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		exit int
		errs string
	}{
		{[]string{"nosuch"}, 69, "mail.local: nosuch: User unknown\n"},
		{[]string{"alice", "nosuch"}, 69, "mail.local: nosuch: User unknown\n"},
		{[]string{"../alice"}, 69, "mail.local: ../alice: User unknown\n"},
		{[]string{"Alice"}, 69, "mail.local: Alice: User unknown\n"},
		{[]string{"--", "-x"}, 69, "mail.local: -x: User unknown\n"},
		{[]string{"a\nb"}, 69, "mail.local: \"a\\nb\": User unknown\n"},
		{[]string{"nosuch", "bob"}, 75, "mail.local: nosuch: User unknown\nmail.local: bob: the mailbox is not a plain file of its owner\n"}, // sendmail's gives up: 69
		{nil, 69, "mail.local: " + usage + "\n"},
		{[]string{"-x", "alice"}, 69, "mail.local: invalid option -- 'x'\nmail.local: " + usage + "\n"},
		{[]string{"-f"}, 69, "mail.local: option requires an argument -- 'f'\nmail.local: " + usage + "\n"},
		{[]string{"-f", "a", "-r", "b", "alice"}, 69, "mail.local: Multiple -f options\nmail.local: " + usage + "\n"},
		{[]string{"-D", "zz", "alice"}, 69, "mail.local: Can not open mailbox database zz: Service unavailable\n"},
		{[]string{"-h", "../x", "alice"}, 69, "mail.local: ../x: not a file name in a home directory\n"},
		{[]string{"-h", "/tmp/x", "alice"}, 69, "mail.local: /tmp/x: not a file name in a home directory\n"},
		{[]string{"-D", "/nonexistent", "alice"}, 75, "mail.local: alice: user database not available\n"},
	} {
		exit, out, errs := call(append(append([]string(nil), base...), c.args...), "X: y\n")
		if exit != c.exit || errs != c.errs || out != "" {
			t.Errorf("%q: exit %d, %q %q, want %d, %q", c.args, exit, out, errs, c.exit, c.errs)
		}
	}
	var errs bytes.Buffer
	before := mailbox(t, filepath.Join(spool, "alice"))
	if exit := run(append(base, "alice"), io.MultiReader(strings.NewReader("X"), iotest.ErrReader(io.ErrUnexpectedEOF)), io.Discard, &errs); exit != 75 {
		t.Errorf("input that ends in an error: exit %d", exit)
	}
	if mailbox(t, filepath.Join(spool, "alice")) != before {
		t.Error("half a message was delivered")
	}
}

func lines(s ...string) string { return strings.Join(s, "\r\n") + "\r\n" }

// The dialogue is that of sendmail's mail.local with the same commands.
func TestLMTP(t *testing.T) {
	spool, base := site(t)
	host, _ := os.Hostname()
	exit, out, errs := call(append(base, "-l"), lines(
		"LHLO a b", "LHLO x", "MAIL FROM:<s@x>", "RCPT TO:<alice>", "RCPT TO:<alice@dom>", "RCPT TO:<bob+x>", "RCPT TO:<nosuch>", "RCPT TO:bob", "DATA",
		"Subject: l", "", "..dot", "From x", ".", "MAIL FROM:<> SIZE=10 BODY=8BITMIME", "MAIL FROM:<x>", "RSET", "RCPT TO:<alice>", "DATA", "VRFY alice", "VRFY nosuch", "EXPN x", "NOOP", "HELP", "FOO",
		"HELO x", "EHLO x", "MAIL FROM:<>", "DATA", "RCPT TO:<nosuch>", "DATA", "RCPT TO:<Alice>", "QUIT"))
	want := lines("220 "+host+" LMTP ready", "250-"+host, "250-8BITMIME", "250-ENHANCEDSTATUSCODES", "250 PIPELINING", "503 "+host+" Duplicate LHLO", "250 2.5.0 Ok", "250 2.1.5 Ok", "250 2.1.5 Ok", "250 2.1.5 Ok",
		"550 5.1.1 User unknown", "501 5.5.4 Syntax error in parameters", "354 Go ahead", "250 2.1.5 alice Ok", "250 2.1.5 alice Ok", "250 2.1.5 bob Ok", "250 2.5.0 Ok", "503 5.5.1 Nested MAIL command", "250 2.0.0 Ok",
		"503 5.5.1 Need MAIL command", "503 5.5.1 No recipients", "252 2.3.3 Try RCPT to attempt delivery", "252 2.3.3 Try RCPT to attempt delivery", "500 5.5.2 Syntax error", "250 2.0.0 Ok", "500 5.5.2 Syntax error",
		"500 5.5.2 Syntax error", "500 5.5.2 Syntax error", "500 5.5.2 Syntax error", "250 2.5.0 Ok", "503 5.5.1 No recipients", "550 5.1.1 User unknown", "503 5.5.1 No recipients", "550 5.1.1 User unknown", "221 2.0.0 Bye")
	if exit != 0 || errs != "" || out != want {
		t.Errorf("exit %d %s\n%s\nwant\n%s", exit, errs, out, want)
	}
	one := "From s@x DATE\nSubject: l\n\n.dot\nFrom x\n\n"
	if got := mailbox(t, filepath.Join(spool, "alice")); got != one+one {
		t.Errorf("alice: %q", got)
	}
	if got := mailbox(t, filepath.Join(spool, "bob")); got != one {
		t.Errorf("bob: %q", got)
	}
	_, out, _ = call(append(base, "-7", "-l"), "LHLO x\nQUIT\n")
	if strings.Contains(out, "8BITMIME") || !strings.Contains(out, "221") {
		t.Errorf("-7: %s", out)
	}
	if exit, out, _ = call(append(base, "-l", "alice"), ""); exit != 75 || !strings.HasPrefix(out, "421 ") {
		t.Errorf("-l with a user: %d %s", exit, out)
	}
	exit, out, _ = call(append(base, "-l"), "LHLO x\n"+strings.Repeat("y", 100_000)+"\nNOOP\n")
	if exit != 0 || !strings.HasSuffix(out, "500 5.5.2 Line too long\r\n250 2.0.0 Ok\r\n") {
		t.Errorf("a long line: %d %q", exit, out)
	}
}

// A message that is cut off is delivered to nobody, and what only looks like its end is not its end.
func TestLMTPEndOfMessage(t *testing.T) {
	spool, base := site(t)
	begin := lines("LHLO x", "MAIL FROM:<s@x>", "RCPT TO:<alice>", "DATA")
	if exit, out, _ := call(append(base, "-l"), begin+"X: y\r\n"); exit == 0 || strings.Contains(out, "alice Ok") {
		t.Errorf("cut off: exit %d, %s", exit, out)
	}
	if _, err := os.Stat(filepath.Join(spool, "alice")); err == nil {
		t.Error("half a message was delivered")
	}
	_, out, _ := call(append(base, "-l"), begin+"X: y\r\n\r\na\n.\nMAIL FROM:<evil>\nb\n.\r\nc\r.\r\n.\r\nQUIT\r\n")
	if n := strings.Count(out, "Ok"); n != 3 || strings.Contains(out, "500") {
		t.Errorf("smuggled commands: %s", out)
	}
	if got := mailbox(t, filepath.Join(spool, "alice")); got != "From s@x DATE\nX: y\n\na\n.\nMAIL FROM:<evil>\nb\n.\nc\r.\n\n" {
		t.Errorf("mailbox %q", got)
	}
}

func FuzzDots(f *testing.F) {
	f.Add("a\r\n..b\r\n.\r\n", true)
	f.Add(".\n", false)
	f.Fuzz(func(t *testing.T, in string, crlf bool) {
		d := &dots{in: bufio.NewReaderSize(strings.NewReader(in), 16), crlf: crlf, start: true}
		got, err := io.ReadAll(d)
		if err == nil && crlf && !strings.HasPrefix(in, ".\r\n") && !strings.Contains(in, "\r\n.\r\n") {
			t.Errorf("%q ends although there is no CRLF.CRLF: %q", in, got)
		}
		if strings.Contains(string(got), "\r\n") && !strings.Contains(in, "\r\r\n") {
			t.Errorf("%q gives a CRLF: %q", in, got)
		}
	})
}

func TestManualPageHasEveryOption(t *testing.T) {
	page, err := os.ReadFile("../../etc/man/mail.local.8")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\.It Fl (\S)`).FindAllSubmatch(page, -1) {
		documented[string(m[1])] = true
	}
	for _, letter := range strings.Split("7bdDfhlnpr", "") {
		if _, err := parse([]string{"-" + letter, "x"}); err != nil {
			t.Errorf("-%s: %v", letter, err)
		}
		if !documented[letter] {
			t.Errorf("-%s is not in the manual page", letter)
		}
		delete(documented, letter)
	}
	if len(documented) > 0 {
		t.Errorf("options of the manual page that do not exist: %v", documented)
	}
}

// What mail.local of sendmail 8.17 answers to paths without brackets, and to LHLO without a name.
func TestLMTPSyntax(t *testing.T) {
	_, out, _ := call([]string{"-l"}, lines("LHLO", "LHLO x", "MAIL FROM:a", "MAIL FROM:<a", "MAIL FROM:<a>", "RCPT TO:<>", "RCPT TO:root+x", "QUIT"))
	var codes []string
	for _, line := range strings.Split(strings.TrimSpace(out), "\r\n")[1:] {
		if line[3] == ' ' {
			codes = append(codes, line[:9])
		}
	}
	const want = "500 5.5.2|250 PIPEL|501 5.5.4|501 5.5.4|250 2.5.0|550 5.1.1|501 5.5.4|221 2.0.0"
	if got := strings.Join(codes, "|"); got != want {
		t.Errorf("%s\nnot %s", got, want)
	}
}
