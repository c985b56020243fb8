package app

import (
	"bufio"
	"cmp"
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"waybill/compat/cf"
	"waybill/compat/submit"
	"waybill/queue"
	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/smtp"
	"waybill/transport/smtpserver"
	"waybill/transport/sysexits"
)

// privacy reports whether PrivacyOptions has one of the words, or goaway, which stands for most of them (Operations
// Guide, PrivacyOptions).
func (c *cfSite) privacy(words ...string) bool {
	v, _ := c.conf.Option("PrivacyOptions", "")
	set := strings.FieldsFunc(strings.ToLower(v), func(r rune) bool { return r == ',' || r == ' ' })
	for _, w := range words {
		if slices.Contains(set, w) || slices.Contains(set, "goaway") && !slices.Contains([]string{"noetrn", "restrictmailq", "restrictqrun", "nobodyreturn", "noreceipts", "noactualrecipient"}, w) {
			return true
		}
	}
	return false
}

// expand puts macros into a template of the configuration.
func (c *cfSite) expand(template string) string {
	return cf.Expand(template, func(name string) (string, bool) {
		switch name {
		case "b", "a":
			return time.Now().Format(mailDate), true
		}
		v, ok := c.conf.Prog.Macros[name]
		return v, ok
	})
}

// greeting is what SmtpGreetingMessage says behind the host's name, with the ESMTP that sendmail puts there.
func (c *cfSite) greeting() string {
	v, ok := c.conf.Option("SmtpGreetingMessage", "")
	if !ok || v == "" {
		v = "$j Sendmail $v ready at $b"
	}
	text := c.expand(strings.TrimSpace(v))
	_, text, _ = strings.Cut(text, " ")
	return strings.TrimSpace("ESMTP " + smtp.Printable(text))
}

// cfSession is an SMTP session as a sendmail with this configuration has it.
type cfSession struct {
	*smtpSession
	exit     *int   // what sendmail -bs ends with; not nil
	features string // what srv_features said
	talk     *cfTalk
	trace    *cfTrace
}

// cfSession makes a session of inner. A reply says that srv_features has no answer now.
func (s *site) cfSession(ctx context.Context, inner *smtpSession) (smtpserver.Session, *smtp.Reply) {
	features, ok := cfPolicy{s.cf, inner.client, inner.reverse}.features(ctx)
	if !ok {
		return nil, smtp.NewReply(421, "4.3.0", "Temporary system failure")
	}
	session := cfSession{inner, cmp.Or(s.pipeExit, new(int)), features, &cfTalk{verbose: s.cf.verbose}, &cfTrace{}}
	inner.refused = session.refusedLine
	return session, nil
}

// Close runs the queue for those whom ETRN named.
func (s cfSession) Close() {
	s.unfinished()
	if !s.trace.spoke && s.site.cf.pipe {
		s.site.mail.Line(s.logID(), s.Peer()+" did not issue MAIL/EXPN/VRFY/ETRN during connection to stdin")
	}
	s.smtpSession.Close()
	if len(s.talk.nodes) == 0 {
		return
	}
	ctx := context.Background()
	s.site.queue.Settle(ctx)
	s.site.cf.queueRun = true
	var picked queue.Selection
	for _, node := range s.talk.nodes {
		picked = append(picked, queue.Condition{What: 'H', Sub: node})
	}
	order, _ := s.site.cf.conf.Option("QueueSortOrder", "")
	if err := s.site.queue.RunInOrder(ctx, picked, sortOrder(order), func(string, int, int) {}, nil); err != nil {
		s.site.log.Warn("a queue run failed", "nodes", s.talk.nodes, "err", err)
	}
}

// Etrn asks check_etrn first.
func (s cfSession) Etrn(ctx context.Context, node string) *smtp.Reply {
	s.trace.spoke = true
	if name, ok := strings.CutPrefix(node, "#"); ok {
		return smtp.NewReply(459, "4.5.4", "Queue "+name+" unknown")
	}
	refused, _, err := s.site.cf.rw.Check(ctx, "check_etrn", []string{node}, macros("", s.origin()))
	switch {
	case err != nil:
		return smtp.NewReply(451, "4.3.0", "Temporary failure")
	case refused != nil && !refused.Discard:
		return smtp.NewReply(refused.Code, refused.Enhanced, refused.Text)
	}
	if s.site.cf.pipe { // there is no daemon here that would run it: this process does, when the client has gone
		s.talk.nodes = append(s.talk.nodes, strings.TrimPrefix(node, "@"))
		return smtp.NewReply(250, "2.0.0", "Queuing for node "+node+" started")
	}
	return s.smtpSession.Etrn(ctx, node)
}

// featureLetters are the letters of srv_features that speak of commands and extensions (Operations Guide,
// "srv_features"): small offers, capital does not.
var featureLetters = map[string]string{"AUTH": "A", "VERB": "B", "DSN": "D", "ETRN": "E", "PIPELINING": "P", "STARTTLS": "S", "EXPN": "X"}

// Offers says which commands srv_features, PrivacyOptions and the modifiers of the port allow.
func (s cfSession) Offers(word string) bool {
	if letter := featureLetters[word]; letter != "" && strings.Contains(s.features, letter) {
		return false
	}
	switch word {
	case "EXPN":
		return !s.site.cf.privacy("noexpn")
	case "VERB":
		return !s.site.cf.privacy("noverb") && s.Offers("EXPN") // noexpn means noverb, too
	case "ETRN":
		return !s.site.cf.privacy("noetrn") && !strings.Contains(modifiers(s.client), "E")
	case "DSN":
		return !s.site.cf.privacy("noreceipts")
	}
	return true
}

func (s cfSession) Helo(ctx context.Context, name string) *smtp.Reply {
	if r := s.smtpSession.Helo(ctx, name); r != nil && !r.Positive() {
		return r
	}
	return smtp.NewReply(250, "", "Hello "+s.Peer()+", pleased to meet you")
}

// Peer is how sendmail calls the client.
func (s cfSession) Peer() string {
	who := s.clientName()
	switch {
	case !s.client.Remote.IsValid():
		who = frontEnds{s: s.site}.userName(os.Getuid()) + "@localhost"
	case s.client.Name != "":
		who += " [" + s.client.Remote.Addr().String() + "]"
	}
	return who
}

// failed notes the first failure: sendmail -bs ends with its status, whatever went well later.
func (s cfSession) failed(exit int) {
	if *s.exit == sysexits.OK {
		*s.exit = exit
	}
}

// Help reads HelpFile: lines of a topic, white space and text.
func (s cfSession) Help(_ context.Context, topic string) *smtp.Reply {
	file, _ := s.site.cf.conf.Option("HelpFile", "")
	file = strings.TrimSpace(file)
	f, err := os.Open(file)
	if file == "" || err != nil {
		return smtp.NewReply(502, "5.3.0", "Sendmail "+cf.Version+" -- HELP not implemented")
	}
	defer f.Close()
	want := strings.ToLower(topic)
	if want == "" {
		want = "smtp"
	}
	var lines []string
	found := false
	const most = 200   // lines: enough for any help, and a bound
	versioned := false // "#vers<tab>2": since then, the first words are the file's to say
	for in := bufio.NewScanner(f); in.Scan() && len(lines) < most; {
		versioned = versioned || strings.HasPrefix(in.Text(), "#vers\t")
		name, text, _ := strings.Cut(in.Text(), "\t")
		if strings.HasPrefix(name, "#") || !strings.EqualFold(strings.TrimSpace(name), want) {
			continue
		}
		found = true
		lines = append(lines, s.site.cf.expand(text))
	}
	if want == "smtp" && !versioned {
		lines = append([]string{"This is Sendmail version " + cf.Version}, lines...)
	}
	if !found {
		return smtp.NewReply(504, "5.3.0", `HELP topic "`+want+`" unknown`)
	}
	return &smtp.Reply{Code: 214, Enhanced: "2.0.0", Lines: append(lines, "End of HELP info")}
}

// Vrfy says who a name is, unless PrivacyOptions forbids it.
func (s cfSession) Vrfy(ctx context.Context, name string) *smtp.Reply {
	switch {
	case s.site.cf.privacy("novrfy"):
		return smtp.NewReply(252, "2.5.2", "Cannot VRFY user; try RCPT to attempt delivery (or try finger)")
	case s.site.cf.privacy("needvrfyhelo") && s.client.Helo == "":
		return smtp.NewReply(503, "5.0.0", "I demand that you introduce yourself first")
	}
	return s.check(ctx, "check_vrfy", name, false)
}

// Expn says who is on a list.
func (s cfSession) Expn(ctx context.Context, name string) *smtp.Reply {
	if s.site.cf.privacy("needexpnhelo") && s.client.Helo == "" {
		return smtp.NewReply(503, "5.0.0", "I demand that you introduce yourself first")
	}
	return s.check(ctx, "check_expn", name, true)
}

// check answers VRFY and EXPN where the rulesets allow it.
func (s cfSession) check(ctx context.Context, ruleset, name string, expand bool) *smtp.Reply {
	refused, _, err := s.site.cf.rw.Check(ctx, ruleset, []string{name}, macros("", s.origin()))
	if err != nil {
		return smtp.NewReply(451, "4.3.0", "Temporary failure")
	}
	if refused != nil && !refused.Discard {
		return smtp.NewReply(refused.Code, refused.Enhanced, refused.Text)
	}
	s.asked(strings.ToUpper(strings.TrimPrefix(ruleset, "check_")), smtp.Printable(name))
	var told func(line string)
	if s.talk.verbose && expand {
		told = s.talk.say
	}
	reply, exit := s.smtpSession.look(ctx, name, expand, told)
	s.failed(exit)
	s.talk.looked = s.talk.looked || reply.Positive()
	return reply
}

// lister collects what VRFY and EXPN show.
type lister struct {
	ctx       context.Context
	s         *site
	names     localNames
	expand    bool
	lines     []string
	elsewhere []string // stands behind lines
	wrong     *transport.Status
	inside    *transport.Status // of somebody on a list
	told      func(line string) // hears how lists are expanded; nil: nobody does
}

// maxListed bounds what an EXPN shows and how far it follows lists in lists.
const maxListed = 1000

// add shows one address, or with expand all those that it stands for. It returns 252 for one of another host.
func (l *lister) add(addr envelope.Address, from queue.LocalUser) int {
	if len(l.lines)+len(l.elsewhere) >= maxListed || from.Depth > maxVerify {
		return 250
	}
	d, status := l.s.queue.Verify(l.ctx, &envelope.Envelope{}, envelope.Recipient{Addr: addr})
	switch status.Outcome() {
	case transport.Relayed:
		l.elsewhere = append(l.elsewhere, "<"+string(addr)+">")
		return 252
	case transport.Delivered:
	default:
		if from.Depth == 0 {
			l.wrong = &status
		} else {
			l.inside = &status
		}
		return 550
	}
	from.Name = d.User
	e, err := l.names.Expand(l.ctx, from)
	if err != nil {
		return 451
	}
	if len(e.Members) == 0 || !l.expand {
		if line := l.line(d.User, len(e.Members) == 0); !slices.Contains(l.lines, line) { // one who is there by two lists is shown once
			l.lines = append(l.lines, line)
		}
		return 250
	}
	if l.told != nil {
		for _, line := range e.Told {
			l.told(line)
		}
	}
	next := queue.LocalUser{Depth: from.Depth + 1, Trail: append(slices.Clone(from.Trail), from.Name)}
	slices.Reverse(e.Members) // as sendmail has it
	for _, m := range e.Members {
		next.Stage = m.Stage
		switch {
		case m.Command != "":
			switch command := string(m.Command); {
			case strings.HasPrefix(command, `"|`):
				l.lines = append(l.lines, "<"+command+">")
			case strings.HasPrefix(command, `"`):
				l.lines = append(l.lines, "<|"+command+">")
			default:
				l.lines = append(l.lines, "<\"|"+command+"\">")
			}
		case m.File != "":
			l.lines = append(l.lines, "<"+string(m.File)+">")
		case m.Refused == nil:
			l.add(m.Addr, next)
		}
	}
	return 250
}

// line shows a local name, with what the passwd file says of a user.
func (l *lister) line(user string, full bool) string {
	at := "<" + user + "@" + l.s.settings.Host + ">"
	if !full {
		return at
	}
	p, _ := submit.FindUser(l.s.settings.Users, func(login string, _ int) bool { return login == user })
	return strings.TrimSpace(p.Name + " " + at)
}
