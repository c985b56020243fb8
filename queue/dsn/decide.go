// Package dsn writes the notices that tell a sender what became of a message (RFC 3461 to 3464): a failure (bounce),
// a delay, a success. In flow the envelope, the message and what happened to its recipients; out comes a new message
// from the null sender, a multipart/report with a text for people in the words of sendmail, a message/delivery-status
// for programs, and the message or its header. Which notice is due is decided by Due, a function without side
// effects. The returned message is a stream and never held in memory.
package dsn

import (
	"time"

	"waybill/transport"
	"waybill/transport/envelope"
)

// Kind is the kind of a notice.
type Kind uint8

const (
	None    Kind = iota // nobody is told
	Failure             // to the sender: this will not be delivered
	Delay               // to the sender: not delivered yet, still trying
	Success             // to the sender: delivered, or handed to a host that sends no notices
	Double              // to the postmaster: a message without a sender, such as a notice, failed
)

var kindWords = [...]string{"none", "failure", "delay", "success", "double bounce"}

func (k Kind) String() string { return kindWords[k] }

// Event is what happened to one recipient in an attempt, or the end of its time in the queue.
type Event struct {
	Sender     envelope.Address
	Notify     envelope.Notify
	Status     transport.Status
	Age        time.Duration // since the message arrived
	WarnAfter  time.Duration // age at which the sender is warned; 0: never
	Warned     bool          // a warning for this recipient was sent before
	Trace      bool          // the sender wants to hear when the message is relayed (RFC 2852 4.1)
	Postmaster bool          // the recipient is the postmaster to whom double bounces go
}

// Due tells which notice e is a reason for. The rules, in order:
//   - A message from the null sender is never answered (RFC 5321 6.1). If it fails, the postmaster is told, unless the
//     postmaster was its recipient.
//   - NOTIFY=NEVER silences everything to the sender (RFC 3461 4.1).
//   - A failure is told unless NOTIFY leaves it out.
//   - A delay is told once, when the message is old enough, unless NOTIFY leaves it out.
//   - A delivery is told only if NOTIFY asks for it, and a relayed message only if the next hop did not take over that
//     duty (RFC 3461 5.2.2).
//   - A message that a rule threw away is not spoken of.
func Due(e Event) Kind {
	failed := e.Status.Outcome() == transport.Failed
	switch {
	case e.Sender.Null() && failed && !e.Postmaster:
		return Double
	case e.Sender.Null(), e.Notify&envelope.NotifyNever != 0:
		return None
	case failed && e.Notify.WantsFailure():
		return Failure
	}
	switch e.Status.Outcome() {
	case transport.Deferred:
		if e.Notify.WantsDelay() && !e.Warned && e.WarnAfter > 0 && e.Age >= e.WarnAfter {
			return Delay
		}
	case transport.Delivered:
		if e.Notify.WantsSuccess() {
			return Success
		}
	case transport.Relayed:
		if e.Notify.WantsSuccess() && !e.Status.DSN || e.Trace {
			return Success
		}
	}
	return None
}

// ReceiptAsked reports whether the message asks for a receipt in its header (Return-Receipt-To). The receipt goes to
// the envelope sender all the same, so that nobody can have strangers flooded with receipts.
func ReceiptAsked(h *envelope.Header) bool {
	v, ok := h.Get("Return-Receipt-To")
	return ok && v != ""
}

// WithReceipt returns n with success added, and without change where the sender forbade all notices. The default set
// stays in force beside it.
func WithReceipt(n envelope.Notify) envelope.Notify {
	switch {
	case n&envelope.NotifyNever != 0:
		return n
	case n == 0:
		n = envelope.NotifyFailure | envelope.NotifyDelay
	}
	return n | envelope.NotifySuccess
}

// WithoutSuccess returns n for the members of an alias: what n says, but for success (RFC 3461 5.2.7.2).
func WithoutSuccess(n envelope.Notify) envelope.Notify {
	if !n.WantsSuccess() {
		return n
	}
	if n &^= envelope.NotifySuccess; n == 0 {
		return envelope.NotifyNever
	}
	return n
}

// returnsBody tells whether a notice of this kind carries the whole message. RET speaks of failures only; the other
// notices return the header (RFC 3461 4.3). Mass mail is not sent back whole.
func returnsBody(k Kind, ret envelope.Ret, precedence string, size, limit int64) bool {
	if k != Failure && k != Double || ret == envelope.RetHeaders || bulk(precedence) {
		return false
	}
	return size >= 0 && size <= limit
}
