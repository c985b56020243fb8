package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"waybill/compat/flags"
	"waybill/queue"
	"waybill/queue/spool"
	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// relayDropped tries to pass a dropped message on at once, for a set-group-ID front end without a daemon: sendmail's
// submit.cf sends to whatever listens on port 25. It has no rights on the queue, and works in a directory of its own: the
// message is standard input, and out come the numbers of the recipients whom the next hop has taken, one a line, and of
// those whom it refused, with the exit status that says why. All others stay where they are. With -b the sender hears by
// mail of those who were refused, over the same next hop; where that does not take the notice, they stay where they are.
func relayDropped(std stdio, args []string) int {
	fs, config := options(std, "relay", "[-b] [-C FILE] <DROPPED")
	bounce := fs.Bool("b", false, "tell the sender by mail of those who are refused")
	var given overrides
	given.flags(fs)
	if exit, ok := parse(std, fs, args); !ok {
		return exit
	}
	e, body, err := spool.ReadDropped(os.Stdin)
	if err != nil {
		return failed(std, err)
	}
	dir, err := os.MkdirTemp("", "waybill-relay-")
	if err != nil {
		return failed(std, err)
	}
	defer os.RemoveAll(dir)
	given.options = append(given.options, flags.Option{Name: "QueueDirectory", Value: dir})
	s, err := openSite(*config, slog.LevelWarn, given)
	if err != nil {
		return cannotOpen(std, err)
	}
	if s.cf == nil {
		fmt.Fprintln(std.err, "waybill: relay is for a sendmail.cf")
		return sysexits.Usage
	}
	s.cf.oneShot = true
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	e.When, e.Untold, e.Origin.UID = envelope.WhenNow, !*bounce, os.Getuid()
	receipt, err := s.queue.Accept(ctx, e, body, queue.Options{})
	var no *queue.RefusedError
	if errors.As(err, &no) && e.Hops > s.settings.MaxHops {
		for i := range e.Recipients {
			fmt.Fprintln(std.out, i, sysexits.Unavailable)
		}
	}
	told := *bounce
	if told {
		s.queue.Settle(ctx)
		told = s.queue.List(ctx, func(l queue.Listed) error {
			if l.ID != receipt.ID {
				return errors.New(l.ID + " is not told yet")
			}
			return nil
		}) == nil
	}
	for i, status := range receipt.Statuses {
		switch o := status.Outcome(); {
		case o == transport.Relayed || o == transport.Delivered:
			fmt.Fprintln(std.out, i)
		case o == transport.Failed && told:
			fmt.Fprintln(std.out, i, queue.ExitOf(status), "told")
		case o == transport.Failed:
			fmt.Fprintln(std.out, i, queue.ExitOf(status))
		}
	}
	return max(failed(std, err), failed(std, s.close(ctx)))
}
