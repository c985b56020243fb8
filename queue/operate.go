package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"waybill/queue/spool"
)

// Hold keeps a message where it is until Release. Errors: spool.ErrGone, spool.ErrBusy while it is being delivered.
func (q *Queue) Hold(id string) error {
	m, err := q.spool.Load(id)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.Hold(true); err != nil {
		return err
	}
	q.mu.Lock()
	q.schedule.Remove(schedID(id))
	q.mu.Unlock()
	return nil
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

// Control does what a control request on the spool's socket asks: "run SELECTION", "kick", "list", "hold ID",
// "release ID", "remove ID", "priority ID N". Whether the peer may is the caller's to know.
func (q *Queue) Control(ctx context.Context, by string, words []string, answer func(line string) error) error {
	if len(words) == 0 {
		return &spool.RefusedError{Exit: 64, Text: "empty request"}
	}
	each := func(f func(id string) error) error {
		for _, id := range words[1:] {
			if err := f(id); err != nil {
				return &spool.RefusedError{Exit: 75, Text: fmt.Sprintf("%s: %v", id, plain(err))}
			}
		}
		return nil
	}
	switch words[0] {
	case "hold", "remove", "priority":
		q.takeDrops(ctx, false) // what front ends have dropped is listed, so it can be named here
	}
	switch words[0] {
	case "run":
		s, err := ParseSelection(words[1:])
		if err != nil {
			return &spool.RefusedError{Exit: 64, Text: err.Error()}
		}
		n, err := q.Flush(ctx, s)
		if err != nil {
			return err
		}
		return answer(fmt.Sprintf("%d messages are tried now", n))
	case "kick":
		q.Kick()
		return nil
	case "list":
		return q.List(ctx, func(l Listed) error {
			for _, line := range l.Lines() {
				if err := answer(line); err != nil {
					return err
				}
			}
			return nil
		})
	case "hold":
		return each(q.Hold)
	case "release":
		return each(q.Release)
	case "remove":
		return each(func(id string) error { return q.Remove(id, by) })
	case "priority":
		var n int
		if len(words) != 3 {
			return &spool.RefusedError{Exit: 64, Text: "priority needs a queue id and a number"}
		}
		if _, err := fmt.Sscanf(words[2], "%d", &n); err != nil {
			return &spool.RefusedError{Exit: 64, Text: "priority needs a number"}
		}
		words = words[:2]
		return each(func(id string) error { return q.SetPriority(id, n) })
	}
	return &spool.RefusedError{Exit: 64, Text: fmt.Sprintf("no request %q", words[0])}
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
