package queue

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"time"

	"waybill/queue/spool"
	"waybill/transport/envelope"
)

// Import is a message from the queue of another mailer, which goes on here where it was there.
type Import struct {
	Envelope *envelope.Envelope // its ID, if it has our shape, is kept; commands and files may be among the recipients
	Body     io.Reader          // as it is to be passed on: no Received line is added
	// Users are the login names with whose rights commands and files are used, and Aliases what stands for them; as long
	// as the recipients.
	Users, Aliases []string
	Tries          int
	LastTry        time.Time
	Why            string // what kept it from being delivered
	Warned         bool   // its sender was told of the delay
	Quarantine     string // why it is held; empty: it is not
}

// Import takes a message into the spool, durably: its caller removes it from the other queue then. A message that is
// here already, because a crash came between the two, is not taken twice.
func (q *Queue) Import(in Import) (id string, err error) {
	if !q.begin() {
		return "", errClosing
	}
	defer q.work.Done()
	e := *in.Envelope
	if e.ID != "" && !spool.ValidID(e.ID) {
		e.ID = ""
	}
	if e.ID != "" {
		for _, held := range []bool{false, true} {
			if m, err := q.spool.Peek(e.ID, held); err == nil {
				m.Close()
				if m.Envelope.Sender == e.Sender && m.Envelope.Arrival.Unix() == e.Arrival.Unix() {
					return e.ID, nil
				}
				e.ID = ""
				break
			}
		}
	}
	header, body, err := readHeader(in.Body)
	if err != nil {
		return "", err
	}
	in.Body = body
	if e.Priority == 0 {
		e.Priority = headerPriority(header)
	}
	past, err := in.past(&e, q.cfg.Now())
	if err != nil {
		return "", err
	}
	m, size, err := q.storeImport(&e, in, past)
	if err != nil {
		return "", err
	}
	q.cfg.Mail.Accepted(Accepted{ID: m.ID, Envelope: m.Envelope, Size: size})
	if in.Quarantine == "" {
		defer q.plan(schedID(m.ID), time.Now(), e.Priority)
	}
	return m.ID, m.Close()
}

// past is the journal of the message. Only what came of an alias may be a program or a file: in e the alias takes the
// place of such a recipient, and its one member is known.
func (in *Import) past(e *envelope.Envelope, now time.Time) (past []spool.Entry, err error) {
	if !clean(string(e.Sender)) {
		return nil, errors.New("the sender has characters that no address may have")
	}
	e.Recipients = append([]envelope.Recipient(nil), e.Recipients...)
	next := len(e.Recipients)
	for i, r := range e.Recipients {
		index := i
		switch {
		case r.Addr != "" && clean(string(r.Addr)):
		case r.Addr != "" || len(in.Users) != len(e.Recipients) || len(in.Aliases) != len(e.Recipients) || !clean(r.Name()):
			return nil, errors.New("a recipient has characters that no address may have")
		default:
			alias := envelope.Address(in.Aliases[i])
			if alias == "" || !clean(string(alias)) {
				alias = envelope.Address(firstOf(in.Users[i], "postmaster"))
			}
			e.Recipients[i] = envelope.Recipient{Addr: alias, Notify: r.Notify, ORcpt: r.ORcpt}
			past = append(past, spool.Expansion{Index: i, Base: next, User: string(alias), At: now, Members: []spool.Recipient{{Recipient: r, As: in.Users[i]}}})
			index = next
			next++
		}
		if in.Why != "" || in.Warned {
			past = append(past, spool.OutcomeOf{Index: index, Status: spool.Status{
				Outcome: spool.Deferred, Code: "4.0.0", Text: firstOf(strings.TrimPrefix(in.Why, "Deferred: "), "queued"), At: in.LastTry, Warned: in.Warned,
			}})
		}
	}
	if in.Tries > 0 {
		past = append(past, spool.Try{Number: in.Tries, At: in.LastTry, Next: now})
	}
	if in.Quarantine != "" {
		past = append(past, spool.Held{Reason: in.Quarantine})
	}
	return past, nil
}

// storeImport writes the message.
func (q *Queue) storeImport(e *envelope.Envelope, from Import, past []spool.Entry) (*spool.Message, int64, error) {
	d, err := q.spool.Create(e)
	if errors.Is(err, fs.ErrExist) {
		e.ID = ""
		d, err = q.spool.Create(e)
	}
	if err != nil {
		return nil, 0, err
	}
	d.SetPast(from.Quarantine != "", past...)
	in := &intake{w: d}
	if _, err := io.Copy(in, from.Body); err != nil {
		d.Abort()
		return nil, 0, err
	}
	d.SetSource(in.crc)
	if in.last != '\n' && in.size > 0 {
		io.WriteString(d, "\n")
	}
	m, err := d.Commit()
	return m, in.size, err
}
