package queue

import (
	"context"

	"waybill/queue/dsn"
	"waybill/transport"
	"waybill/transport/envelope"
)

// Return tells the sender of a message why nothing of it was accepted, and the postmaster where it has none, as after a
// delivery: statuses belong to the recipients of e. text is what is returned of the message; the Received line is put on top.
func (q *Queue) Return(ctx context.Context, e *envelope.Envelope, text string, statuses []transport.Status) error {
	env := *e
	Local(&env)
	if env.Arrival.IsZero() {
		env.Arrival = q.cfg.Now()
	}
	n := dsn.Notice{Envelope: &env, Body: envelope.BytesBody(received(&env, env.ID, q.cfg.Host) + text), Time: q.cfg.Now()}
	for i, s := range statuses {
		kind := dsn.Due(dsn.Event{Sender: env.Sender, Notify: env.Recipients[i].Notify, Status: s, Postmaster: q.cfg.NoDouble})
		if kind != dsn.None {
			n.Kind = kind
			n.Recipients = append(n.Recipients, dsn.Recipient{Orig: env.Recipients[i], Status: s, LastAttempt: n.Time})
		}
	}
	if len(n.Recipients) == 0 {
		return nil
	}
	return q.sendNotice(ctx, env.ID, n)
}

// sendNotice accepts a notice about the message id, which the log then has.
func (q *Queue) sendNotice(ctx context.Context, id string, n dsn.Notice) error {
	msg, err := q.wiring.Load().Notifier.Compose(n)
	if err != nil {
		return err
	}
	body, err := msg.Body.Open()
	if err != nil {
		return err
	}
	defer body.Close()
	receipt, err := q.acceptNotice(ctx, msg.Envelope, body)
	if err == nil {
		q.cfg.Mail.Noticed(Noticed{ID: id, New: receipt.ID, Kind: n.Kind, Cause: n.Recipients[0].Status.Text()})
	}
	return err
}
