package dns_test

import (
	"context"
	"testing"
)

// TestOddNames: the rules may ask for names that no host has, as sendmail's $[ $] does; names of hosts stay strict.
func TestOddNames(t *testing.T) {
	both, _ := resolvers(t)
	for kind, r := range both {
		for _, name := range []string{"(side)a.wild.example.org", "d@b.wild.example.org", "a b.wild.example.org", `"a".wild.example.org`, `a\b.wild.example.org`, "a;b.wild.example.org", "a$.wild.example.org", `a\.b.wild.example.org`} {
			records, exists, err := r.Records(context.Background(), name, "MX")
			if err != nil || !exists || len(records) != 1 || records[0].Value != "7 a.example.org" {
				t.Errorf("%s: %s: %v %v %v", kind, name, records, exists, err)
			}
			if mx, err := r.MX(context.Background(), name); err != nil || len(mx.Hosts) != 0 {
				t.Errorf("%s: mail would go to the host %s: %+v %v", kind, name, mx, err)
			}
		}
		for _, name := range []string{"a\x01.wild.example.org", `a.wild.example.org\`, "a..wild.example.org", ".wild.example.org", ""} {
			if records, exists, err := r.Records(context.Background(), name, "MX"); err != nil || exists {
				t.Errorf("%s: %q: %v %v %v", kind, name, records, exists, err)
			}
		}
	}
}
