package rules

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"waybill/rules/compile"
	"waybill/rules/lang"
)

// TestProgramOfSendmail asks a program as a sendmail.cf makes it: by sendmail's names and ways.
func TestProgramOfSendmail(t *testing.T) {
	const text = `
class w { mail.example.org }
transport local mailer { F lsDFMAu; R EnvLocal/HdrLocal }
transport esmtp mailer { F mDFMuXh; R EnvSMTP/ }
transport lower mailer { F mDF }
ruleset canonify 3 {
    $x+ @ $y+                -> $x < @ $y >
    $x+ < @ $=w >            -> $x < @ mail . example . org . >
    $x+ < @ $y+ >            -> once $x < @ $y >
}
ruleset two 2 { $x+ two $y* -> $x $y }
ruleset parse 0 {
    $x+ < @ $=w . >          => local $x
    $x+ < @ lower . $y+ >    => lower Relay.$y $x<@lower.$y>
    $x+ < @ $y+ >            => esmtp Relay.Example.NET $x<@$y>
    $x+                      => local $x
}
ruleset final 4 { $x* < $y+ > $z* -> $x $y $z }
ruleset EnvLocal { $x+ -> once $x }
ruleset EnvSMTP { $x+ < @ $y+ > -> once $x < @ $y . net > }
ruleset check_relay { $x* $| 192.0.2.1 => reject 421 4.7.0 "busy, $x" }
ruleset check_mail {
    < spam @ $d+ >           => discard
    < >                      -> return OK
    < $x+ >                  -> once $x $| $&{client_addr}
    $x+ $| 192.0.2.9         => error 5.7.1 '"550 not from $&{client_addr}"'
}
ruleset check_rcpt {
    < $x+ @ $=w >            -> return OK
    $x*                      => error 5.7.1 '"550 Relaying denied"'
}
`
	f, diags := lang.NewParser().Parse(lang.NewSource("cf", text))
	if diags != nil {
		t.Fatal(diags)
	}
	res, diags := compile.Compile([]*lang.File{f}, compile.Options{Hostname: "mail.example.org"})
	if diags != nil {
		t.Fatal(diags)
	}
	res.Program.Level = 10
	r, err := FromProgram(res.Program, Options{Hostname: "mail.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for _, c := range []struct{ rcpt, want string }{
		{"Bob", "local Bob"},
		{"Bob@mail.example.org", "local Bob"},
		{"Bob@Example.com", "esmtp Relay.Example.NET Bob@Example.com.net"},
		{"Bob@lower.Example.com", "lower relay.example.com bob@lower.example.com"},
		{"a two b@x", "esmtp Relay.Example.NET a.b@x.net"},
	} {
		d, err := r.Route(ctx, Query{Recipient: c.rcpt}, nil)
		if got := strings.Join(decisionWords(d, err), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.rcpt, got, c.want)
		}
	}
	client := func(a string) Client { return Client{Addr: netip.MustParseAddr(a), Name: "host.example"} }
	for _, c := range []struct {
		stage Stage
		q     Query
		want  string
	}{
		{StageConnect, Query{Client: client("192.0.2.1")}, "reject 421 4.7.0 busy, host.example"},
		{StageConnect, Query{Client: client("192.0.2.2")}, "ok"},
		{StageMail, Query{Client: client("192.0.2.2"), Sender: "spam@x"}, "discard"},
		{StageMail, Query{Client: client("192.0.2.2")}, "ok"},
		{StageMail, Query{Client: client("192.0.2.9"), Sender: "bob@x"}, "reject 550 5.7.1"},
		{StageMail, Query{Client: client("192.0.2.2"), Sender: "bob@x"}, "ok"},
		{StageRcpt, Query{Client: client("192.0.2.2"), Recipient: "bob@mail.example.org"}, "ok"},
		{StageRcpt, Query{Client: client("192.0.2.2"), Recipient: "bob@x"}, "reject 550 5.7.1 Relaying denied"},
		{StageHelo, Query{Client: client("192.0.2.2")}, "ok"},
	} {
		v, err := r.Accept(ctx, c.stage, c.q, nil)
		if got := strings.Join(verdictWords(v, err), " "); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s %+v: %s, want %s", c.stage, c.q, got, c.want)
		}
	}
}
