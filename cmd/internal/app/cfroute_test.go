package app

import (
	"testing"

	"waybill/queue"
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
