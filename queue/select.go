package queue

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"waybill/queue/spool"
)

// Selection picks messages as sendmail's -qI, -qR and -qS do: conditions on the same thing are alternatives, those on
// different things must all hold. An empty Selection picks every message.
type Selection []Condition

// Condition is one of them: a substring of the queue id ('I'), of a recipient that is left ('R'), of the sender ('S').
type Condition struct {
	What byte
	Not  bool
	Sub  string
}

// Words renders s for a control request; ParseSelection reads it.
func (s Selection) Words() []string {
	var words []string
	for _, c := range s {
		w := string(c.What) + "=" + c.Sub
		if c.Not {
			w = "!" + w
		}
		words = append(words, w)
	}
	return words
}

// ParseSelection reads "R=example.org" and "!S=bob".
func ParseSelection(words []string) (Selection, error) {
	var s Selection
	for _, w := range words {
		sub, not := strings.CutPrefix(w, "!")
		if len(sub) < 2 || sub[1] != '=' || !strings.Contains("IRS", sub[:1]) {
			return nil, fmt.Errorf("%q selects no message: I=, R= or S= and a text", w)
		}
		s = append(s, Condition{sub[0], not, sub[2:]})
	}
	return s, nil
}

func (s Selection) matches(m *spool.Message) bool {
	asked, met := map[byte]bool{}, map[byte]bool{}
	for _, c := range s {
		asked[c.What] = true
		found := false
		switch c.What {
		case 'I':
			found = strings.Contains(m.ID, c.Sub)
		case 'S':
			found = contains(string(m.Envelope.Sender), c.Sub)
		case 'R':
			for i := range m.Recipients {
				found = found || !m.Recipients[i].Final() && contains(m.Recipients[i].Name(), c.Sub)
			}
		}
		met[c.What] = met[c.What] || found != c.Not
	}
	return len(asked) == len(met) && func() bool {
		for what := range asked {
			if !met[what] {
				return false
			}
		}
		return true
	}()
}

func contains(s, sub string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(sub)) }

// Flush makes the selected messages due now, whatever they wait for, and returns how many. The runner tries them.
func (q *Queue) Flush(ctx context.Context, s Selection) (int, error) {
	ids, err := q.selected(ctx, s)
	for _, c := range ids {
		q.mu.Lock()
		if !q.running[schedID(c.id)] {
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

// selected reads the queue directory and returns the messages that s picks, the most urgent first.
func (q *Queue) selected(ctx context.Context, s Selection) ([]candidate, error) {
	var found []candidate
	err := q.spool.Queued(func(id string) bool {
		m, err := q.spool.Peek(id, false)
		if err != nil {
			if len(s) == 0 {
				found = append(found, candidate{id: id}) // the attempt deals with the damage
			}
			return ctx.Err() == nil
		}
		resting := len(s) == 0 && m.Attempts > 0 && q.cfg.Now().Sub(m.LastTry) < q.cfg.MinAge
		if s.matches(m) && !resting {
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
