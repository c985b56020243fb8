package app

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"strings"

	"waybill/compat/cf"
	"waybill/rules/eval"
	"waybill/rules/prog"
)

func (nothingResolves) Query(context.Context, string, string) ([]eval.Record, bool, error) {
	return nil, false, nil
}

// addressMaker makes addresses.
type addressMaker struct {
	r              *rand.Rand
	users, domains []string
	whole          []string // keys of tables, as they stand there
	words          []string // words of the rules
}

// addressesFor collects what a configuration knows: members of classes, words of its rules, keys of its tables.
func addressesFor(conf *cf.Config, r *rand.Rand) *addressMaker {
	a := &addressMaker{r: r,
		users: []string{"alice", "bob", "root", "postmaster", "a.b", "x+y", "tag+", "+detail", `"q q"`, "MAILER-DAEMON", "o'neil", "list-request", "very.long.name.of.somebody"},
		domains: []string{"mail.example.org", "localhost", "example.com", "EXAMPLE.com", "sub.example.com", "a.b.c.d.example", "[192.0.2.7]", "[IPv6:2001:db8::1]", "[1.2.3", "host", "site.UUCP",
			"node.BITNET", "vms.DECNET", "x.FAX", "example.com.", "moved.example.REDIRECT", "x..y", ".example.com", "under_score.example", "xn--bcher-kva.example", ""}}
	add := func(w string) {
		w = strings.TrimSpace(w)
		if w == "" || strings.ContainsAny(w, " \t\n\r") || len(w) > 80 {
			return
		}
		if user, domain, ok := strings.Cut(w, "@"); ok {
			a.whole = append(a.whole, w)
			a.users, a.domains = append(a.users, user), append(a.domains, domain)
		} else if strings.Contains(w, ".") {
			a.domains = append(a.domains, strings.TrimPrefix(w, "."), "host."+strings.TrimPrefix(w, "."))
		} else {
			a.users = append(a.users, w)
		}
	}
	var names []string
	for name := range conf.Prog.Classes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, w := range conf.Prog.Classes[name].Words {
			add(w)
		}
	}
	for _, t := range conf.Prog.Tables {
		for _, arg := range t.Args {
			data, err := os.ReadFile(arg)
			if err != nil || len(data) > 1<<20 {
				continue
			}
			for line := range strings.Lines(string(data)) {
				key := line[:max(strings.IndexAny(line, " \t;|\n"), 0)]
				for _, tag := range []string{"From:", "To:", "Connect:"} {
					key = strings.TrimPrefix(key, tag)
				}
				add(key)
			}
		}
	}
	for _, rs := range conf.Prog.Rulesets {
		for _, rule := range rs.Rules {
			for _, t := range append(slices.Clone(rule.LHS), rule.RHS...) {
				if t.Kind == prog.Literal && len(t.Text) > 1 && t.Text[0] != '"' {
					a.words = append(a.words, t.Text)
				}
			}
		}
	}
	return a
}

func (a *addressMaker) pick(list []string) string { return list[a.r.IntN(len(list))] }

func (a *addressMaker) user() string {
	switch u := a.pick(a.users); a.r.IntN(12) {
	case 0:
		return u + "+" + a.pick(a.users)
	case 1:
		return u + "." + a.pick(a.users)
	case 2:
		return strings.ToUpper(u)
	case 3:
		if len(a.words) > 0 {
			return a.pick(a.words)
		}
		return u
	default:
		return u
	}
}

func (a *addressMaker) domain() string {
	switch d := a.pick(a.domains); a.r.IntN(10) {
	case 0:
		return "www." + d
	case 1:
		return strings.ToUpper(d)
	case 2:
		if len(a.words) > 0 {
			return a.pick(a.words) + "." + d
		}
		return d
	default:
		return d
	}
}

// next is one address.
func (a *addressMaker) next() string {
	switch a.r.IntN(24) {
	case 0:
		return a.user()
	case 1:
		return a.user() + "%" + a.domain() + "@" + a.domain()
	case 2:
		return a.pick(a.users) + "!" + a.user()
	case 3:
		return a.domain() + "!" + a.user() + "@" + a.domain()
	case 4:
		return "@" + a.domain() + ":" + a.user() + "@" + a.domain()
	case 5:
		return "@" + a.domain() + ",@" + a.domain() + ":" + a.user() + "@" + a.domain()
	case 6:
		return a.user() + "@" + a.domain() + "@" + a.domain()
	case 7:
		return "Full Name <" + a.user() + "@" + a.domain() + ">"
	case 8:
		return a.user() + "@" + a.domain() + " (comment)"
	case 9:
		return "list:" + a.user() + "@" + a.domain() + ";"
	case 10:
		if len(a.whole) > 0 {
			return a.pick(a.whole)
		}
		return a.user() + "@" + a.domain()
	case 11:
		glue := []string{".", "@", "!", "%", ":", "<", ">", "[", "]", ";", "\\", `"`, "(", ")", "+", "/", "^", " ", "$", "|", "="}
		var b strings.Builder
		for range 1 + a.r.IntN(5) {
			b.WriteString(a.pick(a.users) + a.pick(glue))
		}
		return b.String() + a.pick(a.domains)
	}
	return a.user() + "@" + a.domain()
}
