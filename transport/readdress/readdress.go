// Package readdress changes addresses as mail leaves: masquerading, generic names, qualification. In flows a request for
// a transport, and a function that knows the rules; out flows the same request with other addresses in its envelope and
// in the address fields of its header (RFC 5322 3.6.2, 3.6.3, 3.6.6). Of a field only the addresses change: names,
// comments, groups, folding and order stay as they are.
package readdress

import (
	"context"
	"errors"
	"io"
	"strings"

	"waybill/transport"
	"waybill/transport/envelope"
)

// Address is one address on its way out.
type Address struct {
	Text      string // without angle brackets, comments and blanks
	Recipient bool   // of a recipient; else of a sender
	Header    bool   // in a field of the header; else in the envelope
}

// Func gives an address as it leaves; the same one where nothing is to change. An error means "not now".
type Func func(ctx context.Context, a Address) (string, error)

// Transport is a transport with other addresses.
type Transport struct {
	Next    transport.Transport
	Rewrite Func
}

// maxAddresses bounds what is rewritten in one message; a header with more is left as it is.
const maxAddresses = 10_000

// Deliver rewrites the envelope and the header and passes the message on. When the rules cannot say now, every recipient
// is deferred.
func (t Transport) Deliver(ctx context.Context, req *transport.Request) []transport.Status {
	out, err := t.request(ctx, req)
	if err != nil {
		req.Log.Warn("addresses cannot be rewritten now", "id", req.Envelope.ID, "err", err)
		return transport.All(len(req.Recipients), transport.NewStatus(transport.Deferred, "4.3.0", "Temporary lookup failure"))
	}
	return t.Next.Deliver(ctx, out)
}

func (t Transport) request(ctx context.Context, req *transport.Request) (*transport.Request, error) {
	out := *req
	if sender := req.Envelope.Sender; !sender.Null() {
		text, err := t.Rewrite(ctx, Address{Text: string(sender)})
		if err != nil {
			return nil, err
		}
		if envelope.Address(text) != sender && text != "" {
			e := *req.Envelope
			e.Sender = envelope.Address(text)
			out.Envelope = &e
		}
	}
	out.Recipients = make([]transport.Recipient, len(req.Recipients))
	for i, r := range req.Recipients {
		text, err := t.Rewrite(ctx, Address{Text: r.User, Recipient: true})
		if err != nil {
			return nil, err
		}
		if text != "" {
			r.User = text
		}
		out.Recipients[i] = r
	}
	body, err := Body(ctx, req.Body, t.Rewrite)
	if err != nil {
		return nil, err
	}
	out.Body = body
	return &out, nil
}

// Body is a message with rewritten address fields. A message of known size is read up to the end of its header now, and
// comes back as it is when nothing changes; one that streams is rewritten when it is opened.
func Body(ctx context.Context, b envelope.Body, f Func) (envelope.Body, error) {
	if b.Size() < 0 {
		return streamed{ctx, b, f}, nil
	}
	r, err := b.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	h, err := envelope.ReadHeader(r, envelope.HeaderLimits{})
	if errors.Is(err, envelope.ErrHeaderTooLong) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	text, changed, err := Header(ctx, h.Fields, f)
	if err != nil || !changed {
		return b, err
	}
	// The section as it was read: fields, and what is between them and the body (an mbox separator, an empty line).
	var fields int64
	for _, field := range h.Fields {
		fields += int64(len(field.Raw))
	}
	if fields > h.Octets { // the message ends within its last field, without a line end
		return rewritten{b, text, h.Octets}, nil
	}
	return rewritten{b, append(text, '\n'), h.Octets}, nil
}

// rewritten is a body whose first skip octets are replaced by head.
type rewritten struct {
	envelope.Body
	head []byte
	skip int64
}

func (w rewritten) Size() int64 { return w.Body.Size() - w.skip + int64(len(w.head)) }

func (w rewritten) Open() (io.ReadCloser, error) {
	r, err := w.Body.Open()
	if err != nil {
		return nil, err
	}
	if s, ok := r.(io.Seeker); ok {
		_, err = s.Seek(w.skip, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, r, w.skip)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return withHead(w.head, r, r), nil
}

// streamed is a body that is rewritten as it is read.
type streamed struct {
	ctx context.Context
	envelope.Body
	f Func
}

func (s streamed) Open() (io.ReadCloser, error) {
	r, err := s.Body.Open()
	if err != nil {
		return nil, err
	}
	seen := &recorder{r: r}
	h, err := envelope.ReadHeader(seen, envelope.HeaderLimits{})
	if errors.Is(err, envelope.ErrHeaderTooLong) {
		return withHead(seen.octets, r, r), nil
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	text, changed, err := Header(s.ctx, h.Fields, s.f)
	if err != nil {
		r.Close()
		return nil, err
	}
	if !changed {
		return withHead(seen.octets, r, r), nil
	}
	text = append(text, '\n')
	return withHead(append(text, seen.octets[min(h.Octets, int64(len(seen.octets))):]...), r, r), nil
}

// recorder keeps what is read through it.
type recorder struct {
	r      io.Reader
	octets []byte
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.octets = append(r.octets, p[:n]...)
	return n, err
}

func withHead(head []byte, rest io.Reader, c io.Closer) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(strings.NewReader(string(head)), rest), c}
}

// kinds says which fields have addresses, and of whom.
var kinds = map[string]bool{ // true: recipients
	"from": false, "sender": false, "reply-to": false, "resent-from": false, "resent-sender": false, "resent-reply-to": false,
	"errors-to": false, "return-receipt-to": false, "disposition-notification-to": false,
	"to": true, "cc": true, "bcc": true, "resent-to": true, "resent-cc": true, "resent-bcc": true, "apparently-to": true,
}

// Header renders fields with rewritten addresses, each with its line end. changed is false, and text nil, when all of them
// stay as they are.
func Header(ctx context.Context, fields []envelope.Field, f Func) (text []byte, changed bool, err error) {
	var out strings.Builder
	left := maxAddresses
	for _, field := range fields {
		recipient, ok := kinds[strings.ToLower(field.Name)]
		if !ok {
			out.WriteString(field.Raw)
			continue
		}
		raw, n, err := rewriteField(field.Raw, left, func(text string) (string, error) {
			return f(ctx, Address{Text: text, Recipient: recipient, Header: true})
		})
		if err != nil {
			return nil, false, err
		}
		if left -= n; left < 0 {
			return nil, false, nil
		}
		changed = changed || raw != field.Raw
		out.WriteString(raw)
	}
	if !changed {
		return nil, false, nil
	}
	return []byte(out.String()), true, nil
}
