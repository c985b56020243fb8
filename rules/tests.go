package rules

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"waybill/rules/addr"
	"waybill/rules/compile"
	"waybill/rules/eval"
	"waybill/rules/lang"
	"waybill/rules/table"
)

type testBlock = compile.Test

// TestResult is what became of one line of a test block.
type TestResult struct {
	Block  string // name of the block
	Line   string // as written
	File   string
	LineNo int
	Failed string // what came out instead; empty when it passed
}

// Tests runs all test blocks, each line once.
func (r *Router) Tests(t Tracer) []TestResult {
	var out []TestResult
	for _, b := range r.tests {
		tr := r.tester(b)
		for _, s := range b.Steps {
			if s.Given != "" {
				continue
			}
			res := TestResult{Block: b.Name, Line: s.Source, File: s.Pos.Filename, LineNo: s.Pos.Line}
			res.Failed = tr.check(s, t)
			out = append(out, res)
		}
	}
	return out
}

// failures are the diagnostics for lines that fail.
func (r *Router) failures() lang.Diagnostics {
	var out lang.Diagnostics
	for _, b := range r.tests {
		tr := r.tester(b)
		for _, s := range b.Steps {
			if s.Given != "" {
				continue
			}
			if got := tr.check(s, nil); got != "" {
				out = append(out, lang.Diagnostic{Pos: s.Pos, End: b.Source.Trim(s.Pos, s.End), Source: b.Source.Line(s.Pos.Line), Message: fmt.Sprintf("test %q fails: %s", b.Name, got),
					Name: "test", Remedy: "waybill rules explain shows how the rules come to this"})
			}
		}
	}
	return out
}

// tester runs the lines of one block. What a line gives holds for the lines after it.
type tester struct {
	r     *Router
	block compile.Test
	iso   *Router // as the givens of tables and classes want it
	given int     // how many of them it has

	givens []int // places of the lines that give something
}

func (r *Router) tester(b compile.Test) *tester {
	t := &tester{r: r, block: b, given: -1}
	for i := range b.Steps {
		if b.Steps[i].Given != "" {
			t.givens = append(t.givens, i)
		}
	}
	return t
}

// testTime is when tests happen unless they say so: noon of a working day, so that they come out alike at any time.
func testTime() time.Time { return time.Date(2026, time.March, 4, 12, 0, 0, 0, time.Local) }

// setup collects what holds for a line.
func (t *tester) setup(s compile.Step) (Query, *Router, error) {
	q := Query{Time: testTime(), Sender: "sender@test.example"}
	headers := map[string]string{}
	q.Header = func(name string) string { return headers[strings.ToLower(name)] }
	entries := map[string]map[string]compile.Step{}
	classes := map[string][]string{}
	given := 0
	for _, at := range t.givens {
		g := t.block.Steps[at]
		if g.Pos.Offset >= s.Pos.Offset {
			break
		}
		if g.Given == "table" || g.Given == "class" {
			given++
		}
		if g.Given == "table" {
			if entries[g.Table] == nil {
				entries[g.Table] = map[string]compile.Step{}
			}
			entries[g.Table][strings.ToLower(g.Key)] = g
			continue
		}
		if g.Given == "class" {
			classes[g.Table] = append(classes[g.Table], g.Words...)
			continue
		}
		if err := give(&q, headers, g); err != nil {
			return q, nil, err
		}
	}
	if given != t.given {
		var err error
		if t.iso, err = t.r.isolated(entries, classes); err != nil {
			return q, nil, err
		}
		t.given = given
	}
	return q, t.iso, nil
}

// give sets one fact.
func give(q *Query, headers map[string]string, g compile.Step) error {
	var err error
	switch g.Given {
	case "client":
		q.Client.Addr = netip.Addr{}
		if g.Value != "local" {
			q.Client.Addr, err = netip.ParseAddr(g.Value)
		}
	case "name":
		q.Client.Name = g.Value
	case "helo":
		q.Client.Helo = g.Value
	case "auth":
		q.Client.Auth = g.Value
	case "tls":
		q.Client.TLS = g.Value
	case "sender":
		q.Sender = g.Value
	case "recipient":
		q.Recipient = g.Value
	case "size":
		q.Size, err = compile.Size(g.Value)
	case "load":
		q.Load, err = strconv.ParseFloat(g.Value, 64)
	case "time":
		minute, ok := compile.Daytime(g.Value)
		if !ok {
			err = errors.New("a time of the day has the form HH:MM")
		}
		d := testTime()
		q.Time = time.Date(d.Year(), d.Month(), d.Day(), minute/60, minute%60, 0, 0, d.Location())
	case "header":
		headers[strings.ToLower(g.Header)] = g.Value
	case "priority":
		q.Priority, err = strconv.Atoi(g.Value)
	case "attempts":
		q.Attempts, err = strconv.Atoi(g.Value)
	case "recipients":
		q.Recipients, err = strconv.Atoi(g.Value)
	case "failures":
		var n int
		n, err = strconv.Atoi(g.Value)
		q.Failures = func(string, string) int { return n }
	case "error":
		q.Error = strings.Fields(g.Value)
	case "age":
		q.Age, err = compile.Duration(g.Value)
	}
	if err != nil {
		return fmt.Errorf("%s:%d: given %s: %w", g.Pos.Filename, g.Pos.Line, g.Given, err)
	}
	return nil
}

// isolated returns a Router whose tables answer as a test says. Tables that ask others (the DNS, a server) are empty
// then: a test never depends on the network.
func (r *Router) isolated(entries map[string]map[string]compile.Step, classes map[string][]string) (*Router, error) {
	remote := false
	for _, t := range r.engine.Program().Tables {
		remote = remote || asksOthers(t.Class)
	}
	if len(entries)+len(classes) == 0 && !remote {
		return r, nil
	}
	tables := map[string]table.Table{}
	for name, t := range r.tables.byName {
		tables[name] = t
	}
	for _, decl := range r.engine.Program().Tables {
		if asksOthers(decl.Class) {
			tables[decl.Name] = table.Static{}
		}
	}
	for name, e := range entries {
		tables[name] = &fixture{tables[name], e}
	}
	for _, decl := range r.engine.Program().Tables { // tables that are made of others ask those of the test
		if decl.Class != "sequence" || entries[decl.Name] != nil {
			continue
		}
		env := table.Env{Native: !r.sendmail(), Table: func(name string) table.Table { return tables[name] }}
		if t, err := table.Open(decl, env); err == nil {
			tables[decl.Name] = t
		}
	}
	iso := *r
	iso.engine, iso.now, iso.pinned = r.engine.With(tables), nil, iso.look()
	for name, more := range classes {
		c := r.engine.Program().Classes[name]
		if c == nil {
			return nil, fmt.Errorf("class %q is not defined", name)
		}
		words, err := classWords(c)
		if err != nil {
			return nil, err
		}
		iso.pinned.classes = iso.pinned.classes.With(iso.engine, name, append(words, more...))
	}
	return &iso, nil
}

func asksOthers(class string) bool {
	switch class {
	case "host", "dns", "bestmx", "ldap", "socket", "program", "syslog":
		return true
	}
	return false
}

// fixture is a table with some entries as a test gives them.
type fixture struct {
	below   table.Table
	entries map[string]compile.Step
}

func (f *fixture) Lookup(ctx context.Context, key string, args []string) (table.Result, bool, error) {
	if e, ok := f.entries[strings.ToLower(key)]; ok {
		at := compile.Place(e.Pos)
		switch e.Answer {
		case compile.Missing:
			return table.Result{}, false, nil
		case compile.Fails:
			return table.Result{Pos: at}, false, errors.New("not now, says the test")
		}
		return table.Result{Value: table.Expand(e.Value, key, args), Pos: at}, true, nil
	}
	if f.below == nil {
		return table.Result{}, false, nil
	}
	return f.below.Lookup(ctx, key, args)
}

// check runs one line and tells what came out when that is not what the line says.
func (t *tester) check(s compile.Step, tracer Tracer) string {
	q, r, err := t.setup(s)
	if err != nil {
		return err.Error()
	}
	ctx := context.Background()
	switch s.Kind {
	case "rewrite":
		return r.checkRewrite(ctx, s, tracer)
	case "leaving":
		got, err := r.Rewrite(ctx, Rewriting{Address: s.Input, Recipient: s.Recipient, Header: s.Header == "header", Mailer: s.Name}, tracer)
		if err != nil {
			got = "tempfail " + err.Error()
		}
		if !strings.EqualFold(got, s.Output[0]) {
			return gives(got)
		}
		return ""
	case "route":
		q.Recipient = s.Input
		d, err := r.Route(ctx, q, tracer)
		if other := r.other(s); other != "" {
			q.Recipient = other
			like, likeErr := r.Route(ctx, q, tracer)
			return unlike(decisionWords(d, err), decisionWords(like, likeErr), other)
		}
		want, got := cutMore(s.Output, d)
		if got != "" {
			return got
		}
		return compare(want, decisionWords(d, err), d)
	}
	if s.Kind == compile.Schedule {
		q.Recipient = s.Input
		return compareText(strings.Join(s.Output, " "), r.planWords(ctx, q, tracer))
	}
	switch Stage(s.Kind) {
	case StageRcpt:
		q.Recipient = s.Input
	case StageMail:
		q.Sender = s.Input
	case StageHelo:
		q.Client.Helo = s.Input
	case StageConnect:
		if a, err := netip.ParseAddr(strings.Trim(s.Input, "[]")); err == nil {
			q.Client.Addr = a
		} else {
			q.Client.Name = s.Input
		}
	}
	var v Verdict
	if Stage(s.Kind) == StageHeader {
		v, err = r.AcceptHeader(ctx, s.Name, s.Input, q, tracer)
	} else {
		v, err = r.Accept(ctx, Stage(s.Kind), q, tracer)
	}
	if other := r.other(s); other != "" && Stage(s.Kind) == StageRcpt {
		q.Recipient = other
		like, likeErr := r.Accept(ctx, StageRcpt, q, tracer)
		return unlike(verdictWords(v, err), verdictWords(like, likeErr), other)
	}
	return compare(s.Output, verdictWords(v, err), Decision{})
}

// other is the address of which "=> as ADDRESS" says that the same becomes of it; empty for other lines.
func (r *Router) other(s compile.Step) string {
	if len(s.Output) == 2 && s.Output[0] == "as" && !r.mailers["as"] {
		return s.Output[1]
	}
	return ""
}

// unlike tells how two outcomes differ.
func unlike(got, want []string, other string) string {
	if slices.Equal(got, want) {
		return ""
	}
	return gives(strings.Join(got, " ")) + ", and " + other + " gives " + strings.Join(want, " ")
}

func compareText(want, got string) string {
	if want == got {
		return ""
	}
	return gives(got)
}

// gives says what came out.
func gives(text string) string {
	if text == "" {
		text = "nothing"
	}
	return "it gives " + text
}

// planWords is what the schedule says of a recipient, as a test line writes it.
func (r *Router) planWords(ctx context.Context, q Query, tracer Tracer) string {
	d, err := r.Route(ctx, q, nil)
	if err == nil {
		var p Plan
		if p, err = r.Schedule(ctx, q, d, tracer); err == nil {
			return p.String()
		}
	}
	return "tempfail " + err.Error()
}

// cutMore checks what may stand at the end of an expected decision, "priority N" and "from HH:MM", and takes it away.
func cutMore(want []string, d Decision) (rest []string, failed string) {
	for len(want) > 3 {
		word, value := want[len(want)-2], want[len(want)-1]
		switch {
		case word == "priority":
			if got := strconv.Itoa(d.Priority); got != value {
				return want, "it gives priority " + got
			}
		case word == "from":
			if got := d.NotBefore.Format("15:04"); d.NotBefore.IsZero() || got != value {
				return want, "it may go from " + got
			}
		default:
			return want, ""
		}
		want = want[:len(want)-2]
	}
	return want, ""
}

func (r *Router) checkRewrite(ctx context.Context, s compile.Step, tracer Tracer) string {
	syntax := r.engine.Syntax()
	in := bars(syntax.Split(s.Input))
	res, err := r.engine.RunNamed(ctx, s.Name, in, &eval.State{Tracer: tracer, World: r.world().classes})
	if err != nil {
		return err.Error()
	}
	want := bars(syntax.Split(strings.Join(s.Output, " ")))
	if !slices.EqualFunc(want, res.Tokens, func(a, b addr.Token) bool { return strings.EqualFold(a.String(), b.String()) }) {
		return gives(spacedTokens(res.Tokens))
	}
	return ""
}

// bars makes the "$|" that a test writes the sign that it is for rules.
func bars(toks []addr.Token, _ []addr.Issue) []addr.Token {
	for i, t := range toks {
		if t == "$|" {
			toks[i] = addr.Sep
		}
	}
	return toks
}

func spacedTokens(toks []addr.Token) string {
	var out []string
	for _, t := range toks {
		out = append(out, t.String())
	}
	return strings.Join(out, " ")
}

// decisionWords is a decision as a test line writes it.
func decisionWords(d Decision, err error) []string {
	switch {
	case err != nil:
		return []string{"tempfail", err.Error()}
	case d.Refusal != nil:
		return refusalWords(d.Refusal)
	}
	out := []string{d.Mailer}
	if d.Host != "" {
		out = append(out, d.Host)
	}
	out = append(out, d.User)
	if d.When != Unset {
		out = append(out, d.When.String())
	}
	return out
}

func refusalWords(r *Refusal) []string {
	if r.Discard {
		return []string{"discard"}
	}
	return []string{"reject", strconv.Itoa(r.Code), r.Enhanced, r.Text}
}

func verdictWords(v Verdict, err error) []string {
	switch {
	case err != nil:
		return []string{"tempfail", err.Error()}
	case v.Refusal != nil:
		return refusalWords(v.Refusal)
	case v.Quarantine != "":
		return []string{"quarantine", v.Quarantine}
	}
	return []string{"ok"}
}

// compare tells what came out when it is not what was expected. An expectation may stop early: "reject" or "reject
// 550" is enough, and the time need not be said.
func compare(want, got []string, d Decision) string {
	same := len(want) <= len(got)
	for i := 0; same && i < len(want); i++ {
		same = strings.EqualFold(want[i], got[i])
	}
	switch {
	case same && len(want) < len(got):
		switch got[0] {
		case "reject", "discard", "quarantine", "tempfail":
			return ""
		}
		if _, ok := compile.WhenNamed(got[len(got)-1]); ok && len(want) == len(got)-1 && d.When != Unset {
			return ""
		}
	case same:
		return ""
	}
	return "it gives " + strings.Join(got, " ")
}
