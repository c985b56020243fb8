package app

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"waybill/compat/mailstats"
	"waybill/etc"
	"waybill/queue"
	"waybill/queue/dsn"
	"waybill/queue/expand"
	"waybill/queue/maillog"
	"waybill/queue/sched"
	"waybill/queue/spool"
	"waybill/rules"
	"waybill/rules/table"
	"waybill/transport/dns"
	"waybill/transport/envelope"
	"waybill/transport/mtasts"
	"waybill/transport/passwd"
	"waybill/transport/smtp"
	"waybill/transport/smtpclient"
	"waybill/transport/tlsrpt"
)

// site is one configuration at work.
type site struct {
	file     string // the rules file; empty for the embedded rules
	settings rules.Settings
	log      *slog.Logger // what the program says, in the mail log
	mail     *maillog.Log
	resolver *dns.Resolver
	users    *passwd.File // who gets mail
	callers  *passwd.File // who runs programs on this host
	queue    *queue.Queue
	load     loadMeter
	pipeExit *int             // where an SMTP session on a pipe leaves sendmail's exit status; nil: nobody asks
	runsOnly bool             // the queue, and no SMTP
	runFirst bool             // the queue, before anything else
	cf       *cfSite          // nil unless the configuration is a sendmail.cf
	sts      *mtasts.Store    // nil until a transport asks for it
	reports  *tlsrpt.Recorder // nil unless tls-reports is set

	swap   sync.Mutex // one change of rules or tables at a time
	mu     sync.Mutex
	router *rules.Router
	wiring queue.Wiring // that the queue has
	// handOn, if set, takes what SMTP sessions accept instead of the queue.
	handOn func(ctx context.Context, e *envelope.Envelope, body io.Reader) *smtp.Reply

	closers []func() // of the transports of router

	statistics                 *mailstats.Recorder // nil: nothing is counted
	mailerNumber               map[string]int
	localMailer, networkMailer string // whose the mail of local programs and of the network is
	clients                    []*smtpclient.Client
}

// defaultRules is where the embedded rules say they come from.
const defaultRules = "default.rules"

// loadRules reads the rules of a site: file, or the usual place, or the embedded ones when there is no such file. The
// error is rules.Diagnostics when the rules are wrong.
func loadRules(file string, opt rules.Options) (*rules.Router, string, error) {
	read, shown, opt := ruleSource(file, opt)
	router, err := rules.Load(read, opt)
	return router, shown, err
}

// ruleSource tells what loadRules reads: the name of the file, the name to tell people, which is empty for the embedded
// rules, and how to read it.
func ruleSource(file string, opt rules.Options) (read, shown string, _ rules.Options) {
	opt.Library = etc.Library()
	if opt.Hostname == "" {
		if located, err := spool.Locate(file); err == nil {
			opt.Hostname = located.Host
		}
	}
	if file == "" {
		file = spool.DefaultConfig
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			opt.Text = etc.DefaultRules()
			return defaultRules, "", opt
		}
	}
	return file, file, opt
}

// openSite makes everything that a configuration asks for and opens its queue. level is that of the program's own
// messages in the log. overrides are of the command line; they count for a sendmail.cf only.
func openSite(file string, level slog.Level, given ...overrides) (*site, error) {
	if isCF(file) {
		return openCF(file, level, given)
	}
	s := &site{}
	// The log and the resolver are named in the rules, and the rules may need a resolver for their tables.
	var wrong error
	router, file, err := loadRules(file, rules.Options{ResolverFor: func(settings rules.Settings) table.Resolver {
		s.settings = settings
		wrong = s.openLogAndResolver(level)
		return ruleTables{s.resolver}
	}})
	if err = errors.Join(wrong, err); err != nil {
		return nil, err
	}
	s.file = file
	s.users, s.callers = passwd.Open(s.settings.Users, "/etc/group"), passwd.Open("/etc/passwd", "/etc/group")
	wiring, err := s.use(router)
	if err != nil {
		return nil, err
	}
	s.queue, err = queue.Open(queue.Config{
		Host:       s.settings.Host,
		Dir:        cmp.Or(spoolOf(given), s.settings.Spool),
		Log:        s.log,
		Mail:       counter{s.mail, s},
		Retry:      sched.Delays(s.settings.Retry),
		GiveUp:     s.settings.GiveUp,
		WarnAfter:  warnAfter(s.settings),
		Postmaster: envelope.Address(s.settings.Postmaster),
		MaxHops:    s.settings.MaxHops,
		MaxSize:    s.settings.MaxSize,
		Deliveries: s.settings.Deliveries,
		Interval:   runsIn(given).interval,
		Now:        calendar,
		Spread:     s.settings.Spread,
	}, wiring)
	if err != nil {
		return nil, spoolTrouble(s.settings.Spool, err)
	}
	s.count()
	return s, nil
}

// openLogAndResolver makes what the settings say of both.
func (s *site) openLogAndResolver(level slog.Level) (err error) {
	if s.mail, err = openLog(s.settings.Log, maillog.Options{Host: s.settings.Host}, level); err != nil {
		return err
	}
	s.log = slog.New(s.mail.Handler(level))
	conf := dns.Config{Log: s.log}
	if s.settings.Resolver != "" {
		conf.Servers = []string{s.settings.Resolver}
	}
	s.resolver, err = dns.New(conf)
	return err
}

// warnAfter is the queue's form of the setting, where 0 means "never".
func warnAfter(s rules.Settings) time.Duration {
	if s.WarnAfter == 0 {
		return -1
	}
	return s.WarnAfter
}

// use makes what router asks for. What the site used before is closed when the deliveries that use it have had time.
func (s *site) use(router *rules.Router) (queue.Wiring, error) {
	wiring, closers, err := s.mailers(router)
	if err != nil {
		return queue.Wiring{}, err
	}
	if err := s.snapshot(&wiring, router); err != nil {
		return queue.Wiring{}, err
	}
	wiring.Notifier = dsn.Composer{Host: s.settings.Host, Postmaster: envelope.Address(s.settings.Postmaster), ReturnLimit: s.settings.ReturnLimit}
	s.mu.Lock()
	old := s.closers
	s.router, s.closers, s.wiring = router, closers, wiring
	s.mu.Unlock()
	s.number(ruleMailers(kinds(router.Transports())))
	if len(old) > 0 {
		go func() {
			for _, c := range old {
				c()
			}
		}()
	}
	return wiring, nil
}

// policy is what an SMTP session asks: the accept blocks of our rules, or the check_ rulesets of a sendmail.cf.
type policy interface {
	Accept(ctx context.Context, stage rules.Stage, q rules.Query, t rules.Tracer) (rules.Verdict, error)
	AcceptHeader(ctx context.Context, name, value string, q rules.Query, t rules.Tracer) (rules.Verdict, error)
}

// policy returns the one that is in use now. A transaction keeps the one that it began with.
func (s *site) policy() policy {
	if s.cf != nil {
		return cfPolicy{cfSite: s.cf}
	}
	return s.rules().Pin()
}

// rules returns the router that is in use now. A transaction keeps the one that it began with.
func (s *site) rules() *rules.Router {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.router
}

// reload reads the rules again. On an error the old ones go on working (design.md, promise 7). The settings of the
// queue and of the listeners are those of the start.
func (s *site) reload() error {
	s.swap.Lock()
	defer s.swap.Unlock()
	if s.cf != nil {
		return errors.New(s.file + ": a sendmail.cf is read when the daemon starts; restart it")
	}
	router, _, err := loadRules(s.file, rules.Options{Resolver: ruleTables{s.resolver}})
	if err != nil {
		return err
	}
	wiring, err := s.use(router)
	if err != nil {
		return err
	}
	return s.queue.Use(wiring)
}

// close ends the queue: what runs may finish until ctx ends.
func (s *site) close(ctx context.Context) error {
	err := s.queue.Close(ctx)
	s.statistics.Close()
	s.mu.Lock()
	closers := s.closers
	s.closers = nil
	s.mu.Unlock()
	for _, c := range closers {
		c()
	}
	return errors.Join(err, s.mail.Close())
}

// names is what knows the local names by the rules that are in use now.
func (s *site) names() (localNames, error) {
	if s.cf != nil {
		return s.cfNames()
	}
	return s.expander(s.rules())
}

// expander makes what knows aliases, .forward files and users.
func (s *site) expander(router *rules.Router) (localNames, error) {
	conf := expand.Config{
		Users:   s.users,
		Forward: []string{"$home/.forward+$detail", "$home/.forward"},
		Host:    s.settings.Host,
		Log:     s.log,
	}
	if table, ok := router.Table(s.settings.Aliases); ok {
		conf.Aliases = table
	}
	x, err := expand.New(conf)
	return localNames{x: x}, err
}

// localNames gives the queue package expand's answers.
type localNames struct {
	x     *expand.Expander
	notMe func(sender, member envelope.Address) bool // a member who is the sender and gets no copy (MeToo off); nil: all do
}

func (l localNames) Expand(ctx context.Context, u queue.LocalUser) (queue.Expansion, error) {
	r, err := l.x.Expand(ctx, expand.User{Name: u.Name, Stage: u.Stage, Depth: u.Depth, Trail: u.Trail, Detail: u.Host})
	if err != nil {
		return queue.Expansion{}, err
	}
	out := queue.Expansion{Mailbox: r.Mailbox, Detail: r.Detail, Owner: r.Owner, HasOwner: r.HasOwner, Status: r.Status, Loop: r.Loop, Told: r.Told, Odd: r.Odd}
	for _, m := range r.Members {
		if l.notMe != nil && m.Addr != "" && l.notMe(u.Sender, m.Addr) {
			continue
		}
		out.Members = append(out.Members, queue.Member{Addr: m.Addr, Command: m.Command, File: m.File, As: m.As, Stage: m.Stage, Refused: m.Refused, Name: m.Name, Where: m.Where, From: m.From})
	}
	if len(r.Members) > 0 && len(out.Members) == 0 { // nobody but the sender is on the list
		l.notMe = nil
		return l.Expand(ctx, u)
	}
	return out, nil
}
