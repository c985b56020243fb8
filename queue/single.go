package queue

import (
	"errors"
	"slices"
	"strings"

	"waybill/queue/spool"
	"waybill/transport"
)

// recipientsOf takes "rcpt=ADDRESS" words out of a request: what is asked is for these recipients only.
func recipientsOf(words []string) (names, rest []string) {
	for _, w := range words {
		if name, is := strings.CutPrefix(w, "rcpt="); is {
			names = append(names, name)
		} else {
			rest = append(rest, w)
		}
	}
	return names, rest
}

// withRecipients selects the messages that have one of these recipients, if nothing else is said.
func withRecipients(s Selection, names []string) Selection {
	if len(s) > 0 {
		return s
	}
	for _, n := range names {
		s = append(s, Condition{What: 'R', Sub: n})
	}
	return s
}

// named reports whether recipient i, or one that it came from by an alias, has one of these names.
func named(m *spool.Message, i int, names []string) bool {
	for ; i >= 0; i = m.Recipients[i].Parent {
		if slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, m.Recipients[i].Name()) }) {
			return true
		}
	}
	return false
}

// RemoveRecipients takes recipients away from a message, queued or held; those who have it already are not touched. The
// message goes when nobody is left. Nobody is told but the log. by says who wanted it so. Errors: spool.ErrGone when the
// message, or such a recipient, is not there.
func (q *Queue) RemoveRecipients(id, by string, names []string) error {
	m, err := q.spool.Load(id)
	if errors.Is(err, spool.ErrGone) {
		m, err = q.spool.LoadHeld(id)
	}
	if err != nil {
		return err
	}
	text := "removed by " + by
	var gone []int
	for i := range m.Recipients {
		if r := &m.Recipients[i]; !r.Final() && named(m, i, names) {
			gone = append(gone, i)
		}
	}
	if len(gone) == 0 {
		return errors.Join(spool.ErrGone, m.Close())
	}
	for _, i := range gone {
		m.Note(spool.OutcomeOf{Index: i, Status: spool.Status{Outcome: spool.Discarded, Code: "2.0.0", Text: text, At: q.cfg.Now()}})
	}
	done := m.Done()
	if done {
		err = m.Remove()
	} else {
		err = m.Flush(true)
	}
	if err != nil {
		return errors.Join(err, m.Close())
	}
	for _, i := range gone {
		r, root := &m.Recipients[i], i
		for m.Recipients[root].Parent >= 0 {
			root = m.Recipients[root].Parent
		}
		q.cfg.Mail.Tried(Tried{
			ID: id, To: r.Name(), Orig: m.Recipients[root].Recipient, Priority: m.Envelope.Priority, Final: true, Size: m.Size,
			Status: transport.NewStatus(transport.Discarded, "2.0.0", text), Age: q.cfg.Now().Sub(m.Envelope.Arrival),
		})
	}
	if done {
		q.cfg.Mail.Removed(Removed{ID: id, By: by})
		q.mu.Lock()
		q.schedule.Remove(schedID(id))
		q.mu.Unlock()
	}
	return m.Close()
}
