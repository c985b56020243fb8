// Package mbox delivers into mailbox files (mbox(5), the "mboxrd"-like form that sendmail's local mailers write: only
// lines that begin with "From " get a ">"). In flows a Request whose recipients are login names, or files that an
// alias or a .forward file named; out flows one Status each, Delivered only after fsync.
//
// The plan for one recipient: take the recipient's identity, take the locks, open the file without following links,
// look at what was opened, note its length, append, sync. When anything fails after the first octet, the file is cut
// back to the noted length, so that a full disk never leaves half a message.
//
// As root every step is done with the file-system identity of the recipient (package identity: a thread of its own
// with setfsuid); otherwise as the user that runs us.
package mbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/fromline"
	"waybill/transport/identity"
	"waybill/transport/passwd"
	"waybill/transport/sysexits"
)

// Config describes a mailbox transport.
type Config struct {
	// Path is the mailbox file of a user: "/var/mail/$user", "$home/Mailbox". Required unless only files that
	// aliases name are delivered to. $user and $home are replaced as data; $$ is a dollar sign.
	Path string
	// Users says who exists, and with which ids. When nil, every well-formed name has a mailbox, and everything is
	// done as the user that runs us.
	Users passwd.Source
	// Group is the group id that mailboxes are created and locked with when we are root. -1: the user's own. The
	// zero value means: the group of the directory where that directory is writable by its group (as with
	// /var/mail of Debian, root:mail 2775), else the user's own.
	Group int
	// Mode is the mode of a new mailbox; 0 means 0600.
	Mode os.FileMode
	// DefaultUser is the login name with whose rights a file of an alias is written when the recipient brings none
	// along; empty: as ourselves.
	DefaultUser string
	// Quota is how many octets a mailbox may have after a delivery; 0 is no limit.
	Quota int64
	// QuotaTemporary makes "mailbox is full" a reason to wait (4.2.2) instead of a failure (5.2.2).
	QuotaTemporary bool
	// Locks are the locks to take, in order: "dotlock" (FILE.lock), "dotlock-try" (the same where the directory may
	// be written), "fcntl", "flock". Nil means dotlock, fcntl.
	Locks []string
	// LockTimeout is how long to wait for one lock; 0 means 60 s. After that the delivery is deferred.
	LockTimeout time.Duration
	// LockStale is the age at which a lock file is taken to be left behind by a crash; 0 means 5 minutes.
	LockStale time.Duration
	// Biff, if set, is the UDP address of comsat(8), "127.0.0.1:512": it is told "user@offset" after a delivery.
	Biff string
	// FromLine writes another From line than package fromline does by itself, without its line end.
	FromLine func(sender envelope.Address, when time.Time) string
	// Close has a message follow the last line of the file at once, as sendmail has it in files of aliases; else there is
	// an empty line before it, whatever the file ends with.
	Close bool
	// EscapeAfterBlank quotes lines that begin with "From " only behind an empty line, as sendmail's mail.local does.
	EscapeAfterBlank bool
	// NoReturnPath leaves the Return-Path field out.
	NoReturnPath bool
	// NoSync leaves out fsync. For measurements only: it breaks the promise of Delivered.
	NoSync bool
	// Now is the clock of the From line; nil means time.Now.
	Now func() time.Time
}

// Mbox is a Transport. It is safe for concurrent use.
type Mbox struct {
	conf  Config
	path  *Path
	locks []lockKind
	turns turns
}

// New checks the configuration.
func New(c Config) (*Mbox, error) {
	m := &Mbox{conf: c}
	var err error
	if c.Path != "" {
		if m.path, err = ParsePath(c.Path); err != nil {
			return nil, fmt.Errorf("mbox: path %q: %w", c.Path, err)
		}
	}
	if c.Locks == nil {
		c.Locks = []string{"dotlock", "fcntl"}
	}
	for _, word := range c.Locks {
		kind, ok := lockWords[word]
		if !ok {
			return nil, fmt.Errorf("mbox: unknown lock %q (dotlock, dotlock-try, fcntl, flock)", word)
		}
		m.locks = append(m.locks, kind)
	}
	if c.Quota < 0 {
		return nil, fmt.Errorf("mbox: quota %d is negative", c.Quota)
	}
	if m.conf.Mode == 0 {
		m.conf.Mode = 0o600
	}
	if m.conf.LockTimeout == 0 {
		m.conf.LockTimeout = time.Minute
	}
	if m.conf.LockStale == 0 {
		m.conf.LockStale = 5 * time.Minute
	}
	if m.conf.Now == nil {
		m.conf.Now = time.Now
	}
	return m, nil
}

// Deliver appends the message to the mailbox of every recipient, one after the other. A recipient with a File of an
// alias gets the message appended to that file; one with a Command is refused, since a mailbox runs no programs.
func (m *Mbox) Deliver(ctx context.Context, req *transport.Request) []transport.Status {
	statuses := make([]transport.Status, len(req.Recipients))
	for i, rcpt := range req.Recipients {
		statuses[i] = m.one(ctx, req, rcpt)
	}
	return statuses
}

func (m *Mbox) one(ctx context.Context, req *transport.Request, rcpt transport.Recipient) transport.Status {
	log := req.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	switch {
	case rcpt.Orig.Command != "":
		return transport.NewStatus(transport.Failed, "5.3.5", "a mailbox cannot run a program")
	case rcpt.Orig.File != "":
		return m.file(ctx, req, rcpt, log)
	}
	if m.path == nil {
		return transport.NewStatus(transport.Deferred, "4.3.5", "no mailbox path is configured")
	}
	if !ValidName(rcpt.User) {
		return with(transport.NewStatus(transport.Failed, "5.1.1", "no mailbox can have this name"), sysexits.NoUser)
	}
	user, found, err := m.lookup(rcpt.User)
	switch {
	case err != nil:
		log.Warn("user database not readable", "user", rcpt.User, "err", err)
		return transport.NewStatus(transport.Deferred, "4.3.0", "user database not available")
	case !found:
		return with(transport.NewStatus(transport.Failed, "5.1.1", "user unknown"), sysexits.NoUser)
	}
	name, err := m.path.Expand(rcpt.User, user.Home)
	if err != nil {
		log.Warn("no mailbox path", "user", rcpt.User, "err", err)
		return transport.NewStatus(transport.Deferred, "4.3.5", "the mailbox has no usable path")
	}
	job := &job{
		Mbox: m, log: log, name: name, user: rcpt.User, quota: m.conf.Quota, mode: m.conf.Mode, owner: -1,
		form: m.form(req),
	}
	id := identity.ID{UID: user.UID, GID: user.GID, Groups: user.Groups}
	if m.conf.Users != nil && identity.CanChange() {
		job.owner = user.UID
		switch {
		case m.conf.Group > 0:
			id.GID = m.conf.Group
		case m.conf.Group == 0:
			if gid, ok := spoolGroup(filepath.Dir(name)); ok {
				id.GID = gid
			}
		}
	}
	as := &id
	if m.conf.Users == nil { // without a user database the ids of an Entry are all zero, and nobody's
		as = nil
	}
	if err := m.deliver(ctx, as, job, req.Body); err != nil {
		return m.judge(log, name, rcpt.User, err)
	}
	if m.conf.Biff != "" {
		notify(m.conf.Biff, rcpt.User, job.start, log)
	}
	return transport.NewStatus(transport.Delivered, "2.0.0", "Sent")
}

func (m *Mbox) form(req *transport.Request) fromline.Form {
	f := fromline.Form{
		FromLine: true, ReturnPath: !m.conf.NoReturnPath, EscapeFrom: true, AfterBlank: m.conf.EscapeAfterBlank, BlankEnd: true,
		Sender: req.Envelope.Sender, When: m.conf.Now(),
	}
	if m.conf.FromLine != nil {
		f.Text = m.conf.FromLine(f.Sender, f.When)
	}
	return f
}

func (m *Mbox) lookup(name string) (passwd.Entry, bool, error) {
	if m.conf.Users == nil {
		return passwd.Entry{Name: name}, true, nil
	}
	return m.conf.Users.Lookup(name)
}

// spoolGroup returns the group of a directory that its group may write.
func spoolGroup(dir string) (gid int, ok bool) {
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil || st.Mode&0o020 == 0 {
		return 0, false
	}
	return int(st.Gid), true
}

// file appends to a file that an alias or a .forward file named. Here the usual failures are the fault of whoever
// wrote that line and will not go away: they are reported, not waited for.
func (m *Mbox) file(ctx context.Context, req *transport.Request, rcpt transport.Recipient, log *slog.Logger) transport.Status {
	name := string(rcpt.Orig.File)
	if name == "/dev/null" {
		return transport.NewStatus(transport.Delivered, "2.0.0", "Sent")
	}
	if !filepath.IsAbs(name) || hasControl(name) || strings.HasSuffix(name, "/") {
		return cannotCreate()
	}
	as := rcpt.As
	if as == "" {
		as = m.conf.DefaultUser
	}
	job := &job{
		Mbox: m, log: log, name: filepath.Clean(name), user: as, mode: m.conf.Mode, owner: -1, alias: true,
		form: m.form(req),
	}
	var err error
	if as == "" || m.conf.Users == nil {
		err = m.deliver(ctx, nil, job, req.Body)
	} else {
		user, found, lookupErr := m.conf.Users.Lookup(as)
		if lookupErr != nil || !found {
			log.Warn("the user who owns a file delivery is not known", "file", name, "user", as, "err", cmp.Or(lookupErr, errNoUser))
			return transport.NewStatus(transport.Deferred, "4.3.0", "the owner of this delivery is not known now")
		}
		err = m.deliver(ctx, &identity.ID{UID: user.UID, GID: user.GID, Groups: user.Groups}, job, req.Body)
	}
	if err == nil {
		return transport.NewStatus(transport.Delivered, "2.0.0", "Sent")
	}
	if errors.Is(err, errIrregular) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EROFS) {
		log.Warn("file delivery refused", "file", name, "as", as, "err", err)
		return cannotCreate()
	}
	return m.judge(log, name, as, err)
}

// cannotCreate is what sendmail reports for a file that it may not write.
func cannotCreate() transport.Status {
	s := with(transport.NewStatus(transport.Failed, "5.3.0", "Can't create output"), sysexits.CantCreat)
	s.Diagnostic, s.Reply = "x-unix", "73"
	return s
}

// judge is the whole error policy. Full is full; all the rest may look different tomorrow.
func (m *Mbox) judge(log *slog.Logger, name, user string, err error) transport.Status {
	switch {
	case errors.Is(err, errFull) || errors.Is(err, unix.EDQUOT):
		log.Info("mailbox is full", "mailbox", name, "user", user)
		if m.conf.QuotaTemporary {
			return transport.NewStatus(transport.Deferred, "4.2.2", "mailbox is full")
		}
		return with(transport.NewStatus(transport.Failed, "5.2.2", "mailbox is full"), sysexits.CantCreat)
	case errors.Is(err, errLocked):
		log.Info("mailbox is locked", "mailbox", name, "user", user, "err", err)
		return transport.NewStatus(transport.Deferred, "4.2.0", "mailbox is locked")
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return transport.NewStatus(transport.Deferred, "4.3.2", "delivery was interrupted")
	case errors.Is(err, fromline.ErrRead):
		log.Error("queued message not readable", "mailbox", name, "err", err)
		return transport.NewStatus(transport.Deferred, "4.3.0", "the queued message could not be read")
	case errors.Is(err, unix.ENOSPC):
		log.Warn("disk is full", "mailbox", name, "err", err)
		return transport.NewStatus(transport.Deferred, "4.3.1", "the disk that holds the mailbox is full")
	case errors.Is(err, errIrregular):
		log.Warn("mailbox is not a plain file of its owner", "mailbox", name, "user", user, "err", err)
		return transport.NewStatus(transport.Deferred, "4.2.0", "the mailbox is not a plain file of its owner")
	}
	log.Warn("mailbox delivery failed", "mailbox", name, "user", user, "err", err)
	return transport.NewStatus(transport.Deferred, "4.2.0", "the mailbox could not be written")
}

func with(s transport.Status, exit int) transport.Status {
	s.Exit = exit
	return s
}
