package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"waybill/compat/flags"
	"waybill/compat/submit"
	"waybill/queue/spool"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// handOver is one message on its way to the daemon or the spool.
type handOver struct {
	v       *flags.Invocation
	rights  rights
	site    spool.Site
	caller  caller
	message *submit.Message
	memory  *memory
	out     io.Writer
	saved   bool              // dead.letter has it
	joined  bool              // the spool took refused recipients with the others, and tells of them
	blamed  map[string]string // whom aliases made of refused recipients
	head    string            // fields that the engine puts on top of a dead letter
}

// run hands the message over and returns the exit status. Plan: give it to the daemon, else to the drop directory and
// (with -odi, -odb) to a delivery of our own; then report the recipients that were refused, as -oe asks.
func (h *handOver) run(ctx context.Context) int {
	e := h.message.Envelope
	if h.v.NoAliases {
		for i, r := range e.Recipients {
			e.Recipients[i].Addr = unaliased(r.Addr)
		}
	}
	e.Named = h.v.SenderFlag != 0
	e.Untold = h.tells() || h.v.Errors == flags.Quiet // what fails while we wait, we tell, or nobody is to hear of it
	h.layOut()
	switch e.When {
	case envelope.WhenDefault, envelope.WhenBackground:
		e.Joint = h.site.Sendmail && !h.listed()
	case envelope.WhenNow:
		e.Joint = h.site.Sendmail && !h.listed() && !e.Untold
	}
	refused := h.message.Refused
	if h.listed() && len(refused) > 0 {
		e.When = envelope.WhenQueue
	}
	if h.listed() && e.For == envelope.Nobody {
		e.For = envelope.Listed
	}
	if len(e.Recipients) == 0 {
		if len(refused) == 0 {
			return sysexits.OK // only empty arguments
		}
		h.head = h.headOfRefused(ctx, refused)
		return h.report(refused, true)
	}
	var verbose func(string)
	if h.v.Verbose {
		verbose = func(line string) { fmt.Fprintln(h.out, line); flush(h.out) }
	}
	reply, dropped, err := spool.SubmitThrough(ctx, h.site, e, remembering{h.memory}, verbose, h.ownEngine)
	if err != nil {
		return h.failed(err)
	}
	h.head, h.blamed = reply.Head, map[string]string{}
	exit := reply.Exit
	if dropped {
		exit = h.deliverHere(reply.ID)
		reply.Untold = exit != sysexits.OK && e.Untold && !h.saved
	}
	if verbose != nil {
		defer func() {
			for _, line := range reply.Tail {
				verbose(line)
			}
		}()
	}
	if h.v.Errors == flags.Print || h.listed() {
		for _, line := range reply.Partly {
			fmt.Fprintln(h.out, line)
		}
	}
	for _, line := range reply.Told {
		fmt.Fprintln(h.out, line)
	}
	if reply.Untold && h.tells() && h.v.Notify&envelope.NotifyNever == 0 {
		defer h.deadLetter() // it gives up our rights, which a bounce for the refused needs
	}
	for _, r := range reply.Refused {
		name := e.Recipients[r.Index].Name()
		if h.v.NoAliases {
			name = strings.TrimPrefix(name, `\\`)
		}
		if r.Name != "" && h.site.Sendmail {
			h.blamed[name] = r.Name
		}
		refused = append(refused, submit.Refusal{Name: name, Text: wording(r.Text), Exit: refusedExit(reply, r.Code)})
	}
	h.joined = reply.Joined
	if len(refused) > 0 {
		if e := h.report(refused, reply.ID == ""); e != sysexits.OK || h.v.Errors == flags.Exit0 {
			return e
		}
	}
	if h.v.Errors == flags.Exit0 {
		return sysexits.OK
	}
	return exit
}

// unaliased marks a local name as one for which no alias counts, with the sign of package queue/expand.
func unaliased(a envelope.Address) envelope.Address {
	if _, domain := a.Split(); domain == "" && !strings.HasPrefix(string(a), `\`) {
		return `\\` + a
	}
	return a
}

// listed reports whether the recipients were read from the header as a sendmail.cf has it: then each one that is wrong is
// told on standard output whatever the error mode, and the sender hears of it by mail.
func (h *handOver) listed() bool { return h.v.Recipients && h.site.Sendmail }

// tells reports whether trouble is for the caller to hear here and now: in error mode p, of mail of their own. Who sends
// for somebody else has that one told by mail.
func (h *handOver) tells() bool {
	if h.v.Errors != flags.Print || h.site.Nameless || h.site.Submits && os.Getuid() == 0 { // to a null client, everybody is somebody else
		return false
	}
	local, domain := h.message.Envelope.Sender.Split()
	return h.v.SenderFlag == 0 || strings.EqualFold(local, h.caller.Login) && (domain == "" || h.isLocal(domain))
}

// accessWrite is W_OK of access(2), which asks with the rights of the caller, not with those of the program.
const accessWrite = 2

// layOut makes the drop directory of a spool that is the caller's own and empty: whoever runs Waybill for the first time
// need not start a daemon first. On a host where it is installed, the directory is there, with its group and mode.
func (h *handOver) layOut() {
	drop := spool.DropPath(h.site.Spool)
	if errors.Is(syscall.Access(drop, 0), syscall.ENOENT) && syscall.Access(h.site.Spool, accessWrite) == nil {
		os.Mkdir(drop, 0o700) // an error shows when the message is dropped
	}
}

// anyLocal reports whether a recipient may be a user of this host, as far as that is known without the rules.
func (h *handOver) anyLocal() bool {
	for _, r := range h.message.Envelope.Recipients {
		if _, domain := r.Addr.Split(); domain == "" || h.isLocal(domain) {
			return true
		}
	}
	return false
}

func (h *handOver) isLocal(domain string) bool {
	return strings.EqualFold(domain, h.site.Host) || strings.EqualFold(domain, "localhost") ||
		slices.ContainsFunc(h.site.Local, func(name string) bool { return strings.EqualFold(domain, name) })
}

// failed tells why nothing was accepted.
func (h *handOver) failed(err error) int {
	// When neither the daemon nor the drop directory took the message, the latter's reason comes first and matters.
	if both, ok := err.(interface{ Unwrap() []error }); ok {
		err = both.Unwrap()[0]
	}
	var no *spool.RefusedError
	var bad *submit.Error
	switch {
	case errors.As(err, &no):
		if h.v.Errors != flags.Quiet {
			fmt.Fprintln(h.out, no.Text)
		}
		if h.tells() && no.Exit != sysexits.TempFail && no.Exit != sysexits.OK && !aboutConfiguration(no.Exit) {
			h.deadLetter()
		}
		return no.Exit
	case errors.As(err, &bad):
		fmt.Fprintln(h.out, bad.Text)
		return bad.Exit
	case h.memory.err != nil:
		return fail(sysexits.IOErr, "standard input", h.memory.err)
	case errors.Is(err, fs.ErrPermission) && h.rights.given:
		// As sendmail has it: who names files and directories must be able to use them.
		if isCF(h.v.ConfigFile) || h.site.Sendmail {
			return noWay(h.site.Spool, h.out)
		}
		return fail(sysexits.Config, "the message is not accepted: "+strings.Join(h.v.Unsafe, " ")+" gave our rights up", err)
	case errors.Is(err, fs.ErrNotExist):
		return fail(sysexits.CantCreat, "the message is not accepted", h.noSpool(err))
	case errors.Is(err, fs.ErrPermission) && os.Getuid() != 0 && !h.mayDrop():
		return fail(sysexits.CantCreat, "the message is not accepted", fmt.Errorf("no daemon answers on %s, and %s is not open to us: root starts the daemon", h.site.Socket, spool.DropPath(h.site.Spool)))
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOTDIR):
		return fail(sysexits.CantCreat, "the message is not accepted", err)
	}
	return fail(sysexits.TempFail, "the message is not accepted", err)
}

// aboutConfiguration tells that the message was not even looked at: the caller has it still.
func aboutConfiguration(exit int) bool {
	return exit == sysexits.Software || exit == sysexits.OSErr || exit == sysexits.OSFile || exit == sysexits.Config
}

// noSpool says which directory is missing, and who makes it.
func (h *handOver) noSpool(err error) error {
	dir := h.site.Spool
	if syscall.Access(dir, 0) == nil {
		dir = spool.DropPath(dir)
	}
	if syscall.Access(dir, 0) == nil {
		return err // something else is missing
	}
	return fmt.Errorf("there is no directory %s: root makes it by starting the daemon, or by sending a message", dir)
}

// nobodys reports whether a refusal is one before which sendmail names no address: that of rules that make no sense, of
// FEATURE(redirect), and of lists that lead round.
func nobodys(text string) bool {
	return strings.HasPrefix(text, "buildaddr: ") || strings.HasPrefix(text, "User has moved; ") || strings.HasPrefix(text, "aliasing/forwarding loop broken")
}

// wording is sendmail's spelling of a reason, where scripts look for it.
func wording(text string) string {
	if text == "user unknown" {
		return "User unknown"
	}
	return text
}

// refusedExit is the exit status for a refused recipient: the engine's where it is about nothing else.
func refusedExit(reply spool.Reply, code string) int {
	if reply.ID == "" && reply.Exit != sysexits.OK {
		return reply.Exit
	}
	return exitOf(code)
}

// exitOf is the exit status that fits an enhanced status code.
func exitOf(code string) int {
	switch {
	case strings.HasPrefix(code, "4"):
		return sysexits.TempFail
	case code == "5.1.2", code == "5.1.10":
		return sysexits.NoHost
	case code == "5.1.3", code == "5.1.7", code == "5.4.6": // the last is an alias that leads back to itself
		return sysexits.Usage
	case strings.HasPrefix(code, "5.1."), code == "5.2.1":
		return sysexits.NoUser
	case strings.HasPrefix(code, "5.7."):
		return sysexits.NoPerm
	}
	return sysexits.Unavailable
}

// report tells about refused recipients. When nobody was accepted, and in the foreground, -oep leaves the message in
// dead.letter; else, and with -oem, -oew and -oee, a bounce goes to the sender: the spool takes the message for those recipients alone, and the
// queue finds out by itself that they do not exist.
func (h *handOver) report(refused []submit.Refusal, all bool) int {
	exit := sysexits.NoUser
	for _, r := range refused {
		switch r.Exit {
		case sysexits.OK:
		case submit.ExitGood:
			exit = sysexits.OK
		default:
			exit = r.Exit
		}
		if h.v.Errors == flags.Print || h.listed() {
			if h.site.Sendmail && nobodys(r.Text) {
				fmt.Fprintln(h.out, r.Text)
			} else {
				fmt.Fprintf(h.out, "%s... %s\n", cmp.Or(h.blamed[r.Name], r.Name), r.Text)
			}
		}
	}
	if h.site.Sendmail && !h.listed() && refused[0].Text == invalidRoute {
		exit = sysexits.Usage // what was seen first stands
	}
	// Who waits for the delivery, or for none, is told here also when others were accepted.
	here := all || h.v.When != envelope.WhenDefault && h.v.When != envelope.WhenBackground
	switch {
	case h.v.Errors == flags.Quiet && (here || h.listed()): // and nobody by mail
	case h.tells() && here && !h.v.Recipients && h.deadLetter():
	case h.joined && len(h.message.Refused) == 0:
	default:
		if h.joined {
			refused = h.message.Refused
		}
		if err := h.bounce(refused); err != nil {
			fail(exit, "the sender cannot be told", err)
		}
	}
	if h.v.Errors == flags.Exit0 {
		return sysexits.OK
	}
	return exit
}

// headOfRefused asks an engine what would stand on top of a message that nobody gets, for dead.letter: of addresses that
// every engine refuses.
func (h *handOver) headOfRefused(ctx context.Context, refused []submit.Refusal) string {
	if !h.site.Sendmail || !h.tells() || h.v.Recipients || !h.mayDeliver() && !h.rights.root {
		return ""
	}
	e := *h.message.Envelope
	e.Recipients = nil
	for _, r := range refused {
		if r.Text != invalidRoute || !strings.Contains(r.Name, "@@") {
			return ""
		}
		e.Recipients = append(e.Recipients, envelope.Recipient{Addr: envelope.Address(r.Name)})
	}
	reply, dropped, err := spool.SubmitThrough(ctx, h.site, &e, remembering{h.memory}, nil, h.ownEngine)
	if err != nil || dropped || reply.ID != "" {
		return ""
	}
	return reply.Head
}

// invalidRoute is sendmail's word for an address with "@@".
const invalidRoute = "Invalid route address"

func (h *handOver) bounce(refused []submit.Refusal) error {
	e := *h.message.Envelope
	e.ID, e.When, e.Recipients, e.Untold = "", envelope.WhenBackground, nil, false
	if len(refused) == 1 && len(h.v.Args) == 1 && !h.v.Recipients && h.site.Sendmail {
		e.For = envelope.Address(refused[0].Name)
	}
	for _, r := range refused {
		name := envelope.Address(r.Name)
		if h.v.NoAliases {
			name = unaliased(name)
		}
		e.Recipients = append(e.Recipients, envelope.Recipient{Addr: name, Notify: h.v.Notify})
	}
	e.Anyway = true
	if h.rights.root { // whoever may not write the queue has an engine do it
		_, dropped, err := spool.SubmitThrough(context.Background(), h.site, &e, h.memory.replay(), nil, h.ownEngine)
		if err == nil || dropped {
			return err
		}
	}
	id, err := spool.Drop(h.site.Spool, &e, h.memory.replay())
	if err == nil && syscall.Access(h.site.Socket, accessWrite) != nil {
		now, v := *h, *h.v
		v.When, now.v = envelope.WhenBackground, &v // the notice does not wait with the message
		now.deliverHere(id)
	}
	return err
}

// flush empties a buffered writer.
func flush(w io.Writer) {
	if f, ok := w.(interface{ Flush() error }); ok {
		f.Flush()
	}
}
