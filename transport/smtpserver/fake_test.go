package smtpserver

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"waybill/transport/smtp"
)

// fakeBackend makes sessions that decide by words in addresses and messages, and write down what they were asked.
//
//	unknown@  550      later@  450      bye@  421      odd@  a reply that no session may give
//	"refuse me" in a message: 554       "lazy" at its start: 250 without reading it
type fakeBackend struct {
	mu      sync.Mutex
	calls   []string
	open    int
	refuse  *smtp.Reply
	verify  bool
	chunked bool          // the last message came by BDAT
	hold    chan struct{} // Data waits for it before it answers
	started chan struct{} // Data tells that it has begun to read
}

func (b *fakeBackend) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, fmt.Sprintf(format, args...))
}

func (b *fakeBackend) take() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	calls := b.calls
	b.calls = nil
	return calls
}

func (b *fakeBackend) NewSession(_ context.Context, client *Client) (Session, *smtp.Reply) {
	if b.refuse != nil {
		return nil, b.refuse
	}
	b.mu.Lock()
	b.open++
	b.mu.Unlock()
	s := &fakeSession{b: b, client: client}
	switch {
	case client.LMTP:
		return &fakeLMTP{s}, nil
	case b.verify:
		return &fakeVerifier{s}, nil
	}
	return s, nil
}

type fakeSession struct {
	b      *fakeBackend
	client *Client
	utf8   bool
	rcpts  []string
}

func verdict(addr string) *smtp.Reply {
	local, _, _ := strings.Cut(addr, "@")
	switch local {
	case "unknown":
		return smtp.NewReply(550, "5.1.1", "no such user")
	case "later":
		return smtp.NewReply(450, "4.2.0", "not now")
	case "bye":
		return smtp.NewReply(421, "4.3.0", "go away")
	case "odd":
		return smtp.NewReply(354, "", "send it")
	}
	return nil
}

func (s *fakeSession) Mail(_ context.Context, from MailFrom) *smtp.Reply {
	s.utf8 = from.UTF8
	extra := ""
	if from.Size >= 0 {
		extra += fmt.Sprintf(" size=%d", from.Size)
	}
	for _, w := range []string{string(from.Body), string(from.Ret), from.EnvID, from.MailParams.Auth} {
		if w != "" {
			extra += " " + w
		}
	}
	if from.By != nil {
		extra += " by=" + from.By.String()
	}
	if from.UTF8 {
		extra += " utf8"
	}
	if from.RequireTLS {
		extra += " requiretls"
	}
	s.b.note("mail <%s>%s", from.Addr, extra)
	return verdict(string(from.Addr))
}

func (s *fakeSession) Rcpt(_ context.Context, to RcptTo) *smtp.Reply {
	extra := ""
	if to.Notify != 0 {
		extra += " " + to.Notify.String()
	}
	if to.ORcpt != "" {
		extra += " " + to.ORcpt
	}
	s.b.note("rcpt <%s>%s", to.Addr, extra)
	r := verdict(string(to.Addr))
	if r == nil {
		s.rcpts = append(s.rcpts, string(to.Addr))
	}
	return r
}

func (s *fakeSession) Data(_ context.Context, body io.Reader) *smtp.Reply {
	if s.b.started != nil {
		close(s.b.started)
	}
	_, chunked := body.(*watched).Reader.(*chunkReader)
	s.b.mu.Lock()
	s.b.chunked = chunked
	s.b.mu.Unlock()
	first := make([]byte, 4)
	n, err := io.ReadFull(body, first)
	if string(first[:n]) == "lazy" {
		s.b.note("data lazy")
		return nil
	}
	hash, size := sha256.New(), int64(n)
	var head []byte
	head = append(head, first[:n]...)
	for err == nil {
		chunk := make([]byte, 4096)
		var k int
		k, err = body.Read(chunk)
		hash.Write(chunk[:k])
		size += int64(k)
		head = append(head, chunk[:min(k, 200-min(200, len(head)))]...)
	}
	switch {
	case err == io.EOF, err == io.ErrUnexpectedEOF && n < 4 && body.(*watched).err == nil:
		err = nil // io.ReadFull has its own words for a short message
	}
	s.b.note("data %s %d octets %q err=%v", s.client.Protocol(s.utf8), size, head, err)
	if err != nil {
		return smtp.NewReply(451, "4.3.0", "the server must not send this")
	}
	if s.b.hold != nil {
		<-s.b.hold
	}
	if strings.Contains(string(head), "refuse me") {
		return smtp.NewReply(554, "5.7.1", "I do as I am told")
	}
	return nil
}

func (s *fakeSession) Reset() { s.rcpts = nil; s.b.note("reset") }

func (s *fakeSession) Close() {
	s.b.mu.Lock()
	s.b.open--
	s.b.mu.Unlock()
	s.b.note("close")
}

type fakeLMTP struct{ *fakeSession }

func (s *fakeLMTP) DataLMTP(ctx context.Context, body io.Reader) []*smtp.Reply {
	r := s.Data(ctx, body)
	replies := make([]*smtp.Reply, len(s.rcpts))
	for i, to := range s.rcpts {
		replies[i] = r
		if strings.HasPrefix(to, "full@") {
			replies[i] = smtp.NewReply(452, "4.2.2", "mailbox full")
		}
	}
	return replies
}

type fakeVerifier struct{ *fakeSession }

func (s *fakeVerifier) Vrfy(_ context.Context, name string) *smtp.Reply {
	s.b.note("vrfy %s", name)
	return verdict(name)
}

func (s *fakeVerifier) Expn(_ context.Context, list string) *smtp.Reply {
	s.b.note("expn %s", list)
	return &smtp.Reply{Code: 250, Enhanced: "2.1.5", Lines: []string{"<a@example.org>", "<b@example.org>"}}
}

func (s *fakeVerifier) Etrn(_ context.Context, node string) *smtp.Reply {
	s.b.note("etrn %s", node)
	return nil
}

func (s *fakeVerifier) Helo(_ context.Context, name string) *smtp.Reply {
	if name == "liar.test" {
		return smtp.NewReply(550, "5.7.1", "I know you")
	}
	return nil
}

// testLog fails the test when something is logged that no test expects.
type testLog struct {
	t     testing.TB
	quiet bool
}

func (h testLog) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (h testLog) WithAttrs([]slog.Attr) slog.Handler           { return h }
func (h testLog) WithGroup(string) slog.Handler                { return h }
func (h testLog) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	if !utf8.ValidString(text) {
		h.t.Errorf("log line is not UTF-8: %q", text)
	}
	if !h.quiet {
		h.t.Errorf("unexpected log line: %s", text)
	}
	return nil
}

func testConfig(t testing.TB) Config {
	return Config{Hostname: "mx.test", Log: slog.New(testLog{t: t})}
}

var testClient = Client{Remote: netip.MustParseAddrPort("192.0.2.1:1234"), Local: netip.MustParseAddrPort("192.0.2.25:25")}
