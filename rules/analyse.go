package rules

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"waybill/rules/check"
	"waybill/rules/compile"
	"waybill/rules/lang"
	"waybill/rules/prog"
)

// Names of the findings of Analyse, beside those of package check.
const (
	Unrouted = "unrouted-address" // no rule says where an address goes
	Relay    = "stranger-relay"   // somebody whom we do not know can send anywhere through us
)

// Analyse looks at what the rules do: rules that never apply, rewriting or recursion without end, names that nothing
// uses, tables whose failure is lost, addresses that no rule routes, and ways to relay for strangers, these two with an
// example. All are warnings. Tables that ask others are taken to be empty.
func (r *Router) Analyse() Diagnostics {
	diags := check.Program(r.Program(), r.line)
	iso, err := r.isolated(map[string]map[string]compile.Step{}, nil)
	if err == nil {
		diags = append(diags, iso.unrouted()...)
		diags = append(diags, iso.relays()...)
	}
	return sorted(diags)
}

// line returns a line of a rule file.
func (r *Router) line(at prog.Pos) string {
	if src := r.sources[at.File]; src != nil {
		return src.Line(at.Line)
	}
	return ""
}

// finding makes a warning about a ruleset; without one, about the rules as a whole.
func (r *Router) finding(kind, ruleset, message, remedy string) Diagnostic {
	at := prog.Pos{}
	if rs := r.Program().Ruleset(ruleset); rs != nil {
		at = rs.Pos
	} else if len(r.files) > 0 {
		at.File, at.Line = r.files[0], 1
	}
	return Diagnostic{Severity: lang.Warning, Name: kind, Message: message, Remedy: remedy, Source: r.line(at), Pos: lang.Pos{Filename: at.File, Line: at.Line, Column: max(at.Col, 1)}}
}

// ourName is a name that the rules take for local, for examples: a member of a class that a rule resolves to a local
// transport with, or the host's name.
func (r *Router) ourName() string {
	ctx := context.Background()
	names := []string{r.settings.Host}
	for _, name := range slices.Sorted(maps.Keys(r.Program().Classes)) {
		names = append(names, r.Program().Classes[name].Words...)
	}
	for _, n := range names {
		if strings.ContainsAny(n, "[]/:") {
			continue
		}
		if d, err := r.Route(ctx, Query{Recipient: "someone@" + n, Time: testTime()}, nil); err == nil && d.Refusal == nil && r.local(d.Mailer) {
			return n
		}
	}
	return ""
}

// local reports whether a transport delivers on this host.
func (r *Router) local(mailer string) bool {
	t := r.Program().Transport(mailer)
	if t == nil {
		return false
	}
	switch t.Kind {
	case "mbox", "maildir", "pipe", "lmtp":
		return true
	}
	return t.Kind == "" && strings.EqualFold(t.Name, "local")
}

// unrouted asks about addresses of every usual form.
func (r *Router) unrouted() Diagnostics {
	if r.route == "" {
		return Diagnostics{r.finding(Unrouted, "", "there is no route block: no address goes anywhere", "write: route { ... }")}
	}
	forms := []string{"user", "user@remote.example", "user@host.sub.remote.example", "user@[192.0.2.1]", "user@[IPv6:2001:db8::1]", "first.last@remote.example", "user+detail", "site!user",
		"user%remote.example", `"a user"@remote.example`, "user@host"}
	if our := r.ourName(); our != "" {
		forms = append(forms, "user@"+our, "first.last@"+our, "user+detail@"+our, "user%remote.example@"+our, "site!user@"+our)
	}
	for _, f := range forms {
		d, err := r.Route(context.Background(), Query{Recipient: f, Sender: "someone@remote.example", Time: testTime()}, nil)
		if err == nil && d.Refusal != nil && *d.Refusal == *unrouted() {
			return Diagnostics{r.finding(Unrouted, r.route, fmt.Sprintf("no rule says where %s goes", f), "end the block with a rule that matches the rest: otherwise => reject 550 5.1.2 \"...\"")}
		}
	}
	return nil
}

// relays plays a stranger who wants to get mail through us to a host that has nothing to do with us.
func (r *Router) relays() Diagnostics {
	const victim = "victim@remote.example"
	forms := []string{victim, "victim@[203.0.113.9]", "remote.example!victim", "site!victim", "victim%remote.example", "victim@remote.example@other.example"}
	if our := r.ourName(); our != "" {
		forms = append(forms, "victim%remote.example@"+our, "remote.example!victim@"+our, "site!victim@"+our, our+"!remote.example!victim", "@"+our+":"+victim,
			`"victim@remote.example"@`+our, "victim@remote.example@"+our, "victim@remote.example%"+our)
	}
	var senders = []string{"someone@stranger.example", "", "root"}
	if our := r.ourName(); our != "" {
		senders = append(senders, "root@"+our)
	}
	for _, client := range r.strangers() {
		for _, sender := range senders {
			for _, rcpt := range forms {
				q := Query{Client: Client{Addr: client, Name: "host.stranger.example", Helo: "host.stranger.example"}, Sender: sender, Recipient: rcpt, Time: testTime(), Size: 1000, Recipients: 1}
				d, err := r.Route(context.Background(), q, nil)
				if err != nil || d.Refusal != nil || r.local(d.Mailer) {
					continue
				}
				if r.refused(q) {
					continue
				}
				from := sender
				if from == "" {
					from = "<>"
				}
				f := r.finding(Relay, compile.AcceptName("rcpt"), fmt.Sprintf("a stranger can relay: client %s, sender %s, recipient %s goes by %s to %s", client, from, rcpt, d.Mailer, d.Host),
					"accept rcpt by where the mail goes (mailer local) and by who brings it, and end with: otherwise reject 550 5.7.1 \"Relaying denied\"")
				if v, _ := r.Accept(context.Background(), StageRcpt, q, Explained()); len(v.Why) > 0 {
					last := v.Why[len(v.Why)-1]
					f.Related = append(f.Related, last.Place()+": "+last.Source)
				}
				return Diagnostics{f}
			}
		}
	}
	return nil
}

// refused reports whether some stage refuses the client, the sender or the recipient.
func (r *Router) refused(q Query) bool {
	for _, stage := range []Stage{StageConnect, StageHelo, StageMail, StageRcpt} {
		v, err := r.Accept(context.Background(), stage, q, nil)
		if err != nil || v.Refusal != nil {
			return true
		}
	}
	return false
}

// strangers are addresses of clients that no class of the rules has. One is a loopback address that is not our own:
// a class with all of 127.0.0.0/8 trusts whatever can be made to connect from there.
func (r *Router) strangers() []netip.Addr {
	var out []netip.Addr
	known := func(a netip.Addr) bool {
		for _, c := range r.Program().Classes {
			for _, w := range c.Words {
				if p, err := netip.ParsePrefix(w); err == nil && p.Contains(a) {
					return true
				}
			}
		}
		return false
	}
	for _, s := range []string{"203.0.113.77", "198.51.100.77", "192.0.2.77", "100.99.98.97", "2001:db8:5:6::77"} {
		if a := netip.MustParseAddr(s); !known(a) {
			out = append(out, a)
		}
	}
	return append(out, netip.MustParseAddr("127.0.0.9"))
}
