package queue

import (
	"context"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"waybill/queue/spool"
	"waybill/transport/envelope"
)

// Selection picks messages as sendmail's -qI, -qR and -qS do: conditions on the same thing are alternatives, those on
// different things must all hold. An empty Selection picks every message.
type Selection []Condition

// Condition is one of them. What it looks at:
//
//	'I'  a part of the queue id
//	'R'  a part of a recipient that is left
//	'S'  a part of the sender
//	'Q'  a part of the reason for which the message is held
//	'H'  the host or domain of a recipient that is left, or a domain above it
//	'M'  the mailer that tried such a recipient
//	'E'  a part of the reason why such a recipient waits, or its code
//	'O'  older than this age, such as 3d or 1h30m
//	'Y'  younger
//	'='  the whole queue id
type Condition struct {
	What byte
	Not  bool
	Sub  string
}

// kinds are the words for conditions in a control request.
const kinds = "IRSQHMEOY"

// Words renders s for a control request; ParseSelection reads it.
func (s Selection) Words() []string {
	var words []string
	for _, c := range s {
		w := string(c.What) + "=" + c.Sub
		if c.What == '=' {
			w = c.Sub
		}
		if c.Not {
			w = "!" + w
		}
		words = append(words, w)
	}
	return words
}

// ParseSelection reads "R=example.org", "!S=bob" and whole queue ids.
func ParseSelection(words []string) (Selection, error) {
	var s Selection
	for _, w := range words {
		sub, not := strings.CutPrefix(w, "!")
		switch {
		case len(sub) >= 2 && sub[1] == '=' && strings.Contains(kinds, sub[:1]):
			if _, err := ParseAge(sub[2:]); err != nil && (sub[0] == 'O' || sub[0] == 'Y') {
				return nil, err
			}
			s = append(s, Condition{sub[0], not, sub[2:]})
		case spool.ValidID(sub):
			s = append(s, Condition{'=', not, sub})
		default:
			return nil, fmt.Errorf("%q selects no message: a queue id, or one of %s, = and a text", w, strings.Join(strings.Split(kinds, ""), " "))
		}
	}
	return s, nil
}

// ParseAge reads an age such as 90s, 15m, 4h, 3d, 1w or 1d12h; a number alone counts minutes.
func ParseAge(text string) (time.Duration, error) {
	var sum time.Duration
	rest := text
	for rest != "" {
		n := 0
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		v, err := strconv.ParseInt(rest[:n], 10, 32)
		unit := time.Minute
		if n < len(rest) {
			unit = map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[rest[n]]
			n++
		}
		if err != nil || unit == 0 {
			return 0, fmt.Errorf("%q is no age; write 90s, 15m, 4h, 3d or 1d12h", text)
		}
		sum += time.Duration(v) * unit
		rest = rest[n:]
	}
	if text == "" || sum < 0 {
		return 0, fmt.Errorf("%q is no age; write 90s, 15m, 4h, 3d or 1d12h", text)
	}
	return sum, nil
}

// Matches reports whether s picks the message. Ages are counted up to now.
func (s Selection) Matches(l Listed, now time.Time) bool {
	var asked, met [256]bool
	for _, c := range s {
		asked[c.What] = true
		met[c.What] = met[c.What] || c.holds(l, now) != c.Not
	}
	return asked == met
}

func (c Condition) holds(l Listed, now time.Time) bool {
	switch c.What {
	case '=':
		return l.ID == c.Sub
	case 'I':
		return strings.Contains(l.ID, c.Sub)
	case 'S':
		return contains(string(l.Sender), c.Sub)
	case 'Q':
		return l.Held && contains(l.Quarantine, c.Sub)
	case 'O', 'Y':
		age, err := ParseAge(c.Sub)
		return err == nil && (now.Sub(l.Arrival) > age) == (c.What == 'O')
	}
	for _, r := range l.Recipients {
		if c.holdsFor(r) {
			return true
		}
	}
	return false
}

func (c Condition) holdsFor(r ListedRecipient) bool {
	switch c.What {
	case 'R':
		return contains(r.Name, c.Sub)
	case 'H':
		_, domain := envelope.Address(r.Name).Split()
		return within(r.Host, c.Sub) || within(domain, c.Sub)
	case 'M':
		return strings.EqualFold(r.Mailer, c.Sub)
	case 'E':
		return contains(r.Code+" "+r.Reason, c.Sub)
	}
	return false
}

func contains(s, sub string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(sub)) }

// within reports whether host is domain or below it. A leading "@" of sendmail's ETRN is not part of the name.
func within(host, domain string) bool {
	host, domain = strings.ToLower(strings.TrimSuffix(host, ".")), strings.ToLower(strings.Trim(domain, "@."))
	return host == domain || domain != "" && strings.HasSuffix(host, "."+domain)
}

// Flush makes the selected messages due now, whatever they wait for, and returns how many. The runner tries them.
func (q *Queue) Flush(ctx context.Context, s Selection) (int, error) { return q.flush(ctx, s, 0) }

// flush leaves alone what was tried since rest.
func (q *Queue) flush(ctx context.Context, s Selection, rest time.Duration) (int, error) {
	ids, err := q.selected(ctx, s, rest)
	for _, c := range ids {
		q.mu.Lock()
		if q.running[schedID(c.id)] {
			q.asked[schedID(c.id)] = time.Now()
		} else {
			q.forced[schedID(c.id)] = time.Now()
			q.schedule.Set(schedID(c.id), time.Now(), c.priority)
		}
		q.mu.Unlock()
	}
	q.Kick()
	q.poke()
	return len(ids), err
}

type candidate struct {
	id       string
	priority int
	arrival  time.Time
}

// selected reads the queue directory and returns the messages that s picks and that were not tried since rest, the most
// urgent first.
func (q *Queue) selected(ctx context.Context, s Selection, rest time.Duration) ([]candidate, error) {
	now := q.cfg.Now()
	if len(s) == 0 {
		rest = max(rest, q.cfg.MinAge)
	}
	return q.pick(ctx, false, func(m *spool.Message, l Listed) bool {
		resting := m != nil && m.Attempts > 0 && now.Sub(m.LastTry) < rest && now.Sub(m.LastTry) > -rest // the clock may have been set back
		return (m != nil || len(s) == 0) && !resting && s.Matches(l, now)                                // an attempt deals with the damage
	})
}

// pick reads the queue directory, or that of the held messages. f decides; m is nil when the message cannot be read.
func (q *Queue) pick(ctx context.Context, held bool, f func(m *spool.Message, l Listed) bool) ([]candidate, error) {
	var found []candidate
	walk := q.spool.Queued
	if held {
		walk = q.spool.Held
	}
	err := walk(func(id string) bool {
		l := Listed{ID: id, Held: held}
		m, err := q.spool.Peek(id, held)
		if err != nil {
			l.Damage = err.Error()
			if f(nil, l) {
				found = append(found, candidate{id: id})
			}
			return ctx.Err() == nil
		}
		q.describe(&l, m)
		if f(m, l) {
			found = append(found, candidate{id, m.Envelope.Priority, m.Envelope.Arrival})
		}
		m.Close()
		return ctx.Err() == nil
	})
	sort.Slice(found, func(i, j int) bool {
		if found[i].priority != found[j].priority {
			return found[i].priority > found[j].priority
		}
		return found[i].arrival.Before(found[j].arrival)
	})
	return found, err
}
