package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"waybill/queue/spool"
	"waybill/transport/envelope"
)

// Listed is one message as mailq shows it.
type Listed struct {
	ID         string
	Size       int64 // octets of the body
	Given      int64 // octets of the whole message as it came in
	Arrival    time.Time
	Sender     envelope.Address
	BodyType   envelope.BodyType
	Priority   int
	Attempts   int
	NextTry    time.Time // zero before the first attempt
	Held       bool
	Quarantine string // why it is held
	Running    bool
	Dropped    bool   // still in the drop directory
	Damage     string // why it cannot be read
	Job        int64  // its priority as sendmail counts it
	Said       string // what was last wrong with the whole, where sendmail would say so; empty: what the recipients say
	// Changed is when it was tried last, or came. It is not part of Lines.
	Changed time.Time
	// Recipients are those that are left.
	Recipients []ListedRecipient
}

// ListedRecipient is a recipient that has not got the message yet.
type ListedRecipient struct {
	Name   string
	Mailer string // that tried it last, and where to; empty before that
	Host   string
	Code   string // of the last attempt; empty before the first
	Reason string
}

// Weights are what counts for the place of a message in a queue run of sendmail (Operations Guide, "Queue Priorities";
// options RecipientFactor, ClassFactor, RetryFactor).
type Weights struct{ Recipient, Class, Retry int64 }

// DefaultWeights are those of a sendmail that is not told others.
func DefaultWeights() Weights { return Weights{Recipient: 30000, Class: 1800, Retry: 90000} }

// Job is a message's priority as sendmail counts it: smaller goes first. size is in octets, priority ours.
func (w Weights) Job(size int64, priority, recipients, attempts int) int64 {
	return size - int64(priority)*w.Class + int64(recipients)*w.Recipient + int64(attempts)*w.Retry
}

// Count tells how many messages wait, without reading them.
func (q *Queue) Count(f func(queued, held, dropped int) error) error {
	var n [3]int
	for i, walk := range []func(func(string) bool) error{q.spool.Queued, q.spool.Held, q.spool.Dropped} {
		if err := walk(func(string) bool { n[i]++; return true }); err != nil {
			return err
		}
	}
	return f(n[0], n[1], n[2])
}

// List calls f for each message, as it is read, in the order of the directory, until f fails.
func (q *Queue) List(ctx context.Context, f func(Listed) error) error {
	q.recoverDead()
	var ferr error
	left := foreseen
	one := func(held bool) func(string) bool {
		return func(id string) bool {
			m, err := q.spool.Peek(id, held)
			l := Listed{ID: id, Held: held}
			switch {
			case errors.Is(err, spool.ErrGone):
				return true
			case err != nil:
				l.Damage = err.Error()
			default:
				q.fill(&l, m)
				q.foresee(ctx, &l, m, &left)
				m.Close()
			}
			ferr = f(l)
			return ferr == nil && ctx.Err() == nil
		}
	}
	err := q.spool.Queued(one(false)) // one directory that cannot be read does not hide the others
	if ferr == nil {
		err = errors.Join(err, q.spool.Held(one(true)))
	}
	if ferr == nil {
		err = errors.Join(err, q.spool.Dropped(func(id string) bool {
			d, err := q.spool.OpenDrop(id)
			if err != nil {
				return true
			}
			l := Listed{ID: id, Dropped: true, Arrival: d.Envelope.Arrival, Sender: d.Envelope.Sender, BodyType: d.Envelope.BodyType}
			l.Size, l.Given = sizes(dropBody{d}, d.Envelope, "")
			l.Job = q.weights().Job(l.Given, d.Envelope.Priority, len(d.Envelope.Recipients), 0)
			if n := len(d.Envelope.Wrong); n > 0 {
				l.Said = d.Envelope.Wrong[n-1]
			}
			for _, r := range d.Envelope.Recipients {
				l.Recipients = append(l.Recipients, ListedRecipient{Name: r.Name()})
			}
			d.Close()
			ferr = f(l)
			return ferr == nil && ctx.Err() == nil
		}))
	}
	return errors.Join(ferr, err, ctx.Err())
}

func (q *Queue) fill(l *Listed, m *spool.Message) {
	l.Size, l.Given = sizes(m.Body(), m.Envelope, m.ID)
	q.describe(l, m)
	n, tried := len(l.Recipients), l.Attempts
	if w := q.wiring.Load(); w != nil && w.Said != nil {
		n, tried = asSendmail(m)
		l.Said = q.lastSaid(m, w.Said)
	}
	l.Job = q.weights().Job(l.Given, l.Priority, n, tried)
	q.mu.Lock()
	l.Running = q.running[schedID(m.ID)]
	q.mu.Unlock()
	l.Running = l.Running || !l.Held && q.spool.Busy(m.ID)
}

// weights are those of the configuration.
func (q *Queue) weights() Weights {
	if q.cfg.Weights != nil {
		return *q.cfg.Weights
	}
	return DefaultWeights()
}

// describe fills in what can be told without reading the message.
func (q *Queue) describe(l *Listed, m *spool.Message) {
	if l.Held {
		l.Quarantine = firstOf(m.HeldFor, "held")
	}
	l.Arrival, l.Sender, l.BodyType = m.Envelope.Arrival, envelope.Address(q.given(m, string(m.Envelope.Sender), true)), m.Envelope.BodyType
	if l.Changed = m.LastTry; l.Changed.IsZero() {
		l.Changed = l.Arrival
	}
	l.Priority, l.Attempts, l.NextTry = m.Envelope.Priority, m.Attempts, m.NextTry
	w := q.wiring.Load()
	spoken := w != nil && w.Spoken
	if o := m.Envelope.Origin; spoken && l.Sender.Null() && o.Protocol == "local" && o.User == "" { // a notice
		l.Sender = "MAILER-DAEMON"
	}
	owners := map[envelope.Address]bool{}
	for _, i := range q.inTurn(m) {
		if r := &m.Recipients[i]; !r.Final() {
			if spoken {
				owners[(&try{m: m}).sender(i)] = true
			}
			l.Recipients = append(l.Recipients, ListedRecipient{q.given(m, r.Name(), r.Parent < 0), r.Status.Mailer, r.Status.Host, r.Status.Code, r.Status.Text})
		}
	}
	if len(owners) == 1 && !owners[m.Envelope.Sender] { // for sendmail the owner of a list is the sender of what is left
		for owner := range owners {
			l.Sender = owner
		}
	}
}

// given is an address as a listing has it: with a sendmail.cf, the brackets of MAIL and RCPT stay around what an SMTP client
// named.
func (q *Queue) given(m *spool.Message, name string, named bool) string {
	if w := q.wiring.Load(); w == nil || !w.Spoken || !named || name == "" || m.Envelope.Origin.UID >= 0 {
		return name
	}
	return "<" + name + ">"
}

// inTurn is the order in which a listing has the recipients: with a sendmail.cf, members of a list from the last to the
// first.
func (q *Queue) inTurn(m *spool.Message) []int {
	order := make([]int, len(m.Recipients))
	for i := range order {
		order[i] = i
	}
	if w := q.wiring.Load(); w != nil && w.Spoken {
		slices.SortStableFunc(order, (&try{m: m}).earlier)
	}
	return order
}

// sizes are the octets of a message's body, and of the whole as it came in. Where the header cannot be read, both are
// those of what there is.
func sizes(b envelope.Body, e *envelope.Envelope, id string) (body, given int64) {
	h, err := envelope.HeaderOf(b)
	if err != nil {
		return b.Size(), b.Size()
	}
	return b.Size() - h.Octets, Given(b.Size(), h, e, id)
}

// Given is the size of a message as it came in: without our Received line and without what was made here.
func Given(size int64, h *envelope.Header, e *envelope.Envelope, id string) int64 {
	if len(h.Fields) > 0 && h.Fields[0].Is("Received") && id != "" && strings.Contains(h.Fields[0].Raw, " id "+id) {
		size -= int64(len(h.Fields[0].Raw))
	}
	return max(0, size-int64(e.Made))
}

// Lines renders l for the daemon's socket: one line for the message, one for each recipient.
func (l Listed) Lines() []string {
	unix := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return t.Unix()
	}
	lines := []string{fmt.Sprintf("message %s %d %d %d %d %d %t %t %t %d %s <%s> %s", l.ID, l.Size, unix(l.Arrival), l.Priority, l.Attempts, unix(l.NextTry),
		l.Held, l.Running, l.Dropped, l.Given, "body="+string(l.BodyType), quote(string(l.Sender)), l.Damage)}
	lines = append(lines, fmt.Sprint("job ", l.Job))
	if l.Held && l.Quarantine != "held" {
		lines = append(lines, "held "+l.Quarantine)
	}
	if l.Said != "" {
		lines = append(lines, "said "+l.Said)
	}
	for _, r := range l.Recipients {
		lines = append(lines, fmt.Sprintf("rcpt <%s> <%s> <%s> %s %s", quote(r.Name), quote(r.Mailer), quote(r.Host), firstOf(r.Code, "-"), r.Reason))
	}
	return lines
}

func quote(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, "%", "%25"), " ", "%20") }

func unquote(s string) string {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">")
	return strings.ReplaceAll(strings.ReplaceAll(s, "%20", " "), "%25", "%")
}

// Lister puts the lines together again: Line takes each, End the last message.
type Lister struct {
	F func(Listed) error
	// Count, if not nil, hears how many messages there are, before they come.
	Count func(queued, held, dropped int) error
	last  *Listed
}

// Line takes one line of Lines.
func (p *Lister) Line(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "count":
		var queued, held, dropped int
		if _, err := fmt.Sscanf(rest, "%d %d %d", &queued, &held, &dropped); err != nil || p.Count == nil {
			return err
		}
		return p.Count(queued, held, dropped)
	case "message":
		if err := p.End(); err != nil {
			return err
		}
		f := strings.SplitN(rest, " ", 13)
		if len(f) < 13 {
			return fmt.Errorf("listing %q not understood", line)
		}
		var n [5]int64
		for i := range n {
			v, err := strconv.ParseInt(f[i+1], 10, 64)
			if err != nil {
				return fmt.Errorf("listing %q: %w", line, err)
			}
			n[i] = v
		}
		l := &Listed{ID: f[0], Size: n[0], Arrival: time.Unix(n[1], 0), Priority: int(n[2]), Attempts: int(n[3]), Held: f[6] == "true", Quarantine: map[bool]string{true: "held"}[f[6] == "true"], Running: f[7] == "true",
			Dropped: f[8] == "true", BodyType: envelope.BodyType(strings.TrimPrefix(f[10], "body=")), Sender: envelope.Address(unquote(f[11])), Damage: f[12]}
		l.Given, _ = strconv.ParseInt(f[9], 10, 64)
		if n[4] != 0 {
			l.NextTry = time.Unix(n[4], 0)
		}
		p.last = l
	case "job":
		n, err := strconv.ParseInt(rest, 10, 64)
		if p.last == nil || err != nil {
			return fmt.Errorf("listing %q not understood", line)
		}
		p.last.Job = n
	case "held":
		if p.last == nil {
			return fmt.Errorf("listing %q not understood", line)
		}
		p.last.Quarantine = rest
	case "said":
		if p.last == nil {
			return fmt.Errorf("listing %q not understood", line)
		}
		p.last.Said = rest
	case "rcpt":
		name, rest, _ := strings.Cut(rest, " ")
		mailer, rest, _ := strings.Cut(rest, " ")
		host, rest, _ := strings.Cut(rest, " ")
		code, reason, _ := strings.Cut(rest, " ")
		if p.last == nil {
			return fmt.Errorf("listing %q not understood", line)
		}
		p.last.Recipients = append(p.last.Recipients, ListedRecipient{unquote(name), unquote(mailer), unquote(host), strings.TrimSuffix(code, "-"), reason})
	default:
		return fmt.Errorf("listing %q not understood", line)
	}
	return nil
}

// End hands over the last message.
func (p *Lister) End() error {
	if p.last == nil {
		return nil
	}
	l := *p.last
	p.last = nil
	return p.F(l)
}
