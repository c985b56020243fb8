package rules

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// TestRulesThatDoNotMatchAllocateNothing: a decision costs as many allocations with a thousand rules before the one that
// matches as with none, whatever keeps them from matching.
func TestRulesThatDoNotMatchAllocateNothing(t *testing.T) {
	load := func(n int) *Router {
		var b strings.Builder
		b.WriteString("transport esmtp smtp\nclass some { a.example b.c.example 10.0.0.0/8 2001:db8::/32 }\nruleset canonify { $u+ @ $d+ -> $u < @ $d > }\nroute {\n")
		for i := range n {
			fmt.Fprintf(&b, "    $u+ < @ host%d . example >                 => esmtp a $u\n", i) // a word that is not there
			fmt.Fprintf(&b, "    $u+ < @ $h+ . $i+ . $j+ . $k+ . com >   => esmtp $h $u@$i.$j.$k\n")
			fmt.Fprintf(&b, "    $u+ < @ $=some >                        => esmtp b $u\n")
			fmt.Fprintf(&b, "    $u~some + $x* < @ $_d+ >                => esmtp $x $u\n")
			fmt.Fprintf(&b, "    $u+ < @ $d+ > where $d in some          => esmtp $d $u\n")
			fmt.Fprintf(&b, "    $u+ < @ $d+ > where client in some      => esmtp $d $u\n")
			fmt.Fprintf(&b, "    $u+ < @ $d+ > where size > %dM or load > 12 or auth or tls or not focus  => esmtp $d $u\n", i+1)
			fmt.Fprintf(&b, "    $u+ < @ $d+ > where sender in some or sender null or time between 01:00 and 02:00  => esmtp $d $u\n")
		}
		b.WriteString("    $u+ < @ $d+ >  => esmtp $d $u@$d\n    $u+ => esmtp x $u\n}\n")
		r, err := Load("x", Options{Text: []byte(b.String()), Hostname: "h"})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	q := Query{Recipient: "bob@mail.example.com", Sender: "alice@sub.example.org", Size: 1000, Time: testTime(), Client: Client{Addr: netip.MustParseAddr("192.0.2.1")}}
	count := func(r *Router) float64 {
		for range 3 { // what is remembered of an address's shape is made once
			if _, err := r.Route(context.Background(), q, nil); err != nil {
				t.Fatal(err)
			}
		}
		return testing.AllocsPerRun(200, func() {
			if d, err := r.Route(context.Background(), q, nil); err != nil || d.Host != "mail.example.com" {
				t.Fatal(d, err)
			}
		})
	}
	few, many := count(load(1)), count(load(125))
	if many > few && (pooled || many > few+50) {
		t.Errorf("%v allocations with 8 rules that do not match, %v with 1000", few, many)
	}
	if few > 3 && pooled {
		t.Errorf("a decision takes %v allocations", few)
	}
}
