package testmode

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"waybill/rules/addr"
	"waybill/rules/eval"
	"waybill/rules/prog"
	"waybill/rules/trace"
	"waybill/transport/sysexits"
)

// maxAddress is how long an address may be that somebody types.
const maxAddress = addr.MaxAddress

// rulesets is the command "LIST ADDRESS": each address goes through all rulesets of the list.
func (s *session) rulesets(line string) {
	i := strings.IndexAny(line, " \t\v\f\r")
	if i < 0 {
		fmt.Fprint(s.out, "No address!\n")
		return
	}
	list, text := line[:i], line[i+1:]
	if len(text) > maxAddress {
		fmt.Fprintf(s.out, "Address \"%s\" too long (%d bytes max)\n", addr.SevenBit(text[:maxAddress]), maxAddress)
		return
	}
	syntax := s.engine().Syntax()
	for more := text != ""; more; {
		var toks []addr.Token
		var issues []addr.Issue
		var rest string
		toks, rest, more, issues = syntax.SplitTyped(text, ',', s.cfg.Level < 9)
		fatal := s.issues(issues, text)
		text = rest
		if fatal {
			return
		}
		if len(toks) == 0 {
			continue
		}
		s.through(list, toks)
	}
}

// issues prints what was wrong with a text and reports whether there is no going on.
func (s *session) issues(issues []addr.Issue, text string) (fatal bool) {
	for _, i := range issues {
		fmt.Fprintln(s.out, i.Message(text))
		if i.Wrong == addr.EightBitChar {
			s.exit(sysexits.Usage)
		}
		fatal = fatal || i.Fatal()
	}
	return fatal
}

// through runs tokens through a list of rulesets.
func (s *session) through(list string, toks []addr.Token) {
	if s.tokens == nil {
		s.tokens = make([]addr.Token, 0, addr.MaxTokens)
	}
	s.state.Out = s.tokens[:0] // each ruleset takes what the one before it has left
	defer func() { s.state.Out = nil }()
	for list != "" {
		name, rest, _ := strings.Cut(list, ",")
		rs := s.find(name, list)
		if rs == "" {
			return
		}
		var status int
		toks, status = s.run(rs, toks)
		if status != eval.OK {
			fmt.Fprintf(s.out, "== Ruleset %s (%d) status %d\n", list, s.numberOf(rs), status)
		}
		list = rest
	}
}

// find returns the name under which the engine knows a ruleset; empty, after a message, when it does not.
func (s *session) find(name, list string) string {
	name = strings.TrimSpace(name)
	i := 0
	digit := name != "" && name[0] >= '0' && name[0] <= '9'
	for i < len(name) && (name[i] >= '0' && name[i] <= '9' || !digit && (name[i] == '_' || name[i]|0x20 >= 'a' && name[i]|0x20 <= 'z')) {
		i++
	}
	switch {
	case i == 0:
		s.complain([]string{"invalid ruleset name: \"" + list + "\""})
	case digit:
		n, _ := strconv.Atoi(name[:min(i, 9)])
		if n >= 100 {
			s.complain([]string{fmt.Sprintf("bad ruleset %d (100 max)", n)})
			break
		}
		return strconv.Itoa(n)
	case s.cfg.Prog.Ruleset(name[:i]) != nil:
		return name[:i]
	case slices.Contains(s.cfg.Nameless, name[:i]):
		n, ok := s.late[name[:i]]
		if !ok { // it gets its number now, and has no other name
			n = s.cfg.NextNamed
			s.cfg.NextNamed--
			s.late[name[:i]] = n
		}
		return fmt.Sprint(n)
	}
	fmt.Fprintf(s.out, "Undefined ruleset %s\n", list)
	return ""
}

// numberOf is the number of a ruleset that find returned.
func (s *session) numberOf(name string) int {
	if rs := s.cfg.Prog.Ruleset(name); rs != nil {
		return rs.Number
	}
	n, _ := strconv.Atoi(name)
	return n
}

// ruleset returns the ruleset that a command names; nil, after a message, when there is none.
func (s *session) ruleset(name string) *prog.Ruleset {
	known := s.find(name, name)
	if known == "" {
		return nil
	}
	if rs := s.cfg.Prog.Ruleset(known); rs != nil {
		return rs
	}
	return &prog.Ruleset{Name: known}
}

// nameOf is how traces and dumps call a ruleset; nil is number 0.
func (s *session) nameOf(rs *prog.Ruleset) string {
	if rs == nil {
		if rs = s.cfg.Prog.Ruleset("0"); rs == nil {
			return "0"
		}
	}
	return rs.Name
}

// dumpRule prints a rule as "=S" does: each symbol with a blank behind it.
func (s *session) dumpRule(r *prog.Rule) {
	s.out.WriteByte('R')
	for _, t := range r.LHS {
		s.symbol(t)
	}
	s.out.WriteString("\t\t")
	switch r.Mode {
	case prog.Once:
		s.out.WriteString("$: ")
	case prog.Return:
		s.out.WriteString("$@ ")
	}
	for i, t := range r.RHS {
		if n := len(t.Text); i > 0 && s.called[r] && r.RHS[i-1].Kind == prog.Call && n > 1 && t.Text[0] == '"' && t.Text[n-1] == '"' {
			t.Text = t.Text[1 : n-1]
		}
		s.symbol(t)
	}
	s.out.WriteByte('\n')
}

func (s *session) symbol(t prog.Tok) {
	if t.Kind == prog.Literal {
		s.out.WriteString(show(t.Text))
	} else {
		s.out.WriteString(t.String())
	}
	s.out.WriteByte(' ')
}

// show is text as traces show it.
func show(text string) string { return string(addr.AppendPrint(nil, addr.Token(text))) }

// run evaluates one ruleset and returns the tokens and the status.
func (s *session) run(name string, toks []addr.Token) ([]addr.Token, int) {
	if len(name) == 3 && isDigits(name) { // one of those without a name: it has no rules
		rs := &prog.Ruleset{Name: name}
		s.state.Tracer.Event(&trace.Event{Kind: trace.Enter, Ruleset: rs, Tokens: toks})
		s.state.Tracer.Event(&trace.Event{Kind: trace.Leave, Ruleset: rs, Tokens: toks})
		return toks, eval.OK
	}
	r, _ := s.engine().RunNamed(s.ctx, name, toks, s.state)
	return r.Tokens, r.Status
}
