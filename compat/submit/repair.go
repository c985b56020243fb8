package submit

import (
	"slices"
	"strings"
	"time"

	"waybill/transport/envelope"
)

// repair makes the header section: what is missing, then what the caller wrote, without the fields that are not for
// the recipients.
func (p *preparation) repair(fields []envelope.Field) {
	resent := isResent(fields)
	kept := make([]envelope.Field, 0, len(fields))
	named := false // a recipient field other than Bcc stays
	for _, f := range fields {
		if anyOf(f, "To", "Cc", "Apparently-To", "Resent-To", "Resent-Cc") {
			named = true
		}
	}
	name := ""
	for _, f := range fields {
		switch {
		case f.Is("Full-Name"):
			name = f.Value()
			continue
		case anyOf(f, "Return-Path", "Content-Length"):
			continue // those are the last hop's to say
		case anyOf(f, "Bcc", "Resent-Bcc"):
			if named {
				continue
			}
			f = envelope.Field{Name: f.Name, Raw: f.Name + ":\n"} // without any recipient field RFC 822 was not content
			named = true
		case anyOf(f, "From", "Message-Id", "Date") && f.Value() == "":
			continue
		case f.Is("From") && isSet(p.option("SingleLineFromHeader")):
			f = newField(f.Name, strings.TrimSpace(strings.ReplaceAll(strings.TrimSuffix(valueOf(f), "\n"), "\n", " ")))
		}
		kept = append(kept, f)
	}
	if name != "" && !strings.Contains(string(p.m.Envelope.Sender), "!") && p.from != "" {
		if p.v.SenderFlag == 0 || p.isOwn(p.m.Envelope.Sender) {
			p.from = p.withName(name, string(p.m.Envelope.Sender))
		}
	}
	missing := p.missing(kept, resent)
	p.made = len(missing)
	p.m.Header = append(missing, kept...)
	if !named {
		p.nobodyNamed()
	}
}

func (p *preparation) isOwn(a envelope.Address) bool {
	_, domain := a.Split()
	return domain == "" || p.isLocal(domain)
}

// missing returns the fields that the message lacks, in sendmail's order. With -G, mail comes from another system and
// is not ours to complete.
func (p *preparation) missing(kept []envelope.Field, resent bool) []envelope.Field {
	var out []envelope.Field
	add := func(name, value string) {
		if !hasText(kept, name) {
			out = append(out, newField(name, value))
		}
	}
	date := Date(p.site.Now)
	id := func() string {
		return "<" + p.site.Now.UTC().Format("200601021504") + "." + p.site.Unique() + "@" + p.site.Host + ">"
	}
	if resent {
		add("Resent-Date", date)
	}
	add("Date", date)
	if resent {
		add("Resent-From", p.from)
	}
	if !p.noFrom {
		add("From", p.from)
	}
	if resent {
		add("Resent-Message-Id", id())
	}
	add("Message-Id", id())
	if p.warn != "" {
		out = append(out, newField("X-Authentication-Warning", p.warn))
	}
	return out
}

// nobodyNamed does what option NoRecipientAction asks for; by default nothing.
func (p *preparation) nobodyNamed() {
	action, _ := p.option("NoRecipientAction")
	switch strings.ToLower(action) {
	case "add-to", "add-apparently-to":
		field := "To"
		if strings.ToLower(action) != "add-to" {
			field = "Apparently-To"
		}
		names := slices.Clone(p.site.To)
		here := 0
		for _, r := range p.m.Envelope.Recipients {
			if _, domain := r.Addr.Split(); p.site.Bare && (domain == "" || p.isLocal(domain)) {
				names = slices.Insert(names, here, string(r.Addr))
				here++
				continue
			}
			names = append(names, string(r.Addr))
		}
		if p.site.Bare { // one for each, the last first, and those of this host behind all others
			slices.Reverse(names)
			for _, n := range names {
				p.m.Header = append(p.m.Header, newField(field, n))
			}
			return
		}
		p.m.Header = append(p.m.Header, newField(field, strings.Join(names, ",\n\t")))
	case "add-bcc":
		p.m.Header = append(p.m.Header, envelope.Field{Name: "Bcc", Raw: "Bcc:\n"})
	case "add-to-undisclosed":
		p.m.Header = append(p.m.Header, newField("To", "undisclosed-recipients:;"))
	}
}

func anyOf(f envelope.Field, names ...string) bool {
	for _, n := range names {
		if f.Is(n) {
			return true
		}
	}
	return false
}

// Date is a time as sendmail writes it in a Date field: RFC 5322 3.3, but "GMT" for a zone of that meaning.
func Date(t time.Time) string {
	if name, offset := t.Zone(); offset == 0 && (name == "UTC" || name == "GMT" || name == "") {
		return t.Format("Mon, 2 Jan 2006 15:04:05 ") + "GMT"
	}
	return t.Format("Mon, 2 Jan 2006 15:04:05 -0700")
}

// priority reads what the header says about urgency, in -1000..1000. The first field that says something decides:
// Precedence with the values that sendmail.cf usually has, Priority (RFC 2156), X-Priority, Importance (RFC 4021).
func priority(fields []envelope.Field) int {
	h := envelope.Header{Fields: fields}
	value := func(name string) string {
		word, _, _ := strings.Cut(strings.ToLower(h.Value(name)), " ") // "1 (Highest)"
		return word
	}
	switch value("Precedence") {
	case "special-delivery":
		return 100
	case "list":
		return -30
	case "bulk":
		return -60
	case "junk":
		return -100
	}
	switch value("Priority") {
	case "urgent":
		return 50
	case "non-urgent":
		return -50
	}
	switch value("X-Priority") {
	case "1":
		return 50
	case "2":
		return 25
	case "4":
		return -25
	case "5":
		return -50
	}
	switch value("Importance") {
	case "high":
		return 50
	case "low":
		return -50
	}
	return 0
}
