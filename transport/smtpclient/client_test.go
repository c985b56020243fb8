package smtpclient

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"waybill/transport/envelope"
)

var refusedErr error = syscall.ECONNREFUSED

const twoHosts = `
example.com. MX 10 mx1.example.com.
example.com. MX 20 mx2.example.com.
mx1.example.com. A 192.0.2.1
mx2.example.com. A 192.0.2.2
`

// Every stage meets every kind of answer. alone is the outcome when the host is the only one; next says whether a
// second host gets the message after it.
func TestEveryAnswerAtEveryStage(t *testing.T) {
	for _, c := range []struct {
		stage, answer string
		alone         string
		next          bool
	}{
		{"greeting", "220 ok", "relayed 2.0.0", false},
		{"greeting", "250 ok", "deferred 4.3.2", true},
		{"greeting", "421 busy", "deferred 4.3.2", true},
		{"greeting", "450 later", "deferred 4.3.2", true},
		{"greeting", "521 no mail", "failed 5.3.2", true},
		{"greeting", "554 5.7.1 go away", "failed 5.7.1", true},
		{"greeting", "SSH-2.0-OpenSSH", "deferred 4.5.0", true},
		{"greeting", "close", "deferred 4.4.2", true},
		{"greeting", "hang", "deferred 4.4.2", true},

		{"EHLO", "250 ok", "relayed 2.0.0", false},
		{"EHLO", "500 what", "relayed 2.0.0", false}, // HELO follows
		{"EHLO", "451 later", "deferred 4.3.2", true},
		{"EHLO", "354 hm", "deferred 4.3.2", true},
		{"EHLO", "250-a\n251 b", "deferred 4.5.0", true},
		{"EHLO", "close", "deferred 4.4.2", true},
		{"EHLO", "hang", "deferred 4.4.2", true},

		{"MAIL", "250 ok", "relayed 2.0.0", false},
		{"MAIL", "251 ok", "relayed 2.0.0", false},
		{"MAIL", "354 go", "deferred 4.0.0", true},
		{"MAIL", "421 4.7.0 busy", "deferred 4.7.0", true},
		{"MAIL", "452 full", "deferred 4.3.1", true},
		{"MAIL", "503 sequence", "deferred 4.5.0", true},
		{"MAIL", "550 no", "failed 5.1.8", false},
		{"MAIL", "550 5.7.1 no", "failed 5.7.1", false},
		{"MAIL", "garbage", "deferred 4.5.0", true},
		{"MAIL", "close", "deferred 4.4.2", true},
		{"MAIL", "hang", "deferred 4.4.2", true},

		{"RCPT", "251 will forward", "relayed 2.0.0", false},
		{"RCPT", "252 will try", "relayed 2.0.0", false},
		{"RCPT", "354 go", "deferred 4.0.0", true},
		{"RCPT", "421 busy", "deferred 4.3.2", true},
		{"RCPT", "450 greylisted", "deferred 4.1.1", true},
		{"RCPT", "550 who", "failed 5.1.1", false},
		{"RCPT", "551 moved", "failed 5.1.6", false},
		{"RCPT", "552 too many", "deferred 4.5.3", true},
		{"RCPT", "553 bad", "failed 5.1.3", false},
		{"RCPT", "503 sequence", "deferred 4.5.0", true},
		{"RCPT", "550 4.1.1 odd", "failed 5.1.1", false}, // the class does not fit: not believed
		{"RCPT", "999 what", "deferred 4.5.0", true},
		{"RCPT", "garbage", "deferred 4.5.0", true},
		{"RCPT", "close", "deferred 4.4.2", true},
		{"RCPT", "hang", "deferred 4.4.2", true},

		{"DATA", "250 ok", "deferred 4.0.0", true},
		{"DATA", "421 busy", "deferred 4.3.2", true},
		{"DATA", "451 later", "deferred 4.0.0", true},
		{"DATA", "554 no", "failed 5.0.0", false},
		{"DATA", "garbage", "deferred 4.5.0", true},
		{"DATA", "close", "deferred 4.4.2", true},
		{"DATA", "hang", "deferred 4.4.2", true},

		{"body", "close", "deferred 4.4.2", true},

		{"DOT", "250 ok", "relayed 2.0.0", false},
		{"DOT", "299 ok", "relayed 2.0.0", false},
		{"DOT", "354 more", "deferred 4.0.0", false},
		{"DOT", "421 busy", "deferred 4.3.2", false},
		{"DOT", "451 later", "deferred 4.0.0", false},
		{"DOT", "552 5.2.2 full", "failed 5.2.2", false},
		{"DOT", "554 5.6.0 spam", "failed 5.6.0", false},
		{"DOT", "garbage", "deferred 4.5.0", false},
		{"DOT", "close", "deferred 4.4.2", false},
		{"DOT", "hang", "deferred 4.4.2", false},

		{"QUIT", "close", "relayed 2.0.0", false},
		{"QUIT", "hang", "relayed 2.0.0", false},
	} {
		for _, ext := range [][]string{nil, {"PIPELINING", "8BITMIME"}} {
			t.Run(fmt.Sprintf("%s/%s/%d", c.stage, c.answer, len(ext)), func(t *testing.T) {
				t.Parallel()
				script := map[string]string{c.stage: c.answer}
				body := "Subject: x\n\nhello\n"
				if c.stage == "body" {
					body += strings.Repeat("0123456789\n", 1<<20) // more than the sockets hold
				}
				try := func(waits Timeouts) (wrong string) {
					hurry := func(conf *Config) { conf.Timeouts = waits }
					first := startPeer(t, script, ext...)
					w := world{twoHosts, map[string]*peer{"192.0.2.1:25": first}}
					got := w.client(t, hurry).Deliver(t.Context(), request("[192.0.2.1]", body, "bob@example.com"))
					if outcomes(got) != c.alone {
						wrong = fmt.Sprintf("alone: %s (%s), want %s\n", outcomes(got), got[0].Text(), c.alone)
					}
					second := startPeer(t, nil, ext...)
					w = world{twoHosts, map[string]*peer{"192.0.2.1:25": startPeer(t, script, ext...), "192.0.2.2:25": second}}
					got = w.client(t, hurry).Deliver(t.Context(), request("example.com", body, "bob@example.com"))
					want := c.alone
					if c.next {
						want = "relayed 2.0.0"
					}
					if outcomes(got) != want || (len(second.got()) == 1) != c.next {
						wrong += fmt.Sprintf("with a second host: %s, %d messages there; want %s", outcomes(got), len(second.got()), want)
					}
					return wrong
				}
				wrong := ""
				for _, wait := range []time.Duration{time.Second, 10 * time.Second, 30 * time.Second} {
					waits := slow
					if c.answer == "hang" {
						waits = shortAt(c.stage, wait)
					}
					if wrong = try(waits); wrong == "" || c.answer != "hang" { // a busy machine keeps a peer that works waiting, too
						break
					}
				}
				if wrong != "" {
					t.Error(wrong)
				}
			})
		}
	}
}

func TestEachRecipientHasItsOwnOutcome(t *testing.T) {
	for _, ext := range [][]string{nil, {"PIPELINING"}} {
		p := startPeer(t, map[string]string{"RCPT no@x": "550 5.1.1 who?", "RCPT later@x": "450 4.2.0 greylisted"}, ext...)
		w := world{"", map[string]*peer{"192.0.2.1:25": p}}
		got := w.client(t, nil).Deliver(t.Context(), request("[192.0.2.1]", "x\n", "a@x", "no@x", "b@x", "later@x"))
		if want := "relayed 2.0.0, failed 5.1.1, relayed 2.0.0, deferred 4.2.0"; outcomes(got) != want {
			t.Errorf("%s, want %s", outcomes(got), want)
		}
		if got[0].Remote != "[192.0.2.1]" || got[0].Reply != "250 2.0.0 queued as 1" || got[1].Reply != "550 5.1.1 who?" || got[1].Diagnostic != "smtp" {
			t.Errorf("%+v", got)
		}
		if n := len(p.got()); n != 1 {
			t.Errorf("%d messages", n)
		}
	}
}

func TestOnlyOpenRecipientsGoToTheNextHost(t *testing.T) {
	first := startPeer(t, map[string]string{"RCPT no@x": "550 5.1.1 who?", "RCPT later@x": "450 4.2.0 greylisted"}, "PIPELINING")
	second := startPeer(t, nil, "PIPELINING")
	w := world{twoHosts, map[string]*peer{"192.0.2.1:25": first, "192.0.2.2:25": second}}
	got := w.client(t, nil).Deliver(t.Context(), request("example.com", "x\n", "a@x", "no@x", "later@x"))
	if want := "relayed 2.0.0, failed 5.1.1, relayed 2.0.0"; outcomes(got) != want {
		t.Errorf("%s, want %s", outcomes(got), want)
	}
	if second.said("RCPT TO:<a@x>") || second.said("RCPT TO:<no@x>") || !second.said("RCPT TO:<later@x>") {
		t.Errorf("second host: %q", second.log())
	}
}

func TestTooManyRecipients(t *testing.T) {
	for _, ext := range [][]string{nil, {"PIPELINING"}} {
		p := startPeer(t, nil, ext...)
		w := world{"", map[string]*peer{"192.0.2.1:25": p}}
		c := w.client(t, func(conf *Config) { conf.MaxRecipients = 2 })
		got := c.Deliver(t.Context(), request("[192.0.2.1]", "x\n", "a@x", "b@x", "c@x", "d@x", "e@x"))
		if strings.Count(outcomes(got), "relayed") != 5 || len(p.got()) != 3 {
			t.Errorf("%s in %d transactions", outcomes(got), len(p.got()))
		}
		p = startPeer(t, map[string]string{"RCPT c@x": "452 4.5.3 too many"}, ext...)
		w = world{"", map[string]*peer{"192.0.2.1:25": p}}
		got = w.client(t, nil).Deliver(t.Context(), request("[192.0.2.1]", "x\n", "a@x", "c@x"))
		if want := "relayed 2.0.0, deferred 4.5.3"; outcomes(got) != want || strings.Count(strings.Join(p.log(), "\n"), "<c@x>") != 2 {
			t.Errorf("%s, want %s; %q", outcomes(got), want, p.log())
		}
	}
}

// A pipelining peer may answer 354 although it took no recipient: it must get an empty message, not the next command
// as text (RFC 2920 3.1).
func TestDataForNobody(t *testing.T) {
	p := startPeer(t, map[string]string{"RCPT": "550 5.1.1 who?", "DATA": "354 go on", "DOT": "554 5.5.1 nobody"}, "PIPELINING")
	w := world{"", map[string]*peer{"192.0.2.1:25": p}}
	c := w.client(t, nil)
	got := c.Deliver(t.Context(), request("[192.0.2.1]", "secret\n", "a@x"))
	c.Close()
	if outcomes(got) != "failed 5.1.1" || len(p.got()) != 1 || p.got()[0] != "" {
		t.Errorf("%s, %q", outcomes(got), p.got())
	}
	for range 6000 { // nobody waits long for a peer to hear QUIT
		if p.said("QUIT") {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if log := p.log(); log[len(log)-1] != "QUIT" {
		t.Errorf("%q", log)
	}
}

func TestParametersFollowWhatIsOffered(t *testing.T) {
	for _, c := range []struct {
		ext        []string
		mail, rcpt string
		dsn        bool
	}{
		{nil, "MAIL FROM:<alice@example.org>", "RCPT TO:<bob@x>", false},
		{[]string{"SIZE 1000", "8BITMIME", "DSN", "PIPELINING"}, "MAIL FROM:<alice@example.org> SIZE=2 BODY=8BITMIME RET=HDRS ENVID=E+2B1",
			"RCPT TO:<bob@x> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@y", true},
		{[]string{"size", "dsn"}, "MAIL FROM:<alice@example.org> SIZE=2 RET=HDRS ENVID=E+2B1", "RCPT TO:<bob@x> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@y", true},
	} {
		p := startPeer(t, nil, c.ext...)
		w := world{"", map[string]*peer{"192.0.2.1:25": p}}
		req := request("[192.0.2.1]", "x\n", "bob@x")
		req.Envelope.BodyType, req.Envelope.Ret, req.Envelope.EnvID = envelope.Body8BitMIME, envelope.RetHeaders, "E+2B1"
		req.Recipients[0].Orig.Notify, req.Recipients[0].Orig.ORcpt = envelope.NotifySuccess|envelope.NotifyFailure, "rfc822;bob@y"
		got := w.client(t, nil).Deliver(t.Context(), req)
		log := p.log()
		if outcomes(got) != "relayed 2.0.0" || got[0].DSN != c.dsn || log[1] != c.mail || log[2] != c.rcpt {
			t.Errorf("%v: %s, DSN %v, %q", c.ext, outcomes(got), got[0].DSN, log)
		}
	}
}

func TestWhatThePeerCannotTake(t *testing.T) {
	for _, c := range []struct {
		name, sender, rcpt, body, want string
		ext                            []string
	}{
		{"too large", "a@x", "b@x", "0123456789\n", "failed 5.3.4", []string{"SIZE 10"}},
		{"no limit", "a@x", "b@x", "0123456789\n", "relayed 2.0.0", []string{"SIZE 0"}},
		{"utf8 sender", "ä@x", "b@x", "x\n", "failed 5.6.7", nil},
		{"utf8 recipient", "a@x", "ä@x", "x\n", "failed 5.6.7", nil},
		{"utf8 taken", "a@x", "ä@x", "x\n", "relayed 2.0.0", []string{"SMTPUTF8"}},
		{"line break in a recipient", "a@x", "b@x>\r\nRCPT TO:<c@x", "x\n", "failed 5.1.3", nil},
		{"bracket in a recipient", "a@x", "b@x> NOTIFY=NEVER", "x\n", "failed 5.1.3", nil},
		{"line break in the sender", "a@x\nDATA", "b@x", "x\n", "failed 5.1.7", nil},
		{"open quote", "a@x", `"b@x`, "x\n", "failed 5.1.3", nil},
		{"quoted", "a@x", `"b > c"@x`, "x\n", "relayed 2.0.0", nil},
		{"odd dots", "a@x", `b..c.@x`, "x\n", "relayed 2.0.0", nil},
		{"no recipient", "a@x", "", "x\n", "failed 5.1.3", nil},
	} {
		p := startPeer(t, nil, c.ext...)
		w := world{"", map[string]*peer{"192.0.2.1:25": p}}
		req := request("[192.0.2.1]", c.body, c.rcpt)
		req.Envelope.Sender = envelope.Address(c.sender)
		if got := w.client(t, nil).Deliver(t.Context(), req); outcomes(got) != c.want {
			t.Errorf("%s: %s (%s), want %s", c.name, outcomes(got), got[0].Text(), c.want)
		}
	}
}

func TestTheWireIsStrict(t *testing.T) {
	long := strings.Repeat("a", 1500)
	for in, want := range map[string]string{
		"a\n.\n..b\nend":    "a\r\n.\r\n..b\r\nend\r\n",
		"From x\n8-bit ü\n": "From x\r\n8-bit ü\r\n",
		"a\rb\n":            "a b\r\n",
		"":                  "",
		long + "\n":         long[:997] + "!\r\n " + long[997:] + "\r\n",
	} {
		p := startPeer(t, nil, "PIPELINING")
		w := world{"", map[string]*peer{"192.0.2.1:25": p}}
		w.client(t, nil).Deliver(t.Context(), request("[192.0.2.1]", in, "b@x"))
		if len(p.got()) != 1 || cmp.Diff(want, p.got()[0]) != "" {
			t.Errorf("%.20q: %s", in, cmp.Diff([]string{want}, p.got()))
		}
	}
}

func TestHELOFollowsARefusedEHLO(t *testing.T) {
	p := startPeer(t, map[string]string{"EHLO": "502 no"})
	w := world{"", map[string]*peer{"192.0.2.1:25": p}}
	var seen []string
	req := request("[192.0.2.1]", "x\n", "b@x")
	req.Verbose = func(line string) { seen = append(seen, line) }
	w.client(t, nil).Deliver(t.Context(), req)
	want := []string{"b@x... Connecting to [192.0.2.1] via smtp...", "220 peer.example ESMTP", ">>> EHLO client.example", "502 no", ">>> HELO client.example", "250 peer.example",
		">>> MAIL FROM:<alice@example.org>", "250 2.1.0 sender ok", ">>> RCPT TO:<b@x>", "250 2.1.5 recipient ok", ">>> DATA", "354 go", ">>> .", "250 2.0.0 queued as 1"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
}

func TestAPeerWithOurNameIsALoop(t *testing.T) {
	p := startPeer(t, map[string]string{"EHLO": "250 Client.Example hello"})
	w := world{"", map[string]*peer{"192.0.2.1:25": p}}
	got := w.client(t, func(c *Config) { c.LoopCheck = true }).Deliver(t.Context(), request("[192.0.2.1]", "x\n", "b@x"))
	if outcomes(got) != "failed 5.4.6" || p.said("MAIL") {
		t.Error(outcomes(got), p.log())
	}
}

func TestLMTPHasOneReplyPerRecipient(t *testing.T) {
	for _, ext := range [][]string{nil, {"PIPELINING"}} {
		p := startPeer(t, map[string]string{"RCPT no": "550 5.1.1 who?", "DOT 2": "452 4.2.2 full", "DOT 3": "552 5.2.2 over quota"}, ext...)
		p.set(func(p *peer) { p.lmtp = true })
		w := world{"mail.example. A 192.0.2.1", map[string]*peer{"192.0.2.1:24": p}}
		c := w.client(t, func(conf *Config) { conf.LMTP = true })
		got := c.Deliver(t.Context(), request("mail.example", "x\n", "a", "no", "b", "c", "d"))
		if want := "delivered 2.0.0, failed 5.1.1, deferred 4.2.2, failed 5.2.2, delivered 2.0.0"; outcomes(got) != want || !p.said("LHLO") {
			t.Errorf("%s, want %s", outcomes(got), want)
		}
	}
	p := startPeer(t, map[string]string{"DOT 2": "close"})
	p.set(func(p *peer) { p.lmtp = true })
	w := world{"", map[string]*peer{"192.0.2.1:24": p}}
	c := w.client(t, func(conf *Config) { conf.LMTP = true })
	if got := c.Deliver(t.Context(), request("[192.0.2.1]", "x\n", "a", "b", "c")); outcomes(got) != "delivered 2.0.0, deferred 4.4.2, deferred 4.4.2" {
		t.Error(outcomes(got))
	}
}

func TestLMTPOverASocket(t *testing.T) {
	p := startPeer(t, nil)
	p.set(func(p *peer) { p.lmtp = true })
	path := t.TempDir() + "/lmtp"
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err == nil {
			p.serve(c, nil)
			c.Close()
		}
	}()
	c, err := New(Config{Hello: "client.example", LMTP: true, Socket: path, Timeouts: slow})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.Deliver(t.Context(), request("", "x\n", "a")); outcomes(got) != "delivered 2.0.0" {
		t.Error(outcomes(got), got[0].Text())
	}
}

// A server that takes DATA for nobody has nothing to reply to behind the dot (RFC 2033 4.2): nobody waits for it.
func TestLMTPWithoutRecipients(t *testing.T) {
	path := t.TempDir() + "/lmtp"
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		in := bufio.NewScanner(c)
		io.WriteString(c, "220 x\r\n")
		for in.Scan() {
			switch verb, _, _ := strings.Cut(in.Text(), " "); verb {
			case "LHLO":
				io.WriteString(c, "250-x\r\n250 PIPELINING\r\n")
			case "RCPT":
				io.WriteString(c, "550 5.2.2 mailbox full\r\n")
			case "DATA":
				io.WriteString(c, "354 go\r\n")
			case ".":
			default:
				io.WriteString(c, "250 2.0.0 ok\r\n")
			}
		}
	}()
	waits := slow
	waits.DataFinal = time.Minute
	c, err := New(Config{Hello: "client.example", LMTP: true, Socket: path, Timeouts: waits})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	begin := time.Now()
	if got := c.Deliver(t.Context(), request("", "x\n", "a")); outcomes(got) != "failed 5.2.2" || time.Since(begin) > 20*time.Second {
		t.Error(outcomes(got), time.Since(begin))
	}
}

// failing is a body whose file breaks in the middle.
type failing struct{ n int }

func (f failing) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader(strings.Repeat("line\n", f.n)), broken{})), nil
}
func (f failing) Size() int64 { return -1 }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("input/output error") }

func TestHalfAMessageIsNeverEnded(t *testing.T) {
	for _, n := range []int{0, 1, 100000} {
		p := startPeer(t, nil, "PIPELINING")
		w := world{"", map[string]*peer{"192.0.2.1:25": p}}
		req := request("[192.0.2.1]", "", "b@x")
		req.Body = failing{n}
		if got := w.client(t, nil).Deliver(t.Context(), req); outcomes(got) != "deferred 4.3.0" || len(p.got()) != 0 {
			t.Errorf("%d lines: %s, %d messages", n, outcomes(got), len(p.got()))
		}
	}
}

func TestAnEndedContextDefers(t *testing.T) {
	for _, stage := range []string{"greeting", "MAIL", "DOT"} {
		p := startPeer(t, map[string]string{stage: "hang"})
		second := startPeer(t, nil)
		w := world{twoHosts, map[string]*peer{"192.0.2.1:25": p, "192.0.2.2:25": second}}
		c := w.client(t, func(conf *Config) { conf.Timeouts = Timeouts{} })
		ctx, cancel := context.WithCancel(t.Context())
		go func() { // it ends when the peer hangs
			for range 6000 {
				if stage == "greeting" && p.count() > 0 || stage == "MAIL" && p.said("MAIL") || stage == "DOT" && len(p.got()) > 0 {
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
			cancel()
		}()
		start := time.Now()
		got := c.Deliver(ctx, request("example.com", "x\n", "b@x"))
		cancel()
		if outcomes(got) != "deferred 4.4.2" || time.Since(start) > time.Minute || second.count() != 0 {
			t.Errorf("%s: %s after %v, second host %d", stage, outcomes(got), time.Since(start), second.count())
		}
	}
}
