package testsite_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill/cmd/internal/testsite"
)

// TestEveryStageAndCondition talks to a daemon whose rules have an accept block for each stage, and lines that look at
// everything that a condition can be about: each is asked with what the session knows then.
func TestEveryStageAndCondition(t *testing.T) {
	needs(t, "openssl")
	w := newWorld(t, func(a, _ *testsite.Options) {
		a.Settings = strings.ReplaceAll("set retry 1s\nset passwords DIR/passwords\nset tls-cert DIR/cert.pem\nset tls-key DIR/key.pem\n", "DIR", a.Dir)
		a.Rules = strings.ReplaceAll(`class banned { 127.0.0.66 }
class spies { spy.example }
class staff { boss }
table verdicts text ?DIR/verdicts
accept connect {
    client in banned                          reject 554 5.7.1 "go away"
    [ 127 . 0 . 0 . 67 ]                      reject 554 5.7.1 "not you either"
}
accept helo {
    helo in spies                             reject 550 5.7.1 "no spies"
    $name+ . evil                             reject 550 5.7.1 "$name is evil"
}
accept mail {
    size > 1M                                 reject 552 5.3.4 "too large"
    sender in spies                           reject 550 5.7.1 "no mail of spies"
    $u+ < @ $d+ > where verdicts($u@$d) is REJECT  reject 550 5.7.1 "the table says no"
    null < @ $_d+ > where not tls             reject 530 5.7.0 "with TLS only"
    time between 00:00 and 00:00              reject 450 4.7.1 "never"
    load > 1000000                            reject 451 4.3.2 "busy"
}
accept rcpt {
    recipients > 1                            reject 452 4.5.3 "two are enough"
    size > 500k                               reject 552 5.3.4 "too large for a recipient"
    auth in staff                             ok
    mailer esmtp and host is sink . $+        ok
    mailer local and user is "alice" and sender is $+ @ friend . example  ok
    mailer local and user is "alice"          reject 550 5.7.1 "alice has few friends"
    mailer local                              ok
    otherwise                                 reject 550 5.7.1 "no relaying"
}
accept data {
    sender is data @ $+                       reject 554 5.7.1 "not that far"
}
accept header subject {
    $* viagra $* where header X-Friend        ok
    $* viagra $*                              reject 554 5.7.1 "no such subjects"
    hold $*                                   quarantine "somebody looks at it first"
    throw away                                discard
}
accept message {
    size > 20k                                reject 554 5.3.4 "longer than it looked"
    header Precedence is "junk"               reject 554 5.7.1 "no junk"
}
`, "DIR", a.Dir)
	})
	sh(t, w.a, w.a.Dir, makeCert)
	file := filepath.Join(w.a.Dir, "passwords")
	if r, err := w.a.Command(strings.NewReader("secret\n"), "waybill", "password", "-f", file, "boss"); err != nil || r.Exit != 0 {
		t.Fatal(r, err)
	}
	if err := os.WriteFile(filepath.Join(w.a.Dir, "verdicts"), []byte("bad@x.example REJECT\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, w.a)
	at := w.a.Addr
	dialFrom(t, "127.0.0.66", "tcp", at).say("", "554 a.example.test go away")
	dialFrom(t, "127.0.0.67", "tcp", at).say("", "554 a.example.test not you either")

	k := dialFrom(t, "127.0.0.9", "tcp", at)
	k.say("", "220")
	k.say("EHLO spy.example", "550 5.7.1 no spies")
	k.say("EHLO very.evil", "550 5.7.1 very is evil")
	k.say("EHLO c.test", "250")
	k.say("MAIL FROM:<x@y.example> SIZE=2000000", "552 5.3.4")
	k.say("MAIL FROM:<x@spy.example>", "550 5.7.1")
	k.say("MAIL FROM:<bad@x.example>", "550 5.7.1")
	k.say("MAIL FROM:<null@x.example>", "530 5.7.0")
	k.say("MAIL FROM:<x@y.example> SIZE=600000", "250")
	k.say("RCPT TO:<bob@a.example.test>", "552 5.3.4")
	k.say("RSET", "250")
	k.say("MAIL FROM:<x@y.example>", "250")
	k.say("RCPT TO:<x@elsewhere.example>", "550 5.7.1")
	k.say("RCPT TO:<x@sink.test>", "250")
	k.say("RCPT TO:<alice@a.example.test>", "550 5.7.1")
	k.say("RCPT TO:<bob@a.example.test>", "250")
	k.say("RCPT TO:<root@a.example.test>", "452 4.5.3")
	k.say("RSET", "250")
	k.say("MAIL FROM:<x@friend.example>", "250")
	k.say("RCPT TO:<alice@a.example.test>", "250")
	k.say("RSET", "250")
	k.say("MAIL FROM:<data@x.example>", "250")
	k.say("RCPT TO:<bob@a.example.test>", "250")
	if reply := k.say("DATA", ""); strings.HasPrefix(reply, "354") {
		k.say("\r\nx\r\n.", "554 5.7.1")
	} else if !strings.HasPrefix(reply, "554 5.7.1") {
		t.Errorf("DATA: %s", reply)
	}
	message := func(head, body, want string) {
		t.Helper()
		k.say("RSET", "250")
		k.say("MAIL FROM:<x@y.example>", "250")
		k.say("RCPT TO:<bob@a.example.test>", "250")
		k.say("DATA", "354")
		k.say(head+"\r\n"+body+"\r\n.", want)
	}
	message("Subject: buy viagra now\r\n", "x", "554 5.7.1")
	message("X-Friend: yes\r\nSubject: buy viagra now\r\n", "from a friend", "250")
	message("Subject: throw away\r\n", "x", "250")
	message("Subject: hold this\r\n", "x", "250")
	message("Precedence: junk\r\n", "x", "554 5.7.1")
	message("Subject: long\r\n", strings.Repeat(strings.Repeat("x", 70)+"\r\n", 400), "552 5.3.4")

	// With TLS and a password, more is allowed.
	k = dialFrom(t, "127.0.0.9", "tcp", at)
	k.say("", "220")
	k.say("EHLO c.test", "250")
	k.say("STARTTLS", "220")
	k.tls()
	k.say("EHLO c.test", "250")
	k.say("MAIL FROM:<null@x.example>", "250")
	k.say("RSET", "250")
	k.say(plain("boss", "secret"), "235")
	k.say("MAIL FROM:<boss@a.example.test>", "250")
	k.say("RCPT TO:<x@sink.test>", "250")
	k.say("RCPT TO:<alice@a.example.test>", "250")

	mailbox(t, w.a, "bob", "from a friend")
	waitFor(t, "the held message", func() bool {
		r, err := w.a.Waybill("queue", "-C", w.a.Rules, "list")
		return err == nil && strings.Contains(r.Out, "somebody looks at it first")
	})
	if got, err := w.a.Mailbox("bob"); err != nil || len(got) != 1 {
		t.Errorf("%d messages in the mailbox, %v", len(got), err)
	}
}
