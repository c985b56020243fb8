package app

import (
	"context"
	"errors"
	"testing"

	"waybill/queue/spool"
	"waybill/transport/sysexits"
)

// The socket is open to everybody: what PrivacyOptions closes must be closed there, and changes are for root and the daemon.
func TestWhoMayAskTheDaemon(t *testing.T) {
	f := frontEnds{s: &site{cf: policySite(t, "O PrivacyOptions=restrictmailq,restrictqrun\n")}}
	for _, c := range []string{"list", "detail", "run", "purgestat", "reload", "remove", "tlsreport", "no such word"} {
		err := f.Control(context.Background(), spool.Peer{UID: 12345}, []string{c}, func(string) error { return nil })
		var no *spool.RefusedError
		if !errors.As(err, &no) || no.Exit != sysexits.NoPerm {
			t.Errorf("%s: %v", c, err)
		}
	}
	if err := f.Control(context.Background(), spool.Peer{UID: 12345}, []string{"ping"}, func(string) error { return nil }); err != nil {
		t.Error(err)
	}
}
