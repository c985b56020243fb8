package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"waybill/compat/flags"
	"waybill/compat/submit"
	"waybill/queue"
	"waybill/queue/expand"
	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// verify is -bv: it says where mail would go, in sendmail's words, one line for each address that comes of aliases and
// .forward files. No name server is asked for what the rules do not ask.
func verify(std stdio, v *flags.Invocation) int {
	if len(v.Args) == 0 && !v.Recipients {
		fmt.Fprintln(std.out, submit.NoRecipients)
		return sysexits.Usage
	}
	if v.Recipients { // those of a header on standard input, too
		names, err := submit.Named(std.in)
		if err != nil {
			return failed(std, err)
		}
		v.Args = append(v.Args, names...)
	}
	given := overridesOf(v)
	s, err := openSite(v.ConfigFile, slog.LevelError, given)
	if errors.Is(err, os.ErrPermission) && os.Getuid() != 0 { // nothing will be queued
		dir, terr := os.MkdirTemp("", "waybill-bv-")
		if terr != nil {
			return failed(std, terr)
		}
		defer os.RemoveAll(dir)
		given.spool, given.options = dir, append(given.options, flags.Option{Name: "QueueDirectory", Value: dir})
		s, err = openSite(v.ConfigFile, slog.LevelError, given)
	}
	if err != nil {
		return cannotOpen(std, err)
	}
	ctx := context.Background()
	defer s.close(ctx)
	local, err := s.names()
	if err != nil {
		return cannotOpen(std, err)
	}
	x := &verification{s: s, local: local, out: std, verbose: v.Verbose}
	for _, arg := range v.Args {
		for _, m := range submit.ParseList(arg) {
			if m.Warning != "" {
				x.bad(m.Text, m.Warning, m.Exit)
			}
			if m.Problem != "" {
				x.bad(m.Text, m.Problem, m.Exit)
			}
			if m.Problem != "" || m.Addr == "" {
				continue
			}
			addr := m.Addr
			if _, domain := addr.Split(); v.NoAliases && domain == "" {
				addr = expand.NoAlias + addr
			}
			x.address(ctx, m.Text, addr, queue.LocalUser{})
			if len(x.loops) > 0 && len(x.good) == 0 && x.exit == sysexits.OK {
				x.say(x.loops[0].Text())
				x.exit = queue.ExitOf(x.loops[0])
			}
			x.loops = nil
		}
	}
	slices.SortStableFunc(x.good, func(a, b goodLine) int { return strings.Compare(a.host, b.host) })
	for _, l := range x.good {
		x.say(l.text)
	}
	return x.exit
}

// verification is one run of -bv.
type verification struct {
	s       *site
	local   localNames
	out     stdio
	exit    int
	said    []string
	verbose bool
	loops   []transport.Status // what leads back to itself
	where   string             // the file and line that named who is looked at
	good    []goodLine         // with a sendmail.cf: what is said behind all complaints, by host
}

type goodLine struct{ host, text string }

// deliverable says that mail would go to host.
func (x *verification) deliverable(host, line string) {
	if x.s.cf != nil {
		x.good = append(x.good, goodLine{strings.ToLower(host), line})
		return
	}
	x.say(line)
}

// say prints a line once, whichever way leads to it.
func (x *verification) say(line string) {
	if !slices.Contains(x.said, line) {
		x.said = append(x.said, line)
		fmt.Fprintln(x.out.out, line)
	}
}

// wording is sendmail's spelling of a reason, where scripts and log readers look for it.
func wording(text string) string {
	if text == "user unknown" {
		return "User unknown"
	}
	return text
}

func (x *verification) bad(name, text string, exit int) {
	if x.where != "" {
		name, x.where = x.where+": "+name, ""
	}
	x.say(name + "... " + wording(text))
	if exit != sysexits.OK {
		x.exit = exit
	}
}

// address follows one address; from says by which aliases it was reached.
func (x *verification) address(ctx context.Context, name string, addr envelope.Address, from queue.LocalUser) {
	d, status := x.s.queue.Verify(ctx, &envelope.Envelope{Sender: "postmaster"}, envelope.Recipient{Addr: addr})
	switch status.Outcome() {
	case transport.Failed, transport.Deferred:
		if strings.HasPrefix(status.Became, `"5`) && status.Code() != "5.1.3" { // a rule speaks for itself
			x.say(status.Text())
			x.exit = queue.ExitOf(status)
			return
		}
		x.bad(name, status.Text(), queue.ExitOf(status))
	case transport.Delivered:
		from.Name, from.Host = d.User, d.Host
		x.expand(ctx, name, d, from)
	default:
		line := name + "... deliverable: mailer " + d.Mailer
		if d.Host != "" {
			line += ", host " + d.Host
		}
		x.deliverable(d.Host, line+", user "+d.User)
	}
}

// maxVerify bounds what a chain of aliases may make of one address; the queue has its own limit and says so.
const maxVerify = 20

func (x *verification) expand(ctx context.Context, name string, d queue.Decision, user queue.LocalUser) {
	if user.Depth > maxVerify {
		x.bad(name, "aliasing/forwarding loop broken", sysexits.Usage)
		return
	}
	e, err := x.local.Expand(ctx, user)
	switch {
	case err != nil:
		x.bad(name, "Temporary failure looking up the user", sysexits.TempFail)
		return
	case e.Loop && x.s.cf != nil: // nobody is missing, if somebody else is left
		x.loops = append(x.loops, *e.Status)
		return
	case e.Status != nil && e.Status.Outcome() == transport.Failed:
		x.bad(name, e.Status.Text(), queue.ExitOf(*e.Status))
		return
	case len(e.Members) == 0:
		x.deliverable("", name+"... deliverable: mailer "+d.Mailer+", user "+d.User)
		return
	}
	if x.verbose {
		var names []string
		for _, m := range e.Members {
			names = append(names, cmp.Or(m.Name, envelope.Recipient{Addr: m.Addr, Command: m.Command, File: m.File}.Name()))
		}
		x.say(name + "... aliased to " + strings.Join(names, ", "))
	}
	next := queue.LocalUser{Depth: user.Depth + 1, Trail: append(slices.Clone(user.Trail), user.Name)}
	if x.s.cf != nil { // sendmail takes the members of a list from the last to the first, and who stands in his own first
		slices.Reverse(e.Members)
		slices.SortStableFunc(e.Members, func(a, b queue.Member) int {
			return strings.Compare(b.Stage, a.Stage)
		})
	}
	for i, m := range e.Members {
		next.Stage = m.Stage
		if i > 0 && m.Addr == e.Members[i-1].Addr && m.Stage != "" { // who is missing in his own list is so twice
			x.said = nil
		}
		switch {
		case m.Refused != nil:
			x.bad(m.Name, m.Refused.Text(), queue.ExitOf(*m.Refused))
		case m.Command != "":
			name := envelope.Recipient{Command: m.Command}.Name()
			user := name
			if x.s.cf != nil { // as it will be started
				user = envelope.Recipient{Command: x.s.cf.programs([]transport.Recipient{{Orig: envelope.Recipient{Command: m.Command}}})[0].Orig.Command}.Name()
			}
			x.deliverable("", name+"... deliverable: mailer prog, user "+user)
		case m.File != "":
			x.deliverable("", string(m.File)+"... deliverable: mailer *file*, user "+string(m.File))
		default:
			x.where = m.Where
			x.address(ctx, string(m.Addr), m.Addr, next)
		}
	}
}
