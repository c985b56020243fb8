package rules

import (
	"context"
	"slices"
	"strings"
	"testing"
)

func load(t testing.TB, text string) *Router {
	t.Helper()
	r, err := Load("test.rules", Options{Text: []byte(text), Hostname: "mail.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const small = `transport local mbox
transport esmtp smtp
ruleset canonify { $u+ @ $d+ -> $u < @ $d > }
`

func TestDiff(t *testing.T) {
	old := load(t, small+`route { $u+ < @ b.example > => esmtp x $u ; $u+ < @ $d+ > => esmtp $d $u@$d ; $u+ => local $u }`)
	new := load(t, small+`route { $u+ < @ c.example > => reject 550 5.1.1 "gone" ; $u+ < @ $d+ > => esmtp $d $u@$d ; $u+ => local $u }`)
	log := `Nov 21 10:00:00 mx waybill[1]: 4AL: to=<a@b.example>,<a@c.example>, delay=00:00:01, stat=Sent
Nov 21 10:00:00 mx waybill[1]: 4AL: from=<x@y>, size=1
Nov 21 10:00:00 mx sm-mta[1]: 4AL: to=<a@d.example>, ctladdr=<bob> (1/1), delay=00:00:01, stat=Sent
Nov 21 10:00:00 mx sm-mta[1]: 4AL: to=<"odd>name"@c.example>, delay=00:00:01, stat=Sent
Nov 21 10:00:00 mx sm-mta[1]: 4AL: to=bob, delay=00:00:01, stat=Sent
Nov 21 10:00:01 mx waybill[1]: 4AM: to=<a@b.example>, delay=00:00:01, stat=Sent
`
	var got []string
	for d := range Diff(context.Background(), old, new, LogAddresses(strings.NewReader(log)), Query{}) {
		got = append(got, d.String())
		if len(d.Old.Decision.Why) == 0 {
			t.Errorf("%s: no reasons", d.Address)
		}
	}
	want := []string{
		"a@b.example\n  old: goes by transport esmtp to x, for a\n  new: goes by transport esmtp to b.example, for a@b.example\n",
		"a@c.example\n  old: goes by transport esmtp to c.example, for a@c.example\n  new: is refused: 550 5.1.1 gone\n",
		"\"odd>name\"@c.example\n  old: goes by transport esmtp to c.example, for \"odd>name\"@c.example\n  new: is refused: 550 5.1.1 gone\n",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestCoverage(t *testing.T) {
	r := load(t, small+`route { $u+ < @ b.example > => esmtp x $u
 $u+ < @ $d+ > => esmtp $d $u@$d
 $u+ => local $u }
test "one" {
  bob => local bob
  bob@c => esmtp c bob@c
}`)
	results, untested, rules := r.Coverage()
	if len(results) != 2 || results[0].Failed+results[1].Failed != "" || rules != 4 {
		t.Errorf("%d rules, results %+v", rules, results)
	}
	if len(untested) != 1 || untested[0].Line != 4 || untested[0].Ruleset != "route" {
		t.Errorf("untested: %+v", untested)
	}
}

// TestMemoryIsNotShared asks from many goroutines: decisions do not see each other's memory.
func TestMemoryIsNotShared(t *testing.T) {
	r := load(t, small+`route { $u+ < @ $d+ > => esmtp $d $u@$d ; $u+ => local $u }
accept rcpt { mailer local ok ; $u+ < @ $d+ > reject 550 5.7.1 "not $u at $d" }`)
	done := make(chan string)
	for g := range 8 {
		go func() {
			user := strings.Repeat("u", g+1)
			for range 2000 {
				d, err := r.Route(context.Background(), Query{Recipient: user + "@h" + user + ".example"}, nil)
				if err != nil || d.Host != "h"+user+".example" || d.User != user+"@h"+user+".example" {
					done <- "route: " + d.Host + " " + d.User
					return
				}
				v, err := r.Accept(context.Background(), StageRcpt, Query{Recipient: user + "@h" + user + ".example"}, nil)
				if err != nil || v.Refusal == nil || v.Refusal.Text != "not "+user+" at h"+user+".example" {
					done <- "accept: " + v.Refusal.Text
					return
				}
			}
			done <- ""
		}()
	}
	for range 8 {
		if s := <-done; s != "" {
			t.Error(s)
		}
	}
}
