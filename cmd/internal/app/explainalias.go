package app

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"waybill/rules"
)

// aliases tells what the aliases make of a local user, as far as they are plain names and addresses. .forward files
// belong to their users and are read only when mail comes.
func (x *addressWhy) aliases(w io.Writer, e rules.Explanation) {
	d := e.Decision
	router := x.router
	aliases, ok := router.Table(router.Settings().Aliases)
	if e.Err != nil || d.Refusal != nil || !ok || !router.Local(d.Mailer) {
		return
	}
	seen := 0
	var follow func(name, indent string, trail []string)
	follow = func(name, indent string, trail []string) {
		user := strings.ToLower(name)
		if slices.Contains(trail, user) {
			fmt.Fprintf(w, "%s  %s again: this is a loop, and mail for it comes back\n", indent, user)
			return
		}
		if seen++; seen > 20 {
			return
		}
		trail = append(slices.Clone(trail), user)
		value, place, found, err := aliases.Entry(context.Background(), user)
		if plain, _, tagged := strings.Cut(user, "+"); !found && err == nil && tagged && plain != "" {
			value, place, found, err = aliases.Entry(context.Background(), plain)
		}
		switch {
		case err != nil:
			fmt.Fprintf(w, "%s  the aliases cannot be asked about %s now: %v\n", indent, user, err)
			return
		case found:
		case !x.known(name) && router.Program().Level == 0:
			if len(trail) > 1 {
				fmt.Fprintf(w, "%s  %s is neither an alias nor a user of this host: mail for it comes back\n", indent, user)
			}
			return
		case len(trail) > 1:
			fmt.Fprintf(w, "%s  %s has no alias: it goes to the mailbox, or where a .forward file says\n", indent, user)
			return
		default:
			fmt.Fprintf(w, "aliases (who that is): none for %s: it goes to the user's mailbox, or where a .forward file says\n", user)
			return
		}
		if len(trail) == 1 {
			fmt.Fprintf(w, "aliases (who that is): %s\n", user)
		}
		if place != "" {
			place = " (" + place + ")"
		}
		fmt.Fprintf(w, "%s  %s is %s%s\n", indent, user, value, place)
		for _, member := range strings.Split(value, ",") {
			member = strings.TrimSpace(member)
			switch {
			case member == "" || strings.ContainsAny(member[:1], `|/\":`):
			case strings.ContainsAny(member, "@!%"):
				m := router.Explain(context.Background(), rules.Query{Recipient: member, Sender: e.Query.Sender})
				fmt.Fprintf(w, "%s    %s %s\n", indent, member, m.Outcome())
				if m.Err == nil && m.Decision.Refusal == nil && router.Local(m.Decision.Mailer) {
					follow(m.Decision.User, indent+"    ", trail)
				}
			default:
				follow(member, indent+"  ", trail)
			}
		}
	}
	follow(d.User, "", nil)
}
