package smtpserver

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"waybill/transport/envelope"
	"waybill/transport/smtp"
)

func (c *conn) ehlo(ctx context.Context, arg string) { c.hello(ctx, arg, "EHLO") }
func (c *conn) helo(ctx context.Context, arg string) { c.hello(ctx, arg, "HELO") }
func (c *conn) lhlo(ctx context.Context, arg string) { c.hello(ctx, arg, "LHLO") }

// hello: RFC 5321 4.1.1.1 and 4.1.4: it ends a transaction; RFC 2033 4.1: LMTP has LHLO and nothing else.
func (c *conn) hello(ctx context.Context, name, verb string) {
	switch {
	case c.cfg.LMTP != (verb == "LHLO"):
		c.reply(smtp.NewReply(500, "5.5.1", "command not recognized"))
		return
	case c.cfg.Sendmail:
		if why := c.badName(verb, name); why != "" {
			c.reply(smtp.NewReply(501, "5.0.0", why))
			return
		}
	case !smtp.ValidHelo(strings.TrimSuffix(name, "."), false):
		// RFC 5321 4.1.1.1: a domain or an address literal, in ASCII also with SMTPUTF8 (RFC 6531 3.7.1). The name goes
		// into Received: anything else stays out.
		c.reply(smtp.NewReply(501, "5.5.4", "bad domain name or address literal"))
		return
	}
	if c.cfg.Sendmail && c.w.br.Buffered() > 0 { // RFC 2920 3.1: what follows it must wait for the answer
		c.log.Info("client goes on before the answer to its greeting")
		c.denied = smtp.NewReply(550, "5.0.0", "Command rejected")
		c.reply(smtp.NewReply(554, "5.5.0", "SMTP protocol error"))
		return
	}
	c.endTransaction()
	first := c.cfg.Hostname
	if g, ok := c.session.(Greeter); ok {
		r := g.Helo(ctx, name)
		if r != nil && !r.Positive() {
			c.answer(r, nil)
			return
		}
		if r != nil {
			first += " " + r.Text()
		}
	}
	c.client.Helo, c.client.ESMTP = name, verb != "HELO"
	c.state = ready
	if !c.client.ESMTP {
		c.send(smtp.NewReply(250, "", first))
		return
	}
	c.send(&smtp.Reply{Code: 250, Lines: append([]string{first}, c.keywords()...)})
}

// keywords is what EHLO offers now.
func (c *conn) keywords() []string {
	list := []string{"ENHANCEDSTATUSCODES"}
	if c.offers("PIPELINING") {
		list = append(list, "PIPELINING")
	}
	if c.has("EXPN") {
		list = append(list, "EXPN")
	}
	if c.has("VERB") {
		list = append(list, "VERB")
	}
	list = append(list, "8BITMIME")
	if c.cfg.MaxSize > 0 {
		list = append(list, "SIZE "+strconv.FormatInt(c.cfg.MaxSize, 10))
	} else {
		list = append(list, "SIZE")
	}
	if c.offers("DSN") {
		list = append(list, "DSN")
	}
	if !c.cfg.Sendmail {
		list = append(list, "CHUNKING", "BINARYMIME")
	}
	if c.cfg.UTF8 {
		list = append(list, "SMTPUTF8")
	}
	if c.has("ETRN") {
		list = append(list, "ETRN")
	}
	if m := c.mechanisms(); len(m) > 0 {
		list = append(list, "AUTH "+strings.Join(m, " "))
	}
	if c.has("STARTTLS") {
		list = append(list, "STARTTLS")
	}
	if c.cfg.DeliverBy {
		list = append(list, "DELIVERBY")
	}
	if c.requireTLS() {
		list = append(list, "REQUIRETLS")
	}
	if l := c.limits(); l != "" && !c.cfg.Sendmail {
		list = append(list, "LIMITS"+l)
	}
	if c.mayXclient() {
		list = append(list, "XCLIENT "+xclientWords)
	}
	return append(list, "HELP")
}

// requireTLS: RFC 8689 2: only inside TLS.
func (c *conn) requireTLS() bool { return c.cfg.RequireTLS && c.client.TLS != nil }

// limits: RFC 9422 4.
func (c *conn) limits() string {
	s := ""
	if c.cfg.MaxMessages > 0 {
		s += " MAILMAX=" + strconv.Itoa(c.cfg.MaxMessages)
	}
	if c.cfg.MaxRecipients > 0 {
		s += " RCPTMAX=" + strconv.Itoa(c.cfg.MaxRecipients)
	}
	return s
}

// offered is the set of extensions whose parameters MAIL and RCPT may carry now.
func (c *conn) offered() smtp.Ext {
	ext := smtp.ExtSize | smtp.Ext8BitMIME | smtp.ExtBinaryMIME
	if c.offers("DSN") {
		ext |= smtp.ExtDSN
	}
	if c.cfg.Auth != nil {
		ext |= smtp.ExtAuth // RFC 4954 5: the parameter is understood whether or not the client has authenticated
	}
	if c.cfg.UTF8 {
		ext |= smtp.ExtUTF8
	}
	if c.cfg.DeliverBy {
		ext |= smtp.ExtDeliverBy
	}
	if c.requireTLS() {
		ext |= smtp.ExtRequireTLS
	}
	return ext
}

// mail: RFC 5321 4.1.1.2.
func (c *conn) mail(ctx context.Context, arg string) {
	switch {
	case c.cfg.NeedTLS && c.client.TLS == nil:
		c.reply(smtp.NewReply(530, "5.7.0", "say STARTTLS first")) // RFC 3207 4
		return
	case c.cfg.NeedAuth && c.client.Auth == "":
		c.reply(smtp.NewReply(530, "5.7.0", "authentication is needed")) // RFC 4954 6
		return
	}
	text, ok := c.cutKeyword(arg, "FROM")
	if !ok {
		c.reply(c.in(smtp.NewReply(501, "5.5.4", "say MAIL FROM:<address>"), badParameters(arg)))
		return
	}
	path, shown, rest, refusal := c.path(ctx, "MAIL", text)
	if refusal != nil {
		c.reply(refusal)
		return
	}
	var params smtp.MailParams
	if c.cfg.Sendmail {
		params, refusal = smtp.SendmailMailParams(rest, c.offered())
	} else {
		params, refusal = smtp.ParseMailParams(rest, c.offered())
	}
	switch {
	case refusal != nil:
		c.reply(refusal)
		return
	case path.UTF8 && !params.UTF8:
		c.reply(smtp.NewReply(553, "5.6.7", "SMTPUTF8 is needed for this address")) // RFC 6531 3.5
		return
	case c.cfg.MaxSize > 0 && params.Size > c.cfg.MaxSize:
		c.reply(c.in(smtp.NewReply(552, "5.3.4", "message size exceeds the limit"), // RFC 1870 6.1
			smtp.NewReply(552, "5.2.3", "Message size exceeds fixed maximum message size ("+strconv.FormatInt(c.cfg.MaxSize, 10)+")")))
		return
	case c.cfg.MaxMessages > 0 && c.messages >= c.cfg.MaxMessages:
		c.close(smtp.NewReply(421, "4.7.0", c.cfg.Hostname+" takes no more messages in this connection"))
		return
	case c.exceeds(c.srv.messageRates, 1, c.cfg.MessageRate):
		c.log.Info("too many messages in a minute")
		c.send(smtp.NewReply(450, "4.7.1", "too many messages from you, try again later"))
		return
	}
	body := params.Body
	if body == envelope.BodyBinaryMIME {
		params.Body = envelope.Body8BitMIME // what the Session gets: binary parts are encoded on the way in
	}
	if !c.answer(c.session.Mail(ctx, MailFrom{path.Addr, shown, params}), smtp.NewReply(250, "2.1.0", "sender ok")) {
		c.session.Reset()
		return
	}
	c.state, c.utf8, c.bodyType = mail, params.UTF8, body
}

// rcpt: RFC 5321 4.1.1.3.
func (c *conn) rcpt(ctx context.Context, arg string) {
	text, ok := c.cutKeyword(arg, "TO")
	if !ok {
		c.reply(c.in(smtp.NewReply(501, "5.5.4", "say RCPT TO:<address>"), badParameters(arg)))
		return
	}
	if over(c.rcpts+1, c.cfg.MaxRecipients) {
		c.send(c.in(smtp.NewReply(452, "4.5.3", "too many recipients"), smtp.NewReply(452, "4.5.3", "Too many recipients"))) // RFC 5321 4.5.3.1.10
		return
	}
	if c.exceeds(c.srv.rcptRates, 1, c.cfg.RecipientRate) {
		c.send(smtp.NewReply(450, "4.7.1", "too many recipients from you, try again later"))
		return
	}
	r := c.rcptReply(ctx, text)
	if r.Positive() {
		c.rcpts++
		c.state = rcpt
		c.send(r)
		return
	}
	c.refused++
	if r.Permanent() {
		c.badRcpts++
		c.throttle(ctx)
	}
	c.send(r) // not reply: a list with dead addresses is no broken client; badRcpts counts these
	if r.Code == 421 {
		c.state = closing
	}
}

func (c *conn) rcptReply(ctx context.Context, text string) *smtp.Reply {
	path, shown, rest, refusal := c.path(ctx, "RCPT", text)
	if refusal != nil {
		return refusal
	}
	var params smtp.RcptParams
	if c.cfg.Sendmail {
		params, refusal = smtp.SendmailRcptParams(rest, c.offered())
	} else {
		params, refusal = smtp.ParseRcptParams(rest, c.offered(), c.utf8)
	}
	switch {
	case refusal != nil:
		return refusal
	case path.UTF8 && !c.utf8:
		return smtp.NewReply(553, "5.6.7", "SMTPUTF8 is needed for this address") // RFC 6531 3.5
	}
	return settle(c.session.Rcpt(ctx, RcptTo{path.Addr, shown, params}), smtp.NewReply(250, "2.1.5", "recipient ok"))
}

// throttle makes guessing of addresses slow.
func (c *conn) throttle(ctx context.Context) {
	if c.trusted || !over(c.badRcpts, c.cfg.BadRcptThrottle) || over(c.badRcpts, c.cfg.MaxBadRecipients) {
		return
	}
	if err := c.w.bw.Flush(); err != nil {
		return
	}
	select {
	case <-time.After(c.cfg.BadRcptDelay):
	case <-ctx.Done():
	}
}

// rset: RFC 5321 4.1.1.5.
func (c *conn) rset(_ context.Context, _ string) {
	c.endTransaction()
	c.send(c.in(smtp.NewReply(250, "2.0.0", "reset"), smtp.NewReply(250, "2.0.0", "Reset state")))
}

// endTransaction forgets the envelope, and keeps what HELO said.
func (c *conn) endTransaction() {
	if c.state&(mail|rcpt|chunks) != 0 {
		c.session.Reset()
	}
	if c.state != fresh && c.state != closing {
		c.state = ready
	}
	c.rcpts, c.refused, c.utf8, c.bodyType = 0, 0, false, ""
}

// noop: RFC 5321 4.1.1.9: the argument is ignored.
func (c *conn) noop(_ context.Context, _ string) {
	c.send(c.in(smtp.NewReply(250, "2.0.0", "ok"), smtp.NewReply(250, "2.0.0", "OK")))
}

// quit: RFC 5321 4.1.1.10: an open transaction is forgotten.
func (c *conn) quit(_ context.Context, _ string) {
	c.close(c.in(smtp.NewReply(221, "2.0.0", c.cfg.Hostname+" closes the connection"), smtp.NewReply(221, "2.0.0", c.cfg.Hostname+" closing connection")))
}

// vrfy: RFC 5321 3.5.3, 7.3.
func (c *conn) vrfy(ctx context.Context, arg string) {
	var r *smtp.Reply
	if v, ok := c.session.(Verifier); ok && c.offers("VRFY") {
		r = v.Vrfy(ctx, arg)
	}
	c.answer(r, smtp.NewReply(252, "2.5.2", "cannot verify, send some mail and see"))
}

func (c *conn) expn(ctx context.Context, arg string) {
	v, ok := c.session.(Expander)
	if !ok || !c.offers("EXPN") {
		c.reply(c.in(smtp.NewReply(502, "5.5.1", "command not implemented"), smtp.NewReply(502, "5.7.0", "Sorry, we do not allow this operation")))
		return
	}
	c.answer(v.Expn(ctx, arg), smtp.NewReply(252, "2.5.2", "cannot expand, send some mail and see"))
}

// help: RFC 5321 4.1.1.8.
func (c *conn) help(ctx context.Context, topic string) {
	if h, ok := c.session.(Helper); ok {
		if r := h.Help(ctx, topic); r != nil {
			c.reply(r)
			return
		}
	}
	verbs := make([]string, 0, len(c.srv.commands))
	for _, cmd := range commands() {
		if c.has(cmd.verb) {
			verbs = append(verbs, cmd.verb)
		}
	}
	c.send(&smtp.Reply{Code: 214, Enhanced: "2.0.0", Lines: []string{"commands: " + strings.Join(verbs, " "), "see RFC 5321"}})
}

// has reports whether verb is of use in this session.
func (c *conn) has(verb string) bool {
	if !c.offers(verb) {
		return false
	}
	switch verb {
	case "LHLO":
		return c.cfg.LMTP
	case "EHLO", "HELO":
		return !c.cfg.LMTP
	case "AUTH":
		return len(c.mechanisms()) > 0
	case "STARTTLS":
		_, ok := c.netConn()
		return ok && c.cfg.TLS != nil && c.client.TLS == nil // RFC 3207 4.2: not again
	case "XCLIENT":
		return c.mayXclient()
	case "EXPN":
		_, ok := c.session.(Expander)
		return ok
	case "VERB":
		_, ok := c.session.(Verboser)
		return ok && c.cfg.Sendmail
	case "BDAT":
		return !c.cfg.Sendmail
	case "ETRN":
		_, ok := c.session.(QueueRunner)
		return ok
	}
	return true
}

// offers reports whether the Session wants a command or an extension to be there.
func (c *conn) offers(word string) bool {
	chooser, ok := c.session.(Chooser)
	return !ok || chooser.Offers(word)
}

// etrn: RFC 1985.
func (c *conn) etrn(ctx context.Context, arg string) {
	q, ok := c.session.(QueueRunner)
	if !ok || !c.offers("ETRN") {
		c.reply(c.in(smtp.NewReply(502, "5.5.1", "command not implemented"), smtp.NewReply(502, "5.7.0", "Sorry, we do not allow this operation")))
		return
	}
	if arg == "" {
		c.reply(smtp.NewReply(500, "5.5.2", "Parameter required")) // sendmail's; argRule asks for one otherwise
		return
	}
	if err := checkNode(arg); err != nil && !c.cfg.Sendmail { // which queues for whatever is asked, and finds nothing
		c.reply(smtp.NewReply(501, "5.5.4", err.Error()))
		return
	}
	c.answer(q.Etrn(ctx, arg), smtp.NewReply(250, "2.0.0", "queuing started"))
}

// checkNode: RFC 1985 5: a domain, "@" and a domain, or "#" and a name; and no other octets, whoever reads it later.
func checkNode(arg string) error {
	name := arg
	if strings.HasPrefix(arg, "@") {
		name = arg[1:]
	}
	if strings.HasPrefix(arg, "#") {
		name = arg[1:]
	}
	if !smtp.ValidHelo(name, false) || strings.HasPrefix(name, "[") {
		return errors.New("bad node name")
	}
	return nil
}

// cutKeyword cuts "FROM:" or "TO:" off, in any case; for sendmail there may be white space before the colon, and something
// must stand behind it.
func (c *conn) cutKeyword(arg, keyword string) (string, bool) {
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return "", false
	}
	arg = arg[len(keyword):]
	if c.cfg.Sendmail {
		arg = strings.TrimLeft(arg, white)
	}
	text, ok := strings.CutPrefix(arg, ":")
	return text, ok && (!c.cfg.Sendmail || strings.Trim(text, white) != "")
}

// path reads the path of a MAIL or RCPT.
func (c *conn) path(ctx context.Context, verb, text string) (p smtp.Path, shown, rest string, refusal *smtp.Reply) {
	if r, ok := c.session.(PathReader); ok && c.cfg.Sendmail {
		p.Addr, shown, rest, refusal = r.ReadPath(ctx, verb, text)
		return p, shown, rest, refusal
	}
	var err error
	code := "5.1.3"
	if verb == "MAIL" {
		code = "5.1.7"
		p, rest, err = smtp.ParseReversePath(text)
	} else {
		p, rest, err = smtp.ParseForwardPath(text)
	}
	if err != nil {
		return p, "", "", smtp.NewReply(501, code, err.Error())
	}
	return p, pathText(text, rest), rest, nil
}

// pathText is the path of a command: what stands before its parameters.
func pathText(text, rest string) string { return strings.TrimSpace(strings.TrimSuffix(text, rest)) }
