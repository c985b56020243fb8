package smtpserver

import (
	"context"
	"errors"
	"io"
	"strconv"

	"waybill/transport/envelope"
	"waybill/transport/smtp"
	"waybill/transport/smtpserver/binarymime"
)

// message is the body of one transaction on its way in: behind DATA a smtp.DotReader, behind BDAT a chunkReader.
type message interface {
	io.Reader
	Ended() bool             // the end of the message was read: it may be acknowledged
	Drain(limit int64) error // read and forget the rest of a message that was given up
}

// watched is what the Session reads. It remembers why reading failed.
type watched struct {
	io.Reader
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}

// data: RFC 5321 4.1.1.4.
func (c *conn) data(ctx context.Context, _ string) {
	if c.bodyType == envelope.BodyBinaryMIME {
		c.reply(smtp.NewReply(503, "5.5.1", "BODY=BINARYMIME needs BDAT")) // RFC 3030 3
		return
	}
	if c.cfg.Sendmail && c.w.br.Buffered() > 0 { // RFC 2920 3.1: what is sent before the answer may be anything
		c.log.Info("client sends a message before it may")
		c.close(smtp.NewReply(554, "5.5.0", "SMTP protocol error"))
		return
	}
	c.send(c.in(smtp.NewReply(354, "", "go ahead, end with a line that is a single dot"), smtp.NewReply(354, "", "End data with <CR><LF>.<CR><LF>")))
	if c.state == closing {
		return
	}
	c.receive(ctx, smtp.NewDotReader(c.w.br, c.cfg.Bare, c.cfg.MaxSize, c.cfg.MaxLine))
}

// receive passes a message to the Session and answers. It is the end of the transaction.
//
//	the Session read to the end                its replies
//	the message was faulty                     our reply, whatever the Session says, after the rest is drained
//	the Session gave up before the end         its replies, after the rest is drained
//	the connection failed or was too slow      none, or 421
//	the client gave up between two chunks      none: what it said instead has its own
func (c *conn) receive(ctx context.Context, m message) {
	if err := c.w.bw.Flush(); err != nil { // the Session may take its time; what was said so far goes out now
		c.lost(err)
		return
	}
	c.w.startData()
	body := &watched{Reader: m}
	if c.bodyType == envelope.BodyBinaryMIME {
		body.Reader = binarymime.NewReader(m, c.cfg.Bare)
	}
	replies := c.deliver(ctx, body)
	switch {
	case c.cfg.Sendmail && errors.Is(body.err, smtp.ErrBareLF):
		c.close(smtp.NewReply(421, "4.5.0", "Bare linefeed (LF) not allowed"))
		return
	case c.cfg.Sendmail && errors.Is(body.err, smtp.ErrBareCR):
		c.close(smtp.NewReply(421, "4.5.0", "Bare carriage return (CR) not allowed"))
		return
	}
	if !m.Ended() && (body.err == nil || refusal(body.err) != nil) {
		if err := c.giveUp(m, body.err == nil && accepted(replies)); refusal(err) != nil {
			// it never ends: say why we go, and go
			replies, body.err = c.same(smtp.NewReply(421, "4.3.4", c.cfg.Hostname+" reads no more of this message")), nil
			c.state = closing
		} else if err != nil {
			body.err = err
		}
	}
	c.w.endData()
	if errors.Is(body.err, errAborted) {
		if c.state != closing {
			c.endTransaction()
		}
		return
	}
	if body.err != nil {
		r := refusal(body.err)
		if r == nil {
			if accepted(replies) {
				c.log.Error("a session accepted a message whose end did not come", "err", body.err)
			}
			c.fail(body.err)
			return
		}
		if c.cfg.Sendmail && errors.Is(body.err, smtp.ErrTooLarge) {
			r = smtp.NewReply(552, "5.2.3", "Message exceeds maximum fixed size ("+strconv.FormatInt(c.cfg.MaxSize, 10)+")")
		}
		c.log.Info("message refused", "reply", r.String())
		replies = c.same(r)
	}
	c.conclude(replies)
}

// giveUp reads what the Session did not: to the end of the message, or, where the message came in chunks and is
// refused, to the end of the chunk.
func (c *conn) giveUp(m message, taken bool) error {
	if chunk, ok := m.(*chunkReader); ok && !taken {
		return chunk.abandon(c.drainLimit())
	}
	return m.Drain(c.drainLimit())
}

// accepted reports whether the Session consented for any recipient.
func accepted(replies []*smtp.Reply) bool {
	for _, r := range replies {
		if r == nil || r.Positive() {
			return true
		}
	}
	return false
}

// drainLimit is how much of a message that was given up we read before we hang up.
func (c *conn) drainLimit() int64 { return max(c.cfg.MaxSize, 64<<20) }

// deliver asks the Session: one reply, or with LMTP one for each recipient (RFC 2033 4.2).
func (c *conn) deliver(ctx context.Context, body io.Reader) []*smtp.Reply {
	if !c.cfg.LMTP {
		return []*smtp.Reply{c.session.Data(ctx, body)}
	}
	s, ok := c.session.(RecipientData)
	if !ok {
		return c.same(c.session.Data(ctx, body))
	}
	replies := s.DataLMTP(ctx, body)
	if len(replies) != c.rcpts {
		c.log.Error("wrong number of replies from a session", "recipients", c.rcpts, "replies", len(replies))
		return c.same(smtp.NewReply(451, "4.3.0", "internal error"))
	}
	return replies
}

// same is r, or with LMTP r for each recipient.
func (c *conn) same(r *smtp.Reply) []*smtp.Reply {
	n := 1
	if c.cfg.LMTP {
		n = c.rcpts
	}
	replies := make([]*smtp.Reply, n)
	for i := range replies {
		replies[i] = r
	}
	return replies
}

// conclude sends the replies to a message and ends the transaction.
func (c *conn) conclude(replies []*smtp.Reply) {
	taken := false
	for _, r := range replies {
		if c.answer(r, smtp.NewReply(250, "2.0.0", "message accepted")) {
			taken = true
		}
	}
	if taken {
		c.messages++
		c.errors, c.junk, c.badRcpts = 0, 0, 0
	}
	if c.state != closing {
		c.endTransaction()
	}
}

// refusal is the answer to a message that is faulty in itself; nil where err is the connection's.
func refusal(err error) *smtp.Reply {
	switch {
	case errors.Is(err, smtp.ErrBareCR), errors.Is(err, smtp.ErrBareLF):
		return smtp.NewReply(550, "5.6.0", err.Error()+": lines must end in CRLF") // RFC 5321 2.3.8
	case errors.Is(err, smtp.ErrNUL):
		return smtp.NewReply(550, "5.6.0", err.Error())
	case errors.Is(err, smtp.ErrLineTooLong):
		return smtp.NewReply(550, "5.6.0", err.Error())
	case errors.Is(err, binarymime.ErrStructure):
		return smtp.NewReply(554, "5.6.0", err.Error())
	case errors.Is(err, smtp.ErrTooLarge):
		return smtp.NewReply(552, "5.3.4", "message size exceeds the limit") // RFC 1870 6.3
	}
	return nil
}
