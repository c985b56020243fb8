// Package transport says what it means to hand a message on, without knowing how: the Transport interface, the
// Request that goes in, and the Status per recipient that comes out. The concrete transports live in the packages
// below this one and do not know each other.
package transport

import (
	"context"
	"log/slog"

	"waybill/transport/envelope"
)

// Recipient is one recipient as the next hop knows it: the user of the routing decision, and what came with it.
type Recipient struct {
	User   string             // the decision's user: a mailbox name for local mail, an address for SMTP
	Orig   envelope.Recipient // the recipient of the envelope: NOTIFY, ORCPT, and Command or File where set
	As     string             // login name with whose rights a program or a file is used; empty: the configured default
	Detail string             // the part behind "+" in the address, without the plus; empty when none
}

// Request is one message for one next hop. Transports do not change it.
type Request struct {
	Envelope   *envelope.Envelope // id, sender, body type, RET, ENVID; its Recipients are not used here
	Host       string             // the decision's host: a domain, "[address]", a UUCP site; empty for local transports
	Recipients []Recipient
	Body       envelope.Body
	Log        *slog.Logger
	// Verbose, if not nil, gets each line of the dialogue for a user who asked to watch (sendmail -v), without line end.
	Verbose func(line string)
}

// Transport delivers messages. An implementation is safe for concurrent use.
type Transport interface {
	// Deliver tries once and returns exactly one Status per element of req.Recipients, in order. It never returns
	// before the outcome is known or has become temporary: when ctx ends, what is still open is Deferred. A
	// Delivered or Relayed status means that the message is safe where it went (on stable storage here, or
	// accepted by the next hop).
	Deliver(ctx context.Context, req *Request) []Status
}

// All returns n times the same status: an outcome that holds for every recipient.
func All(n int, s Status) []Status {
	statuses := make([]Status, n)
	for i := range statuses {
		statuses[i] = s
	}
	return statuses
}
