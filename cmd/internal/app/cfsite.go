package app

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"waybill/compat/cf"
	"waybill/compat/flags"
	"waybill/compat/rewrite"
	"waybill/compat/submit"
	"waybill/queue"
	"waybill/queue/expand"
	"waybill/queue/maillog"
	"waybill/rules"
	"waybill/rules/eval"
	"waybill/rules/prog"
	"waybill/rules/table"
	"waybill/transport"
	"waybill/transport/dns"
	"waybill/transport/envelope"
	"waybill/transport/passwd"
	"waybill/transport/smtpclient"
	"waybill/transport/sysexits"
)

// cfSite is what a site has when it runs by a sendmail.cf.
type cfSite struct {
	conf *cf.Config
	rw   *rewrite.Rewriter
	log  *slog.Logger

	aliases aliasFiles
	defined []flags.Macro        // by -M
	hops    int                  // by -h
	clients []*smtpclient.Client // of the mailers that speak SMTP
	roots   *x509.CertPool       // for the certificates of clients

	queueRun bool              // this process runs the queue
	failed   func(string)      // with queueRun: hears of failures; nil: nobody does
	exit     atomic.Int32      // with failed: the exit status of the last failure
	oneShot  bool              // this process serves one submission
	pipe     bool              // this process is sendmail -bs
	verbose  bool              // and was called with -v
	when     envelope.When     // with pipe: what -od says
	body     envelope.BodyType // with pipe: what -B says of messages of which their client says nothing
	named    atomic.Bool       // with oneShot: its sender was named
	users    *table.UserDB     // nil: there is no user database
}

// namesSender tells whether F=f and F=r mailers get the sender as an argument: where sendmail was told it by -f or by
// SMTP, or works through the queue, but not where it is just the user who called.
func (c *cfSite) namesSender(e *envelope.Envelope) bool {
	switch {
	case c.queueRun:
		return true
	case isNotice(e.Sender, e.Origin):
		return !c.oneShot || c.named.Load()
	}
	return e.Named || e.Origin.Protocol != "local" || string(e.Sender) != e.Origin.User
}

// alone reports whether this process is one that sendmail would be for a caller, and not a daemon.
func (c *cfSite) alone() bool { return c.oneShot || c.queueRun || c.pipe }

// isNotice tells our own notices.
func isNotice(sender envelope.Address, o envelope.Origin) bool {
	return sender.Null() && o.Protocol == "local" && o.User == ""
}

// openCF makes a site of a sendmail.cf: the rules decide through package rewrite, the mailers become our transports.
// What is not honoured yet is listed in the manual page sendmail.cf(5) of Waybill.
func openCF(file string, level slog.Level, given []overrides) (*site, error) {
	how := cf.Options{Host: cf.LocalHost("/etc/hosts"), CheckTable: eval.CheckTable, Mode: "m", Words: askedForWords}
	for _, g := range given {
		how.Define = append(how.Define, g.lines()...)
	}
	conf, err := readCF(file, how)
	if err != nil {
		return nil, unreadableCF(file, err)
	}
	give(conf, given)
	if err := refuseCF(conf); err != nil {
		return nil, err
	}
	s := &site{file: file, settings: cfSettings(conf)}
	if s.mail, err = maillog.Open("syslog", maillog.Options{Tag: logTag(given), Host: s.settings.Host, Classic: s.cfLog(conf)}); err != nil {
		return nil, err
	}
	s.log = slog.New(s.mail.Handler(level))
	if s.resolver, err = dns.New(dns.Config{Log: s.log}); err != nil {
		return nil, err
	}
	s.users, s.callers = passwd.Open(s.settings.Users, "/etc/group"), passwd.Open("/etc/passwd", "/etc/group")
	hosts, _ := conf.Option("HostsFile", "")
	service, _ := conf.Option("ServiceSwitchFile", "")
	_, domain, _ := strings.Cut(s.settings.Host, ".")
	rw, err := rewrite.New(conf, eval.TableEnv{
		Resolver: ruleTables{s.resolver}, Hosts: cmp.Or(hosts, "/etc/hosts"), Services: service, Domain: domain,
		KeepAliases: conf.Bool("DontExpandCnames", false), Macro: func(name string) string { return conf.Prog.Macros[name] },
		Unsafe: conf.SafeMap, Program: conf.Program, UserDatabase: userDatabase(conf),
	})
	if err != nil {
		return nil, err
	}
	s.cf = &cfSite{conf: conf, rw: rw, log: s.log}
	s.openUserDB()
	for _, g := range given {
		s.cf.defined = append(s.cf.defined, g.macros...)
		s.cf.hops = max(s.cf.hops, g.hops)
	}
	wiring, err := s.cfWiring()
	if err != nil {
		return nil, err
	}
	weights := cfWeights(conf)
	s.queue, err = queue.Open(queue.Config{
		Weights: &weights, Spread: s.settings.Spread,
		Host: s.settings.Host, Dir: s.settings.Spool, Log: s.log, Mail: counter{s.mail, s}, Retry: queueInterval(given, conf, s.settings.Retry), Interval: runsIn(given).interval, RunEvery: runsIn(given).interval,
		MinAge: minAge(conf), GiveUp: s.settings.GiveUp, WarnAfter: warnAfter(s.settings), Postmaster: envelope.Address(doubleBounces(conf)), NoDouble: doubleBounces(conf) == "", MaxHops: s.settings.MaxHops, HopsLater: true, MaxSize: s.settings.MaxSize,
		MaxRun: s.cf.number("MaxQueueRunSize", 0), NoReceipts: !conf.Bool("RrtImpliesDsn", false), InOrder: s.cf.alone, BareOwners: true, Now: calendar,
	}, wiring)
	if err != nil {
		return nil, fmt.Errorf("the queue directory cannot be used: %w", err)
	}
	s.number(cfMailers(conf))
	s.count()
	return s, nil
}

// cfSettings reads from the options what our settings are. Where an option is not set, sendmail's default counts.
func cfSettings(c *cf.Config) rules.Settings {
	text := func(name, otherwise string) string {
		if v, ok := c.Option(name, ""); ok && v != "" {
			return v
		}
		return otherwise
	}
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(text(name, "")); err == nil {
			return n
		}
		return otherwise
	}
	timeout := func(sub string, otherwise time.Duration) time.Duration {
		v, ok := c.Option("Timeout", sub)
		if !ok {
			return otherwise
		}
		if d, ok := flags.Duration(v, 24*time.Hour); ok {
			return d
		}
		return otherwise
	}
	spool := text("QueueDirectory", "/var/spool/mqueue")
	if strings.HasSuffix(spool, "*") {
		spool = filepath.Dir(spool)
	}
	s := rules.Settings{
		Host: cf.Expand("$j", func(name string) (string, bool) { v, ok := c.Prog.Macros[name]; return v, ok }), Spool: spool, Spread: cfQueues(c), Users: "/etc/passwd",
		Postmaster: "postmaster", MaxHops: number("MaxHopCount", 25), MaxSize: int64(number("MaxMessageSize", 0)), MaxRecipients: number("MaxRecipientsPerMessage", 0),
		Deliveries: 20, Sessions: number("MaxDaemonChildren", 0), GiveUp: timeout("queuereturn", 5*24*time.Hour), WarnAfter: timeout("queuewarn", 0),
		IdleTimeout: timeout("command", time.Hour), Trust: c.Trusted,
		Retry: []time.Duration{10 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute, time.Hour},
	}
	for _, o := range c.Options {
		if isDaemonPort(o) {
			s.Listen = append(s.Listen, daemonPort(o.Value))
		}
	}
	if len(s.Listen) == 0 {
		s.Listen = []string{"*:25"}
	}
	if s.MaxRecipients < 100 {
		s.MaxRecipients = 1000
	}
	return s
}

// doubleBounces is who hears of notices that cannot be delivered (DoubleBounceAddress); empty: nobody.
func doubleBounces(c *cf.Config) string {
	if v, ok := c.Option("DoubleBounceAddress", ""); ok {
		return v
	}
	return "postmaster"
}

// minAge is MinQueueAge, whose bare numbers are minutes.
func minAge(c *cf.Config) time.Duration {
	v, _ := c.Option("MinQueueAge", "")
	d, _ := flags.Duration(v, time.Minute)
	return d
}

// daemonPort is where a DaemonPortOptions listens: "Port=587, Addr=127.0.0.1, Family=inet, Name=MSA", by first letters.
func daemonPort(v string) string {
	addr, port := "", "25"
	for field := range strings.SplitSeq(v, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
		switch {
		case strings.HasPrefix(key, "p") && value != "":
			port = value
		case strings.HasPrefix(key, "a"):
			addr = strings.Trim(value, "[]")
		}
	}
	if n, err := net.LookupPort("tcp", port); err == nil {
		port = strconv.Itoa(n)
	}
	if addr == "" {
		return "*:" + port
	}
	return net.JoinHostPort(strings.TrimPrefix(strings.ToLower(addr), "ipv6:"), port)
}

// macros are what the rules may ask about a message.
func macros(sender envelope.Address, o envelope.Origin) rewrite.Message {
	m := rewrite.Message{
		"f": string(sender), "r": o.Protocol, "s": o.Helo, "client_addr": o.ClientAddr, "client_name": o.ClientName, "auth_authen": o.Auth,
	}
	if o.User != "" && o.ClientAddr == "" { // submitted by a program: names are completed, also with nocanonify
		m["daemon_flags"] = "c u"
	}
	return m
}

// cfRouter answers the queue with the rules of a sendmail.cf.
type cfRouter struct{ *cfSite }

func (r cfRouter) Route(ctx context.Context, q queue.Question) (queue.Decision, error) {
	if !isNotice(q.Sender, q.Origin) {
		r.named.Store(q.Named || q.Origin.Protocol != "local" || string(q.Sender) != q.Origin.User)
	}
	m := macros(q.Sender, q.Origin)
	t, err := r.rw.Parse(ctx, string(q.Recipient), m)
	if err == nil && len(t.Said) > 0 {
		status := endless(t.Said)
		return queue.Decision{Refused: &status, User: t.User}, nil
	}
	moved := false
	if err == nil && t.Mailer != nil && t.Mailer.Has('5') && !t.Listed && !strings.HasPrefix(string(q.Recipient), expand.NoAlias) {
		t, err = r.unaliased(ctx, t, m)
		moved = t.Mailer != nil && !t.Mailer.Has('5')
	}
	if errors.Is(err, errNoAliases) {
		later := transport.NewStatus(transport.Deferred, "4.3.0", "alias database unavailable")
		return queue.Decision{Refused: &later}, nil
	}
	var down *eval.NotNow
	if errors.As(err, &down) {
		later := transport.NewStatus(transport.Deferred, "4.3.0", down.Table+" map: lookup ("+down.Key+"): deferred")
		return queue.Decision{Refused: &later}, nil
	}
	if err != nil {
		return queue.Decision{}, err
	}
	if t.Refusal != nil {
		if t.Refusal.Enhanced == "5.1.3" && t.Refusal.Raw == "" { // the address cannot be read: sendmail says why
			for _, m := range submit.ParseList(string(q.Recipient)) {
				if m.Problem != "" {
					t.Refusal.Text, t.Refusal.Raw = m.Problem, `"553 `+m.Problem+`"`
				}
			}
		}
		status := cfRefusal(t.Refusal)
		return queue.Decision{Refused: &status}, nil
	}
	if most := t.Mailer.MaxSize; most > 0 && q.Size > most {
		status := transport.NewStatus(transport.Failed, "5.2.3", fmt.Sprintf("Message is too large; %d bytes max", most))
		return queue.Decision{Refused: &status}, nil
	}
	d := queue.Decision{Mailer: strings.ToLower(t.Mailer.Name), Host: t.Host, User: t.User, Priority: q.Priority, Moved: moved}
	if t.Mailer.Has('%') { // it waits until its host calls for it (ETRN)
		d.When = envelope.WhenQueue
	}
	return d, nil
}

// endless is what becomes of an address for which the rules call each other without end (a virtual user who leads back to
// himself): nobody has it, and it is for the people of this site to mend.
func endless(said []string) transport.Status {
	s := transport.NewStatus(transport.Failed, "5.1.1", "User unknown")
	s.Exit = sysexits.Software
	for _, line := range said {
		s.Transcript = append(s.Transcript, "554 5.0.0 "+line)
	}
	return s
}

// unaliased takes a local user without an alias through ruleset 5, which may send it elsewhere: to the host for unknown
// users, to the hub. It is also what finds the alias user+* of user+detail, and user: each name that it returns is
// looked for in turn.
func (c *cfSite) unaliased(ctx context.Context, t rewrite.Target, m rewrite.Message) (rewrite.Target, error) {
	for range 10 {
		name := t.User
		if _, found, err := c.aliases.Lookup(ctx, strings.ToLower(name)); found || err != nil {
			return t, err
		}
		if strings.HasPrefix(t.Host, "+") {
			m["h"] = t.Host
		}
		next, err := c.rw.Unaliased(ctx, t, m)
		if err != nil || next.Refusal != nil || next.Mailer == nil || !next.Mailer.Has('5') || next.Listed || next.User == name {
			return next, err
		}
		t = next
	}
	return t, nil
}

func cfRefusal(r *rewrite.Refusal) transport.Status {
	if r.Discard {
		return transport.NewStatus(transport.Discarded, "2.0.0", "discarded by a rule")
	}
	outcome := transport.Failed
	if r.Code/100 == 4 {
		outcome = transport.Deferred
	}
	s := transport.NewStatus(outcome, r.Enhanced, r.Text)
	s.Exit = r.Exit
	if r.Said != "" {
		s.Transcript = []string{r.Said}
	} else if r.Direct != "" {
		s.Became, s.Transcript = r.Direct, []string{fmt.Sprintf("%d %s %s", r.Code, r.Enhanced, r.Text)}
	} else if r.Raw != "" {
		code := cmp.Or(r.Spoken, r.Enhanced)
		if code == "5.0.0" {
			code = "5.3.0" // sendmail says more in the transcript than in the status
		}
		s.Became, s.Transcript = r.Raw, []string{fmt.Sprintf("%d %s %s", r.Code, code, r.Text)}
	}
	return s
}

// cfNames makes what knows aliases, .forward files and users.
func (s *site) cfNames() (localNames, error) {
	conf := expand.Config{Users: s.users, Host: s.settings.Host, Log: s.log, MaxDepth: s.cf.number("MaxAliasRecursion", 10), LastFirst: true, Sendmail: s.cf.listWays(s.defaultUser())}
	if sources := s.cf.conf.AliasSources(); len(sources) > 0 {
		t, err := aliasTables(sources, s.cf.conf.SafeMap)
		if err != nil {
			return localNames{}, err
		}
		conf.Aliases, s.cf.aliases = t, t
	}
	forward, ok := s.cf.conf.Option("ForwardPath", "")
	if !ok {
		forward = "$z/.forward"
	}
	w, _, _ := strings.Cut(s.settings.Host, ".")
	for path := range strings.SplitSeq(forward, ":") {
		path = strings.NewReplacer("$w", w, "+$h", "+$detail").Replace(path)
		if path != "" {
			conf.Forward = append(conf.Forward, path)
		}
	}
	x, err := expand.New(conf)
	names := localNames{x: x}
	if !s.cf.conf.Bool("MeToo", true) {
		names.notMe = s.cf.sameUser
	}
	return names, err
}

// sameUser reports whether two addresses are one user of this host.
func (c *cfSite) sameUser(a, b envelope.Address) bool {
	bare := func(addr envelope.Address) (string, bool) {
		local, domain := addr.Split()
		return strings.ToLower(local), domain == "" || c.rw.InClass("w", strings.ToLower(domain))
	}
	x, own := bare(a)
	y, too := bare(b)
	return a != "" && (own && too && x == y || !own && !too && strings.EqualFold(string(a), string(b)))
}

// aliasFiles are several alias files, asked in order.
type aliasFiles []table.Table

// aliasTables opens what AliasFile lists. A directory is asked; of everything else the text file is read, since newaliases
// has nothing to build here.
func aliasTables(sources []cf.AliasSource, unsafe func(file string) error) (aliasFiles, error) {
	var files aliasFiles
	for _, source := range sources {
		def, env := &prog.Table{Name: "aliases", Class: source.Class, Args: source.Args}, table.Env{}
		if source.Class != "ldap" {
			var flags []string
			for len(source.Args) > 0 && strings.HasPrefix(source.Args[0], "-") { // of map flags only -o says something here
				if source.Args[0] == "-o" {
					flags = []string{"-o"}
				}
				source.Args = source.Args[1:]
			}
			def, env = &prog.Table{Name: "aliases", Class: "aliases", Args: append(flags, source.Args...)}, table.Env{Native: true, Unsafe: unsafe}
		}
		t, err := table.Open(def, env)
		if t == nil {
			return nil, fmt.Errorf("AliasFile %s: %w", strings.Join(source.Args, " "), err)
		}
		files = append(files, t)
	}
	return files, nil
}

func (a aliasFiles) Lookup(ctx context.Context, key string) (string, bool, error) {
	for _, t := range a {
		r, found, err := t.Lookup(ctx, key, nil)
		if err != nil {
			return "", false, fmt.Errorf("%w: %w", errNoAliases, err)
		}
		if found {
			return r.Value, true, nil
		}
	}
	return "", false, nil
}

// errNoAliases is what sendmail says while it cannot read its aliases; mail for users of this host waits.
var errNoAliases = errors.New("alias database unavailable")
