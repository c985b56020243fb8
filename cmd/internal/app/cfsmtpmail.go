package app

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"waybill/compat/submit"
	"waybill/queue"
	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/smtp"
	"waybill/transport/smtpserver"
	"waybill/transport/sysexits"
)

// The transaction of an SMTP session over a sendmail.cf: addresses are read as sendmail reads them, and shown in replies as
// the client wrote them.

// cfTalk is what a session keeps from one command to the next.
type cfTalk struct {
	verbose  bool              // -v, or VERB
	shown    map[string]string // of each recipient's target: how the first who named it wrote it
	texts    map[string]string // of each recipient's address: how it was written
	looked   bool              // VRFY or EXPN found somebody, whom sendmail counts with the recipients
	here     int               // how many of those named for NoRecipientAction are of this host; they stand first
	nodes    []string          // that ETRN named, with sendmail -bs
	warnings []string          // X-Authentication-Warning fields of the message at hand
	say      func(line string) // sends a line that is no reply
}

// Speak is how the server lends its voice for what a delivery does.
func (s cfSession) Speak(say func(line string)) { s.talk.say = say }

// Verb turns on what -v does.
func (s cfSession) Verb(context.Context) *smtp.Reply {
	s.talk.verbose = true
	return nil
}

// ReadPath reads an address of MAIL or RCPT.
func (s cfSession) ReadPath(ctx context.Context, verb, text string) (addr envelope.Address, shown, rest string, refusal *smtp.Reply) {
	p := submit.ParsePath(text)
	shown = smtp.Printable(p.Text)
	if verb == "MAIL" && s.client.Helo == "" && s.site.cf.privacy("authwarnings") && !s.site.cf.privacy("needmailhelo") && len(s.talk.warnings) < maxWarnings {
		s.talk.warnings = append(s.talk.warnings, s.site.settings.Host+": "+s.Peer()+" didn't use HELO protocol")
	}
	switch {
	case verb == "MAIL" && s.client.Helo == "" && s.site.cf.privacy("needmailhelo"):
		refusal = smtp.NewReply(503, "5.0.0", "Polite people say HELO first")
	case shown != p.Text:
		refusal = smtp.NewReply(501, "5.1.7", `Syntax error in mailbox address "`+strings.Trim(shown, "<>")+`" (non-printable character)`)
	case p.Problem == submit.TokenTooLong:
		refusal = smtp.NewReply(553, "5.1.0", abridged(shown)+"... "+p.Problem)
	case p.Problem != "":
		if !strings.HasPrefix(p.Problem, "Unbalanced") {
			s.failed(p.Exit)
		}
		refusal = smtp.NewReply(553, "5.0.0", shown+"... "+p.Problem)
	case p.Group && verb == "RCPT" && strings.HasPrefix(p.Text, "<") && !strings.HasSuffix(string(p.Addr), ":;"):
		refusal = smtp.NewReply(550, "5.1.1", shown+"... User unknown")
	case p.Group && verb == "RCPT":
		s.failed(sysexits.Usage)
		refusal = smtp.NewReply(553, "5.1.3", shown+"... List:; syntax illegal for recipient addresses")
	case p.Addr == "" && verb == "RCPT":
		s.failed(sysexits.NoUser)
		refusal = smtp.NewReply(553, "5.0.0", shown+"... User address required")
	}
	if refusal != nil {
		return "", shown, p.Rest, refusal
	}
	addr = p.Addr
	if path, err := smtp.ParseMailbox(string(addr)); err == nil {
		addr = path.Addr // "bob" is bob
	} else if path, _, err := smtp.ParseReversePath("<" + string(addr) + ">"); err == nil {
		addr = path.Addr // without its route
	}
	if verb == "MAIL" && addr != "" {
		refusal = s.badSender(ctx, addr, shown)
	}
	return addr, shown, p.Rest, refusal
}

// maxNamed bounds the recipients that NoRecipientAction puts into a header.
const maxNamed = 100

// maxWarnings bounds what one message says about its client.
const maxWarnings = 10

// Reset forgets what the message at hand would have said.
func (s cfSession) Reset() {
	s.talk.warnings = nil
	s.unfinished()
	s.smtpSession.Reset()
}

// abridged is how sendmail shows an address that is too long: a hundred octets from each end.
func abridged(s string) string {
	const most, each = 203, 100
	if len(s) <= most {
		return s
	}
	return s[:each] + "..." + s[len(s)-each:]
}

// badSender is what the rules have to say about the form of a sender.
func (s cfSession) badSender(ctx context.Context, addr envelope.Address, shown string) *smtp.Reply {
	_, status := s.site.queue.Verify(ctx, &envelope.Envelope{}, envelope.Recipient{Addr: addr})
	switch status.Code() {
	case "5.1.2", "5.1.3":
	default:
		return nil
	}
	if status.Became == "" {
		return nil
	}
	s.failed(queue.ExitOf(status))
	return s.ruled(status, shown)
}

// ruled is the reply to an address that a rule has refused. Where the rule names no code sendmail has one for all: 553.
func (s cfSession) ruled(status transport.Status, shown string) *smtp.Reply {
	code, enhanced, text := 553, "5.3.0", status.Text()
	raw := strings.TrimSpace(strings.ReplaceAll(status.Became, `"`, ""))
	if n, err := strconv.Atoi(raw[:min(3, len(raw))]); err == nil && n >= 400 && n < 600 && strings.HasPrefix(raw[3:], " ") {
		code, enhanced = n, status.Code()
		if said, _, _ := strings.Cut(strings.TrimLeft(raw[3:], " "), " "); transport.ValidCode(said) {
			enhanced = said
		}
	} else if strings.HasPrefix(text, "Cannot mail directly") {
		code, enhanced = 550, status.Code()
	} else if transport.ValidCode(raw[:max(0, strings.IndexByte(raw, ' '))]) {
		text = raw
	}
	if namesAddress(code) {
		text = shown + "... " + text
	}
	return smtp.NewReply(code, enhanced, text)
}

func (s cfSession) Mail(ctx context.Context, from smtpserver.MailFrom) *smtp.Reply {
	s.trace.spoke, s.trace.sender = true, from.Text
	r := s.smtpSession.Mail(ctx, from)
	s.failed(exitOfPolicy(r))
	s.talk.shown, s.talk.texts = map[string]string{}, map[string]string{}
	s.named, s.talk.here = nil, 0
	if s.env != nil && !s.site.cf.roomy(s.site.settings.Spool, s.size) {
		s.site.cf.log.Warn("low on space: a message is not taken now", "spool", s.site.settings.Spool, "from", string(from.Addr), "size", s.size)
		s.env = nil
		return smtp.NewReply(452, "4.4.5", "Insufficient disk space; try again later") // RFC 1870 6.1 (2)
	}
	if s.env != nil && s.site.cf.when != envelope.WhenDefault {
		s.env.When = s.site.cf.when
	} else if s.env != nil && s.env.When == envelope.WhenDefault {
		s.env.When = s.site.cf.delivery()
	}
	if s.env != nil {
		s.env.BodyType = cmp.Or(s.env.BodyType, s.site.cf.body)
	}
	if s.env != nil && !s.client.Remote.IsValid() {
		s.env.Origin.User = frontEnds{s: s.site}.userName(os.Getuid()) // sendmail -bs: for the Received line
	}
	return asGiven(r, string(from.Addr), from.Text)
}

func (s cfSession) Rcpt(ctx context.Context, to smtpserver.RcptTo) *smtp.Reply {
	if s.env != nil {
		if s.env.For == "" && !s.talk.looked { // the first is named, if no other is tried
			s.env.For = to.Addr
		} else {
			s.env.For = envelope.Nobody
		}
	}
	s.status, s.decision = transport.Status{}, queue.Decision{}
	r := s.smtpSession.Rcpt(ctx, to)
	shown := to.Text
	if d := s.status.Outcome(); (r.Positive() || d == transport.Failed) && len(s.named) < maxNamed {
		if name := smtp.Printable(shown); d == transport.Relayed {
			s.named = append(s.named, name)
		} else { // also whom nobody knows
			s.named = slices.Insert(s.named, s.talk.here, name)
			s.talk.here++
		}
	}
	switch {
	case s.status.Became != "" && !r.Positive(): // a rule speaks
		if !strings.HasPrefix(s.status.Text(), "Cannot mail directly") {
			s.failed(queue.ExitOf(s.status))
		}
		return s.ruled(s.status, shown)
	case !r.Positive():
		if r.Enhanced == "5.1.1" || s.status.Outcome() == transport.Failed { // nobody of that name: no failure for sendmail
			break
		}
		s.failed(exitOfPolicy(r))
	default:
		s.talk.texts[string(to.Addr)] = shown
		s.trace.rcpts++
		if key := s.target(to.Addr); s.talk.shown[key] != "" {
			shown = s.talk.shown[key]
		} else {
			s.talk.shown[key] = shown
		}
		if o := s.status.Outcome(); o == transport.Deferred || o == transport.Relayed && s.site.cf.when == envelope.WhenDefer {
			r = smtp.NewReply(r.Code, r.Enhanced, shown+"... Recipient ok (will queue)")
		}
	}
	return asGiven(r, string(to.Addr), shown)
}

// exitOfPolicy is what sendmail -bs ends with behind a refusal of check_mail or check_rcpt.
func exitOfPolicy(r *smtp.Reply) int {
	if !r.Permanent() {
		return sysexits.OK
	}
	_, detail, _ := strings.Cut(r.Enhanced, ".")
	switch detail {
	case "1.1", "1.6", "2.1":
		return sysexits.NoUser
	case "0.0":
		return sysexits.Unavailable
	case "1.2", "1.8":
		return sysexits.NoHost
	case "1.3", "1.7":
		return sysexits.Usage
	}
	return sysexits.DataErr
}

// target is where a recipient's mail goes: two with the same target are one.
func (s cfSession) target(addr envelope.Address) string {
	d := s.decision
	user := d.User
	if s.status.Outcome() == transport.Delivered {
		user = strings.ToLower(user)
	}
	if d.Mailer == "" {
		user = string(addr)
	}
	return d.Mailer + "\x00" + d.Host + "\x00" + user
}

func (s cfSession) Data(ctx context.Context, body io.Reader) *smtp.Reply {
	s.trace.id, s.trace.sender = "", "" // from now on the message has lines of its own
	var strict *sevenOnly
	strip := s.site.cf.conf.Bool("SevenBitInput", false) || s.env != nil && s.env.BodyType == envelope.Body7Bit
	if mode, _ := s.site.cf.conf.Option("EightBitMode", ""); strings.HasPrefix(strings.ToLower(strings.TrimSpace(mode)), "s") && !strip && s.env != nil && s.env.BodyType != envelope.Body8BitMIME {
		strict = &sevenOnly{r: body}
		body = strict
	}
	if strip {
		body = sevenBits{body}
	}
	if s.env != nil {
		judged, err := s.site.cf.judge(s.env, body)
		if err != nil {
			return smtp.NewReply(451, "4.3.0", "The message did not arrive")
		}
		if why, ok := errors.AsType[*wholeRefusal](judged.err); ok { // its header is too long
			return smtp.NewReply(why.code, why.dsn, why.text)
		}
		body = judged.in
	}
	if s.env != nil {
		s.site.cf.private(s.env)
	}
	if s.talk.verbose && s.env != nil { // sendmail is interactive then
		s.env.When = envelope.WhenNow
		s.verbose = s.narrate
	}
	for i := len(s.talk.warnings) - 1; i >= 0; i-- {
		body = io.MultiReader(strings.NewReader("X-Authentication-Warning: "+s.talk.warnings[i]+"\n"), body)
	}
	s.outcomes = nil
	r := s.smtpSession.Data(ctx, body)
	for _, o := range s.outcomes { // it was interactive
		s.failed(queue.ExitOf(o))
	}
	if strict != nil && strict.wide {
		return smtp.NewReply(554, "5.6.1", "Eight bit data not allowed")
	}
	return r
}

// private takes from a message what PrivacyOptions does not allow: reports of success, and bodies in bounces.
func (c *cfSite) private(e *envelope.Envelope) {
	if c.privacy("nobodyreturn") {
		e.Ret = envelope.RetHeaders
	}
	if !c.privacy("noreceipts") {
		return
	}
	for i := range e.Recipients {
		e.Recipients[i].Notify &^= envelope.NotifySuccess
	}
}

// narrate says what a delivery does, with the recipients as the client wrote them.
func (s cfSession) narrate(line string) {
	if s.talk.say == nil {
		return
	}
	if names, rest, ok := strings.Cut(line, "... "); ok {
		list := strings.Split(names, ",")
		for i, name := range list {
			if text := s.talk.texts[name]; text != "" {
				list[i] = text
			}
		}
		line = strings.Join(list, ",") + "... " + rest
	}
	s.talk.say(line)
}

// sevenBits takes the eighth bit away.
type sevenBits struct{ r io.Reader }

func (f sevenBits) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	for i := range p[:n] {
		p[i] &= 0x7f
	}
	return n, err
}

// errEightBits ends a message that has an octet from 0x80 on where none may be (EightBitMode=strict).
var errEightBits = errors.New("eight bit data")

type sevenOnly struct {
	r    io.Reader
	wide bool
}

func (f *sevenOnly) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	for _, c := range p[:n] {
		if c >= 0x80 {
			f.wide = true
			return 0, errEightBits
		}
	}
	return n, err
}

// namesAddress reports whether sendmail puts the address in front of the text of a refusal with this code.
func namesAddress(code int) bool { return code == 450 || code == 550 || code == 553 }

// asGiven shows the address in a reply as the client wrote it.
func asGiven(r *smtp.Reply, addr, text string) *smtp.Reply {
	if r == nil || text == "" {
		return r
	}
	out := *r
	out.Lines = nil
	for _, l := range r.Lines {
		if rest, ok := strings.CutPrefix(l, "<"+addr+">..."); ok {
			l = smtp.Printable(text) + "..." + rest
		}
		out.Lines = append(out.Lines, l)
	}
	return &out
}
