package mailq

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var when = time.Date(2026, 11, 7, 9, 5, 0, 0, time.UTC)

func TestPrint(t *testing.T) {
	plain := Entry{ID: "kAL9503x017718", Size: 26, Priority: 30063, Arrival: when, Sender: "root", Recipients: []Recipient{{Name: "carol@example.net"}}}
	with := func(f func(e *Entry)) Entry { e := plain; f(&e); return e }
	const head = "-----Q-ID----- --Size-- -----Q-Time----- ------------Sender/Recipient-----------\n"
	for _, c := range []struct {
		name string
		in   []Listing
		want string
	}{
		{"empty", []Listing{{Directory: "/mnt/q"}}, "/mnt/q is empty\n\t\tTotal requests: 0\n"},
		{"one", []Listing{{Directory: "/mnt/q", Entries: []Entry{plain}}},
			"\t\t/mnt/q (1 request)\n" + head +
				"kAL9503x017718       26 Sat Nov  7 09:05 root\n\t\t\t\t\t carol@example.net\n\t\tTotal requests: 1\n"},
		{"verbose", []Listing{{Directory: "/mnt/q", Verbose: true, Entries: []Entry{plain}}},
			"\t\t/mnt/q (1 request)\n-----Q-ID----- --Size-- -Priority- ---Q-Time--- --------Sender/Recipient--------\n" +
				"kAL9503x017718       26      30063 Nov  7 09:05 root\n\t\t\t\t\t\tcarol@example.net\n\t\tTotal requests: 1\n"},
		{"null sender, running, deferred", []Listing{{Directory: "/q", Entries: []Entry{with(func(e *Entry) {
			e.Sender, e.State, e.Reason = "", Running, "Deferred: 451 4.2.1 mailbox temporarily disabled"
			e.Recipients = []Recipient{{Name: "bob"}, {Name: "dave@example.com"}}
		}), plain}}},
			"\t\t/q (2 requests)\n" + head +
				"kAL9503x017718*      26 Sat Nov  7 09:05 <>\n                 (Deferred: 451 4.2.1 mailbox temporarily disabled)\n\t\t\t\t\t bob\n\t\t\t\t\t dave@example.com\n" +
				"kAL9503x017718       26 Sat Nov  7 09:05 root\n\t\t\t\t\t carol@example.net\n\t\tTotal requests: 2\n"},
		{"body type, long reason, quarantine", []Listing{{Directory: "/q", Entries: []Entry{with(func(e *Entry) {
			e.Body, e.Quarantine = "8BITMIME", "held"
			e.Reason = "Deferred: local mailer (/mnt/bin/lda) exited with EX_TEMPFAIL"
		})}}},
			"\t\t/q (1 request)\n" + head +
				"kAL9503x017718       26 Sat Nov  7 09:05 root\n     QUARANTINE: held\n      8BITMIME   (Deferred: local mailer (/mnt/bin/lda) exited with EX_TEMPFAI)\n\t\t\t\t\t carol@example.net\n\t\tTotal requests: 1\n"},
		{"several directories, one damaged file", []Listing{{Directory: "/q1"}, {Directory: "/q2", Entries: []Entry{{ID: "kAL9503x017719", Damaged: true}}}},
			"/q1 is empty\n\t\t/q2 (1 request)\n" + head + "kAL9503x017719  (no control file)\n\t\tTotal requests: 1\n"},
		{"nothing reaches the terminal raw", []Listing{{Directory: "/q", Entries: []Entry{with(func(e *Entry) {
			e.Sender, e.Reason, e.Recipients = "a\x1b[2J", "x\ny\u009b", []Recipient{{Name: "b\r\x7f"}}
		})}}},
			"\t\t/q (1 request)\n" + head +
				"kAL9503x017718       26 Sat Nov  7 09:05 a^[[2J\n                 (x^Jy\\233)\n\t\t\t\t\t b^M^?\n\t\tTotal requests: 1\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			if err := Print(&b, c.in...); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, b.String()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestJSON(t *testing.T) {
	var b strings.Builder
	err := JSON(&b, Listing{Directory: "/q", Entries: []Entry{{
		ID: "kAL9503x017718", State: Young, Size: 26, Arrival: when, Sender: "<root>", Reason: "Deferred: x", Attempts: 2,
		Next: when.Add(time.Hour), Recipients: []Recipient{{Name: "carol@example.net", Status: "451 4.2.1 later"}},
	}}})
	want := `{"queue":"/q","id":"kAL9503x017718","size":26,"priority":0,"arrival":"2026-11-07T09:05:00Z","sender":"<root>","reason":"Deferred: x",` +
		`"next":"2026-11-07T10:05:00Z","attempts":2,"recipients":[{"address":"carol@example.net","status":"451 4.2.1 later"}],"state":"young"}` + "\n"
	if d := cmp.Diff(want, b.String()); err != nil || d != "" {
		t.Error(err, d)
	}
}
