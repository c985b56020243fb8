package app

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"slices"

	"waybill/queue"
	"waybill/queue/spool"
	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// submitLooking is queue.Submit for a program that hears of unknown users now, as sendmail's callers do: it follows
// aliases and .forward files before anything is accepted. A recipient of whom nothing is left is refused; one of whom
// somebody is left is accepted, and the exit status tells that the sender gets a bounce for the others. With a sendmail.cf
// and recipients that were listed in the header, one who is refused leaves the others to the next queue run.
func (s *site) submitLooking(ctx context.Context, e *envelope.Envelope, body io.Reader, verbose func(string), listed bool) (spool.Reply, error) {
	if e.Anyway {
		return s.queue.Submit(ctx, e, body, verbose)
	}
	local, err := s.names()
	if err != nil {
		return spool.Reply{}, err
	}
	var reply spool.Reply
	var partly, complaints []string
	exit, deep := 0, 0 // of recipients that are wrong themselves, and of those behind an alias
	some := *e
	queue.Local(&some)
	var all []outlook
	if len(e.Recipients) < several {
		all = s.lookAll(ctx, &some, local)
	} else if reply, all, body, err = s.takeMeanwhile(ctx, &some, body, verbose, local); err != errAmiss {
		return reply, err
	}
	some.Recipients = nil
	for i, w := range all {
		r := e.Recipients[i]
		if w.good == 0 && len(w.failed) == 0 && len(w.loops) > 0 && (s.cf == nil || len(some.Recipients) == 0) {
			w.failed = w.loops[:1]
			w.who = "" // the recipient itself
		}
		if w.good == 0 && len(w.failed) > 0 {
			reply.Refused = append(reply.Refused, spool.Refusal{Index: i, Code: w.failed[0].Code(), Text: w.failed[0].Text(), Name: w.who})
			if s.cf != nil && !e.Joint {
				some.Wrong = append(some.Wrong, cfSaid(r.Name(), "", w.failed[0]))
			}
		} else {
			some.Recipients = append(some.Recipients, r)
		}
		for _, complaint := range w.odd {
			if deep = sysexits.Usage; complaint != "" {
				complaints = append(complaints, complaint)
			}
		}
		switch {
		case len(w.failed) == 0:
		case w.deep:
			deep = queue.ExitOf(w.failed[0])
			if s.cf != nil && w.good > 0 && w.who != "" {
				partly = append(partly, w.who+"... "+wording(w.failed[0].Text()))
			}
		default:
			exit = queue.ExitOf(w.failed[0])
		}
	}
	joined := s.cf != nil && e.Joint && len(some.Recipients) > 0 && len(reply.Refused) > 0
	if joined {
		some.Recipients = slices.Clone(e.Recipients)
	}
	if s.cf != nil && listed && len(reply.Refused)+len(partly) > 0 {
		some.When, some.Untold = envelope.WhenQueue, false // and the sender hears of it by mail
	}
	if len(some.Recipients) == 0 && len(reply.Refused) > 0 {
		_, err = io.Copy(io.Discard, body)
	} else if len(some.Recipients) == 0 {
		err = &spool.RefusedError{Exit: sysexits.Usage, Text: "No recipients"}
	} else {
		refused := reply.Refused
		reply, err = s.queue.Take(ctx, &some, body, verbose, nil)
		reply.Refused, reply.Partly, reply.Joined = refused, append(complaints, partly...), joined
	}
	if err != nil {
		return reply, err
	}
	reply.Exit = cmp.Or(reply.Exit, exit, deep)
	return reply, nil
}

// lookAll looks at each recipient of e.
func (s *site) lookAll(ctx context.Context, e *envelope.Envelope, local localNames) []outlook {
	if users, err := s.users.Now(); err == nil { // else each recipient hears "not now", and waits in the queue
		local.x = local.x.Steady(users)
	}
	all := make([]outlook, len(e.Recipients))
	for i, r := range e.Recipients {
		all[i] = outlook{s: s, local: local, sender: e.Sender}
		all[i].look(ctx, e, r)
	}
	return all
}

const (
	// several is how many recipients are worth looking at while the disk takes the message.
	several = 4
	// retake is how large a message may be, in octets, that is kept in memory because it may have to be taken anew.
	retake = 32 << 10
)

// errAmiss means that something is wrong with a recipient.
var errAmiss = errors.New("there is something to say about a recipient")

// takeMeanwhile takes the message for all recipients, and looks at them while the disk works. Where there is something to
// say about one of them, nothing is accepted; what was seen of them all, and the message, are returned for another go.
func (s *site) takeMeanwhile(ctx context.Context, e *envelope.Envelope, body io.Reader, verbose func(string), local localNames) (reply spool.Reply, all []outlook, again io.Reader, err error) {
	buf := make([]byte, retake)
	n, err := io.ReadFull(body, buf)
	if err == nil { // there is more
		return reply, s.lookAll(ctx, e, local), io.MultiReader(bytes.NewReader(buf), body), errAmiss
	}
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	again = io.MultiReader(bytes.NewReader(buf[:n]), ended{err})
	if err != io.EOF {
		return reply, s.lookAll(ctx, e, local), again, errAmiss
	}
	looked := make(chan struct{})
	go func() {
		all = s.lookAll(ctx, e, local)
		close(looked)
	}()
	fine := func() error {
		<-looked
		for i := range all {
			if w := &all[i]; len(w.failed)+len(w.loops)+len(w.odd) > 0 {
				return errAmiss
			}
		}
		return nil
	}
	reply, err = s.queue.Take(ctx, e, bytes.NewReader(buf[:n]), verbose, fine)
	if err != nil && fine() != nil {
		err = errAmiss // what would have been said first
	}
	return reply, all, again, err
}

// ended is a reader that has nothing but its error.
type ended struct{ err error }

func (e ended) Read([]byte) (int, error) { return 0, e.err }

// outlook is what is known of one recipient before delivery.
type outlook struct {
	s      *site
	local  localNames
	sender envelope.Address
	deep   bool     // the recipient stands for others; the queue looks at the first step by itself
	odd    []string // what is not well formed in lists on the way, which sendmail says, and its exit status
	good   int
	loops  []transport.Status // it leads back to itself, and so to nobody
	failed []transport.Status
	who    string // failed first, when not the recipient itself
	steps  int
}

// maxOutlook bounds what is looked at for one recipient: a list of thousands is not worth the caller's time.
const maxOutlook = 200

// look is follow for a recipient of the message, of whom the queue looks at the first step.
func (o *outlook) look(ctx context.Context, e *envelope.Envelope, r envelope.Recipient) {
	o.steps++
	d, x, status := o.s.queue.Look(ctx, e, r, o.local)
	if o.verdict(status) {
		o.members(ctx, queue.LocalUser{Name: d.User}, x, nil)
	}
}

// verdict counts a recipient about whom everything is said; true: it is a local user, who may stand for others.
func (o *outlook) verdict(status transport.Status) bool {
	switch status.Outcome() {
	case transport.Failed:
		o.failed = append(o.failed, status)
	case transport.Delivered:
		return true
	default:
		o.good++
	}
	return false
}

func (o *outlook) follow(ctx context.Context, addr envelope.Address, from queue.LocalUser) {
	if o.steps++; o.steps > maxOutlook {
		o.good++
		return
	}
	d, status := o.s.queue.Verify(ctx, &envelope.Envelope{Sender: o.sender}, envelope.Recipient{Addr: addr})
	if !o.verdict(status) {
		return
	}
	from.Name, from.Sender, from.Host = d.User, o.sender, d.Host
	e, err := o.local.Expand(ctx, from)
	o.members(ctx, from, e, err)
}

// members follows those whom a local user stands for.
func (o *outlook) members(ctx context.Context, from queue.LocalUser, e queue.Expansion, err error) {
	switch {
	case err != nil: // not now
		o.good++
		return
	case e.Loop:
		o.loops = append(o.loops, *e.Status)
		return
	case e.Status != nil && e.Status.Outcome() == transport.Failed:
		o.failed = append(o.failed, *e.Status)
		return
	case len(e.Members) == 0:
		o.good++
		return
	}
	o.deep, o.odd = true, append(o.odd, e.Odd...)
	next := queue.LocalUser{Depth: from.Depth + 1, Trail: append(slices.Clone(from.Trail), from.Name)}
	for _, m := range e.Members {
		next.Stage = m.Stage
		switch {
		case m.Refused != nil:
			o.failed = append(o.failed, *m.Refused)
			o.blame(m.Name)
		case m.Addr != "":
			o.follow(ctx, m.Addr, next)
			if m.Where != "" {
				o.blame(m.Where + ": " + string(m.Addr))
			}
			o.blame(string(m.Addr))
		default:
			o.good++
		}
	}
}

// blame notes who failed first.
func (o *outlook) blame(name string) {
	if len(o.failed) > 0 && o.who == "" {
		o.who = name
	}
}
