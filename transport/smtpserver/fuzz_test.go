package smtpserver

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"waybill/transport/smtp"
)

// strictSession fails the test when the server calls it out of order, or lets something through that must not pass.
type strictSession struct {
	t      testing.TB
	in     bool // between Mail and Reset
	rcpts  int
	closed bool
	said   int // replies that were consent to a message
}

func (s *strictSession) NewSession(context.Context, *Client) (Session, *smtp.Reply) { return s, nil }

func (s *strictSession) check(ok bool, what string) {
	if !ok || s.closed {
		s.t.Fatalf("%s out of order", what)
	}
}

func (s *strictSession) address(addr string) *smtp.Reply {
	if strings.ContainsAny(addr, "\r\n\x00\x1b\x7f") || !utf8.ValidString(addr) {
		s.t.Fatalf("address %q", addr)
	}
	return verdict(addr)
}

func (s *strictSession) Mail(_ context.Context, from MailFrom) *smtp.Reply {
	s.check(!s.in, "Mail")
	s.in, s.rcpts = true, 0
	return s.address(string(from.Addr))
}

func (s *strictSession) Rcpt(_ context.Context, to RcptTo) *smtp.Reply {
	s.check(s.in && to.Addr != "", "Rcpt")
	r := s.address(string(to.Addr))
	if r == nil {
		s.rcpts++
	}
	return r
}

func (s *strictSession) Data(_ context.Context, body io.Reader) *smtp.Reply {
	s.check(s.in && s.rcpts > 0, "Data")
	text, err := io.ReadAll(body)
	if bytes.ContainsAny(text, "\r\x00") {
		s.t.Fatalf("message %q", text)
	}
	if err != nil {
		return smtp.NewReply(451, "4.3.0", "the server must not send this")
	}
	if bytes.HasPrefix(text, []byte("refuse me")) {
		return smtp.NewReply(554, "5.7.1", "as you like")
	}
	s.said++
	return smtp.NewReply(250, "2.0.0", "taken")
}

func (s *strictSession) Reset() { s.check(true, "Reset"); s.in = false }
func (s *strictSession) Close() { s.check(!s.in, "Close"); s.closed = true }

// a pipe of octets in memory: what the client says is all there at the beginning
type script struct {
	io.Reader
	io.Writer
}

// fuzzState plays the lines that lead into a state, then the fuzzer's octets.
func fuzzState(f *testing.F, lead string, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	for _, s := range []string{"QUIT\r\n", "RSET\r\nNOOP\r\n", "\r\n\r\n", "DATA\r\n.\r\n", strings.Repeat("x", 20000) + "\r\nNOOP\r\n", "EHLO [IPv6:::1]\r\n", "NOOP\n", "GET / HTTP/1.0\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		s := &strictSession{t: t}
		cfg := testConfig(t)
		cfg.BadRcptThrottle, cfg.MaxSize, cfg.MaxRecipients = -1, 10000, 100
		cfg.Auth, cfg.AuthInClear, cfg.AuthDelay = clear{}, true, 1
		cfg.UTF8, cfg.DeliverBy = true, true
		srv, err := New(cfg, s)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		srv.ServeConn(t.Context(), script{io.MultiReader(strings.NewReader(lead), bytes.NewReader(input)), &out}, testClient)
		if !s.closed {
			t.Fatal("the session was not closed")
		}
		br := bufio.NewReader(&out)
		taken := 0
		for {
			line, err := br.Peek(1)
			if err == io.EOF && len(line) == 0 {
				break
			}
			raw, _ := br.Peek(min(br.Buffered(), smtp.MaxReplyLine+1))
			if i := bytes.IndexByte(raw, '\n'); i < 1 || raw[i-1] != '\r' {
				t.Fatalf("reply line %q", raw)
			}
			r, err := smtp.ReadReply(br)
			if err != nil {
				t.Fatalf("reply: %v", err)
			}
			if r.Code == 250 && r.Text() == "taken" {
				taken++
			}
		}
		if taken != s.said {
			t.Fatalf("%d messages taken, %d acknowledged", s.said, taken)
		}
	})
}

const (
	leadReady = "EHLO client.test\r\n"
	leadMail  = leadReady + "MAIL FROM:<a@example.org>\r\n"
	leadRcpt  = leadMail + "RCPT TO:<b@example.org>\r\n"
)

func FuzzFresh(f *testing.F) { fuzzState(f, "", leadRcpt+"DATA\r\nx\r\n.\r\n") }

func FuzzReady(f *testing.F) {
	fuzzState(f, leadReady, "MAIL FROM:<a@b> SIZE=1 BODY=8BITMIME ENVID=a+2B\r\n", "MAIL FROM:<\"a b\"@[127.0.0.1]>\r\n", "MAIL FROM:<later@x>\r\nMAIL FROM:<>\r\n")
}

func FuzzMail(f *testing.F) {
	fuzzState(f, leadMail, "RCPT TO:<a@b> NOTIFY=NEVER ORCPT=rfc822;a\r\n", "RCPT TO:<unknown@x>\r\nDATA\r\n", "RCPT TO:<bye@x>\r\nNOOP\r\n")
}

func FuzzRcpt(f *testing.F) {
	fuzzState(f, leadRcpt, "RCPT TO:<odd@b>\r\nDATA\r\n..\r\n.\r\nMAIL FROM:<>\r\n", "EHLO x\r\nDATA\r\n")
}

func FuzzData(f *testing.F) {
	fuzzState(f, leadRcpt+"DATA\r\n", "a\n.\nMAIL FROM:<x>\r\n.\r\n", "a\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<b>\r\nDATA\r\n.\r\n", strings.Repeat("x", 11000)+"\r\n.\r\nNOOP\r\n", "refuse me\r\n.\r\n", ".\r", "a\x00\r\n.\r\n")
}

func FuzzChunks(f *testing.F) {
	fuzzState(f, leadRcpt+"BDAT 3\r\nabc", "BDAT 2 LAST\r\n\r\nNOOP\r\n", "BDAT 1\r\n\nBDAT 0 LAST\r\n", "RSET\r\nBDAT 3\r\nxyz", "BDAT 99999999999999999999\r\n", "EHLO x\r\nBDAT 4 LAST\r\n\r\n.\r\nQUIT\r\n", "BDAT 9999 LAST\r\n")
}

func FuzzAuth(f *testing.F) {
	fuzzState(f, leadReady, "AUTH PLAIN AHRlc3RlcgBodW50ZXIy\r\nAUTH PLAIN =\r\n", "AUTH LOGIN\r\ndGVzdGVy\r\naHVudGVyMg==\r\nMAIL FROM:<>\r\n",
		"AUTH PLAIN\r\n*\r\n", "AUTH LOGIN "+strings.Repeat("QUFB", 400)+"\r\n", "AUTH PLAIN\r\n"+strings.Repeat("A", 13000)+"\r\nNOOP\r\n", "AUTH PLAIN\r\n")
}

func FuzzBinary(f *testing.F) {
	fuzzState(f, leadReady+"MAIL FROM:<a@example.org> BODY=BINARYMIME\r\nRCPT TO:<b@example.org>\r\n",
		"BDAT 60 LAST\r\nContent-Transfer-Encoding: binary\r\n\r\n", "DATA\r\n", "BDAT 3\r\n\n\x00\rBDAT 0 LAST\r\nNOOP\r\n")
}
