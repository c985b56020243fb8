package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"waybill/queue/dsn"
	"waybill/queue/sched"
	"waybill/queue/spool"
	"waybill/transport"
	"waybill/transport/envelope"
)

// how says what kind of attempt this is, and takes what its caller wants to know.
type how struct {
	first   bool      // right after acceptance: recipients that are to wait for a queue run do
	forced  bool      // a queue run: before its time, and whatever waits for one
	asked   time.Time // with forced: when somebody asked for it
	block   bool      // wait for a place at the destination: nobody else would wake the message
	verbose func(line string)
	keep    bool
	waited  bool // whoever handed the message in waits for the outcome
	queued  bool // nothing is tried: aliases are expanded, and the rest waits
	// statuses, with keep, is the result for each recipient of the envelope.
	statuses []transport.Status
	untold   bool // of a failure that the sender was not told of, because somebody waits
}

// attempt tries the message once, which it then closes, and plans the next attempt if one is needed.
func (q *Queue) attempt(ctx context.Context, m *spool.Message, how *how) {
	if how.keep && !q.hasRunner() {
		how.block = true
	}
	a := &try{q: q, w: q.wiring.Load(), m: m, how: how, began: time.Now(), now: q.cfg.Now()}
	next, done := a.run(ctx)
	if how.keep {
		how.statuses = a.summary()
	}
	priority := a.priority()
	if err := m.Close(); err != nil {
		q.cfg.Log.Warn("closing a message file", "id", m.ID, "err", err)
	}
	id := schedID(m.ID)
	if done || a.parked == "" && q.oneShot() {
		q.tried(id)
		return
	}
	if a.parked == "" {
		q.tried(id)
		q.plan(id, next, priority)
		q.mu.Lock()
		if q.running[id] && !a.wait.IsZero() {
			q.resting[id] = true
		}
		q.mu.Unlock()
		return
	}
	if how.forced {
		q.mu.Lock()
		q.forced[id] = how.asked // it has not been tried yet
		q.mu.Unlock()
	}
	q.plan(id, next, priority)
	q.limits.park(a.parked, id, a.rank())
}

// try is one attempt at one message.
type try struct {
	q     *Queue
	w     *Wiring
	m     *spool.Message
	how   *how
	began time.Time // for durations
	now   time.Time // the calendar
	head  *envelope.Header
	heads sync.Once
	grown []grownOf // recipients that became several, whose senders want to hear of it
	owing bool      // of these, some could not be told of
	left  int       // recipients at the beginning of the attempt
	tries int       // attempts before it
	urge  []int     // the priorities that the rules gave to recipients

	where   map[int]string // file and line that named a recipient, of those that came by this attempt
	loops   []loopOf       // recipients that lead back to themselves
	from    map[int]string // the :include: file that named a recipient, likewise
	told    []Noticed      // what the log hears behind the outcomes
	mu      sync.Mutex
	order   []int // recipients as transports had them
	results map[int]*result
	parked  string    // a destination that has no room
	wait    time.Time // when recipients that wait on purpose are due; zero: none do
	later   time.Time // when recipients that failed before are due, and are not yet; zero: none
}

// result is what happened to a recipient in this attempt.
type result struct {
	status  transport.Status // what is recorded
	last    transport.Status // with expired: the temporary failure before
	expired bool
	mailer  string
	host    string
	user    string
	as      string
	took    time.Duration
	warned  bool
	owed    dsn.Kind
	plan    Plan // of one that was tried and failed for now, or ran out of time
	sent    bool // a transport had it
	old     bool // its outcome was logged in an earlier attempt
	whole   bool // it is about the recipient of the envelope behind it
	moved   bool // Decision.Moved
}

// run is the attempt: check, pay notices that are owed, decide, deliver, tell, record. It returns when the next one is
// due, or that nothing is left to do.
func (a *try) run(ctx context.Context) (next time.Time, done bool) {
	log := a.q.cfg.Log.With("id", a.m.ID)
	if err := a.m.Verify(); err != nil {
		if errors.Is(err, spool.ErrDamaged) {
			return time.Time{}, a.m.SetAside(err) == nil
		}
		log.Error("message cannot be read", "err", err)
		return time.Now().Add(a.q.cfg.Retry.After(a.m.Attempts + 1)), false
	}
	a.results = map[int]*result{}
	a.tries = a.m.Attempts
	for i := range a.m.Recipients {
		if !a.m.Recipients[i].Final() {
			a.left++
		}
	}
	a.payOwed(ctx)
	groups := a.decide(ctx)
	a.deliver(ctx, groups)
	a.notify(ctx)
	tried := a.record()
	done = a.m.Done()
	if done {
		a.m.Seal()
	}
	a.logResults()
	if done {
		if err := a.m.Finish(); err != nil {
			log.Error("delivered message cannot be removed yet", "err", err)
			return time.Now().Add(time.Minute), false
		}
		return time.Time{}, true
	}
	return a.conclude(tried), false
}

// parkedFor is how long a message waits that waits for a place at its destination, if nothing wakes it.
const parkedFor = 10 * time.Minute

// dues tells when those are due that were tried and failed for now. What has the same schedule waits equally long, so
// that it goes together.
func (a *try) dues() map[int]time.Time {
	due, waits := map[int]time.Time{}, map[string]time.Duration{}
	for i, res := range a.results {
		if res.status.Outcome() != transport.Deferred {
			continue
		}
		key := fmt.Sprint(res.plan.Retry)
		wait, ok := waits[key]
		if !ok {
			wait = res.plan.Retry.After(a.m.Attempts + 1)
			if by := a.m.Envelope.By; by.Until.After(a.now) { // its sender is told in time
				wait = min(wait, by.Until.Sub(a.now))
			}
			waits[key] = wait
		}
		due[i] = a.now.Add(wait).Truncate(time.Second)
	}
	return due
}

// conclude writes what is left of the message and when it is due again.
func (a *try) conclude(tried bool) time.Time {
	at := a.later
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	sooner(a.wait)
	if tried {
		first := a.replan(a.dues())
		if first.IsZero() { // only notices are owed
			first = a.now.Add(a.q.cfg.Retry.After(a.m.Attempts + 1))
		}
		sooner(first)
		a.m.Note(spool.Try{Number: a.m.Attempts + 1, At: a.now, Next: first})
	}
	if at.IsZero() {
		at = a.now.Add(parkedFor) // it waits for a place, and is woken when there is one
	}
	next := time.Now().Add(max(time.Second, at.Sub(a.now)))
	final := false
	for _, r := range a.results {
		final = final || r.status.Outcome() != transport.Deferred
	}
	if err := a.m.Flush(final); err != nil {
		a.q.cfg.Log.Error("outcome remembered in memory only", "id", a.m.ID, "err", err)
	}
	return next
}

// priority is the message's place in the order: that of its most urgent recipient.
func (a *try) priority() int {
	if len(a.urge) == 0 {
		return a.m.Envelope.Priority
	}
	return slices.Max(a.urge)
}

// rank is the message's place among those that wait for one destination: smaller goes first. It never changes, so that
// nothing starves.
func (a *try) rank() int64 {
	return a.m.Envelope.Arrival.UnixNano() - int64(a.priority())*int64(sched.AgePoint)
}

func (a *try) header(name string) string {
	a.heads.Do(func() {
		h, err := envelope.HeaderOf(a.m.Body())
		if err != nil && !errors.Is(err, envelope.ErrHeaderTooLong) {
			a.q.cfg.Log.Warn("header cannot be read", "id", a.m.ID, "err", err)
		}
		a.head = h
	})
	return a.head.Value(name)
}

// job is one target: several recipients may turn out to be the same mailbox, and get one copy.
type job struct {
	mailer   string
	via      Mailer
	host     string
	to       transport.Recipient
	sender   envelope.Address
	indices  []int
	priority int
	moved    bool // Decision.Moved
}

// group is what goes to one host in one delivery.
type group struct {
	mailer string
	via    Mailer
	host   string
	sender envelope.Address
	jobs   []*job
}

// destination is what concurrency is counted for.
func (g *group) destination() string { return destinationKey(g.mailer, g.host) }

func destinationKey(mailer, host string) string { return mailer + "\x00" + strings.ToLower(host) }

// decide asks the rules about each recipient that is left, expands local ones, and sorts them into groups. What it can
// settle by itself goes into results.
func (a *try) decide(ctx context.Context) []*group {
	jobs := map[string]*job{}
	var order []*job
	for i := 0; i < len(a.m.Recipients); i++ { // expansion appends to the list
		r := &a.m.Recipients[i]
		if r.Final() {
			continue
		}
		if rest := a.resting(r); !rest.IsZero() {
			if a.later.IsZero() || rest.Before(a.later) {
				a.later = rest
			}
			continue
		}
		j := a.resolve(ctx, i)
		if j == nil {
			continue
		}
		key := j.key(a.w.Spoken)
		if same := jobs[key]; same != nil {
			same.indices = append(same.indices, i)
			continue
		}
		if status, ok := a.before(j); ok {
			a.settle(i, j, status, 0)
			continue
		}
		jobs[key] = j
		order = append(order, j)
	}
	a.settleLoops(order)
	if a.w.Spoken {
		a.onceOnly()
	}
	if a.q.inOrder() {
		a.arrange(order)
		for _, j := range order { // the first way that led here
			j.sender = a.sender(j.indices[0])
		}
	}
	var groups []*group
	open := map[string]*group{}
	for _, j := range order {
		k := j.mailer + "\x00" + strings.ToLower(j.host) + "\x00" + string(j.sender)
		g := open[k]
		limit := j.via.MaxRecipients
		if limit <= 0 {
			limit = 100
		}
		if g == nil || len(g.jobs) >= limit {
			g = &group{mailer: j.mailer, via: j.via, host: j.host, sender: j.sender}
			open[k] = g
			groups = append(groups, g)
		}
		g.jobs = append(g.jobs, j)
	}
	return groups
}

// key says which jobs are one. For sendmail who is on a list and is a recipient, too, gets one copy, whoever hears of
// trouble with it.
func (j *job) key(anySender bool) string {
	user, sender := j.to.User, string(j.sender)
	if anySender {
		sender = ""
	}
	if j.via.Local {
		user = strings.ToLower(user) // BOB and bob are one mailbox; of a remote address we cannot know
	}
	switch {
	case j.to.Orig.File != "":
		return "file\x00" + string(j.to.Orig.File) // two aliases for one file are one copy
	case j.to.Orig.Command != "":
		return "prog\x00" + string(j.to.Orig.Command) + "\x00" + j.to.As
	}
	return strings.Join([]string{j.mailer, strings.ToLower(j.host), user, j.to.Detail, sender}, "\x00")
}

// before finds a recipient that got the message in an earlier attempt and is the same target.
func (a *try) before(j *job) (transport.Status, bool) {
	for i := range a.m.Recipients {
		s := &a.m.Recipients[i].Status
		if (s.Outcome == spool.Delivered || s.Outcome == spool.Relayed) && s.Mailer == j.mailer && strings.EqualFold(s.Host, j.host) &&
			s.User != "" && s.User == userOf(j) {
			return statusOf(s), true
		}
	}
	return transport.Status{}, false
}

// userOf is the name under which the journal keeps a target.
func userOf(j *job) string {
	if j.via.Local && j.to.Detail != "" {
		return j.to.User + "+" + j.to.Detail
	}
	return j.to.User
}

// resolve finds the target of one recipient. nil: it was settled, expanded, or waits.
func (a *try) resolve(ctx context.Context, i int) *job {
	r := &a.m.Recipients[i]
	j := &job{indices: []int{i}, sender: a.sender(i), priority: a.m.Envelope.Priority, to: transport.Recipient{Orig: r.Recipient, As: r.As}}
	if status, refused := refusedMember(r.Stage); refused {
		a.settle(i, j, status, 0)
		return nil
	}
	if by := a.m.Envelope.By; by.Return && by.Over(a.now) { // RFC 2852 4.1: nothing more is done with it
		a.settle(i, j, transport.NewStatus(transport.Failed, "5.4.7", "Delivery time expired"), 0)
		return nil
	}
	if a.w.Spoken && (a.oneOfSeveral(i) || r.HasOwner) {
		j.to.Orig.Notify, j.to.Orig.ORcpt = 0, ""
	}
	switch {
	case r.Command != "":
		j.mailer, j.via, j.to.User = "prog", a.w.Program, "|"+string(r.Command)
		return a.checked(i, j)
	case r.File != "":
		j.mailer, j.via, j.to.User = "*file*", a.w.File, string(r.File)
		return a.checked(i, j)
	}
	d, err := a.w.Router.Route(ctx, a.question(i))
	if err != nil {
		a.q.cfg.Log.Warn("the rules could not decide now", "id", a.m.ID, "to", r.Name(), "err", err)
		a.settle(i, j, transport.NewStatus(transport.Deferred, "4.3.0", "Temporary lookup failure"), 0)
		return nil
	}
	if d.Refused != nil {
		j.mailer, j.to.User = "*error*", d.User
		a.settle(i, j, *d.Refused, 0)
		return nil
	}
	if a.waits(d) {
		return nil
	}
	j.mailer, j.host, j.to.User, j.priority, j.moved = d.Mailer, d.Host, d.User, d.Priority, d.Moved
	a.urge = append(a.urge, d.Priority)
	via, ok := a.w.Mailers[d.Mailer]
	if !ok {
		a.q.cfg.Log.Error("the rules name a transport that is not there", "id", a.m.ID, "to", r.Name(), "transport", d.Mailer)
		a.settle(i, j, transport.NewStatus(transport.Deferred, "4.3.5", "The transport "+d.Mailer+" is not configured"), 0)
		return nil
	}
	j.via = via
	if via.Local {
		return a.expand(ctx, i, j)
	}
	return a.checked(i, j)
}

// waits reports whether the rules want the recipient to wait, and notes until when.
func (a *try) waits(d Decision) bool {
	var until time.Time
	when := d.When
	if when == envelope.WhenDefault {
		when = a.m.Envelope.When
	}
	switch {
	case d.NotBefore.After(a.now):
		until = d.NotBefore
	case a.how.first && (when == envelope.WhenQueue || when == envelope.WhenDefer):
		until = a.now.Add(a.q.cfg.Interval)
	default:
		return false
	}
	if a.wait.IsZero() || until.Before(a.wait) {
		a.wait = until
	}
	return true
}

// checked settles a job whose mailer is missing.
func (a *try) checked(i int, j *job) *job {
	if j.via.Transport == nil {
		a.settle(i, j, transport.NewStatus(transport.Failed, "5.3.2", "Mail to programs or files is not accepted here"), 0)
		return nil
	}
	return j
}

// sender is who hears of trouble with recipient i: the owner of the list that it came from, or the sender.
func (a *try) sender(i int) envelope.Address {
	for ; i >= 0; i = a.m.Recipients[i].Parent {
		if a.m.Recipients[i].HasOwner {
			return a.m.Recipients[i].Owner
		}
	}
	return a.m.Envelope.Sender
}

// settle notes the outcome of recipient i. A temporary one of a message that is too old becomes a failure.
func (a *try) settle(i int, j *job, s transport.Status, took time.Duration) {
	var plan Plan
	if s.Outcome() == transport.Deferred {
		plan = a.plan(i, j, s)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	res := &result{status: s, plan: plan, mailer: j.mailer, host: j.host, user: userOf(j), as: j.to.As, took: took, moved: j.moved}
	by := a.m.Envelope.By
	limit := plan.GiveUp
	if by.Return { // RFC 2852 4.1: returned when the time is over
		limit = min(limit, by.Until.Sub(a.m.Envelope.Arrival))
	}
	if s.Outcome() == transport.Deferred && a.now.Sub(a.m.Envelope.Arrival) >= limit {
		if limit == plan.GiveUp { // the notice speaks of the last failure; where the sender set the time, of the time
			res.expired, res.last = true, s
		}
		// 5.4.7: delivery time expired (RFC 3463)
		res.status = transport.NewStatus(transport.Failed, "5.4.7", "Message could not be delivered for "+spell(limit)+": "+s.Text())
		res.status.Remote, res.status.Reply, res.status.Diagnostic = s.Remote, s.Reply, s.Diagnostic
	}
	a.results[i] = res
}

// sent notes that a transport had recipient i.
func (a *try) sent(i int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.results[i].sent = true
	a.order = append(a.order, i)
}

func spell(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.String()
}
