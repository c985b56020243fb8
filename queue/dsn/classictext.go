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

// The part of a notice of sendmail's form that people read: whom it is about, why, and what was said on the way.

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
