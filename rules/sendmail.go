package rules

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"waybill/rules/addr"
	"waybill/rules/compile"
	"waybill/rules/eval"
	"waybill/rules/prog"
)

// A program of sendmail.cf (Level above 0) is asked as sendmail asks it. The differences to our own language are here:
// the names of the hooks, what they see, the macros that are set for them, and the way from the user part of a triple
// to the address that is handed on.

// hooks are sendmail's names of our stages (Sendmail Operations Guide 5.1.4).
var hooks = map[Stage]string{
	StageConnect: "check_relay", StageMail: "check_mail", StageRcpt: "check_rcpt", StageData: "check_data", StageMessage: "check_eom",
}

// sendmail reports whether the program came from a sendmail.cf.
func (r *Router) sendmail() bool { return r.Program().Level > 0 }

// hook returns the ruleset for a stage; empty when there is none.
func (r *Router) hook(stage Stage, field string) string {
	name := compile.AcceptName(string(stage))
	if field != "" {
		name += ":" + field
	}
	if r.sendmail() {
		name = hooks[stage]
	}
	if r.Program().Ruleset(name) == nil {
		return ""
	}
	return name
}

// hookArgument is what a hook of sendmail.cf sees: the address as it was given, in brackets; of a client, name and
// address.
func (r *Router) hookArgument(stage Stage, q *Query) []addr.Token {
	loose := func(text string) []addr.Token {
		toks, _ := r.engine.Syntax().Split(text)
		return toks
	}
	switch stage {
	case StageConnect:
		name := q.Client.Name
		if name == "" && q.Client.Addr.IsValid() {
			name = "[" + q.Client.Addr.Unmap().String() + "]"
		}
		toks := append(loose(name), addr.Sep)
		if q.Client.Addr.IsValid() {
			toks = append(toks, loose(q.Client.Addr.Unmap().String())...)
		}
		return toks
	case StageMail:
		return loose("<" + q.Sender + ">")
	case StageRcpt:
		return loose("<" + q.Recipient + ">")
	case StageData:
		return loose(strconv.Itoa(q.Recipients))
	case StageMessage:
		return loose(strconv.FormatInt(q.Size, 10))
	}
	return nil
}

// setMacros sets the macros about a message that rules may ask for with $&{name}.
func setMacros(m *eval.Macros, q *Query) {
	set := func(name, value string) {
		if value != "" {
			m.Set(name, value)
		}
	}
	if q.Client.Addr.IsValid() {
		a := q.Client.Addr.Unmap()
		name, resolve := q.Client.Name, "OK"
		if name == "" {
			name, resolve = "["+a.String()+"]", "FAIL"
		}
		set("client_addr", a.String())
		set("client_name", name)
		set("client_ptr", q.Client.Name)
		set("client_resolve", resolve)
		set("_", name+" ["+a.String()+"]")
		set("r", "ESMTP")
	} else {
		set("client_name", "localhost")
		set("client_resolve", "OK")
	}
	set("s", q.Client.Helo)
	set("f", q.Sender)
	set("mail_addr", q.Sender)
	set("rcpt_addr", q.Recipient)
	set("auth_authen", q.Client.Auth)
	if version, cipher, ok := strings.Cut(q.Client.TLS, " "); ok {
		set("tls_version", version)
		set("cipher", cipher)
	}
	set("msg_size", strconv.FormatInt(q.Size, 10))
	set("nrcpts", strconv.Itoa(q.Recipients))
	set("load_avg", strconv.Itoa(int(q.Load+0.5)))
}

// wantsMacros reports whether any rule asks for the value of a macro at run time.
func wantsMacros(p *prog.Program) bool {
	has := func(toks []prog.Tok) bool {
		for _, t := range toks {
			if t.Kind == prog.RunMacro {
				return true
			}
		}
		return false
	}
	var cond func(c *prog.Cond) bool
	cond = func(c *prog.Cond) bool {
		if c == nil {
			return false
		}
		if c.Fact == prog.FactMacro || has(c.Key) {
			return true
		}
		for _, a := range c.Args {
			if has(a) {
				return true
			}
		}
		for _, s := range c.Sub {
			if cond(s) {
				return true
			}
		}
		return false
	}
	for _, rs := range p.Rulesets {
		for _, r := range rs.Rules {
			if has(r.LHS) || has(r.RHS) || cond(r.Cond) {
				return true
			}
		}
	}
	return false
}

// finish makes the user part of a triple of sendmail.cf the address that is handed on: ruleset 2, the mailer's R=, then
// ruleset 4; small letters unless the mailer's flags say otherwise (SEMANTICS fact 33).
func (r *Router) finish(ctx context.Context, d *Decision, t eval.Triple, st *run) error {
	p := r.Program()
	mailer := p.Transport(d.Mailer)
	flag := func(letter string) bool { return mailer != nil && strings.Contains(mailer.Flags, letter) }
	syntax := r.engine.Syntax()
	toks := t.User
	for _, name := range append(r.rewriters(Rewriting{Recipient: true, Mailer: d.Mailer}), first(p, "final", "4")) {
		if name == "" {
			continue
		}
		res, err := r.engine.RunNamed(ctx, name, toks, &st.State)
		if err != nil {
			return fmt.Errorf("the recipient of mailer %s: %w", d.Mailer, err)
		}
		toks = res.Tokens
	}
	d.User = syntax.Join(toks)
	if !flag("u") {
		d.User = strings.ToLower(d.User)
	}
	if host := syntax.Join(t.Host); flag("h") {
		d.Host = host
	}
	return nil
}
