package smtpserver

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
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

func TestSendmailEndsAtABareLineFeed(t *testing.T) {
	lines := sendmailDialogue(t, "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nSubject: x\n\nMAIL FROM:<evil@example.org>\r\n")
	if last := lines[len(lines)-1]; last != "421 4.5.0 Bare linefeed (LF) not allowed" {
		t.Errorf("the last reply is %q", last)
	}
}

// sendmailDialogue says everything at once and returns the replies.
func sendmailDialogue(t *testing.T, say string) []string {
	t.Helper()
	srv, err := New(Config{Hostname: "mx.example.org", Log: slog.New(slog.DiscardHandler), Lenient: true, Sendmail: true}, &fakeBackend{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := srv.ServeConn(t.Context(), script{strings.NewReader(say), &out}, Client{}); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\r\n"), "\r\n")
}
