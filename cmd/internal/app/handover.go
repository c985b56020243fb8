package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"waybill/queue/spool"
	"waybill/transport/envelope"
	"waybill/transport/passwd"
	"waybill/transport/sysexits"
)

// frontEnds answers local programs on the spool's socket.
type frontEnds struct {
	s *site
	// work, if set, is the context of deliveries for which a front end waits. It outlives the one that ends with SIGTERM.
	work context.Context
	// accepted, if set, hears of each message and what its front end is told.
	accepted func(e *envelope.Envelope, reply spool.Reply)
}

// Submit takes a message from a local program. Recipients that cannot exist are refused before anything is accepted;
// the others are safe when it returns.
func (f frontEnds) Submit(ctx context.Context, peer spool.Peer, e *envelope.Envelope, body io.Reader, verbose func(string)) (spool.Reply, error) {
	for _, r := range e.Recipients {
		if r.Command != "" || r.File != "" {
			// Only aliases and .forward files may name those (security.md: argument injection).
			return spool.Reply{}, &spool.RefusedError{Exit: sysexits.NoPerm, Text: "programs and files are no recipients here"}
		}
	}
	e.Origin = f.origin(peer, e.Origin)
	if f.work != nil {
		ctx = f.work
	}
	if f.s.cf != nil {
		f.s.cf.private(e)
		if err := f.s.cf.diskFull(f.s.settings.Spool, e, body); err != nil {
			return spool.Reply{}, err
		}
	}
	listed := e.For == envelope.Listed
	if listed {
		e.For = envelope.Nobody
	}
	var judged *judgedBody
	if f.s.cf != nil {
		var err error
		if judged, err = f.s.cf.judge(e, body); err != nil {
			return spool.Reply{}, err
		}
		body = judged
	}
	reply, err := f.s.submitLooking(ctx, e, body, verbose, listed)
	var no *spool.RefusedError
	if errors.As(err, &no) && judged != nil && strings.HasSuffix(no.Text, tooLarge) { // with the fields that we have added
		err = judged.tooLarge()
	}
	if whole, ok := errors.AsType[*wholeRefusal](err); ok {
		reply, err = f.s.refusedWhole(ctx, e, judged, whole, reply)
	}
	if f.s.cf != nil && e.Untold && errors.As(err, &no) && strings.Contains(no.Text, "Too many hops") {
		reply, err = spool.Reply{Exit: no.Exit, Untold: true}, nil // which it tells by dead.letter alone
	}
	if err == nil && f.s.cf != nil && e.Hops > f.s.settings.MaxHops && reply.Exit == sysexits.OK {
		reply.Exit = sysexits.Unavailable // the bounce follows
	}
	if err == nil && f.s.cf != nil {
		f.s.cf.reported(e, judged.header, &reply, verbose != nil)
	}
	if err == nil && f.accepted != nil {
		f.accepted(e, reply)
	}
	return reply, err
}

// origin keeps of what a front end says about itself only what the kernel cannot know, and only what does no harm.
func (f frontEnds) origin(peer spool.Peer, said envelope.Origin) envelope.Origin {
	o := envelope.Origin{Protocol: "local", ClientName: "localhost", User: f.userName(peer.UID), UID: peer.UID}
	if peer.UID == 0 || slices.Contains(f.s.settings.Trust, o.User) {
		// sendmail -p PROTOCOL:HOST of a gateway program such as rmail or procmail
		if said.Protocol != "" {
			o.Protocol = said.Protocol
		}
		if said.ClientName != "" {
			o.ClientName, o.Helo = said.ClientName, said.ClientName // "from alpha.UUCP" in the Received line
		}
	}
	return o
}

// userName is the login name of a user id. The passwd file of the system counts first: it is about who called, not
// about who gets mail. That of the site knows those whom the system does not.
func (f frontEnds) userName(uid int) string {
	for _, users := range []*passwd.File{f.s.callers, f.s.users} {
		if e, found, err := users.ByUID(uid); err == nil && found {
			return e.Name
		}
	}
	return fmt.Sprint(uid)
}

// Control does what an operator asks of the running daemon. Looking is for everybody, as sendmail's mailq is, and so is
// a queue run; changing is for root and for the user that runs the daemon.
func (f frontEnds) Control(ctx context.Context, peer spool.Peer, words []string, answer func(line string) error) error {
	if len(words) == 0 {
		return &spool.RefusedError{Exit: sysexits.Usage, Text: "nothing was asked"}
	}
	if f.s.cf != nil && peer.UID != 0 && peer.UID != os.Geteuid() { // the front end asks as well, but is not the only way here
		switch {
		case (words[0] == "list" || words[0] == "detail") && f.s.cf.privacy("restrictmailq"):
			return &spool.RefusedError{Exit: sysexits.NoPerm, Text: "You are not permitted to see the queue"}
		case words[0] == "run" && f.s.cf.privacy("restrictqrun"):
			return &spool.RefusedError{Exit: sysexits.NoPerm, Text: "You do not have permission to process the queue"}
		}
	}
	switch words[0] {
	case "ping":
		return answer(strconv.Itoa(os.Getpid()))
	case "list", "run", "kick":
	case "hoststat":
		return f.s.hostStatus(time.Now(), answer)
	default:
		if peer.UID != 0 && peer.UID != os.Geteuid() {
			return &spool.RefusedError{Exit: sysexits.NoPerm, Text: "only root and the user of the daemon may do that"}
		}
	}
	switch words[0] {
	case "purgestat":
		for _, c := range f.s.smtpClients() {
			c.ForgetHosts()
		}
		return nil
	case "tlsreport":
		return f.s.reportTLS(ctx, time.Now().AddDate(0, 0, 1), answer)
	}
	if words[0] == "reload" {
		if !f.s.tell(f.s.reload()) {
			return &spool.RefusedError{Exit: sysexits.Config, Text: "the rules are wrong; the log says where"}
		}
		return nil
	}
	if words[0] == "run" && peer.UID != 0 && peer.UID != os.Geteuid() {
		words = append([]string{"nudge"}, words[1:]...)
	}
	return f.s.queue.Control(ctx, f.userName(peer.UID), words, answer)
}
