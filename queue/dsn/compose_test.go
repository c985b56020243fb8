package dsn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"waybill/transport"
	"waybill/transport/envelope"
)

var now = time.Date(2026, 11, 21, 22, 48, 11, 0, time.UTC)

func composer() Composer {
	return Composer{Host: "mail.example.org", token: func() string { return "00112233445566778899aabbccddeeff" }}
}

func refused(code, text, remote, reply string) transport.Status {
	s := transport.NewStatus(transport.Failed, code, text)
	s.Remote, s.Reply, s.Diagnostic = remote, reply, "smtp"
	return s
}

const original = "Received: from localhost\n\tby mail.example.org id 6ALMsBcd000001\nFrom: alice@example.org\nTo: nosuch@example.net\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= from Alice\n\nFrom here\n.\nends without line end"

func example(kind Kind) Notice {
	return Notice{
		Kind: kind,
		Time: now,
		Envelope: &envelope.Envelope{
			ID: "6ALMsBcd000001", Sender: "alice", Arrival: now.Add(-5 * time.Hour), EnvID: "QQ314159+2Bx",
			Origin: envelope.Origin{Protocol: "ESMTP", ClientName: "client.example.org", ClientAddr: "192.0.2.7", UID: -1},
		},
		Body: envelope.BytesBody(original),
	}
}

func local(n Notice) Notice {
	n.Envelope.Origin = envelope.Origin{Protocol: "local", User: "alice", UID: 1000}
	n.Envelope.EnvID = ""
	return n
}

func TestGolden(t *testing.T) {
	attempt := now.Add(-time.Second)
	for _, c := range []struct {
		name   string
		notice Notice
	}{
		{"failure", func() Notice {
			n := example(Failure)
			n.Recipients = []Recipient{
				{Orig: envelope.Recipient{Addr: "nosuch@example.net", ORcpt: "rfc822;No+2Bsuch@example.net"}, LastAttempt: attempt,
					Status: refused("5.1.1", "no such user", "mx.example.net [192.0.2.1]", "550 5.1.1 <nosuch@example.net> is not here")},
				{Orig: envelope.Recipient{Addr: "full"}, Actual: "box@example.org", LastAttempt: attempt,
					Status: transport.NewStatus(transport.Failed, "5.2.2", "mailbox is full: 200 MB")},
			}
			return n
		}()},
		{"expired", func() Notice {
			n := local(example(Failure))
			s := transport.NewStatus(transport.Deferred, "4.4.1", "connection refused by mx.example.net")
			s.Remote = "mx.example.net [192.0.2.1]"
			n.Recipients = []Recipient{{Orig: envelope.Recipient{Addr: "bob@example.net"}, Status: s, LastAttempt: attempt, Expired: true, Age: 121 * time.Hour}}
			n.Envelope.Ret = envelope.RetHeaders
			return n
		}()},
		{"delay", func() Notice {
			n := local(example(Delay))
			n.Recipients = []Recipient{{Orig: envelope.Recipient{Addr: "bob@example.net"}, Status: transport.NewStatus(transport.Deferred, "4.4.1", "connection refused by mx.example.net"),
				LastAttempt: attempt, RetryUntil: n.Envelope.Arrival.Add(120 * time.Hour), Age: 4*time.Hour + time.Minute}}
			return n
		}()},
		{"success", func() Notice {
			n := local(example(Success))
			s := relayed
			s.Remote, s.Reply = "mx.example.net [192.0.2.1]", "250 2.0.0 queued as 1234"
			n.Recipients = []Recipient{
				{Orig: envelope.Recipient{Addr: "bob"}, Status: delivered, LastAttempt: attempt},
				{Orig: envelope.Recipient{Addr: "carol@example.net"}, Status: s, LastAttempt: attempt},
			}
			return n
		}()},
		{"expanded", func() Notice {
			n := example(Success)
			n.Recipients = []Recipient{
				{Orig: envelope.Recipient{Addr: "team@mail.example.org"}, Status: delivered, LastAttempt: attempt, Grown: ToAlias},
				{Orig: envelope.Recipient{Addr: "list@mail.example.org", ORcpt: "rfc822;list@example.org"}, Status: delivered, LastAttempt: attempt, Grown: ToList},
			}
			return n
		}()},
		{"utf8", func() Notice {
			n := example(Failure)
			n.Envelope.SMTPUTF8 = true
			n.Envelope.Sender = "ålice@example.org"
			n.Recipients = []Recipient{{Orig: envelope.Recipient{Addr: "bøb+x@example.net", ORcpt: "utf-8;bøb\\x{2B}x@example.net"}, LastAttempt: attempt,
				Status: refused("5.1.1", "no such user", "mx.example.net [192.0.2.1]", "550 5.1.1 bøb ist nicht hier")}}
			return n
		}()},
		{"double", func() Notice {
			n := local(example(Double))
			n.Envelope.Sender = ""
			n.Recipients = []Recipient{{Orig: envelope.Recipient{Addr: "spammer@example.net"}, Status: refused("5.7.1", "refused", "mx.example.net [192.0.2.1]", "554 5.7.1 go away"), LastAttempt: attempt}}
			return n
		}()},
		{"program", func() Notice {
			n := local(example(Failure))
			s := transport.NewStatus(transport.Failed, "5.3.0", "the program ended with status 69")
			s.Diagnostic, s.Reply = "x-unix", "69"
			n.Recipients = []Recipient{{Orig: envelope.Recipient{Addr: "robot"}, Actual: "|/usr/bin/robot -x", Status: s}}
			n.Body = nil
			return n
		}()},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := composer().Compose(c.notice)
			if err != nil {
				t.Fatal(err)
			}
			got := read(t, m.Body)
			file := filepath.Join("testdata", c.name+".eml")
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Error(d)
			}
			if int64(len(got)) != m.Body.Size() {
				t.Errorf("%d octets, Size says %d", len(got), m.Body.Size())
			}
			to := string(c.notice.Envelope.Sender)
			if c.notice.Kind == Double {
				to = "postmaster"
			}
			if !m.Envelope.Sender.Null() || len(m.Envelope.Recipients) != 1 || string(m.Envelope.Recipients[0].Addr) != to {
				t.Errorf("envelope from %q to %v", m.Envelope.Sender, m.Envelope.Recipients)
			}
			parts(t, got)
		})
	}
}

func read(t testing.TB, b envelope.Body) []byte {
	t.Helper()
	r, err := b.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(iotest.OneByteReader(r))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

type part struct{ kind, encoding, text string }

// parts takes a notice apart with the MIME reader of the standard library.
func parts(t testing.TB, notice []byte) []part {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(notice))
	if err != nil {
		t.Fatalf("%v in\n%s", err, notice)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("content type %q %v (%v)", kind, params, err)
	}
	var all []part
	r := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, notice)
		}
		text, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		all = append(all, part{kind, p.Header.Get("Content-Transfer-Encoding"), string(text)})
	}
}

func TestTheMessageComesBackUnchanged(t *testing.T) {
	n := example(Failure)
	n.Recipients = []Recipient{{Orig: envelope.Recipient{Addr: "bob"}, Status: failed}}
	for name, text := range map[string]string{
		"8 bit":             "Subject: x\n\nGr\xc3\xbc\xc3\x9fe\n",
		"a boundary inside": "Subject: x\n\n--6ALMsBcd000001.00112233445566778899aabbccddeeff--\n",
		"ends in two lines": "A: b\n\n\n\n",
		"no header":         "\njust text",
		"CR":                "A: b\n\nx\ry\r",
	} {
		t.Run(name, func(t *testing.T) {
			c, calls := composer(), 0
			c.token = func() string {
				calls++
				if calls == 1 {
					return "00112233445566778899aabbccddeeff"
				}
				return fmt.Sprintf("%032d", calls)
			}
			n.Body = envelope.BytesBody(text)
			m, err := c.Compose(n)
			if err != nil {
				t.Fatal(err)
			}
			p := parts(t, read(t, m.Body))
			if len(p) != 3 || p[2].kind != "message/rfc822" || p[2].text != text {
				t.Errorf("%d parts, the last %+v, want %q", len(p), p[len(p)-1], text)
			}
			eightBit := strings.Contains(text, "\xc3")
			if (p[2].encoding == "8bit") != eightBit || (m.Envelope.BodyType == envelope.Body8BitMIME) != eightBit {
				t.Errorf("labelled %q, envelope %q", p[2].encoding, m.Envelope.BodyType)
			}
		})
	}
}

func TestBoundaryAcrossReads(t *testing.T) {
	word := []byte("0123456789abcdef")
	for _, at := range []int{0, 1, 32<<10 - 15, 32<<10 - 8, 32<<10 - 1, 32 << 10, 64<<10 - 20} {
		text := append(bytes.Repeat([]byte("x"), at), word...)
		text = append(text, bytes.Repeat([]byte("y"), 100)...)
		if found, _, err := scan(envelope.BytesBody(text), word); !found || err != nil {
			t.Errorf("not found at %d (%v)", at, err)
		}
		text[at] = 'X'
		if found, _, err := scan(envelope.BytesBody(text), word); found || err != nil {
			t.Errorf("found where it is not, at %d (%v)", at, err)
		}
	}
}

// endless is a message of many octets that stand nowhere.
type endless struct{ size int64 }

func (e endless) Size() int64 { return e.size }
func (e endless) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader("A: b\n\n"), io.LimitReader(zeros{}, e.size-6))), nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestALargeMessageIsNotHeldInMemory(t *testing.T) {
	n := example(Failure)
	n.Body = endless{64 << 20}
	n.Recipients = []Recipient{{Orig: envelope.Recipient{Addr: "bob"}, Status: failed}}
	c := composer()
	c.ReturnLimit = 1 << 30
	n.Envelope.Ret = envelope.RetFull
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m, err := c.Compose(n)
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Body.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.Copy(io.Discard, struct{ io.Reader }{r}); err != nil || got < n.Body.Size() || got != m.Body.Size() {
		t.Fatal(got, err)
	}
	if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 1<<20 {
		t.Errorf("a notice of 64 MB allocated %d octets", after.TotalAlloc-before.TotalAlloc)
	}
	m, err = composer().Compose(n) // beyond the default limit: the header only
	if err != nil {
		t.Fatal(err)
	}
	if p := parts(t, read(t, m.Body)); len(p) != 3 || p[2].kind != "text/rfc822-headers" || p[2].text != "A: b\n" {
		t.Errorf("got %+v", p)
	}
}

func TestManyRecipients(t *testing.T) {
	n := example(Failure)
	for i := range 5000 {
		n.Recipients = append(n.Recipients, Recipient{Orig: envelope.Recipient{Addr: envelope.Address(fmt.Sprintf("user%d@example.net", i))}, Status: failed})
	}
	m, err := composer().Compose(n)
	if err != nil {
		t.Fatal(err)
	}
	p := parts(t, read(t, m.Body))
	if got := strings.Count(p[1].text, "Final-Recipient:"); got != 5000 {
		t.Errorf("%d recipients in the status", got)
	}
	if !strings.Contains(p[0].text, "and 4900 more") || len(p[0].text) > 50<<10 {
		t.Errorf("the text has %d octets", len(p[0].text))
	}
}

func TestRefusesToCompose(t *testing.T) {
	n := example(Failure)
	if _, err := composer().Compose(n); !errors.Is(err, ErrNothingToSay) {
		t.Errorf("no recipients: %v", err)
	}
	n.Recipients = []Recipient{{Orig: envelope.Recipient{Addr: "bob"}, Status: failed}}
	n.Envelope.Sender = ""
	if _, err := composer().Compose(n); err == nil {
		t.Error("a notice to the null sender")
	}
	n.Envelope.Sender = "alice"
	n.Body = envelope.FileBody{Path: filepath.Join(t.TempDir(), "gone"), Length: 3}
	if _, err := composer().Compose(n); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a message that is gone: %v", err)
	}
}

// FuzzCompose holds that nothing a stranger chooses adds a part, a header field or a status field.
func FuzzCompose(f *testing.F) {
	f.Add("bob@example.net", "550 no\r\n\r\n--x\nStatus: 2.0.0", "mx\nAction: delivered", "rfc822;a+0A+0Ab", "x+0Ay", "A: b\n\nbody", uint8(0))
	f.Add("b\x00b\n@x", "\x85\u2028", "\xff", "x\n;y", "+", "Subject: =?utf-8?q?a=0Ab?=\n", uint8(2))
	f.Fuzz(func(t *testing.T, addr, reply, remote, orcpt, envid, body string, kind uint8) {
		n := example(Kind(kind%4) + Failure)
		n.Envelope.EnvID = envid
		n.Envelope.Origin.ClientName = remote
		n.Body = envelope.BytesBody(body)
		s := failed
		s.Reply, s.Remote, s.Diagnostic = reply, remote, "smtp"
		n.Transcript = []string{reply}
		n.Recipients = []Recipient{{Orig: envelope.Recipient{Addr: envelope.Address("x" + addr), ORcpt: orcpt}, Actual: remote, Status: s}}
		if addr != "" {
			n.Envelope.Sender = envelope.Address(addr)
		}
		m, err := Composer{Host: "mail.example.org"}.Compose(n)
		if err != nil {
			t.Fatal(err)
		}
		got := read(t, m.Body)
		p := parts(t, got)
		if len(p) != 3 {
			t.Fatalf("%d parts in\n%s", len(p), got)
		}
		if p[2].kind == "message/rfc822" && p[2].text != body {
			t.Fatalf("%q came back as %q", body, p[2].text)
		}
		if strings.Count("\n"+p[1].text, "\nAction:") != 1 || strings.Count("\n"+p[1].text, "\nStatus:") != 1 || strings.Count(p[1].text, "\n\n") != 1 || !ascii(p[1].text) {
			t.Fatalf("status part:\n%s", p[1].text)
		}
		h, err := envelope.ReadHeader(bytes.NewReader(got), envelope.HeaderLimits{})
		if err != nil || len(h.Fields) != 8 && len(h.Fields) != 9 {
			t.Fatalf("%d fields in\n%s", len(h.Fields), got)
		}
	})
}
