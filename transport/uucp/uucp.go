// Package uucp hands messages to UUCP: it writes jobs into the spool directory that uucico reads, in the layout of Taylor
// UUCP 1.07 ("The Spool Directory Layout" and "UUCP Protocol Commands" in its manual) or of BNU. A Request for a
// neighbouring site flows in; a data file, an execution file and a command file flow out. It also holds the other
// end: Rmail reads what uuxqt hands to rmail, and Batch reads and writes batched SMTP for rsmtp.
//
// A job is three files: D.* with the message, X.* (below D.X/) that says which command to run there with that message,
// and C.* that tells uucico to send both. The first two mean nothing until the third is there, and the third
// appears by link(2), complete and synced: a crash leaves the whole job or none of it. Relayed is said after
// that, and after the sync of every directory involved. The text of the command file is written first, aside, as a
// plan: what a crash leaves of a job is found by its plan and removed (sweep.go).
//
// The name of a site comes from the configuration or from Taylor's sys file; one that is in neither is never a path. A
// user name never becomes an option or a metacharacter: see quoteUser.
package uucp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"waybill/transport"
	"waybill/transport/fromline"
	"waybill/transport/identity"
	"waybill/transport/passwd"
	"waybill/transport/sysexits"
)

// Config describes a UUCP transport.
type Config struct {
	Spool string // the spool directory: "/var/spool/uucp". Required
	Node  string // our UUCP node name. Required
	// Sites are the neighbours. SysFile, if set, is a Taylor "sys" file whose "system" and "alias" lines are added; it
	// is read again for each delivery.
	Sites   []string
	SysFile string
	Layout  Layout // of the spool
	// Uux is the absolute path of a uux that makes the jobs, with Options before all others (nil: "-r"). Spool is then only
	// synced. Empty: we write the spool ourselves.
	Uux     string
	Options []string
	Grade   byte   // 0-9 A-Z a-z, from urgent to not; 0 means 'C'
	Command string // what runs there; empty: "rmail", or "rsmtp" for batches
	// Batch sends batched SMTP (RFC 2442's form of it, LF line ends) instead of a message and a command line with users.
	Batch bool
	// Login is who the job belongs to in the files; empty: "daemon".
	Login string
	// Owner is the login name whose files uucico can use; as root the job is written with its rights. Empty: whoever owns
	// the spool directory.
	Owner   string
	Users   passwd.Source // to find Owner
	Address AddressForm   // how addresses look at the other end
	Host    string        // our domain, for addresses without one
	Local   []string      // more domains that are ours: their users are sent as plain names in paths
	// Quoting allows user names with blanks and other special characters, by the Q and E lines of execution files that
	// Taylor UUCP 1.07 understands at the other end. Without it such names are refused.
	Quoting bool
	// MaxCommand is how long the command line may be, in octets; 0 means 900. More users make more jobs.
	MaxCommand int
	// MaxSize is the largest message for a site, in octets; names in lower case; "" stands for all others. No entry is no limit.
	MaxSize map[string]int64
	Now     func() time.Time // the clock of the From line; nil means time.Now
}

// Layout is how a spool directory is arranged.
type Layout uint8

const (
	Taylor Layout = iota // SITE/C./C.gID, SITE/D./D.NNNN, SITE/D.X/D.XNNNN, SITE/SEQF
	BNU                  // SITE/C.siteGNNNN, SITE/D.siteNNNNxxx, .Sequence/SITE (HoneyDanBer)
	Drop                 // SITE/ID.bsmtp and nothing else: batches in directories, for any store-and-forward carrier
)

// UUCP is a Transport. It is safe for concurrent use, also beside uux and uucico.
type UUCP struct {
	conf Config
	step func(name string) // tests look in here, and kill us

	sweepAge time.Duration // how old what is left over must be
	swept    atomic.Int64  // when it was last looked for, Unix seconds
}

// New checks the configuration.
func New(c Config) (*UUCP, error) {
	if !filepath.IsAbs(c.Spool) {
		return nil, fmt.Errorf("uucp: spool %q is not an absolute path", c.Spool)
	}
	if !validSite(c.Node) {
		return nil, fmt.Errorf("uucp: %q cannot be a node name", c.Node)
	}
	for _, s := range c.Sites {
		if !validSite(s) {
			return nil, fmt.Errorf("uucp: %q cannot be a site name", s)
		}
	}
	if c.Grade == 0 {
		c.Grade = 'C'
	}
	if !strings.ContainsRune(digits+"abcdefghijklmnopqrstuvwxyz", rune(c.Grade)) {
		return nil, fmt.Errorf("uucp: grade %q is not a digit or letter", c.Grade)
	}
	if c.Command == "" {
		c.Command = "rmail"
		if c.Batch {
			c.Command = "rsmtp"
		}
	}
	if !plainWord(c.Command) || c.Command[0] == '-' {
		return nil, fmt.Errorf("uucp: command %q is not a plain word", c.Command)
	}
	if c.Batch && c.Address != FormBang {
		return nil, errors.New("uucp: batches have the addresses of SMTP, and no other form")
	}
	if c.Layout == Drop && !c.Batch {
		return nil, errors.New("uucp: only batches can be dropped into a directory")
	}
	if c.Uux != "" && !filepath.IsAbs(c.Uux) {
		return nil, fmt.Errorf("uucp: uux %q is not an absolute path", c.Uux)
	}
	if err := c.checkUux(); err != nil {
		return nil, err
	}
	if c.Login == "" {
		c.Login = "daemon"
	}
	if !plainWord(c.Login) {
		return nil, fmt.Errorf("uucp: login %q is not a plain word", c.Login)
	}
	if c.Owner != "" && c.Users == nil {
		return nil, fmt.Errorf("uucp: no user database to find %s in", c.Owner)
	}
	if c.MaxCommand == 0 {
		c.MaxCommand = 900
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &UUCP{conf: c, sweepAge: time.Minute}, nil
}

// validSite reports whether s may be a directory and a word in files of the spool.
func validSite(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !alnum(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// plainWord reports whether every shell and every uuxqt takes s for one word that means itself.
func plainWord(s string) bool {
	if s == "" {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !alnum(s[i]) && strings.IndexByte("!%@._+-=:/,", s[i]) < 0 {
			return false
		}
	}
	return true
}

// Deliver writes one job, or several where the users do not fit one command line.
func (t *UUCP) Deliver(ctx context.Context, req *transport.Request) []transport.Status {
	log := req.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	n := len(req.Recipients)
	site := strings.ToLower(req.Host)
	sites, err := t.sites()
	if err != nil {
		log.Warn("list of UUCP neighbours not readable", "err", err)
		return transport.All(n, transport.NewStatus(transport.Deferred, "4.3.0", "the list of UUCP neighbours is not available"))
	}
	at := slices.IndexFunc(sites, func(s string) bool { return strings.EqualFold(s, site) })
	if at < 0 {
		return transport.All(n, unknownSite(sites))
	}
	site = sites[at]
	limit, limited := t.conf.MaxSize[strings.ToLower(site)]
	if !limited {
		limit = t.conf.MaxSize[""]
	}
	if limit > 0 && req.Body.Size() > limit {
		return transport.All(n, transport.NewStatus(transport.Failed, "5.3.4", fmt.Sprintf("%s takes messages of at most %d octets", site, limit)))
	}
	if req, err = t.readdressed(ctx, site, req); err != nil {
		return transport.All(n, t.status(log, site, errors.Join(fromline.ErrRead, err)))
	}
	t.sweep(log)
	statuses := make([]transport.Status, n)
	var jobs []job
	for i, rcpt := range req.Recipients {
		rcpt.User = t.user(rcpt)
		word, quoted, err := t.quoteUser(site, rcpt)
		if err != nil {
			log.Info("user name cannot travel by UUCP", "site", site, "err", err)
			statuses[i] = transport.NewStatus(transport.Failed, "5.1.3", "this address cannot be sent by UUCP: "+err.Error())
			continue
		}
		if last := len(jobs) - 1; last >= 0 && t.conf.Address != FormOld && (t.conf.Batch || jobs[last].length+1+len(word) <= t.conf.MaxCommand) {
			jobs[last].add(i, word, quoted)
			continue
		}
		j := job{UUCP: t, site: site, req: req, limit: limit, length: len(t.conf.Command)}
		j.add(i, word, quoted)
		jobs = append(jobs, j)
	}
	for _, j := range jobs {
		var err error
		if t.conf.Uux != "" {
			err = j.uux(ctx)
		} else {
			err = t.as(func() error { return j.write(ctx) })
		}
		s := t.status(log, site, err)
		for _, i := range j.users {
			statuses[i] = s
		}
	}
	return statuses
}

// status is the error policy: the spool is ours, so every failure of it is temporary.
func (t *UUCP) status(log *slog.Logger, site string, err error) transport.Status {
	var uux *uuxError
	switch {
	case errors.As(err, &uux):
		return uuxStatus(log, site, uux)
	case err == nil:
		return transport.NewStatus(transport.Relayed, "2.0.0", "queued for UUCP site "+site)
	case errors.Is(err, errTooBig):
		return transport.NewStatus(transport.Failed, "5.3.4", "the message is too large for "+site)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return transport.NewStatus(transport.Deferred, "4.3.2", "delivery was interrupted")
	case errors.Is(err, fromline.ErrRead):
		log.Error("queued message not readable", "err", err)
		return transport.NewStatus(transport.Deferred, "4.3.0", "the queued message could not be read")
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		log.Warn("UUCP spool is full", "spool", t.conf.Spool, "err", err)
		return transport.NewStatus(transport.Deferred, "4.3.1", "the UUCP spool is full")
	}
	log.Warn("UUCP spool cannot be written", "spool", t.conf.Spool, "site", site, "err", err)
	return transport.NewStatus(transport.Deferred, "4.3.0", "the UUCP spool could not be written")
}

// as works with the rights of the owner of the spool.
func (t *UUCP) as(work func() error) error {
	if !identity.CanChange() {
		return work()
	}
	id, err := t.owner()
	if err != nil {
		return err
	}
	return identity.As(id, work)
}

// owner is whose files jobs are, for a process that may choose.
func (t *UUCP) owner() (identity.ID, error) {
	if t.conf.Owner == "" {
		var st unix.Stat_t
		if err := unix.Stat(t.conf.Spool, &st); err != nil {
			return identity.ID{}, fmt.Errorf("%s: %w", t.conf.Spool, err)
		}
		return identity.ID{UID: int(st.Uid), GID: int(st.Gid)}, nil
	}
	e, found, err := t.conf.Users.Lookup(t.conf.Owner)
	if err != nil {
		return identity.ID{}, err
	}
	if !found {
		return identity.ID{}, fmt.Errorf("user %s does not exist", t.conf.Owner)
	}
	return identity.ID{UID: e.UID, GID: e.GID, Groups: e.Groups}, nil
}

func unknownSite(sites []string) transport.Status {
	text := "unknown UUCP site; there are no neighbours"
	if len(sites) > 0 {
		known, more := sites, ""
		if len(known) > 20 {
			known, more = known[:20], " ..."
		}
		text = "unknown UUCP site; the neighbours are: " + strings.Join(known, " ") + more
	}
	s := transport.NewStatus(transport.Failed, "5.1.2", text)
	s.Exit = sysexits.NoHost
	return s
}

// quoteUser makes the word of the command line that stands for a user. A name that begins with "-" or "~" gets the site
// itself in front, which names the same mailbox and is neither an option nor a directory. Blanks and other special characters are
// written as Taylor's Q line has them, "\040"; quoted reports that this is needed.
func (t *UUCP) quoteUser(site string, rcpt transport.Recipient) (word string, quoted bool, err error) {
	user := rcpt.User
	if rcpt.Orig.Command != "" || rcpt.Orig.File != "" {
		return "", false, errors.New("it is a program or a file")
	}
	if user == "" || len(user) > 512 {
		return "", false, fmt.Errorf("it has %d octets", len(user))
	}
	for i := 0; i < len(user); i++ {
		if user[i] < ' ' || user[i] == 0x7f {
			return "", false, errors.New("it has a control character")
		}
	}
	if user[0] == '-' || user[0] == '~' { // uuxqt makes a home directory of "~root"
		user = site + "!" + user
	}
	if t.conf.Batch {
		if back, _, err := batchPath("TO:<"+user+">", "TO:"); err != nil || back != user {
			return "", false, errors.New("it cannot stand between angle brackets")
		}
		return user, false, nil
	}
	if plainWord(user) {
		return user, false, nil
	}
	if !t.conf.Quoting {
		return "", false, errors.New("it has characters that a command line there could misread")
	}
	return octal(user), true, nil
}

// octal quotes as the Q line of execution files wants it.
func octal(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; plainWord(s[i : i+1]) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\%03o`, c)
		}
	}
	return b.String()
}

// sites is the list of neighbours.
func (t *UUCP) sites() ([]string, error) {
	sites := slices.Clone(t.conf.Sites)
	if t.conf.SysFile != "" {
		more, err := readSysFile(t.conf.SysFile)
		if err != nil {
			return nil, err
		}
		sites = append(sites, more...)
	}
	return sites, nil
}

// parseSysFile finds the systems of a Taylor sys file: lines "system NAME" and "alias NAME", "#" begins a comment.
func parseSysFile(text []byte) []string {
	var sites []string
	for line := range bytes.Lines(text) {
		line, _, _ = bytes.Cut(line, []byte("#"))
		field := bytes.Fields(line)
		if len(field) != 2 || string(field[0]) != "system" && string(field[0]) != "alias" {
			continue
		}
		if name := string(field[1]); validSite(name) && !slices.Contains(sites, name) {
			sites = append(sites, name)
		}
	}
	return sites
}
