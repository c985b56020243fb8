package app

import (
	"strings"
	"testing"
)

func TestWhatKeepsTheRightsOfASetUIDProgram(t *testing.T) {
	for line, want := range map[string]bool{
		"handover":                                                   true,
		"handover -C /etc/mail/sendmail.cf":                          true,
		"handover -C /etc/mail/submit.cf":                            true,
		"handover -C /tmp/x.cf":                                      false,
		"handover -C /etc/mail/../../tmp/x.cf":                       false,
		"handover -C/tmp/x":                                          false,
		"handover --config /tmp/x":                                   false,
		"handover -C /etc/mail/sendmail.cf -O DeliveryMode=q -M r=x": true,
		"handover -C /etc/mail/sendmail.cf -O QueueDirectory=/tmp":   false,
		"handover -C /etc/mail/sendmail.cf -O Timeout.ident=1":       false,
		"handover -C /etc/mail/sendmail.cf -M j=x":                   false,
		"handover -C /etc/mail/sendmail.cf -O":                       false,
		"handover -C /etc/mail/sendmail.cf -C /tmp/x.cf":             false,
		"handover -O DeliveryMode=q":                                 false,
		"--as sendmail -bp":                                          true,
		"--as mailq -v":                                              true,
		"--as mailq -Ac":                                             true,
		"--as mailq -C /tmp/x":                                       false,
		"--as mailq -X /etc/passwd":                                  false,
		"--as mailq -OQueueDirectory=/tmp":                           false,
		"--as sendmail -bd":                                          false,
		"--as sendmail -q":                                           true,
		"--as sendmail -q30m":                                        false,
		"--as sendmail -qp":                                          false,
		"--as sendmail -q -C/tmp/x.cf":                               false,
		"--as sendmail -Qx -qR.":                                     false,
		"--as sendmail -bp -bs":                                      false,
		"--as newaliases":                                            false,
		"serve":                                                      false,
		"queue remove x":                                             false,
		"rules check /etc/shadow":                                    false,
		"deliver x":                                                  false,
		"":                                                           false,
	} {
		if got := keepsRights(strings.Fields(line)); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}
