package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"waybill/compat/cf"
	"waybill/queue/spool"
	"waybill/transport/smtpclient"
	"waybill/transport/sysexits"
)

// setClients notes who knows how other hosts do.
func (s *site) setClients(list []*smtpclient.Client) {
	s.mu.Lock()
	s.clients = list
	s.mu.Unlock()
}

func (s *site) smtpClients() []*smtpclient.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cf != nil {
		return slices.Clone(s.cf.clients)
	}
	return slices.Clone(s.clients)
}

// hostStatus answers hoststat: one line for each host, with the time of the last attempt and what came of it.
func (s *site) hostStatus(now time.Time, answer func(line string) error) error {
	for _, c := range s.smtpClients() {
		for _, h := range c.Hosts() {
			result := "OK"
			if h.Failures > 0 {
				result = "Deferred: " + h.Why
			}
			if err := answer(fmt.Sprintf(" %-39s %12s %s", clipTo(h.Host, 39), ago(now.Sub(h.Last)), clipTo(result, 27))); err != nil {
				return err
			}
		}
	}
	return nil
}

// hostLine is the head of the list, as sendmail's hoststat prints it.
const hostLine = " -------------- Hostname --------------- How long ago ---------Results---------"

func clipTo(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// ago is a time as sendmail writes it: hours, minutes and seconds, behind days if there are any.
func ago(d time.Duration) string {
	sec := int(d / time.Second)
	text := fmt.Sprintf("%02d:%02d:%02d", sec/3600%24, sec/60%60, sec%60)
	if days := sec / 86400; days > 0 {
		text = fmt.Sprintf("%d+%s", days, text)
	}
	return text
}

// hosts is hoststat, and with purge purgestat. What is known is the daemon's: without one nothing is.
func hosts(std stdio, config string, purge, verbose bool) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	located, err := spool.Locate(config)
	if err != nil {
		return cannotOpen(std, err)
	}
	word := "hoststat"
	if purge {
		word = "purgestat"
	}
	first := true
	err = spool.Control(ctx, located.Socket, []string{word}, func(line string) error {
		if first && !purge {
			first = false
			fmt.Fprintln(std.out, hostLine)
		}
		return writeLine(std.out, line)
	})
	if conf, cerr := readCF(config, cf.Options{Host: cf.LocalHost("/etc/hosts")}); located.Sendmail && cerr == nil && err != nil {
		return failed(std, hostFiles(std.out, conf, purge, verbose))
	}
	if errors.Is(err, spool.ErrNoDaemon) || errors.Is(err, os.ErrNotExist) {
		return sysexits.OK
	}
	return failed(std, err)
}
