package submit

import (
	"bytes"
	"io"

	"waybill/transport/envelope"
)

// Complete adds the fields that a message lacks, as Read does, to one that came another way: over SMTP from a program
// of this host, or with a sendmail.cf whose mailers want them (F=D, F=M, F=F). Nothing else of the message changes.
// sender is the envelope's; from it a missing From field is made. body has LF line ends; a header section beyond the
// limit is passed on as it is. made is how many octets were added.
func Complete(body io.Reader, sender envelope.Address, site Site) (whole io.Reader, made int, err error) {
	limit := site.HeaderLimit
	if limit == 0 {
		limit = DefaultHeaderLimit
	}
	w := &window{src: body, limit: limit, buf: make([]byte, 0, 8192)}
	fields, err := w.section(true)
	all := func() io.Reader { return io.MultiReader(bytes.NewReader(w.buf), body) }
	if err != nil {
		if w.err != nil && w.err != io.EOF {
			return nil, 0, err
		}
		return all(), 0, nil // too long
	}
	p := &preparation{site: site, m: &Message{Envelope: &envelope.Envelope{Sender: sender}}, from: string(sender)}
	if sender.Null() && !site.Bare {
		p.from = string(p.qualify("MAILER-DAEMON"))
	}
	p.noFrom = p.from == ""
	missing := p.missing(fields, isResent(fields))
	if len(missing) == 0 {
		return all(), 0, nil
	}
	var head bytes.Buffer
	for _, f := range missing {
		head.WriteString(f.Raw)
	}
	if len(fields) == 0 && w.pos == 0 && len(w.buf) > 0 && w.buf[0] != '\n' {
		head.WriteByte('\n') // no header section at all: the body must not become one
	}
	return io.MultiReader(&head, all()), head.Len(), nil
}
