package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"waybill/queue/dsn"
	"waybill/queue/spool"
	"waybill/transport"
	"waybill/transport/envelope"
)

const (
	// ownReceived is how many Received lines of this host a message may bring: mail may well come back once from a
	// list or a forwarder, but not for ever (RFC 5321 6.3).
	ownReceived = 3
	copyBuffer  = 32 << 10
	// maxAddress is generous: RFC 5321 4.5.3.1.3 has 256 for a path, route addresses and UUCP paths are longer.
	maxAddress = 1024
)

// Receipt says that a message is safe.
type Receipt struct {
	ID   string
	Size int64 // octets, with the Received line
	// Statuses, where delivery was tried before Accept returned (envelope.WhenNow), has what became of each recipient
	// of the envelope. A Failed one has been told to the sender already.
	Statuses []transport.Status
	Untold   bool // of those who failed: the sender was not told, as the envelope asked for
	// Begin, with Options.Later, begins the first attempt; nil: none is to begin now.
	Begin func()
}

// Options are the caller's wishes for one message.
type Options struct {
	// Verbose gets the dialogue of a delivery that happens before Accept returns.
	Verbose func(line string)
	// Known means that e.ID was chosen by whoever dropped the message: if the spool has that message already,
	// Accept says so with the receipt of that one.
	Known bool
	// Source, with Known, is the dropped message's checksum.
	Source uint32
	// Quiet keeps the message where it is: no attempt begins.
	Quiet bool
	// CutThrough passes the message on while its client waits, where the rules say "now" and all recipients have the
	// same next hop (design.md section 2).
	CutThrough bool
	// Header is asked when the header section has been read, and Whole when the message is there, size octets long.
	// Either may refuse it with a *RefusedError. nil: nobody is asked.
	Header func(h *envelope.Header) error
	Whole  func(size int64) error
	// Vouch is asked when the message is written and before it counts: an error undoes it, and is Accept's. What it waits
	// for gets done while the disk works. nil: nobody is asked.
	Vouch func() error
	// Hold is asked when the message is safe: true keeps it until an operator releases it. nil: no.
	Hold func() bool
	// Later leaves it to the caller to begin an attempt that goes on behind his back: Receipt.Begin is to be called in any
	// case, and soon, because the message has its place among those that are tried already.
	Later bool
	// HeldFor tells why, for listings. nil: nobody says.
	HeldFor func() string

	notice bool // one of our own notices
}

// Accept takes a message into the spool: when it returns a receipt the message is on stable storage, and on an error
// nothing is left of it. The plan: refuse what loops or is malformed, stamp the Received line, write, sync, rename,
// sync; then begin the first attempt as e.When and the rules say. body is read to its end, its lines end in LF; an
// error of body means that there is no message. A *RefusedError is for the client; any other error is trouble of ours,
// and temporary.
func (q *Queue) Accept(ctx context.Context, e *envelope.Envelope, body io.Reader, opt Options) (Receipt, error) {
	if !q.begin() {
		return Receipt{}, errClosing
	}
	defer q.work.Done()
	return q.accept(ctx, e, body, opt)
}

// acceptNotice accepts one of our own notices, also while the queue is closing.
func (q *Queue) acceptNotice(ctx context.Context, e *envelope.Envelope, body io.Reader) (Receipt, error) {
	return q.accept(ctx, e, body, Options{notice: true})
}

func (q *Queue) accept(ctx context.Context, e *envelope.Envelope, body io.Reader, opt Options) (Receipt, error) {
	if err := checkEnvelope(e); err != nil {
		return Receipt{}, err
	}
	in := *e
	e = &in
	if e.Arrival.IsZero() {
		e.Arrival = q.cfg.Now()
	}
	header, body, err := readHeader(body)
	if err != nil {
		return Receipt{}, err
	}
	if err := q.inspect(e, header); err != nil {
		return Receipt{}, err
	}
	if opt.Header != nil {
		if err := opt.Header(header); err != nil {
			return Receipt{}, err
		}
	}
	if opt.CutThrough {
		if receipt, err, ok := q.passOn(ctx, e, header, body, opt); ok {
			return receipt, err
		}
	}
	m, err := q.store(e, body, opt)
	if err != nil {
		return Receipt{}, err
	}
	receipt := Receipt{ID: m.ID, Size: m.Size}
	q.cfg.Mail.Accepted(Accepted{ID: m.ID, Envelope: m.Envelope, Size: m.Size, MessageID: header.Value("Message-Id"),
		Given: max(0, m.Size-int64(len(received(m.Envelope, m.ID, q.cfg.Host))+e.Made))})
	if opt.Hold != nil && opt.Hold() {
		return receipt, errors.Join(hold(m, opt), m.Close())
	}
	q.first(ctx, m, opt, &receipt)
	return receipt, nil
}

// errDuplicate means that the message is in the spool already.
var errDuplicate = errors.New("accepted before")

// store writes the message and makes it durable.
func (q *Queue) store(e *envelope.Envelope, body io.Reader, opt Options) (*spool.Message, error) {
	d, err := q.spool.Create(e)
	if opt.Known && err != nil {
		if d, err = q.collision(e, opt, err); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(d, received(e, d.ID(), q.cfg.Host)); err != nil {
		d.Abort()
		return nil, err
	}
	in := &intake{w: d, limit: q.cfg.MaxSize}
	if opt.notice {
		in.limit = 0
	}
	buf := q.buffers.Get().(*[copyBuffer]byte)
	defer q.buffers.Put(buf)
	if _, err := io.CopyBuffer(in, struct{ io.Reader }{body}, buf[:]); err != nil {
		d.Abort()
		return nil, err
	}
	if opt.Whole != nil {
		if err := opt.Whole(in.size); err != nil {
			d.Abort()
			return nil, err
		}
	}
	d.SetSource(in.crc)
	d.VouchedBy(opt.Vouch)
	if in.last != '\n' && in.size > 0 {
		io.WriteString(d, "\n")
	}
	return d.Commit()
}

// collision decides about a message whose id is taken: it is the same one, which somebody saw accepted and nobody
// heard of, or by chance another, and gets a new id.
func (q *Queue) collision(e *envelope.Envelope, opt Options, err error) (*spool.Draft, error) {
	for _, held := range []bool{false, true} {
		m, perr := q.spool.Peek(e.ID, held)
		if perr != nil {
			continue
		}
		same := m.Source() == opt.Source && m.Envelope.Origin.UID == e.Origin.UID
		m.Close()
		if same {
			return nil, errDuplicate
		}
		e.ID = ""
		return q.spool.Create(e)
	}
	return nil, err
}

// intake counts and sums what passes, and refuses what is too much.
type intake struct {
	w     io.Writer
	limit int64
	size  int64
	crc   uint32
	last  byte
}

func (i *intake) Write(p []byte) (int, error) {
	i.size += int64(len(p))
	if i.limit > 0 && i.size > i.limit {
		return 0, refuse("5.3.4", "Message exceeds maximum fixed size") // RFC 3463 3.4
	}
	if len(p) > 0 {
		i.last = p[len(p)-1]
	}
	i.crc = spool.Checksum(i.crc, p)
	return i.w.Write(p)
}

// checkEnvelope refuses what must not be in an envelope, whoever made it.
func checkEnvelope(e *envelope.Envelope) error {
	if len(e.Recipients) == 0 {
		return refuse("5.5.1", "No recipients")
	}
	if !clean(string(e.Sender)) {
		return refuse("5.1.7", "Sender address has characters that no address may have")
	}
	if !clean(string(e.For)) {
		return refuse("5.1.3", "Recipient address has characters that no address may have")
	}
	for _, r := range e.Recipients {
		// Only an alias or a .forward file names programs and files, and those come by expansion.
		if r.Command != "" || r.File != "" || r.Addr == "" || !clean(string(r.Addr)) {
			return refuse("5.1.3", "Recipient address has characters that no address may have")
		}
	}
	return nil
}

func clean(s string) bool {
	if len(s) > maxAddress {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// readHeader reads the header section and returns a reader of the whole message. An overlong header is cut for our
// purposes and passed on whole.
func readHeader(body io.Reader) (*envelope.Header, io.Reader, error) {
	var seen bytes.Buffer
	h, err := envelope.ReadHeader(io.TeeReader(body, &seen), envelope.HeaderLimits{})
	if err != nil && !errors.Is(err, envelope.ErrHeaderTooLong) {
		return nil, nil, err
	}
	return h, io.MultiReader(&seen, body), nil
}

// inspect refuses loops, and takes from the header what the envelope does not say.
func (q *Queue) inspect(e *envelope.Envelope, h *envelope.Header) error {
	e.Hops = max(e.Hops, h.Hops())
	if e.Hops > q.cfg.MaxHops && (!q.cfg.HopsLater || e.Untold) {
		// RFC 5321 6.3; 5.4.6 is "routing loop detected" (RFC 3463)
		return refuse("5.4.6", fmt.Sprintf("Too many hops %d (%d max)", e.Hops, q.cfg.MaxHops))
	}
	if n := len(h.ReceivedBy(q.cfg.Host)); n > ownReceived {
		return refuse("5.4.6", fmt.Sprintf("Mail loop: this message was here %d times before", n))
	}
	if e.Priority == 0 {
		e.Priority = headerPriority(h)
	}
	e.Priority = max(-1000, min(1000, e.Priority))
	if !q.cfg.NoReceipts && dsn.ReceiptAsked(h) && !e.Sender.Null() {
		e.Recipients = append([]envelope.Recipient(nil), e.Recipients...)
		for i := range e.Recipients {
			e.Recipients[i].Notify = dsn.WithReceipt(e.Recipients[i].Notify)
		}
	}
	return nil
}

// headerPriority reads the fields by which people and programs say how urgent a message is. The first that is there
// decides: Precedence with sendmail's values, Priority (RFC 2156), X-Priority, Importance (RFC 4021).
func headerPriority(h *envelope.Header) int {
	for _, f := range []struct {
		name  string
		value map[string]int
	}{
		{"Precedence", map[string]int{"special-delivery": 100, "first-class": 0, "list": -30, "bulk": -60, "junk": -100}},
		{"Priority", map[string]int{"urgent": 50, "normal": 0, "non-urgent": -50}},
		{"X-Priority", map[string]int{"1": 50, "2": 25, "3": 0, "4": -25, "5": -50}},
		{"Importance", map[string]int{"high": 50, "normal": 0, "low": -50}},
	} {
		word, _, _ := strings.Cut(strings.ToLower(h.Value(f.name)), " ") // "1 (Highest)"
		if p, ok := f.value[word]; ok {
			return p
		}
	}
	return 0
}

// received is the trace field that every hop puts in front (RFC 5321 4.4).
func received(e *envelope.Envelope, id, host string) string {
	b := make([]byte, 0, 256)
	o := &e.Origin
	b = append(b, "Received: "...)
	switch {
	case o.Helo != "" || o.ClientAddr != "":
		name := o.ClientName
		switch {
		case o.ClientAddr == "" && o.User != "": // a gateway such as rmail
			name = o.User + "@localhost"
		case name == "":
			name = "[" + o.ClientAddr + "]"
		}
		b = append(append(append(append(b, "from "...), atom(firstOf(o.Helo, name))...), " ("...), comment(name)...)
		if o.ClientAddr != "" && !strings.Contains(name, o.ClientAddr) {
			b = append(append(append(b, " ["...), comment(o.ClientAddr)...), ']')
		}
		b = append(b, ')')
	case o.User != "" || o.UID >= 0:
		user := o.User
		if user == "" {
			user = "uid" + strconv.Itoa(o.UID)
		}
		b = append(append(append(b, "(from "...), comment(user)...), "@localhost)"...)
	default:
		b = append(b, "from localhost (localhost)"...)
	}
	if o.TLS != "" {
		b = append(append(append(b, "\n\t(using "...), comment(o.TLS)...), ')')
	}
	b = append(append(append(b, "\n\tby "...), atom(host)...), " (Waybill)"...)
	if o.Protocol != "" && o.Protocol != "local" {
		b = append(append(b, " with "...), atom(o.Protocol)...)
	}
	b = append(append(b, " id "...), id...)
	if to := e.For; to != "" && to != envelope.Nobody && to != envelope.Listed {
		b = append(append(append(b, "\n\tfor <"...), to...), '>')
	} else if to == "" && len(e.Recipients) == 1 { // more would tell each of them about the others
		b = append(append(append(b, "\n\tfor <"...), e.Recipients[0].Addr...), '>')
	}
	b = append(b, "; "...)
	b = e.Arrival.AppendFormat(b, "Mon, 2 Jan 2006 15:04:05 -0700")
	return string(append(b, '\n'))
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// atom makes s one word of a structured field, whatever a client called itself.
func atom(s string) string { return masked(s, " \t()<>;\\\"") }

// comment makes s safe within parentheses.
func comment(s string) string { return masked(s, "()\\") }

func masked(s, bad string) string {
	if len(s) > 255 {
		s = s[:255]
	}
	if strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f }) < 0 && !strings.ContainsAny(s, bad) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || strings.ContainsRune(bad, r) {
			return '?'
		}
		return r
	}, s)
}

// first begins or plans the first attempt of a message that was just accepted. For envelope.WhenNow it happens here.
func (q *Queue) first(ctx context.Context, m *spool.Message, opt Options, receipt *Receipt) {
	how := how{first: true, verbose: opt.Verbose}
	id := schedID(m.ID)
	switch {
	case opt.Quiet:
		m.Close()
	case m.Envelope.When == envelope.WhenQueue || m.Envelope.When == envelope.WhenDefer:
		if w := q.wiring.Load(); w != nil && w.Spoken {
			receipt.Statuses, receipt.Untold = q.grow(ctx, m, opt.Verbose)
		}
		done := m.Done()
		m.Close()
		if done {
			break
		}
		q.plan(id, time.Now().Add(q.cfg.Interval), m.Envelope.Priority)
	case m.Envelope.When == envelope.WhenNow:
		how.keep, how.waited = true, true
		q.attempt(ctx, m, &how)
		receipt.Statuses, receipt.Untold = how.statuses, how.untold
	default:
		begin := q.start(id, func(ctx context.Context) { q.attempt(ctx, m, &how) })
		switch {
		case begin == nil:
			// As much runs as may: the message takes its place in the order.
			m.Close()
			q.plan(id, time.Now(), m.Envelope.Priority)
		case opt.Later:
			receipt.Begin = begin
		default:
			begin()
		}
	}
}
