package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"waybill/compat/flags"
	"waybill/queue"
	"waybill/queue/spool"
	"waybill/transport/envelope"
)

// sortOrder is QueueSortOrder, of which the first letter counts: priority is the usual one.
func sortOrder(order string) func(a, b queue.Listed) int {
	priority := func(a, b queue.Listed) int {
		return cmp.Or(cmp.Compare(a.Job, b.Job), a.Arrival.Compare(b.Arrival), cmp.Compare(a.ID, b.ID))
	}
	switch strings.ToLower(order + " ")[0] {
	case 'h': // by the host of the first recipient
		host := func(l queue.Listed) string {
			if len(l.Recipients) == 0 {
				return ""
			}
			r := l.Recipients[0]
			return strings.ToLower(cmp.Or(r.Host, envelope.Address(r.Name).Domain()))
		}
		return func(a, b queue.Listed) int { return cmp.Or(cmp.Compare(host(a), host(b)), priority(a, b)) }
	case 't':
		return func(a, b queue.Listed) int { return cmp.Or(a.Arrival.Compare(b.Arrival), cmp.Compare(a.ID, b.ID)) }
	case 'f':
		return func(a, b queue.Listed) int { return cmp.Compare(a.ID, b.ID) }
	case 'm': // by the time of the last change of the queue file: that of the last attempt
		return func(a, b queue.Listed) int { return cmp.Or(a.Changed.Compare(b.Changed), cmp.Compare(a.ID, b.ID)) }
	case 'r':
		keys := map[string]int64{}
		key := func(id string) int64 {
			if _, ok := keys[id]; !ok {
				keys[id] = rand.Int64()
			}
			return keys[id]
		}
		return func(a, b queue.Listed) int { return cmp.Compare(key(a.ID), key(b.ID)) }
	case 'n':
		return func(a, b queue.Listed) int { return 0 }
	}
	return priority
}

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
	if v.Verbose || v.Queue.Foreground {
		s.cf.failed = func(line string) { writeLine(std.out, line) }
	}
	order, _ := s.cf.conf.Option("QueueSortOrder", "")
	err = s.queue.RunInOrder(ctx, picked, sortOrder(order), begin, verbose)
	s.queue.Settle(ctx)
	if verbose != nil {
		for _, client := range s.cf.clients {
			client.Farewell(verbose)
		}
	}
	return cmp.Or(max(failed(std, err), failed(std, s.close(ctx))), int(s.cf.exit.Load()))
}
