package spool

import "time"

const (
	// worthGathering is how long a batch must take for it to be worth waiting for others.
	worthGathering = 200 * time.Microsecond
	// mostPatience bounds how long a batch waits.
	mostPatience = 10 * time.Millisecond
	// worthIt is how much faster messages must go with it than without.
	worthIt = 1.1
	// mostMisses bounds how rarely it is tried whether somebody comes back: every 2 to the mostMisses batches.
	mostMisses = 8
)

// gathering is the patience of the log. Who was answered by one batch mostly comes back at once with the next message,
// and who came during a sync waits already: if the next batch began at once, half of the clients would always wait for
// a batch with the other half. So the next one waits until about as many are there as there were, but not as long as a
// batch takes; and where that does not make batches larger by more than it costs, ever more of them go without it.
type gathering struct {
	on     bool // a batch waits for others; somebody waits in l.waiting, and l.busy is set
	want   int  // until so many are there
	had    int  // so many were there when it began
	since  time.Time
	round  int // counts what on was for
	seen   int // how many were there around the last batch: those in it, and those who came meanwhile
	ended  time.Time
	took   time.Duration // a batch, about
	misses int           // in a row
	skip   int           // batches that begin at once
}

// batch notes how the last batch went.
func (g *gathering) batch(size, waiting int, took time.Duration) {
	g.seen, g.ended = size+waiting, time.Now()
	if g.took == 0 {
		g.took = took
	}
	g.took += (took - g.took) / 4
}

// patience is how long to wait.
func (g *gathering) patience() time.Duration { return min(g.took*3/4, mostPatience) }

// hope tells how many to wait for when so many are there; 0: for nobody.
func (g *gathering) hope(waiting int) (want int) {
	want = g.seen - g.seen/8
	if g.took < worthGathering || want <= waiting || time.Since(g.ended) > g.patience() {
		return 0
	}
	if g.skip > 0 {
		g.skip--
		return 0
	}
	return want
}

// over ends the patience with those who are there now.
func (g *gathering) over(waiting int) {
	g.on = false
	if float64(waiting)*float64(g.took) >= worthIt*float64(g.had)*float64(g.took+time.Since(g.since)) {
		g.misses = 0
		return
	}
	g.misses = min(g.misses+1, mostMisses)
	g.skip = 1<<g.misses - 1
}

// gather begins to wait for others, if there is hope. l.mu is held; somebody waits.
func (l *intakeLog) gather() bool {
	g := &l.gathering
	want := g.hope(len(l.waiting))
	if want == 0 || l.closing {
		return false
	}
	g.on, g.want, g.had, g.since = true, want, len(l.waiting), time.Now()
	g.round++
	round := g.round
	time.AfterFunc(g.patience(), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if g.on && g.round == round {
			g.over(len(l.waiting))
			l.lead()
		}
	})
	return true
}

// gathered tells, to one who just joined those that wait, whether it is to write the batch now. l.mu is held.
func (l *intakeLog) gathered() bool {
	g := &l.gathering
	if !g.on || len(l.waiting) < g.want {
		return false
	}
	g.over(len(l.waiting))
	return true
}
