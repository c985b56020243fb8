package submit

import (
	"bytes"
	"io"
	"strings"

	"waybill/compat/flags"
	"waybill/transport/envelope"
)

// Completed is a message that Complete has seen. Made is how many octets it has more than before; it may be negative. Again
// is for Envelope.Again, with Site.Bare; 0: not known.
type Completed struct {
	io.Reader
	Made, Again int
}

// Complete adds the fields that a message lacks, as Read does, to one that came another way: over SMTP from a program
// of this host, or with a sendmail.cf whose mailers want them (F=D, F=M, F=F). For the latter (Site.Bare), the fields that
// are not for the recipients go, too, and a line "From " before the header. Nothing else of the message changes.
// sender is the envelope's; from it a missing From field is made. body has LF line ends; a header section beyond the
// limit is passed on as it is.
func Complete(body io.Reader, sender envelope.Address, site Site) (c Completed, err error) {
	limit := site.HeaderLimit
	if limit == 0 {
		limit = DefaultHeaderLimit
	}
	w := &window{src: body, limit: limit, buf: make([]byte, 0, 8192)}
	fields, err := w.section(!site.Bare)
	all := func() io.Reader { return io.MultiReader(bytes.NewReader(w.buf), body) }
	if err != nil {
		if w.err != nil && w.err != io.EOF {
			return Completed{}, err
		}
		return Completed{Reader: all()}, nil // too long
	}
	p := &preparation{v: &flags.Invocation{}, site: site, m: &Message{Envelope: &envelope.Envelope{Sender: sender}}, from: string(sender)}
	if user, _ := sender.Split(); site.FullName != nil {
		user, _, _ = strings.Cut(user, "+")
		p.full = site.FullName(user)
		p.from = withName(p.full, string(sender))
	}
	if sender.Null() && !site.Bare {
		p.from = string(p.qualify("MAILER-DAEMON"))
	}
	p.noFrom = p.from == "" && !site.Bare
	if site.Bare {
		return p.whole(fields, w, body), nil
	}
	missing := p.missing(fields, isResent(fields))
	if len(missing) == 0 {
		return Completed{Reader: all()}, nil
	}
	var head bytes.Buffer
	for _, f := range missing {
		head.WriteString(f.Raw)
	}
	if len(fields) == 0 && w.pos == 0 && len(w.buf) > 0 && w.buf[0] != '\n' {
		head.WriteByte('\n') // no header section at all: the body must not become one
	}
	return Completed{Reader: io.MultiReader(&head, all()), Made: head.Len()}, nil
}

// whole is the message with a header section as Read would make it.
func (p *preparation) whole(fields []envelope.Field, w *window, body io.Reader) Completed {
	p.repair(fields)
	var head bytes.Buffer
	for _, f := range p.m.Header {
		head.WriteString(f.Raw)
	}
	rest := w.buf[w.pos:]
	made := head.Len() - w.pos
	head.WriteByte('\n')
	made++
	return Completed{io.MultiReader(&head, bytes.NewReader(rest), body), made, p.again()}
}
