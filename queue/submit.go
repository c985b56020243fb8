package queue

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"waybill/queue/dsn"
	"waybill/queue/spool"
	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// Local clears what a program on this host cannot claim: that it came by an authenticated or encrypted connection from
// somewhere. The uid was set by whoever asked the kernel.
func Local(e *envelope.Envelope) {
	e.Origin = envelope.Origin{Protocol: e.Origin.Protocol, Helo: firstOf(e.Origin.Helo, strings.TrimPrefix(e.Origin.ClientName, "localhost")), User: e.Origin.User, UID: e.Origin.UID}
	if e.Origin.Protocol == "" {
		e.Origin.Protocol = "local"
	}
	if e.For == envelope.Listed {
		e.For = envelope.Nobody
	}
}

// returned tells the sender that a dropped message could not be accepted.
func (q *Queue) returned(ctx context.Context, d *spool.Dropped, s transport.Status) error {
	if s.Outcome() != transport.Failed || d.Envelope.Sender.Null() {
		q.cfg.Log.Error("a dropped message was refused and has no sender", "id", d.Envelope.ID, "code", s.Code(), "reason", s.Text())
		return q.spool.SetDropAside(d.Envelope.ID, errors.New(s.Text()))
	}
	n := dsn.Notice{Kind: dsn.Failure, Envelope: d.Envelope, Body: dropBody{d}, Time: q.cfg.Now()}
	for _, r := range d.Envelope.Recipients {
		n.Recipients = append(n.Recipients, dsn.Recipient{Orig: r, Status: s})
	}
	return q.sendNotice(ctx, d.Envelope.ID, n)
}

type dropBody struct{ d *spool.Dropped }

func (b dropBody) Open() (io.ReadCloser, error) { return io.NopCloser(b.d.Body()), nil }
func (b dropBody) Size() int64                  { return b.d.Size() }

// Deliver tries the message with this id once, now, and tells what became of each recipient of its envelope. It finds
// dropped messages, too. Errors: spool.ErrGone, spool.ErrBusy and what the disk says.
func (q *Queue) Deliver(ctx context.Context, id string, verbose func(line string)) ([]transport.Status, error) {
	if !q.begin() {
		return nil, errClosing
	}
	defer q.work.Done()
	receipt, err := q.takeDrop(ctx, id, Options{Quiet: true})
	if err == nil {
		id = receipt.ID
	} else if !errors.Is(err, spool.ErrGone) {
		return nil, err
	}
	h := how{forced: true, keep: true, waited: true, verbose: verbose}
	if err := q.again(ctx, schedID(id), &h); err != nil {
		return nil, err
	}
	return h.statuses, nil
}

// Verify tells what would become of a recipient, without a message: Delivered or Relayed with the decision, Failed for
// a user who does not exist or whom the rules refuse, Deferred when that cannot be said now. No name server is asked
// for what the rules themselves do not ask.
func (q *Queue) Verify(ctx context.Context, e *envelope.Envelope, r envelope.Recipient) (Decision, transport.Status) {
	d, _, status := q.Look(ctx, e, r, nil)
	return d, status
}

// Look is Verify that also returns what a local user stands for; the zero Expansion where the status is another than
// Delivered. names, if not nil, is asked in place of the queue's Expander.
func (q *Queue) Look(ctx context.Context, e *envelope.Envelope, r envelope.Recipient, names Expander) (Decision, Expansion, transport.Status) {
	if err := checkEnvelope(&envelope.Envelope{Sender: e.Sender, Recipients: []envelope.Recipient{r}}); err != nil {
		var refused *RefusedError
		errors.As(err, &refused)
		return Decision{}, Expansion{}, refused.Status
	}
	w := q.wiring.Load()
	d, err := w.Router.Route(ctx, Question{
		Recipient: r.Addr, Sender: e.Sender, Origin: e.Origin, Size: -1, Priority: e.Priority, Arrival: q.cfg.Now(), Asked: e.When,
		Header: func(string) string { return "" },
	})
	if err != nil {
		q.cfg.Log.Warn("the rules could not decide now", "to", r.Name(), "err", err)
		return d, Expansion{}, transport.NewStatus(transport.Deferred, "4.3.0", "Temporary lookup failure")
	}
	if d.Refused != nil {
		return d, Expansion{}, *d.Refused
	}
	via, ok := w.Mailers[d.Mailer]
	if !ok {
		q.cfg.Log.Error("the rules name a transport that is not there", "to", r.Name(), "transport", d.Mailer)
		return d, Expansion{}, transport.NewStatus(transport.Deferred, "4.3.5", "The transport "+d.Mailer+" is not configured")
	}
	if !via.Local {
		return d, Expansion{}, transport.NewStatus(transport.Relayed, "2.1.5", "deliverable")
	}
	if names == nil {
		names = w.Expander
	}
	x, err := names.Expand(ctx, LocalUser{Name: d.User, Sender: e.Sender, Host: d.Host})
	switch {
	case err != nil:
		q.cfg.Log.Warn("a local user cannot be looked up now", "to", r.Name(), "err", err)
		return d, Expansion{}, transport.NewStatus(transport.Deferred, "4.3.0", "Temporary failure looking up the user")
	case x.Status != nil:
		return d, Expansion{}, *x.Status
	}
	return d, x, transport.NewStatus(transport.Delivered, "2.1.5", "deliverable")
}

// Submit takes a message of a local program: recipients that Verify finds to be wrong are refused before anything is
// accepted, the others are accepted and, for envelope.WhenNow, tried at once. It is what a spool.Handler needs.
func (q *Queue) Submit(ctx context.Context, e *envelope.Envelope, body io.Reader, verbose func(string)) (spool.Reply, error) {
	var reply spool.Reply
	good := *e
	good.Recipients = nil
	Local(&good)
	for i, r := range e.Recipients {
		if _, s := q.Verify(ctx, &good, r); !e.Anyway && s.Outcome() == transport.Failed {
			reply.Refused = append(reply.Refused, spool.Refusal{Index: i, Code: s.Code(), Text: s.Text()})
			reply.Exit = ExitOf(s)
			continue
		}
		good.Recipients = append(good.Recipients, r)
	}
	if len(good.Recipients) == 0 {
		if len(e.Recipients) == 0 {
			return reply, &spool.RefusedError{Exit: 64, Text: "No recipients"}
		}
		_, err := io.Copy(io.Discard, body)
		return reply, err
	}
	return q.take(ctx, &good, body, Options{Verbose: verbose}, reply)
}

// Take is Submit for recipients that Look has found nothing wrong with, or, with vouch (Options.Vouch), is just looking at.
func (q *Queue) Take(ctx context.Context, e *envelope.Envelope, body io.Reader, verbose func(string), vouch func() error) (spool.Reply, error) {
	good := *e
	Local(&good)
	return q.take(ctx, &good, body, Options{Verbose: verbose, Vouch: vouch}, spool.Reply{})
}

// take accepts a message and completes what its front end is told.
func (q *Queue) take(ctx context.Context, good *envelope.Envelope, body io.Reader, opt Options, reply spool.Reply) (spool.Reply, error) {
	opt.Known, opt.Later = good.ID != "", true
	receipt, err := q.Accept(ctx, good, body, opt)
	var refused *RefusedError
	if errors.As(err, &refused) {
		return reply, &spool.RefusedError{Exit: ExitOf(refused.Status), Text: refused.Error()}
	}
	if err != nil {
		return reply, err
	}
	reply.ID, reply.Begin = receipt.ID, receipt.Begin
	worst := -1 // local mailers come first, and the first that fails decides
	for i, s := range receipt.Statuses {
		if q.cfg.BareOwners && s.Code() == "5.4.7" {
			continue // its time is over: sendmail says nothing
		}
		if s.Outcome() == transport.Failed && (worst < 0 || receipt.Statuses[worst].Remote != "" && s.Remote == "") {
			worst = i
		}
	}
	for i, s := range receipt.Statuses {
		if n, err := strconv.Atoi(s.Reply); q.cfg.BareOwners && s.Outcome() == transport.Deferred && s.Diagnostic == "x-unix" && err == nil && n != sysexits.TempFail && reply.Exit == 0 {
			reply.Exit = n // a program that failed for now with another status than 75: sendmail passes it on
		}
		if i != worst {
			continue
		}
		// Not a refusal: the message was accepted, and its sender has a bounce already.
		if s.Outcome() == transport.Failed {
			reply.Exit, reply.Untold = ExitOf(s), receipt.Untold
		}
	}
	return reply, nil
}
