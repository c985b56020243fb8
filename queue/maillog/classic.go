package maillog

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"waybill/queue"
	"waybill/transport"
	"waybill/transport/sysexits"
)

// Classic has the lines word for word as sendmail writes them, for a site with a sendmail.cf: addresses of local mail
// without brackets, one line for the recipients of a transaction, ctladdr with user and group, and none for the
// acceptance of a notice.
type Classic struct {
	// IDs are the user and group ids of a login, "0/0"; empty: not known.
	IDs func(login string) string
	// Default is the login as which programs of the administrator's aliases run.
	Default string
	Weights queue.Weights
}

// classicFrom is From in sendmail's words.
func (l *Log) classicFrom(a queue.Accepted) {
	env := a.Envelope
	if notice(a) {
		return
	}
	if env.Anyway { // the sender is only to hear of those who do not exist
		for _, r := range env.Recipients {
			if addr := string(r.Addr); !strings.Contains(addr, "@@") {
				l.Unknown(a.ID, []string{addr})
				l.classicUnknown(a.ID, addr, 0, l.classic.Weights.Job(a.Size, env.Priority, len(env.Recipients), 0))
			}
		}
	}
	var b line
	from := "<" + string(env.Sender) + ">"
	if env.Origin.UID >= 0 && !env.Sender.Null() {
		from = string(env.Sender)
	}
	b.add("from", from)
	b.add("size", a.Given)
	b.add("class", min(0, env.Priority))
	b.add("nrcpts", len(env.Recipients))
	b.optional("msgid", a.MessageID)
	b.optional("bodytype", string(env.BodyType))
	if env.Origin.Protocol != "local" {
		b.optional("proto", env.Origin.Protocol)
	}
	b.optional("auth", env.Origin.Auth)
	b.add("relay", Relay(env.Origin))
	l.Line(a.ID, b.String())
}

// notice reports whether a message is one of ours.
func notice(a queue.Accepted) bool {
	o := a.Envelope.Origin
	return a.Envelope.Sender.Null() && o.Protocol == "local" && o.User == "" && o.UID < 0
}

// classicTo collects the recipients of an attempt, and writes a line for those who share an outcome.
func (l *Log) classicTo(t queue.Tried) {
	if t.Expanded {
		return
	}
	l.mu.Lock()
	l.held[t.ID] = append(l.held[t.ID], t)
	var all []queue.Tried
	if !t.More {
		all = l.held[t.ID]
		delete(l.held, t.ID)
	}
	l.mu.Unlock()
	for len(all) > 0 {
		if first := all[0]; unknown(first.Status) && first.Local && first.Sender.Origin.UID >= 0 {
			if all = all[1:]; !first.Sender.Anyway {
				l.classicUnknown(first.ID, first.To, first.Age, l.classic.Weights.Job(first.Size, first.Priority, first.Rcpts, first.Attempts))
			}
			continue
		}
		first, names := all[0], []string(nil)
		rest := l.classicRest(first)
		for len(all) > 0 && all[0].Mailer == first.Mailer && all[0].Host == first.Host && l.classicRest(all[0]) == rest {
			names = append(names, all[0].To)
			if all = all[1:]; first.Local { // of whom each has a delivery of his own
				break
			}
		}
		bracketed := first.Sender.Origin.UID < 0 && !(first.Sender.Sender.Null() && first.Sender.Origin.Protocol == "local")
		for i, name := range names {
			if bracketed && !strings.HasPrefix(name, "|") && !strings.HasPrefix(name, "/") {
				names[i] = "<" + name + ">"
			}
		}
		l.Line(first.ID, "to="+strings.Join(names, ",")+", "+rest)
	}
}

// classicRest is a line behind its recipients.
func (l *Log) classicRest(t queue.Tried) string {
	s := t.Status
	var b line
	if t.Queued {
		b.add("delay", interval(t.Age))
		b.optional("mailer", t.Mailer)
		b.add("pri", l.classic.Weights.Job(t.Size, t.Priority, t.Rcpts, t.Attempts))
		b.add("stat", "queued")
		return b.String()
	}
	b.optional("ctladdr", l.control(t))
	b.add("delay", interval(t.Age))
	b.add("xdelay", interval(t.Took))
	b.optional("mailer", t.Mailer)
	b.add("pri", l.classic.Weights.Job(t.Size, t.Priority, t.Rcpts, t.Attempts))
	relay := s.Remote
	if host, addr, ok := strings.Cut(relay, " ["); ok && !strings.HasSuffix(host, ".") {
		relay = host + ". [" + addr
	}
	if strings.HasPrefix(relay, "[") && !strings.Contains(relay, " ") { // a host that was named by its address
		relay += " " + relay
	}
	if relay == "" {
		relay = strings.TrimSuffix(t.Host, ".")
	}
	if s.Outcome() == transport.Failed && relay != "" && (s.Code() == nullMX || s.Code() == loopsBack) {
		relay = strings.TrimSuffix(relay, ".") + "."
	}
	if strings.EqualFold(s.Diagnostic, "x-unix") {
		relay = ""
	}
	b.optional("relay", strings.TrimPrefix(relay, "+"))
	code, stat := classicStat(s)
	b.add("dsn", code)
	if s.Reply != "" && !strings.EqualFold(s.Diagnostic, "x-unix") && s.Outcome() != transport.Delivered && s.Outcome() != transport.Relayed {
		b.add("reply", s.Reply)
	}
	b.add("stat", stat)
	return b.String()
}

// Failure is a failure in sendmail's words, as mailq has it for a message.
func Failure(s transport.Status) string {
	_, text := classicStat(s)
	return text
}

// classicStat is the code and the text of an outcome.
func classicStat(s transport.Status) (code, stat string) {
	unix := strings.EqualFold(s.Diagnostic, "x-unix")
	switch o := s.Outcome(); {
	case o == transport.Delivered, o == transport.Relayed:
		return "2.0.0", Stat(s)
	case o == transport.Deferred && unix:
		return "4.0.0", Stat(s)
	case o == transport.Failed && (unix || s.Exit == sysexits.CantCreat):
		exit, err := strconv.Atoi(s.Reply)
		if err != nil {
			exit = s.Exit
		}
		if _, enhanced, text, _, ok := sysexits.Response(exit); ok {
			return enhanced, text
		}
		return "5.3.0", fmt.Sprintf("unknown mailer error %d", exit)
	case strings.HasPrefix(s.Text(), "Host unknown"):
		return s.Code(), s.Text()
	case o == transport.Failed && s.Code() == loopsBack && s.Remote == "" && s.Reply == "":
		return s.Code(), "Local configuration error"
	case o == transport.Failed && s.Became == "" && (s.Reply != "" || s.Code() == nullMX || s.Code() == loopsBack):
		if _, _, text, _, ok := sysexits.Response(s.Exit); ok {
			return s.Code(), text
		}
	}
	return s.Code(), Stat(s)
}

// Hosts that take no mail (RFC 7505), and those whose mail leads back to us.
const nullMX, loopsBack = "5.1.10", "5.3.5"

// unknown tells a user of this host whom nobody knows.
func unknown(s transport.Status) bool {
	return s.Outcome() == transport.Failed && s.Code() == "5.1.1" && s.Exit == sysexits.NoUser && s.Reply == "" && s.Remote == "" && s.Became == ""
}

// classicUnknown is the line about a user whom nobody knows, of whom sendmail hears before there is a delivery.
func (l *Log) classicUnknown(id, to string, age time.Duration, job int64) {
	var b line
	b.add("to", to)
	b.add("delay", interval(age))
	b.add("mailer", "local")
	b.add("pri", job)
	b.add("dsn", "5.1.1")
	b.add("reply", "550 5.1.1 User unknown")
	b.add("stat", "User unknown")
	l.Line(id, b.String())
}

// control is who answers for a recipient: the user whose list named a program or a file, or the sender.
func (l *Log) control(t queue.Tried) string {
	special := strings.HasPrefix(t.To, "|") || strings.HasPrefix(t.To, "/")
	env := t.Sender
	switch {
	case special && t.As != "":
		return with(t.Orig.Name(), l.classic.IDs(t.As))
	case special:
		uid, _, _ := strings.Cut(l.classic.IDs(l.classic.Default), "/")
		return t.Orig.Name() + " (" + uid + "/0)"
	case env.Origin.UID < 0 || env.Sender.Null():
		return ""
	}
	return with(string(env.Sender), l.classic.IDs(env.Origin.User))
}

func with(name, ids string) string {
	if ids == "" {
		return name
	}
	return name + " (" + ids + ")"
}

// Unknown logs recipients that were refused before there was a message.
func (l *Log) Unknown(id string, names []string) {
	for _, name := range names {
		l.Line(id, name+"... User unknown")
	}
}
