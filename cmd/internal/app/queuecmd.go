package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"waybill/compat/mailq"
	"waybill/queue"
	"waybill/queue/spool"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

const queueUsage = `usage: waybill queue [-C FILE] [--json] VERB [SELECTION] [ID ...]

  list        what waits, and why
  show ID     everything that is known of one message; the same as waybill explain ID
  run         try messages now, whatever they wait for (all of them without a selection)
  hold        keep messages until they are released; --why TEXT is shown in lists
  release     let them go on
  requeue     let them begin anew by the rules of now: aliases, routes, schedule
  remove      take them away; nobody is told but the log. --recipient ADDRESS, also with requeue, means this
              recipient of theirs only; alone it selects all messages that have it
  priority N  change the place in the order (-1000 to 1000, larger goes first)
  import DIR  take over the queue of a sendmail
  lost        files that were damaged and set aside

SELECTION: options of the same name are alternatives, different ones must all hold, and "!" before a value negates it.
  --rcpt TEXT      a part of a recipient that is left
  --from TEXT      a part of the sender
  --host DOMAIN    a recipient's domain or next hop, or one below it (ETRN)
  --mailer NAME    the transport that tried last
  --reason TEXT    a part of the reason why it waits, or its code
  --older AGE      such as 90m, 4h, 3d; also --younger
  --id TEXT        a part of the queue id
  --all            every message
`

// selecting are the options that select messages, and the words of a control request that they become.
var selecting = map[string]string{
	"rcpt": "R", "to": "R", "from": "S", "sender": "S", "host": "H", "domain": "H", "mailer": "M", "transport": "M", "reason": "E",
	"older": "O", "younger": "Y", "id": "I", "held": "Q",
}

// queueCommand looks at the queue and acts on it: through the daemon when one runs, else by itself.
func queueCommand(std stdio, args []string) int {
	fs, config := options(std, "queue", "")
	asJSON := fs.Bool("json", false, "print lists as JSON, one object a line")
	verbose := fs.Bool("v", false, "tell more")
	fs.Usage = func() { fmt.Fprint(fs.Output(), queueUsage) }
	why := fs.String("why", "", "the reason of a hold")
	all := fs.Bool("all", false, "every message")
	var words, only []string
	fs.Func("recipient", "of the messages, this recipient only", func(v string) error { only = append(only, "rcpt="+v); return nil })
	for name, kind := range selecting {
		fs.Func(name, "", func(v string) error {
			value, not := strings.CutPrefix(v, "!")
			word := kind + "=" + value
			if not {
				word = "!" + word
			}
			words = append(words, word)
			return nil
		})
	}
	var rest []string
	for { // options may stand anywhere
		if len(args) > 0 && negative(args[0]) { // a priority
			rest, args = append(rest, args[0]), args[1:]
			continue
		}
		if exit, ok := parse(std, fs, args); !ok {
			return exit
		}
		if fs.NArg() == 0 {
			break
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
	if len(rest) == 0 {
		fmt.Fprint(std.err, queueUsage)
		return sysexits.Usage
	}
	verb, words := rest[0], append(words, rest[1:]...)
	if *all && len(words) == 0 && verb != "run" && verb != "list" {
		words = []string{"I="}
	}
	words = append(words, only...)
	if verb == "hold" && *why != "" {
		words = append(words, "why="+*why)
	}
	if verb == "priority" && len(rest) > 1 { // the number first
		words = append([]string{rest[1]}, slices.DeleteFunc(words, func(w string) bool { return w == rest[1] })...)
		if *all && len(words) == 1 {
			words = append(words, "I=")
		}
	}
	switch verb {
	case "list":
		chosen, err := queue.ParseSelection(words)
		if err != nil {
			fmt.Fprintf(std.err, "waybill: %v\n", err)
			return sysexits.Usage
		}
		view := queueView{json: *asJSON, verbose: *verbose, counted: len(chosen) == 0}
		if len(chosen) > 0 {
			now := time.Now()
			view.match = func(l queue.Listed) bool { return chosen.Matches(l, now) }
		}
		return listQueue(std, *config, view)
	case "import":
		return importQueue(std, *config, words)
	case "lost":
		return lostFiles(std, *config)
	case "show":
		exit := sysexits.OK
		for _, id := range words {
			exit = max(exit, explainMessage(std, *config, id, *asJSON))
		}
		return exit
	case "run", "hold", "release", "remove", "requeue", "priority":
		return controlQueue(std, *config, append([]string{verb}, words...))
	}
	fmt.Fprintf(std.err, "waybill: queue has no verb %q\n\n%s", verb, queueUsage)
	return sysexits.Usage
}

func negative(arg string) bool {
	n, err := strconv.Atoi(arg)
	return err == nil && n < 0
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
	counted       bool                    // match leaves out nothing, or what is held: a long list need not be read to be begun
	match         func(queue.Listed) bool // nil: all
	lost          bool                    // what was set aside is in it
}

// sortable is the number of messages up to which a list is sorted. A longer one is printed as it is read.
const sortable = 2000

// listQueue prints what waits, as mailq does. Whoever may not read the spool asks the daemon.
func listQueue(std stdio, config string, view queueView) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	located, err := spool.Locate(config)
	if err != nil {
		return cannotOpen(std, err)
	}
	out := &queueLister{std: std, view: view, located: located}
	answer := queue.Lister{F: out.add, Count: out.count}
	err = spool.Control(ctx, located.Socket, []string{"list"}, answer.Line)
	if err == nil {
		err = answer.End()
	}
	if errors.Is(err, spool.ErrNoDaemon) {
		var s *site
		if s, err = openSite(config, slog.LevelWarn); isCF(config) && errors.Is(err, fs.ErrPermission) {
			fmt.Fprintf(std.out, "can not chdir(%s/): Permission denied\n", located.Spool) // as sendmail has it
			fmt.Fprintln(std.err, "Program mode requires special privileges, e.g., root or TrustedUser.")
			return sysexits.Config
		}
		if err != nil {
			return cannotOpen(std, err)
		}
		defer s.close(ctx)
		if err = s.queue.Count(out.count); err == nil {
			err = s.queue.List(ctx, out.add)
		}
	}
	if err == nil && view.lost {
		err = setAside(config, func(path string, _ spool.Info) bool {
			out.listing.Entries = append(out.listing.Entries, mailq.Entry{ID: filepath.Base(path), Damaged: true})
			return true
		})
	}
	if err != nil {
		return failed(std, err)
	}
	return failed(std, out.end())
}

// queueLister prints messages: sorted, or a long list as they come.
type queueLister struct {
	std     stdio
	view    queueView
	located spool.Site
	listing mailq.Listing
	stream  *mailq.Stream // nil: everything is collected
}

// count hears how many messages there are before they come.
func (p *queueLister) count(queued, held, dropped int) error {
	n := queued + dropped
	if p.view.match == nil {
		n += held
	}
	if n > sortable && p.view.counted && !p.view.json {
		p.stream = mailq.NewStream(p.std.out, mailq.Listing{Directory: p.located.Spool, Verbose: p.view.verbose}, n)
	}
	return nil
}

func (p *queueLister) add(l queue.Listed) error {
	if p.view.match != nil && !p.view.match(l) {
		return nil
	}
	e := listEntry(l, p.located.Sendmail)
	if p.located.Sendmail && !p.view.verbose && !p.view.json { // the widths of its columns
		e.Sender = e.Sender[:min(len(e.Sender), 39)]
		for i, r := range e.Recipients {
			e.Recipients[i].Name = r.Name[:min(len(r.Name), 38)]
		}
	}
	if p.stream != nil {
		return p.stream.Print(e)
	}
	p.listing.Entries = append(p.listing.Entries, e)
	return nil
}

func (p *queueLister) end() error {
	if p.stream != nil {
		return p.stream.Close()
	}
	p.listing.Directory, p.listing.Verbose = p.located.Spool, p.view.verbose
	// sendmail lists in the order of its queue run: the smallest priority number first.
	slices.SortStableFunc(p.listing.Entries, func(a, b mailq.Entry) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), a.Arrival.Compare(b.Arrival), cmp.Compare(a.ID, b.ID))
	})
	if p.view.json {
		return mailq.JSON(p.std.out, p.listing)
	}
	return mailq.Print(p.std.out, p.listing)
}

// listEntry shows a message of our queue as one of sendmail's.
func listEntry(l queue.Listed, sendmail bool) mailq.Entry {
	if sendmail { // local users first, the others by domain
		slices.SortStableFunc(l.Recipients, func(a, b queue.ListedRecipient) int {
			return strings.Compare(envelope.Address(a.Name).Domain(), envelope.Address(b.Name).Domain())
		})
	}
	e := mailq.Entry{
		ID: l.ID, State: mailq.Waiting, Size: l.Size, Arrival: l.Arrival, Sender: string(l.Sender), Body: string(l.BodyType),
		Priority: l.Job, Held: l.Held, Next: l.NextTry, Attempts: l.Attempts, Damaged: l.Damage != "",
	}
	if l.Running {
		e.State = mailq.Running
	}
	if l.Held {
		e.Quarantine = cmp.Or(l.Quarantine, "held")
	}
	same := true
	for _, r := range l.Recipients {
		same = same && r.Reason == l.Recipients[0].Reason
	}
	for _, r := range l.Recipients {
		row := mailq.Recipient{Name: r.Name}
		switch {
		case sendmail && len(r.Reason) > 3 && strings.Trim(r.Reason[:3], "0123456789") == "" && !strings.HasPrefix(r.Reason, "421 "): // what a next hop said of this one
			row.Status = waits(r.Reason)
		case !sendmail && !same:
			row.Status = r.Reason
		}
		e.Recipients = append(e.Recipients, row)
	}
	if e.Reason = l.Said; e.Reason == "" && len(l.Recipients) > 0 && same && l.Recipients[0].Reason != "" {
		e.Reason = waits(l.Recipients[0].Reason)
	}
	return e
}

// waits is a reason to wait as sendmail says it.
func waits(why string) string {
	if ownWords(why) {
		return why
	}
	return "Deferred: " + why
}

// ownWords reports whether a reason is one before which sendmail puts no "Deferred".
func ownWords(why string) bool {
	for _, prefix := range []string{"reply: ", "Warning: ", "mailer ", "Operating system error", "I/O error", "alias database unavailable"} {
		if strings.HasPrefix(why, prefix) {
			return true
		}
	}
	return strings.Contains(why, " map: lookup (")
}
