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

// Findings returns the names of all findings.
func Findings() []string {
	return []string{check.ShadowedRule, check.EndlessRewrite, check.EndlessRecursion, check.LostFailure, check.UnusedTransport, check.UnusedName, check.UnusedCapture, Unrouted, Relay}
}

// Analyse looks at what the rules do: rules that never apply, rewriting or recursion without end, names that nothing
// uses, tables whose failure is lost, addresses that no rule routes, and ways to relay for strangers, these two with an
// example that a search finds (search.go). All are warnings. Tables that ask others are taken to be empty.
func (r *Router) Analyse() Diagnostics {
	diags := check.Program(r.Program(), r.line)
	diags = append(diags, r.unusedConstants()...)
	if iso, err := r.isolated(map[string]map[string]compile.Step{}, nil); err == nil {
		diags = append(diags, iso.search()...)
	}
	return sorted(diags)
}

// unusedConstants finds define statements whose name nothing mentions.
func (r *Router) unusedConstants() Diagnostics {
	var out Diagnostics
	for _, d := range r.defines {
		name := d.Name.Value()
		used := strings.HasPrefix(d.Pos.Filename, "<")
		for _, src := range r.sources {
			used = used || strings.Contains(src.Text, "{"+name+"}")
		}
		if src := r.sources[d.Pos.Filename]; !used && src != nil {
			out = append(out, Diagnostic{Severity: lang.Warning, Name: check.UnusedName, Pos: d.Pos, End: src.Trim(d.Pos, d.EndPos), Source: src.Line(d.Pos.Line),
				Message: fmt.Sprintf("constant %q is not used", name), Remedy: "remove it, or write ${" + name + "} where it is meant"})
		}
	}
	return out
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

// strangers are addresses of clients that no class of the rules has. A network of more than 2^24 addresses is everybody's.
// One is a loopback address that is not our own: a class with all of 127.0.0.0/8 trusts whatever can be made to connect
// from there.
func (r *Router) strangers() []netip.Addr {
	var out []netip.Addr
	known := func(a netip.Addr) bool {
		for _, c := range r.Program().Classes {
			for _, w := range c.Words {
				if p, err := netip.ParsePrefix(w); err == nil && p.Contains(a) && a.BitLen()-p.Bits() <= max(24, a.BitLen()-32) {
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
