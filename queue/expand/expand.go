// Package expand takes one step from a local name towards a mailbox: aliases, then the user database, then the user's
// .forward file. A name flows in; out flows what it stands for, or the mailbox, or "unknown", or an error, which
// means "not now". Whoever calls it (package queue) routes the members and comes back with those that are local
// again. It reads the list format of aliases(5) and forward(5), :include: files and passwd(5).
//
// The order is sendmail's: the aliases user+detail, user+*, user; the special names postmaster and mailer-daemon,
// which always exist; the login name; .forward; the mailbox.
//
// Files of users (.forward, and what it includes) are read with the rights of that user, so that nobody makes us
// read what he may not read himself.
package expand

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/passwd"
	"waybill/transport/sysexits"
)

// Aliases is a table of aliases: keys are names in lower case, values are lists.
type Aliases interface {
	Lookup(ctx context.Context, key string) (value string, found bool, err error)
}

// Config describes how local names are expanded.
type Config struct {
	Aliases Aliases       // nil: there are none
	Users   passwd.Source // who has a mailbox; required
	// Forward are the files that a user may redirect mail with, the first that exists counts: "$home/.forward+$detail",
	// "$home/.forward". $home, $user, $host and $detail (also as $z, $u, $w, $h) are replaced. A path with $detail is
	// passed over when the address has none. Empty: no .forward files.
	Forward []string
	// Host is $host of Forward: the host's name.
	Host string
	// Postmaster gets the mail of postmaster and mailer-daemon where no alias says otherwise; empty: "root".
	Postmaster string
	// Shells is a file in the format of shells(5): who has another login shell may not start programs or write files
	// from .forward. Empty: /etc/shells. A line "/SENDMAIL/ANY/SHELL/" allows every shell.
	Shells string
	// MaxDepth is how many steps may lead from an address to a mailbox; 0 means 10 (sendmail's MaxAliasRecursion).
	MaxDepth int
	// LastFirst has the lines of .forward and :include: files in reverse: whoever takes the members of a list from the last
	// to the first, as sendmail does, gets the lines in their order.
	LastFirst bool
	// Sendmail, if not nil, has the ways of sendmail where ours are others, for a site with a sendmail.cf.
	Sendmail *Sendmail
	Log      *slog.Logger // nil: silent
}

// Expander takes the steps. It is safe for concurrent use.
type Expander struct {
	conf    Config
	missing map[string]bool // files of users that were not there, for one caller; nil: they are looked for each time
}

// Steady returns an Expander for one caller with many names, by whom nobody can be seen coming or going in between: it
// asks users, and looks once only for a file that is not there. It is not safe for concurrent use.
func (x *Expander) Steady(users passwd.Source) *Expander {
	conf := x.conf
	conf.Users = users
	return &Expander{conf: conf, missing: map[string]bool{}}
}

// New checks the configuration.
func New(c Config) (*Expander, error) {
	if c.Users == nil {
		return nil, errors.New("expand: no user database")
	}
	for _, p := range c.Forward {
		if !strings.HasPrefix(p, "/") && !strings.HasPrefix(p, "$home/") && !strings.HasPrefix(p, "$z/") {
			return nil, fmt.Errorf("expand: forward file %q is not absolute", p)
		}
	}
	if c.Postmaster == "" {
		c.Postmaster = "root"
	}
	if c.Shells == "" {
		c.Shells = "/etc/shells"
	}
	if c.MaxDepth == 0 {
		c.MaxDepth = 10
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Expander{conf: c}, nil
}

// The stages of a member: which steps are not taken again for it.
const (
	StageAll     = ""        // every step
	StageNoAlias = "noalias" // it came from an alias of its own name: .forward, then the mailbox
	StageListed  = "listed"  // it came from its own entry in the user database: .forward, then the mailbox
	StageFinal   = "final"   // "\bob", or bob in his own .forward file: the mailbox
)

// NoAlias before a name means StageNoAlias, as one backslash means StageFinal: what sendmail -n asks for.
const NoAlias = envelope.NoAlias

// User is the question.
type User struct {
	Name  string   // with its "+detail"; an initial backslash means StageFinal
	Stage string   // of the Member that it came from; StageAll for a recipient of the envelope
	Depth int      // steps taken before
	Trail []string // the names that led here, the oldest first
	// Detail is what stood behind Name, with its "+", where the rules have told it apart (Config.Sendmail).
	Detail string
}

// Member is one of those that a name stands for. Exactly one of Addr, Command, File and Refused is set.
type Member struct {
	Addr    envelope.Address
	Command envelope.Command
	File    envelope.FileName
	As      string // login name with whose rights Command or File is used; empty: the configured default, also for root's lists
	Stage   string
	// Refused is set for an entry that may not be used (a program without a login shell, an unreadable :include: file);
	// Name is that entry, for the report.
	Refused *transport.Status
	Name    string
	Where   string // "FILE: line N" of an Addr in a .forward or :include: file, for reports
	From    string // ":include:FILE" that named it; empty: the list itself
}

// Result is the answer. Exactly one of Mailbox, Members and Status is set.
type Result struct {
	Mailbox  string // login name whose mailbox it is
	Detail   string
	Members  []Member
	Owner    envelope.Address // with HasOwner: the sender of what goes to the members
	HasOwner bool
	Source   string // where the members come from: "alias list", a path; for people
	Status   *transport.Status
	Told     []string // with Members, and Config.Sendmail: how sendmail -v tells of them
	Odd      []string // with Members: what is not well formed in the list, of which is used what was understood; an empty one has no words
	Loop     bool     // with Status: it leads back to where it came from; nobody is missing where others are left
}

// Expand takes one step.
func (x *Expander) Expand(ctx context.Context, u User) (Result, error) {
	name, stage := u.Name, u.Stage
	if rest, plain := strings.CutPrefix(name, NoAlias); plain {
		name, stage = rest, StageNoAlias
	} else if rest, literal := strings.CutPrefix(name, `\`); literal {
		name, stage = rest, StageFinal
	}
	name = dequote(name)
	if name == "" || len(name) > 256 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return unknown(), nil
	}
	again := slices.ContainsFunc(u.Trail, func(t string) bool { return sameName(t, name) })
	loop := slices.ContainsFunc(u.Trail, func(t string) bool { return strings.EqualFold(dequote(t), name) })
	if stage == StageAll && x.conf.Aliases != nil {
		key, value, found, err := x.alias(ctx, name)
		if err != nil {
			return Result{}, err
		}
		switch {
		case found && loop && x.conf.Sendmail != nil:
			return x.cycle(ctx, name, u)
		case found && u.Depth >= x.conf.MaxDepth && x.conf.Sendmail != nil:
			return refusal("5.4.6", fmt.Sprintf("aliasing/forwarding loop broken (%d aliases deep; %d max)", u.Depth+1, x.conf.MaxDepth), sysexits.Usage), nil
		case found && (loop || u.Depth >= x.conf.MaxDepth):
			return broken(), nil
		case found:
			return x.fromAlias(ctx, key, value)
		}
	}
	if m := x.conf.Sendmail; m != nil && m.Database != nil && (stage == StageNoAlias || stage == StageAll && !lastIs(u.Trail, name)) {
		if r, found, err := x.fromDatabase(ctx, name, u); found || err != nil {
			return r, err
		}
	}
	entry, detail, found, err := x.user(name)
	if err != nil {
		return Result{}, err
	}
	if x.conf.Sendmail != nil {
		if rest, plus := strings.CutPrefix(u.Detail, "+"); plus { // the rules have told it apart
			detail = rest
		}
		if (stage == StageNoAlias || stage == StageListed) && again && onlyOnce(u.Trail, name) {
			again = false // its own alias named it: it is new to its .forward file
		}
	}
	if !found {
		return x.special(name, again)
	}
	// A name that comes round again through .forward files ends in its mailbox, and who sends it round keeps a copy: two
	// users who forward to each other both get it, as with sendmail.
	if stage != StageFinal && !again && u.Depth < x.conf.MaxDepth {
		r := Result{}
		members, source, err := x.forward(entry, detail, &r)
		if err != nil {
			return Result{}, err
		}
		if len(members) > 0 {
			r.Members, r.Source = x.keepCopy(members, entry.Name, u.Trail, x.conf.LastFirst), source
			return r, nil
		}
	}
	return Result{Mailbox: entry.Name, Detail: detail}, nil
}

// keepCopy adds the mailbox of name to the members when one of them is a name through which the message came here.
func (x *Expander) keepCopy(members []Member, name string, trail []string, lastFirst bool) []Member {
	for _, m := range members {
		local := dequote(x.here(string(m.Addr)))
		if m.Stage == StageAll && local != "" && slices.ContainsFunc(trail, func(t string) bool { return sameName(t, local) }) {
			own := Member{Addr: envelope.Address(name), Stage: StageFinal}
			if lastFirst {
				return append([]Member{own}, members...)
			}
			return append(members, own)
		}
	}
	return members
}

// here is an address without the name of this host behind it.
func (x *Expander) here(address string) string {
	if local, domain := envelope.Address(address).Split(); domain != "" && (strings.EqualFold(domain, x.conf.Host) || strings.EqualFold(domain, "localhost")) {
		return local
	}
	return address
}

// alias looks for user+detail, user+*, user; with a sendmail.cf, whose newaliases takes this host's name away, for
// user@host as well.
func (x *Expander) alias(ctx context.Context, name string) (key, value string, found bool, err error) {
	key = strings.ToLower(name)
	keys := []string{key}
	if x.conf.Sendmail != nil { // ruleset 5 takes the detail off
		if x.conf.Host != "" && !strings.Contains(key, "@") {
			keys = append(keys, key+"@"+strings.ToLower(x.conf.Host))
		}
	} else if base, _, plus := strings.Cut(key, "+"); plus && base != "" {
		keys = append(keys, base+"+*", base)
	}
	for _, key := range keys {
		value, found, err := x.conf.Aliases.Lookup(ctx, key)
		if err != nil {
			return "", "", false, fmt.Errorf("alias %s: %w", key, err)
		}
		if found && x.conf.Sendmail != nil {
			return keys[0], value, true, nil
		}
		if found {
			return key, value, true, nil
		}
	}
	return "", "", false, nil
}

func (x *Expander) fromAlias(ctx context.Context, key, value string) (Result, error) {
	items, odd, err := x.parse(value)
	if err != nil {
		return Result{}, fmt.Errorf("alias %s: %w", key, err)
	}
	r := Result{Source: "alias " + key, Odd: odd}
	in := including{x: x, self: key, selfStage: StageNoAlias, told: &r.Told, odd: &r.Odd}
	if x.conf.Sendmail != nil {
		r.Told = []string{key + "... aliased to " + value}
	}
	if r.Members, err = in.members(items, nil); err != nil {
		return Result{}, fmt.Errorf("alias %s: %w", key, err)
	}
	if len(items) == 0 && x.conf.Sendmail != nil && strings.TrimSpace(value) != "" { // comments
		return broken(), nil
	}
	if len(items) == 0 {
		return unknown(), nil
	}
	if len(r.Members) == 0 { // an empty :include: file
		return broken(), nil
	}
	if x.conf.Sendmail != nil {
		if r.Members, err = x.twiceUnknown(r.Members, key); err != nil {
			return Result{}, err
		}
	}
	r.Owner, r.HasOwner, err = x.owner(ctx, key)
	return r, err
}

// owner finds the sender for what goes to the members of list: the alias owner-list, or what that stands for if it is
// one address (sendmail(8), "owner-"). Owners of owners and of request addresses would make bounces bounce.
func (x *Expander) owner(ctx context.Context, list string) (envelope.Address, bool, error) {
	owner := "owner-" + list
	switch outside := strings.HasPrefix(list, "owner-"); {
	case outside && x.conf.Sendmail != nil:
		owner = "owner-owner"
	case outside || strings.HasSuffix(list, "-request") && x.conf.Sendmail == nil:
		return "", false, nil
	}
	value, found, err := x.conf.Aliases.Lookup(ctx, owner)
	if err != nil {
		return "", false, fmt.Errorf("alias %s: %w", owner, err)
	}
	if !found {
		return "", false, nil
	}
	if items, _, err := x.parse(value); err == nil && len(items) == 1 && items[0].Addr != "" {
		return items[0].Addr, true, nil
	}
	return envelope.Address(owner), true, nil
}

// user looks the login name up: as it is, in lower case, then both without the detail.
func (x *Expander) user(name string) (e passwd.Entry, detail string, found bool, err error) {
	base, detail, plus := strings.Cut(name, "+")
	try := [...]struct{ name, detail string }{{name, ""}, {strings.ToLower(name), ""}, {base, detail}, {strings.ToLower(base), detail}}
	n := 2
	if plus && base != "" && x.conf.Sendmail == nil {
		n = 4
	}
	for i, t := range try[:n] {
		if i&1 == 1 && t.name == try[i-1].name {
			continue
		}
		e, found, err := x.conf.Users.Lookup(t.name)
		if err != nil {
			return passwd.Entry{}, "", false, fmt.Errorf("user %s: %w", t.name, err)
		}
		if found {
			e.Name = t.name
			return e, t.detail, true, nil
		}
	}
	if m := x.conf.Sendmail; m != nil && m.MatchGECOS && strings.ContainsAny(name, "._") {
		if users, ok := x.conf.Users.(interface {
			ByFullName(name string) (passwd.Entry, bool, error)
		}); ok {
			return withoutDetail(users.ByFullName(strings.NewReplacer(".", " ", "_", " ").Replace(name)))
		}
	}
	return passwd.Entry{}, "", false, nil
}

// lastIs reports whether the name itself led here last, as when its entry has the name of this host behind it.
func lastIs(trail []string, name string) bool {
	return len(trail) > 0 && strings.EqualFold(dequote(trail[len(trail)-1]), name)
}

func withoutDetail(e passwd.Entry, found bool, err error) (passwd.Entry, string, bool, error) {
	return e, "", found, err
}

// special answers for the names that must exist (RFC 5321 4.5.1), and says no to all others.
func (x *Expander) special(name string, again bool) (Result, error) {
	to := ""
	switch base, _, _ := strings.Cut(strings.ToLower(name), "+"); {
	case base == "mailer-daemon" && x.conf.Sendmail != nil: // sendmail leaves it to the aliases
	case base == "mailer-daemon":
		to = "postmaster"
	case base == "postmaster" && !strings.EqualFold(x.conf.Postmaster, "postmaster"):
		to = x.conf.Postmaster
	case base == strings.ToLower(x.conf.Postmaster):
		return Result{}, fmt.Errorf("the postmaster's mail goes to %s, who does not exist", x.conf.Postmaster)
	}
	if to == "" || again {
		return unknown(), nil
	}
	return Result{Members: []Member{{Addr: envelope.Address(to)}}, Source: "the duty to have a postmaster"}, nil
}

// broken is a list that leads nowhere but to itself.
func broken() Result {
	r := refusal("5.4.6", "aliasing/forwarding loop broken", sysexits.Usage)
	r.Loop = true
	return r
}

func unknown() Result { return refusal("5.1.1", "user unknown", sysexits.NoUser) }

func refusal(code, text string, exit int) Result {
	s := transport.NewStatus(transport.Failed, code, text)
	s.Exit = exit
	return Result{Status: &s}
}

// dequote takes the quotes of a quoted local part away: "bob" and bob are one mailbox.
func dequote(name string) string {
	if inner, whole := unquote(name); whole {
		return inner
	}
	return name
}

// sameName compares two local names without case and detail.
func sameName(a, b string) bool {
	a, _, _ = strings.Cut(dequote(strings.TrimPrefix(a, `\`)), "+")
	b, _, _ = strings.Cut(b, "+")
	return strings.EqualFold(a, b)
}

// validShell reports whether the shell is one of those that users with full access have.
func validShell(shell, file string) (bool, error) {
	if shell == "" {
		shell = "/bin/sh" // passwd(5)
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) { // getusershell(3)
		return shell == "/bin/sh" || shell == "/bin/csh", nil
	}
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" && (line == shell || line == "/SENDMAIL/ANY/SHELL/") {
			return true, nil
		}
	}
	return false, nil
}
