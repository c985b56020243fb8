package expand

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// Sendmail has what sendmail does otherwise with aliases(5) and forward(5).
type Sendmail struct {
	// Default is the login name of DefaultUser, who reads the :include: files of aliases; empty: we do.
	Default string
	// MatchGECOS finds users by their full names.
	MatchGECOS bool
	// Database is the user database, asked where no alias is; nil: there is none.
	Database UserDatabase
	// Safe tells why a file is not read, and whether programs and files may be used that stand in one that is.
	Safe func(ListFile) (why error, mayRun bool)
}

// ListFile is a .forward or :include: file that somebody wants to read.
type ListFile struct {
	Path     string
	Forward  bool         // a user's own
	Opened   *unix.Stat_t // nil: it could not be opened
	UID, GID int          // with whose rights it is read
	Groups   []int
}

// UserDatabase knows who has his mail sent elsewhere, and whose mail gets another sender on the way; package table has one.
type UserDatabase interface {
	Drops(user string) (drops []string, sender string, err error)
}

// fromDatabase takes a user to his entries in the user database.
func (x *Expander) fromDatabase(ctx context.Context, name string, u User) (r Result, found bool, err error) {
	drops, sender, err := x.conf.Sendmail.Database.Drops(name)
	if err != nil || len(drops) == 0 {
		return Result{}, false, err
	}
	if u.Depth >= x.conf.MaxDepth {
		return refusal("5.4.6", fmt.Sprintf("aliasing/forwarding loop broken (%d aliases deep; %d max)", u.Depth+1, x.conf.MaxDepth), sysexits.Usage), true, nil
	}
	list := strings.Join(drops, ",")
	items, odd, err := x.parse(list)
	if err != nil {
		return Result{}, false, fmt.Errorf("user database: %s: %w", name, err)
	}
	r = Result{Source: "the user database", Odd: odd, Told: []string{name + "... expanded to " + list}}
	in := including{x: x, self: strings.ToLower(name), selfStage: StageListed, told: &r.Told, odd: &r.Odd}
	if r.Members, err = in.members(items, nil); err != nil {
		return Result{}, false, fmt.Errorf("user database: %s: %w", name, err)
	}
	if len(r.Members) == 0 {
		return broken(), true, nil
	}
	r.Members, err = x.twiceUnknown(r.Members, name)
	r.Owner, r.HasOwner = envelope.Address(sender), sender != ""
	return r, true, err
}

// parse reads a list. sendmail complains about one that is not well formed, and uses what it understands.
func (x *Expander) parse(text string) (items []Item, odd []string, err error) {
	if x.conf.Sendmail == nil {
		items, err = ParseList(text)
		return items, nil, err
	}
	if items, err = parseList(text, true); err != nil {
		complaint := ""
		if _, what, ok := strings.Cut(err.Error(), "unbalanced "); ok && len(what) == len(`"x"`) {
			complaint = strings.TrimSpace(text) + "... Unbalanced '" + what[1:2] + "'"
		}
		odd = append(odd, complaint)
		items, err = parseList(mended(text), true)
	}
	return items, odd, err
}

// mended leaves out the marks that have no partner; a quote without one makes the rest a name.
func mended(text string) string {
	var b strings.Builder
	quoted, comment, angle := false, 0, strings.Count(text, ">")
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && i+1 < len(text):
			if comment == 0 {
				b.WriteString(text[i : i+2])
			}
			i++
			continue
		case comment > 0:
			switch c {
			case '(':
				comment++
			case ')':
				comment--
			}
			continue
		case c == '"' && !quoted && !strings.ContainsAny(text[i+1:], "\"\\ ,:;<>()@|/"): // "carol is carol
			return b.String() + text[i+1:]
		case c == '"' && !quoted && !strings.Contains(text[i+1:], `"`):
			return b.String() + `"\` + text[i:] + `"`
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(':
			comment++
			continue
		case c == ')', c == '<' && angle == 0:
			continue
		case c == '>':
			if angle--; strings.Count(b.String(), "<") <= strings.Count(b.String(), ">") {
				continue
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

// cycle answers for a name that leads back to itself: sendmail looks for somebody on the way who has a mailbox, from the
// last name to the first.
func (x *Expander) cycle(ctx context.Context, name string, u User) (Result, error) {
	trail := u.Trail
	at := slices.IndexFunc(trail, func(t string) bool { return strings.EqualFold(dequote(t), name) })
	way := slices.Clone(trail[at+1:])
	slices.Reverse(way)
	for _, candidate := range append([]string{name}, way...) {
		e, _, found, err := x.user(candidate)
		if err != nil {
			return Result{}, err
		}
		if !found {
			continue
		}
		stage := StageFinal // its .forward file brought us here
		if _, _, aliased, err := x.alias(ctx, candidate); err != nil {
			return Result{}, err
		} else if aliased {
			stage = StageNoAlias
		}
		to := envelope.Address(e.Name)
		if candidate == name && u.Detail != "" { // bob stands for bob+x
			to = envelope.Address(name + u.Detail)
		}
		return Result{Members: []Member{{Addr: to, Stage: stage}}, Source: "a loop"}, nil
	}
	return broken(), nil
}

// twiceUnknown has a list that names itself and nobody of that name is here: sendmail reports it twice.
func (x *Expander) twiceUnknown(members []Member, self string) ([]Member, error) {
	own := slices.IndexFunc(members, func(m Member) bool { return m.Stage == StageNoAlias || m.Stage == StageListed })
	if own < 0 {
		return members, nil
	}
	if _, _, found, err := x.user(self); found || err != nil {
		return members, err
	}
	return slices.Insert(members, own, members[own]), nil
}

func onlyOnce(trail []string, name string) bool {
	n := 0
	for _, t := range trail {
		if sameName(t, name) {
			n++
		}
	}
	return n == 1
}
