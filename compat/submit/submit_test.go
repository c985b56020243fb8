package submit

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"waybill/compat/flags"
	"waybill/transport/envelope"
)

var alice = Caller{UID: 1001, Login: "alice", Name: "Alice O. Example"}

func site() Site {
	return Site{
		Host:   "mx.example.org",
		Now:    time.Date(2026, 11, 21, 20, 3, 5, 0, time.UTC),
		Unique: func() string { return "ABC" },
		FullName: func(login string) string {
			return map[string]string{"bob": "Bob Example"}[login]
		},
	}
}

func read(t *testing.T, argv []string, in string, caller Caller, s Site) (*Message, string, error) {
	t.Helper()
	v, wrong := flags.Parse(append([]string{"sendmail"}, argv...))
	if wrong != nil {
		t.Fatal(wrong)
	}
	m, err := Read(v, strings.NewReader(in), caller, s)
	if err != nil {
		return nil, "", err
	}
	out, err := io.ReadAll(m)
	if err != nil {
		t.Fatal(err)
	}
	return m, string(out), nil
}

const (
	date = "Date: Sat, 21 Nov 2026 20:03:05 GMT\n"
	id   = "Message-Id: <202611212003.ABC@mx.example.org>\n"
	from = "From: \"Alice O. Example\" <alice@mx.example.org>\n"
)

func TestMessage(t *testing.T) {
	added := date + from + id
	for _, c := range []struct {
		name, args, in, want string
	}{
		{"missing fields come first", "bob", "Subject: s\nTo: bob\n\nbody\n", added + "Subject: s\nTo: bob\n\nbody\n"},
		{"order, case and folding are kept", "bob", "X-Z: 1\nSUBJECT: one\n\ttwo\n three\ntO: bob\n\nb\n", added + "X-Z: 1\nSUBJECT: one\n\ttwo\n three\ntO: bob\n\nb\n"},
		{"what is there is not added", "bob", "Date: then\nMessage-ID: <x@y>\nFrom: z\n\nb\n", "Date: then\nMessage-ID: <x@y>\nFrom: z\n\nb\n"},
		{"empty From and Message-Id are replaced", "bob", "From:\nMessage-Id: \nSubject: x\n\nb\n", added + "Subject: x\n\nb\n"},
		{"Bcc goes when somebody else is named", "bob", "To: bob\nBcc: x\nCc: y\n\nb\n", added + "To: bob\nCc: y\n\nb\n"},
		{"Bcc stays empty when it is alone", "bob", "Bcc: x,\n\ty\nSubject: s\n\nb\n", added + "Bcc:\nSubject: s\n\nb\n"},
		{"fields for others are removed", "bob", "Return-Path: <x>\nContent-Length: 9\nSubject: s\n\nb\n", added + "Subject: s\n\nb\n"},
		{"Full-Name goes before -F", "-FOther bob", "Full-Name: Hdr\n\nb\n", date + "From: Hdr <alice@mx.example.org>\n" + id + "\nb\n"},
		{"Full-Name becomes the From name", "bob", "Full-Name: Some Body\nSubject: s\n\nb\n", date + "From: Some Body <alice@mx.example.org>\n" + id + "Subject: s\n\nb\n"},
		{"Resent- set", "bob", "From: z@q\nResent-To: c@d\n\nb\n", "Resent-Date: Sat, 21 Nov 2026 20:03:05 GMT\n" + date +
			"Resent-From: \"Alice O. Example\" <alice@mx.example.org>\nResent-" + id + id + "From: z@q\nResent-To: c@d\n\nb\n"},
		{"no header at all", "bob", "This is text\nmore: x\n", added + "\nThis is text\nmore: x\n"},
		{"an empty line first", "bob", "\nbody\n", added + "\nbody\n"},
		{"nothing", "bob", "", added + "\n"},
		{"header without body", "bob", "Subject: s\n", added + "Subject: s\n\n"},
		{"header without line end", "bob", "Subject: s", added + "Subject: s\n\n"},
		{"a line that is no field ends the header", "bob", "To: x\nnot a header line\nSubject: later\n\nb\n", added + "To: x\n\nnot a header line\nSubject: later\n\nb\n"},
		{"a line of one blank ends the header", "bob", "To: x\n \nnot body?\n\nb\n", added + "To: x\n\nnot body?\n\nb\n"},
		{"the mbox separator goes", "bob", "From zed Mon Jan  1 00:00:00 2001\nTo: x\n\nb\n", added + "To: x\n\nb\n"},
		{"a quoted one means no header", "bob", ">From zed Mon Jan  1 00:00:00 2001\nTo: x\n\nb\n", added + "\n>From zed Mon Jan  1 00:00:00 2001\nTo: x\n\nb\n"},
		{"blanks before the colon", "bob", "Subject : s\n\nb\n", added + "Subject: s\n\nb\n"},
		{"CR LF", "bob", "To: x\r\nSubject: a\r\n b\r\n\r\none\rtwo\r\nthree\r\n", added + "To: x\nSubject: a\n b\n\none\rtwo\nthree\n"},
		{"a dot ends", "bob", "To: x\n\none\n.\ntwo\n", added + "To: x\n\none\n"},
		{"a dot with CR LF ends", "bob", "To: x\r\n\r\none\r\n.\r\ntwo\r\n", added + "To: x\n\none\n"},
		{"a dot ends in the header", "bob", "To: x\nSubject: y\n.\nrest\n", added + "To: x\nSubject: y\n\n"},
		{"a dot at the very end", "bob", "To: x\n\none\n.", added + "To: x\n\none\n"},
		{"-i keeps dots", "-i bob", "To: x\n\none\n.\ntwo\n..\n", added + "To: x\n\none\n.\ntwo\n..\n"},
		{"-i with CR LF", "-i bob", "To: x\r\n\r\n.\r\ntwo\r\n", added + "To: x\n\n.\ntwo\n"},
		{"of two dots in front one goes", "bob", "To: x\n\n.start\n..\n...x\n", added + "To: x\n\n.start\n.\n..x\n"},
		{"not with -i", "-i bob", "To: x\n\n.start\n..\n...x\n", added + "To: x\n\n.start\n..\n...x\n"},
		{"a dot without line end is no text, even with -i", "-i bob", "To: x\n\na\n.", added + "To: x\n\na\n"},
		{"a missing final line end is added", "bob", "To: x\n\nlast", added + "To: x\n\nlast\n"},
		{"and with -i", "-oi bob", "To: x\n\nlast", added + "To: x\n\nlast\n"},
		{"a CR at the very end", "bob", "To: x\n\nlast\r", added + "To: x\n\nlast\r\n"},
		{"NUL stays in the body and goes from the header", "bob", "To: x\nSubject: a\x00b\n\nn\x00l\n", added + "To: x\nSubject: ab\n\nn\x00l\n"},
		{"NoRecipientAction", "-ONoRecipientAction=add-to bob carol@x", "Subject: n\n\nb\n", added + "Subject: n\nTo: bob,\n\tcarol@x\n\nb\n"},
		{"SingleLineFromHeader", "-OSingleLineFromHeader=true bob", "From: A\n B <a@x>\n\nb\n", date + id + "From: A  B <a@x>\n\nb\n"},
		{"-s keeps the mbox separator out of the header", "-s bob", "From zed\nTo: x\n\nb\n", added + "\nFrom zed\nTo: x\n\nb\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, got, err := read(t, strings.Fields(c.args), c.in, alice, site())
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestSender(t *testing.T) {
	bob := Caller{UID: 1002, Login: "bob", Name: "Bob", EnvName: "Env Name"}
	root := Caller{UID: 0, Login: "root", Name: "Root User"}
	for _, c := range []struct {
		name         string
		caller       Caller
		args         []string
		sender, from string
		warning      string
	}{
		{"login", alice, nil, "alice@mx.example.org", `"Alice O. Example" <alice@mx.example.org>`, ""},
		{"NAME", bob, nil, "bob@mx.example.org", `Env Name <bob@mx.example.org>`, ""},
		{"-F", alice, []string{"-F", "Alice Example"}, "alice@mx.example.org", `Alice Example <alice@mx.example.org>`, ""},
		{"-F with a comma", alice, []string{"-F", "Example, Alice"}, "alice@mx.example.org", `"Example, Alice" <alice@mx.example.org>`, ""},
		{"-F quoted by its caller", root, []string{"-F", `"Reminder Service"`}, "root@mx.example.org", `"Reminder Service" <root@mx.example.org>`, ""},
		{"-F that would add a header line", root, []string{"-F", "x\nBcc: y"}, "root@mx.example.org", `"x Bcc: y" <root@mx.example.org>`, ""},
		{"-F empty", root, []string{"-F", ""}, "root@mx.example.org", `Root User <root@mx.example.org>`, ""},
		{"-f remote", root, []string{"-f", "a@example.org"}, "a@example.org", "a@example.org", ""},
		{"-f remote and -F", root, []string{"-FX", "-f", "a@example.org"}, "a@example.org", "a@example.org", ""},
		{"-f with a name", root, []string{"-f", "A <a@example.org>"}, "a@example.org", "a@example.org", ""},
		{"-f in brackets", root, []string{"-f", "<a@example.org>"}, "a@example.org", "a@example.org", ""},
		{"-f null", root, []string{"-f", "<>"}, "", "MAILER-DAEMON@mx.example.org", ""},
		{"-f empty", root, []string{"-f", ""}, "", "MAILER-DAEMON@mx.example.org", ""},
		{"-f local user", root, []string{"-f", "bob"}, "bob@mx.example.org", "Bob Example <bob@mx.example.org>", ""},
		{"-f local user, qualified", root, []string{"-f", "bob@MX.example.org"}, "bob@MX.example.org", "Bob Example <bob@MX.example.org>", ""},
		{"-f local user and -F", root, []string{"-f", "bob", "-FB"}, "bob@mx.example.org", "B <bob@mx.example.org>", ""},
		{"-f bang path", root, []string{"-f", "hub!zed"}, "hub!zed", "hub!zed", ""},
		{"-f by an untrusted user", alice, []string{"-f", "ceo@example.org"}, "ceo@example.org", "ceo@example.org",
			"mx.example.org: alice set sender to ceo@example.org using -f"},
		{"-r by an untrusted user", alice, []string{"-r", "ceo@example.org"}, "ceo@example.org", "ceo@example.org",
			"mx.example.org: alice set sender to ceo@example.org using -r"},
		{"-f himself, in other letters", alice, []string{"-f", "Alice"}, "Alice@mx.example.org", `"Alice O. Example" <Alice@mx.example.org>`, ""},
		{"-f <> by an untrusted user", alice, []string{"-f<>"}, "", "MAILER-DAEMON@mx.example.org", "mx.example.org: alice set sender to <> using -f"},
		{"-f oneself", alice, []string{"-f", "alice"}, "alice@mx.example.org", `"Alice O. Example" <alice@mx.example.org>`, ""},
		{"-f oneself, qualified", alice, []string{"-f", "alice@localhost"}, "alice@localhost", `"Alice O. Example" <alice@localhost>`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _, err := read(t, append(c.args, "zoe"), "To: zoe\n\n", c.caller, site())
			if err != nil {
				t.Fatal(err)
			}
			h := envelope.Header{Fields: m.Header}
			if string(m.Envelope.Sender) != c.sender || h.Value("From") != c.from || h.Value("X-Authentication-Warning") != c.warning {
				t.Errorf("sender %q, From %q, warning %q", m.Envelope.Sender, h.Value("From"), h.Value("X-Authentication-Warning"))
			}
		})
	}
}

func TestBadSenderIsComplainedAbout(t *testing.T) {
	for given, want := range map[string]string{"a@@b": "a@@b... Invalid route address", "a, b": "a, b... Invalid route address"} {
		m, _, err := read(t, []string{"-f", given, "zoe"}, "\n", alice, site())
		if err != nil {
			t.Fatal(err)
		}
		if m.Envelope.Sender != "alice@mx.example.org" || m.Exit != 64 || len(m.Complaints) != 1 || m.Complaints[0] != want {
			t.Errorf("%q: %+v, %q", given, m, m.Envelope.Sender)
		}
	}
	m, _, err := read(t, []string{"-f", "<a@b.test", "zoe"}, "\n", alice, site())
	if err != nil || m.Envelope.Sender != "a@b.test" || m.Exit != 64 || len(m.Complaints) != 1 {
		t.Errorf("one bracket is mended: %v, %+v", err, m)
	}
	m, _, err = read(t, []string{"-f", "a b c", "zoe"}, "\n", alice, site())
	if err != nil || m.Envelope.Sender != "a.b.c@mx.example.org" || m.Exit != 0 {
		t.Errorf("three words: %v %q", err, m.Envelope.Sender)
	}
}

func TestTrustedUserIsNotWarnedAbout(t *testing.T) {
	s := site()
	s.Trusted = []string{"alice"}
	m, _, err := read(t, []string{"-f", "ceo@example.org", "zoe"}, "\n", alice, s)
	if err != nil {
		t.Fatal(err)
	}
	if w := (&envelope.Header{Fields: m.Header}).Value("X-Authentication-Warning"); w != "" {
		t.Error(w)
	}
}

func TestBareNullSenderHasAnEmptyFrom(t *testing.T) {
	s := site()
	s.Bare = true
	if _, text, err := read(t, []string{"-f<>", "zoe"}, "To: zoe\n\n", Caller{}, s); err != nil || !strings.Contains(text, "\nFrom: \n") {
		t.Errorf("%v %s", err, text)
	}
}

func TestBareSenderIsLeftToTheConfiguration(t *testing.T) {
	s := site()
	s.Bare = true
	m, text, err := read(t, []string{"zoe"}, "To: zoe\n\n", alice, s)
	if err != nil || m.Envelope.Sender != "alice" || !strings.Contains(text, "From: \"Alice O. Example\" <alice>\n") {
		t.Errorf("%v %q %s", err, m.Envelope.Sender, text)
	}
}

func TestRecipients(t *testing.T) {
	for _, c := range []struct {
		name, in string
		args     []string
		want     string
	}{
		{"arguments", "To: x\n\n", []string{"a", "b@c"}, "a b@c"},
		{"a comma list as one argument", "\n", []string{"ops@example.com,alice"}, "ops@example.com alice"},
		{"an empty argument is nobody", "\n", []string{""}, ""},
		{"-t", "To: dave@x\nCC: carol@y, bob\nBCC: hid@z\nReply-To: no@w\n\n", []string{"-t"}, "dave@x carol@y bob hid@z"},
		{"-t and arguments go to both", "To: carol, zoe\n\n", []string{"-t", "zoe", "max"}, "zoe max carol"},
		{"-t folded", "To: dave@x,\n\tcarol@y,\n  bob\n\n", []string{"-t"}, "dave@x carol@y bob"},
		{"-t with Resent- fields", "To: dave\nResent-From: a\nResent-To: carol\nResent-Bcc: eve\n\n", []string{"-t"}, "carol eve"},
		{"-t with two To fields", "To: dave\nTo: carol\n\n", []string{"-t"}, "dave carol"},
		{"-t with a group", "To: friends: dave@x, carol@y;, bob\n\n", []string{"-t"}, "dave@x carol@y bob"},
		{"only exact duplicates are merged", "To: a@x, a@x, a@X\n\n", []string{"-t"}, "a@x a@X"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _, err := read(t, c.args, c.in, alice, site())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range m.Envelope.Recipients {
				got = append(got, r.Name())
			}
			if strings.Join(got, " ") != c.want || len(m.Refused) > 0 {
				t.Errorf("got %v, refused %v", got, m.Refused)
			}
		})
	}
}

func TestNobody(t *testing.T) {
	var e *Error
	if _, _, err := read(t, nil, "To: a\n\n", alice, site()); !errors.As(err, &e) || e.Exit != 64 || e.Text != "Recipient names must be specified" {
		t.Errorf("no recipients: %v", err)
	}
	if _, _, err := read(t, []string{"-t"}, "Subject: a\n\n", alice, site()); !errors.As(err, &e) || e.Exit != 0 || e.Text != "No recipient addresses found in header" {
		t.Errorf("-t: %v", err)
	}
}

func TestEnvelope(t *testing.T) {
	in := "Received: a\nReceived: b\nPrecedence: bulk\nX-Priority: 1 (Highest)\nReturn-Receipt-To: alice\n\n"
	s := site()
	s.ReceiptIsDSN = true
	m, _, err := read(t, []string{"-B8BITMIME", "-Rhdrs", "-Vid1", "-odq", "-pUUCP:hub", "zoe"}, in, alice, s)
	if err != nil {
		t.Fatal(err)
	}
	want := &envelope.Envelope{
		Sender: "alice@mx.example.org", Arrival: s.Now, BodyType: envelope.Body8BitMIME, Ret: envelope.RetHeaders, EnvID: "id1",
		Origin: envelope.Origin{Protocol: "UUCP", ClientName: "hub", User: "alice", UID: 1001}, When: envelope.WhenQueue, Priority: -60, Hops: 2, Made: 130,
		Recipients: []envelope.Recipient{{Addr: "zoe", Notify: envelope.NotifySuccess | envelope.NotifyFailure | envelope.NotifyDelay}},
	}
	if d := cmp.Diff(want, m.Envelope); d != "" {
		t.Error(d)
	}
	m, _, err = read(t, []string{"-h", "7", "-Nnever", "zoe"}, in, alice, s)
	if err != nil || m.Envelope.Hops != 7 || m.Envelope.Recipients[0].Notify != envelope.NotifyNever {
		t.Errorf("%v %+v", err, m.Envelope)
	}
}

func TestHeaderThatIsTooLong(t *testing.T) {
	s := site()
	s.HeaderLimit = 1000
	var e *Error
	for _, in := range []string{
		"To: x\n" + strings.Repeat("X-Pad: 0123456789\n", 60) + "\nb\n",
		"To: x\nSubject: " + strings.Repeat("y", 2000) + "\n\nb\n",
		"To: x\nSubject: y\n " + strings.Repeat("y", 2000),
	} {
		if _, _, err := read(t, []string{"a"}, in, alice, s); !errors.As(err, &e) || e.Exit != 65 || strings.Contains(e.Text, "\n") {
			t.Errorf("%v", err)
		}
	}
	body := strings.Repeat("no field", 4000)
	_, got, err := read(t, []string{"a"}, body, alice, s)
	if err != nil || !strings.HasSuffix(got, "\n\n"+body+"\n") {
		t.Errorf("a body of one long line: %v", err)
	}
}

func TestReadErrorIsNotTheEnd(t *testing.T) {
	v, _ := flags.Parse([]string{"sendmail", "a"})
	boom := errors.New("boom")
	m, err := Read(v, io.MultiReader(strings.NewReader("To: x\n\nb\n"), iotest.ErrReader(boom)), alice, site())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(m); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if _, err := Read(v, iotest.ErrReader(boom), alice, site()); !errors.Is(err, boom) {
		t.Errorf("in the header: %v", err)
	}
}

// The text reader must not depend on how the input is cut into pieces.
func TestTextInAnyPieces(t *testing.T) {
	for _, dots := range []bool{true, false} {
		for _, in := range []string{"", "a", ".", ".\n", ".\r\n", "\r", "a\r\n.\r\nb", "a\n..\n.\nb", "a\r\r\n.x\r\n.\r", ".\rb\n", "\r\n\r\n.", "a\n.\r.\n", strings.Repeat("x", 70000) + "\r\n.\r\n"} {
			want, _ := io.ReadAll(newText(strings.NewReader(in), !dots))
			one, _ := io.ReadAll(newText(iotest.OneByteReader(strings.NewReader(in)), !dots))
			data, _ := io.ReadAll(newText(iotest.DataErrReader(strings.NewReader(in)), !dots))
			var to bytes.Buffer
			newText(iotest.HalfReader(strings.NewReader(in)), !dots).WriteTo(&to)
			if string(one) != string(want) || string(data) != string(want) || to.String() != string(want) {
				t.Errorf("dots %v, %.20q: %.40q %.40q %.40q %.40q", dots, in, want, one, data, to.String())
			}
		}
	}
}

// simpleText says in the plainest way what newText does.
func simpleText(in string, dots bool) string {
	var out strings.Builder
	for len(in) > 0 {
		line, rest, found := strings.Cut(in, "\n")
		if found {
			line = strings.TrimSuffix(line, "\r")
		}
		if line == "." && (dots || !found) {
			break
		}
		if dots && strings.HasPrefix(line, "..") {
			line = line[1:]
		}
		out.WriteString(line + "\n")
		in = rest
	}
	return out.String()
}

func FuzzText(f *testing.F) {
	f.Add("a\r\n.\r\nb", true)
	f.Add("a\n..\nb", true)
	f.Add("\r\r\n.", false)
	f.Fuzz(func(t *testing.T, in string, dots bool) {
		got, err := io.ReadAll(newText(iotest.HalfReader(strings.NewReader(in)), !dots))
		if want := simpleText(in, dots); err != nil || string(got) != want {
			t.Errorf("%q: %q, want %q (%v)", in, got, want, err)
		}
	})
}

// FuzzMessage: whatever comes, a message has one header section of whole fields, no CR LF, and addresses without control
// characters.
func FuzzMessage(f *testing.F) {
	f.Add("To: a, b: c;\r\nBcc: d\n\n.\n", "x@y")
	f.Add("Resent-To: \"q\" <a@b>, (c) d\nFull-Name: x\ny\n z", "<>")
	f.Fuzz(func(t *testing.T, in, sender string) {
		v, wrong := flags.Parse([]string{"sendmail", "-t", "-f", sender, "arg"})
		if wrong != nil {
			t.Skip()
		}
		m, err := Read(v, strings.NewReader(in), alice, site())
		if err != nil {
			return
		}
		text, err := io.ReadAll(m)
		if err != nil {
			t.Fatal(err)
		}
		h, err := envelope.ReadHeader(bytes.NewReader(text), envelope.HeaderLimits{})
		if err == nil && len(h.Fields) != len(m.Header) {
			t.Errorf("%d fields were written, %d are read:\n%s", len(m.Header), len(h.Fields), text)
		}
		for _, r := range append(m.Envelope.Recipients, envelope.Recipient{Addr: m.Envelope.Sender}) {
			if strings.ContainsAny(string(r.Addr), "\x00\n\r\t\x1b") {
				t.Errorf("address %q", r.Addr)
			}
		}
		for _, r := range m.Refused {
			if strings.ContainsAny(r.Name+r.Text, "\x00\n\r\x1b") {
				t.Errorf("refusal %q %q", r.Name, r.Text)
			}
		}
	})
}
