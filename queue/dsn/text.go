package dsn

import (
	"fmt"
	"mime"
	"strings"

	"waybill/transport"
)

// maxShown bounds how many recipients the text for people names one by one. The status fields have them all.
const maxShown = 100

// text writes the part that people read. First in plain words what happened, to whom, what the other host said and
// what can be done; then the same in the form of sendmail, which programs that read bounces know.
func (c Composer) text(n Notice, subject string) string {
	var b strings.Builder
	shown := n.Recipients[:min(len(n.Recipients), maxShown)]

	if n.Kind == Delay {
		b.WriteString(warningBox)
	}
	fmt.Fprintf(&b, "This is the mail system at %s.\n\n", c.Host)
	what := "Your message"
	if n.Kind == Double {
		what = "A message without a sender (mostly a notice like this one)"
	}
	if subject != "" {
		what += fmt.Sprintf(" \"%s\"", subject)
	}
	switch n.Kind {
	case Delay:
		fmt.Fprintf(&b, "%s\nhas not been delivered yet:\n\n", what)
	case Success:
		fmt.Fprintf(&b, "%s\nhas arrived:\n\n", what)
	default:
		fmt.Fprintf(&b, "%s\ncould not be delivered, and will not be tried again:\n\n", what)
	}
	for _, r := range shown {
		c.explain(&b, n, r)
	}
	if more := len(n.Recipients) - len(shown); more > 0 {
		fmt.Fprintf(&b, "  and %d more, which the second part of this message lists.\n\n", more)
	}

	fmt.Fprintf(&b, "The original message was received at %s\n", n.Envelope.Arrival.Format(dateForm))
	fmt.Fprintf(&b, "from %s\n\n", c.origin(n))
	switch n.Kind {
	case Delay:
		b.WriteString("   ----- The following addresses had transient non-fatal errors -----\n")
	case Success:
		b.WriteString("   ----- The following addresses had successful delivery notifications -----\n")
	default:
		b.WriteString("   ----- The following addresses had permanent fatal errors -----\n")
	}
	for _, r := range shown {
		became, expanded := shownActual(n, r)
		switch {
		case !expanded:
			fmt.Fprintf(&b, "<%s>", c.named(r))
		case strings.HasPrefix(became, "|"):
			fmt.Fprintf(&b, "%q", oneLine(became))
		default:
			fmt.Fprintf(&b, "<%s>", oneLine(became))
		}
		if n.Kind == Success {
			fmt.Fprintf(&b, "  (%s)", r.arrived())
		}
		b.WriteByte('\n')
		if n.Kind != Success {
			fmt.Fprintf(&b, "    (reason: %s)\n", oneLine(reason(r.Status)))
		}
		if expanded {
			fmt.Fprintf(&b, "    (expanded from: <%s>)\n", c.named(r))
		}
	}
	b.WriteString("\n   ----- Transcript of session follows -----\n")
	c.transcript(&b, n, shown)
	return b.String()
}

const warningBox = `    **********************************************
    **      THIS IS A WARNING MESSAGE ONLY      **
    **  YOU DO NOT NEED TO RESEND YOUR MESSAGE  **
    **********************************************

`

// explain tells in plain words what happened to one recipient.
func (c Composer) explain(b *strings.Builder, n Notice, r Recipient) {
	k := n.Kind
	fmt.Fprintf(b, "  %s\n", c.named(r))
	if became, expanded := shownActual(n, r); expanded { // the owner of a list must know whom it is about
		fmt.Fprintf(b, "      which leads to %s\n", oneLine(became))
	}
	line := func(form string, a ...any) { fmt.Fprintf(b, "      "+form+"\n", a...) }
	if k == Success {
		line("%s", strings.ToUpper(r.arrived()[:1])+r.arrived()[1:]+".")
		b.WriteByte('\n')
		return
	}
	what, remedy := meaning(code(k, r))
	if r.Expired && k != Delay {
		what = "It could not be delivered within " + period(r.Age) + "."
		remedy = "Send it again later, or tell the recipient in another way."
	}
	line("%s", what)
	switch {
	case said(r.Status) && r.Status.Remote != "":
		line("The host %s said: %s", oneLine(r.Status.Remote), oneLine(r.Status.Reply))
	case said(r.Status):
		line("The answer was: %s", oneLine(r.Status.Reply))
	default:
		line("The reason: %s", oneLine(r.Status.Text()))
	}
	if k == Delay {
		remedy = "You need not do anything."
		if !r.RetryUntil.IsZero() {
			remedy = "It will be tried again until " + r.RetryUntil.Format(dateForm) + ". You need not do anything."
		}
	}
	line("%s", remedy)
	b.WriteByte('\n')
}

// meaning says in plain words what a status code means, and what the sender can do (RFC 3463 3).
func meaning(code string) (what, remedy string) {
	_, detail, _ := strings.Cut(code, ".")
	subject, _, _ := strings.Cut(detail, ".")
	switch detail {
	case "1.1":
		return "There is no such user.", "Check the address for typing errors, or ask for the present one."
	case "1.2":
		return "The domain of this address does not exist.", "Check the part behind the @ for typing errors."
	case "1.10":
		return "This domain takes no mail at all.", "Ask the recipient for another address."
	case "2.1":
		return "The mailbox is closed.", "Ask the recipient for another address."
	case "2.2":
		return "The mailbox is full.", "Tell the recipient in another way, or try again later."
	case "2.3", "3.4":
		return "The message is too large.", "Send it in smaller parts, or hand over the data in another way."
	case "4.6":
		return "The message went round in a loop between mail hosts.", "Tell the postmaster of the recipient."
	case "4.7":
		return "It could not be delivered in time.", "Send it again later, or tell the recipient in another way."
	}
	switch subject {
	case "1":
		return "The address was not accepted.", "Check the address for typing errors."
	case "2":
		return "The mailbox does not accept the message.", "Tell the recipient in another way."
	case "3":
		return "The recipient's mail system is not able to accept the message.", "Try again later, or tell the recipient's postmaster."
	case "4":
		return "The recipient's mail system could not be reached.", "Try again later, or tell the recipient's postmaster."
	case "6":
		return "The recipient's mail system cannot handle what the message contains.", "Send it in another form, as plain text if possible."
	case "7":
		return "The recipient's mail system refuses the message.", "Ask the recipient, by another way, to tell their postmaster the lines below."
	}
	return "The message was not accepted.", "Ask the recipient, by another way, to tell their postmaster the lines below."
}

func (r Recipient) arrived() string {
	switch r.Grown {
	case ToAlias:
		return "expanded to several recipients, of whom you hear only if one of them does not get it"
	case ToList:
		return "handed to a mailing list, whose owner hears of trouble"
	}
	if r.Status.Outcome() == transport.Relayed {
		return "relayed to a host that sends no delivery notices" // RFC 3461 5.2.2
	}
	return "successfully delivered to mailbox"
}

// reason is the reply of the other host, or our own text.
func reason(s transport.Status) string {
	if said(s) {
		return s.Reply
	}
	return s.Code() + " " + s.Text()
}

// said reports whether the reply is one that people can read: the exit status of a program is not.
func said(s transport.Status) bool {
	return s.Reply != "" && !strings.EqualFold(s.Diagnostic, "x-unix")
}

// origin says from where the message came: "alice@mail.example.org" or "client.example [192.0.2.1]".
func (c Composer) origin(n Notice) string {
	o := n.Envelope.Origin
	switch {
	case o.ClientAddr != "" && o.ClientName != "" && o.ClientName != "["+o.ClientAddr+"]":
		return oneLine(o.ClientName + " [" + o.ClientAddr + "]")
	case o.ClientAddr != "":
		return oneLine("[" + o.ClientAddr + "]")
	case o.User != "":
		return oneLine(o.User + "@localhost")
	}
	return "localhost"
}

// transcript shows what was said, in sendmail's form: the lines that the delivery recorded, or else what the statuses
// tell of them.
func (c Composer) transcript(b *strings.Builder, n Notice, shown []Recipient) {
	for _, l := range n.Transcript {
		b.WriteString(oneLine(l) + "\n")
	}
	talking := ""
	for _, r := range shown {
		s := r.Status
		if len(n.Transcript) == 0 && said(s) {
			if remote := oneLine(s.Remote); remote != "" && remote != talking {
				fmt.Fprintf(b, "... while talking to %s:\n", remote)
				talking = remote
			}
			fmt.Fprintf(b, "<<< %s\n", oneLine(s.Reply))
		}
		switch {
		case r.Grown != Single:
			fmt.Fprintf(b, "<%s>... %s\n", c.named(r), r.arrived())
		case n.Kind == Success && s.Outcome() == transport.Relayed:
			fmt.Fprintf(b, "<%s>... relayed; expect no further notifications\n", c.named(r))
		case n.Kind == Success:
			fmt.Fprintf(b, "<%s>... Successfully delivered\n", c.named(r))
		case n.Kind == Delay || r.Expired:
			fmt.Fprintf(b, "<%s>... Deferred: %s\n", c.named(r), oneLine(s.Text()))
		default:
			fmt.Fprintf(b, "%s %s <%s>... %s\n", class(s), s.Code(), c.named(r), oneLine(s.Text()))
		}
	}
	switch age := oldest(shown); {
	case n.Kind == Delay:
		fmt.Fprintf(b, "Warning: message still undelivered after %s\n", period(age))
		if until := shown[0].RetryUntil; !until.IsZero() {
			fmt.Fprintf(b, "Will keep trying until message is %s old\n", period(until.Sub(n.Envelope.Arrival)))
		}
	case n.Kind != Success && shown[0].Expired:
		fmt.Fprintf(b, "Message could not be delivered for %s\nMessage will be deleted from queue\n", period(age))
	}
}

// class is the three-digit code of an SMTP reply that goes with a status: the one that the other host gave, or the
// one that sendmail would show.
func class(s transport.Status) string {
	if r := s.Reply; len(r) > 3 && r[0] == '5' && strings.Trim(r[:3], "0123456789") == "" {
		return r[:3]
	}
	switch s.Code() {
	case "5.1.1", "5.1.2", "5.1.3":
		return "550"
	case "5.2.2":
		return "552"
	}
	return "554"
}

// subjectOf decodes a Subject field for people; a long one is cut.
func subjectOf(field string) string {
	text, err := new(mime.WordDecoder).DecodeHeader(field) // RFC 2047
	if err != nil {
		text = field
	}
	text = oneLine(text)
	if runes := []rune(text); len(runes) > 60 {
		text = string(runes[:57]) + "..."
	}
	return text
}
