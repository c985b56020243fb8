package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"waybill/queue/spool"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

const (
	// dropsLinger is how long takeOver waits for the next message: programs often send several, and starting costs more
	// than waiting.
	dropsLinger = 250 * time.Millisecond
	// dropsLook is how often it looks meanwhile, and dropsLookBusy while nothing but long deliveries keeps it.
	dropsLook     = 10 * time.Millisecond
	dropsLookBusy = 250 * time.Millisecond
)

// takeOver delivers what front ends drop while no daemon runs: a front end that drops a message starts it in the
// background and gives it, as standard input, the lock that keeps others from doing so as well. It ends when nothing is
// left to deliver and nothing new has come for a moment.
func takeOver(std stdio, args []string) int {
	fs, config := options(std, "takeover", "[-C FILE] <LOCK")
	if exit, ok := parse(std, fs, args); !ok {
		return exit
	}
	if info, err := os.Stdin.Stat(); err != nil || !info.Mode().IsRegular() {
		fmt.Fprintln(std.err, "waybill: takeover is for the front end: standard input is no lock")
		return sysexits.Usage
	}
	lock := spool.TakingFrom(os.Stdin)
	s, err := openSite(*config, slog.LevelInfo)
	if err != nil {
		return cannotOpen(std, err)
	}
	if s.cf != nil {
		s.cf.oneShot = true
		os.Chdir(s.settings.Spool) // as sendmail does
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	for {
		left := s.takeDropsFor(ctx)
		lock.GiveUp()
		// A front end that dropped something a moment ago saw the lock held and relies on us.
		if n, again, _ := s.queue.TakeDrops(ctx); left || again || n == 0 || ctx.Err() != nil || !lock.Again() {
			break
		}
	}
	s.queue.Settle(ctx)
	return failed(std, s.close(ctx))
}

// takeDropsFor takes drops over until none has come for dropsLinger and no attempt goes on. It reports whether there are
// some that cannot be taken over now; those wait for a queue run.
func (s *site) takeDropsFor(ctx context.Context) (left bool) {
	for last := time.Now(); ctx.Err() == nil; {
		taken, left, busy := s.queue.TakeDrops(ctx)
		if taken > 0 {
			last = time.Now()
		}
		pause := dropsLook
		if time.Since(last) > dropsLinger {
			if left || !busy {
				return left
			}
			pause = dropsLookBusy
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return false
}

// noteKnown notes the recipients of a message that was accepted whole, for the next one to them (spool.Known).
func (s *site) noteKnown(config string, given overrides, e *envelope.Envelope, reply spool.Reply) {
	if reply.Exit != sysexits.OK || reply.ID == "" || len(reply.Refused) > 0 || len(given.macros) > 0 || e.Anyway ||
		e.When != envelope.WhenDefault && e.When != envelope.WhenBackground {
		return
	}
	for _, o := range given.options {
		switch o.Name {
		case "IgnoreDots", "ErrorMode", "DeliveryMode": // of the message, and the front end has obeyed them
		default:
			return
		}
	}
	files := []string{s.settings.Users, "/etc/passwd", "/etc/hosts", "/etc/resolv.conf"}
	if self, err := os.Executable(); err == nil {
		files = append(files, self)
	}
	if s.cf != nil {
		files = append(files, s.cf.files()...)
	} else {
		files = append(files, s.rules().Files()...)
	}
	if err := spool.NoteKnown(s.settings.Spool, config, files, e.Sender, e.Recipients, time.Now()); err != nil {
		s.log.Warn("accepted recipients cannot be noted", "err", err)
	}
}

// files are those that the configuration was read from, and that its tables and options name.
func (c *cfSite) files() []string {
	files := []string{c.conf.File}
	named := func(text string) {
		for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(" \t,:", r) }) {
			if at := strings.IndexByte(word, '/'); at >= 0 {
				files = append(files, word[at:], word[at:]+".db")
			}
		}
	}
	for _, class := range c.conf.Prog.Classes {
		for _, f := range class.Files {
			files = append(files, f.Path)
		}
	}
	for _, t := range c.conf.Prog.Tables {
		for _, a := range t.Args {
			named(a)
		}
	}
	for _, o := range c.conf.Options {
		switch o.Name {
		case "AliasFile", "UserDatabaseSpec", "ServiceSwitchFile", "HostsFile":
			named(o.Value)
		}
	}
	return files
}
