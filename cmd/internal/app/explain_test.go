package app

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// whySite is a site with most that can happen to an address.
var whySite = map[string]string{
	"site.rules": `host mail.example.org
set users DIR/passwd
table aliases aliases DIR/aliases
table virtusers text DIR/virtusertable
class virtual { virtual.example catch.example }
table mailertable text DIR/mailertable
table access text DIR/access
class partners { partner.example }
transport night smtp
route {
    $user+ < @ $d=partners >  => night $d $user@$d queue  # partners get theirs at night
    devnull < @ $=local >     => discard
    full < @ $=local >        => reject 452 4.2.2 "the mailbox is full"
}
use access
use virtusers
use mailertable
send { transport esmtp and size > 20M  queue }
use standard
`,
	"passwd":        "root:x:0:0::/root:/bin/sh\nalice:x:1001:1001::/home/alice:/bin/sh\nbob:x:1002:1002::/home/bob:/bin/sh\n",
	"aliases":       "postmaster: root\nstaff: alice, carol@example.com\nloop1: loop2\nloop2: loop1\nold: gone\n",
	"virtusertable": "info@virtual.example alice\nsales@virtual.example team@crm.example\n@catch.example %1@example.com\nspam@virtual.example error:nouser No such user\n",
	"mailertable":   "example.com esmtp:hub.example.net\n.lab.example esmtp:[192.0.2.7]\nold.example error:5.1.2:550 Closed\n",
	"access":        "Connect:192.0.2 REJECT\nTo:ex@mail.example.org ERROR:5.7.1:550 ex has left\nTo:bob@mail.example.org DISCARD\nTo:root@mail.example.org QUARANTINE:nobody writes to root\n",
}

// TestExplainAddresses: the first line says what happens, the next ones why.
func TestExplainAddresses(t *testing.T) {
	dir := t.TempDir()
	for name, text := range whySite {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "DIR", dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(args ...string) (string, int) {
		var out, errs bytes.Buffer
		exit := explain(stdio{strings.NewReader(""), &out, &errs}, append([]string{"-C", filepath.Join(dir, "site.rules")}, args...))
		if errs.Len() > 0 {
			t.Errorf("%v: %s", args, errs.String())
		}
		return strings.ReplaceAll(out.String(), dir, "DIR"), exit
	}
	for _, c := range []struct{ address, happens, because string }{
		{"alice", "goes by transport local, for alice", "no domain: a user of this host"},
		{"alice@mail.example.org", "goes by transport local, for alice", "one of our own names"},
		{"ALICE@LOCALHOST.", "goes by transport local, for ALICE", "one of our own names"},
		{"alice+lists", "goes by transport local, for alice+lists", "none for alice+lists"},
		{"postmaster", "goes by transport local", "postmaster is root (DIR/aliases:1)"},
		{"staff", "goes by transport local", "carol@example.com goes by transport esmtp to hub.example.net"},
		{"loop1", "goes by transport local", "this is a loop"},
		{"old", "goes by transport local", "gone is neither an alias nor a user of this host"},
		{"nosuch", "is refused: 550 5.1.1 User unknown", "there is neither an alias nor a user nosuch on this host (DIR/passwd)"},
		{"nosuch+x@mail.example.org", "is refused: 550 5.1.1 User unknown", "neither an alias nor a user"},
		{"mailer-daemon", "goes by transport local", "no domain"},
		{"info@virtual.example", "goes by transport local, for alice", "because table virtusers has info@virtual.example: alice (DIR/virtusertable:1)"},
		{"sales@virtual.example", "goes by transport esmtp to crm.example, for team@crm.example", "because table virtusers has sales@virtual.example"},
		{"any@catch.example", "goes by transport esmtp to hub.example.net, for any@example.com", "table mailertable has example.com: esmtp:hub.example.net (DIR/mailertable:1)"},
		{"spam@virtual.example", "is refused: 550 5.1.1 No such user", "DIR/virtusertable:4"},
		{"x@virtual.example", "is refused: 550 5.1.1 User unknown", `reject 550 5.1.1 "User unknown"`},
		{"bob@example.com", "goes by transport esmtp to hub.example.net", "DIR/mailertable:1"},
		{"bob@pc.lab.example", "goes by transport esmtp to [192.0.2.7]", "table mailertable has .lab.example"},
		{"bob@old.example", "is refused: 550 5.1.2 Closed", "DIR/mailertable:3"},
		{"bob@elsewhere.example", "goes by transport esmtp to elsewhere.example", "to the hosts that its MX records name"},
		{"bob@partner.example", "goes by transport night to partner.example, for bob@partner.example, with the next queue run (queue)", "# partners get theirs at night"},
		{"bob@[192.0.2.1]", "goes by transport esmtp to [192.0.2.1]", "says: $user+ < @ $domain+ >"},
		{"ü@exämple.org", "goes by transport esmtp to exämple.org, for ü@exämple.org", "makes it ü <@exämple.org>"},
		{"a!b!c", "goes by transport uucp to a, for b!c", "a UUCP neighbour"},
		{"bob%example.net@mail.example.org", "goes by transport esmtp to example.net", "ruleset unwrap"},
		{"@r1,@r2:bob@example.com", "goes by transport esmtp to hub.example.net, for bob@example.com", "DIR/mailertable:1"},
		{"<bob@example.com>", "goes by transport esmtp to hub.example.net", "DIR/mailertable:1"},
		{"devnull@mail.example.org", "is taken and thrown away: a rule says discard", "devnull < @ $=local > => discard"},
		{"full@mail.example.org", "is refused: 452 4.2.2 the mailbox is full", "full < @ $=local >"},
		{"bob@", "is refused: 553 5.1.3 a domain is missing behind the @", "_user+ @"},
		{"@", "is refused: 553 5.1.3 a recipient has a name", ""},
		{"", "is refused: 553 5.1.3 a recipient has a name", ""},
		{`"open@example.com`, "is refused: 553 5.1.3 this is no mailbox address", "because a quotation mark in it is never closed"},
		{"bob>@example.com", "is refused: 553 5.1.3 this is no mailbox address", "because it holds a > without a <"},
		{"a\x01b", "is refused: 553 5.1.3 this is no mailbox address", "because it holds a control character"},
	} {
		text, exit := ask(c.address)
		first, rest, _ := strings.Cut(text, "\n")
		if _, tail, _ := strings.Cut(first, " "); exit != 0 || !strings.HasPrefix(tail, c.happens) || !strings.Contains(rest, c.because) || !strings.HasPrefix(rest, "  because ") {
			t.Errorf("%q: exit status %d, want %q because %q\n%s", c.address, exit, c.happens, c.because, text)
		}
	}
	for _, c := range []struct{ client, address, happens, because string }{
		{"198.51.100.3", "bob@example.com", "is refused: 550 5.7.1 Relaying denied", "  because <standard>:"},
		{"198.51.100.3", "alice@mail.example.org", "is accepted", "# mail for our own users"},
		{"198.51.100.3", "ex@mail.example.org", "is refused: 550 5.7.1 ex has left", "  because table access has To:ex@mail.example.org: ERROR:5.7.1:550 ex has left (DIR/access:2)"},
		{"198.51.100.3", "bob@mail.example.org", "is accepted and thrown away", "table access has To:bob@mail.example.org: DISCARD"},
		{"198.51.100.3", "root@mail.example.org", "is accepted and held: nobody writes to root", "QUARANTINE:nobody writes to root"},
		{"192.0.2.9", "bob@example.com", "is refused: 550 5.7.1 Relaying denied", "  because <standard>:"},
	} {
		text, _ := ask("--client", c.client, c.address)
		first, rest, _ := strings.Cut(text, "\n")
		because, _, _ := strings.Cut(rest, "step by step:")
		if want := "rcpt " + c.address + " from " + c.client + " " + c.happens; !strings.HasPrefix(first, want) || !strings.Contains(because, c.because) {
			t.Errorf("want %q because %q\n%s", want, c.because, text)
		}
		if strings.Contains(because, "Connect:192.0.2") {
			t.Errorf("an entry that did not count is among the reasons\n%s", because)
		}
	}

	text, exit := ask("--json", "--client", "198.51.100.3", "bob@example.com", "nosuch")
	var got []addressJSON
	for dec := json.NewDecoder(strings.NewReader(text)); dec.More(); {
		var a addressJSON
		if err := dec.Decode(&a); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		got = append(got, a)
	}
	if exit != 0 || len(got) != 2 || got[0].Mailer != "esmtp" || got[0].Host != "hub.example.net" || len(got[0].Because) != 2 || len(got[0].Steps) < 4 || got[0].Accept == nil || got[0].Accept.Refusal.Code != 550 || got[1].Refusal == nil || got[1].Refusal.Enhanced != "5.1.1" {
		t.Errorf("exit status %d: %+v\n%s", exit, got, text)
	}
}
