package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
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
// message is standard input, and out come lines: the number of a recipient whom the next hop has taken; that of one whom it
// refused, with the exit status that says why; behind "=" why others wait; behind ">" what stands on top of the message;
// with -v, behind "|" what is said, and behind "." what is said at the end. With -b the sender hears by mail of those who
// were refused, over the same next hop, and "told" stands behind their status. All others stay where they are.
func relayDropped(std stdio, args []string) int {
	fs, config := options(std, "relay", "[-bv] [-C FILE] <DROPPED")
	bounce := fs.Bool("b", false, "tell the sender by mail of those who are refused")
	verbose := fs.Bool("v", false, "show the dialogue")
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
	var opt queue.Options
	if *verbose {
		opt.Verbose = func(line string) { writeLine(std.out, "|"+line) }
	}
	receipt, err := s.queue.Accept(ctx, e, body, opt)
	var no *queue.RefusedError
	if errors.As(err, &no) && e.Hops > s.settings.MaxHops {
		for i := range e.Recipients {
			fmt.Fprintln(std.out, i, sysexits.Unavailable)
		}
	}
	told := *bounce
	if told {
		s.queue.Settle(ctx)
	}
	s.queue.List(ctx, func(l queue.Listed) error {
		if l.ID != receipt.ID { // a notice
			told = false
		} else if l.Said != "" {
			fmt.Fprintln(std.out, "="+l.Said)
		}
		return nil
	})
	reply := spool.Reply{Untold: e.Untold}
	e.ID = cmp.Or(receipt.ID, e.ID)
	s.cf.reported(e, nil, &reply, *verbose)
	for line := range strings.Lines(reply.Head) {
		fmt.Fprint(std.out, ">"+line)
	}
	for _, line := range reply.Tail {
		fmt.Fprintln(std.out, "."+line)
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
