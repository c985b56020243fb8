package rules

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"waybill/rules/addr"
	"waybill/rules/prog"
)

// maxMembers is how many words of a class, or keys of a table, a search takes.
const maxMembers = 3

// collect reads the program for what its rules look at.
func (s *searcher) collect() {
	if our := s.r.ourName(); our != "" {
		s.ours = []string{our}
	}
	add := func(words ...string) {
		for _, w := range words {
			if w != "" && !slices.Contains(s.vocab, w) && len(s.vocab) < 120 {
				s.vocab = append(s.vocab, w)
			}
		}
	}
	add("user", s.victim, s.site, "!", "%", "@", ":", ".", "+", "[192.0.2.1]", `"a user"`)
	add(s.ours...)
	senders, helos, names := []string{"", "root"}, []string{}, []string{}
	if len(s.ours) > 0 {
		senders = append(senders, "root@"+s.ours[0])
	}
	for _, rs := range s.r.Program().Rulesets {
		for _, rule := range rs.Rules {
			for _, t := range rule.LHS {
				switch t.Kind {
				case prog.Literal:
					if t.Text != "<" && t.Text != ">" {
						add(t.Text)
					}
				case prog.InClass:
					add(s.members(t.Text)...)
				}
			}
			eachCondition(rule.Cond, func(c *prog.Cond) {
				if c.Op == prog.Lookup {
					add(s.keys(c.Table)...)
				}
				if c.Op != prog.Test {
					return
				}
				var words []string
				switch c.Cmp {
				case prog.In:
					words = s.members(c.Value.Text)
				case prog.Eq:
					words = []string{c.Value.Text}
				case prog.Matches:
					words = s.fill(c.Value.Pattern, nil)
				}
				switch c.Fact {
				case prog.FactSender:
					for _, w := range words {
						if senders = append(senders, w); !strings.Contains(w, "@") {
							senders = append(senders, "someone@"+w)
						}
					}
				case prog.FactHelo:
					helos = append(helos, words...)
				case prog.FactClientName:
					names = append(names, words...)
				case prog.FactCapture, prog.FactRecipient:
					add(words...)
				default:
					s.number(c)
				}
			})
		}
	}
	free := func(text string, set func(*Query)) {
		c := circumstance{text: text, set: set}
		if len(s.facts) < 60 {
			s.facts, s.stranger = append(s.facts, c), append(s.stranger, c)
		}
	}
	for _, v := range compact(senders) {
		free("", func(q *Query) { q.Sender = v })
	}
	for _, v := range compact(helos) {
		free(", when the client calls itself "+v, func(q *Query) { q.Client.Helo = v })
	}
	for _, v := range compact(names) {
		if strings.HasSuffix(v, s.victim) { // a name of the stranger's own making
			free(", when the client's name is "+v, func(q *Query) { q.Client.Name = v })
		}
	}
	for _, v := range []string{"TLSv1.3 TLS_AES_128_GCM_SHA256"} {
		free(", with TLS", func(q *Query) { q.Client.TLS = v })
	}
	s.facts = append(s.facts, circumstance{", for a client with a password", func(q *Query) { q.Client.Auth = "user" }, true},
		circumstance{", for a client elsewhere", func(q *Query) { q.Client.Addr = netip.MustParseAddr("203.0.113.77") }, true})
	list := s.r.strangers()
	for i, a := range list {
		if i == 0 || i == len(list)-1 || a.Is6() {
			s.clients = append(s.clients, Client{Addr: a, Name: "host.stranger.example", Helo: "host.stranger.example"}, Client{Addr: a, Helo: "x"})
		}
	}
}

// number makes circumstances on both sides of what a condition compares with.
func (s *searcher) number(c *prog.Cond) {
	free := func(text string, set func(*Query)) {
		if len(s.facts) < 60 {
			s.facts, s.stranger = append(s.facts, circumstance{text: text, set: set}), append(s.stranger, circumstance{text: text, set: set})
		}
	}
	switch c.Fact {
	case prog.FactSize:
		for _, n := range []int64{c.Value.Int - 1, c.Value.Int + 1} {
			free(fmt.Sprintf(", with a size of %d octets", n), func(q *Query) { q.Size = n })
		}
	case prog.FactLoad:
		for _, n := range []float64{c.Value.Float - 1, c.Value.Float + 1} {
			free(fmt.Sprintf(", at a load of %g", n), func(q *Query) { q.Load = n })
		}
	case prog.FactTime:
		for _, minute := range []int{c.Value.Window.From, c.Value.Window.To} {
			t := testTime()
			at := time.Date(t.Year(), t.Month(), t.Day(), minute/60, minute%60, 0, 0, t.Location())
			free(", at "+at.Format("15:04"), func(q *Query) { q.Time = at })
		}
	case prog.FactPriority:
		for _, n := range []int64{c.Value.Int - 1, c.Value.Int + 1} {
			free(fmt.Sprintf(", with priority %d", n), func(q *Query) { q.Priority = int(n) })
		}
	case prog.FactAttempts:
		for _, n := range []int64{c.Value.Int, c.Value.Int + 1} {
			s.facts = append(s.facts, circumstance{fmt.Sprintf(", after %d attempts", n), func(q *Query) { q.Attempts = int(n) }, true})
		}
	case prog.FactRecipients:
		for _, n := range []int64{c.Value.Int, c.Value.Int + 1} {
			free(fmt.Sprintf(", with %d recipients", n), func(q *Query) { q.Recipients = int(n) })
		}
	case prog.FactAge:
		s.facts = append(s.facts, circumstance{", after " + (c.Value.Duration + time.Second).String(), func(q *Query) { q.Age = c.Value.Duration + time.Second }, true})
	}
}

func compact(list []string) []string {
	var out []string
	for _, v := range list {
		if !slices.Contains(out, v) && len(out) < 20 {
			out = append(out, v)
		}
	}
	return out
}

func eachCondition(c *prog.Cond, do func(*prog.Cond)) {
	if c == nil {
		return
	}
	do(c)
	for _, sub := range c.Sub {
		eachCondition(sub, do)
	}
}

// members are some words of a class.
func (s *searcher) members(class string) []string {
	c := s.r.Program().Classes[class]
	if c == nil {
		return nil
	}
	words := c.Words
	if len(c.Files) > 0 {
		if all, err := classWords(c); err == nil {
			words = all
		}
	}
	return words[:min(len(words), maxMembers)]
}

// keys are some keys of a table.
func (s *searcher) keys(name string) []string {
	var out []string
	if t, ok := s.r.tables.byName[name].(interface {
		Each(func(key, value string) bool)
	}); ok {
		t.Each(func(key, _ string) bool {
			out = append(out, strings.TrimPrefix(key, "."))
			return len(out) < maxMembers
		})
	}
	return out
}

// usual are addresses of the usual forms, plain ones first.
func (s *searcher) usual() []string {
	out := []string{"user", "user@" + s.victim}
	var through []string
	domains := []string{"host.sub." + s.victim, "[192.0.2.1]", "[IPv6:2001:db8::1]", "host"}
	domains = append(domains, s.ours...)
	for _, name := range slices.Sorted(maps.Keys(s.r.Program().Classes)) {
		domains = append(domains, s.members(name)...)
	}
	for _, d := range domains {
		if strings.ContainsAny(d, "/@! ") {
			continue
		}
		out = append(out, "user@"+d, "first.last@"+d, "user+detail@"+d, `"a user"@`+d)
		through = append(through, s.through(d)...)
	}
	out = append(out, "first.last@"+s.victim, "first.last", "user+detail", s.site+"!user", s.victim+"!user", "user%"+s.victim, `"a user"@`+s.victim, s.site+"!user@"+s.victim,
		"user@"+s.victim+"@other.example")
	return append(out, through...)
}

// through are ways to write the victim into an address at a domain.
func (s *searcher) through(d string) []string {
	v, site := s.victim, s.site
	return []string{"user%" + v + "@" + d, v + "!user@" + d, site + "!user@" + d, d + "!" + v + "!user", d + "!" + site + "!user", "@" + d + ":user@" + v, `"user@` + v + `"@` + d,
		"user@" + v + "@" + d, "user@" + v + "%" + d, "user:" + v + "@" + d}
}

// fill makes texts that match a pattern. held says what captures must look like, for conditions about them.
func (s *searcher) fill(pattern []prog.Tok, held map[int][]prog.Tok) []string {
	var parts [][]string // choices for each symbol; the first one is plain
	n := 0
	for _, t := range pattern {
		var choice []string
		switch t.Kind {
		case prog.Literal:
			choice = []string{t.Text}
		case prog.One, prog.NotInClass:
			choice = []string{"user", s.site}
		case prog.OneOrMore:
			choice = []string{"user", s.victim, "user%" + s.victim, s.site + "!user"}
		case prog.ZeroOrMore:
			choice = []string{"user", "", s.victim}
		case prog.InClass:
			choice = s.members(t.Text)
			if len(choice) == 0 {
				return nil
			}
		case prog.Empty:
			choice = []string{""}
		case prog.Sep: // what stands behind is not of the address
			return s.combine(parts)
		default:
			return nil
		}
		if t.Kind.Wildcard() {
			if n++; held[n] != nil {
				if c := s.fill(held[n], nil); len(c) > 0 {
					choice = c
				}
			}
		}
		parts = append(parts, choice)
	}
	return s.combine(parts)
}

// combine makes texts of choices: all plain, and then each other choice by itself.
func (s *searcher) combine(parts [][]string) []string {
	text := func(at, which int) string {
		var b strings.Builder
		last := ""
		for i, c := range parts {
			w := c[0]
			if i == at {
				w = c[which]
			} else if i > at && at < 0 && w == "user" && strings.HasSuffix(b.String(), "@") {
				w = s.victim // behind an @ a domain is plain
			}
			if w == "<" || w == ">" || w == "" {
				continue
			}
			if last != "" && isWord(last[len(last)-1]) && isWord(w[0]) {
				b.WriteByte('.')
			}
			b.WriteString(w)
			last = w
		}
		return b.String()
	}
	out := []string{text(-1, 0)}
	for at, c := range parts {
		for which := 1; which < len(c); which++ {
			out = append(out, text(at, which))
		}
	}
	return out
}

func isWord(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// instances are addresses that a rule's pattern may match once they have their brackets, with those that its
// conditions about captures want.
func (s *searcher) instances(rule *prog.Rule) []string {
	held := map[int][]prog.Tok{}
	eachCondition(rule.Cond, func(c *prog.Cond) {
		if c.Op != prog.Test || c.Fact != prog.FactCapture {
			return
		}
		switch c.Cmp {
		case prog.Matches:
			held[c.Cap] = c.Value.Pattern
		case prog.In:
			held[c.Cap] = []prog.Tok{{Kind: prog.InClass, Text: c.Value.Text}}
		}
	})
	return s.fill(rule.LHS, held)
}

// mutate asks about addresses that differ a little from one.
func (s *searcher) mutate(address string) {
	syntax := s.r.engine.Syntax()
	toks, issues := syntax.Split(address)
	if len(issues) > 0 || len(toks) == 0 {
		return
	}
	for _, our := range s.ours {
		for _, a := range []string{address + "@" + our, our + "!" + address, `"` + strings.ReplaceAll(address, `"`, "") + `"@` + our, address + "%" + our, "@" + our + ":" + address, address + "%" + s.victim + "@" + our} {
			s.ask(a)
		}
	}
	change := func(from, to int, with ...string) {
		out := make([]addr.Token, 0, len(toks)+2)
		out = append(out, toks[:from]...)
		for _, w := range with {
			out = append(out, addr.Token(w))
		}
		s.ask(syntax.Join(append(out, toks[to:]...)))
	}
	for i := range toks {
		change(i, i+1)
	}
	for _, w := range s.vocab {
		for i := range toks {
			change(i, i+1, w)
			change(i, i, w)
		}
		change(len(toks), len(toks), w)
	}
}
