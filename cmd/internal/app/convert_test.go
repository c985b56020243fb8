package app

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"waybill/compat/cf"
	"waybill/rules"
	"waybill/rules/compile"
)

// handWritten is a sendmail.cf as somebody would write it by hand.
const handWritten = "V10/Berkeley\n" +
	"Cwlocalhost mail.example.org\nDShub.example.net\nC{Odd}one.two\n" +
	"Khops regex -a<HUB> ^x[0-9]+$\n" +
	"O OperatorChars=.:%@!^/[]+\n" +
	"Scanonify=3\n" +
	"R$*\t\t$: $1 <@>\n" +
	"R$* < $* > $* <@>\t$: $1 < $2 > $3\n" +
	"R$* <@>\t\t$: $1\n" +
	"R$+ @ $+\t\t$: $1 < @ $2 >\n" +
	"R$+ < $+ @ $+ >\t$1 $2 < @ $3 >\n" +
	"R$- ! $+\t\t$@ $>96 $2 < @ $1 .UUCP >\n" +
	"R$* % $*\t\t$1 @ $2\n" +
	"R$* @ $* @ $*\t$1 % $2 @ $3\n" +
	"R$* @ $*\t\t$@ $>96 $1 < @ $2 >\n" +
	"R$*\t\t$@ $>96 $1\n" +
	"SCanonify2=96\n" +
	"R$* < @ $=w > $*\t$: $1 < @ mail.example.org. > $3\n" +
	"R$* < @ $=w . > $*\t$: $1 < @ mail.example.org. > $3\n" +
	"R$* < @ $+ > $*\t$: $1 < @ $[ $2 $: $2 $] > $3\n" +
	"Sparse=0\n" +
	"R$* < @ mail.example.org. >\t$#local $: $1\n" +
	"R$* < @ $- .UUCP >\t$#uucp $@ $2 $: $1\n" +
	"R$* < @ $* $={Odd} > $*\t$#error $@ 5.1.2 $: \"550 odd host \" $2$3\n" +
	"R$+ < @ $+ >\t$: < $(hops $1 $: NO $) > $1 < @ $2 >\n" +
	"R< NO > $+ < @ $+ >\t$: $1 < @ $2 >\n" +
	"R< $* < HUB > > $+ < @ $+ >\t$#relay $@ $S $: $2 < @ $3 >\n" +
	"R$* < @ $* > $*\t$#relay $@ $2 $: $1 < @ $2 > $3\n" +
	"R$=w\t\t$#error $@ NOUSER $: \"a host\"\n" +
	"R$+\t\t$#local $: $1\n" +
	"Sfinal=4\n" +
	"R$* <@>\t\t$@\n" +
	"R$* < $+ > $*\t$1 $2 $3\n" +
	"R$* @ $* . UUCP\t$2 ! $1\n" +
	"SLocalCheck\n" +
	"R$*\t\t$: $&{client_addr} $| $1\n" +
	"R192.0.2.9 $| $*\t$#error $@ 5.7.1 $: \"550 not you\"\n" +
	"R$* $| $*\t$: $2\n" +
	"Scheck_rcpt\n" +
	"R$*\t\t$: $>LocalCheck $1\n" +
	"R< $+ @ $=w >\t$@ OK\n" +
	"R< $- >\t\t$@ OK\n" +
	"R$*\t\t$#error $@ 5.7.1 $: \"550 Relaying denied\"\n" +
	"SEnvToSMTP\n" +
	"R$+\t\t$: $>final $1\n" +
	"R$+ @ $+\t$: $1 @ $2\n" +
	"Mlocal,\tP=/bin/mail, F=lsDFMAuh, A=mail -d $u\n" +
	"Mprog,\tP=/bin/sh, F=lsDFMo, A=sh -c $u\n" +
	"Mrelay,\tP=[IPC], F=mDFMuXa8, R=EnvToSMTP, A=TCP $h\n" +
	"Muucp,\tP=/usr/bin/uux, F=mDFMh, A=uux - -r $h!rmail ($u)\n"

// TestConvertedRulesDecideTheSame prints a sendmail.cf in our language, reads that, and asks both.
func TestConvertedRulesDecideTheSame(t *testing.T) {
	conf, err := cf.Read(strings.NewReader(handWritten), "site.cf", cf.Options{Host: cf.Host{Name: "mail.example.org", NodeName: "mail"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range conf.Messages {
		t.Errorf("%v", m)
	}
	var text strings.Builder
	if err := compile.Print(&text, conf.Prog); err != nil {
		t.Fatal(err)
	}
	old, err := rules.FromProgram(conf.Prog, rules.Options{Hostname: "mail.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	converted, err := rules.Load("converted.rules", rules.Options{Text: []byte(text.String()), Hostname: "mail.example.org"})
	if err != nil {
		t.Fatalf("%v\n%s", err, text.String())
	}
	ctx := context.Background()
	kinds := map[string]int{}
	show := func(d rules.Decision, err error) string {
		if err != nil {
			return "error"
		}
		if d.Refusal != nil {
			return fmt.Sprintf("%+v", *d.Refusal)
		}
		return fmt.Sprintf("%s|%s|%s|%v", d.Mailer, d.Host, d.User, d.When)
	}
	for _, a := range []string{"bob", "Bob@localhost", "bob@MAIL.example.org", "bob@mail.example.org.", "a@b.example", "x12@b.example", "a@b@c.example", "site!bob", "site!other!bob", "bob%c.example@localhost",
		"bob@one.two", "bob@x.one.two", "localhost", "\"a b\"@c.example", "a.b+c@[192.0.2.1]", "@a,@b:c@d.example", "x!y@z.example", "bob@site.UUCP", "a b c"} {
		q := rules.Query{Recipient: a, Sender: "x@y.example"}
		x, errX := old.Route(ctx, q, nil)
		y, errY := converted.Route(ctx, q, nil)
		if show(x, errX) != show(y, errY) {
			t.Errorf("%s: %s, converted %s (%v, %v)", a, show(x, errX), show(y, errY), errX, errY)
		}
		kinds[x.Mailer]++
		for _, client := range []string{"192.0.2.9", "192.0.2.10"} {
			q.Client = rules.Client{Addr: netip.MustParseAddr(client)}
			v, errV := old.Accept(ctx, rules.StageRcpt, q, nil)
			w, errW := converted.Accept(ctx, rules.StageRcpt, q, nil)
			if fmt.Sprint(v.Refusal, errV) != fmt.Sprint(w.Refusal, errW) && (v.Refusal == nil || w.Refusal == nil || *v.Refusal != *w.Refusal) {
				t.Errorf("rcpt %s from %s: %+v %v, converted %+v %v", a, client, v.Refusal, errV, w.Refusal, errW)
			}
		}
	}
	for _, m := range []string{"local", "relay", "uucp", ""} {
		if kinds[m] == 0 {
			t.Errorf("no address went by %q: %v", m, kinds)
		}
	}
}
