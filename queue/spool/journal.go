package spool

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"waybill/transport/envelope"
)

// Outcome words of a journal. They are transport.Outcome's, which this package does not import.
const (
	Deferred  = "deferred"
	Delivered = "delivered"
	Relayed   = "relayed"
	Failed    = "failed"
	Discarded = "discarded"
	Expanded  = "expanded" // replaced by members, which are recipients of their own
)

// Status is the last that is known of a recipient.
type Status struct {
	Outcome    string // one of the words above; empty: never tried
	Code       string // RFC 3463
	Text       string
	Mailer     string
	Host       string
	User       string // as the mailer knew the recipient
	At         time.Time
	Remote     string
	Reply      string
	Diagnostic string
	TLS        string
	DSN        bool
	Exit       int
	Next       time.Time // when it is due again; zero: when the message is
	Warned     bool      // the sender was told of the delay
	Owed       string    // a notice of this kind is still to be made; the recipient itself is done
	Try        int       // how many attempts the message had behind it then; not written, the place in the journal tells
}

// Recipient is one recipient of a message: of its envelope, or a member that stands for one.
type Recipient struct {
	envelope.Recipient
	Parent   int    // index of the recipient that was expanded into this one; -1 for one of the envelope
	As       string // login name with whose rights a command or file is used
	Stage    string // the expander's note
	HasOwner bool   // Owner replaces the envelope's sender
	Owner    envelope.Address
	Status   Status
}

// Final reports whether nothing more is to be delivered to r.
func (r *Recipient) Final() bool { return r.Status.Outcome != "" && r.Status.Outcome != Deferred }

// Done reports whether nothing at all is left to do about r.
func (r *Recipient) Done() bool { return r.Final() && r.Status.Owed == "" }

// Entry is one line of a journal: a Try, an Outcome, an Expansion, a Priority or a Held.
type Entry interface {
	append(b []byte) []byte
	apply(m *Message) error
}

// Try tells that an attempt ended, and when the next is due.
type Try struct {
	Number int
	At     time.Time
	Next   time.Time
}

// OutcomeOf tells what became of the recipient with this index.
type OutcomeOf struct {
	Index int
	Status
}

// Expansion replaces the recipient Index by Members, whose indices count from Base.
type Expansion struct {
	Index   int
	Base    int
	User    string // the local user that was expanded
	At      time.Time
	Members []Recipient
}

// Priority changes the priority of the message.
type Priority struct{ Value int }

// Held tells why the message is held.
type Held struct{ Reason string }

// stamp appends " name=SECONDS" unless t is zero.
func stamp(b []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return fmt.Appendf(b, " %s=%d", name, t.Unix())
}

func (t Try) append(b []byte) []byte {
	b = fmt.Appendf(b, "try %d", t.Number)
	return stamp(stamp(b, "at", t.At), "next", t.Next)
}

func (t Try) apply(m *Message) error {
	m.Attempts, m.LastTry, m.NextTry = t.Number, t.At, t.Next
	return nil
}

func (p Priority) append(b []byte) []byte { return fmt.Appendf(b, "priority %d", p.Value) }

func (p Priority) apply(m *Message) error {
	m.Envelope.Priority = p.Value
	return nil
}

func (h Held) append(b []byte) []byte { return appendText(append(b, "held 0 : "...), h.Reason) }

func (h Held) apply(m *Message) error {
	m.HeldFor = h.Reason
	return nil
}

func (o OutcomeOf) append(b []byte) []byte {
	b = stamp(fmt.Appendf(b, "rcpt %d %s %s", o.Index, o.Outcome, o.Code), "at", o.At)
	b = stamp(b, "next", o.Next)
	b = field(b, "mailer", o.Mailer)
	b = field(b, "host", o.Host)
	b = field(b, "user", o.User)
	b = field(b, "remote", o.Remote)
	b = field(b, "diag", o.Diagnostic)
	b = field(b, "reply", o.Reply)
	b = field(b, "tls", o.TLS)
	if o.DSN {
		b = append(b, " dsn=1"...)
	}
	if o.Exit != 0 {
		b = fmt.Appendf(b, " exit=%d", o.Exit)
	}
	if o.Warned {
		b = append(b, " warned=1"...)
	}
	b = field(b, "owed", o.Owed)
	b = append(b, " : "...)
	return appendText(b, o.Text)
}

func (o OutcomeOf) apply(m *Message) error {
	m.top = max(m.top, o.Index+1)
	if o.Index >= len(m.Recipients) {
		return fmt.Errorf("outcome of recipient %d, which is not known", o.Index)
	}
	if o.Outcome == Expanded && m.Recipients[o.Index].Status.Outcome != Expanded {
		return fmt.Errorf("recipient %d is said to be expanded, and into what is not known", o.Index)
	}
	m.Recipients[o.Index].Status = o.Status
	m.Recipients[o.Index].Status.Try = m.Attempts
	return nil
}

func (x Expansion) append(b []byte) []byte {
	b = stamp(fmt.Appendf(b, "expand %d base=%d", x.Index, x.Base), "at", x.At)
	b = field(b, "user", x.User)
	for i := range x.Members {
		r := &x.Members[i]
		b = append(b, " +"...)
		switch {
		case r.Command != "":
			b = field(b, "command", string(r.Command))
		case r.File != "":
			b = field(b, "file", string(r.File))
		default:
			b = field(b, "addr", "<"+string(r.Addr)+">")
		}
		b = field(b, "notify", r.Notify.String())
		b = field(b, "orcpt", r.ORcpt)
		b = field(b, "as", r.As)
		b = field(b, "stage", r.Stage)
		if r.HasOwner {
			b = field(b, "owner", "<"+string(r.Owner)+">")
		}
	}
	return b
}

func (x Expansion) apply(m *Message) error {
	m.top = max(m.top, x.Base+len(x.Members))
	if x.Index < len(m.Recipients) && m.Recipients[x.Index].Status.Outcome == Expanded {
		return nil // written a second time after a failed sync
	}
	if x.Index >= len(m.Recipients) || x.Base < len(m.Recipients) {
		return fmt.Errorf("expansion of recipient %d from %d on does not fit", x.Index, x.Base)
	}
	for len(m.Recipients) < x.Base {
		// A line with members was lost: their places are taken by what is done, so that the count stays right. The
		// recipient that they stood for was not marked, and will be expanded again.
		m.Recipients = append(m.Recipients, Recipient{Parent: -1, Status: Status{Outcome: Discarded, Code: "2.0.0", Text: "journal line lost"}})
	}
	for _, r := range x.Members {
		r.Parent = x.Index
		m.Recipients = append(m.Recipients, r)
	}
	m.Recipients[x.Index].Status = Status{Outcome: Expanded, Code: "2.0.0", Text: "expanded", User: x.User, At: x.At}
	return nil
}

// appendLine writes one journal line: checksum, entry, line end.
func appendLine(b []byte, e Entry) []byte {
	start := len(b)
	b = append(b, "00000000 "...)
	b = e.append(b)
	copy(b[start:], fmt.Sprintf("%08x", Checksum(0, b[start+9:])))
	return append(b, '\n')
}

// parseLine undoes appendLine; line has no line end.
func parseEntry(line string) (Entry, error) {
	sum, rest, _ := strings.Cut(line, " ")
	want, err := strconv.ParseUint(sum, 16, 32)
	if err != nil || len(sum) != 8 || Checksum(0, []byte(rest)) != uint32(want) {
		return nil, fmt.Errorf("journal line: %w", ErrDamaged)
	}
	word, rest, _ := strings.Cut(rest, " ")
	first, rest, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(first)
	if err != nil {
		return nil, fmt.Errorf("journal line %q: %w", word, err)
	}
	if n < 0 && word != "priority" || n > 1<<24 {
		return nil, fmt.Errorf("journal line %q: number %d out of range", word, n)
	}
	switch word {
	case "try":
		return parseTry(n, rest)
	case "rcpt":
		return parseOutcome(n, rest)
	case "expand":
		return parseExpansion(n, rest)
	case "priority":
		return Priority{n}, nil
	case "held":
		reason, err := unescape(strings.TrimPrefix(rest, ": "))
		return Held{reason}, err
	}
	return nil, fmt.Errorf("journal line %q not understood", word)
}

func parseTry(n int, rest string) (Entry, error) {
	t := Try{Number: n}
	err := fields(rest, func(name, value string) (err error) {
		switch name {
		case "at":
			t.At, err = parseTime(value)
		case "next":
			t.Next, err = parseTime(value)
		default:
			err = fmt.Errorf("unknown field %q", name)
		}
		return err
	})
	return t, err
}

func parseOutcome(n int, rest string) (Entry, error) {
	o := OutcomeOf{Index: n}
	words, text, ok := strings.Cut(rest, " : ")
	if !ok {
		return nil, errors.New("outcome without a text")
	}
	o.Outcome, words, _ = strings.Cut(words, " ")
	switch o.Outcome {
	case Deferred, Delivered, Relayed, Failed, Discarded, Expanded:
	default:
		return nil, fmt.Errorf("outcome %q not understood", o.Outcome)
	}
	o.Code, words, _ = strings.Cut(words, " ")
	var err error
	if o.Text, err = unescape(text); err != nil {
		return nil, err
	}
	err = fields(words, func(name, value string) (err error) {
		switch name {
		case "at":
			o.At, err = parseTime(value)
		case "next":
			o.Next, err = parseTime(value)
		case "mailer":
			o.Mailer = value
		case "host":
			o.Host = value
		case "user":
			o.User = value
		case "remote":
			o.Remote = value
		case "diag":
			o.Diagnostic = value
		case "reply":
			o.Reply = value
		case "tls":
			o.TLS = value
		case "dsn":
			o.DSN = value == "1"
		case "exit":
			o.Exit, err = strconv.Atoi(value)
		case "warned":
			o.Warned = value == "1"
		case "owed":
			o.Owed = value
		default:
			err = fmt.Errorf("unknown field %q", name)
		}
		return err
	})
	return o, err
}

func parseExpansion(n int, rest string) (Entry, error) {
	x := Expansion{Index: n}
	head, rest, _ := strings.Cut(rest, " +")
	err := fields(head, func(name, value string) (err error) {
		switch name {
		case "base":
			x.Base, err = strconv.Atoi(value)
			if err == nil && (x.Base < 0 || x.Base > 1<<24) {
				err = fmt.Errorf("base %d out of range", x.Base)
			}
		case "user":
			x.User = value
		case "at":
			x.At, err = parseTime(value)
		default:
			err = fmt.Errorf("unknown field %q", name)
		}
		return err
	})
	for err == nil && rest != "" {
		var member string
		member, rest, _ = strings.Cut(rest, " +")
		var r Recipient
		r, err = parseMember(strings.TrimPrefix(member, " "))
		x.Members = append(x.Members, r)
	}
	return x, err
}

func parseMember(s string) (Recipient, error) {
	r := Recipient{Parent: -1}
	targets := 0
	err := fields(s, func(name, value string) (err error) {
		switch name {
		case "addr":
			targets++
			r.Addr, err = parsePath(value)
		case "command":
			targets++
			r.Command = envelope.Command(value)
		case "file":
			targets++
			r.File = envelope.FileName(value)
		case "notify":
			var ok bool
			if r.Notify, ok = envelope.ParseNotify(value); !ok {
				err = fmt.Errorf("bad notify %q", value)
			}
		case "orcpt":
			r.ORcpt = value
		case "as":
			r.As = value
		case "stage":
			r.Stage = value
		case "owner":
			r.HasOwner = true
			r.Owner, err = parsePath(value)
		default:
			err = fmt.Errorf("unknown field %q", name)
		}
		return err
	})
	if err == nil && targets != 1 {
		err = errors.New("a member needs one address, command or file")
	}
	return r, err
}
