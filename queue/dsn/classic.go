package dsn

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// Classic writes notices word for word as sendmail does, for a site with a sendmail.cf: programs that read bounces were
// written for these.
type Classic struct {
	Composer
	// Head writes the header section of the message as the notice returns it; nil: as it is.
	Head func(e *envelope.Envelope, h *envelope.Header) []byte
	// Note are lines for people behind the first words of a notice (sendmail's ErrorHeader).
	Note []string
	// NoActual leaves out who a recipient has become (X-Actual-Recipient).
	NoActual bool
	// Given is the size that sendmail has of a message that came in with given octets; nil: that.
	Given func(n Notice, h *envelope.Header, given int64) int64
	// Words is a name of this host as sendmail passes it on, with BlankSub between words; nil: as it is.
	Words func(name string) string
	// LocalType is the kind of the codes of the local mailer; empty: X-Unix.
	LocalType string
}

// Compose writes the notice. Where the message goes and how it is returned is as with a Composer.
func (c Classic) Compose(n Notice) (Message, error) {
	p, err := c.begin(n)
	if err != nil {
		return Message{}, err
	}
	back := p.back
	var b strings.Builder
	b.WriteString(c.header(n, p.to, back))
	fmt.Fprintf(&b, "\nThis is a MIME-encapsulated message\n\n--%s\n\n", back.boundary)
	c.text(&b, n)
	fmt.Fprintf(&b, "\n--%s\nContent-Type: message/delivery-status\n\n", back.boundary)
	c.status(&b, n)
	if back.part != nil {
		fmt.Fprintf(&b, "\n--%s\nContent-Type: %s\n", back.boundary, back.mediaType)
		if back.eightBit {
			b.WriteString("Content-Transfer-Encoding: 8bit\n")
		}
		b.WriteString("\n")
	}
	parts := chain{envelope.BytesBody(b.String())}
	if back.part != nil {
		parts = append(parts, c.rewritten(n, back))
	}
	p.also = n.Also
	m := p.message(n, append(parts, envelope.BytesBody("\n--"+back.boundary+"--\n\n")), back.eightBit)
	m.Envelope.For = envelope.Nobody
	// sendmail announces the size of the returned message and 1024 octets more.
	if c.Given != nil && back.whole && p.given > 0 {
		if h, err := envelope.HeaderOf(n.Body); err == nil {
			p.given = c.Given(n, h, p.given)
		}
	}
	if given := int64(1024) + p.given; back.whole && p.given > 0 {
		m.Envelope.Made = int(m.Body.Size() - given)
	} else {
		m.Envelope.Made = int(m.Body.Size())
	}
	return m, nil
}

// rewritten is the returned part with the header section that Head makes.
func (c Classic) rewritten(n Notice, back returned) envelope.Body {
	if c.Head == nil || n.Body == nil {
		return back.part
	}
	h, err := envelope.HeaderOf(n.Body)
	if err != nil {
		return back.part
	}
	head := c.Head(n.Envelope, h)
	if back.whole {
		return envelope.ReplaceHead(head, h.Octets, n.Body)
	}
	return envelope.BytesBody(strings.TrimSuffix(string(head), "\n"))
}

// About is what sendmail's log calls the notice, where that is not the failure of a recipient; empty: it is.
func (n Notice) About() string {
	switch last := n.Recipients[len(n.Recipients)-1]; {
	case n.Kind == Delay:
		return "Warning: could not send message for past " + period(n.Recipients[0].limit(n.Kind))
	case n.Kind == Success:
		return "Return receipt"
	case last.Expired:
		return "Cannot send message for " + period(last.limit(n.Kind))
	}
	return ""
}

// header has sendmail's order.
func (c Classic) header(n Notice, to envelope.Address, back returned) string {
	subject, auto := "Returned mail: see transcript for details", "failure"
	switch n.Kind {
	case Delay:
		subject, auto = "Warning: could not send message for past "+period(n.Recipients[0].limit(n.Kind)), "warning-timeout"
	case Success:
		subject, auto = "Return receipt", "return-receipt"
	case Double:
		subject, auto = "Postmaster notify: see transcript for details", "postmaster-notification"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Date: %s\n", n.Time.Format(dateForm))
	b.WriteString("From: Mail Delivery Subsystem <MAILER-DAEMON>\n")
	fmt.Fprintf(&b, "Message-Id: <%s.%s@%s>\n", n.Time.UTC().Format("200601021504"), c.token()[:16], c.Host)
	for _, to := range sendmailOrder(to, n.Also, n.Same) {
		name := string(to)
		if to == n.Envelope.Sender {
			name = n.given(name)
		}
		fmt.Fprintf(&b, "To: %s\n", name)
	}
	b.WriteString("MIME-Version: 1.0\n")
	fmt.Fprintf(&b, "Content-Type: multipart/report; report-type=delivery-status;\n\tboundary=\"%s\"\n", back.boundary)
	if back.eightBit {
		b.WriteString("Content-Transfer-Encoding: 8bit\n")
	}
	fmt.Fprintf(&b, "Subject: %s\n", subject)
	fmt.Fprintf(&b, "Auto-Submitted: auto-generated (%s)\n", auto) // RFC 3834 5
	return b.String()
}

// sendmailOrder has a sender behind the alias that leads to him.
func sendmailOrder(to envelope.Address, also []envelope.Address, same bool) []envelope.Address {
	all := append([]envelope.Address{to}, also...)
	if to.Domain() == "" && same {
		slices.Reverse(all)
	}
	return all
}

// status writes the part for programs (RFC 3464).
func (c Classic) status(b *strings.Builder, n Notice) {
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(b, "%s: %s\n", name, asciiLine(value))
		}
	}
	field("Original-Envelope-Id", decodeXtext(n.Envelope.EnvID))
	field("Reporting-MTA", "dns; "+c.Host)
	if o := n.Envelope.Origin; o.ClientName != "" && o.ClientAddr != "" {
		field("Received-From-MTA", "DNS; "+o.ClientName)
	}
	field("Arrival-Date", date(n.Envelope.Arrival))
	for _, r := range n.Recipients {
		if r.Grown == ToAlias && !r.Early { // sendmail says nothing more of it
			continue
		}
		b.WriteByte('\n')
		s := r.Status
		n := n
		if r.good() {
			n.Kind = Success
		}
		field("Original-Recipient", strings.Replace(originalRecipient(r.Orig.ORcpt, false), "; ", ";", 1))
		field("Final-Recipient", typedAddress(c.final(n, r), false))
		if !c.NoActual && !strings.HasPrefix(s.Text(), "buildaddr: ") { // the rules made nobody of it
			field("X-Actual-Recipient", c.actual(n, r))
		}
		action := action(n.Kind, s)
		switch {
		case r.Grown != Single:
			action = r.action(n.Kind)
		case n.Kind == Success && s.Outcome() == transport.Relayed:
			action += " (to non-DSN-aware mailer)"
		case n.Kind == Success:
			action += " (to mailbox)"
		}
		field("Action", action)
		code := c.code(n.Kind, r)
		if exit, ok := unix(s); ok && n.Kind != Success && n.Kind != Delay && exitCodes[exit] != "" {
			code = exitCodes[exit]
		}
		if s.Exit == sysexits.Software && code == "5.3.5" {
			code = exitCodes[s.Exit]
		}
		field("Status", code)
		remote, _, _ := strings.Cut(s.Remote, " ")
		for _, name := range []string{hostUnknown(s), r.nowhere()} {
			if remote == "" {
				remote = name
			}
		}
		if remote != "" && s.Code() != "5.1.8" {
			field("Remote-MTA", "DNS; "+remote)
		}
		if exit, ok := unix(s); ok && n.Kind != Success {
			field("Diagnostic-Code", "X-Unix; "+strconv.Itoa(exit))
		} else if why := r.reason(); why != "" {
			kind := "SMTP"
			if r.userUnknown() {
				kind = cmp.Or(c.LocalType, "X-Unix")
			} else if strings.EqualFold(s.Diagnostic, "x-unix") {
				kind = "X-Unix"
			}
			field("Diagnostic-Code", kind+"; "+why)
		}
		field("Last-Attempt-Date", date(r.LastAttempt))
	}
}

// exitCodes are the status codes that sendmail reports for programs, where they are others than ours.
var exitCodes = map[int]string{
	sysexits.Usage: "5.5.4", sysexits.DataErr: "5.5.2", sysexits.Unavailable: "5.5.0", sysexits.Software: "5.5.0", sysexits.OSFile: "5.5.0",
	sysexits.CantCreat: "5.3.0", sysexits.NoPerm: "5.3.0", sysexits.Config: "5.5.0",
}

// final is the recipient as sendmail knows it once the rules have seen it: with the name that an alias of its domain
// stands for, or as the text that a rule refused it with, if that looks like an address.
func (c Classic) final(n Notice, r Recipient) string {
	switch {
	case r.expanded(n):
	case r.Status.Became != "":
		if plain := strings.Split(r.Status.Became, `"`); strings.Contains(plain[len(plain)-1], "@") {
			return r.Status.Became
		}
		if strings.HasSuffix(r.Orig.Name(), ":;") { // a list without members has no address
			return r.Status.Became + "@" + c.Host
		}
	case r.Routed != "":
		return qualified(envelope.Address(r.Routed), c.Host)
	}
	return strings.TrimPrefix(c.named(r), ":include:")
}

// actual is the value of X-Actual-Recipient, which sendmail always gives.
func (c Classic) actual(n Notice, r Recipient) string {
	name, expanded := shownActual(n, r)
	if !expanded {
		name = r.Orig.Name()
		if routed := cmp.Or(r.Routed, r.Moved); routed != "" {
			name = routed
		}
		if r.Local != "" && r.userUnknown() {
			name = r.Local
		}
	}
	if r.Status.Became != "" {
		name = r.Status.Became
	}
	if strings.HasPrefix(name, "|") && !strings.HasPrefix(name, `|"`) && c.Words != nil {
		name = c.Words(name)
	}
	for _, mark := range []string{`|"`, `"|`} {
		if rest, ok := strings.CutPrefix(name, mark); ok {
			name = "|" + strings.TrimSuffix(rest, `"`)
		}
	}
	if strings.HasPrefix(name, "|") || strings.HasPrefix(name, "/") {
		return "X-Unix; " + name
	}
	name = strings.TrimPrefix(name, ":include:")
	if c.Words != nil && r.Status.Became == "" && strings.Contains(name, " ") && !strings.Contains(name, "@") {
		name = c.Words(name)
	}
	return "rfc822; " + qualified(envelope.Address(name), c.Host)
}
