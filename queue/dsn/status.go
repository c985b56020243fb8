package dsn

import (
	"fmt"
	"strings"
	"time"

	"waybill/transport"
	"waybill/transport/envelope"
)

// status writes the message/delivery-status (RFC 3464): the fields about the message, and after an empty line each the
// fields about the recipients.
func (c Composer) status(n Notice) string {
	var b strings.Builder
	line := asciiLine
	if n.Envelope.SMTPUTF8 {
		line = oneLine
	}
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, line(value))
		}
	}
	env := n.Envelope
	field("Original-Envelope-Id", decodeXtext(env.EnvID)) // RFC 3464 2.2.1
	field("Reporting-MTA", "dns; "+c.Host)                // 2.2.2
	if o := env.Origin; o.ClientName != "" && o.ClientAddr != "" {
		field("Received-From-MTA", "dns; "+o.ClientName) // 2.2.4
	}
	field("Arrival-Date", date(env.Arrival)) // 2.2.5
	for _, r := range n.Recipients {
		b.WriteByte('\n')
		field("Original-Recipient", originalRecipient(r.Orig.ORcpt, n.Envelope.SMTPUTF8)) // 2.3.1
		field("Final-Recipient", typedAddress(c.named(r), n.Envelope.SMTPUTF8))           // 2.3.2
		if became, expanded := shownActual(n, r); expanded {
			field("X-Actual-Recipient", actual(became, n.Envelope.SMTPUTF8))
		}
		field("Action", r.action(n.Kind))  // 2.3.3
		field("Status", c.code(n.Kind, r)) // 2.3.4
		if remote, _, _ := strings.Cut(r.Status.Remote, " "); remote != "" {
			field("Remote-MTA", "dns; "+remote) // 2.3.5
		}
		field("Diagnostic-Code", diagnostic(n.Kind, r.Status)) // 2.3.6
		field("Last-Attempt-Date", date(r.LastAttempt))        // 2.3.7
		field("Final-Log-Id", n.Envelope.ID)                   // 2.3.8
		if n.Kind == Delay {
			field("Will-Retry-Until", date(r.RetryUntil)) // 2.3.9
		}
	}
	return b.String()
}

// named is the recipient as the sender named it, with our host where it has none.
func (c Composer) named(r Recipient) string {
	if r.Orig.Addr == "" { // an alias of ours for a program or a file: the sender never named it, but somebody must be named
		return oneLine(r.Orig.Name())
	}
	return qualified(envelope.Address(strings.TrimPrefix(string(r.Orig.Addr), envelope.NoAlias)), c.Host)
}

// shownActual tells what the recipient was expanded to, if that may be shown: programs and files of this host are not
// the business of a sender elsewhere.
func shownActual(n Notice, r Recipient) (name string, expanded bool) {
	if r.Actual == "" || r.Actual == r.Orig.Name() {
		return "", false
	}
	if inside := strings.HasPrefix(r.Actual, "|") || strings.HasPrefix(r.Actual, "/"); inside && n.Envelope.Origin.UID < 0 {
		return "", false
	}
	return r.Actual, true
}

// actual types what an address was expanded to, in sendmail's words.
func actual(name string, utf8 bool) string {
	if strings.HasPrefix(name, "|") || strings.HasPrefix(name, "/") {
		return "X-Unix; " + name
	}
	return typedAddress(name, utf8)
}

// action is sendmail's form for a recipient that became several, and the plain word for all others.
func (r Recipient) action(k Kind) string {
	switch {
	case k == Success && r.Grown == ToAlias:
		return "expanded (to multi-recipient alias)"
	case k == Success && r.Grown == ToList:
		return "delivered (to mailing list)"
	}
	return action(k, r.Status)
}

// statusType is the media type of the status fields: that of RFC 6533 4 for a message with addresses beyond US-ASCII.
func statusType(n Notice) string {
	if n.Envelope.SMTPUTF8 {
		return "message/global-delivery-status"
	}
	return "message/delivery-status"
}

func action(k Kind, s transport.Status) string {
	switch {
	case k == Delay:
		return "delayed"
	case k == Success && s.Outcome() == transport.Relayed:
		return "relayed"
	case k == Success:
		return "delivered"
	}
	return "failed"
}

// code is the status code; sendmail's for "delivered" says that the address was good (RFC 3463 3.2).
func (c Composer) code(k Kind, r Recipient) string {
	if s := code(k, r); !c.Bare || k != Success || s != "2.0.0" || r.Early || r.Status.Plain {
		return s
	}
	return "2.1.5"
}

// code is the status code. A recipient whose time ran out has 4.4.7 (RFC 3463 3.5), as with sendmail: it is the one
// failure that another try may not meet.
func code(k Kind, r Recipient) string {
	if k != Success && k != Delay && r.Expired {
		return "4.4.7"
	}
	return r.Status.Code()
}

// diagnostic is the other host's reply word for word, or our own reason under a type of our own.
func diagnostic(k Kind, s transport.Status) string {
	switch {
	case s.Reply != "" && s.Diagnostic != "":
		return s.Diagnostic + "; " + s.Reply
	case s.Reply != "":
		return "smtp; " + s.Reply
	case k != Success:
		return "x-waybill; " + s.Text()
	}
	return ""
}

// date is empty for the zero time.
func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(dateForm)
}
