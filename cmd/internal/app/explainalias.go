package app

import (
	"context"
	"fmt"
	"io"
	"strings"

	"waybill/rules"
)

// explainAliases tells what the aliases make of a local user, as far as they are plain names and addresses. .forward
// files belong to their users and are read only when mail comes.
func explainAliases(w io.Writer, router *rules.Router, e rules.Explanation) {
	d := e.Decision
	aliases, ok := router.Table(router.Settings().Aliases)
	if e.Err != nil || d.Refusal != nil || !ok || !router.Local(d.Mailer) {
		return
	}
	seen := map[string]bool{}
	var follow func(name, indent string)
	follow = func(name, indent string) {
		user := strings.ToLower(name)
		if seen[user] || len(seen) > 20 {
			return
		}
		seen[user] = true
		value, place, found, err := aliases.Entry(context.Background(), user)
		if plain, _, tagged := strings.Cut(user, "+"); !found && err == nil && tagged && plain != "" {
			value, place, found, err = aliases.Entry(context.Background(), plain)
		}
		switch {
		case err != nil:
			fmt.Fprintf(w, "%s  the aliases cannot be asked about %s now: %v\n", indent, user, err)
			return
		case !found:
			if len(seen) > 1 {
				fmt.Fprintf(w, "%s  %s has no alias: it goes to the mailbox, or where a .forward file says\n", indent, user)
			}
			return
		}
		if len(seen) == 1 {
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
				x := router.Explain(context.Background(), rules.Query{Recipient: member, Sender: e.Query.Sender})
				fmt.Fprintf(w, "%s    %s %s\n", indent, member, x.Outcome())
				if x.Err == nil && x.Decision.Refusal == nil && router.Local(x.Decision.Mailer) {
					follow(x.Decision.User, indent+"    ")
				}
			default:
				follow(member, indent+"  ")
			}
		}
	}
	follow(d.User, "")
}
