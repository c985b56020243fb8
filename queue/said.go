package queue

import (
	"cmp"
	"slices"
	"strings"

	"waybill/queue/spool"
	"waybill/transport"
	"waybill/transport/envelope"
)

// said puts a status into the words of the configuration.
func (w *Wiring) said(name string, s transport.Status) string {
	if w.Said == nil {
		return s.Text()
	}
	return w.Said(name, "", s)
}

// asSendmail are the recipients and the tries that sendmail counts for the place of a message: everybody whom it had at
// first, and the runs of the queue, of which a delivery at once is none.
func asSendmail(m *spool.Message) (recipients, tries int) {
	for i := range m.Recipients {
		if m.Recipients[i].Status.Outcome != spool.Expanded {
			recipients++
		}
	}
	recipients += len(m.Envelope.Wrong)
	tries = m.Attempts
	if w := m.Envelope.When; tries > 0 && w != envelope.WhenQueue && w != envelope.WhenDefer {
		tries--
	}
	return recipients, tries
}

// lastSaid is what sendmail keeps of an attempt for the message as a whole: the last failure, or else the first reason
// to wait. said puts either into words.
func (q *Queue) lastSaid(m *spool.Message, said func(name, mailer string, s transport.Status) string) (text string) {
	_, runs := asSendmail(m)
	if n := len(m.Envelope.Wrong); n > 0 && runs == 0 {
		text = m.Envelope.Wrong[n-1]
	}
	order := q.inTurn(m)
	outside := false // a failure at a next hop comes later than one that was seen here
	var waits []int
	for _, i := range order {
		s := &m.Recipients[i].Status
		if !m.Recipients[i].Final() {
			waits = append(waits, i)
		}
		if s.Outcome != spool.Failed || s.Try < m.Attempts-1 {
			continue
		}
		there := s.Reply != "" || s.Remote != "" || s.Diagnostic != ""
		if runs > 0 && !there {
			continue // it failed when the message came in
		}
		if there || !outside {
			text, outside = said(m.Recipients[i].Name(), s.Mailer, statusOf(s)), there
		}
	}
	if text != "" {
		return text
	}
	slices.Reverse(waits)
	slices.SortStableFunc(waits, func(i, j int) int { // those that the rules could not decide on, those of this host, the others by their hosts
		a, b := &m.Recipients[i].Status, &m.Recipients[j].Status
		return cmp.Or(cmp.Compare(min(1, len(a.Mailer)), min(1, len(b.Mailer))), strings.Compare(a.Host, b.Host))
	})
	for _, i := range waits {
		if s := &m.Recipients[i].Status; s.Outcome == spool.Deferred && s.Text != "" {
			return said(m.Recipients[i].Name(), s.Mailer, statusOf(s))
		}
	}
	return ""
}
