package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"waybill/compat/mailq"
	"waybill/queue"
	"waybill/queue/spool"
	"waybill/rules"
	"waybill/transport/sysexits"
)

const queueUsage = `usage: waybill queue [-C FILE] [--json] VERB ...

  list                     what waits, and why
  run [I=ID R=RCPT S=SENDER ...]  try the selected messages now, whatever they wait for ("!R=" negates)
  hold ID...               keep messages until they are released
  release ID...            let them go on
  remove ID...             take them away; nobody is told but the log
  priority ID N            change the place in the order (-1000 to 1000, larger goes first)
`

// queueCommand looks at the queue and acts on it: through the daemon when one runs, else by itself.
func queueCommand(std stdio, args []string) int {
	fs, config := options(std, "queue", "")
	asJSON := fs.Bool("json", false, "print lists as JSON, one object a line")
	fs.Usage = func() { fmt.Fprint(fs.Output(), queueUsage) }
	if exit, ok := parse(std, fs, args); !ok {
		return exit
	}
	args = fs.Args()
	if len(args) == 0 {
		fmt.Fprint(std.err, queueUsage)
		return sysexits.Usage
	}
	switch args[0] {
	case "list":
		return listQueue(std, *config, queueView{json: *asJSON})
	case "run", "hold", "release", "remove", "priority":
		return controlQueue(std, *config, args)
	}
	fmt.Fprint(std.err, queueUsage)
	return sysexits.Usage
}

// controlQueue asks the daemon; without one it does the same here.
func controlQueue(std stdio, config string, words []string, given ...overrides) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	located, err := spool.Locate(config)
	if err != nil {
		return cannotOpen(std, err)
	}
	err = spool.Control(ctx, located.Socket, words, func(line string) error { return writeLine(std.out, line) })
	if errors.Is(err, spool.ErrNoDaemon) {
		var s *site
		if s, err = openSite(config, slog.LevelWarn, given...); err != nil {
			return cannotOpen(std, err)
		}
		defer s.close(ctx)
		if s.cf != nil {
			s.cf.queueRun = true
		}
		if words[0] == "run" {
			var selection queue.Selection
			if selection, err = queue.ParseSelection(words[1:]); err == nil {
				err = s.queue.RunOnce(ctx, selection)
			}
		} else {
			err = s.queue.Control(ctx, strconv.Itoa(os.Getuid()), words, func(line string) error { return writeLine(std.out, line) })
		}
	}
	return failed(std, err)
}

// failed prints an error and returns the exit status that goes with it.
func failed(std stdio, err error) int {
	var refused *spool.RefusedError
	switch {
	case err == nil:
		return sysexits.OK
	case errors.As(err, &refused):
		fmt.Fprintf(std.err, "waybill: %s\n", refused.Text)
		return refused.Exit
	case errors.Is(err, os.ErrPermission):
		fmt.Fprintf(std.err, "waybill: %v\n", err)
		return sysexits.NoPerm
	}
	fmt.Fprintf(std.err, "waybill: %v\n", err)
	return sysexits.TempFail
}

// queueView is how a listing is shown.
type queueView struct {
	json, verbose bool
	match         func(queue.Listed) bool // nil: all
}

// listQueue prints what waits, as mailq does. Whoever may not read the spool asks the daemon.
func listQueue(std stdio, config string, view queueView) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	located, err := spool.Locate(config)
	if err != nil {
		return cannotOpen(std, err)
	}
	listing := mailq.Listing{Directory: located.Spool, Verbose: view.verbose}
	add := func(l queue.Listed) error {
		if view.match == nil || view.match(l) {
			listing.Entries = append(listing.Entries, listEntry(l))
		}
		return nil
	}
	lister := queue.Lister{F: add}
	err = spool.Control(ctx, located.Socket, []string{"list"}, lister.Line)
	if err == nil {
		err = lister.End()
	}
	if errors.Is(err, spool.ErrNoDaemon) {
		var s *site
		if s, err = openSite(config, slog.LevelWarn); err != nil {
			return cannotOpen(std, err)
		}
		defer s.close(ctx)
		err = s.queue.List(ctx, add)
	}
	if err != nil {
		return failed(std, err)
	}
	// sendmail lists in the order of its queue run: the smallest priority number first.
	slices.SortStableFunc(listing.Entries, func(a, b mailq.Entry) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), a.Arrival.Compare(b.Arrival), cmp.Compare(a.ID, b.ID))
	})
	print := func(w io.Writer) error { return mailq.Print(w, listing) }
	if view.json {
		print = func(w io.Writer) error { return mailq.JSON(w, listing) }
	}
	return failed(std, print(std.out))
}

// Sendmail's job priority (Operations Guide, "Queue Priorities"): small numbers go first.
const (
	recipientFactor = 30000
	classFactor     = 1800
	retryFactor     = 90000
)

// jobPriority is the place of a message in a queue run of sendmail.
func jobPriority(l queue.Listed) int64 {
	return l.Given - int64(l.Priority)*classFactor + int64(len(l.Recipients))*recipientFactor + int64(l.Attempts)*retryFactor
}

// listEntry shows a message of our queue as one of sendmail's.
func listEntry(l queue.Listed) mailq.Entry {
	e := mailq.Entry{
		ID: l.ID, State: mailq.Waiting, Size: l.Size, Arrival: l.Arrival, Sender: string(l.Sender), Body: string(l.BodyType),
		Priority: jobPriority(l), Held: l.Held, Next: l.NextTry, Attempts: l.Attempts, Damaged: l.Damage != "",
	}
	if l.Running {
		e.State = mailq.Running
	}
	if l.Held {
		e.Quarantine = "held"
	}
	same := true
	for _, r := range l.Recipients {
		same = same && r.Reason == l.Recipients[0].Reason
	}
	for _, r := range l.Recipients {
		row := mailq.Recipient{Name: r.Name}
		if !same {
			row.Status = r.Reason
		}
		e.Recipients = append(e.Recipients, row)
	}
	if len(l.Recipients) > 0 && same && l.Recipients[0].Reason != "" {
		e.Reason = "Deferred: " + l.Recipients[0].Reason
		if strings.HasPrefix(l.Recipients[0].Reason, "reply: ") { // of a lost connection sendmail says no more
			e.Reason = l.Recipients[0].Reason
		}
	}
	return e
}

// explain answers "why?" for an address.
func explain(std stdio, args []string) int {
	fs, config := options(std, "explain", "[-C FILE] [--from SENDER] [--client IP] ADDRESS ...")
	from := fs.String("from", "", "the envelope `sender`")
	client := fs.String("client", "", "tell also whether this `address` may send to it")
	if exit, ok := parse(std, fs, args); !ok {
		return exit
	}
	if fs.NArg() == 0 {
		fs.Usage()
		return sysexits.Usage
	}
	router, err := openRules(*config)
	if err != nil {
		return cannotOpen(std, err)
	}
	exit := sysexits.OK
	for _, address := range fs.Args() {
		q := rules.Query{Recipient: address, Sender: *from}
		if *client != "" {
			if q.Client.Addr, err = netip.ParseAddr(*client); err != nil {
				fmt.Fprintf(std.err, "waybill: %v\n", err)
				return sysexits.Usage
			}
			fmt.Fprint(std.out, router.ExplainAccept(context.Background(), rules.StageRcpt, q))
		}
		e := router.Explain(context.Background(), q)
		fmt.Fprint(std.out, e)
		if e.Err != nil {
			exit = sysexits.TempFail
		}
	}
	return exit
}
