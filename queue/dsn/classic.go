package dsn

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

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

// good reports whether a recipient got the message.
func (r Recipient) good() bool {
	return r.Status.Outcome() == transport.Delivered || r.Status.Outcome() == transport.Relayed
}

// limit is the time that ran out.
func (r Recipient) limit(k Kind) time.Duration {
	if r.Limit > 0 {
		return r.Limit
	}
	return r.Age
}

// text is the part for people.
func (c Classic) text(b *strings.Builder, n Notice) {
	shown := n.Recipients[:min(len(n.Recipients), maxShown)]
	if n.Kind == Delay {
		b.WriteString(warningBox)
	}
	fmt.Fprintf(b, "The original message was received at %s\n", n.Envelope.Arrival.Format(dateForm))
	fmt.Fprintf(b, "from %s\n", c.origin(n))
	if n.Kind == Double {
		fmt.Fprintf(b, "with id %s\n", n.Envelope.ID)
	}
	b.WriteByte('\n')
	for _, line := range c.Note {
		if strings.HasPrefix(line, "From ") {
			line = ">" + line
		}
		b.WriteString(oneLine(line) + "\n")
	}
	if len(c.Note) > 0 {
		b.WriteByte('\n')
	}
	for _, part := range []struct {
		good bool
		head string
	}{{false, "permanent fatal errors"}, {true, "successful delivery notifications"}} {
		of := slices.DeleteFunc(slices.Clone(shown), func(r Recipient) bool { return r.good() != part.good || r.Grown == ToAlias })
		if n.Kind == Delay || len(of) == 0 {
			continue
		}
		fmt.Fprintf(b, "   ----- The following addresses had %s -----\n", part.head)
		for _, r := range of {
			if r.good() {
				fmt.Fprintf(b, "%s  (%s)\n", r.shown(n), r.classicArrival())
				if r.expanded(n) {
					fmt.Fprintf(b, "    (expanded from: %s)\n", oneLine(r.from(n)))
				}
				continue
			}
			fmt.Fprintln(b, r.shown(n))
			if why := oneLine(r.reason()); why != "" {
				fmt.Fprintf(b, "    (reason: %s)\n", why)
			}
			if r.expanded(n) || r.Moved != "" {
				fmt.Fprintf(b, "    (expanded from: %s)\n", oneLine(r.from(n)))
			}
		}
		b.WriteByte('\n')
	}
	b.WriteString("   ----- Transcript of session follows -----\n")
	c.transcript(b, n, shown)
}

// from is the alias or the :include: file that named Actual.
func (r Recipient) from(n Notice) string {
	if r.From != "" {
		return r.From
	}
	return n.given(r.Orig.Name())
}

// given is an address of the envelope as its sender wrote it: sendmail keeps the brackets of MAIL and RCPT.
func (n Notice) given(address string) string {
	if n.Envelope.Origin.UID < 0 && address != "" {
		return "<" + address + ">"
	}
	return address
}

func (r Recipient) classicArrival() string {
	switch r.Grown {
	case ToAlias:
		return "expanded by mailing list"
	case ToList:
		return "successfully delivered to mailing list"
	}
	if r.Status.Outcome() == transport.Relayed {
		return "relayed to non-DSN-aware mailer"
	}
	return "successfully delivered to mailbox"
}

// shown is who it is about: what aliases made of the recipient, where the sender may know.
func (r Recipient) shown(n Notice) string {
	if r.expanded(n) {
		return oneLine(r.Actual)
	}
	return oneLine(n.given(r.Orig.Name()))
}

func (r Recipient) expanded(n Notice) bool {
	_, is := shownActual(n, r)
	return is
}

// hostUnknown is the name that is not in the DNS, where that is what went wrong.
func hostUnknown(s transport.Status) string {
	_, rest, ok := strings.Cut(s.Text(), "Host unknown (Name server: ")
	name, _, end := strings.Cut(rest, ": host not found)")
	if !ok || !end {
		return ""
	}
	return strings.TrimSuffix(name, ".")
}

// aboutItself reports whether the domain of the address, and not a host behind it, does not exist.
func (r Recipient) aboutItself() bool {
	name := r.Actual
	if name == "" {
		name = string(r.Orig.Addr)
	}
	unknown := hostUnknown(r.Status)
	return strings.EqualFold(envelope.Address(name).Domain(), unknown) || unknown != "" && strings.EqualFold(strings.TrimSuffix(r.Host, "."), unknown)
}

// nowhere is the domain of an address that takes no mail (RFC 7505).
func (r Recipient) nowhere() string {
	if r.Status.Code() != "5.1.10" || said(r.Status) {
		return ""
	}
	name := r.Actual
	if name == "" {
		name = string(r.Orig.Addr)
	}
	return envelope.Address(name).Domain()
}

// unix is the exit status of the program that refused.
func unix(s transport.Status) (int, bool) {
	if !strings.EqualFold(s.Diagnostic, "x-unix") {
		return s.Exit, s.Exit == sysexits.CantCreat && s.Reply == ""
	}
	n, err := strconv.Atoi(s.Reply)
	return n, err == nil
}

func (r Recipient) reason() string {
	s := r.Status
	if exit, ok := unix(s); ok {
		if _, _, text, _, known := sysexits.Response(exit); known {
			return text
		}
		return strconv.Itoa(exit)
	}
	switch {
	case s.Taken != "" && s.Outcome() == transport.Relayed:
		return s.Taken
	case said(s), s.Code() == "5.4.6" && strings.HasPrefix(s.Reply, "554 "): // too many hops
		return s.Reply
	case r.userUnknown():
		return "550 5.1.1 User unknown"
	case hostUnknown(s) != "" && r.aboutItself():
		return "550 Host unknown"
	case r.nowhere() != "":
		return nullMX
	case r.endless():
		return "550 5.1.1 User unknown"
	}
	return ""
}

const nullMX = "556 Host does not accept mail: MX 0 ."

func (r Recipient) userUnknown() bool {
	s := r.Status
	return s.Code() == "5.1.1" && s.Exit == sysexits.NoUser && len(s.Transcript) == 0 && s.Reply == "" || r.endless()
}

// endless reports whether nobody has the name because the rules never end with it, which stands in the transcript.
func (r Recipient) endless() bool {
	s := r.Status
	return s.Code() == "5.1.1" && s.Exit == sysexits.Software && len(s.Transcript) > 0 && s.Reply == ""
}

// transcript is what was said, or what would have been.
func (c Classic) transcript(b *strings.Builder, n Notice, shown []Recipient) {
	list := ""
	session := append(failedOf(shown), n.Others...)
	slices.SortStableFunc(session, func(a, b Recipient) int { return cmp.Compare(a.Place, b.Place) })
	for _, r := range append(goodOf(shown), session...) {
		if r.Early {
			continue
		}
		if r.Grown == ToAlias {
			fmt.Fprintf(b, "%s... expanded to multiple addresses\n", r.shown(n))
			for _, m := range r.Members {
				b.WriteString(oneLine(m.closing(Notice{Kind: Success, Envelope: n.Envelope})) + "\n")
			}
			continue
		}
		if r.List != "" && r.List != list {
			list = r.List
			fmt.Fprintf(b, "Message delivered to mailing list %s\n", oneLine(list))
		}
		for _, l := range r.Status.Transcript {
			if f := strings.SplitN(l, " ", 3); r.Status.Became != "" && len(f) == 3 && namesAddress[f[0]] && (!r.expanded(n) || f[1] == "5.1.3") {
				who := r.shown(n)
				if r.Where != "" {
					who = r.Where + ": " + who
				}
				l = f[0] + " " + f[1] + " " + who + "... " + f[2] // the rules refused the recipient itself
			}
			if name := r.Orig.Name() + "... "; !r.expanded(n) && (strings.HasPrefix(l, name) || strings.Contains(l, " "+name)) {
				l = strings.Replace(l, name, n.given(r.Orig.Name())+"... ", 1)
			}
			if routed := cmp.Or(r.Moved, r.Routed); routed != "" {
				l = strings.Replace(l, " "+routed+"... ", " "+r.shown(n)+"... ", 1)
			}
			if l != "" {
				b.WriteString(oneLine(l) + "\n")
			}
		}
		if line := r.closing(n); line != "" {
			b.WriteString(oneLine(line) + "\n")
		}
	}
	for _, l := range n.Transcript {
		b.WriteString(oneLine(l) + "\n")
	}
	switch last := append(failedOf(shown), shown...)[0]; {
	case n.Kind == Delay:
		fmt.Fprintf(b, "Warning: message still undelivered after %s\n", period(last.limit(n.Kind)))
		if !last.RetryUntil.IsZero() {
			fmt.Fprintf(b, "Will keep trying until message is %s old\n", period(last.RetryUntil.Sub(n.Envelope.Arrival)))
		}
	case n.Kind != Success && last.Expired:
		fmt.Fprintf(b, "Message could not be delivered for %s\nMessage will be deleted from queue\n", period(last.limit(n.Kind)))
	}
}

// namesAddress are the reply codes behind which sendmail says whom it is about.
var namesAddress = map[string]bool{"450": true, "550": true, "553": true}

// goodOf and failedOf divide recipients: sendmail tells of those that got the message when they got it.
func goodOf(all []Recipient) []Recipient {
	return slices.DeleteFunc(slices.Clone(all), func(r Recipient) bool { return !r.good() })
}

func failedOf(all []Recipient) []Recipient {
	return slices.DeleteFunc(slices.Clone(all), Recipient.good)
}

// closing is the last line of the transcript about one recipient; empty where the transcript has it already.
func (r Recipient) closing(n Notice) string {
	s := r.Status
	who := r.shown(n)
	exit, byExit := unix(s)
	switch {
	case s.Outcome() == transport.Relayed:
		return who + "... relayed; expect no further notifications"
	case r.good():
		return who + "... Successfully delivered"
	case byExit:
	case len(s.Transcript) > 0 && !r.endless():
		return ""
	case s.Outcome() == transport.Deferred:
		return who + "... Deferred: " + s.Text()
	case hostUnknown(s) != "":
		return "550 5.1.2 " + who + "... " + s.Text()
	case r.nowhere() != "":
		exit, byExit = sysexits.Unavailable, true
	case r.userUnknown():
		exit, byExit = sysexits.NoUser, true
	}
	if !byExit {
		switch s.Code() {
		case "5.2.4", "5.1.3": // of an entry of a list
			if r.Where != "" {
				who = r.Where + ": " + who
			}
			return map[string]string{"5.2.4": "550 ", "5.1.3": "553 "}[s.Code()] + s.Code() + " " + who + "... " + s.Text()
		}
		return class(s) + " " + s.Code() + " " + s.Text()
	}
	code, enhanced, text, named, known := sysexits.Response(exit)
	switch {
	case !known:
		return fmt.Sprintf("554 5.3.0 unknown mailer error %d", exit)
	case named && r.Where != "" && r.userUnknown():
		return fmt.Sprintf("%d %s %s: %s... %s", code, enhanced, r.Where, who, text)
	case named:
		return fmt.Sprintf("%d %s %s... %s", code, enhanced, who, text)
	}
	return fmt.Sprintf("%d %s %s", code, enhanced, text)
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
