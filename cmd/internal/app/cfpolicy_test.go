package app

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill/compat/cf"
	"waybill/compat/rewrite"
	"waybill/rules"
	"waybill/rules/eval"
	"waybill/transport"
	"waybill/transport/smtpclient"
	"waybill/transport/smtpserver"
)

// policySite is a sendmail.cf with these lines.
func policySite(t *testing.T, lines string) *cfSite {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.cf")
	if err := os.WriteFile(file, []byte("V10/Berkeley\nDjmx.test\nO OperatorChars=.:%@!^/[]+\n"+lines), 0o644); err != nil {
		t.Fatal(err)
	}
	conf, err := cf.ReadFile(file, cf.Options{Host: cf.LocalHost("/etc/hosts"), CheckTable: eval.CheckTable, Mode: "m"})
	if err != nil {
		t.Fatal(err)
	}
	rw, err := rewrite.New(conf, eval.TableEnv{})
	if err != nil {
		t.Fatal(err)
	}
	return &cfSite{conf: conf, rw: rw}
}

// TestRulesetsSeeTheSender asks with the macros that the real sendmail was seen to set: delayed checks look at {mail_from},
// and refuse the null sender when it is not "<>".
func TestRulesetsSeeTheSender(t *testing.T) {
	s := policySite(t, `
S3
R$* < $+ > $*	$: $2
S0
R$+ @ $+	$#esmtp $@ $2 $: $1 @ $2
R$*	$#local $: $1
Scheck_mail
R$*	$#error $@ 5.7.1 $: "550 " $&{mail_from} , $&f , $&{mail_addr} , $&{mail_host} , $&{mail_mailer} , $&{rcpt_addr}
Scheck_rcpt
R$*	$#error $@ 5.7.1 $: "550 " $&{mail_from} , $&f , $&{mail_addr} , $&{mail_mailer} , $&{rcpt_addr} , $&{rcpt_host} , $&{rcpt_mailer}
Mlocal, P=/bin/cat, F=lsDFMAw5, A=cat $u
Mprog, P=/bin/sh, F=lsDFM, A=sh -c $u
Mesmtp, P=[IPC], F=mDFMuXa, A=TCP $h
`)
	p := cfPolicy{cfSite: s}
	for _, c := range []struct {
		stage              rules.Stage
		sender, rcpt, want string
	}{
		{rules.StageMail, "", "", "<>,<>,<>,,local,"},
		{rules.StageMail, "z@Y.z", "z@Y.z", "<z@Y.z>,z@Y.z,z@Y.z,y.z,esmtp,"},
		{rules.StageRcpt, "", "y@y", "<>,<>,<>,local,y@y,y,esmtp"},
		{rules.StageRcpt, "bob@xX.com", "root", "<bob@xX.com>,bob@xX.com,bob@xX.com,esmtp,root,,local"},
	} {
		v, err := p.Accept(t.Context(), c.stage, rules.Query{Sender: c.sender, Recipient: c.rcpt}, nil)
		if err != nil || v.Refusal == nil || strings.ReplaceAll(v.Refusal.Text, " ", "") != c.want {
			t.Errorf("%s %s %s: %+v %v, want %s", c.stage, c.sender, c.rcpt, v.Refusal, err, c.want)
		}
	}
}

// TestRulesetsAboutClients asks the rulesets that look at a client and its message, with the macros that they see.
func TestRulesetsAboutClients(t *testing.T) {
	s := policySite(t, `
HSubject: $>+CheckSubject
H*: $>CheckOther
SCheckSubject
R$* evil $*	$#error $@ 5.7.1 $: "550 not that"
R$* ( $* )	$#error $@ quarantine $: comment
SCheckOther
R$*	$: $&{hdr_name} $| $1
RX-Virus $| $*	$#discard $: x
Scheck_eoh
R0 $| $*	$#error $@ 5.6.0 $: "554 no header"
Scheck_eom
R1234567	$#error $@ 5.3.4 $: "552 too much"
Scheck_mail
R$*	$: $&{client_resolve} $| $&{client_rate} $| $&{daemon_name} $| $&{daemon_flags}
RFORGED $| 7 $| MSA $| a EE	$#error $@ 5.7.1 $: "550 seen"
Ssrv_features
R$* $| IPv6:2001:db8:0:0:0:0:0:7	$# S X
R$* $| 192.0.2.9	$#temp
Sgreet_pause
R$* $| 192.0.2.8	$# 2500
`)
	client := &smtpserver.Client{Role: "MSA aE", Rate: 7, Connections: 2, Remote: netip.MustParseAddrPort("192.0.2.8:5000"), Local: netip.MustParseAddrPort("192.0.2.1:587")}
	p := cfPolicy{s, client, reverse{ptr: "liar.test"}}
	q := rules.Query{Client: rules.Client{Addr: client.Remote.Addr()}, Sender: "a@b.test", Recipient: "a@b.test", Size: 1234567}
	field := func(name, value string) string {
		v, err := p.AcceptHeader(t.Context(), name, value, q, nil)
		return verdictText(v, err)
	}
	stage := func(st rules.Stage) string { return verdictText(p.Accept(t.Context(), st, q, nil)) }
	for what, got := range map[string][2]string{
		"subject":       {field("Subject", "some evil thing"), "550 5.7.1 not that"},
		"plain":         {field("Subject", "nothing"), "ok"},
		"comment":       {field("Subject", "with (a comment)"), "quarantine comment"},
		"odd quote":     {field("subject", `say "evil`), "ok"},
		"another field": {field("X-Virus", "yes"), "discard"},
		"third field":   {field("X-Other", "yes"), "ok"},
		"eoh":           {verdictText(p.headerEnd(t.Context(), 0, 0, q)), "554 5.6.0 no header"},
		"eoh, fine":     {verdictText(p.headerEnd(t.Context(), 5, 300, q)), "ok"},
		"eom":           {stage(rules.StageMessage), "552 5.3.4 too much"},
		"macros":        {stage(rules.StageMail), "550 5.7.1 seen"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %s, want %s", what, got[0], got[1])
		}
	}
	for addr, want := range map[string]string{"[2001:db8::7]:1": "SX", "192.0.2.9:1": "temp", "192.0.2.10:1": ""} {
		client.Remote = netip.MustParseAddrPort(addr)
		got, ok := p.features(t.Context())
		if !ok {
			got = "temp"
		}
		if got != want {
			t.Errorf("srv_features of %s: %q", addr, got)
		}
	}
}

func verdictText(v rules.Verdict, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case v.Quarantine != "":
		return "quarantine " + v.Quarantine
	case v.Refusal == nil:
		return "ok"
	case v.Refusal.Discard:
		return "discard"
	}
	return fmt.Sprintf("%d %s %s", v.Refusal.Code, v.Refusal.Enhanced, v.Refusal.Text)
}

// TestRulesetsAboutHosts asks the rulesets about the hosts to which mail goes.
func TestRulesetsAboutHosts(t *testing.T) {
	s := policySite(t, `
O Timeout.initial=3
O Timeout.datafinal=90s
O ConnectionCacheSize=0
Stry_tls
Rold.test	$#error $@ 5.7.1 $: "550 do not try"
Stls_server
RNONE	$: $&{server_name}
Rsecure.test	$#error $@ 4.7.0 $: "403 not in clear"
Sauthinfo
Rsmart.test $| $*	$# "I:me" "P=c2VjcmV0" "M:PLAIN LOGIN"
`)
	conf := smtpclient.Config{Hello: "mx.test"}
	if err := s.sending(&conf); err != nil {
		t.Fatal(err)
	}
	if conf.Timeouts.Greeting.Minutes() != 3 || conf.Timeouts.DataFinal.Seconds() != 90 || conf.MaxIdle != -1 {
		t.Errorf("%+v, %d idle", conf.Timeouts, conf.MaxIdle)
	}
	for host, want := range map[string]bool{"old.test": true, "new.test": false} {
		if level, found, err := conf.TLSFor(t.Context(), host, host); found != want || err != nil || found && level != smtpclient.TLSNever {
			t.Errorf("try_tls %s: %v %v %v", host, level, found, err)
		}
	}
	for _, c := range []struct {
		host, verify string
		ok           bool
	}{{"secure.test", "NONE", false}, {"other.test", "NONE", true}, {"secure.test", "OK", true}} {
		if st, ok := conf.Approve(t.Context(), smtpclient.Peer{Host: c.host, Verify: c.verify}); ok != c.ok || !ok && st.Outcome() != transport.Deferred {
			t.Errorf("tls_server %+v: %v %s", c, ok, st.Text())
		}
	}
	cred, found, err := conf.Auth(t.Context(), smtpclient.Peer{Host: "smart.test"})
	if !found || err != nil || cred.User != "me" || cred.Password != "secret" || len(cred.Mechanisms) != 2 {
		t.Errorf("authinfo: %+v %v %v", cred, found, err)
	}
	if _, found, err := conf.Auth(t.Context(), smtpclient.Peer{Host: "x.test"}); found || err != nil {
		t.Errorf("authinfo of another host: %v %v", found, err)
	}
}
