package submit

import (
	"io"
	"slices"
	"strings"

	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// recipientFields name the fields that -t reads, without and with Resent-.
var recipientFields = [...]string{"To", "Cc", "Bcc", "Apparently-To"}

// recipients collects the recipients: those of the arguments and, with -t, those of the header; the same address
// counts once. -t does not take the arguments away from the list, whatever the old manuals say.
func (p *preparation) recipients(fields []envelope.Field) error {
	notify := p.v.Notify
	if !p.v.NotifyFlag && p.site.ReceiptIsDSN && has(fields, "Return-Receipt-To") {
		notify = envelope.NotifySuccess | envelope.NotifyFailure | envelope.NotifyDelay
	}
	seen := map[envelope.Address]bool{}
	var named []string // as the caller wrote them
	listed := false    // what comes now stands in the header
	add := func(list []Mailbox) {
		if p.site.Bare && len(list) > 1 { // sendmail takes the names of a list from the last to the first
			list = slices.Clone(list)
			slices.Reverse(list)
		}
		named = slices.Grow(named, len(list))
		p.m.Envelope.Recipients = slices.Grow(p.m.Envelope.Recipients, len(list))
		for _, m := range list {
			named = append(named, strings.TrimSpace(printable(m.Text)))
			if m.Warning != "" {
				p.complain(printable(m.Text)+"... "+m.Warning, m.Exit)
			}
			switch {
			case listed && strings.HasPrefix(m.Problem, "Cannot mail directly"): // sendmail says so, bounces it and ends with 0
				p.m.Refused = append(p.m.Refused, Refusal{printable(m.Text), m.Problem, ExitGood})
			case m.Problem != "":
				p.m.Refused = append(p.m.Refused, Refusal{printable(m.Text), m.Problem, m.Exit})
			case m.Warning != "" && m.Addr == "": // nothing but a comment
			case !seen[m.Addr]:
				seen[m.Addr] = true
				p.m.Envelope.Recipients = append(p.m.Envelope.Recipients, envelope.Recipient{Addr: m.Addr, Notify: notify})
			}
		}
	}
	empty := func(text string) {
		if p.site.Bare { // its rules refuse a list without members
			for _, name := range emptyGroups(text) {
				named = append(named, name)
				p.m.Refused = append(p.m.Refused, Refusal{name, "List:; syntax illegal for recipient addresses", sysexits.Usage})
			}
		}
	}
	for _, arg := range p.v.Args {
		arg = strings.ReplaceAll(arg, "\x00", "")
		add(ParseList(arg))
		empty(arg)
	}
	if p.site.Bare { // a sendmail names a single recipient of the command line, whoever else the header adds
		p.m.Envelope.For = envelope.Nobody
		if len(named) == 1 {
			p.m.Envelope.For = envelope.Address(named[0])
		}
	}
	if !p.v.Recipients {
		return nil // an empty argument is nobody, and no error
	}
	prefix := ""
	if isResent(fields) {
		prefix = "Resent-"
	}
	found := false
	listed = p.site.Bare
	for _, f := range fields {
		for _, name := range recipientFields {
			if f.Is(prefix + name) {
				list := ParseList(valueOf(f))
				found = found || len(list) > 0
				add(list)
				empty(valueOf(f))
			}
		}
	}
	if !found && len(p.m.Envelope.Recipients)+len(p.m.Refused) == 0 {
		return &Error{NothingInHeader, sysexits.OK}
	}
	return nil
}

// Named returns what the recipient fields of a header section say, for -bv -t.
func Named(in io.Reader) ([]string, error) {
	w := &window{src: newText(in, true), limit: DefaultHeaderLimit, buf: make([]byte, 0, 8192)}
	fields, err := w.section(false)
	if err != nil {
		return nil, err
	}
	var names []string
	prefix := ""
	if isResent(fields) {
		prefix = "Resent-"
	}
	for _, f := range fields {
		for _, name := range recipientFields {
			if f.Is(prefix + name) {
				names = append(names, strings.TrimSpace(valueOf(f)))
			}
		}
	}
	return names, nil
}

// emptyGroups returns the groups of an address list that have no members, "undisclosed-recipients:;".
func emptyGroups(list string) (names []string) {
	for rest := list; ; {
		before, after, ok := strings.Cut(rest, ";")
		if !ok {
			return names
		}
		name := strings.TrimSpace(before[strings.LastIndexAny(before, ",;")+1:])
		if label, found := strings.CutSuffix(name, ":"); found && label != "" && !strings.ContainsAny(label, "\"<>()@:") {
			names = append(names, printable(name+";"))
		}
		rest = after
	}
}

func (p *preparation) complain(line string, exit int) {
	p.m.Complaints = append(p.m.Complaints, line)
	p.m.Exit = exit
}

// isResent reports whether any Resent- field is there (RFC 5322 3.6.6): the Resent- set is the one that counts then.
func isResent(fields []envelope.Field) bool {
	for _, f := range fields {
		if len(f.Name) > 7 && strings.EqualFold(f.Name[:7], "Resent-") {
			return true
		}
	}
	return false
}

func has(fields []envelope.Field, name string) bool {
	for _, f := range fields {
		if f.Is(name) {
			return true
		}
	}
	return false
}

func hasText(fields []envelope.Field, name string) bool {
	for _, f := range fields {
		if f.Is(name) && f.Value() != "" {
			return true
		}
	}
	return false
}

// valueOf is the text behind the colon, line ends included: ParseList takes them for blanks.
func valueOf(f envelope.Field) string { return f.Raw[strings.IndexByte(f.Raw, ':')+1:] }
