package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
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
	return queueView{verbose: v.Verbose, counted: plain, match: func(l queue.Listed) bool {
		switch {
		case v.Queue.Lost:
			return l.Damage != ""
		case l.Held != v.Queue.Quarantined:
			return false
		}
		return picked.Matches(l, now)
	}}
}

// quarantine is -Q: messages that -q selects are held, or released when no reason is given. Without -q there is nothing
// to do, and no message is read.
func quarantine(std stdio, v *flags.Invocation) int {
	if !v.Queue.Asked {
		return sysexits.OK
	}
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
