package queue

import (
	"context"
	"fmt"

	"waybill/queue/spool"
)

// foreseen is for how many recipients of a listing the rules are asked.
const foreseen = 200

// foresee adds to a listing what recipients that were never tried wait for by a rule with a time: whom they will go to,
// and when at the earliest. left counts down over a listing. What the rules cannot say now is left out.
func (q *Queue) foresee(ctx context.Context, l *Listed, m *spool.Message, left *int) {
	w := q.wiring.Load()
	if w == nil || w.Router == nil || l.Held || l.Running {
		return
	}
	a := &try{q: q, w: w, m: m, how: &how{}, now: q.cfg.Now()}
	n := -1
	for i := range m.Recipients {
		r := &m.Recipients[i]
		if r.Final() {
			continue
		}
		n++ // as describe counts
		if r.Status.Outcome != "" || r.Command != "" || r.File != "" || *left <= 0 || n >= len(l.Recipients) {
			continue
		}
		*left--
		d, err := w.Router.Route(ctx, a.question(i))
		if err != nil || d.Refused != nil || !d.NotBefore.After(a.now) {
			continue
		}
		to := &l.Recipients[n]
		to.Mailer, to.Host = d.Mailer, d.Host
		to.Reason = fmt.Sprintf("waits for %s %s until %s", d.Mailer, d.Host, d.NotBefore.Format("Mon Jan _2 15:04"))
	}
}
