package spool

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"waybill/transport/envelope"
)

func TestEnvelopeText(t *testing.T) {
	e := sample()
	e.ID = "kAK31Xxp018717"
	text, err := AppendEnvelope(nil, e)
	if err != nil {
		t.Fatal(err)
	}
	want := `id kAK31Xxp018717
from <alice@example.org>
arrival 1795300000.000000005
body-type 8BITMIME
smtputf8
ret HDRS
envid QQ+2B1
when background
priority -3
hops 2
origin protocol=local helo=a\x0ab user=al\sice\\ uid=1000
rcpt notify=SUCCESS,DELAY orcpt=rfc822;bob@example.net addr=<bob@example.net>
rcpt notify=NEVER addr=<"c\sd"@example.net>
`
	if diff := cmp.Diff(want, strings.ReplaceAll(string(text), "smtputf8 \n", "smtputf8\n")); diff != "" {
		t.Error(diff)
	}
	got, err := ParseEnvelope(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, got); diff != "" {
		t.Error(diff)
	}
}

func TestEnvelopeThatIsNotOurs(t *testing.T) {
	for _, text := range []string{
		"", "from <a>", "from a\n", "from <a>\nfrom <b>\n", "from <>\nrcpt command=rm\\s-rf\n", "from <>\nrcpt addr=<>\n", "from <>\nnew thing\n",
		"from <>\nid ../../etc/passwd\n", "from <>\nwhen sometime\n", "from <>\nrcpt addr=<a> file=/x\n", "from <>\norigin uid=x\n", "from <\\q>\n",
		"from <>\narrival yesterday\n", "from <>\nrcpt addr=<a> notify=PERHAPS\n",
	} {
		if e, err := ParseEnvelope(text); err == nil {
			t.Errorf("%q was read as %+v", text, e)
		}
	}
	if _, err := AppendEnvelope(nil, &envelope.Envelope{Recipients: []envelope.Recipient{{Command: "x"}}}); err == nil {
		t.Error("a command was written into an envelope")
	}
}

func FuzzEnvelope(f *testing.F) {
	text, _ := AppendEnvelope(nil, sample())
	f.Add(string(text))
	f.Add("from <>\nrcpt addr=<a\\s\\x00\\\\>\n")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := ParseEnvelope(text)
		if err != nil {
			return
		}
		again, err := AppendEnvelope(nil, e)
		if err != nil {
			t.Fatalf("read but not written: %+v: %v", e, err)
		}
		back, err := ParseEnvelope(string(again))
		if err != nil {
			t.Fatalf("%q: %v", again, err)
		}
		if diff := cmp.Diff(e, back); diff != "" {
			t.Error(diff)
		}
	})
}

func entries() []Entry {
	at := time.Unix(1795300000, 0)
	return []Entry{
		Try{3, at, at.Add(time.Hour)},
		Priority{-20},
		OutcomeOf{1, Status{Outcome: Deferred, Code: "4.4.1", Text: "Connection refused by a : b \\ c", Mailer: "esmtp", Host: "h", User: "u v", At: at, Remote: "mx [192.0.2.1]", Reply: "450 x\ty", Diagnostic: "smtp", TLS: "TLSv1.3 X", DSN: true, Exit: 75, Warned: true, Owed: "double bounce"}},
		OutcomeOf{0, Status{Outcome: Delivered, Code: "2.0.0", At: at}},
		Expansion{Index: 1, Base: 2, User: "team", At: at, Members: []Recipient{
			{Recipient: envelope.Recipient{Addr: "bob + x", Notify: envelope.NotifyNever, ORcpt: "rfc822;x"}, Parent: -1, Stage: "final", HasOwner: true, Owner: "o@x"},
			{Recipient: envelope.Recipient{Command: "/bin/prog + -x"}, Parent: -1, As: "bob", HasOwner: true},
			{Recipient: envelope.Recipient{File: "/var/log/m x"}, Parent: -1},
		}},
	}
}

func TestJournalLines(t *testing.T) {
	for _, e := range entries() {
		line := string(appendLine(nil, e))
		got, err := parseEntry(strings.TrimSuffix(line, "\n"))
		if err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Errorf("%q: %s", line, diff)
		}
		for i := range len(line) - 1 {
			bad := []byte(line[:len(line)-1])
			bad[i] ^= 0x04
			if _, err := parseEntry(string(bad)); err == nil {
				t.Errorf("%q was read, of which octet %d is wrong", bad, i)
			}
		}
	}
}

func FuzzJournalEntry(f *testing.F) {
	for _, e := range entries() {
		f.Add(string(e.append(nil)))
	}
	f.Fuzz(func(t *testing.T, payload string) {
		line := string(appendLine(nil, raw(payload)))
		e, err := parseEntry(line[:len(line)-1])
		if err != nil {
			return
		}
		m := &Message{Envelope: &envelope.Envelope{}, Recipients: make([]Recipient, 2), s: &Spool{}}
		e.apply(m)
		again := string(appendLine(nil, e))
		back, err := parseEntry(again[:len(again)-1])
		if err != nil {
			t.Fatalf("%q: %v", again, err)
		}
		if diff := cmp.Diff(e, back); diff != "" {
			t.Error(diff)
		}
	})
}

// raw is an entry of any text.
type raw string

func (r raw) append(b []byte) []byte { return append(b, r...) }
func (r raw) apply(*Message) error   { return nil }

func FuzzMessageFile(f *testing.F) {
	dir := f.TempDir()
	os.Mkdir(filepath.Join(dir, "drop"), 0o700)
	e := sample()
	e.ID = "kAK31Xxp018717"
	if _, err := Drop(dir, e, strings.NewReader("Subject: x\n\nbody\n")); err != nil {
		f.Fatal(err)
	}
	whole, _ := os.ReadFile(filepath.Join(dir, "drop", e.ID))
	f.Add(whole)
	f.Add(append(whole, "00000000 try 1\n"...))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &Message{ID: "kAK31Xxp018717", s: &Spool{log: quiet()}, file: memory(data)}
		if err := m.read(); err != nil {
			return
		}
		if m.Size > int64(len(data)) || len(m.Recipients) < len(m.Envelope.Recipients) {
			t.Errorf("size %d of %d octets, %d recipients", m.Size, len(data), len(m.Recipients))
		}
		m.Verify()
	})
}

func TestIDs(t *testing.T) {
	var g IDs
	seen := map[string]bool{}
	at := time.Date(2026, 11, 21, 3, 4, 5, 0, time.UTC)
	for range 20000 {
		id := g.New(at)
		if !ValidID(id) || !strings.HasPrefix(id, "6AL345") || seen[id] {
			t.Fatalf("id %q after %d others", id, len(seen))
		}
		seen[id] = true
	}
	for _, bad := range []string{"", "kAL345xx01871", "kAL345xx0187177", "kAL345xx01871a", "kAL345/x018717", "../../../../..", "kyz345xx018717"} {
		if ValidID(bad) {
			t.Errorf("%q is an id", bad)
		}
	}
}

func TestLocate(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ text, host, spool, err string }{
		"plain":    {"# comment\nhost mail.example.org\nspool /x/y # here\n", "mail.example.org", "/x/y", ""},
		"quoted":   {"spool \"/x y\"\nhost \"a.b\"", "a.b", "/x y", ""},
		"inner":    {"host a.b\ntransport host {\n  host c.d;\n  spool /z\n}\nclass x { host q }\n", "a.b", DefaultSpool, ""},
		"relative": {"host a.b\nspool x\n", "", "", "not an absolute path"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, name)
			os.WriteFile(file, []byte(c.text), 0o600)
			site, err := Locate(file)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v", err)
				}
				return
			}
			want := Site{Host: c.host, Spool: c.spool, Socket: c.spool + "/submit.sock"}
			if err != nil || site.Host != want.Host || site.Spool != want.Spool || site.Socket != want.Socket {
				t.Errorf("got %+v %v, want %+v", site, err, want)
			}
		})
	}
	if _, err := Locate(filepath.Join(dir, "missing")); err == nil {
		t.Error("a missing file that was named is no error")
	}
	if site, err := Locate(""); err != nil || site.Host == "" {
		t.Errorf("defaults: %+v %v", site, err)
	}
}
