package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"waybill/compat/flags"
	"waybill/queue"
	"waybill/queue/spool"
	"waybill/transport/sysexits"
)

// sendmailView is what mailq shows: the quarantined messages with -qQ and the damaged ones with -qL; else neither the
// ones nor, among the others, what the selectors leave out.
func sendmailView(v *flags.Invocation) queueView {
	picked, now := chosen(v.Queue), time.Now()
	plain := len(picked) == 0 && !v.Queue.Lost && !v.Queue.Quarantined
	return queueView{verbose: v.Verbose, counted: plain, lost: v.Queue.Lost, match: func(l queue.Listed) bool {
		switch {
		case v.Queue.Lost:
			return l.Damage != ""
		case l.Held != v.Queue.Quarantined:
			return false
		}
		return picked.Matches(l, now)
	}}
}

// quarantineRun is -qQ: the quarantined messages that it selects are tried once, and what is left of them stays in
// quarantine. Beside a daemon nothing is tried: its queue is its own.
func quarantineRun(std stdio, v *flags.Invocation) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	located, err := spool.Locate(v.ConfigFile)
	if err != nil {
		return cannotOpen(std, err)
	}
	if err := spool.Control(ctx, located.Socket, []string{"ping"}, func(string) error { return nil }); !errors.Is(err, spool.ErrNoDaemon) {
		return sysexits.OK
	}
	ids, err := selectedIDs(ctx, v.ConfigFile, sendmailView(v).match)
	if err != nil || len(ids) == 0 {
		return failed(std, err)
	}
	s, err := openSite(v.ConfigFile, slog.LevelWarn, overridesOf(v))
	if err != nil {
		return cannotOpen(std, err)
	}
	if s.cf != nil {
		s.cf.queueRun = true
		os.Chdir(s.settings.Spool)
	}
	var verbose func(string)
	if v.Verbose {
		verbose = func(line string) { writeLine(std.out, line) }
	}
	for n, id := range ids {
		if verbose != nil {
			fmt.Fprintf(std.out, "\nRunning %s/%s (sequence %d of %d)\n", s.settings.Spool, id, n+1, len(ids))
		}
		err = errors.Join(err, s.queue.TryHeld(ctx, id, verbose))
	}
	s.queue.Settle(ctx)
	return max(failed(std, err), failed(std, s.close(ctx)))
}

// quarantine is -Q: messages that -q selects, all without -q, are held, or released when no reason is given. No message is
// read.
func quarantine(std stdio, v *flags.Invocation) int {
	view := sendmailView(v)
	ids, err := selectedIDs(context.Background(), v.ConfigFile, view.match)
	if err != nil {
		return failed(std, err)
	}
	verb := "hold"
	if v.Quarantine == "" {
		verb = "release"
	}
	if len(ids) == 0 {
		return sysexits.OK
	}
	if v.Quarantine != "" {
		ids = append(ids, "why="+v.Quarantine)
	}
	std.out = io.Discard // sendmail says nothing
	return controlQueue(std, v.ConfigFile, append([]string{verb}, ids...))
}

// selectedIDs lists the messages that match, through the daemon or without one.
func selectedIDs(ctx context.Context, config string, match func(queue.Listed) bool) (ids []string, err error) {
	located, err := spool.Locate(config)
	if err != nil {
		return nil, err
	}
	add := func(l queue.Listed) error {
		if match(l) {
			ids = append(ids, l.ID)
		}
		return nil
	}
	lister := queue.Lister{F: add}
	err = spool.Control(ctx, located.Socket, []string{"list"}, lister.Line)
	if err == nil {
		err = lister.End()
	}
	if errors.Is(err, spool.ErrNoDaemon) {
		var s *site
		if s, err = openSite(config, slog.LevelWarn); err != nil {
			return nil, err
		}
		defer s.close(ctx)
		err = s.queue.List(ctx, add)
	}
	return ids, err
}
