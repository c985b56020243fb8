package smtpclient

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/smtp"
	"waybill/transport/sysexits"
)

// transact sends the message to some recipients, and settles those that are decided. It returns the recipients that
// the peer wants in another transaction. Afterwards the session is at rest, or dead.
//
// With PIPELINING (RFC 2920) MAIL, all RCPTs and DATA leave in one write; without, each waits for the reply before it.
// The replies are read in the same order either way.
func (d *delivery) transact(ctx context.Context, s *session, batch []int) (again []int) {
	v := d.prepare(s)
	var mail string
	if v == nil {
		mail, v = d.mailCommand(s)
	}
	if v != nil {
		d.settle(batch, *v)
		return nil
	}
	batch = d.expressible(s, d.approved(ctx, s, batch))
	if len(batch) == 0 {
		return nil
	}
	times := &d.client.conf.Timeouts

	chunked := s.ext.chunking && !s.conf.NoChunking && !s.conf.LMTP

	follow := func() {
		if !s.ext.pipelining {
			return
		}
		for _, i := range batch {
			s.send(d.rcptCommand(s, i))
		}
		if !chunked { // BDAT waits until we know that somebody is to have the message
			s.send("DATA")
		}
	}
	s.send(mail)
	if !s.conf.Sendmail {
		follow()
	}
	r, v := s.expect(ctx, atMail, times.Mail)
	if s.used && (s.dead || r.Temporary()) && context.Cause(ctx) == nil {
		// The peer closed while the connection was idle, or has had enough of it (452 as well as 421 is said then).
		// Nothing was promised yet: another connection takes over.
		s.dead, s.stale = true, true
		return nil
	}
	s.used = false
	if v == nil && !r.Positive() {
		x := judge(atMail, r, s)
		v = &x
	}
	if v != nil {
		d.settle(batch, *v)
		d.tellAll(s, batch, *v)
		if s.conf.Sendmail {
			if !s.dead {
				d.reset(ctx, s)
			}
			return nil
		}
		d.skip(ctx, s, len(batch), chunked)
		return nil
	}
	if s.conf.Sendmail {
		follow()
	}

	var accepted []int
	for n, i := range batch {
		if !s.ext.pipelining {
			s.send(d.rcptCommand(s, i))
		}
		r, v := s.expect(ctx, atRcpt, times.Rcpt)
		switch {
		case v != nil:
			d.settle(accepted, *v)
			d.settle(batch[n:], *v)
			d.settle(again, *v)
			return nil
		case s.dead: // 421
			v := judge(atRcpt, r, s)
			d.settle(accepted, v)
			d.settle(batch[n:], v)
			d.settle(again, v)
			d.tellAll(s, batch, v)
			return nil
		case r.Positive():
			accepted = append(accepted, i)
			if s.conf.Sendmail {
				d.yes(i, asSent(r)[0])
			}
		case (r.Code == 452 || r.Code == 552) && len(accepted) > 0 && !strings.HasPrefix(r.Enhanced, "4.2") && !strings.HasPrefix(r.Enhanced, "5.2"):
			again = append(again, i)
		default:
			v := judge(atRcpt, r, s)
			d.settle([]int{i}, v)
			d.tell(s, i, v)
		}
	}
	if len(accepted) == 0 {
		d.skip(ctx, s, 0, chunked)
		d.note(batch[len(batch)-1], s.take())
		return nil
	}

	if !chunked {
		if !s.ext.pipelining {
			s.send("DATA")
		}
		r, v = s.expect(ctx, atData, times.DataInit)
		if v == nil && r.Code != 354 {
			x := judge(atData, r, s)
			v = &x
			if !s.dead {
				d.reset(ctx, s)
			}
		}
		if v != nil {
			d.settle(accepted, *v)
			d.settle(again, *v)
			d.tellAll(s, accepted, *v)
			return nil
		}
	}
	d.hand(ctx, s, accepted, chunked)
	if s.dead {
		d.settle(again, ours("connection to "+s.hop.name+" ended before another transaction"))
		return nil
	}
	return again
}

// hand sends the message, and settles the recipients as the replies to its end say.
func (d *delivery) hand(ctx context.Context, s *session, accepted []int, chunked bool) {
	if v := d.body(ctx, s, chunked); v != nil {
		d.settle(accepted, *v)
		return
	}
	for n, i := range accepted {
		r, v := s.expect(ctx, atDot, d.client.conf.Timeouts.DataFinal)
		if v != nil {
			d.settle(accepted[n:], *v)
			return
		}
		rest := []int{i} // RFC 2033 4.2: LMTP has one reply per recipient
		if !s.conf.LMTP {
			rest = accepted
		}
		if r.Positive() {
			if n == 0 {
				s.sent++
			}
			d.settle(rest, d.taken(s, r))
		} else {
			v := judge(atDot, r, s)
			d.settle(rest, v)
			d.tellAll(s, rest, v)
			if r.Intermediate() {
				s.dead = true // it waits for more, and we have no more to say
			}
		}
		if !s.conf.LMTP {
			return
		}
	}
}

// taken is the status of a recipient that the peer took the message for.
func (d *delivery) taken(s *session, r *smtp.Reply) verdict {
	outcome := transport.Relayed
	if s.conf.LMTP {
		outcome = transport.Delivered
	}
	st := transport.NewStatus(outcome, enhanced(outcome, atDot, r), "accepted by "+s.hop.name+": "+clip(r.Text(), 300))
	st.DSN = s.ext.dsn && !s.conf.LMTP
	st.By = s.ext.deliverBy
	st.Plain = !s.ext.enhanced
	s.sign(&st, r)
	return verdict{status: st}
}

// skip brings a session to rest after MAIL or all RCPTs were refused: in a pipeline the replies to the RCPTs and to DATA
// are still to come.
func (d *delivery) skip(ctx context.Context, s *session, rcpts int, chunked bool) {
	if s.dead {
		return
	}
	if s.ext.pipelining {
		for range rcpts {
			if _, v := s.expect(ctx, atRcpt, d.client.conf.Timeouts.Rcpt); v != nil || s.dead {
				return
			}
		}
		if chunked {
			d.reset(ctx, s)
			return
		}
		r, v := s.expect(ctx, atData, d.client.conf.Timeouts.DataInit)
		if v != nil || s.dead {
			return
		}
		if r.Intermediate() { // RFC 2920 3.1: the peer wants a message for nobody; it gets an empty one
			s.send(".")
			if d.client.conf.LMTP { // RFC 2033 4.2: one reply for each recipient, and there is none
				s.dead = true
				return
			}
			if _, v := s.expect(ctx, atDot, d.client.conf.Timeouts.DataFinal); v != nil || s.dead {
				return
			}
		}
	}
	d.reset(ctx, s)
}

// reset ends a transaction that came to nothing (RFC 5321 4.1.1.5).
func (d *delivery) reset(ctx context.Context, s *session) {
	if r, v := s.ask(ctx, atMail, d.client.conf.Timeouts.Quit, "RSET"); v != nil || !r.Positive() {
		s.dead = true
	}
}

// mailCommand builds MAIL with the parameters that the peer knows. A verdict means that the message cannot go there.
func (d *delivery) mailCommand(s *session) (string, *verdict) {
	env := d.req.Envelope
	sender := string(env.Sender)
	var b strings.Builder
	b.WriteString(d.client.verb("MAIL FROM") + ":<" + sender + ">")
	if s.ext.size {
		// RFC 1870 6.1. The size is ours, with LF line ends: the parameter is an estimate.
		if size := d.size(); size >= 0 {
			if s.ext.maxSize > 0 && size > s.ext.maxSize {
				v := verdict{status: refused("5.3.4", "message is too large for "+s.hop.name+": "+strconv.FormatInt(s.ext.maxSize, 10)+" octets at most", sysexits.Unavailable)}
				s.sign(&v.status, nil)
				return "", &v
			}
			if size > 0 {
				b.WriteString(" SIZE=" + strconv.FormatInt(size, 10))
			}
		}
	}
	if s.ext.eightBit && (env.BodyType == envelope.Body7Bit || env.BodyType == envelope.Body8BitMIME) {
		b.WriteString(" BODY=" + string(env.BodyType)) // RFC 6152 2
	}
	switch {
	case s.ext.utf8 && d.needsUTF8(): // RFC 6531 3.4
		b.WriteString(" SMTPUTF8")
	case !s.ext.utf8 && !s.conf.Sendmail && (!isASCII(sender) || (env.SMTPUTF8 && d.wideHeader())): // RFC 6531 3.2: returned, never mangled; sendmail says it as it is
		return "", s.noUTF8()
	}
	if env.RequireTLS && s.ext.requireTLS { // RFC 8689 4.2.1
		b.WriteString(" REQUIRETLS")
	}
	if v := d.by(s, &b); v != nil {
		return "", v
	}
	if s.ext.dsn { // RFC 3461 5.2.1
		if env.EnvID != "" && s.conf.Sendmail {
			b.WriteString(" ENVID=" + env.EnvID)
		}
		if env.Ret != envelope.RetDefault {
			b.WriteString(" RET=" + string(env.Ret))
		}
		if env.EnvID != "" && !s.conf.Sendmail {
			b.WriteString(" ENVID=" + env.EnvID)
		}
	}
	return b.String(), nil
}

// verb is a command as this client spells it; case means nothing there (RFC 5321 2.4).
func (c *Client) verb(command string) string {
	if !c.conf.Sendmail {
		return command
	}
	word, rest, _ := strings.Cut(command, " ")
	return word + " " + rest[:1] + strings.ToLower(rest[1:])
}

// size is what SIZE announces.
func (d *delivery) size() int64 {
	if d.client.conf.Size != nil {
		return d.client.conf.Size(d.req)
	}
	return d.req.Body.Size()
}

// by passes on how much is left of the time for delivery (RFC 2852 4.1). A message that is to be returned when it is over
// goes only to hosts that see to that.
func (d *delivery) by(s *session, b *strings.Builder) *verdict {
	wish := d.req.Envelope.By
	if wish.Until.IsZero() || s.conf.LMTP {
		return nil
	}
	left := time.Until(wish.Until)
	var v verdict
	switch {
	case wish.Return && left < time.Second:
		v = verdict{status: refused("5.4.7", "the time that the sender gave for delivery is over", sysexits.Unavailable)}
	case wish.Return && !s.ext.deliverBy:
		code := "5.3.3"
		if s.conf.Sendmail {
			code = "5.4.7"
		}
		v = verdict{status: refused(code, s.hop.name+" does not support DELIVERBY, and the sender wants the message back if it is late", sysexits.Unavailable), next: true}
	case s.ext.deliverBy:
		b.WriteString(" BY=" + smtp.DeliverBy{Time: left, Return: wish.Return, Trace: wish.Trace}.String())
		return nil
	default:
		return nil
	}
	s.sign(&v.status, nil)
	return &v
}

func (d *delivery) needsUTF8() bool {
	if d.req.Envelope.SMTPUTF8 || !isASCII(string(d.req.Envelope.Sender)) {
		return true
	}
	for _, r := range d.req.Recipients {
		if !isASCII(r.User) {
			return true
		}
	}
	return false
}

// wideHeader reports whether the header section has octets outside ASCII. A message that came with SMTPUTF8 and turns
// out not to need it may go on without (RFC 6531 3.6). What cannot be read counts as wide.
func (d *delivery) wideHeader() bool {
	if d.req.Body.Size() < 0 { // it may be readable only once
		return true
	}
	in, err := d.req.Body.Open()
	if err != nil {
		return true
	}
	defer in.Close()
	br := bufio.NewReader(in)
	for start := true; ; {
		line, err := br.ReadSlice('\n')
		if !isASCII(string(line)) {
			return true
		}
		if (start && len(line) == 1) || errors.Is(err, io.EOF) {
			return false
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return true
		}
		start = err == nil
	}
}

// approved settles the recipients that this peer must not be told of, and returns the others.
func (d *delivery) approved(ctx context.Context, s *session, batch []int) []int {
	if s.conf.ApproveRcpt == nil {
		return batch
	}
	var rest []int
	for _, i := range batch {
		status, ok := s.conf.ApproveRcpt(ctx, s.peer, d.req.Recipients[i].User)
		if ok {
			rest = append(rest, i)
			continue
		}
		s.sign(&status, nil)
		d.settle([]int{i}, verdict{status: status})
	}
	return rest
}

// expressible settles the recipients that this peer cannot be told of, and returns the others.
func (d *delivery) expressible(s *session, batch []int) []int {
	if s.ext.utf8 || s.conf.Sendmail { // which says them as they are, RFC 6531 3.2 notwithstanding
		return batch
	}
	var rest []int
	for _, i := range batch {
		if isASCII(d.req.Recipients[i].User) {
			rest = append(rest, i)
			continue
		}
		d.settle([]int{i}, *s.noUTF8())
	}
	return rest
}

func (s *session) noUTF8() *verdict {
	v := verdict{status: refused("5.6.7", s.hop.name+" does not take internationalized addresses", sysexits.Unavailable)}
	s.sign(&v.status, nil)
	return &v
}

func (d *delivery) rcptCommand(s *session, i int) string {
	r := &d.req.Recipients[i]
	line := d.client.verb("RCPT TO") + ":<" + r.User + ">"
	if s.ext.dsn { // RFC 3461 5.2.1
		if notify := r.Orig.Notify.String(); notify != "" {
			line += " NOTIFY=" + notify
		}
		if r.Orig.ORcpt != "" {
			line += " ORCPT=" + r.Orig.ORcpt
		}
	}
	return line
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// validPath reports whether addr can stand between angle brackets without meaning anything else. It is looser than
// RFC 5321 4.1.2 (dots may stand anywhere, as they do in real addresses), but nothing that passes can end the path or
// the line.
func validPath(addr string) bool {
	quoted := false
	for i := 0; i < len(addr); i++ {
		switch c := addr[i]; {
		case c < ' ' || c == 0x7f:
			return false
		case c == '\\':
			if i++; i >= len(addr) || addr[i] < ' ' || addr[i] == 0x7f {
				return false
			}
		case c == '"':
			quoted = !quoted
		case !quoted && (c == '<' || c == '>' || c == ' '):
			return false
		}
	}
	return !quoted
}
