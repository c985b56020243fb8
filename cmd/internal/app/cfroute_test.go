package app

import (
	"strings"
	"testing"

	"waybill/compat/cf"
	"waybill/queue"
	"waybill/rules"
	"waybill/rules/eval"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// TestRoutesOfOddTables has virtual users who lead back to themselves, refusals with codes that are none, and a mailer whose
// mail waits for ETRN.
func TestRoutesOfOddTables(t *testing.T) {
	conf := policySite(t, "Mlocal, P=/bin/true, F=lsA, A=true\nMprog, P=/bin/sh, A=sh -c $u\nMdsmtp, P=[IPC], F=m%D, A=TCP $h\n"+
		"S0\nRendless\t$: $>0 endless\nRbad\t$#error $@ D.S.N $: 550 no\nRwaiting\t$#dsmtp $@ example.net $: waiting\nR$+\t$#local $: $1\n")
	for name, want := range map[string]struct {
		code string
		exit int
		when envelope.When
	}{
		"endless": {"5.1.1", sysexits.Software, envelope.WhenDefault},
		"bad":     {"5.0.0", sysexits.Config, envelope.WhenDefault},
		"waiting": {"", 0, envelope.WhenQueue},
		"bob":     {"", 0, envelope.WhenDefault},
	} {
		d, err := cfRouter{conf}.Route(t.Context(), queue.Question{Recipient: envelope.Address(name)})
		switch {
		case err != nil || d.When != want.when || (d.Refused != nil) != (want.code != ""):
			t.Errorf("%s: %+v %v", name, d, err)
		case d.Refused != nil && (d.Refused.Code() != want.code || d.Refused.Exit != want.exit):
			t.Errorf("%s: %s, exit %d", name, d.Refused.Code(), d.Refused.Exit)
		}
	}
}

// TestMailersTakeNoLargerMessages: M= of a mailer refuses what is larger, once its size is known.
func TestMailersTakeNoLargerMessages(t *testing.T) {
	conf := policySite(t, "Mlocal, P=/bin/true, F=lsA, M=1000, A=true\nMprog, P=/bin/sh, A=sh -c $u\nS0\nR$+\t$#local $: $1\n")
	for size, refused := range map[int64]bool{-1: false, 0: false, 1000: false, 1001: true} {
		d, err := cfRouter{conf}.Route(t.Context(), queue.Question{Recipient: "bob", Size: size})
		if err != nil || (d.Refused != nil) != refused || refused && d.Refused.Code() != "5.2.3" {
			t.Errorf("%d octets: %+v %v", size, d, err)
		}
	}
}

// TestDeliveryModeOfSMTP: what a site only queues, or defers, waits also when it comes by SMTP.
func TestDeliveryModeOfSMTP(t *testing.T) {
	for mode, want := range map[string]envelope.When{"queueonly": envelope.WhenQueue, "deferred": envelope.WhenDefer, "background": envelope.WhenDefault, "interactive": envelope.WhenDefault, "": envelope.WhenDefault} {
		option := ""
		if mode != "" {
			option = "O DeliveryMode=" + mode + "\n"
		}
		conf := policySite(t, option+"Mlocal, P=/bin/true, F=lsA, A=true\nMprog, P=/bin/sh, A=sh -c $u\nS0\nR$+\t$#local $: $1\n")
		if got := conf.delivery(); got != want {
			t.Errorf("%q: %v, want %v", mode, got, want)
		}
	}
}

// TestExplainedFilesHaveTheHostTable: rules diff and explain ask $[ $] of a sendmail.cf as delivery does.
func TestExplainedFilesHaveTheHostTable(t *testing.T) {
	text := "V10/Berkeley\nO OperatorChars=.:%@!^/[]+\nMlocal, P=/bin/true, F=lsA, A=true\nMprog, P=/bin/sh, A=sh -c $u\nS3\nS0\nR$+\t$: $[ localhost $: none $]\nRnone\t$#error $@ 5.1.2 $: 550 there is no such table\nR$+\t$#local $: bob\n"
	conf, err := cf.Read(strings.NewReader(text), "x.cf", cf.Options{Host: oracleHost, CheckTable: eval.CheckTable, Mode: "m"})
	if err != nil {
		t.Fatal(err)
	}
	router, err := rules.FromProgram(conf.Prog, rules.Options{Resolver: nothingResolves{}})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := router.Route(t.Context(), rules.Query{Recipient: "bob"}, nil); err != nil || d.Refusal != nil || d.Mailer != "local" {
		t.Errorf("%+v %v", d, err)
	}
}
