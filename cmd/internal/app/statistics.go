package app

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"waybill/compat/cf"
	"waybill/compat/mailstats"
	"waybill/queue"
	"waybill/queue/maillog"
	"waybill/queue/spool"
	"waybill/rules"
	"waybill/transport"
	"waybill/transport/identity"
	"waybill/transport/sysexits"
)

// statisticsFile is the file in the spool of a site with rules of our own. With a sendmail.cf it is what the option
// StatusFile names, and counting is off while that file does not exist.
const statisticsFile = "statistics"

// counter is the mail log of the queue, which counts by the way what mailstats(8) shows.
type counter struct {
	*maillog.Log
	site *site
}

func (c counter) Accepted(a queue.Accepted) {
	c.Log.Accepted(a)
	c.site.countMailer(c.site.senderMailer(a.Envelope.Origin.UID >= 0), func(m *mailstats.Mailer) {
		m.From++
		m.FromK += mailstats.Kilobytes(a.Size)
	})
}

func (c counter) Tried(t queue.Tried) {
	c.Log.Tried(t)
	if t.Expanded || !t.Final {
		return
	}
	c.site.countMailer(t.Mailer, func(m *mailstats.Mailer) {
		switch t.Status.Outcome() {
		case transport.Delivered, transport.Relayed:
			m.To++
			m.ToK += mailstats.Kilobytes(t.Size)
		case transport.Discarded:
			m.Discarded++
		}
	})
}

// countVerdict counts what a policy did to a client's mail: "reject", "discard" or "quarantine".
func (s *site) countVerdict(verb string) {
	s.countMailer(s.senderMailer(false), func(m *mailstats.Mailer) {
		switch verb {
		case "reject":
			m.Rejected++
		case "discard":
			m.Discarded++
		case "quarantine":
			m.Quarantined++
		}
	})
}

// countConnection counts clients that were let in, or turned away.
func (s *site) countConnection(letIn bool) {
	s.mu.Lock()
	rec := s.statistics
	s.mu.Unlock()
	rec.Count(func(c *mailstats.Statistics) {
		if letIn {
			c.In++
		} else {
			c.Refused++
		}
	})
}

// kinds are the names and kinds of the declared transports.
func kinds(list []rules.Transport) (out []mailerKind) {
	for _, t := range list {
		out = append(out, mailerKind{t.Name, t.Kind})
	}
	return out
}

func (s *site) countMailer(name string, f func(*mailstats.Mailer)) {
	s.mu.Lock()
	rec, number, known := s.statistics, 0, false
	if rec != nil {
		number, known = s.mailerNumber[name]
	}
	s.mu.Unlock()
	if known {
		rec.CountMailer(number, f)
	}
}

// senderMailer is the mailer that mail from there counts for: that of this host's users, or that of the network.
func (s *site) senderMailer(local bool) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if local {
		return s.localMailer
	}
	return s.networkMailer
}

// count begins to keep statistics.
func (s *site) count() {
	file, made := filepath.Join(s.settings.Spool, statisticsFile), identity.Leave
	if s.cf != nil {
		if file, made = statusFile(s.cf.conf), nil; file == "" {
			return
		}
	}
	rec := mailstats.NewRecorder(file, made, func(err error) { s.log.Warn("statistics are not kept", "err", err) })
	s.mu.Lock()
	s.statistics = rec
	s.mu.Unlock()
}

// number gives the mailers of a configuration their numbers.
func (s *site) number(names []string, local, network string) {
	numbers := map[string]int{}
	for i, n := range names {
		numbers[n] = i
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mailerNumber, s.localMailer, s.networkMailer = numbers, local, network
}

// builtin are the mailers that every configuration has. The others follow in the order of the configuration.
var builtin = []string{"prog", "*file*", "*include*"}

// ruleMailers are the names of the transports by their numbers, and those that mail comes from.
func ruleMailers(list []mailerKind) (names []string, local, network string) {
	names = append(names, builtin...)
	for _, t := range list {
		names = append(names, t.name)
		switch t.kind {
		case "mbox", "maildir", "lmtp":
			local = cmp.Or(local, t.name)
		case "smtp":
			network = cmp.Or(network, t.name)
		}
	}
	return names, cmp.Or(local, "prog"), cmp.Or(network, local, "prog")
}

type mailerKind struct{ name, kind string }

// cfMailers is ruleMailers for a sendmail.cf.
func cfMailers(c *cf.Config) (names []string, local, network string) {
	for _, m := range c.Mailers {
		names = append(names, m.Name)
	}
	network = "local"
	for _, n := range []string{"smtp", "esmtp"} {
		for _, m := range c.Mailers {
			if m.Name == n {
				network = n
			}
		}
	}
	return names, "local", network
}

func statusFile(c *cf.Config) string {
	name, _ := c.Option("StatusFile", "")
	return name
}

// mailStats is mailstats(8).
func mailStats(std stdio, args []string) int {
	fail := func(exit int, err error) int {
		fmt.Fprintln(std.err, err)
		return exit
	}
	o, err := mailstats.Parse(args)
	if err != nil {
		return fail(sysexits.Usage, err)
	}
	config := o.Config
	if config == "" {
		config = spool.DefaultCF(0, o.Submit)
	}
	names, file, err := statisticsOf(config)
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			return fail(sysexits.NoInput, fmt.Errorf("mailstats: %s: %w", path.Path, path.Err))
		}
		return cannotOpen(std, err)
	}
	if file = cmp.Or(o.File, file); file == "" {
		return fail(sysexits.OSFile, errors.New("mailstats: no statistics file located"))
	}
	s, err := mailstats.Read(file, o.Clear)
	switch {
	case errors.Is(err, fs.ErrNotExist) && o.File == "" && filepath.Base(file) == statisticsFile:
		return fail(sysexits.NoInput, fmt.Errorf("mailstats: %s: nothing was counted yet", file))
	case errors.Is(err, fs.ErrNotExist):
		return fail(sysexits.NoInput, fmt.Errorf("mailstats: %s: No such file or directory", file))
	case errors.Is(err, os.ErrPermission):
		return fail(sysexits.NoInput, fmt.Errorf("mailstats: %s: Permission denied", file))
	case err != nil:
		return fail(sysexits.OSErr, fmt.Errorf("mailstats: %s: %w", file, err))
	}
	if err := s.Print(std.out, o, names, time.Now()); err != nil {
		return fail(sysexits.IOErr, fmt.Errorf("mailstats: %w", err))
	}
	return sysexits.OK
}

// statisticsOf reads a configuration for what mailstats must know of it.
func statisticsOf(config string) (names []string, file string, err error) {
	if isCF(config) {
		c, err := readCF(config, cf.Options{Host: cf.LocalHost("/etc/hosts")})
		if err != nil {
			return nil, "", err
		}
		names, _, _ = cfMailers(c)
		return names, statusFile(c), nil
	}
	router, err := openRules(config)
	if err != nil {
		return nil, "", err
	}
	names, _, _ = ruleMailers(kinds(router.Transports()))
	return names, filepath.Join(router.Settings().Spool, statisticsFile), nil
}
