package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"waybill/queue"
	"waybill/queue/maillog"
	"waybill/rules"
	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/smtp"
	"waybill/transport/smtpserver"
)

// smtpBackend answers SMTP clients for a site: the accept blocks of the rules say who may do what, the queue says who
// exists, and takes what is accepted.
type smtpBackend struct{ s *site }

// nameTimeout is how long a client's name may take to be found: after that it has none.
const nameTimeout = 5 * time.Second

func (b smtpBackend) NewSession(ctx context.Context, client *smtpserver.Client) (smtpserver.Session, *smtp.Reply) {
	s := &smtpSession{site: b.s, client: client}
	if client.Name == "" {
		client.Name, s.reverse = b.s.nameOf(ctx, client.Remote.Addr())
	} else {
		s.reverse = reverse{ptr: client.Name, found: true}
	}
	s.rules = s.policy()
	query := s.query("")
	query.Recipient = s.clientName()
	verdict, err := s.rules.Accept(ctx, rules.StageConnect, query, nil)
	reply := s.refuse("check_relay", s.clientName(), verdict, err)
	if b.s.countConnection(reply == nil); reply != nil {
		return nil, reply
	}
	if b.s.cf != nil {
		return b.s.cfSession(ctx, s)
	}
	return s, nil
}

// nameOf is the name of an address that leads back to the address (RFC 1912 2.1); empty when there is none, or none can
// be found now.
func (s *site) nameOf(ctx context.Context, a netip.Addr) (string, reverse) {
	if !a.IsValid() {
		return "", reverse{}
	}
	ctx, cancel := context.WithTimeout(ctx, nameTimeout)
	defer cancel()
	names, _, err := s.resolver.PTR(ctx, a)
	r := reverse{later: err != nil}
	for _, name := range names[:min(len(names), 4)] {
		if r.ptr == "" {
			r.ptr = strings.TrimSuffix(name, ".")
		}
		found, err := s.resolver.Addrs(ctx, name)
		if err != nil {
			r.later = true
			continue
		}
		if slices.Contains(found.Addrs, a) {
			return strings.TrimSuffix(name, "."), reverse{ptr: strings.TrimSuffix(name, "."), found: true}
		}
	}
	return "", r
}

// policy is what this session asks: it keeps the rules until the next transaction.
func (s *smtpSession) policy() policy {
	if s.site.cf != nil {
		return cfPolicy{s.site.cf, s.client, s.reverse}
	}
	return s.site.policy()
}

// smtpSession is one connection. It keeps the rules that it began with until the next transaction.
type smtpSession struct {
	site   *site
	client *smtpserver.Client
	rules  policy

	reverse reverse // what looking for the client's name came to

	env        *envelope.Envelope   // of the transaction; nil outside of one
	decision   queue.Decision       // of the last recipient
	status     transport.Status     // what Verify said about it
	size       int64                // that the client announced; 0 when it did not
	verbose    func(line string)    // hears what the delivery does; mostly nil
	discard    bool                 // a rule said: take it and throw it away
	quarantine string               // a rule said: take it and hold it, for this reason
	refused    func(maillog.Reject) // logs a refusal; nil: as it is
	named      []string             // with a sendmail.cf: the recipients of the transaction, as they were written
	outcomes   []transport.Status   // of the recipients of the last message, where its delivery was waited for
}

func (s *smtpSession) clientName() string {
	if s.client.Name != "" {
		return s.client.Name
	}
	if s.client.Remote.IsValid() {
		return "[" + s.client.Remote.Addr().String() + "]"
	}
	return "localhost"
}

func (s *smtpSession) origin() envelope.Origin {
	o := envelope.Origin{Helo: s.client.Helo, Auth: s.client.Auth, TLS: s.client.TLSText(), ClientName: s.clientName(), UID: -1}
	if s.client.Remote.IsValid() {
		o.ClientAddr = s.client.Remote.Addr().String()
	}
	return o
}

// query is what the rules are told about the client and the transaction.
func (s *smtpSession) query(recipient string) rules.Query {
	q := rules.Query{
		Recipient: recipient,
		Client: rules.Client{
			Addr: s.client.Remote.Addr(), Name: s.client.Name, NameLater: s.reverse.later, Helo: s.client.Helo, Auth: s.client.Auth, TLS: s.client.TLSText(),
		},
		Load: s.site.load.Average(),
		Time: time.Now(),
	}
	if s.env != nil {
		q.Sender = string(s.env.Sender)
		q.Recipients = len(s.env.Recipients)
		q.Size = s.size
	}
	return q
}

// refuse turns a verdict into the reply that it asks for; nil is consent. ruleset and arg are for the log, in
// sendmail's words.
func (s *smtpSession) refuse(ruleset, arg string, v rules.Verdict, err error) *smtp.Reply {
	if err != nil {
		s.site.log.Warn("a policy cannot be asked now", "ruleset", ruleset, "arg", arg, "err", err)
		return smtp.NewReply(451, "4.3.0", "Temporary system failure. Please try again later.")
	}
	if v.Quarantine != "" {
		s.quarantine = v.Quarantine
		s.logRefusal(ruleset, arg, "quarantine", v.Quarantine)
		return nil
	}
	if v.Refusal == nil {
		return nil
	}
	if v.Refusal.Discard {
		s.discard = true
		s.logRefusal(ruleset, arg, "discard", "")
		return nil
	}
	text := v.Refusal.Text
	if strings.HasPrefix(arg, "<") && !strings.HasPrefix(text, "<") && (s.site.cf == nil || namesAddress(v.Refusal.Code)) {
		text = arg + "... " + text // as sendmail says it, and as log readers want it: "<a@b>... Relaying denied"
	}
	reply := smtp.NewReply(v.Refusal.Code, v.Refusal.Enhanced, text)
	s.logRefusal(ruleset, arg, "reject", reply.String())
	return reply
}

func (s *smtpSession) logRefusal(ruleset, arg, verb, text string) {
	s.site.countVerdict(verb)
	if s.refused != nil {
		s.refused(maillog.Reject{Ruleset: ruleset, Arg: arg, Verb: verb, Text: text})
		return
	}
	s.site.mail.Reject(maillog.Reject{Ruleset: ruleset, Arg: arg, Relay: maillog.Relay(s.origin()), Verb: verb, Text: text})
}

func (s *smtpSession) Helo(ctx context.Context, name string) *smtp.Reply {
	query := s.query(name)
	query.Client.Helo = name
	v, err := s.rules.Accept(ctx, rules.StageHelo, query, nil)
	return s.refuse("check_helo", name, v, err)
}

func (s *smtpSession) Mail(ctx context.Context, from smtpserver.MailFrom) *smtp.Reply {
	s.rules = s.policy()
	if reply := s.qualify(&from.Addr, "5.1.8", "Sender"); reply != nil {
		return reply
	}
	env := &envelope.Envelope{
		Sender: from.Addr, Arrival: time.Now(), Origin: s.origin(), RequireTLS: from.RequireTLS,
		BodyType: from.Body, SMTPUTF8: from.UTF8, Ret: from.Ret, EnvID: from.EnvID,
	}
	if by := from.By; by != nil {
		env.By = envelope.By{Until: env.Arrival.Add(by.Time), Return: by.Return, Trace: by.Trace}
	}
	env.Origin.Protocol = s.client.Protocol(from.UTF8)
	query := s.query(string(from.Addr))
	query.Sender, query.Size = string(from.Addr), max(from.Size, 0)
	v, err := s.rules.Accept(ctx, rules.StageMail, query, nil)
	arg := "<" + string(from.Addr) + ">"
	if reply := s.refuse("check_mail", arg, v, err); reply != nil {
		return reply
	}
	s.env, s.size = env, query.Size
	return smtp.NewReply(250, "2.1.0", arg+"... Sender ok")
}

func (s *smtpSession) Rcpt(ctx context.Context, to smtpserver.RcptTo) *smtp.Reply {
	if reply := s.qualify(&to.Addr, "5.1.2", "Recipient"); reply != nil {
		return reply
	}
	arg := "<" + string(to.Addr) + ">"
	v, err := s.rules.Accept(ctx, rules.StageRcpt, s.query(string(to.Addr)), nil)
	if s.site.cf != nil && err != nil && !s.client.Remote.IsValid() {
		err = nil // a program of this host may relay; sendmail takes what it cannot judge now, and tries later
	}
	if reply := s.refuse("check_rcpt", arg, v, err); reply != nil {
		return reply
	}
	rcpt := envelope.Recipient{Addr: to.Addr, Notify: to.Notify, ORcpt: to.ORcpt}
	d, status := s.site.queue.Verify(ctx, s.env, rcpt)
	s.decision, s.status = d, status
	switch status.Outcome() {
	case transport.Deferred:
		if s.site.cf != nil && status.Became == "" {
			break // sendmail takes whom it cannot judge now
		}
		return smtp.NewReply(451, status.Code(), arg+"... "+status.Text())
	case transport.Failed:
		reply := smtp.NewReply(550, status.Code(), arg+"... "+wording(status.Text()))
		s.logRefusal("check_rcpt", arg, "reject", reply.String())
		return reply
	}
	s.env.Recipients = append(s.env.Recipients, rcpt)
	return smtp.NewReply(250, "2.1.5", arg+"... Recipient ok")
}

func (s *smtpSession) Data(ctx context.Context, body io.Reader) *smtp.Reply {
	v, err := s.rules.Accept(ctx, rules.StageData, s.query(""), nil)
	if reply := s.refuse("check_data", "", v, err); reply != nil {
		return reply
	}
	if s.discard {
		if _, err := io.Copy(io.Discard, body); err != nil {
			return smtp.NewReply(451, "4.3.0", "The message did not arrive")
		}
		return smtp.NewReply(250, "2.0.0", "Message accepted for delivery")
	}
	// The header and message stages may still find a reason to throw the message away or to hold it.
	var header *envelope.Header
	opt := queue.Options{
		Verbose:    s.verbose,
		CutThrough: s.site.settings.CutThrough,
		Header: func(h *envelope.Header) error {
			header = h
			return s.checkHeader(ctx, h)
		},
		Whole: func(size int64) error {
			query := s.query("")
			query.Size, query.Header = size, header.Value
			v, err := s.rules.Accept(ctx, rules.StageMessage, query, nil)
			return s.refusal("check_eom", "", v, err)
		},
		Hold:    func() bool { return s.quarantine != "" },
		HeldFor: func() string { return s.quarantine },
	}
	if s.site.handOn != nil {
		return s.site.handOn(ctx, s.env, body)
	}
	whole, err := s.site.completed(!s.client.Remote.IsValid() || s.submits(), s.env.Sender, s.named, body)
	if err != nil {
		return smtp.NewReply(451, "4.3.0", "The message did not arrive")
	}
	s.env.Made, s.env.Again = whole.Made, whole.Again
	from := &fromClient{r: whole}
	receipt, err := s.site.queue.Accept(ctx, s.env, from, opt)
	s.outcomes = receipt.Statuses
	switch {
	case errors.Is(err, errDiscarded):
		return smtp.NewReply(250, "2.0.0", "Message accepted for delivery")
	case from.broken && err != nil:
		return smtp.NewReply(451, "4.3.0", "The message did not arrive") // the server knows better, and logs it
	}
	return acceptReply(s.site, receipt, err)
}

// fromClient remembers that reading from the client failed: that is the client's trouble, not ours.
type fromClient struct {
	r      io.Reader
	broken bool
}

func (f *fromClient) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	f.broken = f.broken || err != nil && err != io.EOF
	return n, err
}

// errDiscarded means that a rule wants the message to be taken and thrown away.
var errDiscarded = errors.New("discarded by a rule")

// checkHeader asks the rules about each header field that has an accept block of its own.
func (s *smtpSession) checkHeader(ctx context.Context, h *envelope.Header) error {
	query := s.query("")
	query.Header = h.Value
	if p, ok := s.rules.(cfPolicy); ok {
		if !p.checksHeaders() {
			return nil
		}
		v, err := p.headerEnd(ctx, len(h.Fields), h.Octets, query)
		if err := s.refusal("check_eoh", "", v, err); err != nil {
			return err
		}
	}
	for _, f := range h.Fields {
		v, err := s.rules.AcceptHeader(ctx, f.Name, f.Value(), query, nil)
		if err := s.refusal("check_header", f.Name, v, err); err != nil {
			return err
		}
	}
	return nil
}

// refusal is refuse for the stages at which the queue already has the message.
func (s *smtpSession) refusal(ruleset, arg string, v rules.Verdict, err error) error {
	reply := s.refuse(ruleset, arg, v, err)
	switch {
	case reply != nil:
		outcome := transport.Failed
		if reply.Code/100 == 4 {
			outcome = transport.Deferred
		}
		return &queue.RefusedError{Status: transport.NewStatus(outcome, reply.Enhanced, strings.Join(reply.Lines, " "))}
	case s.discard:
		return errDiscarded
	}
	return nil
}

// acceptReply is what an SMTP client is told about a message that was given to the queue.
func acceptReply(s *site, receipt queue.Receipt, err error) *smtp.Reply {
	if err == nil {
		return smtp.NewReply(250, "2.0.0", receipt.ID+" Message accepted for delivery")
	}
	var no *queue.RefusedError
	if errors.As(err, &no) {
		code := 554
		switch {
		case no.Status.Outcome() != transport.Failed:
			code = 451
		case no.Status.Code() == "5.3.4" || no.Status.Code() == "5.2.3":
			code = 552 // RFC 1870 6.3
			if s.cf != nil {
				return smtp.NewReply(code, "5.2.3", fmt.Sprintf("Message exceeds maximum fixed size (%d)", s.settings.MaxSize))
			}
		}
		return smtp.NewReply(code, no.Status.Code(), no.Status.Text())
	}
	s.log.Error("a message could not be accepted", "err", err)
	return smtp.NewReply(451, "4.3.0", "The message could not be stored. Please try again later.")
}

func (s *smtpSession) Reset() { s.env, s.size, s.discard, s.quarantine = nil, 0, false, "" }

func (s *smtpSession) Close() {}

// Etrn makes what waits for a domain due now (RFC 1985). It tells nobody whether anything does.
func (s *smtpSession) Etrn(ctx context.Context, node string) *smtp.Reply {
	domain := strings.TrimPrefix(node, "@")
	if strings.HasPrefix(node, "#") {
		return smtp.NewReply(458, "4.0.0", "there are no queue groups here")
	}
	if _, err := s.site.queue.Nudge(ctx, queue.Selection{{What: 'H', Sub: domain}}); err != nil {
		s.site.log.Warn("a queue run failed", "domain", domain, "err", err)
		return smtp.NewReply(458, "4.3.0", "Unable to queue messages for node "+node)
	}
	return smtp.NewReply(250, "2.0.0", "Queuing for node "+node+" started")
}
