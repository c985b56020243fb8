package smtpclient

import (
	"context"
	"errors"
	"io"

	"waybill/transport/envelope"
	"waybill/transport/recode"
	"waybill/transport/smtp"
	"waybill/transport/sysexits"
)

// body sends the octets of the message and its end. A verdict means that the end was not sent.
func (d *delivery) body(ctx context.Context, s *session, chunked bool) *verdict {
	in, err := d.source(s)
	if err != nil {
		d.log.Error("message cannot be opened", "id", d.req.Envelope.ID, "err", err)
		return d.cut(s, ours("message cannot be read"))
	}
	defer in.Close()
	var v *verdict
	if chunked {
		v = d.chunks(ctx, s, func(w *chunkWriter) error {
			if err := d.pour(w, in); err != nil || in.err != nil {
				return err
			}
			return w.close()
		})
	} else {
		out := smtp.NewDotWriter(s.bw, s.conf.LineLimit)
		out.Odd = s.conf.Sendmail && d.req.Envelope.Origin.UID >= 0
		if s.conf.Sendmail {
			out.Window = sendmailLine
		}
		if err := d.pour(out, in); err != nil && in.err == nil {
			x := d.broken(ctx, s, err)
			v = &x
		}
		if v == nil && in.err == nil {
			if err := out.Close(); err != nil {
				// Part of the dot may have left. What the peer made of it is not known.
				if cause := context.Cause(ctx); cause != nil {
					err = cause
				}
				x := lost(atDot, err, s)
				v = &x
			}
			if s.verbose != nil {
				s.verbose(">>> .")
			}
		}
	}
	if in.err != nil {
		d.log.Error("message cannot be read", "id", d.req.Envelope.ID, "err", in.err)
		return d.cut(s, ours("message cannot be read"))
	}
	if v != nil {
		return d.cut(s, *v)
	}
	return nil
}

// cut ends a connection in the middle of a message, without its end, so that the peer drops what it has.
func (d *delivery) cut(s *session, v verdict) *verdict {
	s.dead = true
	s.conn.Close()
	return &v
}

// message is the body as it is read; err is what went wrong on our side.
type message struct {
	io.ReadCloser
	plan *recode.Plan // how to make it 7-bit; nil: as it is
	by   string
	err  error
}

func (m *message) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		m.err = err
	}
	return n, err
}

// recoded reports whether the message was declared to have octets that the peer does not take (RFC 6152 3). One that
// was not declared is sent as it is, as sendmail does, unless it is MIME.
func (d *delivery) recoded(s *session) bool {
	body := d.req.Envelope.BodyType
	return body == envelope.BodyBinaryMIME || (body == envelope.Body8BitMIME && !s.ext.eightBit) ||
		body == envelope.BodyUndeclared && s.conf.Sendmail && !s.ext.eightBit && d.mime()
}

// mime reports whether the message is MIME: sendmail recodes such a one for a peer that takes 7 bits, declared or not.
func (d *delivery) mime() bool {
	if d.isMIME == nil {
		h, err := envelope.HeaderOf(d.req.Body)
		is := err == nil && d.req.Body.Size() >= 0 && h.Value("MIME-Version") != ""
		d.isMIME = &is
	}
	return *d.isMIME
}

// prepare finds out, before anything is said, how the message is to be recoded for the peer.
func (d *delivery) prepare(s *session) *verdict {
	if !d.recoded(s) || d.plan != nil {
		return nil
	}
	var v verdict
	if d.req.Body.Size() < 0 {
		v = ours("a message that is still arriving cannot be recoded for " + s.hop.name) // it is read twice
		return &v
	}
	in, err := d.req.Body.Open()
	if err == nil {
		d.plan, err = recode.Scan(in)
		in.Close()
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, recode.ErrTooManyParts): // RFC 3463 X.6.3
		v = verdict{status: refused("5.6.3", s.hop.name+" takes 7-bit mail only, and the message has too many parts to be recoded", sysexits.Unavailable)}
		s.sign(&v.status, nil)
	default:
		d.log.Error("message cannot be read", "id", d.req.Envelope.ID, "err", err)
		v = ours("message cannot be read")
	}
	d.plan = nil
	return &v
}

// source opens the message.
func (d *delivery) source(s *session) (*message, error) {
	in, err := d.req.Body.Open()
	if err != nil {
		return nil, err
	}
	m := &message{ReadCloser: in}
	if d.recoded(s) && d.plan.Needed() {
		m.plan, m.by = d.plan, s.conf.Hello
		if id := d.req.Envelope.ID; id != "" {
			m.by += " id " + id
		}
	}
	return m, nil
}

// pour writes the message to out, which knows the form of the wire.
func (d *delivery) pour(out io.Writer, in *message) error {
	if in.plan != nil {
		return in.plan.Convert(out, in, in.by)
	}
	buf := d.client.buffers.Get().(*[copyBuffer]byte)
	defer d.client.buffers.Put(buf)
	_, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, buf[:])
	return err
}

const copyBuffer = 32 << 10

// sendmailLine is how much of a line sendmail reads at once, in octets.
const sendmailLine = 2047

// broken looks whether the peer said why it stopped reading.
func (d *delivery) broken(ctx context.Context, s *session, err error) verdict {
	if cause := context.Cause(ctx); cause != nil {
		return lost(atBody, cause, s)
	}
	s.bw.Reset(io.Discard) // forget the error of the write: only the reply matters now
	if r, v := s.expect(ctx, atDot, d.client.conf.Timeouts.Quit); v == nil && (r.Temporary() || r.Permanent()) {
		return judge(atDot, r, s)
	}
	return lost(atBody, err, s)
}
