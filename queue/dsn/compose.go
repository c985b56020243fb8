package dsn

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"waybill/transport"
	"waybill/transport/envelope"
)

// Recipient is one recipient of which a notice speaks.
type Recipient struct {
	Orig   envelope.Recipient // as the sender named it: address, NOTIFY, ORCPT
	Actual string             // what aliases and .forward made of it: an address, "|program", "/file"; empty when the same
	Status transport.Status

	LastAttempt time.Time     // zero when nothing was tried
	RetryUntil  time.Time     // in a Delay: when we give up; zero when not known
	Expired     bool          // failed only because its time in the queue ran out; Status is then the last one, mostly Deferred
	Age         time.Duration // time in the queue, for Expired and for a Delay
	Limit       time.Duration // the time in the queue that the configuration has for this notice; 0: not known
	Members     []Recipient   // with ToAlias of a Classic: those of the members that were delivered
	From        string        // what Actual stood in, where that is not Orig; empty: Orig
	Early       bool          // with Grown, in a Failure: it was replaced when the message was queued, and the others wait
	Grown       Growth        // in a Success: it was replaced by others, and that is the end of its story
	Routed      string        // what the rules made of Orig for the next hop; empty: not known, or the same. A Classic shows it
	Local       string        // the name that nobody has here, where it is another than that of Orig. A Classic shows it
	Host        string        // the host that a mailer was given; empty: not known. A Classic shows it
	Moved       string        // what the rules made of Orig, a user whom nobody knows here; empty: not so. A Classic shows it
	Where       string        // file and line that named Actual; empty: not known
	List        string        // the list with an owner through which it came; empty: none
	Place       int           // when it was its turn, among those that a Classic tells the dialogues of
}

// Growth is how a recipient became several.
type Growth uint8

const (
	Single  Growth = iota
	ToAlias        // an alias with several members (RFC 3461 5.2.7.2): whether they get it is not told
	ToList         // a list with an owner (RFC 3461 5.2.7.3), who hears of trouble from now on
)

// Notice is what a message to compose speaks of.
type Notice struct {
	Kind       Kind
	Envelope   *envelope.Envelope // of the message that is reported on
	Body       envelope.Body      // that message; nil when it cannot be read any more
	Recipients []Recipient
	Time       time.Time
	Also       []envelope.Address // who gets it beside the sender; a Composer's other notices go to one
	Same       bool               // the mail of Also goes to the sender, too
	Others     []Recipient        // who failed for now in the same attempt, for the dialogues that a Classic tells
	Transcript []string           // lines of the dialogue, as sendmail shows them (">>> RCPT To:<a@b>", "<<< 550 no"); may be empty
}

// Message is a composed notice: an envelope from the null sender, without an id, and the octets.
type Message struct {
	Envelope *envelope.Envelope
	Body     envelope.Body
}

// Composer writes notices. The zero value of every field but Host is usable.
type Composer struct {
	Host string // the name of this host, which goes into From and Reporting-MTA; required
	// Bare is for a site whose mailers' rules write headers (sendmail.cf): To keeps a login without "@Host". Codes and
	// what a warning returns, which is the whole message, are sendmail's, too.
	Bare       bool
	Postmaster envelope.Address // who gets double bounces; default "postmaster"
	// ReturnLimit is the number of octets of the largest message that is returned whole to a sender who asks for that
	// (RET=FULL); default 20 MB, with Bare no limit. A sender who asks for nothing gets up to 1 MB of it, with Bare as much.
	ReturnLimit int64

	token func() string // 32 hex digits; tests make it predictable
}

const (
	defaultReturnLimit = 20 << 20
	unaskedReturnLimit = 1 << 20
)

// ErrNothingToSay tells that a notice has no recipients or is of kind None.
var ErrNothingToSay = errors.New("a notice needs a kind and at least one recipient")

// Compose writes the notice. Its plan: look at the message once (its header; whether it holds 8-bit octets or our
// boundary), write the text, the status fields, and the header of the last part into memory, and chain that with the
// message itself, which stays where it is. The body of n must stay readable until the notice has been committed.
func (c Composer) Compose(n Notice) (Message, error) {
	p, err := c.begin(n)
	if err != nil {
		return Message{}, err
	}
	to, back := p.to, p.back
	text := c.text(n, back.subject)
	head := c.header(n, to, back)
	status := c.status(n)
	eightBit := back.eightBit || !ascii(text) || !ascii(status)

	var b strings.Builder
	b.WriteString(head)
	if eightBit {
		b.WriteString("Content-Transfer-Encoding: 8bit\n")
	}
	b.WriteString("\nThis is a MIME-encapsulated message\n")
	fmt.Fprintf(&b, "\n--%s\n", back.boundary)
	if ascii(text) {
		b.WriteString("Content-Type: text/plain; charset=us-ascii\n\n")
	} else {
		b.WriteString("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n")
	}
	b.WriteString(text)
	fmt.Fprintf(&b, "\n--%s\nContent-Type: %s\n", back.boundary, statusType(n))
	if !ascii(status) {
		b.WriteString("Content-Transfer-Encoding: 8bit\n")
	}
	b.WriteString("\n" + status)
	if back.part != nil {
		fmt.Fprintf(&b, "\n--%s\nContent-Type: %s\n", back.boundary, back.mediaType)
		if back.eightBit {
			b.WriteString("Content-Transfer-Encoding: 8bit\n")
		}
		b.WriteString("\n")
	}
	parts := chain{envelope.BytesBody(b.String())}
	if back.part != nil {
		parts = append(parts, back.part)
	}
	parts = append(parts, envelope.BytesBody("\n--"+back.boundary+"--\n"))

	return p.message(n, parts, eightBit), nil
}

// plan is what is settled before a word is written.
type plan struct {
	to    envelope.Address
	back  returned
	given int64 // octets of the message as it came in
	also  []envelope.Address
}

// begin sets the defaults of c, and finds out to whom the notice goes and what it returns.
func (c *Composer) begin(n Notice) (plan, error) {
	if n.Kind == None || len(n.Recipients) == 0 {
		return plan{}, ErrNothingToSay
	}
	if c.Postmaster == "" {
		c.Postmaster = "postmaster"
	}
	if c.ReturnLimit <= 0 {
		c.ReturnLimit = defaultReturnLimit
		if c.Bare {
			c.ReturnLimit = math.MaxInt64
		}
	}
	if c.token == nil {
		c.token = randomToken
	}
	p := plan{to: n.Envelope.Sender}
	if n.Kind == Double {
		p.to = c.Postmaster
	}
	if p.to.Null() {
		return plan{}, fmt.Errorf("notice about %s: the null sender is not answered", n.Envelope.ID)
	}
	var err error
	if p.back, err = c.returned(n); err != nil {
		return plan{}, fmt.Errorf("notice about %s: reading the message: %w", n.Envelope.ID, err)
	}
	p.given = p.back.given
	return p, nil
}

// message puts the notice into an envelope.
func (p plan) message(n Notice, body envelope.Body, eightBit bool) Message {
	env := &envelope.Envelope{
		Recipients: []envelope.Recipient{{Addr: p.to}},
		Arrival:    n.Time,
		Origin:     envelope.Origin{Protocol: "local", ClientName: "localhost", UID: -1},
		SMTPUTF8:   !ascii(string(p.to)),
	}
	for _, to := range p.also {
		env.Recipients = append(env.Recipients, envelope.Recipient{Addr: to})
	}
	if eightBit || env.SMTPUTF8 {
		env.BodyType = envelope.Body8BitMIME
	}
	return Message{Envelope: env, Body: body}
}

// randomToken returns 128 random bits as hex digits.
func randomToken() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// header writes the header of the notice but for its encoding.
func (c Composer) header(n Notice, to envelope.Address, back returned) string {
	subject, auto := "Returned mail: see transcript for details", "failure"
	switch n.Kind {
	case Delay:
		subject, auto = "Warning: could not send message for past "+period(oldest(n.Recipients)), "warning-timeout"
	case Success:
		subject, auto = "Return receipt", "return-receipt"
	case Double:
		subject, auto = "Postmaster notify: see transcript for details", "postmaster-notification"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Date: %s\n", n.Time.Format(dateForm))
	fmt.Fprintf(&b, "From: Mail Delivery Subsystem <MAILER-DAEMON@%s>\n", c.Host)
	if !c.Bare {
		to = envelope.Address(qualified(to, c.Host))
	}
	fmt.Fprintf(&b, "To: <%s>\n", to)
	fmt.Fprintf(&b, "Subject: %s\n", subject)
	fmt.Fprintf(&b, "Message-Id: <%s.%s@%s>\n", n.Time.UTC().Format("20060102150405"), c.token()[:16], c.Host)
	// RFC 3834 5: no answering machine replies to this
	fmt.Fprintf(&b, "Auto-Submitted: auto-generated (%s)\n", auto)
	b.WriteString("MIME-Version: 1.0\n")
	fmt.Fprintf(&b, "Content-Type: multipart/report; report-type=delivery-status;\n\tboundary=\"%s\"\n", back.boundary)
	return b.String()
}

// dateForm is RFC 5322 3.3.
const dateForm = "Mon, 02 Jan 2006 15:04:05 -0700"

// oldest is the longest time that one of the recipients has waited.
func oldest(rs []Recipient) time.Duration {
	var d time.Duration
	for _, r := range rs {
		d = max(d, r.Age)
	}
	return d
}

// Period is a time as notices write it: "4 hours".
func Period(d time.Duration) string { return period(d) }

// period writes a time in the queue as people say it: "4 hours", "1 day", "30 minutes". It rounds down.
func period(d time.Duration) string {
	n, unit := int(d/time.Minute), "minute"
	switch {
	case d < time.Second:
		return "too long"
	case d < time.Minute:
		n, unit = int(d/time.Second), "second"
	case d >= 48*time.Hour:
		n, unit = int(d/(24*time.Hour)), "day"
	case d >= time.Hour:
		n, unit = int(d/time.Hour), "hour"
	}
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}
