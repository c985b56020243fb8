// Package submit turns what a local program pipes into sendmail into a message and its envelope. In flow an Invocation
// of package flags, standard input, and who is calling; out flow the envelope, the repaired header section, and the
// body as a stream. It reads RFC 5322 as people really write it: LF or CR LF, a lone dot at the end, text without any
// header. It opens no files but the passwd file it is told of, and keeps no more than the header section in memory.
//
// What is added comes before the caller's own fields, in sendmail's order: Resent-Date, Date, Resent-From, From,
// Resent-Message-Id, Message-Id, X-Authentication-Warning. The Received field is the queue's to add.
package submit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"waybill/compat/crack"
	"waybill/compat/flags"
	"waybill/transport/envelope"
	"waybill/transport/envelope/lexeme"
	"waybill/transport/sysexits"
)

// DefaultHeaderLimit bounds the header section, in octets.
const DefaultHeaderLimit = 1 << 20

// Caller is the user who runs the program.
type Caller struct {
	UID     int
	Login   string
	Name    string // full name; "&" is replaced already
	EnvName string // the environment variable NAME, which goes before Name
}

// Site is what must be known of this host.
type Site struct {
	Host    string // full host name
	Now     time.Time
	Unique  func() string // a fresh string for a Message-Id: letters, digits, dots
	Trusted []string      // users who may set the sender silently, beside root, daemon and uucp
	Local   []string      // domains that are this host's, beside Host and localhost
	// FullName tells the full name of a local user, for -f with somebody else's login; nil: nobody has one.
	FullName func(login string) string
	// Bare leaves the sender and the generated From field without "@Host" when they are logins of this host: for
	// configurations that qualify them per mailer.
	Bare bool
	// Nameless leaves the full name out of a From field that is made.
	Nameless bool
	// ReceiptIsDSN makes a Return-Receipt-To field ask for a success report (RrtImpliesDsn).
	ReceiptIsDSN bool
	HeaderLimit  int // 0: DefaultHeaderLimit
	// Options are those of a sendmail.cf that say how a header is completed, by name; what the command line says goes before.
	Options map[string]string
	// To are the recipients as a client named them, for NoRecipientAction; nil: those of the envelope.
	To []string
}

// Refusal is a recipient that is no address.
type Refusal struct {
	Name string // as the caller wrote it
	Text string
	Exit int // 0: that of an unknown user; ExitGood: none
}

// ExitGood as Refusal.Exit leaves the exit status alone.
const ExitGood = -1

// Message is a message ready to be handed over: Read from it yields header and body, with LF line ends.
type Message struct {
	Envelope *envelope.Envelope
	Header   []envelope.Field
	Refused  []Refusal

	// Complaints are lines for standard output about what was repaired; Exit is the exit status that they make of
	// success.
	Complaints []string
	Exit       int

	io.Reader
}

// Error ends a submission before anything was accepted.
type Error struct {
	Text string
	Exit int
}

func (e *Error) Error() string { return e.Text }

// NoRecipients is sendmail's line when neither arguments nor -t name anybody.
const NoRecipients = "Recipient names must be specified"

// NothingInHeader is sendmail's line when -t found nobody; the exit status is 0 then.
const NothingInHeader = "No recipient addresses found in header"

// Read reads the header section from in and prepares the message. It fails with *Error: exit 64 without recipients, 65
// for a header section that is too long, 0 (and NothingInHeader) when -t finds nobody; or with in's own error. The
// body is read from in when the Message is.
func Read(v *flags.Invocation, in io.Reader, caller Caller, site Site) (*Message, error) {
	if len(v.Args) == 0 && !v.Recipients {
		return nil, &Error{NoRecipients, sysexits.Usage}
	}
	limit := site.HeaderLimit
	if limit == 0 {
		limit = DefaultHeaderLimit
	}
	body := newText(in, v.IgnoreDots)
	w := &window{src: body, limit: limit, buf: make([]byte, 0, 8192)}
	fields, err := w.section(option(v, "SaveFromLine"))
	if err != nil {
		if errors.Is(err, ErrHeaderTooLong) {
			return nil, &Error{"Header too long: " + err.Error(), sysexits.DataErr}
		}
		return nil, err
	}
	p := &preparation{v: v, caller: caller, site: site, m: &Message{}}
	p.m.Envelope = &envelope.Envelope{
		Arrival:  site.Now,
		Origin:   envelope.Origin{Protocol: "local", User: caller.Login, UID: caller.UID},
		BodyType: v.Body,
		Ret:      v.Ret,
		EnvID:    v.EnvID,
		When:     v.When,
		Priority: priority(fields),
		Hops:     v.Hops,
	}
	if v.Protocol != "" {
		p.m.Envelope.Origin.Protocol = v.Protocol
	}
	if v.ProtoHost != "" {
		p.m.Envelope.Origin.ClientName = v.ProtoHost
	}
	if v.Hops < 0 {
		p.m.Envelope.Hops = (&envelope.Header{Fields: fields}).Hops()
	}
	p.sender()
	if err := p.recipients(fields); err != nil {
		return nil, err
	}
	p.repair(fields)
	var head bytes.Buffer
	for _, f := range p.m.Header {
		head.WriteString(f.Raw)
	}
	head.WriteByte('\n')
	p.m.Envelope.Made = head.Len() - w.pos
	if site.Bare {
		if w.fill(); body.completed {
			p.m.Envelope.Made++ // the line end that was missing
		}
	}
	if site.Bare {
		p.m.Envelope.Again = p.again()
	}
	p.m.Reader = io.MultiReader(&head, bytes.NewReader(w.buf[w.pos:]), body)
	if v.Body == envelope.Body7Bit || option(v, "SevenBitInput") {
		p.m.Reader = sevenBit{p.m.Reader}
	}
	return p.m, nil
}

// sevenBit takes the eighth bit away.
type sevenBit struct{ io.Reader }

func (s sevenBit) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	for i := range p[:n] {
		p[i] &= 0x7f
	}
	return n, err
}

// again is the size of the header in a queue file of sendmail: a flag stands before each field that a template made, and
// there are two fields more, Return-Path and the sender's Full-Name.
func (p *preparation) again() int {
	const returnPath = len("?Return-Path: <$g>")
	n := returnPath + p.made
	for _, f := range p.m.Header {
		n += len(f.Raw) - len("\n")
	}
	if p.full != "" {
		n += len("?Full-Name: ") + len(p.full)
	}
	return n
}

// option is what the command line says, or the site.
func (p *preparation) option(name string) (value string, given bool) {
	if value, given = p.v.Option(name); !given {
		value, given = p.site.Options[name]
	}
	return value, given
}

func option(v *flags.Invocation, name string) bool { return isSet(v.Option(name)) }

func isSet(value string, given bool) bool {
	return given && (value == "" || strings.ContainsRune("tTyY", rune(value[0])))
}

// preparation is the state of one Read.
type preparation struct {
	v      *flags.Invocation
	caller Caller
	site   Site
	m      *Message
	from   string // value of the From field that is made when there is none
	full   string // full name of a sender of this host
	noFrom bool   // nobody is the sender, and sendmail -bs adds no From field then
	made   int    // fields of p.m.Header that are ours
	warn   string // X-Authentication-Warning; empty: none
}

// sender settles the envelope sender and what a generated From field says.
func (p *preparation) sender() {
	login, name := p.caller.Login, p.caller.Name
	if p.caller.EnvName != "" {
		name = p.caller.EnvName
	}
	if p.v.SenderFlag != 0 {
		given := strings.TrimSpace(p.v.Sender)
		if p.site.Bare && given == "" && p.v.Sender != "" {
			p.own() // blanks name nobody
			return
		}
		if given == "" || given == "<>" {
			p.m.Envelope.Sender = ""
			p.from = string(p.qualify("MAILER-DAEMON")) // RFC 5322 3.6.2: a From field is never empty
			if p.site.Bare {
				p.from = "" // but sendmail's is
				if p.v.FullName != "" {
					p.from = p.v.FullName + " <>"
				}
			}
			p.warning(given)
			return
		}
		list := ParseList(given)
		mended := len(list) == 1 && list[0].Warning != "" && list[0].Problem == "" && list[0].Addr != ""
		if mended {
			p.complain(printable(given)+"... "+list[0].Warning, sysexits.Usage)
		}
		if !mended && (len(list) == 0 || len(list) > 1 && strings.Contains(given, ",") || list[0].Problem+list[0].Warning != "") {
			problem := "Invalid route address"
			if len(list) == 1 && list[0].Warning != "" {
				problem = list[0].Warning
			}
			if strings.ContainsAny(given[:1], "|/:") {
				problem = "Invalid sender address"
			}
			p.complain(printable(given)+"... "+problem, sysexits.Usage)
			p.own() // the message goes out all the same, as the caller's own
			return
		}
		addr := list[0].Addr
		if i := strings.LastIndexByte(string(addr), ':'); p.site.Bare && i > 0 && addr[0] == '@' { // RFC 5321 appendix F.2: a source route is no use
			addr = addr[i+1:]
		}
		for _, more := range list[1:] { // -f "a b": one name to sendmail
			addr += "." + more.Addr
		}
		p.warning(string(addr))
		local, domain := addr.Split()
		if domain != "" && !p.isLocal(domain) || strings.ContainsAny(string(addr), "!%") || strings.HasPrefix(string(addr), "@") {
			p.m.Envelope.Sender = addr
			p.from = string(addr)
			return
		}
		if p.caller.EnvName == "" && (!strings.EqualFold(local, login) || name == "") {
			name = ""
			if p.site.FullName != nil {
				user, _, _ := strings.Cut(local, "+")
				name = p.site.FullName(user)
			}
		}
		if p.v.FullName != "" {
			name = p.v.FullName
		}
		if domain == "" {
			addr = p.qualify(local)
		}
		p.m.Envelope.Sender = addr
		p.full, p.from = name, p.withName(name, string(addr))
		return
	}
	p.own()
}

// own makes the caller the sender.
func (p *preparation) own() {
	name := p.caller.Name
	if p.caller.EnvName != "" {
		name = p.caller.EnvName
	}
	if p.v.FullName != "" {
		name = p.v.FullName
	}
	addr := p.qualify(p.caller.Login)
	p.m.Envelope.Sender = addr
	p.full, p.from = name, p.withName(name, string(addr))
}

// withName is the value of a From field, with the full name where this site gives one.
func (p *preparation) withName(name, addr string) string {
	if p.site.Nameless {
		return "<" + addr + ">"
	}
	return withName(name, addr)
}

func (p *preparation) qualify(login string) envelope.Address {
	if p.site.Bare || p.site.Host == "" {
		return envelope.Address(login)
	}
	return envelope.Address(login + "@" + p.site.Host)
}

func (p *preparation) isLocal(domain string) bool {
	domain = strings.TrimSuffix(domain, ".")
	short, _, _ := strings.Cut(p.site.Host, ".")
	if strings.EqualFold(domain, p.site.Host) || strings.EqualFold(domain, "localhost") || strings.EqualFold(domain, short) && p.site.Bare {
		return true
	}
	for _, l := range p.site.Local {
		if strings.EqualFold(domain, l) {
			return true
		}
	}
	return false
}

// warning notes that an untrusted user claims to be somebody else.
func (p *preparation) warning(given string) {
	for _, t := range append([]string{"root", "daemon", "uucp"}, p.site.Trusted...) {
		if t == p.caller.Login {
			return
		}
	}
	if p.caller.UID == 0 {
		return
	}
	local, domain := envelope.Address(given).Split()
	if strings.EqualFold(local, p.caller.Login) && (domain == "" || p.isLocal(domain)) {
		return
	}
	if given == "" {
		given = "<>"
	}
	p.warn = fmt.Sprintf("%s: %s set sender to %s using -%c", p.site.Host, p.caller.Login, printable(given), p.v.SenderFlag)
}

// withName puts a name before an address and quotes it where RFC 5322 3.2.3 asks for it.
func withName(name, addr string) string {
	name = strings.TrimSpace(printable(name))
	if name == "" {
		return addr
	}
	if len(name) >= 2 && name[0] == '"' && lexeme.QuoteEnd(name, 0) == len(name)-1 {
		return name + " <" + addr + ">" // calendar(1) quotes its -F by itself
	}
	if strings.Contains(name, `\`) || strings.Count(name, `"`)%2 != 0 { // nothing of it may quote what follows
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `" <` + addr + ">"
	}
	return crack.Quote(name, crack.DefaultMustQuote) + " <" + addr + ">"
}

// printable replaces control characters: a name or an address must not begin a header line of its own.
func printable(s string) string {
	clean := true
	for i := 0; i < len(s); i++ {
		clean = clean && s[i] >= ' ' && s[i] != 0x7f
	}
	if clean {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}
