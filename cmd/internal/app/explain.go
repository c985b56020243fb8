package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"waybill/queue/spool"
	"waybill/rules"
	"waybill/transport/passwd"
	"waybill/transport/sysexits"
)

// explain answers "why?" for an address, or for a message of the queue.
func explain(std stdio, args []string) int {
	fs, config := options(std, "explain", "[-C FILE] [--json] [--from SENDER] [--client IP] ADDRESS ... | [--json] QUEUE-ID ...")
	from := fs.String("from", "", "the envelope `sender`")
	client := fs.String("client", "", "tell also whether this `address` may send to it")
	asJSON := fs.Bool("json", false, "print it as JSON, one object for each")
	if exit, ok := parse(std, fs, args); !ok {
		return exit
	}
	if fs.NArg() == 0 {
		fs.Usage()
		return sysexits.Usage
	}
	if ids := fs.Args(); !slices.ContainsFunc(ids, func(a string) bool { return !spool.ValidID(a) }) {
		exit := sysexits.OK
		for _, id := range ids {
			exit = max(exit, explainMessage(std, *config, id, *asJSON))
		}
		return exit
	}
	q := rules.Query{Sender: *from}
	if *client != "" {
		var err error
		if q.Client.Addr, err = netip.ParseAddr(*client); err != nil {
			fmt.Fprintf(std.err, "waybill: %v\n", err)
			return sysexits.Usage
		}
	}
	router, err := openRules(*config)
	if err != nil {
		return cannotOpen(std, err)
	}
	x := &addressWhy{router: router, users: passwd.Open(router.Settings().Users, "/etc/group")}
	exit := sysexits.OK
	for i, address := range fs.Args() {
		if inner, ok := strings.CutPrefix(address, "<"); ok && strings.HasSuffix(inner, ">") { // as SMTP writes it
			address = strings.TrimSuffix(inner, ">")
		}
		q.Recipient = address
		failed := false
		if *asJSON {
			failed, err = x.json(std, q)
		} else {
			if i > 0 {
				fmt.Fprintln(std.out)
			}
			failed = x.text(std, q)
		}
		if err != nil {
			fmt.Fprintf(std.err, "waybill: %v\n", err)
			return sysexits.Software
		}
		if failed {
			exit = sysexits.TempFail
		}
	}
	return exit
}

// addressWhy explains addresses by one set of rules.
type addressWhy struct {
	router *rules.Router
	users  *passwd.File
}

// outcome is the decision in a line, and what there is to say beyond the rules: they send every name without a domain to
// a local transport, and who is meant is known to aliases and user database only.
func (x *addressWhy) outcome(e rules.Explanation) (outcome string, more []string) {
	outcome = e.Outcome()
	d := e.Decision
	if e.Err != nil || d.Refusal != nil {
		return outcome, nil
	}
	if x.unknown(d) {
		return "is refused: 550 5.1.1 User unknown", []string{fmt.Sprintf("there is neither an alias nor a user %s on this host (%s)", d.User, x.router.Settings().Users)}
	}
	if d.When == rules.Unset {
		outcome += ", at once unless its sender asks for another time"
	}
	return outcome, nil
}

// unknown reports whether a decision names a local user whom nobody knows.
func (x *addressWhy) unknown(d rules.Decision) bool {
	if !x.router.Local(d.Mailer) || x.router.Program().Level > 0 {
		return false
	}
	name := strings.ToLower(d.User)
	base, _, _ := strings.Cut(name, "+")
	if base == "postmaster" || base == "mailer-daemon" {
		return false
	}
	if aliases, ok := x.router.Table(x.router.Settings().Aliases); ok {
		for _, key := range []string{name, base} {
			if _, found, err := aliases.Lookup(context.Background(), key); found || err != nil {
				return false
			}
		}
	}
	return !x.known(d.User)
}

// known reports whether the user database has a name, or may have it.
func (x *addressWhy) known(user string) bool {
	base, _, _ := strings.Cut(user, "+")
	for _, name := range []string{user, strings.ToLower(user), base, strings.ToLower(base)} {
		if _, found, err := x.users.Lookup(name); found || err != nil {
			return true
		}
	}
	return false
}

// text prints the explanation of one address. It reports whether there is no answer now.
func (x *addressWhy) text(std stdio, q rules.Query) (failed bool) {
	ctx := context.Background()
	if q.Client.Addr.IsValid() {
		fmt.Fprint(std.out, x.router.ExplainAccept(ctx, rules.StageRcpt, q))
	}
	e := x.router.Explain(ctx, q)
	outcome, more := x.outcome(e)
	fmt.Fprint(std.out, e.Text(outcome, more))
	if e.Err == nil && e.Decision.Refusal == nil && len(more) == 0 {
		tellSchedule(std, x.router, q, e.Decision)
	}
	if len(more) == 0 {
		x.aliases(std.out, e)
	}
	return e.Err != nil
}

// The JSON of an explanation. What is not known or does not apply is left out.
type (
	addressJSON struct {
		Address   string       `json:"address"`
		Outcome   string       `json:"outcome"`
		Because   []string     `json:"because,omitempty"`
		Mailer    string       `json:"mailer,omitempty"`
		Host      string       `json:"host,omitempty"`
		User      string       `json:"user,omitempty"`
		When      string       `json:"when,omitempty"`
		NotBefore *time.Time   `json:"notBefore,omitempty"`
		Priority  int          `json:"priority,omitempty"`
		Refusal   *refusalJSON `json:"refusal,omitempty"`
		Error     string       `json:"error,omitempty"`
		Aliases   []string     `json:"aliases,omitempty"`
		Accept    *acceptJSON  `json:"accept,omitempty"`
		Steps     []stepJSON   `json:"steps,omitempty"`
	}
	refusalJSON struct {
		Code     int    `json:"code,omitempty"`
		Enhanced string `json:"enhanced,omitempty"`
		Text     string `json:"text,omitempty"`
		Discard  bool   `json:"discard,omitempty"`
	}
	acceptJSON struct {
		Client     string       `json:"client"`
		Outcome    string       `json:"outcome"`
		Because    []string     `json:"because,omitempty"`
		Refusal    *refusalJSON `json:"refusal,omitempty"`
		Quarantine string       `json:"quarantine,omitempty"`
		Error      string       `json:"error,omitempty"`
		Steps      []stepJSON   `json:"steps,omitempty"`
	}
	stepJSON struct {
		Kind    string   `json:"kind"` // rule, lookup or note
		File    string   `json:"file,omitempty"`
		Line    int      `json:"line,omitempty"`
		Ruleset string   `json:"ruleset,omitempty"`
		Depth   int      `json:"depth"`
		Rule    string   `json:"rule,omitempty"`
		Comment string   `json:"comment,omitempty"`
		Before  string   `json:"before,omitempty"`
		After   string   `json:"after,omitempty"`
		Table   string   `json:"table,omitempty"`
		Key     string   `json:"key,omitempty"`
		Args    []string `json:"arguments,omitempty"`
		Found   *bool    `json:"found,omitempty"`
		Value   string   `json:"value,omitempty"`
		Error   string   `json:"error,omitempty"`
		Note    string   `json:"note,omitempty"`
	}
)

// json prints the explanation of one address as an object in a line.
func (x *addressWhy) json(std stdio, q rules.Query) (failed bool, err error) {
	ctx := context.Background()
	e := x.router.Explain(ctx, q)
	outcome, more := x.outcome(e)
	d := e.Decision
	out := addressJSON{Address: q.Recipient, Outcome: outcome, Because: append(e.Because(), more...), Mailer: d.Mailer, Host: d.Host, User: d.User, When: d.When.String(), Priority: d.Priority, Steps: stepsJSON(d.Why)}
	if out.Refusal = refusalOf(d.Refusal); len(more) > 0 {
		out.Refusal = &refusalJSON{Code: 550, Enhanced: "5.1.1", Text: "User unknown"}
	}
	if !d.NotBefore.IsZero() {
		out.NotBefore = &d.NotBefore
	}
	if e.Err != nil {
		out.Error = e.Err.Error()
	}
	var aliases bytes.Buffer
	if len(more) == 0 {
		x.aliases(&aliases, e)
	}
	for line := range strings.Lines(aliases.String()) {
		out.Aliases = append(out.Aliases, strings.TrimSpace(line))
	}
	if q.Client.Addr.IsValid() {
		p := x.router.ExplainAccept(ctx, rules.StageRcpt, q)
		out.Accept = &acceptJSON{Client: q.Client.Addr.String(), Outcome: p.Outcome(), Because: p.Because(), Refusal: refusalOf(p.Verdict.Refusal), Quarantine: p.Verdict.Quarantine, Steps: stepsJSON(p.Verdict.Why)}
		if p.Err != nil {
			out.Accept.Error = p.Err.Error()
		}
	}
	enc := json.NewEncoder(std.out)
	enc.SetEscapeHTML(false)
	return e.Err != nil, enc.Encode(out)
}

func refusalOf(r *rules.Refusal) *refusalJSON {
	if r == nil {
		return nil
	}
	return &refusalJSON{r.Code, r.Enhanced, r.Text, r.Discard}
}

func stepsJSON(why []rules.Step) []stepJSON {
	var out []stepJSON
	for _, s := range why {
		j := stepJSON{File: s.File, Line: s.Line, Ruleset: s.Ruleset, Depth: s.Depth}
		switch s.Kind {
		case rules.StepRule:
			j.Kind, j.Rule, j.Comment, j.Before, j.After = "rule", s.Source, s.Comment, s.Before, s.After
		case rules.StepLookup:
			j.Kind, j.Table, j.Key, j.Args, j.Found, j.Value, j.Error = "lookup", s.Table, s.Key, s.Args, &s.Found, s.Value, s.Err
		default:
			j.Kind, j.Note = "note", s.After
		}
		out = append(out, j)
	}
	return out
}
