// Package maillog writes the log that mail administrators read, in sendmail's form: one line when a message is
// accepted ("ID: from=<..>, size=..."), one for each outcome of a recipient ("ID: to=<..>, ..., stat=Sent"), one for
// each refusal. In flow plain structs, out go lines with a syslog prefix ("Nov 21 22:48:11 host sendmail[123]: ") to
// standard error, to a file, or to the socket of the system's log (RFC 3164). Log analysers depend on the form of
// these lines. Writing never blocks and never fails a delivery, and no text from a message can begin a new line.
package maillog

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"waybill/queue"
	"waybill/transport"
	"waybill/transport/envelope"
)

// Log writes lines to one place. Its methods may be called at the same time.
type Log struct {
	out     destination
	classic *Classic

	mu   sync.Mutex
	held map[string][]queue.Tried // of attempts whose lines are not complete yet; with classic
}

// destination takes whole lines without line end. It deals with its own troubles.
type destination interface {
	write(t time.Time, level slog.Level, line string)
	reopen() error
	close() error
}

// Options say how lines are marked.
type Options struct {
	Tag  string // the program's name in each line; default "sendmail", by which log analysers know us
	Host string // the name of this host; default os.Hostname
	// Classic writes the lines of sendmail; nil: ours, which say a little more.
	Classic *Classic
}

// Open returns the log at where: "stderr", "syslog", or the path of a file, which is created with mode 0640 if it does
// not exist.
func Open(where string, opt Options) (*Log, error) {
	if opt.Tag == "" {
		opt.Tag = "sendmail"
	}
	opt.Tag = escape(opt.Tag) // any user may say -L
	if opt.Host == "" {
		opt.Host, _ = os.Hostname()
	}
	opt.Host, _, _ = strings.Cut(opt.Host, ".") // as syslogd writes it
	switch where {
	case "stderr":
		return logTo(&stream{w: os.Stderr, opt: opt}, opt), nil
	case "syslog":
		return logTo(&syslog{path: "/dev/log", opt: opt}, opt), nil
	}
	f := &stream{path: where, opt: opt}
	if err := f.reopen(); err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	return logTo(f, opt), nil
}

func logTo(out destination, opt Options) *Log {
	return &Log{out: out, classic: opt.Classic, held: map[string][]queue.Tried{}}
}

// Reopen opens a log file anew, after it was moved away (SIGHUP). If that fails, the old one stays in use.
func (l *Log) Reopen() error { return l.out.reopen() }

// Close ends the log.
func (l *Log) Close() error { return l.out.close() }

// From is what is known when a message has been accepted.
type From struct {
	Envelope  *envelope.Envelope
	Size      int64
	Class     int    // of the Precedence header, as sendmail counts: 0 ordinary, -60 bulk, -100 junk
	MessageID string // value of the Message-Id header
	Daemon    string // name of the listener; empty for the front end
}

// From logs that a message was accepted.
func (l *Log) From(f From) {
	env := f.Envelope
	var b line
	b.add("from", "<"+string(env.Sender)+">")
	b.add("size", f.Size)
	b.add("class", f.Class)
	b.add("nrcpts", len(env.Recipients))
	b.optional("msgid", f.MessageID)
	b.optional("bodytype", string(env.BodyType))
	if env.Origin.Protocol != "local" {
		b.optional("proto", env.Origin.Protocol)
	}
	b.optional("daemon", f.Daemon)
	b.optional("auth", env.Origin.Auth)
	b.add("relay", Relay(env.Origin))
	l.Line(env.ID, b.String())
}

// Relay is how a log line names where a message came from: "host [192.0.2.1]", "[IPv6:2001:db8::1]",
// "user@localhost".
func Relay(o envelope.Origin) string {
	addr := o.ClientAddr
	if strings.Contains(addr, ":") && !strings.HasPrefix(addr, "IPv6:") {
		addr = "IPv6:" + addr
	}
	switch {
	case addr != "" && o.ClientName != "" && !strings.HasPrefix(o.ClientName, "["):
		return o.ClientName + " [" + addr + "]"
	case addr != "":
		return "[" + addr + "]"
	case o.User != "":
		return o.User + "@localhost"
	}
	return "localhost"
}

// To is the outcome of one attempt for recipients that share it.
type To struct {
	ID         string
	Recipients []string      // as they are delivered to: "bob@example.org", "|program", "/file"
	Control    string        // the address or user with whose rights and for whose sake it is delivered; empty when the same
	Delay      time.Duration // since the message arrived
	XDelay     time.Duration // of this attempt
	Mailer     string
	Priority   int64
	Relay      string // where it went when the status does not name the host; may be empty
	Status     transport.Status

	stat string // instead of what Status says
}

// maxList is the length in octets at which a list of recipients goes on in another line.
const maxList = 600

// To logs an outcome; many recipients take several lines.
func (l *Log) To(t To) {
	relay := t.Status.Remote
	if relay == "" {
		relay = t.Relay
	}
	var rest line
	rest.optional("ctladdr", t.Control)
	rest.add("delay", interval(t.Delay))
	rest.add("xdelay", interval(t.XDelay))
	rest.optional("mailer", t.Mailer)
	rest.add("pri", t.Priority)
	rest.optional("relay", relay)
	if l.classic == nil {
		rest.optional("tls", t.Status.TLS)
	}
	rest.add("dsn", t.Status.Code())
	if t.Status.Reply != "" && t.Status.Outcome() != transport.Delivered && t.Status.Outcome() != transport.Relayed {
		rest.add("reply", t.Status.Reply)
	}
	if t.stat == "" {
		t.stat = Stat(t.Status)
	}
	rest.add("stat", t.stat)

	var list strings.Builder
	for i, r := range t.Recipients {
		if list.Len() > 0 {
			list.WriteByte(',')
		}
		list.WriteString(bracketed(r))
		if i == len(t.Recipients)-1 || list.Len()+len(t.Recipients[i+1]) > maxList {
			var b line
			b.add("to", list.String())
			l.Line(t.ID, b.String()+", "+rest.String())
			list.Reset()
		}
	}
}

// bracketed puts an address into angle brackets, and a program into quotes, as sendmail does.
func bracketed(name string) string {
	switch {
	case strings.HasPrefix(name, "|"):
		return `"` + name + `"`
	case strings.HasPrefix(name, "/"):
		return name
	}
	return "<" + name + ">"
}

// Stat is the text behind "stat=" for a status, in sendmail's words.
func Stat(s transport.Status) string {
	switch s.Outcome() {
	case transport.Delivered, transport.Relayed:
		if said := withoutCodes(s.Reply); said != "" {
			return "Sent (" + said + ")"
		}
		return "Sent"
	case transport.Discarded:
		return "discarded"
	case transport.Deferred:
		return "Deferred: " + s.Text()
	}
	word := "Service unavailable"
	switch code := s.Code(); {
	case code == "5.1.1" || s.Exit == 67:
		word = "User unknown"
	case code == "5.1.2" || s.Exit == 68:
		word = "Host unknown"
	case s.Exit == 65 || strings.HasPrefix(code, "5.6."):
		word = "Data format error"
	case s.Exit == 77:
		word = "Insufficient permission"
	}
	if s.Reply != "" || strings.EqualFold(s.Text(), word) {
		return word
	}
	return word + ": " + s.Text()
}

// withoutCodes cuts the reply code and the enhanced code from an SMTP reply. Other answers (the exit status of a
// program) have nothing to say.
func withoutCodes(reply string) string {
	code, text, _ := strings.Cut(reply, " ")
	if len(code) != 3 || strings.Trim(code, "0123456789") != "" {
		return ""
	}
	if enhanced, rest, _ := strings.Cut(text, " "); transport.ValidCode(enhanced) {
		text = rest
	}
	return strings.TrimSpace(text)
}

// Reject is a refusal at the door, before there is a message.
type Reject struct {
	ID      string // empty before the message has one
	Ruleset string // sendmail's name for the rules that refused: check_rcpt, check_mail, check_relay
	Arg     string // what was refused: "<a@b>" as in the command, or the client's name
	Relay   string // the client: Relay(origin)
	Verb    string // "reject", "discard", "quarantine"; empty is "reject"
	Text    string // the answer: "550 5.7.1 <a@b>... Relaying denied"
}

// Reject logs a refusal.
func (l *Log) Reject(r Reject) {
	var b line
	b.optional("ruleset", r.Ruleset)
	b.optional("arg1", r.Arg)
	b.optional("relay", r.Relay)
	verb := r.Verb
	if verb == "" {
		verb = "reject"
	}
	b.add(verb, r.Text)
	l.Line(r.ID, b.String())
}

// Line logs a text about a message; an empty id leaves out the mark.
func (l *Log) Line(id, text string) { l.level(slog.LevelInfo, id, text) }

func (l *Log) level(level slog.Level, id, text string) {
	if id != "" {
		text = id + ": " + text
	}
	l.out.write(time.Now(), level, escape(text))
}

// line is a list of fields.
type line struct{ b strings.Builder }

// maxField bounds one field, in octets, so that nothing foreign crowds out the rest; a list of recipients may be longer.
const maxField = 400

func (l *line) add(name string, value any) {
	text := fmt.Sprint(value)
	if len(text) > maxField && name != "to" {
		text = text[:maxField] + "..."
	}
	if l.b.Len() > 0 {
		l.b.WriteString(", ")
	}
	l.b.WriteString(name + "=" + text)
}

func (l *line) optional(name, value string) {
	if value != "" {
		l.add(name, value)
	}
}

func (l *line) String() string { return l.b.String() }

// interval writes a time as sendmail does: "00:00:05", "2+03:04:05" with days.
func interval(d time.Duration) string {
	s := int64(max(d, 0) / time.Second)
	clock := fmt.Sprintf("%02d:%02d:%02d", s/3600%24, s/60%60, s%60)
	if days := s / 86400; days > 0 {
		return fmt.Sprintf("%d+%s", days, clock)
	}
	return clock
}
