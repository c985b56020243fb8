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
	receipt, err := q.post(ctx, q.wiring.Load().Notifier, n)
	if err == nil {
		q.cfg.Mail.Noticed(Noticed{ID: id, New: receipt.ID, Kind: n.Kind, Cause: n.Recipients[0].Status.Text()})
	}
	return err
}

// post composes a notice and accepts it, and the copy of it that a Copier makes: one that fails is only lost.
func (q *Queue) post(ctx context.Context, by Notifier, n dsn.Notice) (Receipt, error) {
	msg, err := by.Compose(n)
	if err != nil {
		return Receipt{}, err
	}
	receipt, err := q.acceptMessage(ctx, msg)
	if err != nil {
		return receipt, err
	}
	if c, ok := by.(Copier); ok {
		copied, wanted, err := c.Copy(n)
		if wanted && err == nil {
			_, err = q.acceptMessage(ctx, copied)
		}
		if err != nil {
			q.cfg.Log.Error("the copy of a notice cannot be written", "id", receipt.ID, "err", err)
		}
	}
	return receipt, nil
}

func (q *Queue) acceptMessage(ctx context.Context, m dsn.Message) (Receipt, error) {
	body, err := m.Body.Open()
	if err != nil {
		return Receipt{}, err
	}
	defer body.Close()
	return q.acceptNotice(ctx, m.Envelope, body)
}
