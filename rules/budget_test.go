package rules

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"waybill/rules/eval"
)

// TestHostileAddress: rules that an address can keep busy say "not now" and name the rule, and all evaluations that one
// question needs share one budget.
func TestHostileAddress(t *testing.T) {
	r, err := Load("site.rules", Options{Hostname: "h", Text: []byte(`transport local mbox
ruleset canonify { $a* x $b* -> once call twist $a x $b }
ruleset twist {
    $a* x $b* y $c* x $d* zz  -> return no
    $a+                       -> return call twist $a x
}
ruleset turn { $a+ . $b+      -> $b . $a }
route {
    turn $a+                  -> once call turn $a
    $u+                       => local $u
}
accept rcpt { mailer local ok; otherwise reject 550 5.7.1 "no" }
`)})
	if err != nil {
		t.Fatal(err)
	}
	for address, line := range map[string]string{"x" + strings.Repeat(".x.y", 100): "site.rules:5", "turn.a.b": "site.rules:7"} {
		q := Query{Recipient: address, Time: time.Now()}
		var err error
		least := time.Hour
		for range 5 {
			began := cpuTime()
			_, err = r.Route(context.Background(), q, nil)
			least = min(least, cpuTime()-began)
		}
		if limit := 10 * time.Millisecond * slowness; least > limit {
			t.Errorf("%s: %v of processor time", address, least)
		}
		var wrong *eval.Error
		if !errors.As(err, &wrong) || !wrong.Temporary() || !strings.Contains(err.Error(), line) {
			t.Errorf("%s: %v, want a temporary error that names %s", address, err, line)
		}
		if _, err := r.Accept(context.Background(), StageRcpt, q, nil); err == nil {
			t.Errorf("%s is accepted", address)
		}
	}
}
