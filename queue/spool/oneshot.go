package spool

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"waybill/transport/envelope"
)

// SubmitThrough is Submit for a caller who can start an engine of its own: when no daemon answers, start is called for a
// connection to one that serves this message alone (ServeConn), so that unknown users are refused and interactive
// deliveries waited for as with a daemon. When that fails, too, the message is dropped.
func SubmitThrough(ctx context.Context, site Site, e *envelope.Envelope, body io.Reader, verbose func(string), start func() (net.Conn, error)) (reply Reply, dropped bool, err error) {
	with := *e
	if with.ID == "" {
		with.ID = new(IDs).New(time.Now())
	}
	memory := &replay{r: body}
	reply, err = HandOver(ctx, site.Socket, &with, memory, verbose)
	if errors.Is(err, ErrNoDaemon) && memory.err == nil {
		if conn, serr := start(); serr == nil {
			reply, err = handOverOn(ctx, conn, &with, memory, verbose)
			conn.Close()
		}
	}
	switch {
	case err == nil:
		return reply, false, nil
	case memory.err != nil:
		return Reply{}, false, memory.err
	case errors.Is(err, ErrNoDaemon), errors.Is(err, ErrBroken) && !memory.over:
	default:
		return Reply{}, false, err
	}
	memory.rewind()
	id, derr := Drop(site.Spool, &with, io.MultiReader(memory, body))
	if derr != nil {
		return Reply{}, false, errors.Join(derr, err)
	}
	return Reply{ID: id}, true, nil
}

// handOverOn is HandOver on a connection that is there already.
func handOverOn(ctx context.Context, conn net.Conn, e *envelope.Envelope, body io.Reader, verbose func(string)) (Reply, error) {
	env, err := AppendEnvelope(nil, e)
	if err != nil {
		return Reply{}, err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := send(conn, env, body, verbose != nil); err != nil {
		return Reply{}, err
	}
	return readReply(bufio.NewReaderSize(conn, 4096), len(e.Recipients), verbose)
}

// ServeConn answers one front end, who is at the other end of a connection that it made and gave to its child.
func ServeConn(ctx context.Context, conn *net.UnixConn, h Handler, log *slog.Logger) error {
	defer conn.Close()
	peer, err := peerOf(conn)
	if err != nil {
		return err
	}
	(&server{h: h, log: log, users: map[int]int{}}).serve(ctx, conn, peer)
	return nil
}
