package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"time"

	"waybill/cmd/internal/app/watch"
	"waybill/queue"
	"waybill/queue/spool"
	"waybill/rules"
	"waybill/transport/smtpserver"
	"waybill/transport/sysexits"
)

// stopTimeout is how long deliveries and sessions that are under way may take after SIGTERM; then they become
// temporary failures and are tried again after the next start.
const stopTimeout = 15 * time.Second

// options makes the flags of a command; -C is common to all. parse returns false when the command must end with exit.
func options(std stdio, name, usage string) (fs *flag.FlagSet, config *string) {
	fs = flag.NewFlagSet("waybill "+name, flag.ContinueOnError)
	fs.SetOutput(std.err)
	config = fs.String("C", "", "rules `file` (default "+spool.DefaultConfig+", else the embedded rules)")
	fs.Usage = func() {
		fmt.Fprintf(fs.Output(), "usage: waybill %s %s\n", name, usage)
		fs.PrintDefaults()
	}
	return fs, config
}

// parse reads args; with ok false the command ends with exit.
func parse(std stdio, fs *flag.FlagSet, args []string) (exit int, ok bool) {
	for _, a := range args {
		if a == "--help" || a == "-help" || a == "-h" {
			fs.SetOutput(std.out)
		}
	}
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return sysexits.OK, false
	case err != nil:
		return sysexits.Usage, false
	}
	return 0, true
}

// cannotOpen tells why a site does not open, and what the exit status is.
func cannotOpen(std stdio, err error) int {
	var wrong rules.Diagnostics
	if errors.As(err, &wrong) {
		fmt.Fprintln(std.err, wrong.Error())
		return sysexits.Config
	}
	var refused *cfRefused
	if errors.As(err, &refused) {
		fmt.Fprintln(std.out, refused) // where sendmail says it
		return refused.exit
	}
	fmt.Fprintf(std.err, "waybill: %v\n", err)
	switch {
	case errors.Is(err, os.ErrPermission):
		return sysexits.NoPerm
	case errors.Is(err, os.ErrNotExist):
		return sysexits.OSFile
	}
	return sysexits.Config
}

func serve(std stdio, args []string) int {
	fs, config := options(std, "serve", "[-C FILE]")
	debug := fs.Bool("debug", false, "log more")
	var given overrides
	given.flags(fs)
	profile := fs.String("profile", "", "write a CPU profile to `file` until the daemon stops")
	if exit, ok := parse(std, fs, args); !ok {
		return exit
	}
	level := slog.LevelInfo
	if *debug {
		level = slog.LevelDebug
	}
	s, err := openSite(*config, level, given)
	if err != nil {
		return cannotOpen(std, err)
	}
	s.runsOnly, s.runFirst = given.runs.only, s.cf != nil && given.runs.interval > 0
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return failed(std, err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return failed(std, err)
		}
		defer pprof.StopCPUProfile()
	}
	return s.serve(std)
}

// serve runs the daemon until SIGTERM or SIGINT. SIGHUP reads the rules again and opens the log anew.
func (s *site) serve(std stdio) int {
	unlock, err := s.queue.Lock(s.usesLog())
	if err != nil {
		fmt.Fprintf(std.err, "waybill: %v\n", err)
		return sysexits.TempFail
	}
	defer unlock()
	debug.FreeOSMemory() // what reading the segments of a log took, up to 16 MB
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	server, err := s.server(false)
	if err != nil {
		return cannotOpen(std, err)
	}
	ports, err := s.listenUnless(s.runsOnly)
	if err != nil {
		fmt.Fprintf(std.err, "waybill: %v\n", err)
		return sysexits.OSErr
	}
	front, err := spool.Listen(s.queue.Spool().Socket())
	if err != nil {
		fmt.Fprintf(std.err, "waybill: %v\n", err)
		return sysexits.OSErr
	}

	var running sync.WaitGroup
	running.Go(func() { collect(ctx) })
	running.Go(func() { s.queue.Run(ctx) })
	if s.runFirst { // sendmail -bd -q30m begins with a queue run
		running.Go(func() {
			_, err := s.queue.Nudge(ctx, nil)
			report(s.log, "first queue run", err)
		})
	}
	running.Go(func() { // what a sendmail left in this directory goes on
		for _, dir := range append([]string{s.settings.Spool}, s.settings.Spread...) {
			_, _, err := s.takeOver(ctx, dir, func(string) {})
			report(s.log, "sendmail's queue files", err)
		}
	})
	// sessions under way outlive SIGTERM: a message that is being passed on is not broken off between the next hop's
	// answer and ours, which would deliver it twice.
	sessions, cutOff := context.WithCancel(context.Background())
	defer cutOff()
	running.Go(func() { report(s.log, "front ends", spool.Serve(ctx, front, frontEnds{s: s, work: sessions}, s.log)) })
	for _, p := range ports {
		running.Go(func() { report(s.log, p.Addr().String(), server.ServeAs(sessions, p.Listener, p.role)) })
	}
	running.Go(func() { s.tlsReports(ctx) })
	running.Go(s.watch(ctx)) // from now on: who hears that we are up may change a file, or send SIGHUP
	s.log.Info("waybill is up", "version", Version, "host", s.settings.Host, "spool", s.settings.Spool, "listen", strings.Join(s.settings.Listen, " "))
	report(s.log, "service manager", tellManager("READY=1"))

	<-ctx.Done()
	stop() // a second signal ends us at once
	report(s.log, "service manager", tellManager("STOPPING=1"))
	last, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	defer context.AfterFunc(last, cutOff)()
	report(s.log, "sessions", server.Shutdown(last))
	running.Wait()
	s.log.Info("waybill stops")
	if err := s.close(last); err != nil {
		fmt.Fprintf(std.err, "waybill: %v\n", err)
	}
	return sysexits.OK
}

// usesLog reports whether the queue takes mail into an intake log: where that is safe, or where the settings insist.
func (s *site) usesLog() bool {
	switch s.settings.Queue {
	case "log":
		return true
	case "auto", "": // a sendmail.cf has no word for it
		return queue.Journaled(s.queue.Spool().Dir())
	}
	return false
}

// report logs that a part of the daemon ended although nobody asked it to.
func report(log *slog.Logger, what string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, smtpserver.ErrStopped) {
		log.Error("stopped", "what", what, "err", err)
	}
}

// watch begins to watch. The function that it returns wakes the queue for new drops, and reads rules and tables again when
// they change or SIGHUP comes, until ctx ends.
func (s *site) watch(ctx context.Context) func() {
	w := watch.New(s.log)
	w.Dir(filepath.Join(s.settings.Spool, "drop"), s.queue.Kick)
	var replaceRules, replaceTables func([]string)
	again := func() {
		if s.tell(s.reload()) {
			rules, tables := s.watched()
			replaceRules(rules)
			replaceTables(tables)
		}
	}
	ruleFiles, tableFiles := s.watched()
	replaceRules = w.Files(ruleFiles, again)
	replaceTables = w.Files(tableFiles, func() {
		if s.cf != nil {
			return
		}
		changed, err := s.refresh()
		switch {
		case err != nil:
			s.log.Error("a table cannot be read; its old content stays in use", "err", err)
		case changed:
			s.log.Info("tables were read again")
		}
	})
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	return func() {
		defer signal.Stop(hangup)
		var running sync.WaitGroup
		defer running.Wait()
		running.Go(func() { w.Run(ctx) })
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
				if err := s.mail.Reopen(); err != nil {
					s.log.Error("the log cannot be opened anew", "err", err)
				}
				again()
			}
		}
	}
}

// watched returns the files of the rules, and those of tables and classes.
func (s *site) watched() (ruleFiles, tableFiles []string) {
	if s.cf != nil {
		return nil, nil
	}
	r := s.rules()
	if s.file == "" {
		return nil, r.Files()
	}
	return r.RuleFiles(), r.Files()
}

// tell logs how reading the rules again went, each error on a line of its own.
func (s *site) tell(err error) bool {
	if err == nil {
		s.log.Info("the rules were read again")
		return true
	}
	s.log.Error("the rules are wrong; the old ones stay in use")
	for line := range strings.Lines(err.Error()) {
		s.log.Error(strings.TrimRight(line, "\n"))
	}
	return false
}

// deliver tries one message now: sendmail -odi and -odb start it when no daemon runs.
func deliver(std stdio, args []string) int {
	fs, config := options(std, "deliver", "[-C FILE] [-v] ID")
	verbose := fs.Bool("v", false, "show the dialogue")
	var given overrides
	given.flags(fs)
	if exit, ok := parse(std, fs, args); !ok {
		return exit
	}
	if fs.NArg() != 1 || !spool.ValidID(fs.Arg(0)) {
		fs.Usage()
		return sysexits.Usage
	}
	s, err := openSite(*config, slog.LevelInfo, given)
	if err != nil {
		return cannotOpen(std, err)
	}
	if s.cf != nil {
		s.cf.oneShot = true
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	defer s.close(ctx)
	var say func(string)
	if *verbose {
		say = func(line string) { fmt.Fprintln(std.out, line) }
	}
	statuses, err := s.queue.Deliver(ctx, fs.Arg(0), say)
	s.queue.Settle(ctx) // a bounce that came of it is mail, too
	switch {
	case errors.Is(err, spool.ErrGone), errors.Is(err, spool.ErrBusy):
		return sysexits.OK // somebody else has it
	case err != nil:
		fmt.Fprintf(std.err, "waybill: %s stays in the queue: %v\n", fs.Arg(0), err)
		return sysexits.OK // it is safe
	}
	exit := sysexits.OK
	for _, status := range statuses {
		if e := queue.ExitOf(status); e != sysexits.OK {
			exit = e
		}
	}
	return exit
}

func writeLine(w io.Writer, line string) error {
	_, err := fmt.Fprintln(w, line)
	return err
}
