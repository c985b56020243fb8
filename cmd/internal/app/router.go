package app

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"waybill/queue"
	"waybill/rules"
	"waybill/rules/table"
	"waybill/transport"
	"waybill/transport/dns"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// queueRouter answers the queue's questions with the rules.
type queueRouter struct {
	r    *rules.Router
	load *loadMeter
}

func (q queueRouter) Route(ctx context.Context, question queue.Question) (queue.Decision, error) {
	asked := q.query(question)
	d, err := q.r.Route(ctx, asked, nil)
	if err != nil {
		return queue.Decision{}, err
	}
	if !d.NotBefore.After(asked.Time) { // a window that is open; the queue's clock was read a moment before ours
		d.NotBefore = time.Time{}
	}
	out := queue.Decision{
		Mailer: d.Mailer, Host: d.Host, User: d.User,
		When: queueWhen[d.When], NotBefore: d.NotBefore, Priority: d.Priority,
	}
	if d.Refusal != nil {
		status := refusalStatus(d.Refusal)
		out.Refused = &status
	}
	return out, nil
}

// query is what the rules are asked.
func (q queueRouter) query(question queue.Question) rules.Query {
	return rules.Query{
		Recipient: string(question.Recipient),
		Sender:    string(question.Sender),
		Client:    ruleClient(question.Origin),
		Size:      max(question.Size, 0),
		Priority:  question.Priority,
		Load:      q.load.Average(),
		Time:      time.Now(),
		Header:    question.Header,
		Attempts:  question.Attempts,
		Age:       time.Since(question.Arrival),
		NoDNS:     question.Asked == envelope.WhenDefer && question.Attempts == 0,
		Failures:  question.Failures,

		Recipients: question.Recipients,
	}
}

// snapshot makes the rules part of a wiring: tables and classes as they are now. Who works with a wiring keeps it, so a
// message sees one snapshot of rules, tables, classes and aliases from the beginning of an attempt to its end.
func (s *site) snapshot(w *queue.Wiring, router *rules.Router) error {
	router = router.Pin()
	expander, err := s.expander(router)
	if err != nil {
		return err
	}
	w.Router, w.Planner, w.Expander = queueRouter{router, &s.load}, nil, expander
	if router.HasSchedule() {
		w.Planner = queueRouter{router, &s.load}
	}
	return nil
}

// refresh reads tables and classes again where their files changed, and lets the queue work with what they hold now.
func (s *site) refresh() (changed bool, err error) {
	s.swap.Lock()
	defer s.swap.Unlock()
	router := s.rules()
	changed, err = router.Refresh()
	if !changed {
		return false, err
	}
	s.mu.Lock()
	wiring := s.wiring
	s.mu.Unlock()
	if err := s.snapshot(&wiring, router); err != nil {
		return false, err
	}
	return true, errors.Join(err, s.queue.Use(wiring))
}

var queueWhen = map[rules.When]envelope.When{
	rules.Now: envelope.WhenNow, rules.Background: envelope.WhenBackground, rules.Queue: envelope.WhenQueue, rules.Defer: envelope.WhenDefer,
}

func ruleClient(o envelope.Origin) rules.Client {
	c := rules.Client{Name: o.ClientName, Helo: o.Helo, Auth: o.Auth, TLS: o.TLS}
	c.Addr, _ = netip.ParseAddr(o.ClientAddr)
	return c
}

// refusalStatus is a refusal by the rules as what became of a recipient.
func refusalStatus(r *rules.Refusal) transport.Status {
	if r.Discard {
		return transport.NewStatus(transport.Discarded, "2.0.0", "discarded by a rule")
	}
	outcome, code := transport.Failed, r.Enhanced
	if r.Temporary() {
		outcome = transport.Deferred
	}
	if !transport.ValidCode(code) {
		code = strconv.Itoa(r.Code/100) + ".7.1"
	}
	s := transport.NewStatus(outcome, code, r.Text)
	s.Exit = refusalExit(r)
	return s
}

// refusalExit is the exit status with which sendmail would end.
func refusalExit(r *rules.Refusal) int {
	switch {
	case r.Temporary():
		return sysexits.TempFail
	case r.Enhanced == "5.1.1":
		return sysexits.NoUser
	case r.Enhanced == "5.1.2":
		return sysexits.NoHost
	case r.Enhanced == "5.7.1":
		return sysexits.NoPerm
	case r.Enhanced == "5.1.3":
		return sysexits.DataErr
	}
	return sysexits.Unavailable
}

// loadMeter knows the load average.
type loadMeter struct {
	mu    sync.Mutex
	at    time.Time
	value float64
}

// Average is the load of the last minute, read at most once a second; 0 where the system does not tell.
func (l *loadMeter) Average() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.at) >= time.Second {
		l.at, l.value = now, 0
		if text, err := os.ReadFile("/proc/loadavg"); err == nil {
			first, _, _ := bytes.Cut(text, []byte{' '})
			l.value, _ = strconv.ParseFloat(string(first), 64)
		}
	}
	return l.value
}

// ruleTables gives the tables of the rules what they ask of the DNS.
type ruleTables struct{ *dns.Resolver }

func (r ruleTables) Query(ctx context.Context, name, typ string) ([]table.Record, bool, error) {
	records, exists, err := r.Records(ctx, name, typ)
	out := make([]table.Record, len(records))
	for i, rec := range records {
		out[i] = table.Record(rec)
	}
	return out, exists, err
}
