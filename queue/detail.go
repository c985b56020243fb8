package queue

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"waybill/queue/spool"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// Detail is all that is known of a message that waits.
type Detail struct {
	ID         string            `json:"id"`
	State      string            `json:"state"` // "waiting", "running", "held"
	Now        time.Time         `json:"now"`
	Sender     envelope.Address  `json:"sender"`
	Arrival    time.Time         `json:"arrival"`
	Size       int64             `json:"size"`
	Origin     envelope.Origin   `json:"origin"`
	Asked      string            `json:"asked,omitempty"` // when the submitter wanted it to go
	Priority   int               `json:"priority"`
	Attempts   int               `json:"attempts"`
	LastTry    time.Time         `json:"last_try,omitzero"`
	NextTry    time.Time         `json:"next_try,omitzero"` // zero: not planned, or as soon as there is room
	Parked     string            `json:"parked,omitempty"`  // the host whose busy connections it waits for
	EnvID      string            `json:"envid,omitempty"`
	Ret        envelope.Ret      `json:"ret,omitempty"`
	Recipients []DetailRecipient `json:"recipients"`
}

// DetailRecipient is a recipient of the envelope, or a member that stands for one.
type DetailRecipient struct {
	Name    string    `json:"address"`
	From    string    `json:"expanded_from,omitempty"`
	Outcome string    `json:"outcome"` // as in the journal; "new" before the first attempt
	Mailer  string    `json:"mailer,omitempty"`
	Host    string    `json:"host,omitempty"`
	User    string    `json:"user,omitempty"`
	Code    string    `json:"code,omitempty"`
	Text    string    `json:"text,omitempty"`
	Remote  string    `json:"remote,omitempty"`
	TLS     string    `json:"tls,omitempty"` // version, cipher, and how far its certificate was believed
	Reply   string    `json:"reply,omitempty"`
	At      time.Time `json:"at,omitzero"`
	Next    time.Time `json:"next_try,omitzero"`
	Warned  bool      `json:"warned,omitempty"`
	Notify  string    `json:"notify,omitempty"`
	// What the rules say now, of those that are left.
	Route   *DetailRoute `json:"route,omitempty"`
	GiveUp  time.Time    `json:"give_up,omitzero"`
	Trouble string       `json:"trouble,omitempty"` // the destination is left alone at the moment, and why
}

// DetailRoute is a decision of the rules.
type DetailRoute struct {
	Mailer string    `json:"mailer,omitempty"`
	Host   string    `json:"host,omitempty"`
	User   string    `json:"user,omitempty"`
	When   string    `json:"when,omitempty"`
	From   time.Time `json:"not_before,omitzero"`
	Refuse string    `json:"refused,omitempty"`
	Error  string    `json:"error,omitempty"`
}

// Detail tells what is known of a message. ErrGone: it is not here.
func (q *Queue) Detail(ctx context.Context, id string) (Detail, error) {
	d := Detail{ID: id, State: "waiting", Now: q.cfg.Now()}
	m, err := q.spool.Peek(id, false)
	if errors.Is(err, spool.ErrGone) {
		if m, err = q.spool.Peek(id, true); err == nil {
			d.State = "held"
		}
	}
	if err != nil {
		return d, err
	}
	defer m.Close()
	e := m.Envelope
	d.Sender, d.Arrival, d.Size, d.Origin, d.Priority, d.EnvID, d.Ret = e.Sender, e.Arrival, m.Size, e.Origin, e.Priority, e.EnvID, e.Ret
	d.Attempts, d.LastTry = m.Attempts, m.LastTry
	if e.When != envelope.WhenDefault {
		d.Asked = e.When.String()
	}
	s := schedID(id)
	q.mu.Lock()
	running := q.running[s]
	due, planned := q.schedule.Due(s)
	q.mu.Unlock()
	if planned {
		d.NextTry = d.Now.Add(time.Until(due)).Truncate(time.Second)
	} else if d.State == "waiting" {
		d.NextTry = m.NextTry
	}
	if d.State == "waiting" && (running || q.spool.Busy(id)) {
		d.State = "running"
	}
	d.Parked = q.limits.waitsFor(s)
	a := &try{q: q, w: q.wiring.Load(), m: m, how: &how{}, now: d.Now}
	for i := range m.Recipients {
		d.Recipients = append(d.Recipients, a.detail(ctx, i))
	}
	return d, nil
}

func (a *try) detail(ctx context.Context, i int) DetailRecipient {
	r := &a.m.Recipients[i]
	s := &r.Status
	d := DetailRecipient{
		Name: r.Name(), Outcome: firstOf(s.Outcome, "new"), Mailer: s.Mailer, Host: s.Host, User: s.User, Code: s.Code, Text: s.Text,
		Remote: s.Remote, TLS: s.TLS, Reply: s.Reply, At: s.At, Warned: s.Warned, Notify: r.Notify.String(),
	}
	if root := a.root(i); root != i {
		d.From = a.m.Recipients[root].Name()
	}
	if r.Final() {
		return d
	}
	if s.Outcome == spool.Deferred {
		d.Next = a.dueOf(r)
	}
	j := &job{mailer: s.Mailer, host: s.Host, priority: a.m.Envelope.Priority}
	if r.Command == "" && r.File == "" {
		d.Route = &DetailRoute{}
		decision, err := a.w.Router.Route(ctx, a.question(i))
		switch {
		case err != nil:
			d.Route.Error = err.Error()
		case decision.Refused != nil:
			d.Route.Refuse = decision.Refused.Code() + " " + decision.Refused.Text()
		default:
			d.Route.Mailer, d.Route.Host, d.Route.User, d.Route.From = decision.Mailer, decision.Host, decision.User, decision.NotBefore
			if decision.When != envelope.WhenDefault {
				d.Route.When = decision.When.String()
			}
			j = &job{mailer: decision.Mailer, host: decision.Host, priority: decision.Priority}
			j.to.User = decision.User
		}
	}
	d.GiveUp = a.m.Envelope.Arrival.Add(a.plan(i, j, statusOf(s)).GiveUp).Truncate(time.Second)
	if status, dead := a.q.limits.dead(destinationKey(j.mailer, j.host), time.Time{}); dead {
		d.Trouble = status.Text()
	}
	return d
}

// detailChunk is how much of a Detail goes into one line of an answer.
const detailChunk = 2000

// detail answers with the Detail of a message as JSON, cut into lines.
func (q *Queue) detail(ctx context.Context, words []string, answer func(line string) error) error {
	if len(words) != 1 || !spool.ValidID(words[0]) {
		return &spool.RefusedError{Exit: sysexits.Usage, Text: "detail needs a queue id"}
	}
	q.takeDrops(ctx, false)
	d, err := q.Detail(ctx, words[0])
	switch {
	case errors.Is(err, spool.ErrGone):
		return &spool.RefusedError{Exit: sysexits.NoInput, Text: words[0] + ": there is no such message in the queue"}
	case err != nil:
		return &spool.RefusedError{Exit: sysexits.DataErr, Text: words[0] + ": " + plain(err)}
	}
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	for rest := strings.ToValidUTF8(string(text), "?"); rest != ""; {
		n := min(len(rest), detailChunk)
		if err := answer(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}
