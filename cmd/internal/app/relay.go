package app

import (
	"context"
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
// those whom it refused, with the exit status that says why. All others stay where they are: nobody is told by mail.
func relayDropped(std stdio, args []string) int {
	fs, config := options(std, "relay", "[-C FILE] <DROPPED")
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
	e.When, e.Untold, e.Origin.UID = envelope.WhenNow, true, os.Getuid()
	receipt, err := s.queue.Accept(ctx, e, body, queue.Options{})
	for i, status := range receipt.Statuses {
		if o := status.Outcome(); o == transport.Relayed || o == transport.Delivered {
			fmt.Fprintln(std.out, i)
		} else if o == transport.Failed {
			fmt.Fprintln(std.out, i, queue.ExitOf(status))
		}
	}
	return max(failed(std, err), failed(std, s.close(ctx)))
}
