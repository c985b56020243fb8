package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"waybill/queue/sched"
	"waybill/queue/spool"
	"waybill/transport"
	"waybill/transport/envelope"
)

// DefaultConcurrency is how many deliveries to one host run at a time where the mailer says nothing.
const DefaultConcurrency = 20

// Config is what does not change while a queue is open. Zero values are the defaults.
type Config struct {
	Host string // this host's full name, for Received lines and loops; required
	Dir  string // the spool directory; required
	// Spread are further directories over which message files are spread, best on other disks.
	Spread []string
	FS     spool.FS
	Log    *slog.Logger // required
	Mail   Logger       // the mail log; required

	Retry      sched.Delays     // waiting times between attempts; default 1m 5m 15m 30m 1h 2h 4h
	GiveUp     time.Duration    // age at which a message is returned; default 5 days
	WarnAfter  time.Duration    // age at which its sender is warned; default 4 hours, negative: never
	Interval   time.Duration    // how long mail waits that is to wait for a queue run; default 30 minutes
	RunEvery   time.Duration    // mail found in the queue waits no longer, whatever its journal says (sendmail -q30m); 0: no such bound
	Postmaster envelope.Address // who hears of notices that cannot be delivered; default "postmaster"
	NoDouble   bool             // nobody hears of them
	MaxRun     int              // messages of one RunInOrder; 0: all
	MaxHops    int              // Received lines; default 25
	HopsLater  bool             // the transports refuse what has more, as sendmail does: Accept takes it
	NoReceipts bool             // a Return-Receipt-To field asks for nothing (sendmail's RrtImpliesDsn off)
	MaxSize    int64            // octets of a message; default no limit
	// MinAge is how long a message rests after a try before RunOnce without a selection tries it again (sendmail's
	// MinQueueAge); 0: not at all.
	MinAge time.Duration
	// BareOwners leaves the owner of a list as it is where it is a login: the transports add our host (sendmail.cf).
	BareOwners bool
	// Weights are for listings and queue runs in sendmail's order; nil: the usual ones.
	Weights *Weights
	// InOrder, where it is true, has the deliveries of a message made one after the other, in sendmail's order. nil: no.
	InOrder    func() bool
	Deliveries int              // attempts at a time; default 100
	Now        func() time.Time // the calendar, for stamps and ages; default time.Now. Delays do not depend on it
}

// Wiring is what a configuration gives to the queue; Use replaces it while mail flows.
type Wiring struct {
	Router   Router
	Mailers  map[string]Mailer
	Program  Mailer // delivers to commands that aliases and .forward files name
	File     Mailer // delivers to files that they name
	Expander Expander
	Notifier Notifier
	Spoken   bool    // the transports tell who watches what became of the recipients
	Planner  Planner // nil: one plan for everything
	// Said, if not nil, puts into words for a listing why a recipient failed or waits: it shows one reason for the whole, as
	// sendmail does.
	Said func(name, mailer string, s transport.Status) string
	// Lost is told of a notice that could not be delivered, not even to the postmaster, and that nobody else will see;
	// nil: the log says so, and that is all.
	Lost func(e *envelope.Envelope, body envelope.Body)
}

// Queue accepts messages and delivers them. It is safe for concurrent use. Make one with Open.
type Queue struct {
	cfg    Config
	spool  *spool.Spool
	wiring atomic.Pointer[Wiring]
	limits *limits
	// buffers are for copying messages: a garbage collection for every thousand messages would cost more than the rest.
	buffers, tapes sync.Pool

	mu       sync.Mutex
	schedule *sched.Schedule
	running  map[sched.ID]bool      // attempts of this process
	quick    int                    // of these, those that count for Config.Deliveries
	slow     int                    // those that take long
	forced   map[sched.ID]time.Time // a queue run asked for these at that time, whatever they wait for
	asked    map[sched.ID]time.Time // likewise, but an attempt was running
	resting  map[sched.ID]bool      // of those that are running: the attempt lets recipients wait for a queue run
	round    map[sched.ID]bool      // those of a queue run without a runner that have not been tried yet; nil: there is none
	runners  int                    // Run is at work
	changed  chan struct{}          // something happened that the runner must look at
	drops    chan struct{}          // the drop directory may have something
	tasks    chan func()            // for workers that wait
	nudges   nudges

	work    sync.WaitGroup // attempts and callers that must end before Close returns
	stop    context.CancelFunc
	stopped chan struct{} // closed by Close: nothing new begins
	ctx     context.Context
}

// Open opens the spool of cfg and looks at nothing in it yet: Run does, in a daemon, and RunOnce in a queue run.
func Open(cfg Config, w Wiring) (*Queue, error) {
	if cfg.Host == "" || cfg.Dir == "" || cfg.Log == nil || cfg.Mail == nil {
		return nil, errors.New("queue: host, directory, log and mail log are required")
	}
	if cfg.FS == nil {
		cfg.FS = spool.OS{SyncRemoved: slices.ContainsFunc(append([]string{cfg.Dir}, cfg.Spread...), unjournaled)}
	}
	setDefault(&cfg.GiveUp, 5*24*time.Hour)
	setDefault(&cfg.WarnAfter, 4*time.Hour)
	setDefault(&cfg.Interval, 30*time.Minute)
	setDefault(&cfg.Postmaster, "postmaster")
	setDefault(&cfg.MaxHops, 25)
	setDefault(&cfg.Deliveries, 100)
	cfg.Deliveries = max(1, min(cfg.Deliveries, descriptors()/8))
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s, err := spool.Open(cfg.Dir, cfg.FS, cfg.Log)
	if err != nil {
		return nil, err
	}
	s.SetCalendar(cfg.Now)
	s.Spread(cfg.Spread)
	q := &Queue{
		cfg:      cfg,
		spool:    s,
		schedule: sched.New(time.Now()),
		running:  map[sched.ID]bool{},
		forced:   map[sched.ID]time.Time{},
		asked:    map[sched.ID]time.Time{},
		resting:  map[sched.ID]bool{},
		changed:  make(chan struct{}, 1),
		drops:    make(chan struct{}, 1),
		tasks:    make(chan func()),
		nudges:   newNudges(),
		stopped:  make(chan struct{}),
	}
	q.buffers.New = func() any { return new([copyBuffer]byte) }
	q.tapes.New = func() any { return new([tapeMemory]byte) }
	q.limits = newLimits(cfg.Deliveries, min(time.Minute, cfg.Retry.After(1)/2), q.hasten)
	q.ctx, q.stop = context.WithCancel(context.Background())
	if err := q.Use(w); err != nil {
		return nil, err
	}
	return q, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Use makes w the wiring of every attempt that begins from now on.
func (q *Queue) Use(w Wiring) error {
	if w.Router == nil || w.Expander == nil || w.Notifier == nil {
		return errors.New("queue: router, expander and notifier are required")
	}
	q.wiring.Store(&w)
	return nil
}

// Spool is the spool below, for its socket and its daemon lock.
func (q *Queue) Spool() *spool.Spool { return q.spool }

// Waiting is the number of messages that are planned for another attempt.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.schedule.Len()
}

// Close begins nothing new and waits for what runs: deliveries end when they end, or as temporary failures when ctx
// does. Messages stay in the spool.
func (q *Queue) Close(ctx context.Context) error {
	q.mu.Lock()
	select {
	case <-q.stopped:
	default:
		close(q.stopped)
	}
	q.mu.Unlock()
	done := make(chan struct{})
	go func() { q.work.Wait(); close(done) }()
	defer q.stop()
	defer q.spool.Settle()
	select {
	case <-done:
		q.spool.StopLog()
		return nil
	case <-ctx.Done():
	}
	q.stop()
	<-done
	q.spool.StopLog()
	return fmt.Errorf("queue: deliveries were broken off: %w", ctx.Err())
}

var errClosing = errors.New("the queue is closing")

// begin counts a piece of work that Close waits for; false when the queue is closing.
func (q *Queue) begin() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-q.stopped:
		return false
	default:
	}
	q.work.Add(1)
	return true
}

// RefusedError is a "no" to a message or a recipient: nothing was accepted.
type RefusedError struct{ Status transport.Status }

func (e *RefusedError) Error() string { return e.Status.Code() + " " + e.Status.Text() }

func refuse(code, text string) error {
	o := transport.Failed
	if code[0] == '4' {
		o = transport.Deferred
	}
	return &RefusedError{transport.NewStatus(o, code, text)}
}

// descriptors is how many files this process may have open.
func descriptors() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil || r.Cur > 1<<20 {
		return 1 << 20
	}
	return int(r.Cur)
}

func (q *Queue) poke() {
	select {
	case q.changed <- struct{}{}:
	default:
	}
}
