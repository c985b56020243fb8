package rules

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"waybill/rules/addr"
	"waybill/rules/compile"
	"waybill/rules/eval"
	"waybill/rules/lang"
	"waybill/rules/prog"
	"waybill/rules/trace"
)

// The search for addresses that no rule resolves and for ways to relay. Its plan:
//
//  1. Collect the vocabulary of the program: the words of its patterns, members of its classes, keys of its tables, and
//     two names that it does not have: those of a victim elsewhere.
//  2. Begin with addresses of the usual forms over that vocabulary, and with one address for each pattern of each rule.
//  3. Ask the rules about each. An address that takes a way through the rules that no other took before is changed in
//     small ways (a token replaced, put in, left out; the whole wrapped in one of our names), and what comes out is
//     asked about as well; it is also asked with other circumstances: each number, time, sender and name that some
//     condition compares with.
//  4. The goals are looked at in every answer. What reaches one is made shorter while it still does.
//
// The order is fixed, so the same rules give the same findings.
const searchBudget = 6000 // addresses

type searcher struct {
	r         *Router
	vocab     []string // tokens and names to put into addresses
	ours      []string // names that the rules take for local
	victim    string   // a domain that the rules do not know
	site      string   // a UUCP site that they do not know
	facts     []circumstance
	stranger  []circumstance // those that a stranger can bring about
	clients   []Client
	asked     map[string]bool
	queue     []string
	paths     map[[2]*prog.Rule]bool
	left      int
	lostPlain bool // found
	lostElse  bool // in other circumstances
	needRelay bool // still to be found
	found     Diagnostics
}

// circumstance is something beside the address that a condition looks at.
type circumstance struct {
	text string // ", when ..."
	set  func(*Query)
	ours bool // no stranger can bring it about
}

func (r *Router) search() Diagnostics {
	if r.route == "" {
		return Diagnostics{r.finding(Unrouted, "", "there is no route block: no address goes anywhere", "write: route { ... }")}
	}
	s := &searcher{r: r, asked: map[string]bool{}, paths: map[[2]*prog.Rule]bool{}, left: searchBudget, needRelay: true}
	s.victim, s.site = s.unknown("remote%s.example"), s.unknown("farsite%s")
	s.collect()
	for _, a := range s.usual() {
		s.ask(a)
	}
	for _, rs := range r.Program().Rulesets {
		for _, rule := range rs.Rules {
			for _, a := range s.instances(rule) {
				s.ask(a)
			}
		}
	}
	for len(s.queue) > 0 && s.left > 0 && !s.done() {
		a := s.queue[0]
		s.queue = s.queue[1:]
		s.mutate(a)
	}
	return s.found
}

// unknown makes a name that no text of the program holds.
func (s *searcher) unknown(form string) string {
	for n := 0; ; n++ {
		name := fmt.Sprintf(form, strings.Repeat("x", n))
		used := false
		for _, rs := range s.r.Program().Rulesets {
			for _, rule := range rs.Rules {
				used = used || strings.Contains(rule.Source, name)
			}
		}
		for _, c := range s.r.Program().Classes {
			for _, w := range c.Words {
				used = used || strings.Contains(w, name)
			}
		}
		if !used {
			return name
		}
	}
}

// ask looks at what the rules make of an address, once.
func (s *searcher) ask(address string) {
	if s.asked[address] || s.left <= 0 || len(address) > 200 || s.done() {
		return
	}
	s.asked[address] = true
	s.left--
	way := &wayTracer{}
	q := s.query(address)
	d, err := s.r.Route(context.Background(), q, way)
	leads := s.needRelay && err == nil && s.leads(d)
	if leads {
		q.Client, way.last = s.clients[0], nil
		if v, err := s.r.Accept(context.Background(), StageRcpt, q, way); err == nil && v.Refusal == nil {
			s.relay(q, circumstance{}, s.clients[:1])
		}
	}
	fresh := false
	for _, step := range way.steps {
		if !s.paths[step] {
			s.paths[step] = true
			fresh = true
		}
	}
	s.lookLost(q, d, err, circumstance{})
	if !fresh {
		return
	}
	s.queue = append(s.queue, address)
	if leads {
		for _, c := range append([]circumstance{{}}, s.stranger...) {
			s.relay(q, c, s.clients)
		}
	}
	for _, c := range s.facts {
		q := s.query(address)
		c.set(&q)
		d, err := s.r.Route(context.Background(), q, nil)
		s.lookLost(q, d, err, c)
		if !leads && err == nil && !c.ours && s.leads(d) {
			s.relay(q, c, s.clients)
		}
	}
}

func (s *searcher) query(address string) Query {
	return Query{Recipient: address, Sender: "someone@stranger.example", Time: testTime(), Size: 1000, Recipients: 1}
}

// wayTracer records which rule followed upon which, without the texts.
type wayTracer struct {
	steps [][2]*prog.Rule
	last  *prog.Rule
}

func (*wayTracer) Wants() trace.Kind { return trace.Rewrite }

func (w *wayTracer) Event(e *trace.Event) {
	if e.Kind == trace.Rewrite && e.Rule != w.last {
		w.steps = append(w.steps, [2]*prog.Rule{w.last, e.Rule})
		w.last = e.Rule
	}
}

// done reports whether nothing is left to be found.
func (s *searcher) done() bool { return s.lostPlain && s.lostElse && !s.needRelay }

// lookLost reports an address when the rules do not say where it goes: one that always goes nowhere, and one that does so
// in some circumstances only.
func (s *searcher) lookLost(q Query, d Decision, err error, c circumstance) {
	before := &s.lostPlain
	if c.set != nil {
		if before = &s.lostElse; s.lostPlain && !*before {
			q := s.query(q.Recipient)
			d, err := s.r.Route(context.Background(), q, nil)
			if _, ok := s.lost(d, err); ok {
				return
			}
		}
	}
	if *before {
		return
	}
	if why, ok := s.lost(d, err); ok {
		*before = true
		s.reportLost(q, c, why)
	}
}

// lost reports whether the rules do not say where an address goes.
func (s *searcher) lost(d Decision, err error) (why string, ok bool) {
	var wrong *eval.Error
	switch {
	case err == nil:
		return "no rule says where %s goes", d.Refusal != nil && *d.Refusal == *unrouted()
	case !errors.As(err, &wrong):
		return "the rules cannot decide where %s goes: " + strings.ReplaceAll(lastPart(err), "%", "%%"), true
	case wrong.Status == eval.Config || errors.Is(err, eval.ErrBudget):
		return "the rules never get ready with %s: " + strings.ReplaceAll(wrong.Error(), "%", "%%"), true
	}
	return "", false
}

func lastPart(err error) string {
	_, text, ok := strings.Cut(err.Error(), ": ")
	if !ok {
		return err.Error()
	}
	return text
}

func (s *searcher) reportLost(q Query, c circumstance, why string) {
	address := s.shorter(q.Recipient, func(a string) bool {
		q := s.query(a)
		if c.set != nil {
			c.set(&q)
		}
		d, err := s.r.Route(context.Background(), q, nil)
		_, ok := s.lost(d, err)
		return ok
	})
	remedy := `end the block with a rule that matches the rest: otherwise => reject 550 5.1.2 "..."`
	if !strings.HasPrefix(why, "no rule") {
		remedy = "see how it comes to this: waybill rules explain " + address
	}
	s.found = append(s.found, s.r.finding(Unrouted, s.r.route, fmt.Sprintf(why, address)+c.text, remedy))
}

// leads reports whether a decision sends mail to where its sender wants, out of this host: to the victim.
func (s *searcher) leads(d Decision) bool {
	if d.Refusal != nil || s.r.local(d.Mailer) {
		return false
	}
	host, user := strings.ToLower(d.Host), strings.ToLower(d.User)
	named := func(t string) bool { return strings.Contains(t, s.victim) || strings.Contains(t, s.site) }
	if at := strings.LastIndexByte(user, '@'); at >= 0 && host != "" && !named(host) {
		return named(user[at:]) // the next hop goes by what stands behind the last @
	}
	return named(host) || named(user)
}

// relay looks whether strangers may send mail to an address that leads out of this host.
func (s *searcher) relay(q Query, c circumstance, clients []Client) {
	for _, client := range clients {
		q := s.query(q.Recipient)
		q.Client = client
		if c.set != nil {
			c.set(&q)
		}
		if !s.needRelay || !s.open(q) {
			continue
		}
		s.needRelay = false
		q.Recipient = s.shorter(q.Recipient, func(a string) bool {
			q := q
			q.Recipient = a
			return s.open(q)
		})
		s.reportRelay(q, c)
	}
}

// open reports whether mail leads out of this host and no stage refuses it.
func (s *searcher) open(q Query) bool {
	ctx := context.Background()
	d, err := s.r.Route(ctx, q, nil)
	if err != nil || !s.leads(d) {
		return false
	}
	for _, stage := range []Stage{StageRcpt, StageMail, StageHelo, StageConnect, StageData, StageMessage} {
		v, err := s.r.Accept(ctx, stage, q, nil)
		if err != nil || v.Refusal != nil || v.Quarantine != "" {
			return false
		}
	}
	return true
}

func (s *searcher) reportRelay(q Query, c circumstance) {
	ctx := context.Background()
	d, _ := s.r.Route(ctx, q, nil)
	from, to := q.Sender, d.Mailer
	if from == "" {
		from = "<>"
	}
	if d.Host != "" {
		to += " to " + d.Host
	}
	message := fmt.Sprintf("a stranger can relay: client %s, sender %s, recipient %s goes by %s%s", q.Client.Addr, from, q.Recipient, to, c.text)
	f := s.r.finding(Relay, compile.AcceptName("rcpt"), message,
		"accept rcpt by where the mail goes (mailer local) and by who brings it, and end with: otherwise reject 550 5.7.1 \"Relaying denied\"")
	if v, _ := s.r.Accept(ctx, StageRcpt, q, Explained()); v.Decided {
		for _, step := range v.Why {
			if step.Kind == StepRule && strings.HasPrefix(step.After, "$#") && strings.HasPrefix(step.Ruleset, compile.AcceptName("")) {
				at := prog.Pos{File: step.File, Line: step.Line}
				f.Source = s.r.line(at)
				indent := len(f.Source) - len(strings.TrimLeft(f.Source, " \t"))
				f.Pos = lang.Pos{Filename: step.File, Line: step.Line, Column: indent + 1}
				f.End = f.Pos
				f.End.Column = len([]rune(strings.TrimRight(f.Source, " \t"))) + 1
				f.Related = append(f.Related, "this line lets it through; it goes on by:")
			}
		}
		if e := s.r.Explain(ctx, q); len(e.Decision.Why) > 0 {
			last := e.Decision.Why[0]
			for _, step := range e.Decision.Why { // the innermost rule that resolved is the last one
				if strings.HasPrefix(step.After, "$#") && step.Kind == StepRule && step.Ruleset != compile.Send {
					last = step
				}
			}
			f.Related = append(f.Related, last.Place()+": "+last.Source)
		}
	}
	s.found = append(s.found, f)
}

// shorter leaves tokens of an address out while it still does what is asked.
func (s *searcher) shorter(address string, holds func(string) bool) string {
	syntax := s.r.engine.Syntax()
	for again := !strings.ContainsAny(address, `["`); again; {
		again = false
		toks, _ := syntax.Split(address)
		for i := range toks {
			a := syntax.Join(append(append([]addr.Token{}, toks[:i]...), toks[i+1:]...))
			if len(toks) > 1 && a != address && plain(a) && (a[0] == '@') == (address[0] == '@') && strings.Contains(a, "@") == strings.Contains(address, "@") && holds(a) {
				address, again = a, true
				break
			}
		}
	}
	return address
}

// plain reports whether an address begins and ends with something that people write there.
func plain(a string) bool {
	return a != "" && (isWord(a[0]) || a[0] == '@') && isWord(a[len(a)-1])
}
