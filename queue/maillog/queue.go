package maillog

import (
	"waybill/queue"
	"waybill/queue/dsn"
	"waybill/transport"
)

var _ queue.Logger = (*Log)(nil)

// Accepted logs that the queue has a message safe.
func (l *Log) Accepted(a queue.Accepted) {
	if l.classic != nil {
		l.classicFrom(a)
		return
	}
	env := *a.Envelope
	env.ID = a.ID
	l.From(From{Envelope: &env, Size: a.Size, MessageID: a.MessageID})
}

// Tried logs what became of a recipient in an attempt.
func (l *Log) Tried(t queue.Tried) {
	if l.classic != nil {
		l.classicTo(t)
		return
	}
	to := To{
		ID: t.ID, Recipients: []string{t.To},
		Delay: t.Age, XDelay: t.Took,
		Mailer: t.Mailer, Priority: queue.DefaultWeights().Job(t.Size, t.Priority, t.Rcpts, t.Attempts),
		Relay: t.Host, Status: t.Status,
	}
	if orig := t.Orig.Name(); orig != t.To && orig != "" {
		to.Control = bracketed(orig)
	}
	if t.As != "" {
		if to.Control != "" {
			to.Control += " "
		}
		to.Control += "(" + t.As + ")"
	}
	if t.Expanded {
		to.stat = "expanded"
	}
	l.To(to)
}

// Noticed logs that somebody was told. The words are sendmail's.
func (l *Log) Noticed(n queue.Noticed) {
	word := map[dsn.Kind]string{dsn.Failure: "DSN", dsn.Delay: "sender notify", dsn.Success: "DSN", dsn.Double: "postmaster notify"}[n.Kind]
	if word == "" {
		word = n.Kind.String()
	}
	if l.classic != nil && n.Status.Outcome() == transport.Failed && n.About == "" {
		_, n.Cause = classicStat(n.Status)
	}
	if l.classic != nil && n.About != "" {
		n.Cause = n.About
	}
	text := word + ": " + n.Cause
	if n.New != "" {
		text = n.New + ": " + text
	} else {
		text = "no notice: " + text
	}
	l.Line(n.ID, text)
}

// Removed logs that an operator took a message away.
func (l *Log) Removed(r queue.Removed) {
	l.Line(r.ID, "removed by "+r.By)
}
