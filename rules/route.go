package rules

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"waybill/rules/addr"
	"waybill/rules/eval"
	"waybill/rules/prog"
	"waybill/rules/table"
)

// Route decides about one recipient. Its plan: cut the address into tokens, bring it into the canonical form, find
// mailer, host and user, then ask the send rules for the time. An error is temporary: a table did not answer, the
// rules ran too long, or they contradict themselves. Only a complete evaluation in which no rule resolves the address
// is a refusal, 5.1.2.
func (r *Router) Route(ctx context.Context, q Query, t Tracer) (Decision, error) {
	st := r.state(&q, t)
	d, err := r.decide(st.view.In(ctx), &q, st)
	if st.rec != nil {
		d.Why = st.rec.steps(r)
	}
	r.done(st)
	return d, err
}

// run is the state of one question. Its memory is used again for the next one.
type run struct {
	eval.State
	facts  eval.Facts
	macros eval.Macros
	rec    *recorder
	toks   []addr.Token // of the address
	view   *table.View  // what tables hold
	steps  int          // of the budget that all evaluations of the question share
	prio   *int         // what the last line of the send block says that says a priority and goes on
}

// maxKept is how many tokens of memory a run keeps for the next question.
const maxKept = 256

func (r *Router) done(s *run) {
	if cap(s.toks) > maxKept {
		return
	}
	clear(s.toks)
	s.toks = s.toks[:0]
	s.State.Reset()
	s.facts, s.macros, s.rec, s.view, s.steps, s.prio = eval.Facts{}, eval.Macros{}, nil, nil, 0, nil
	r.runs.Put(s)
}

func (r *Router) state(q *Query, t Tracer) *run {
	if q.Time.IsZero() {
		q.Time = time.Now()
	}
	s, _ := r.runs.Get().(*run)
	if s == nil {
		s = &run{toks: make([]addr.Token, 0, 64)}
		s.Out = make([]addr.Token, 0, 64)
	}
	s.facts = eval.Facts{
		Client: q.Client.Addr, ClientName: q.Client.Name, NameLater: q.Client.NameLater, Helo: q.Client.Helo, Auth: q.Client.Auth, TLS: q.Client.TLS,
		Sender: q.Sender, Recipient: q.Recipient, Size: q.Size, Load: q.Load, Time: q.Time, Priority: q.Priority,
		Attempts: q.Attempts, Age: q.Age, Recipients: q.Recipients, Error: q.Error,
	}
	if header := q.Header; header != nil {
		s.facts.Header = func(name string) (string, bool) {
			v := header(name)
			return v, v != ""
		}
	}
	s.facts.Health = q.Failures
	w := r.world()
	s.World, s.view = w.classes, w.view
	s.Facts, s.Defer, s.Steps = &s.facts, q.NoDNS, &s.steps
	s.macros = *eval.NewMacros(r.engine.Program())
	s.Macros = &s.macros
	if r.macros {
		setMacros(s.Macros, q)
	}
	if w, ok := t.(*wayTracer); ok { // which rules: nobody wants the texts
		s.Tracer = w
	} else if t != nil {
		s.rec = &recorder{to: t}
		s.Tracer = s.rec
	}
	return s
}

var noTokens []addr.Token

// nullAddress is how the rules see an empty address.
func nullAddress() []addr.Token { return []addr.Token{"<", ">"} }

// tokens cuts an address for the rules. Comments are dropped. An address with anything wrong in it is refused: what
// is repaired silently is understood differently by the next host.
func (r *Router) tokens(address string, st *run) ([]addr.Token, *Refusal) {
	if address == "" || address == "<>" {
		return nullAddress(), nil
	}
	if len(address) > 2*addr.MaxAddress {
		st.rec.note("it is longer than any mailbox address may be")
		return nil, noMailbox()
	}
	for i := 0; i < len(address); i++ {
		if address[i] < ' ' || address[i] == 0x7f {
			st.rec.note("it holds a control character")
			return nil, noMailbox()
		}
	}
	toks, issues := r.engine.Syntax().Append(st.toks[:0], address, true)
	st.toks = toks
	switch {
	case len(issues) > 0:
		st.rec.note(issues[0].Plain())
		return nil, noMailbox()
	case len(toks) == 0:
		st.rec.note("there is nothing in it but a comment")
		return nil, noMailbox()
	}
	for _, t := range toks {
		if t == "<" || t == ">" { // brackets are the envelope's and the rules', never the address's
			st.rec.note("it holds an angle bracket: those belong to the envelope, around the address")
			return nil, noMailbox()
		}
	}
	return toks, nil
}

func noMailbox() *Refusal {
	return &Refusal{Code: 553, Enhanced: "5.1.3", Text: "this is no mailbox address"}
}

// canonical brings an address into the form that route and accept rules see.
func (r *Router) canonical(ctx context.Context, address string, st *run) ([]addr.Token, *Refusal, error) {
	toks, refusal := r.tokens(address, st)
	if refusal != nil || r.canonify == "" || address == "" || address == "<>" {
		return toks, refusal, nil
	}
	res, err := r.engine.Run(ctx, r.at.canonify, toks, &st.State)
	return res.Tokens, nil, err
}

func (r *Router) decide(ctx context.Context, q *Query, st *run) (Decision, error) {
	toks, refusal, err := r.canonical(ctx, q.Recipient, st)
	if err != nil {
		return Decision{}, fmt.Errorf("routing %q: %w", q.Recipient, err)
	}
	if refusal != nil {
		return Decision{Priority: q.Priority, Refusal: refusal}, nil
	}
	d, rule, err := r.resolve(ctx, q, toks, st)
	if err != nil || d.Refusal != nil {
		return d, err
	}
	err = r.when(ctx, q, &d, rule, st)
	return d, err
}

// resolve decides where the mail for an address in canonical form goes, and tells which rule said so.
func (r *Router) resolve(ctx context.Context, q *Query, toks []addr.Token, st *run) (Decision, *prog.Rule, error) {
	d := Decision{Priority: q.Priority}
	var rule *prog.Rule
	triple, resolved := eval.Resolved(toks)
	if !resolved {
		if r.route == "" {
			d.Refusal = unrouted()
			return d, nil, nil
		}
		res, err := r.engine.Run(ctx, r.at.route, toks, &st.State)
		if err != nil {
			return Decision{}, nil, fmt.Errorf("routing %q: %w", q.Recipient, err)
		}
		rule = res.Rule
		if triple, resolved = eval.Resolved(res.Tokens); !resolved {
			d.Refusal = unrouted()
			return d, nil, nil
		}
	}
	var err error
	if d.Refusal, err = r.refusal(triple); err != nil {
		return Decision{}, nil, fmt.Errorf("routing %q: %w", q.Recipient, err)
	} else if d.Refusal != nil {
		return d, nil, nil
	}
	syntax := r.engine.Syntax()
	d.Mailer = syntax.Join(triple.Mailer)
	d.Host = strings.ToLower(syntax.Join(triple.Host))
	if !r.sendmail() {
		d.User = syntax.Join(triple.User)
	} else {
		triple.Host, triple.User = slices.Clone(triple.Host), slices.Clone(triple.User) // the memory is used again
		if err := r.finish(ctx, &d, triple, st); err != nil {
			return Decision{}, nil, fmt.Errorf("routing %q: %w", q.Recipient, err)
		}
	}
	if r.mailers != nil && !r.mailers[strings.ToLower(d.Mailer)] {
		return Decision{}, nil, fmt.Errorf("routing %q: the rules name transport %q, which does not exist", q.Recipient, d.Mailer)
	}
	if d.User == "" {
		return Decision{}, nil, fmt.Errorf("routing %q: the rules give transport %q no user", q.Recipient, d.Mailer)
	}
	return d, rule, nil
}

func unrouted() *Refusal {
	return &Refusal{Code: 550, Enhanced: "5.1.2", Text: "no rule routes this address"}
}

// when decides about the time. What a route rule says itself stands above the send block; priorities come from the
// send block in any case.
func (r *Router) when(ctx context.Context, q *Query, d *Decision, rule *prog.Rule, st *run) error {
	var window *prog.Window
	if rule != nil && rule.Attr != nil && rule.Attr.When != prog.Unset {
		d.When, window = When(rule.Attr.When), rule.Attr.Window
	}
	if r.hasSend && (d.When == Unset || r.prioOnly) {
		st.facts.Transport, st.facts.Host, st.facts.User = d.Mailer, d.Host, d.User
		if q.Failures != nil {
			st.facts.Failures = q.Failures(d.Mailer, d.Host)
		}
		tracer := st.Tracer
		if r.prioOnly { // the last line that says a priority and goes on counts, and else the one that decides
			st.Tracer = &applied{tracer, func(rule *prog.Rule) {
				if a := rule.Attr; a != nil && a.When == prog.Unset && a.Priority != nil {
					st.prio = a.Priority
				}
			}}
		}
		res, err := r.engine.Run(ctx, r.at.send, noTokens, &st.State)
		st.Tracer = tracer
		if err != nil {
			return fmt.Errorf("deciding when to send to %q: %w", q.Recipient, err)
		}
		if st.prio != nil {
			d.Priority = *st.prio
		}
		if res.Rule != nil && res.Rule.Attr != nil {
			if d.When == Unset {
				d.When, window = When(res.Rule.Attr.When), res.Rule.Attr.Window
			}
			if p := res.Rule.Attr.Priority; p != nil {
				d.Priority = *p
			}
		}
	}
	if window != nil {
		d.NotBefore = opens(*window, q.Time)
	}
	return nil
}

// opens returns when a window is open the next time: t itself when it is open at t.
func opens(w prog.Window, t time.Time) time.Time {
	minute := t.Hour()*60 + t.Minute()
	if w.Holds(minute) {
		return t
	}
	day := t.Day()
	if minute >= w.From {
		day++
	}
	return time.Date(t.Year(), t.Month(), day, w.From/60, w.From%60, 0, 0, t.Location())
}

// refusal reads the mailers that deliver nothing: error and discard. It returns nil for all others.
func (r *Router) refusal(t eval.Triple) (*Refusal, error) {
	syntax := r.engine.Syntax()
	if len(t.Mailer) != 1 {
		return nil, nil
	}
	switch name := string(t.Mailer[0]); {
	case strings.EqualFold(name, "discard"):
		return &Refusal{Discard: true}, nil
	case strings.EqualFold(name, "error"):
	case strings.EqualFold(name, "temp") && r.sendmail(): // a word of sendmail's hooks
	default:
		return nil, nil
	}
	return readRefusal(syntax.Join(t.Host), message(t.User, syntax)), nil
}

// message joins the text of a refusal: quoted tokens lose their quotes.
func message(toks []addr.Token, syntax *addr.Syntax) string {
	var b strings.Builder
	for i, t := range toks {
		s := t.String()
		if len(s) > 1 && s[0] == '"' {
			s = unescape(s[1 : len(s)-1])
		} else if i > 0 && !syntax.IsOperator(t) && !syntax.IsOperator(toks[i-1]) && toks[i-1][0] != '"' {
			b.WriteByte(' ')
		}
		b.WriteString(s)
	}
	return b.String()
}

func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// exits are the words and numbers that sendmail takes in place of an enhanced code, with what they mean
// (sysexits.h; Sendmail Operations Guide 5.1.4.1).
var exits = map[string]struct {
	code     int
	enhanced string
}{
	"usage": {501, "5.5.0"}, "64": {501, "5.5.0"}, "nouser": {550, "5.1.1"}, "67": {550, "5.1.1"}, "nohost": {550, "5.1.2"}, "68": {550, "5.1.2"},
	"unavailable": {554, "5.0.0"}, "69": {554, "5.0.0"}, "software": {554, "5.3.0"}, "70": {554, "5.3.0"}, "tempfail": {451, "4.3.0"},
	"75": {451, "4.3.0"}, "protocol": {554, "5.5.0"}, "76": {554, "5.5.0"}, "noperm": {550, "5.7.1"}, "77": {550, "5.7.1"},
	"config": {554, "5.3.5"}, "78": {554, "5.3.5"},
}

// readRefusal makes a refusal of $#error $@ host $: text. The host is an enhanced code, a word or a number of
// sysexits.h; the text may begin with an SMTP code and an enhanced code. What is not said follows from the rest.
func readRefusal(host, text string) *Refusal {
	ref := &Refusal{}
	host = strings.ToLower(host)
	if e, ok := exits[host]; ok {
		ref.Code, ref.Enhanced = e.code, e.enhanced
	} else if class(host) != 0 {
		ref.Enhanced = host
	}
	text = strings.TrimSpace(text)
	if word, rest, _ := strings.Cut(text, " "); len(word) == 3 {
		if n, err := strconv.Atoi(word); err == nil && n >= 400 && n <= 599 {
			ref.Code, text = n, strings.TrimSpace(rest)
		}
	}
	if word, rest, _ := strings.Cut(text, " "); class(word) != 0 {
		ref.Enhanced, text = word, strings.TrimSpace(rest)
	}
	switch {
	case ref.Code == 0 && ref.Enhanced != "":
		ref.Code = map[int]int{4: 450}[class(ref.Enhanced)]
		if ref.Code == 0 {
			ref.Code = 550
		}
	case ref.Code == 0:
		ref.Code = 553
	}
	if class(ref.Enhanced) != ref.Code/100 {
		ref.Enhanced = fmt.Sprintf("%d.0.0", ref.Code/100)
	}
	if ref.Text = text; text == "" {
		ref.Text = "refused by a rule"
	}
	return ref
}

// class is the class of an enhanced status code, 4 or 5; 0 when text is none.
func class(text string) int {
	part := strings.Split(text, ".")
	if len(part) != 3 || part[0] != "4" && part[0] != "5" {
		return 0
	}
	for _, p := range part[1:] {
		if n, err := strconv.Atoi(p); err != nil || n < 0 || n > 999 {
			return 0
		}
	}
	return int(part[0][0] - '0')
}
