package queue

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"waybill/queue/sched"
	"waybill/queue/spool"
	"waybill/transport"
	"waybill/transport/envelope"
)

// slowNextHop is how long a client waits, once we have its message, for the next hop to take it. Then the message
// goes into the spool, and the client is answered.
const slowNextHop = 30 * time.Second

// ahead is how much of a message is read before the next hop hears of it.
const ahead = tapeMemory / 2

// placePatience is how long a client waits for a place at the next hop when others have all that it may get.
const placePatience = 5 * time.Second

// errHeld ends a stream to the next hop: the message is to be held, or refused.
var errHeld = errors.New("the message is not passed on")

// passage is one message on its way through: what design.md calls cut-through. The client sends it, the next hop gets
// it while it arrives, and a copy is kept (package-private tape) to fall back on. The client hears 250 after the next
// hop said so; nothing has to reach the disk. Whatever goes wrong on the way, the copy is committed to the spool as
// any other message, for the recipients that the next hop did not take.
type passage struct {
	q    *Queue
	e    *envelope.Envelope
	via  Mailer
	name string // of the mailer
	host string
	key  string // of the destination
	to   []transport.Recipient
	prio int
	// asked is the question about the first recipient.
	asked Question
}

// passage finds out whether the message can go through: when the rules send every recipient to the same next hop, now.
// nil: it goes by the spool.
func (q *Queue) passage(ctx context.Context, e *envelope.Envelope, header *envelope.Header) *passage {
	w := q.wiring.Load()
	p := &passage{q: q, e: e}
	for i, r := range e.Recipients {
		if r.Notify.WantsSuccess() {
			return nil // the notice that we may owe is written from the spool
		}
		ask := Question{
			Recipient: r.Addr, Sender: e.Sender, Origin: e.Origin, Size: -1, Priority: e.Priority, Arrival: e.Arrival, Asked: e.When, Header: header.Value,
			Failures: q.limits.failures, Recipients: len(e.Recipients),
		}
		d, err := w.Router.Route(ctx, ask)
		if err != nil || d.Refused != nil || d.When != envelope.WhenNow || d.NotBefore.After(q.cfg.Now()) {
			return nil
		}
		if i == 0 {
			p.asked = ask
			p.via, p.name, p.host, p.prio = w.Mailers[d.Mailer], d.Mailer, d.Host, d.Priority
		}
		if p.via.Transport == nil || p.via.Local || d.Mailer != p.name || !strings.EqualFold(d.Host, p.host) {
			return nil
		}
		p.to = append(p.to, transport.Recipient{User: d.User, Orig: r})
	}
	if p.via.MaxRecipients > 0 && len(p.to) > p.via.MaxRecipients {
		return nil
	}
	p.key = destinationKey(p.name, p.host)
	if _, dead := q.limits.dead(p.key, time.Time{}); dead { // nobody answers there: the client need not wait to see it again
		return nil
	}
	return p
}

// run passes the message on. The plan: read the first octets (ahead). When that is all of it, deliver it; when more is to
// come, one goroutine delivers from the tape while this one goes on to fill it from the client, so that a client that
// takes its time for a small message takes nobody's place at the next hop. Then the client waits, but not for ever. An
// error means that there is no message, or none that may go on.
func (p *passage) run(ctx context.Context, body io.Reader, t *tape, opt Options) (statuses []transport.Status, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := &intake{w: t, limit: p.q.cfg.MaxSize}
	buf := p.q.buffers.Get().(*[copyBuffer]byte)
	defer p.q.buffers.Put(buf)
	n, err := io.CopyBuffer(in, io.LimitReader(body, ahead), buf[:])
	if err != nil || n < ahead {
		if err = p.finish(t, in, err, opt); err != nil {
			return nil, err
		}
		place := p.place(ctx)
		defer p.q.watch(place, cancel)()
		statuses := p.hand(ctx, place, t)
		p.leave(place, statuses)
		return statuses, nil
	}
	env := *p.e // the other goroutine's
	p.e = &env
	var place *ticket
	result := make(chan []transport.Status, 1)
	placed := make(chan struct{})
	go func() {
		place = p.place(ctx)
		close(placed)
		result <- p.hand(ctx, place, t)
	}()
	_, err = io.CopyBuffer(in, struct{ io.Reader }{body}, buf[:])
	if err = p.finish(t, in, err, opt); err != nil {
		cancel() // what the next hop has is not ended by a dot
		<-result
		if place != nil {
			p.q.limits.giveBack(place) // it did nothing wrong
		}
		return nil, err
	}
	select {
	case <-placed:
	case statuses = <-result:
	}
	if statuses == nil {
		if place != nil {
			place.since = time.Now() // until now it was the client that took its time
		}
		defer p.q.watch(place, cancel)()
		statuses = <-result
	}
	p.leave(place, statuses)
	return statuses, nil
}

// place waits for a place at the next hop; nil: there was none, or nobody answers there any more.
func (p *passage) place(ctx context.Context) *ticket {
	place := p.q.limits.admitWait(ctx, p.key, p.q.passageBound(ctx, p), placePatience)
	if place == nil {
		return nil
	}
	if _, dead := p.q.limits.dead(p.key, time.Time{}); dead {
		p.q.limits.giveBack(place)
		return nil
	}
	return place
}

// hand is the delivery.
func (p *passage) hand(ctx context.Context, place *ticket, t *tape) []transport.Status {
	if place == nil {
		return transport.All(len(p.to), transport.NewStatus(transport.Deferred, "4.4.5", "The next hop is busy"))
	}
	req := &transport.Request{Envelope: p.e, Host: p.host, Recipients: p.to, Body: t, Log: p.q.cfg.Log.With("id", p.e.ID)}
	return guarded(ctx, p.via.Transport, req)
}

// leave gives the place back, and lets the destination's window learn.
func (p *passage) leave(place *ticket, statuses []transport.Status) {
	if place != nil {
		p.q.limits.done(place, statuses)
	}
}

// passageBound is what the next hop may get.
func (q *Queue) passageBound(ctx context.Context, p *passage) bound {
	b := bound{limit: p.via.Concurrency, rank: p.e.Arrival.UnixNano() - int64(p.prio)*int64(sched.AgePoint)}
	if planner := q.wiring.Load().Planner; planner != nil {
		plan, err := planner.Plan(ctx, p.asked, Decision{Mailer: p.name, Host: p.host, User: p.to[0].User, Priority: p.prio}, nil)
		if err == nil {
			b.rate = plan.Rate
			if plan.Concurrency > 0 {
				b.limit = plan.Concurrency
			}
		}
	}
	if b.limit <= 0 {
		b.limit = DefaultConcurrency
	}
	return b
}

// finish writes the end to the tape when the message is whole and nobody objects to it.
func (p *passage) finish(t *tape, in *intake, err error, opt Options) error {
	if err == nil && in.last != '\n' && in.size > 0 {
		_, err = t.Write([]byte("\n"))
	}
	if err == nil && opt.Whole != nil {
		err = opt.Whole(in.size)
	}
	if err == nil && opt.Hold != nil && opt.Hold() {
		err = errHeld
	}
	t.end(err)
	return err
}

// passOn tries cut-through. ok false means that nothing happened yet.
func (q *Queue) passOn(ctx context.Context, e *envelope.Envelope, header *envelope.Header, body io.Reader, opt Options) (receipt Receipt, err error, ok bool) {
	p := q.passage(ctx, e, header)
	if p == nil {
		return Receipt{}, nil, false
	}
	e.ID = q.spool.NewID()
	t := newTape(q.spool.Dir(), q.tapes.Get().(*[tapeMemory]byte), func(buf *[tapeMemory]byte) { q.tapes.Put(buf) })
	defer t.Close()
	if _, err := io.WriteString(t, received(e, e.ID, q.cfg.Host)); err != nil {
		return Receipt{}, err, true
	}
	start := time.Now()
	statuses, err := p.run(ctx, body, t, opt)
	if err != nil && !errors.Is(err, errHeld) {
		return Receipt{}, err, true
	}
	took := time.Since(start)
	if err != nil {
		statuses = transport.All(len(p.to), transport.Status{}) // held: everybody still has to get it
	}
	var rest []envelope.Recipient
	failed := 0
	for i, s := range statuses {
		switch s.Outcome() {
		case transport.Failed:
			failed++
			fallthrough
		case transport.Deferred:
			rest = append(rest, e.Recipients[i])
		}
	}
	if failed == len(statuses) && failed > 0 {
		// RFC 5321 3.6.2: the client itself is told, and nobody has to be sent a notice.
		return Receipt{}, &RefusedError{statuses[0]}, true
	}
	q.cfg.Mail.Accepted(Accepted{ID: e.ID, Envelope: e, Size: t.Size(), MessageID: header.Value("Message-Id"), Given: t.Size()})
	for i, s := range statuses {
		if s.Outcome() == transport.Relayed || s.Outcome() == transport.Delivered || s.Outcome() == transport.Discarded {
			q.cfg.Mail.Tried(Tried{
				ID: e.ID, To: e.Recipients[i].Name(), Orig: e.Recipients[i], Mailer: p.name, Host: p.host, Size: t.Size(), Priority: p.prio, Rcpts: len(statuses),
				Status: s, Final: true, Age: q.cfg.Now().Sub(e.Arrival), Took: took,
			})
		}
	}
	receipt = Receipt{ID: e.ID, Size: t.Size()}
	if len(rest) == 0 {
		return receipt, nil, true
	}
	m, err := q.keep(e, rest, t)
	if err != nil {
		// Some recipients have it and the client will send it again: twice is better than not at all.
		return Receipt{}, err, true
	}
	if opt.Hold != nil && opt.Hold() {
		return receipt, errors.Join(hold(m, opt), m.Close()), true
	}
	q.first(ctx, m, opt, &receipt)
	return receipt, nil, true
}

// keep commits what is on the tape to the spool, for the recipients that did not get it.
func (q *Queue) keep(e *envelope.Envelope, rest []envelope.Recipient, t *tape) (*spool.Message, error) {
	env := *e
	env.Recipients = rest
	d, err := q.spool.Create(&env)
	if err != nil {
		return nil, err
	}
	r, err := t.Open()
	if err != nil {
		d.Abort()
		return nil, err
	}
	defer r.Close()
	if _, err := io.Copy(d, struct{ io.Reader }{r}); err != nil && !errors.Is(err, errHeld) {
		d.Abort()
		return nil, err
	}
	return d.Commit()
}
