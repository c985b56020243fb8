package rewrite

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"waybill/compat/cf"
	"waybill/compat/crack"
	"waybill/compat/submit"
	"waybill/transport/envelope"
)

// addressFields are the fields with addresses, and whose they are: true for senders'.
var addressFields = map[string]bool{
	"from": true, "sender": true, "reply-to": true, "resent-from": true, "resent-sender": true, "resent-reply-to": true,
	"errors-to": true, "disposition-notification-to": true,
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

// field rewrites one field, each address of it in the words around it; one in which nothing changes stays as it was
// folded.
func (r *Rewriter) field(ctx context.Context, f envelope.Field, mailer *cf.Mailer, kind Kind, m Message) (string, error) {
	list := r.items(f.Value(), kind)
	if len(list) == 0 && kind == HeaderSender && f.Is("From") && m["g"] != "" {
		return f.Name + ": " + m["g"] + "\n", nil // nobody, for whom a mailer has a name
	}
	if len(list) == 0 {
		return f.Raw, nil
	}
	whole := strings.TrimSpace(f.Value())
	changed := len(list) > 1 || strings.HasPrefix(whole, ",") || strings.HasSuffix(whole, ",") // empty elements vanish
	parts := make([]string, 0, len(list))
	for _, text := range list {
		address, ok, err := r.remote(ctx, text, mailer, kind, m)
		if err != nil {
			return "", err
		}
		part := text
		if ok {
			part = crack.Crack(text, r.crackOptions()).Around(address)
		}
		changed = changed || part != text
		parts = append(parts, part)
	}
	if !changed {
		return f.Raw, nil
	}
	var b strings.Builder
	value := f.Raw[strings.IndexByte(f.Raw, ':')+1:]
	blanks := strings.Repeat(" ", max(1, len(value)-len(strings.TrimLeft(value, " \t\n"))))
	b.WriteString(f.Name + ":" + blanks)
	width := b.Len()
	for i, p := range parts {
		if i > 0 {
			b.WriteByte(',')
			if width+len(", ")+len(p) > fieldWidth {
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

// items cuts a list of addresses at its commas. Where a list of recipients has no comma, blanks separate as well
// (option OldStyleHeaders).
func (r *Rewriter) items(value string, kind Kind) []string {
	if kind == HeaderRecipient && !strings.ContainsAny(value, `,<("`) {
		if boxes := submit.ParseList(value); len(boxes) > 1 && !slices.ContainsFunc(boxes, func(b submit.Mailbox) bool { return b.Problem != "" }) {
			var list []string
			for _, b := range boxes {
				list = append(list, b.Text)
			}
			if !strings.ContainsAny(value, ":;") {
				return list
			}
		}
	}
	var list []string
	for more := true; more; {
		rest := ""
		_, rest, more, _ = r.engine.Syntax().SplitList(value, ',', true)
		item := value
		if more {
			item = value[:len(value)-len(rest)-1]
		}
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
		value = rest
	}
	return list
}

func (r *Rewriter) crackOptions() crack.Options {
	must, given := r.conf.Option("MustQuoteChars", "")
	if !given {
		must = crack.DefaultMustQuote
	}
	return crack.Options{MustQuote: must, ColonOK: r.conf.Bool("ColonOkInAddr", r.conf.Level < 6)}
}
