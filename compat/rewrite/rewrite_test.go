package rewrite

import (
	"context"
	"strings"
	"testing"

	"waybill/compat/cf"
	"waybill/rules/eval"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// site opens testdata/site.cf, which is ours.
func site(t *testing.T) *Rewriter {
	t.Helper()
	conf, err := cf.ReadFile("testdata/site.cf", cf.Options{Host: cf.Host{Name: "mx.example.org"}, CheckTable: eval.CheckTable, Mode: "m"})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range conf.Messages {
		t.Log(m)
	}
	if conf.Errors > 0 {
		t.Fatal("the configuration has errors")
	}
	r, err := New(conf, eval.TableEnv{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestParse(t *testing.T) {
	r := site(t)
	for _, tc := range []struct {
		address, mailer, host, user string
		refusal                     *Refusal
	}{
		{address: "Bob", mailer: "local", user: "bob"},
		{address: "bob@LOCALHOST", mailer: "local", user: "bob"},
		{address: "Carol@example.net", mailer: "esmtp", host: "example.net.", user: "Carol@example.net"},
		{address: "lost@example.net", refusal: &Refusal{Code: 551, Enhanced: "5.1.1", Text: "User has moved; try <new@example.net.>", Exit: sysexits.NoUser, Raw: `"551 User has moved; try "<new@example.net.>`}},
		{address: "nobody", refusal: &Refusal{Code: 553, Enhanced: "5.0.0", Text: "No such virtual user", Exit: sysexits.NoUser, Raw: "No such virtual user"}},
		{address: "later", refusal: &Refusal{Code: 450, Enhanced: "4.7.1", Text: "come again", Exit: sysexits.TempFail, Raw: `"450 come again"`}},
		{address: "policy", refusal: &Refusal{Code: 550, Enhanced: "5.7.0", Text: "not accepting mail", Exit: sysexits.DataErr, Raw: "550 not accepting mail"}},
		{address: "nomailer", refusal: &Refusal{Code: 554, Enhanced: "5.0.0", Text: "buildaddr: unknown mailer nosuch", Exit: sysexits.Software, Said: "554 5.3.5 buildaddr: unknown mailer nosuch"}},
		{address: "nouser", refusal: &Refusal{Code: 554, Enhanced: "5.0.0", Text: "buildaddr: no user", Exit: sysexits.Software, Said: "554 5.3.5 buildaddr: no user"}},
		{address: "nohost", refusal: &Refusal{Code: 554, Enhanced: "5.0.0", Text: "buildaddr: no host", Exit: sysexits.Software, Said: "554 5.3.5 buildaddr: no host"}},
		{address: "direct", refusal: &Refusal{Code: 550, Enhanced: "5.7.1", Text: "Cannot mail directly to programs", Exit: sysexits.Usage}},
		{address: "exit5", refusal: &Refusal{Code: 553, Enhanced: "5.0.0", Text: "five", Exit: 5, Raw: "five"}},
		{address: "exit550", refusal: &Refusal{Code: 553, Enhanced: "5.0.0", Text: "five and more", Exit: 550 & 0xff, Raw: "five and more"}},
		{address: "quoted", refusal: &Refusal{Code: 550, Enhanced: "5.0.0", Text: "moved", Exit: sysexits.NoUser, Raw: `"550 5.1.6 moved"`, Spoken: "5.1.6"}},
		{address: "letters", refusal: &Refusal{Code: 550, Enhanced: "5.0.0", Text: "no code", Exit: sysexits.Config, Raw: "550 no code"}},
		{address: "busy", refusal: &Refusal{Code: 450, Enhanced: "4.4.1", Text: "no answer", Exit: sysexits.TempFail, Raw: "550 no answer"}},
		{address: "junk", refusal: &Refusal{Code: 554, Enhanced: "5.0.0", Text: "buildaddr: unknown mailer discard", Exit: sysexits.Software, Said: "554 5.3.5 buildaddr: unknown mailer discard"}},
		{address: "|/bin/true", refusal: &Refusal{Code: 550, Enhanced: "5.7.1", Text: "Cannot mail directly to programs", Exit: sysexits.Usage, Direct: "|/bin/true"}},
		{address: "/etc/passwd", refusal: &Refusal{Code: 550, Enhanced: "5.7.1", Text: "Cannot mail directly to files", Exit: sysexits.Usage, Direct: "/etc/passwd"}},
	} {
		got, err := r.Parse(t.Context(), tc.address, Message{})
		if err != nil {
			t.Errorf("%s: %v", tc.address, err)
			continue
		}
		switch {
		case tc.refusal != nil:
			if got.Refusal == nil || *got.Refusal != *tc.refusal {
				t.Errorf("%s: refused with %+v, not %+v", tc.address, got.Refusal, tc.refusal)
			}
		case got.Mailer == nil || got.Mailer.Name != tc.mailer || got.Host != tc.host || got.User != tc.user:
			t.Errorf("%s: %+v, not %s %s %s", tc.address, got, tc.mailer, tc.host, tc.user)
		}
	}
}

// An address that the rules never end with is told apart from others.
func TestEndless(t *testing.T) {
	r := site(t)
	for address, want := range map[string]int{"endless": 1, "bob": 0} {
		got, err := r.Parse(t.Context(), address, Message{})
		if err != nil || len(got.Said) != want || want > 0 && got.Said[0] != "rewrite: excessive recursion (max 50), ruleset 0" {
			t.Errorf("%s: %q %v", address, got.Said, err)
		}
	}
}

func TestUnaliased(t *testing.T) {
	r := site(t)
	local := r.conf.Mailer("local")
	for _, tc := range []struct{ user, mailer, host, code string }{
		{"alice", "local", "", ""},
		{"bob", "esmtp", "hub.example.org.", ""},
		{"bob+list", "esmtp", "hub.example.org.", ""},
		{"hub", "", "", "5.1.1"},
	} {
		got, err := r.Unaliased(t.Context(), Target{Mailer: local, User: tc.user}, Message{})
		switch {
		case err != nil:
			t.Error(err)
		case tc.code != "":
			if got.Refusal == nil || got.Refusal.Enhanced != tc.code {
				t.Errorf("%s: %+v", tc.user, got)
			}
		case got.Mailer.Name != tc.mailer || got.Host != tc.host:
			t.Errorf("%s goes to %s, host %s", tc.user, got.Mailer.Name, got.Host)
		}
	}
	// A mailer without F=5 keeps what it has.
	if got, _ := r.Unaliased(t.Context(), Target{Mailer: r.conf.Mailer("prog"), User: "bob"}, Message{}); got.Mailer.Name != "prog" {
		t.Errorf("%+v", got)
	}
}

func TestRemote(t *testing.T) {
	r := site(t)
	for _, tc := range []struct {
		address, mailer string
		kind            Kind
		want            string
	}{
		{"root", "esmtp", EnvelopeSender, "root@MX.example.org"},
		{"root", "local", EnvelopeSender, "root"},
		{"", "esmtp", EnvelopeSender, ""},
		{"", "local", EnvelopeSender, "MAILER-DAEMON"},
		{"", "local", HeaderSender, ""},
		{"a@example.net", "esmtp", HeaderRecipient, "a@example.net"},
		{"a@b(", "esmtp", HeaderSender, "a@b("}, // not ours to repair
	} {
		got, err := r.Remote(t.Context(), tc.address, r.conf.Mailer(tc.mailer), tc.kind, Message{})
		if err != nil || got != tc.want {
			t.Errorf("%q for %s: %q, not %q (%v)", tc.address, tc.mailer, got, tc.want, err)
		}
	}
}

func TestHeader(t *testing.T) {
	r := site(t)
	macros := func() Message {
		return Message{"a": "Sun, 22 Nov 2026 00:00:00 +0000", "t": "202611220000", "i": "6AM0000000000A", "g": "root@MX.example.org", "held": "yes\nX-Evil: 1"}
	}
	for _, tc := range []struct{ name, mailer, in, want string }{
		{"what is missing stands behind our Received", "esmtp", "Received: by mx; x\nSubject: s\nX-Site: mine\n\n",
			"Received: by mx; x\nDate: Sun, 22 Nov 2026 00:00:00 +0000\nFrom: root@MX.example.org\nMessage-Id: <202611220000.6AM0000000000A@MX.example.org>\nX-Held: yes X-Evil: 1\nSubject: s\nX-Site: mine\n\n"},
		{"without the flags nothing that needs them", "plain", "Date: x\nX-Site: mine\nX-Held: no\n\n", "Date: x\nX-Site: mine\nX-Held: no\n\n"},
		{"addresses get a domain, names stay", "plain", "X-Site: m\nX-Held: n\nFrom: \"The, Root\" <root>\nTo: bob (Bob), a@example.net\n\n",
			"X-Site: m\nX-Held: n\nFrom: \"The, Root\" <root@MX.example.org>\nTo: bob@MX.example.org (Bob), a@example.net\n\n"},
		{"a list is folded anew, blanks before it stay", "plain", "X-Site: m\nX-Held: n\nTo:  a@example.net,\n\tb@example.net\n\n",
			"X-Site: m\nX-Held: n\nTo:  a@example.net, b@example.net\n\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, err := envelope.HeaderOf(envelope.BytesBody(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.Header(context.Background(), h, r.conf.Mailer(tc.mailer), macros())
			if err != nil || string(got) != tc.want {
				t.Errorf("%v\n%s\nnot\n%s", err, got, tc.want)
			}
			if strings.Contains(string(got), "\nX-Evil") {
				t.Error("the value of a macro became a field")
			}
		})
	}
}

func TestCheck(t *testing.T) {
	r := site(t)
	for _, tc := range []struct{ rcpt, code, quarantine string }{
		{"<bob@example.net>", "", ""},
		{"<spam@example.net>", "5.7.1", ""},
		{"<held@example.net>", "", "looks odd"},
		{"<far@host.example.net>", "4.1.8", ""}, // it cannot be looked up: the rules' own words for that count
	} {
		refused, quarantine, err := r.Check(t.Context(), "check_rcpt", []string{tc.rcpt}, Message{})
		code := ""
		if refused != nil {
			code = refused.Enhanced
		}
		if err != nil || code != tc.code || quarantine != tc.quarantine {
			t.Errorf("%s: %q, quarantine %q, %v", tc.rcpt, code, quarantine, err)
		}
	}
	if refused, _, err := r.Check(t.Context(), "check_mail", []string{"<x>"}, Message{}); refused != nil || err != nil {
		t.Error("a ruleset that does not exist refuses")
	}
}

// With a user database, senders of mailers with F=i and recipients in headers of those with F=j are shown by their
// mailnames; only users of this host are.
func TestShowUsers(t *testing.T) {
	r := site(t)
	r.ShowUsers(func(user string) (string, error) {
		return map[string]string{"bob": "Robert.Bob@example.net", "alice": "Alice.A"}[user], nil
	})
	esmtp := *r.conf.Mailer("esmtp")
	plain := esmtp.Flags
	remote := func(flags, address string, kind Kind) string {
		t.Helper()
		esmtp.Flags = plain + flags
		text, err := r.Remote(context.Background(), address, &esmtp, kind, Message{})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	local := *r.conf.Mailer("local")
	local.Flags += "@"
	for i, m := range r.conf.Mailers {
		if m.Name == "local" {
			r.conf.Mailers[i] = &local
		}
	}
	for _, c := range []struct {
		flags, address string
		kind           Kind
		want           string
	}{
		{"i", "bob", EnvelopeSender, "Robert.Bob@example.net"},
		{"i", "bob@localhost", EnvelopeSender, "Robert.Bob@example.net"},
		{"i", "alice", EnvelopeSender, remote("", "Alice.A", EnvelopeSender)},
		{"i", "carol", EnvelopeSender, remote("", "carol", EnvelopeSender)},
		{"i", "bob@example.com", EnvelopeSender, "bob@example.com"},
		{"i", "bob", HeaderRecipient, remote("", "bob", HeaderRecipient)},
		{"j", "bob", HeaderRecipient, "Robert.Bob@example.net"},
		{"j", "bob@localhost", HeaderRecipient, remote("", "bob@localhost", HeaderRecipient)},
		{"j", "bob", HeaderSender, remote("", "bob", HeaderSender)},
		{"j", "bob", EnvelopeSender, remote("", "bob", EnvelopeSender)},
	} {
		if got := remote(c.flags, c.address, c.kind); got != c.want {
			t.Errorf("F=%s, %s, kind %d: %s, want %s", c.flags, c.address, c.kind, got, c.want)
		}
	}
}

// TestNoRulesetsOfItsOwn: "S=0, R=0" say that a mailer has none, although there is a ruleset 0, as the real one has it.
func TestNoRulesetsOfItsOwn(t *testing.T) {
	const text = "V10\nMlocal, P=/bin/true, F=lA, S=0, R=0/0, A=true $u\nS0\nR$*\t$#local $: $1\nS3\nR$*<$+>$*\t$2\n"
	conf, err := cf.Read(strings.NewReader(text), "x.cf", cf.Options{Host: cf.Host{Name: "mx.example.org"}})
	if err != nil || conf.Errors > 0 {
		t.Fatal(err, conf.Messages)
	}
	r, err := New(conf, eval.TableEnv{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Parse(t.Context(), "bob", Message{}); err != nil || got.User != "bob" {
		t.Errorf("%+v %v", got, err)
	}
	for _, kind := range []Kind{EnvelopeSender, EnvelopeRecipient, HeaderSender, HeaderRecipient} {
		if got, err := r.Remote(t.Context(), "bob", conf.Mailer("local"), kind, Message{}); err != nil || got != "bob" {
			t.Errorf("%v: %q %v", kind, got, err)
		}
	}
}
