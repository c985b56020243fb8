package queue

import (
	"strings"
	"testing"

	"waybill/queue/spool"
	"waybill/transport/envelope"
)

// The order that sendmail 8.17.1 has for a@example.com b@example.com list bob, where list is "carol, dave, inner, x@a.test"
// and inner "erin, frank", and dave stands in an alias of his own.
func TestArrange(t *testing.T) {
	var m spool.Message
	add := func(parent int, stage, addr string) int {
		m.Recipients = append(m.Recipients, spool.Recipient{Recipient: envelope.Recipient{Addr: envelope.Address(addr)}, Parent: parent, Stage: stage})
		return len(m.Recipients) - 1
	}
	a, b := add(-1, "", "a@example.com"), add(-1, "", "b@example.com")
	list, bob := add(-1, "", "list"), add(-1, "", "bob")
	carol, dave, inner, x := add(list, "", "carol"), add(list, "", "dave"), add(list, "", "inner"), add(list, "", "x@a.test")
	erin, frank := add(inner, "", "erin"), add(inner, "", "frank")
	self, other := add(dave, stageSelf, "dave"), add(dave, "", "grace")
	var jobs []*job
	for _, j := range []struct {
		i    int
		host string
	}{{a, "example.com."}, {b, "example.com."}, {bob, ""}, {carol, ""}, {x, "a.test."}, {erin, ""}, {frank, ""}, {other, ""}, {self, ""}} {
		jobs = append(jobs, &job{host: j.host, indices: []int{j.i}})
	}
	(&try{m: &m}).arrange(jobs)
	var got []string
	for _, j := range jobs {
		got = append(got, string(m.Recipients[j.indices[0]].Addr))
	}
	const want = "frank erin dave grace carol bob x@a.test a@example.com b@example.com"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("%s\nnot %s", s, want)
	}
}
