package smtpserver

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"
)

func TestSendmailWords(t *testing.T) {
	for _, tc := range []struct{ name, say, want string }{
		{"mail without a greeting", "MAIL FROM:<a@example.org>\r\nRSET\r\n", "250 2.1.0"},
		{"unknown", "FOO\r\n", `500 5.5.1 Command unrecognized: "FOO"`},
		{"no name", "EHLO\r\n", "501 5.0.0 EHLO requires domain address"},
		{"no from", "MAIL TO:<x>\r\n", `501 5.5.2 Syntax error in parameters scanning "TO"`},
		{"recipient too early", "RCPT TO:<x>\r\n", "503 5.0.0 Need MAIL before RCPT"},
		{"argument of quit", "QUIT now\r\n", "221 2.0.0 mx.example.org closing connection"},
		{"verify nobody", "VRFY\r\n", "501 5.5.2 Argument required"},
		{"white space in front", " \tNOOP\r\n", "250 2.0.0 OK"},
		{"white space before the colon", "mail  From : <a@example.org>\r\nRSET\r\n", "250 2.1.0"},
		{"carriage return", "NOOP\rQUIT\r\n", "250 2.0.0 OK"},
		{"NUL", "NOOP\x00x\r\n", "250 2.0.0 OK"},
		{"eighth bit", "\xcfOOP\r\n", `500 5.5.1 Command unrecognized: "OOOP"`},
		{"name with the eighth bit", "EHLO \xe9.test\r\n", "501 5.0.0 Invalid domain name"},
		{"name of two words", "HELO a b\r\n", "501 5.0.0 Invalid domain name"},
		{"too long", "NOOP " + strings.Repeat("x", 3000) + "\r\n", "421 4.7.0 mx.example.org Command too long, possible attack client"},
		{"not there", "SOML FROM:<x>\r\n", `502 5.5.1 Command not implemented: "SOML FROM:<x>"`},
		{"no TLS", "STARTTLS\r\n", "454 4.3.3 TLS not available after start"},
		{"no passwords", "AUTH PLAIN\r\n", "504 5.3.3 AUTH mechanism PLAIN not available"},
		{"chunks", "BDAT 5 LAST\r\n", `500 5.5.1 Command unrecognized: "BDAT 5 LAST"`},
		{"no verbosity", "VERB\r\n", "502 5.7.0 Verbose unavailable"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			lines := sendmailDialogue(t, tc.say)
			if len(lines) < 2 || !strings.HasPrefix(lines[1], tc.want) {
				t.Errorf("%q is answered %q, not %q", tc.say, lines, tc.want)
			}
		})
	}
}

func TestSendmailGivesUpOnBadCommands(t *testing.T) {
	lines := sendmailDialogue(t, strings.Repeat("FOO\r\n", 40))
	if last := lines[len(lines)-1]; len(lines) != 27 || last != "421 4.7.0 mx.example.org Too many bad commands; closing connection" {
		t.Errorf("%d replies, the last is %q", len(lines), last)
	}
}

func TestSendmailEndsAtABareCarriageReturn(t *testing.T) {
	lines := sendmailDialogue(t, "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nSubject: x\r\n.\rMAIL FROM:<evil@example.org>\r\n")
	if last := lines[len(lines)-1]; last != "421 4.5.0 Bare carriage return (CR) not allowed" {
		t.Errorf("the last reply is %q", last)
	}
}

func TestSendmailEndsAtABareLineFeed(t *testing.T) {
	lines := sendmailDialogue(t, "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nSubject: x\n\nMAIL FROM:<evil@example.org>\r\n")
	if last := lines[len(lines)-1]; last != "421 4.5.0 Bare linefeed (LF) not allowed" {
		t.Errorf("the last reply is %q", last)
	}
}

// RFC 2920 3.1: EHLO and DATA are the last that a client says before it waits; sendmail does not take what comes at once.
func TestSendmailMindsHaste(t *testing.T) {
	const mail = "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n"
	for say, want := range map[string]string{
		mail:                             "220 250 250 554 5.5.0 SMTP protocol error",
		"NOOP\r\nEHLO c.test\r\n" + mail: "220 250 554 550 550 550 500 500 500 500 221 2.0.0 mx.example.org closing connection",
		"HELO c.test\r\nNOOP\r\nRSET\r\nEHLO c.test\r\nVERB\r\nQUIT\r\n": "220 554 250 250 554 550 221 2.0.0 mx.example.org closing connection",
	} {
		lines := dialogue(t, strings.NewReader(say))
		got := ""
		for _, l := range lines[:len(lines)-1] {
			got += l[:4]
		}
		if got += lines[len(lines)-1]; got != want {
			t.Errorf("%q is answered %q, not %q", say, got, want)
		}
	}
}

// sendmailDialogue says everything without haste and returns the replies.
func sendmailDialogue(t *testing.T, say string) []string {
	t.Helper()
	return dialogue(t, iotest.OneByteReader(strings.NewReader(say)))
}

func dialogue(t *testing.T, in io.Reader) []string {
	t.Helper()
	srv, err := New(Config{Hostname: "mx.example.org", Log: slog.New(slog.DiscardHandler), Lenient: true, Sendmail: true}, &fakeBackend{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := srv.ServeConn(t.Context(), script{in, &out}, Client{}); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\r\n"), "\r\n")
}
