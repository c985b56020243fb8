package app

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"waybill/queue"
	"waybill/queue/spool"
	"waybill/rules"
	"waybill/transport/sysexits"
)

// explainMessage tells what is known of a message: of one that waits from the queue, of one that is gone from the log.
func explainMessage(std stdio, config, id string, asJSON bool) int {
	ctx := context.Background()
	if !spool.ValidID(id) {
		fmt.Fprintf(std.err, "waybill: %q is not a queue id\n", id)
		return sysexits.Usage
	}
	d, err := messageDetail(ctx, config, id)
	var refused *spool.RefusedError
	switch {
	case errors.As(err, &refused) && refused.Exit == sysexits.NoInput:
		return explainGone(std, config, id)
	case err != nil && refused == nil && !errors.Is(err, os.ErrPermission):
		return cannotOpen(std, err)
	case err != nil:
		return failed(std, err)
	}
	if asJSON {
		out := json.NewEncoder(std.out)
		out.SetEscapeHTML(false)
		return failed(std, out.Encode(d))
	}
	tellMessage(std.out, d)
	return sysexits.OK
}

// messageDetail asks the daemon, and without one the spool.
func messageDetail(ctx context.Context, config, id string) (d queue.Detail, err error) {
	located, err := spool.Locate(config)
	if err != nil {
		return d, err
	}
	words := []string{"detail", id}
	var text strings.Builder
	take := func(line string) error { text.WriteString(line); return nil }
	err = spool.Control(ctx, located.Socket, words, take)
	if errors.Is(err, spool.ErrNoDaemon) {
		var s *site
		if s, err = openSite(config, slog.LevelWarn); err != nil {
			return d, err
		}
		defer s.close(ctx)
		err = s.queue.Control(ctx, "", words, take)
	}
	if err == nil {
		err = json.Unmarshal([]byte(text.String()), &d)
	}
	return d, err
}

// tellMessage says it in words.
func tellMessage(w io.Writer, d queue.Detail) {
	sender := "<" + string(d.Sender) + ">"
	if d.Sender.Null() {
		sender = "nobody (the null sender: a notice)"
	}
	say := func(form string, a ...any) { fmt.Fprintln(w, visibleLine(fmt.Sprintf(form, a...))) }
	say("%s is a message of %d octets from %s.", d.ID, d.Size, sender)
	say("It came %s ago (%s)%s.", spellAge(d.Now.Sub(d.Arrival)), d.Arrival.Local().Format(mailDate), cameFrom(d))
	switch d.State {
	case "held":
		say("It is held until somebody releases it: waybill queue release %s", d.ID)
	case "running":
		say("It is being delivered at this moment.")
	}
	switch d.Attempts {
	case 0:
		say("It has not been tried yet.")
	case 1:
		say("It was tried once, %s ago.", spellAge(d.Now.Sub(d.LastTry)))
	default:
		say("It was tried %d times, the last time %s ago.", d.Attempts, spellAge(d.Now.Sub(d.LastTry)))
	}
	if d.State == "waiting" {
		switch {
		case d.Parked != "":
			say("It waits for a free connection to %s.", d.Parked)
		case d.NextTry.After(d.Now):
			say("The next attempt is in %s (%s).", spellAge(d.NextTry.Sub(d.Now)), d.NextTry.Local().Format(mailDate))
		default:
			say("The next attempt is due now.")
		}
	}
	if d.Priority != 0 {
		say("Its priority is %d (ordinary mail has 0).", d.Priority)
	}
	for _, r := range d.Recipients {
		tellRecipient(w, d, r)
	}
}

func over(tls string) string {
	if tls == "" {
		return ""
	}
	return " over " + tls
}

func cameFrom(d queue.Detail) string {
	o := d.Origin
	switch {
	case o.ClientName != "" && o.ClientAddr != "" && !strings.Contains(o.ClientName, o.ClientAddr):
		return " from " + o.ClientName + " [" + o.ClientAddr + "] by " + o.Protocol + over(o.TLS)
	case o.ClientAddr != "":
		return " from [" + o.ClientAddr + "] by " + o.Protocol + over(o.TLS)
	case o.User != "":
		return " from the local user " + o.User
	}
	return " from this host"
}

// tellTLS says how the next hop was reached.
func tellTLS(say func(form string, a ...any), r queue.DetailRecipient) {
	switch {
	case r.TLS != "":
		say("The way there was encrypted: %s.", r.TLS)
	case r.Reply != "":
		say("The way there was not encrypted.")
	}
}

func tellRecipient(w io.Writer, d queue.Detail, r queue.DetailRecipient) {
	name := r.Name
	if r.From != "" {
		name += " (by way of " + r.From + ")"
	}
	fmt.Fprintf(w, "\n  %s\n", visibleLine(name))
	say := func(form string, a ...any) { fmt.Fprintln(w, "      "+visibleLine(fmt.Sprintf(form, a...))) }
	when := ""
	if !r.At.IsZero() {
		when = ", " + spellAge(d.Now.Sub(r.At)) + " ago"
	}
	switch r.Outcome {
	case spool.Expanded:
		say("An alias or a list: its members are below.")
		return
	case spool.Delivered, spool.Relayed, spool.Discarded, spool.Failed:
		say("%s%s%s: %s %s", strings.ToUpper(r.Outcome[:1])+r.Outcome[1:], by(r.Mailer, r.Host), when, r.Code, said(r))
		tellTLS(say, r)
		return
	case spool.Deferred:
		say("Not delivered yet%s%s: %s %s", by(r.Mailer, r.Host), when, r.Code, said(r))
		if name, _, _ := strings.Cut(r.Remote, " "); name != "" && name != r.Host {
			say("That host was %s.", r.Remote)
		}
		tellTLS(say, r)
	default:
		say("Not tried yet.")
	}
	if t := r.Route; t != nil {
		switch {
		case t.Error != "":
			say("The rules cannot decide now: %s", t.Error)
		case t.Refuse != "":
			say("The rules refuse it now: %s", t.Refuse)
		case t.Host == "":
			say("The rules give it to %s for %s.", t.Mailer, t.User)
		default:
			say("The rules give it to %s for %s at %s.", t.Mailer, t.User, t.Host)
		}
		if !t.From.IsZero() && t.From.After(d.Now) {
			say("They let it go from %s on.", t.From.Local().Format(mailDate))
		}
	}
	if r.Trouble != "" {
		say("That destination is left alone for a moment: %s", r.Trouble)
	}
	if r.Next.After(d.Now) && !r.Next.Equal(d.NextTry) {
		say("It is tried again in %s.", spellAge(r.Next.Sub(d.Now)))
	}
	if !r.GiveUp.IsZero() {
		say("Given up at %s, if it comes to that.", r.GiveUp.Local().Format(mailDate))
	}
	if r.Warned {
		say("The sender was told of the delay.")
	}
}

func by(mailer, host string) string {
	switch {
	case mailer == "":
		return ""
	case host == "":
		return " by " + mailer
	}
	return " by " + mailer + " to " + host
}

func said(r queue.DetailRecipient) string {
	if r.Reply != "" {
		return r.Text + " (the other side said: " + r.Reply + ")"
	}
	return r.Text
}

// spellAge is a time as people say it.
func spellAge(d time.Duration) string {
	unit := func(n time.Duration, word string) string {
		if n == 1 {
			return "1 " + word
		}
		return fmt.Sprintf("%d %ss", n, word)
	}
	switch d = max(0, d); {
	case d < time.Minute:
		return unit(d/time.Second, "second")
	case d < 2*time.Hour:
		return unit(d/time.Minute, "minute")
	case d < 48*time.Hour:
		return unit(d/time.Hour, "hour")
	}
	return unit(d/(24*time.Hour), "day")
}

// visibleLine shows control characters as what they are: what a stranger sent must not move the cursor.
func visibleLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// explainGone shows what the log tells of a message that is not in the queue.
func explainGone(std stdio, config, id string) int {
	file := ""
	if !isCF(config) {
		router, _, err := loadRules(config, rules.Options{SkipTests: true})
		if err != nil {
			return cannotOpen(std, err)
		}
		file = router.Settings().Log
	}
	if !strings.HasPrefix(file, "/") {
		fmt.Fprintf(std.err, "waybill: %s: there is no such message in the queue; the system's log has what became of it: journalctl -t sendmail --grep %s\n", id, id)
		return sysexits.NoInput
	}
	f, err := os.Open(file)
	if err != nil {
		fmt.Fprintf(std.err, "waybill: %s: there is no such message in the queue, and the log cannot be read: %v\n", id, err)
		return sysexits.NoInput
	}
	defer f.Close()
	found := 0
	in := bufio.NewScanner(f)
	in.Buffer(make([]byte, 0, 64<<10), 1<<20)
	for in.Scan() {
		if strings.Contains(in.Text(), "]: "+id+": ") {
			if found == 0 {
				fmt.Fprintf(std.out, "%s is not in the queue any more. %s tells:\n", id, file)
			}
			found++
			fmt.Fprintln(std.out, "  "+visibleLine(in.Text()))
		}
	}
	if found == 0 {
		fmt.Fprintf(std.err, "waybill: %s: there is no such message in the queue, and %s knows nothing of it\n", id, file)
		return sysexits.NoInput
	}
	return sysexits.OK
}

// tellSchedule shows what a schedule block says of an address, with the lines that say it.
func tellSchedule(std stdio, router *rules.Router, q rules.Query, d rules.Decision) {
	p, err := router.Schedule(context.Background(), q, d, nil)
	switch {
	case err != nil:
		fmt.Fprintf(std.out, "schedule: not known now: %v\n", err)
	case len(p.Why) > 0:
		fmt.Fprintf(std.out, "schedule (how often and how long it is tried): %s\n", p)
		for _, line := range p.Why {
			fmt.Fprintf(std.out, "  %s\n", line)
		}
	}
}
