package rewrite

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"waybill/compat/cf"
	"waybill/compat/submit"
	"waybill/transport/envelope"
)

// addressFields are the fields with addresses, and whose they are: true for senders'.
var addressFields = map[string]bool{
	"from": true, "sender": true, "reply-to": true, "resent-from": true, "resent-sender": true, "resent-reply-to": true,
	"errors-to": true, "return-receipt-to": true, "disposition-notification-to": true,
	"to": false, "cc": false, "bcc": false, "resent-to": false, "resent-cc": false, "resent-bcc": false, "apparently-to": false,
}

// fieldWidth is where a list of addresses goes on in another line.
const fieldWidth = 78

// Header writes a header section as a mailer wants it: the addresses rewritten, what H lines ask for and is missing put
// in, everything else as it was. What is new stands behind the first Received line, as with sendmail. m sets the macros
// of the templates. The result ends with the empty line.
func (r *Rewriter) Header(ctx context.Context, h *envelope.Header, mailer *cf.Mailer, m Message) ([]byte, error) {
	var out bytes.Buffer
	missing, err := r.missing(ctx, h, mailer, m)
	if err != nil {
		return nil, err
	}
	if len(h.Fields) == 0 || !strings.EqualFold(h.Fields[0].Name, "Received") {
		out.WriteString(missing)
		missing = ""
	}
	for _, f := range h.Fields {
		sender, has := addressFields[strings.ToLower(f.Name)]
		if !has {
			out.WriteString(f.Raw)
			out.WriteString(missing) // not empty behind the first Received line only
			missing = ""
			continue
		}
		kind := HeaderRecipient
		if sender {
			kind = HeaderSender
		}
		raw, err := r.field(ctx, f, mailer, kind, m)
		if err != nil {
			return nil, err
		}
		out.WriteString(raw)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// never are the fields that others write: the queue, the transports.
var never = []string{"received", "return-path", "bcc"}

// missing makes the fields of H lines that the message has not got and the mailer wants (Operations Guide, "H - Define
// Header"): "?flags?" by a flag of the mailer, "?${macro}?" by a macro.
func (r *Rewriter) missing(ctx context.Context, h *envelope.Header, mailer *cf.Mailer, m Message) (string, error) {
	has, resent := map[string]bool{}, false
	for _, f := range h.Fields {
		name := strings.ToLower(f.Name)
		has[name] = true
		resent = resent || strings.HasPrefix(name, "resent-")
	}
	get := func(name string) (string, bool) {
		if v, ok := m[name]; ok {
			return v, ok
		}
		v, ok := r.conf.Prog.Macros[name]
		return v, ok
	}
	var out strings.Builder
	from, known := m["f"]
	nobody := known && from == ""
	for _, line := range r.conf.Headers {
		name := strings.ToLower(line.Name)
		macro, _ := get(line.Macro)
		switch {
		case line.Value == "" || line.Ruleset != "" || has[name] || slices.Contains(never, name),
			strings.HasPrefix(name, "resent-") && !resent,
			name == "from" && nobody, // is the sender
			line.Flags != "" && !strings.ContainsAny(mailer.Flags, line.Flags),
			line.Macro != "" && macro == "":
			continue
		}
		value := strings.TrimSpace(strings.Map(printable, cf.Expand(line.Value, get)))
		if value == "" {
			continue
		}
		has[name] = true
		field := envelope.Field{Name: line.Name, Raw: line.Name + ": " + value + "\n"}
		if sender, is := addressFields[name]; is {
			kind := HeaderRecipient
			if sender {
				kind = HeaderSender
			}
			raw, err := r.field(ctx, field, mailer, kind, m)
			if err != nil {
				return "", err
			}
			field.Raw = raw
		}
		out.WriteString(field.Raw)
	}
	return out.String(), nil
}

// printable keeps values of macros from breaking a header: line ends become blanks.
func printable(c rune) rune {
	if c < ' ' && c != '\t' {
		return ' '
	}
	return c
}

// field rewrites one field; one in which nothing changes stays as it was folded.
func (r *Rewriter) field(ctx context.Context, f envelope.Field, mailer *cf.Mailer, kind Kind, m Message) (string, error) {
	list := submit.ParseList(f.Value())
	changed := false
	parts := make([]string, 0, len(list))
	for _, box := range list {
		if box.Problem != "" || box.Addr == "" {
			return f.Raw, nil
		}
		text, err := r.Remote(ctx, string(box.Addr), mailer, kind, m)
		if err != nil {
			return "", err
		}
		part := replaceAddr(box.Text, string(box.Addr), text)
		changed = changed || part != strings.TrimSpace(box.Text)
		parts = append(parts, part)
	}
	if len(parts) == 0 || strings.Contains(f.Value(), ";") || !changed && len(parts) == 1 {
		return f.Raw, nil // a group keeps its name and its shape
	}
	var b strings.Builder
	value := f.Raw[strings.IndexByte(f.Raw, ':')+1:]
	blanks := value[:len(value)-len(strings.TrimLeft(value, " \t"))]
	if blanks == "" {
		blanks = " "
	}
	b.WriteString(f.Name + ":" + blanks)
	width := b.Len()
	for i, p := range parts {
		if i > 0 {
			b.WriteByte(',')
			if width+len(p)+3 > fieldWidth {
				b.WriteString("\n        ")
				width = 8
			} else {
				b.WriteByte(' ')
				width += 2
			}
		}
		b.WriteString(p)
		width += len(p)
	}
	b.WriteByte('\n')
	return b.String(), nil
}

// replaceAddr puts the new address into the place of the old one, and leaves names and comments around it.
func replaceAddr(text, old, new string) string {
	text = strings.TrimSpace(text)
	open := strings.LastIndexByte(text, '<')
	if close := strings.LastIndexByte(text, '>'); open >= 0 && close > open {
		return text[:open+1] + new + text[close:]
	}
	if i := strings.Index(text, old); i >= 0 {
		return text[:i] + new + text[i+len(old):]
	}
	return text
}
