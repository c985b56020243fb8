package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill/queue/dsn"
	"waybill/queue/spool/crashfs"
	"waybill/transport"
	"waybill/transport/envelope"
)

// rig is a queue whose rules, transports, users and logs are told by the test.
type rig struct {
	t      testing.TB
	fs     *crashfs.FS
	q      *Queue
	world  *world
	log    *recorder
	slog   *lines
	users  *users
	route  func(q Question) (Decision, error)
	passes bool // route says that mail is to be passed on at once
	cfg    Config
	useLog bool // with the intake log

	unlock func() error
}

// world is what is outside and survives crashes: who got what.
type world struct {
	mu       sync.Mutex
	copiesOf map[string]int // "TEST-ID recipient" -> copies
	texts    map[string]string
	sequence []string
	// answer decides; nil: everything is delivered. try counts attempts for this recipient and message from 1.
	answer   func(id, user string, try int) transport.Status
	attempts map[string]int
	enter    func(req *transport.Request)
}

func newWorld() *world {
	return &world{copiesOf: map[string]int{}, attempts: map[string]int{}, texts: map[string]string{}}
}

// What tests read is copied: deliveries may go on.
func (w *world) got() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.copiesOf)
}

func (w *world) tries() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.attempts)
}

func (w *world) bodies() map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.texts)
}

func (w *world) order() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sequence)
}

func ok() transport.Status { return transport.NewStatus(transport.Relayed, "2.0.0", "Ok") }
func deferred() transport.Status {
	return transport.NewStatus(transport.Deferred, "4.4.1", "Connection refused")
}
func failed() transport.Status { return transport.NewStatus(transport.Failed, "5.1.1", "User unknown") }

func (w *world) Deliver(ctx context.Context, req *transport.Request) []transport.Status {
	if w.enter != nil {
		w.enter(req)
	}
	statuses := make([]transport.Status, len(req.Recipients))
	r, err := req.Body.Open()
	if err != nil {
		return transport.All(len(statuses), transport.NewStatus(transport.Deferred, "4.3.0", err.Error()))
	}
	text, err := io.ReadAll(r)
	r.Close()
	if err != nil {
		return transport.All(len(statuses), transport.NewStatus(transport.Deferred, "4.3.0", err.Error()))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	id := subject(string(text))
	for i, rc := range req.Recipients {
		key := id + " " + rc.User
		w.attempts[key]++
		statuses[i] = ok()
		if w.answer != nil {
			statuses[i] = w.answer(id, rc.User, w.attempts[key])
		}
		if o := statuses[i].Outcome(); o == transport.Delivered || o == transport.Relayed {
			w.copiesOf[key]++
			w.texts[key] = string(text)
			w.sequence = append(w.sequence, key)
		}
	}
	return statuses
}

// subject finds a test message, also within a notice about it.
func subject(text string) string {
	notice := ""
	if strings.Contains(text, "multipart/report") {
		notice = "notice-"
		if strings.Contains(text, "Subject: Warning") {
			notice = "warning-"
		}
		if strings.Contains(text, "Subject: Return receipt") {
			notice = "receipt-"
		}
		if strings.Contains(text, "Subject: Postmaster notify") {
			notice = "double-"
		}
	}
	for line := range strings.Lines(text) {
		if id, found := strings.CutPrefix(line, "Subject: t-"); found {
			return notice + strings.TrimSpace(id)
		}
	}
	return notice + "?"
}

func (w *world) copies(key string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.copiesOf[key]
}

// recorder is the mail log.
type recorder struct {
	mu       sync.Mutex
	accepted []Accepted
	tried    []Tried
	noticed  []Noticed
	removed  []Removed
}

func (r *recorder) Accepted(a Accepted) {
	r.mu.Lock()
	r.accepted = append(r.accepted, a)
	r.mu.Unlock()
}
func (r *recorder) Tried(t Tried)     { r.mu.Lock(); r.tried = append(r.tried, t); r.mu.Unlock() }
func (r *recorder) Noticed(n Noticed) { r.mu.Lock(); r.noticed = append(r.noticed, n); r.mu.Unlock() }
func (r *recorder) Removed(x Removed) { r.mu.Lock(); r.removed = append(r.removed, x); r.mu.Unlock() }

// all is a copy of what was logged so far.
func (r *recorder) all() *recorder {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &recorder{accepted: slices.Clone(r.accepted), tried: slices.Clone(r.tried), noticed: slices.Clone(r.noticed), removed: slices.Clone(r.removed)}
}

// finals counts the final lines of each recipient of a message.
func (r *recorder) finals() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := map[string]int{}
	for _, t := range r.tried {
		if t.Final {
			n[t.ID+" "+t.To]++
		}
	}
	return n
}

// users is the Expander: names that it does not know are mailboxes.
type users struct {
	lists   map[string]Expansion
	unknown map[string]bool
	err     error
}

func (u *users) Expand(ctx context.Context, l LocalUser) (Expansion, error) {
	if u.err != nil {
		return Expansion{}, u.err
	}
	name, detail, _ := strings.Cut(l.Name, "+")
	if u.unknown[name] {
		s := failed()
		return Expansion{Status: &s}, nil
	}
	if x, found := u.lists[name]; found && l.Stage != "final" {
		return x, nil
	}
	return Expansion{Mailbox: name, Detail: detail}, nil
}

type router func(q Question) (Decision, error)

func (r router) Route(ctx context.Context, q Question) (Decision, error) { return r(q) }

// plainRoute gives users without a domain to the local mailer and the rest to smtp.
func plainRoute(q Question) (Decision, error) {
	local, domain := q.Recipient.Split()
	if domain == "" || domain == "here.test" {
		return Decision{Mailer: "local", User: local, Priority: q.Priority}, nil
	}
	return Decision{Mailer: "smtp", Host: domain, User: string(q.Recipient), Priority: q.Priority}, nil
}

// lines is the other log; WARN and ERROR fail the test unless they are expected.
type lines struct {
	slog.Handler
	mu   sync.Mutex
	text []string
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }
func (l *lines) Handle(_ context.Context, r slog.Record) error {
	s := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool { s += fmt.Sprintf(" %s=%v", a.Key, a.Value); return true })
	l.mu.Lock()
	l.text = append(l.text, s)
	l.mu.Unlock()
	return nil
}
func (l *lines) WithAttrs([]slog.Attr) slog.Handler { return l }

func (l *lines) bad() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var bad []string
	for _, s := range l.text {
		if strings.HasPrefix(s, "WARN") || strings.HasPrefix(s, "ERROR") {
			bad = append(bad, s)
		}
	}
	return bad
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, fs: crashfs.New(), world: newWorld(), users: &users{lists: map[string]Expansion{}, unknown: map[string]bool{}}, route: plainRoute}
	r.fs.Mkdir("/", 0)
	r.open()
	return r
}

// open opens the queue, as after a restart.
func (r *rig) open() {
	r.t.Helper()
	r.log, r.slog = &recorder{}, &lines{}
	cfg := r.cfg
	cfg.Host, cfg.Dir, cfg.FS, cfg.Log, cfg.Mail = "mx.here.test", "/spool", r.fs, slog.New(r.slog), r.log
	q, err := Open(cfg, Wiring{
		Router:  router(func(q Question) (Decision, error) { return r.route(q) }),
		Mailers: map[string]Mailer{"smtp": {Transport: r.world}, "local": {Transport: r.world, Local: true}},
		Program: Mailer{Transport: r.world}, File: Mailer{Transport: r.world},
		Expander: r.users, Notifier: dsn.Composer{Host: "mx.here.test"},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.q = q
	if r.useLog {
		if r.unlock, err = q.spool.Lock(); err == nil {
			err = q.spool.StartLog(64<<10, 4)
		}
		if err != nil && !errors.Is(err, crashfs.ErrStopped) {
			r.slog.Handle(context.Background(), slog.NewRecord(time.Now(), slog.LevelError, err.Error(), 0))
		}
	}
}

func (r *rig) quiet() {
	r.t.Helper()
	if bad := r.slog.bad(); len(bad) > 0 {
		r.t.Errorf("unexpected log lines:\n%s", strings.Join(bad, "\n"))
	}
}

func message(id string, size int) string {
	return "From: <alice@here.test>\nSubject: t-" + id + "\n\n" + strings.Repeat("0123456789abcde\n", size/16+1)
}

func mail(from string, when envelope.When, to ...string) *envelope.Envelope {
	e := &envelope.Envelope{Sender: envelope.Address(from), When: when, Origin: envelope.Origin{Protocol: "ESMTP", ClientAddr: "192.0.2.1", ClientName: "client.test", Helo: "client.test", UID: -1}}
	for _, a := range to {
		e.Recipients = append(e.Recipients, envelope.Recipient{Addr: envelope.Address(a)})
	}
	return e
}

func (r *rig) accept(id string, e *envelope.Envelope) Receipt {
	r.t.Helper()
	receipt, err := r.q.Accept(context.Background(), e, strings.NewReader(message(id, 100)), Options{})
	if err != nil {
		r.t.Fatalf("accept %s: %v", id, err)
	}
	return receipt
}

func (r *rig) queued() []string { return r.fs.Names("/spool/queue") }

func (r *rig) closeQueue() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.q.Close(ctx); err != nil {
		r.t.Error(err)
	}
	if r.unlock != nil {
		r.unlock()
		r.unlock = nil
	}
}
