package convert

import (
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"

	"waybill/compat/cf"
	"waybill/rules/prog"
)

// Addresses makes addresses that have to do with a configuration: what two configurations are compared by.
type Addresses struct {
	r              *rand.Rand
	users, domains []string
	whole          []string // keys of tables, as they stand there
	words          []string // words of the rules
}

// NewAddresses collects what a configuration knows: members of classes, words of its rules, keys of its tables.
func NewAddresses(conf *cf.Config, r *rand.Rand) *Addresses {
	a := &Addresses{r: r,
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

func (a *Addresses) pick(list []string) string { return list[a.r.IntN(len(list))] }

func (a *Addresses) user() string {
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

// Domain is the name of a host, as it should be or not.
func (a *Addresses) Domain() string {
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

// Next is one address, well made or not.
func (a *Addresses) Next() string {
	switch a.r.IntN(24) {
	case 0:
		return a.user()
	case 1:
		return a.user() + "%" + a.Domain() + "@" + a.Domain()
	case 2:
		return a.pick(a.users) + "!" + a.user()
	case 3:
		return a.Domain() + "!" + a.user() + "@" + a.Domain()
	case 4:
		return "@" + a.Domain() + ":" + a.user() + "@" + a.Domain()
	case 5:
		return "@" + a.Domain() + ",@" + a.Domain() + ":" + a.user() + "@" + a.Domain()
	case 6:
		return a.user() + "@" + a.Domain() + "@" + a.Domain()
	case 7:
		return "Full Name <" + a.user() + "@" + a.Domain() + ">"
	case 8:
		return a.user() + "@" + a.Domain() + " (comment)"
	case 9:
		return "list:" + a.user() + "@" + a.Domain() + ";"
	case 10:
		if len(a.whole) > 0 {
			return a.pick(a.whole)
		}
		return a.user() + "@" + a.Domain()
	case 11:
		glue := []string{".", "@", "!", "%", ":", "<", ">", "[", "]", ";", "\\", `"`, "(", ")", "+", "/", "^", " ", "$", "|", "="}
		var b strings.Builder
		for range 1 + a.r.IntN(5) {
			b.WriteString(a.pick(a.users) + a.pick(glue))
		}
		return b.String() + a.pick(a.domains)
	}
	return a.user() + "@" + a.Domain()
}

var ordinary = regexp.MustCompile(`^[A-Za-z0-9_-]+([.+][A-Za-z0-9_-]+)*$`)

// Ordinary are addresses as mail has them: names with and without a detail, at domains that the configuration knows, at
// hosts below them, and at others.
func (a *Addresses) Ordinary(n int) []string {
	keep := func(list []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(w string) bool { return !ordinary.MatchString(w) })
	}
	users, domains := keep(a.users), keep(a.domains)
	domains = slices.DeleteFunc(domains, func(d string) bool { return strings.Trim(d[strings.LastIndexByte(d, '.')+1:], "0123456789") == "" })
	var whole []string
	for _, w := range a.whole {
		if user, domain, _ := strings.Cut(w, "@"); ordinary.MatchString(user) && ordinary.MatchString(domain) && !strings.Contains(user, "+") {
			whole = append(whole, w)
		}
	}
	var list []string
	for len(list) < n {
		user, domain := a.pick(users), a.pick(domains)
		switch a.r.IntN(8) {
		case 0:
			list = append(list, user)
		case 1:
			list = append(list, user+"@sub."+domain)
		case 2:
			list = append(list, user+"+tag@"+domain)
		case 3:
			if len(whole) > 0 {
				list = append(list, a.pick(whole))
			}
		case 4:
			list = append(list, user+"@"+strings.ToUpper(domain))
		default:
			list = append(list, user+"@"+domain)
		}
	}
	return list
}
