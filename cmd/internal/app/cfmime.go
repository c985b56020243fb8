package app

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"waybill/compat/cf"
	"waybill/transport/envelope"
	"waybill/transport/recode"
)

// labelled makes a message with octets above 127 a MIME message where EightBitMode asks for it (RFC 2045): the fields that it
// lacks are added, with DefaultCharSet. eight reports whether it is one with such octets.
func (c *cfSite) labelled(h *envelope.Header, body envelope.Body) (labelled *envelope.Header, eight bool) {
	if !strings.HasPrefix(c.text("EightBitMode", "", ""), "m") || plain(body) {
		return h, false
	}
	if h.Value("MIME-Version") != "" {
		return h, true
	}
	out := *h
	out.Fields = slices.Clone(h.Fields)
	add := func(name, value string) {
		if h.Value(name) == "" {
			out.Fields = append(out.Fields, envelope.Field{Name: name, Raw: name + ": " + value + "\n"})
		}
	}
	add("MIME-Version", "1.0")
	add("Content-Type", "text/plain; charset="+cmp.Or(c.text("DefaultCharSet", "", ""), "unknown-8bit"))
	add("Content-Transfer-Encoding", "8bit")
	return &out, true
}

// unpacked takes the encoding of a text away for a mailer that wants 8-bit text (F=9), as sendmail does for quoted-printable
// and base64; ok is false where there is none, or the message is no plain text.
func (c *cfSite) unpacked(m *cf.Mailer, h *envelope.Header, body envelope.Body, id string) (plain *envelope.Header, text envelope.Body, ok bool) {
	encoding := strings.TrimSpace(h.Value("Content-Transfer-Encoding"))
	kind, _, _ := strings.Cut(h.Value("Content-Type"), ";")
	if !m.Has('9') || !strings.EqualFold(strings.TrimSpace(kind), "text/plain") || !strings.EqualFold(encoding, "quoted-printable") && !strings.EqualFold(encoding, "base64") {
		return h, body, false
	}
	text, err := recode.Decode(body, h.Octets, encoding)
	if err != nil {
		return h, body, false // whoever reads it next says why
	}
	out := *h
	out.Fields = slices.Clone(h.Fields)
	for i, f := range out.Fields {
		if f.Is("Content-Transfer-Encoding") {
			out.Fields[i] = envelope.Field{Name: f.Name, Raw: f.Name + ": 8bit\n"}
		}
	}
	out.Fields = append(out.Fields, envelope.Field{Name: "X-MIME-Autoconverted", Raw: "X-MIME-Autoconverted: from " + encoding + " to 8bit by " + c.expand("$j") + " id " + id + "\n"})
	return &out, text, true
}

// shortened cuts the MIME fields of a message to MaxMimeHeaderLength: "LENGTH/PARAMETER", where the second is half of the
// first if nobody says it.
func (c *cfSite) shortened(h *envelope.Header) *envelope.Header {
	first, second, both := strings.Cut(c.text("MaxMimeHeaderLength", "", ""), "/")
	length, _ := strconv.Atoi(strings.TrimSpace(first))
	part, _ := strconv.Atoi(strings.TrimSpace(second))
	if !both {
		part = length / 2
	}
	if length <= 0 {
		return h
	}
	out := *h
	out.Fields = slices.Clone(h.Fields)
	for i, f := range out.Fields {
		value := f.Value()
		switch {
		case f.Is("Content-Type"), f.Is("Content-Disposition"):
			value = shortParameters(value, length, part)
		case f.Is("Content-Description"), f.Is("Content-Id"), f.Is("Content-Transfer-Encoding"), f.Is("MIME-Version"):
			if len(value) > length {
				value = value[:length-1]
			}
		}
		if value != f.Value() {
			out.Fields[i] = envelope.Field{Name: f.Name, Raw: f.Name + ": " + value + "\n"}
		}
	}
	return &out
}

// shortParameters cuts each part between semicolons, and then the whole, and leaves no quote open.
func shortParameters(value string, length, part int) string {
	var out []string
	for len(value) > 0 {
		end, quoted := 0, false
		for end < len(value) && (quoted || value[end] != ';') {
			switch value[end] {
			case '"':
				quoted = !quoted
			case '\\':
				end++
			}
			end++
		}
		end = min(end, len(value))
		piece := strings.TrimSpace(value[:end])
		if part > 0 {
			piece = closed(piece, part)
		}
		out = append(out, piece)
		value = strings.TrimPrefix(value[end:], ";")
	}
	return closed(strings.Join(out, "; "), length)
}

// closed is s with n octets at most, with an even number of quotes.
func closed(s string, n int) string {
	if len(s) <= n {
		return s
	}
	if s = s[:n]; strings.Count(s, `"`)%2 == 0 {
		return strings.TrimSuffix(s, `\`)
	}
	if s = strings.TrimSuffix(s[:n-1], `\`); strings.Count(s, `"`)%2 == 0 {
		return s // the quote that was open is gone
	}
	return s + `"`
}
