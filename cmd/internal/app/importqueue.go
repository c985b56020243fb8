package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"path/filepath"
	"syscall"

	"waybill/compat/qf"
	"waybill/queue"
	"waybill/queue/spool"
	"waybill/transport/sysexits"
)

// importQueue is "waybill queue import DIR": the messages of a sendmail queue go on here.
func importQueue(std stdio, config string, dirs []string) int {
	if len(dirs) == 0 {
		fmt.Fprintln(std.err, "usage: waybill queue import DIRECTORY ...")
		return sysexits.Usage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	s, err := openSite(config, slog.LevelInfo)
	if err != nil {
		return cannotOpen(std, err)
	}
	defer s.close(context.Background())
	exit := sysexits.OK
	var ids []string
	for _, dir := range dirs {
		taken, left, err := s.takeOver(ctx, dir, func(line string) { fmt.Fprintln(std.out, line) })
		ids = append(ids, taken...)
		fmt.Fprintf(std.out, "%s: %d messages taken over, %d left there\n", dir, len(taken), left)
		if err != nil {
			exit = failed(std, err)
		} else if left > 0 {
			exit = sysexits.TempFail
		}
	}
	// A daemon need not find them by itself.
	for len(ids) > 0 {
		words := []string{"run"}
		for _, id := range ids[:min(len(ids), 100)] {
			words = append(words, "I="+id)
		}
		ids = ids[len(words)-1:]
		if err := spool.Control(ctx, s.queue.Spool().Socket(), words, func(string) error { return nil }); err != nil {
			break
		}
	}
	return exit
}

// takeOver moves the messages of a sendmail queue into ours, and returns their ids and how many had to stay. What sendmail
// is working on stays; so does what is damaged, under sendmail's own name for such files.
func (s *site) takeOver(ctx context.Context, dir string, tell func(line string)) (ids []string, left int, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, 0, err
	}
	err = qf.Names(dir, func(control qf.File) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		id, err := s.takeOne(control)
		switch {
		case err == nil:
			ids = append(ids, id)
			tell(fmt.Sprintf("%s: taken over as %s", control.Path, id))
			return nil
		case errors.Is(err, qf.ErrGone):
			return nil
		case errors.Is(err, qf.ErrDamaged):
			now, aside := control.SetAside()
			s.log.Error("a damaged queue file of sendmail was set aside", "id", filepath.Base(control.Path)[2:], "file", now, "reason", err, "err", aside)
		default:
			s.log.Warn("a message of sendmail's queue cannot be taken over now", "file", control.Path, "err", err)
		}
		left++
		tell(fmt.Sprintf("%s: not taken over: %v", control.Path, err))
		return nil
	})
	return ids, left, err
}

// takeOne moves one message.
func (s *site) takeOne(control qf.File) (id string, err error) {
	m, err := control.Open()
	if err != nil {
		return "", err
	}
	defer m.Close()
	if len(m.Ignored) > 0 {
		s.log.Warn("lines of a queue file of sendmail are not understood and were ignored", "file", control.Path, "lines", m.Ignored)
	}
	e := m.Envelope
	e.ID = m.ID
	id, err = s.queue.Import(queue.Import{
		Envelope: &e, Body: m.Body(), Users: m.Users, Aliases: m.Aliases, Tries: m.Tries, LastTry: m.LastTry, Why: m.Why, Warned: m.Warned, Quarantine: m.Quarantine,
	})
	if err != nil {
		return "", err
	}
	s.log.Info("a message of sendmail's queue was taken over", "id", id, "was", m.ID, "size", m.Size, "nrcpts", len(e.Recipients))
	if err := m.Remove(); err != nil {
		// Taking it over again finds it here already.
		return "", fmt.Errorf("%s is taken over as %s and cannot be removed: %w", control.Path, id, err)
	}
	return id, nil
}
