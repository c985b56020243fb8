package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"waybill/queue/spool"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// handOver serves one message of a front end that found no daemon and may write the spool: standard input is one end of
// a socket pair. The answer is the daemon's, and what was asked to happen in the background happens before it returns.
func handOver(std stdio, args []string) int {
	fs, config := options(std, "handover", "[-C FILE] <SOCKET")
	var given overrides
	given.flags(fs)
	if exit, ok := parse(std, fs, args); !ok {
		return exit
	}
	generic, err := net.FileConn(os.Stdin)
	if err != nil {
		fmt.Fprintln(std.err, "waybill: handover is for the front end: standard input is no socket")
		return sysexits.Usage
	}
	conn, ok := generic.(*net.UnixConn)
	if !ok {
		generic.Close()
		return sysexits.Usage
	}
	// Whoever holds the other end must see it close when this process ends, and not before the answer.
	syscall.Close(0)
	s, err := openSite(*config, slog.LevelInfo, given)
	var refused *cfRefused
	if errors.As(err, &refused) { // the caller hears what sendmail would say, and the message is not accepted
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
		defer stop()
		spool.ServeConn(ctx, conn, refused, slog.New(slog.DiscardHandler))
		return refused.exit
	}
	if err != nil {
		conn.Close()
		return cannotOpen(std, err)
	}
	if s.cf != nil {
		s.cf.oneShot = true
		os.Chdir(s.settings.Spool) // as sendmail does; programs that may not enter it find themselves there
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err = spool.ServeConn(ctx, conn, frontEnds{s: s, accepted: func(e *envelope.Envelope, reply spool.Reply) { s.noteKnown(*config, given, e, reply) }}, s.log)
	s.queue.Settle(ctx)
	return max(failed(std, err), failed(std, s.close(ctx)))
}
