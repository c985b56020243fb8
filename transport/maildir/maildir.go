// Package maildir delivers into Maildir directories (maildir(5)): one file a message, written in tmp, synced, and then
// moved to new, so that it needs no locks and a reader never sees half of it. In flows a Request whose recipients are
// login names; out flows one Status each. The optional quota is Maildir++'s ("maildirsize", read by courier and dovecot).
package maildir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/fromline"
	"waybill/transport/identity"
	"waybill/transport/mbox"
	"waybill/transport/passwd"
	"waybill/transport/sysexits"
)

// Config describes a Maildir transport.
type Config struct {
	// Path is the Maildir of a user: "$home/Maildir", "/var/vmail/$user". Required. It is created where it is missing,
	// but not the directory above it.
	Path string
	// Users says who exists, and with which ids. Nil: every well-formed name, everything as ourselves.
	Users passwd.Source
	// Folder makes "+detail" of an address a folder ".detail", if that exists already.
	Folder bool
	// Quota is how many octets a Maildir may hold after a delivery; 0 is no limit. It is counted from the sizes of the
	// files in all folders, as Maildir++ does, Trash left out.
	Quota          int64
	QuotaTemporary bool // full is 4.2.2 instead of 5.2.2
	NoReturnPath   bool // leaves the Return-Path field out
}

// Maildir is a Transport. It is safe for concurrent use.
type Maildir struct {
	conf Config
	path *mbox.Path
	seq  atomic.Uint64
}

// New checks the configuration.
func New(c Config) (*Maildir, error) {
	path, err := mbox.ParsePath(c.Path)
	if err != nil {
		return nil, fmt.Errorf("maildir: path %q: %w", c.Path, err)
	}
	if c.Quota < 0 {
		return nil, fmt.Errorf("maildir: quota %d is negative", c.Quota)
	}
	return &Maildir{conf: c, path: path}, nil
}

// Deliver writes one file for every recipient.
func (m *Maildir) Deliver(ctx context.Context, req *transport.Request) []transport.Status {
	statuses := make([]transport.Status, len(req.Recipients))
	for i, rcpt := range req.Recipients {
		statuses[i] = m.one(ctx, req, rcpt)
	}
	return statuses
}

var (
	errFull   = errors.New("mailbox is full")
	errNotDir = errors.New("not a directory of its owner")
)

func (m *Maildir) one(ctx context.Context, req *transport.Request, rcpt transport.Recipient) transport.Status {
	log := req.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if rcpt.Orig.Command != "" || rcpt.Orig.File != "" {
		return transport.NewStatus(transport.Failed, "5.3.5", "a Maildir is no program and no file")
	}
	unknown := transport.NewStatus(transport.Failed, "5.1.1", "user unknown")
	unknown.Exit = sysexits.NoUser
	if !mbox.ValidName(rcpt.User) {
		return unknown
	}
	user := passwd.Entry{UID: -1}
	if m.conf.Users != nil {
		e, found, err := m.conf.Users.Lookup(rcpt.User)
		if err != nil {
			log.Warn("user database not readable", "user", rcpt.User, "err", err)
			return transport.NewStatus(transport.Deferred, "4.3.0", "user database not available")
		}
		if !found {
			return unknown
		}
		user = e
	}
	dir, err := m.path.Expand(rcpt.User, user.Home)
	if err != nil {
		log.Warn("no Maildir path", "user", rcpt.User, "err", err)
		return transport.NewStatus(transport.Deferred, "4.3.5", "the mailbox has no usable path")
	}
	job := job{Maildir: m, ctx: ctx, dir: dir, folder: folder(rcpt.Detail), body: req.Body, owner: -1}
	job.form = fromline.Form{ReturnPath: !m.conf.NoReturnPath, Sender: req.Envelope.Sender, When: time.Now()}
	if user.UID >= 0 && identity.CanChange() {
		job.owner = user.UID
		err = identity.As(identity.ID{UID: user.UID, GID: user.GID, Groups: user.Groups}, job.deliver)
	} else {
		err = job.deliver()
	}
	switch {
	case err == nil:
		return transport.NewStatus(transport.Delivered, "2.0.0", "Sent")
	case errors.Is(err, errFull), errors.Is(err, unix.EDQUOT):
		log.Info("mailbox is full", "maildir", dir)
		if m.conf.QuotaTemporary {
			return transport.NewStatus(transport.Deferred, "4.2.2", "mailbox is full")
		}
		s := transport.NewStatus(transport.Failed, "5.2.2", "mailbox is full")
		s.Exit = sysexits.CantCreat
		return s
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return transport.NewStatus(transport.Deferred, "4.3.2", "delivery was interrupted")
	case errors.Is(err, fromline.ErrRead):
		log.Error("queued message not readable", "err", err)
		return transport.NewStatus(transport.Deferred, "4.3.0", "the queued message could not be read")
	case errors.Is(err, unix.ENOSPC):
		log.Warn("disk is full", "maildir", dir, "err", err)
		return transport.NewStatus(transport.Deferred, "4.3.1", "the disk that holds the mailbox is full")
	}
	log.Warn("Maildir delivery failed", "maildir", dir, "err", err)
	return transport.NewStatus(transport.Deferred, "4.2.0", "the mailbox could not be written")
}

// folder is the Maildir++ name of a detail; empty for one that cannot be a folder.
func folder(detail string) string {
	if detail == "" || len(detail) > 100 || strings.ContainsAny(detail, "/\x00") || strings.HasPrefix(detail, ".") || strings.HasSuffix(detail, ".") || strings.Contains(detail, "..") {
		return ""
	}
	return "." + detail
}

// job is one delivery.
type job struct {
	*Maildir
	ctx    context.Context
	dir    string
	folder string
	body   envelope.Body
	form   fromline.Form
	owner  int // uid that the Maildir must belong to; -1: any
}

// deliver writes tmp/NAME, syncs it, links it to new/NAME, and syncs the directory. A crash leaves at most a file in tmp,
// which readers remove after 36 hours.
func (j *job) deliver() (err error) {
	if err := j.prepare(); err != nil {
		return err
	}
	if err := j.room(j.body.Size()); err != nil {
		return err
	}
	r, err := j.body.Open()
	if err != nil {
		return errors.Join(fromline.ErrRead, err)
	}
	defer r.Close()

	name := j.name()
	tmp := filepath.Join(j.dir, "tmp", name)
	fd, err := unix.Open(tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "create", Path: tmp, Err: err}
	}
	f := os.NewFile(uintptr(fd), tmp)
	defer os.Remove(tmp)
	defer f.Close()
	w := &counter{w: f, ctx: j.ctx}
	if err := j.form.Copy(w, r); err != nil {
		return err
	}
	if j.body.Size() < 0 { // only now known
		if err := j.room(w.n); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return &os.PathError{Op: "fsync", Path: tmp, Err: err}
	}
	// S= is the size without a stat, as courier and dovecot write it
	final := filepath.Join(j.dir, "new", name+",S="+strconv.FormatInt(w.n, 10))
	if err := unix.Link(tmp, final); err != nil {
		if err != unix.EPERM && err != unix.EOPNOTSUPP {
			return &os.LinkError{Op: "link", Old: tmp, New: final, Err: err}
		}
		if err := os.Rename(tmp, final); err != nil { // a file system without hard links
			return err
		}
	}
	return syncDir(filepath.Join(j.dir, "new"))
}

// prepare makes sure of the three directories, of the folder if there is one, and that all of them belong to the user.
func (j *job) prepare() error {
	if j.conf.Folder && j.folder != "" {
		if info, err := os.Lstat(filepath.Join(j.dir, j.folder, "new")); err == nil && info.IsDir() {
			j.dir = filepath.Join(j.dir, j.folder)
		}
	}
	for _, sub := range []string{"", "tmp", "new", "cur"} {
		dir := filepath.Join(j.dir, sub)
		var st unix.Stat_t
		err := unix.Lstat(dir, &st)
		if err == unix.ENOENT {
			if err := unix.Mkdir(dir, 0o700); err != nil && err != unix.EEXIST {
				return &os.PathError{Op: "mkdir", Path: dir, Err: err}
			}
			if err := syncDir(filepath.Dir(dir)); err != nil {
				return err
			}
			err = unix.Lstat(dir, &st)
		}
		if err != nil {
			return &os.PathError{Op: "lstat", Path: dir, Err: err}
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR || j.owner >= 0 && int(st.Uid) != j.owner {
			return fmt.Errorf("%w: %s (mode %o, uid %d)", errNotDir, dir, st.Mode, st.Uid)
		}
	}
	return nil
}

// name is unique in the world: time, process and a count, host (maildir(5)).
func (j *job) name() string {
	now := time.Now()
	host, _ := os.Hostname()
	host = strings.NewReplacer("/", `\057`, ":", `\072`, ",", `\054`).Replace(host)
	return fmt.Sprintf("%d.M%06dP%dQ%d.%s", now.Unix(), now.Nanosecond()/1000, os.Getpid(), j.seq.Add(1), host)
}

// room says errFull when n more octets are too many.
func (j *job) room(n int64) error {
	if j.conf.Quota == 0 {
		return nil
	}
	used, err := usage(j.root())
	if err != nil {
		return err
	}
	if used+max(n, 0) > j.conf.Quota {
		return errFull
	}
	return nil
}

// root is the Maildir that a folder belongs to.
func (j *job) root() string {
	if strings.HasPrefix(filepath.Base(j.dir), ".") && j.conf.Folder {
		return filepath.Dir(j.dir)
	}
	return j.dir
}

// usage adds up the messages of a Maildir and of its folders; those in .Trash do not count (Maildir++).
func usage(root string) (int64, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return 0, err
	}
	dirs := []string{root}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), ".") && e.Name() != ".Trash" {
			dirs = append(dirs, filepath.Join(root, e.Name()))
		}
	}
	var total int64
	for _, dir := range dirs {
		for _, sub := range []string{"new", "cur"} {
			entries, err := os.ReadDir(filepath.Join(dir, sub))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return 0, err
			}
			for _, e := range entries {
				total += size(e)
			}
		}
	}
	return total, nil
}

func size(e os.DirEntry) int64 {
	if _, rest, ok := strings.Cut(e.Name(), ",S="); ok {
		digits, _, _ := strings.Cut(rest, ":")
		digits, _, _ = strings.Cut(digits, ",")
		if n, err := strconv.ParseInt(digits, 10, 64); err == nil && n >= 0 {
			return n
		}
	}
	info, err := e.Info()
	if err != nil { // read and moved meanwhile
		return 0
	}
	return info.Size()
}

// counter counts what is written and stops when the context ends.
type counter struct {
	w   io.Writer
	ctx context.Context
	n   int64
}

func (c *counter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		if errors.Is(err, unix.EACCES) { // may be searched but not read
			return nil
		}
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return &os.PathError{Op: "fsync", Path: dir, Err: err}
	}
	return nil
}
