package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"waybill/queue/spool"
	"waybill/transport"
	"waybill/transport/sysexits"
)

// Hold keeps a message where it is until Release; why, which may be empty, is shown in listings. Errors: spool.ErrGone, spool.ErrBusy while it is being delivered.
func (q *Queue) Hold(id, why string) error {
	m, err := q.spool.Load(id)
	if errors.Is(err, spool.ErrGone) && why != "" {
		m, err = q.spool.LoadHeld(id) // it is held, and gets another reason
	}
	if err != nil {
		return err
	}
	defer m.Close()
	if why != "" {
		m.Note(spool.Held{Reason: why})
		if err := m.Flush(true); err != nil {
			return err
		}
	}
	if err := m.Hold(true); err != nil {
		return err
	}
	q.mu.Lock()
	q.schedule.Remove(schedID(id))
	q.mu.Unlock()
	return nil
}

// hold keeps a message that has just been accepted, with the reason that its options tell.
func hold(m *spool.Message, opt Options) error {
	if opt.HeldFor != nil {
		m.Note(spool.Held{Reason: opt.HeldFor()})
		if err := m.Flush(true); err != nil {
			return err
		}
	}
	return m.Hold(true)
}

// TryHeld tries a held message once, now; what is left of it stays held, for the same reason.
func (q *Queue) TryHeld(ctx context.Context, id string, verbose func(line string)) error {
	if !q.begin() {
		return errClosing
	}
	defer q.work.Done()
	m, err := q.spool.LoadHeld(id)
	if err != nil {
		return err
	}
	why := m.HeldFor
	err = m.Hold(false)
	m.Close()
	if err == nil {
		err = q.again(ctx, schedID(id), &how{forced: true, block: true, verbose: verbose})
	}
	if herr := q.Hold(id, why); herr != nil && !errors.Is(herr, spool.ErrGone) && err == nil {
		err = herr
	}
	return err
}

// Release puts a held message back; it is due at once.
func (q *Queue) Release(id string) error {
	m, err := q.spool.LoadHeld(id)
	if err != nil {
		return err
	}
	priority := m.Envelope.Priority
	if err = m.Hold(false); err == nil {
		err = m.Close()
	} else {
		m.Close()
	}
	if err == nil {
		q.plan(schedID(id), time.Now(), priority)
	}
	return err
}

// Remove takes a message away, queued or held; nobody is told but the log. by says who wanted it so.
func (q *Queue) Remove(id, by string) error {
	m, err := q.spool.Load(id)
	if errors.Is(err, spool.ErrGone) {
		m, err = q.spool.LoadHeld(id)
	}
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.Remove(); err != nil {
		return err
	}
	q.cfg.Mail.Removed(Removed{ID: id, By: by})
	q.mu.Lock()
	q.schedule.Remove(schedID(id))
	q.mu.Unlock()
	return nil
}

// SetPriority changes the place of a queued message in the order.
func (q *Queue) SetPriority(id string, priority int) error {
	priority = max(-1000, min(1000, priority))
	m, err := q.spool.Load(id)
	if err != nil {
		return err
	}
	m.Note(spool.Priority{Value: priority})
	wait := min(m.NextTry.Sub(q.cfg.Now()), m.NextTry.Sub(m.LastTry))
	err = errors.Join(m.Flush(true), m.Close())
	q.plan(schedID(id), time.Now().Add(max(0, wait)), priority)
	return err
}

// Control does what a control request on the spool's socket asks: "run SELECTION", "nudge" (the same for those
// who may not do as they like), "kick", "list SELECTION", "detail ID",
// "hold", "release", "remove", "requeue" with a selection, "priority N" with one. Whether the peer may is the caller's to
// know.
func (q *Queue) Control(ctx context.Context, by string, words []string, answer func(line string) error) error {
	if len(words) == 0 {
		return &spool.RefusedError{Exit: sysexits.Usage, Text: "empty request"}
	}
	q.recoverDead()
	verb, words := words[0], words[1:]
	switch verb {
	case "kick":
		q.Kick()
		return nil
	case "detail":
		return q.detail(ctx, words, answer)
	case "run", "nudge", "list":
		s, err := ParseSelection(words)
		if err != nil {
			return &spool.RefusedError{Exit: sysexits.Usage, Text: err.Error()}
		}
		if verb == "list" {
			return q.listed(ctx, s, answer)
		}
		flush := q.Flush
		if verb == "nudge" {
			flush = q.Nudge
		}
		n, err := flush(ctx, s)
		if err != nil {
			return err
		}
		return answer(counted(n) + " tried now")
	}
	return q.operate(ctx, by, verb, words, answer)
}

func counted(n int) string {
	if n == 1 {
		return "1 message is"
	}
	return fmt.Sprintf("%d messages are", n)
}

func (q *Queue) listed(ctx context.Context, s Selection, answer func(line string) error) error {
	if len(s) == 0 {
		err := q.Count(func(queued, held, dropped int) error {
			return answer(fmt.Sprintf("count %d %d %d", queued, held, dropped))
		})
		if err != nil {
			return err
		}
	}
	now := q.cfg.Now()
	return q.List(ctx, func(l Listed) error {
		if !s.Matches(l, now) {
			return nil
		}
		for _, line := range l.Lines() {
			if err := answer(line); err != nil {
				return err
			}
		}
		return nil
	})
}

// operation is one of the verbs that change something.
type operation struct {
	done         string // "2 messages are DONE"
	queued, held bool   // on which messages
	do           func(id string) error
}

// operate does something to each of the selected messages. A message that is named must be there; what cannot be done
// to one does not keep it from being done to the others.
func (q *Queue) operate(ctx context.Context, by, verb string, words []string, answer func(line string) error) error {
	usage := func(text string) error { return &spool.RefusedError{Exit: sysexits.Usage, Text: text} }
	var op operation
	only, words := recipientsOf(words)
	if len(only) > 0 && verb != "remove" && verb != "requeue" {
		return usage(verb + " is for whole messages; single recipients can be removed and requeued")
	}
	switch verb {
	case "hold":
		why := ""
		words = slices.DeleteFunc(slices.Clone(words), func(w string) bool {
			reason, is := strings.CutPrefix(w, "why=")
			if is {
				why = reason
			}
			return is
		})
		op = operation{"held", true, why != "", func(id string) error { return q.Hold(id, why) }}
	case "release":
		op = operation{"released", false, true, q.Release}
	case "remove":
		op = operation{"removed", true, true, func(id string) error { return q.Remove(id, by) }}
		if len(only) > 0 {
			op = operation{"without that recipient now", true, true, func(id string) error { return q.RemoveRecipients(id, by, only) }}
		}
	case "requeue":
		op = operation{"queued anew", true, true, func(id string) error { return q.Requeue(id, only) }}
	case "priority":
		if len(words) == 0 {
			return usage("priority needs a number and a selection")
		}
		at := 0
		if spool.ValidID(words[0]) && len(words) == 2 { // "ID N"
			at = 1
		}
		n, err := strconv.Atoi(words[at])
		if err != nil {
			return usage("priority needs a number")
		}
		words = slices.Delete(slices.Clone(words), at, at+1)
		op = operation{"given priority " + strconv.Itoa(n), true, false, func(id string) error { return q.SetPriority(id, n) }}
	default:
		return usage(fmt.Sprintf("no request %q", verb))
	}
	if len(words) == 0 && len(only) == 0 {
		return usage(verb + " needs queue ids or a selection; \"I=\" selects everything")
	}
	s, err := ParseSelection(words)
	if err != nil {
		return usage(err.Error())
	}
	s = withRecipients(s, only)
	q.takeDrops(ctx, false) // what front ends have dropped is listed, so it can be named here
	ids, err := q.chosen(ctx, s, op)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		return &spool.RefusedError{Exit: sysexits.NoInput, Text: "no message is selected"}
	}
	n, exit, wrong := 0, sysexits.OK, []string(nil)
	chosen := slices.ContainsFunc(s, func(c Condition) bool { return c.What != '=' })
	for _, id := range ids {
		switch err := op.do(id); {
		case err == nil:
			n++
		case errors.Is(err, spool.ErrGone) && len(only) > 0:
			if !chosen { // a part of another address matched
				exit, wrong = sysexits.NoInput, append(wrong, id+": there is no such message, or no such recipient is left in it")
			}
		case errors.Is(err, spool.ErrGone):
			exit, wrong = sysexits.NoInput, append(wrong, id+": there is no such message"+q.where(id, op))
		default:
			exit, wrong = sysexits.TempFail, append(wrong, id+": "+plain(err))
		}
	}
	if n == 0 && len(wrong) == 0 {
		return &spool.RefusedError{Exit: sysexits.NoInput, Text: "no message is selected"}
	}
	if n > 0 && (len(ids) > 1 || len(wrong) == 0) {
		if err := answer(counted(n) + " " + op.done); err != nil {
			return err
		}
	}
	if len(wrong) > 0 {
		return &spool.RefusedError{Exit: exit, Text: strings.Join(wrong, "; ")}
	}
	return nil
}

// chosen returns the ids that s picks for op. Ids that are named need not be looked for.
func (q *Queue) chosen(ctx context.Context, s Selection, op operation) (ids []string, err error) {
	if !slices.ContainsFunc(s, func(c Condition) bool { return c.What != '=' || c.Not }) {
		for _, c := range s {
			ids = append(ids, c.Sub)
		}
		return ids, nil
	}
	now := q.cfg.Now()
	for _, held := range []bool{false, true} {
		if held && !op.held || !held && !op.queued {
			continue
		}
		found, err := q.pick(ctx, held, func(_ *spool.Message, l Listed) bool { return s.Matches(l, now) })
		if err != nil {
			return nil, err
		}
		for _, c := range found {
			ids = append(ids, c.id)
		}
	}
	return ids, nil
}

// where says where the message is that was looked for in the wrong place.
func (q *Queue) where(id string, op operation) string {
	m, err := q.spool.Peek(id, op.queued && !op.held)
	if err != nil {
		return " in the queue"
	}
	m.Close()
	if op.queued {
		return " in the queue; it is held"
	}
	return " among those that are held; it is in the queue"
}

// Requeue lets a message begin anew by the rules of now, queued or held: what aliases and .forward files made of a
// recipient is forgotten and made again, but for those who have the message, and it is due at once. Its age stays. only are
// the recipients that it is about, as they are listed; nil: all.
func (q *Queue) Requeue(id string, only []string) error {
	m, err := q.spool.Load(id)
	held := errors.Is(err, spool.ErrGone)
	if held {
		m, err = q.spool.LoadHeld(id)
	}
	if err != nil {
		return err
	}
	anew := map[int]bool{}
	for i := range m.Recipients {
		r := &m.Recipients[i]
		if r.Final() || only != nil && !named(m, i, only) {
			continue
		}
		root := i
		for m.Recipients[root].Parent >= 0 {
			root = m.Recipients[root].Parent
		}
		anew[root] = true
		if root != i {
			const text = "queued anew"
			m.Note(spool.OutcomeOf{Index: i, Status: spool.Status{Outcome: spool.Discarded, Code: "2.0.0", Text: text, At: q.cfg.Now()}})
			q.cfg.Mail.Tried(Tried{
				ID: id, To: r.Name(), Orig: m.Recipients[root].Recipient, Priority: m.Envelope.Priority, Final: true, Expanded: true, Size: m.Size,
				Status: transport.NewStatus(transport.Discarded, "2.0.0", text), Age: q.cfg.Now().Sub(m.Envelope.Arrival),
			})
		}
	}
	if only != nil && len(anew) == 0 {
		return errors.Join(spool.ErrGone, m.Close())
	}
	for root := range anew {
		warned := m.Recipients[root].Status.Warned
		m.Note(spool.OutcomeOf{Index: root, Status: spool.Status{Outcome: spool.Deferred, Code: "4.2.0", Text: "queued anew", At: q.cfg.Now(), Warned: warned}})
	}
	if m.Attempts > 0 {
		m.Note(spool.Try{Number: m.Attempts, At: m.LastTry, Next: q.cfg.Now()})
	}
	priority := m.Envelope.Priority
	err = m.Flush(true)
	if held && err == nil {
		err = m.Hold(false)
	}
	if err = errors.Join(err, m.Close()); err != nil {
		return err
	}
	q.mu.Lock()
	q.forced[schedID(id)] = time.Now()
	q.mu.Unlock()
	q.plan(schedID(id), time.Now(), priority)
	return nil
}

// plain is what a person may read of an error.
func plain(err error) string {
	for _, known := range []error{spool.ErrGone, spool.ErrBusy, spool.ErrDamaged} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return err.Error()
}
