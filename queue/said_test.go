package queue

import (
	"testing"
	"time"

	"waybill/queue/spool"
	"waybill/transport"
	"waybill/transport/envelope"
)

// A listing as sendmail's has one reason for the whole message: the last failure, else the first reason to wait.
func TestLastSaid(t *testing.T) {
	type fate struct {
		outcome, text, mailer, host, reply string
		try                                int
	}
	said := func(name, mailer string, s transport.Status) string { return s.Text() }
	for name, c := range map[string]struct {
		wrong    []string
		attempts int
		when     envelope.When
		fates    []fate
		want     string
		count    [2]int // recipients and runs
	}{
		"waits":                 {attempts: 1, fates: []fate{{spool.Deferred, "451 later", "esmtp", "a.test", "451 later", 0}}, want: "451 later", count: [2]int{1, 0}},
		"untried":               {when: envelope.WhenQueue, fates: []fate{{}}, want: "", count: [2]int{1, 0}},
		"failure goes first":    {attempts: 1, fates: []fate{{spool.Failed, "User unknown", "esmtp", "b.test", "550", 0}, {spool.Deferred, "451 later", "esmtp", "a.test", "451 later", 0}}, want: "User unknown", count: [2]int{2, 0}},
		"that of an old run":    {attempts: 3, fates: []fate{{spool.Failed, "User unknown", "esmtp", "b.test", "550", 1}, {spool.Deferred, "451 later", "esmtp", "a.test", "451 later", 0}}, want: "451 later", count: [2]int{2, 2}},
		"refused at submission": {wrong: []string{"Host unknown", "User unknown"}, fates: []fate{{}}, when: envelope.WhenQueue, want: "User unknown", count: [2]int{3, 0}},
		"and a run later":       {wrong: []string{"User unknown"}, attempts: 1, when: envelope.WhenQueue, fates: []fate{{spool.Deferred, "451 later", "esmtp", "a.test", "451 later", 0}}, want: "451 later", count: [2]int{2, 1}},
		"no decision first":     {attempts: 1, fates: []fate{{spool.Deferred, "451 later", "esmtp", "a.test", "451 later", 0}, {spool.Deferred, "not now", "", "", "", 0}}, want: "not now", count: [2]int{2, 0}},
		"by host":               {attempts: 1, fates: []fate{{spool.Deferred, "452 full", "esmtp", "b.test", "452 full", 0}, {spool.Deferred, "451 later", "esmtp", "a.test", "451 later", 0}}, want: "451 later", count: [2]int{2, 0}},
		"the last of one host":  {attempts: 1, fates: []fate{{spool.Deferred, "451 later", "esmtp", "a.test", "451 later", 0}, {spool.Deferred, "452 full", "esmtp", "a.test", "452 full", 0}}, want: "452 full", count: [2]int{2, 0}},
	} {
		m := &spool.Message{Envelope: &envelope.Envelope{When: c.when, Wrong: c.wrong}, Attempts: c.attempts}
		for _, f := range c.fates {
			m.Recipients = append(m.Recipients, spool.Recipient{Parent: -1, Status: spool.Status{Outcome: f.outcome, Code: map[bool]string{true: "5.1.1", false: "4.2.1"}[f.outcome == spool.Failed], Text: f.text, Mailer: f.mailer, Host: f.host, Reply: f.reply, At: time.Unix(1, 0), Try: f.try}})
		}
		q := &Queue{}
		if got := q.lastSaid(m, said); got != c.want {
			t.Errorf("%s: said %q, want %q", name, got, c.want)
		}
		if n, runs := asSendmail(m); n != c.count[0] || runs != c.count[1] {
			t.Errorf("%s: %d recipients and %d runs, want %v", name, n, runs, c.count)
		}
	}
}
