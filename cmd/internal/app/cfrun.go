package app

import (
	"cmp"
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
)

// cfQueueRun is sendmail -q with a sendmail.cf: the daemon runs its queue, or else this process does, one message after
// the other; -v shows the dialogues.
func cfQueueRun(std stdio, v *flags.Invocation) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	located, err := spool.Locate(v.ConfigFile)
	if err != nil {
		return cannotOpen(std, err)
	}
	picked := chosen(v.Queue)
	err = spool.Control(ctx, located.Socket, append([]string{"run"}, picked.Words()...), func(line string) error { return writeLine(std.out, line) })
	if !errors.Is(err, spool.ErrNoDaemon) {
		return failed(std, err)
	}
	s, err := openSite(v.ConfigFile, slog.LevelWarn, overridesOf(v))
	if err != nil {
		return cannotOpen(std, err)
	}
	s.cf.queueRun = true
	os.Chdir(s.settings.Spool)
	begin := func(string, int, int) {}
	var verbose func(string)
	if v.Verbose {
		verbose = func(line string) { writeLine(std.out, line) }
		begin = func(id string, n, of int) {
			fmt.Fprintf(std.out, "\nRunning %s/%s (sequence %d of %d)\n", s.settings.Spool, id, n, of)
		}
	}
	err = s.queue.RunInOrder(ctx, picked, func(a, b queue.Listed) int {
		return cmp.Or(cmp.Compare(jobPriority(a), jobPriority(b)), a.Arrival.Compare(b.Arrival), cmp.Compare(a.ID, b.ID))
	}, begin, verbose)
	s.queue.Settle(ctx)
	if verbose != nil {
		for _, client := range s.cf.clients {
			client.Farewell(verbose)
		}
	}
	return max(failed(std, err), failed(std, s.close(ctx)))
}
