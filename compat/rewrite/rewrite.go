// Package rewrite takes an address through the rules of a sendmail.cf as delivery does: which mailer carries a
// recipient, and what an address looks like when that mailer writes it into an envelope or a header. In flow addresses
// as text and a cf.Config; out flow triples, refusals and rewritten text. The order of rulesets is that of sendmail's
// Operations Guide, "The Rewriting Rules": 3, 0 for the triple; 3, 1 or 2, the mailer's S= or R=, 4 for text.
//
// An error is always temporary: a table did not answer. What the rules refuse is a Refusal.
package rewrite

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"waybill/compat/cf"
	"waybill/rules/addr"
	"waybill/rules/eval"
	"waybill/rules/prog"
	"waybill/rules/trace"
	"waybill/transport/sysexits"
)

// Rewriter rewrites by one configuration. It is safe for concurrent use.
type Rewriter struct {
	conf   *cf.Config
	engine *eval.Engine
	shown  func(user string) (address string, err error) // nil: users are shown as they are
}

// ShowUsers has users of this host shown as what name returns (the mailname of the user database): the senders of
// mailers with F=i, and recipients in headers of those with F=j. An empty address leaves a user as he is. It is called
// before the Rewriter is used.
func (r *Rewriter) ShowUsers(name func(user string) (address string, err error)) { r.shown = name }

// show returns the tokens of the address that stands for a user of this host.
func (r *Rewriter) show(ctx context.Context, toks []addr.Token, mailer *cf.Mailer, kind Kind, m Message) ([]addr.Token, error) {
	if r.shown == nil || len(toks) == 0 || !(kind == EnvelopeSender && mailer.Has('i') || kind == HeaderRecipient && mailer.Has('j')) {
		return toks, nil
	}
	if kind == HeaderRecipient && slices.Contains(toks, "@") { // only bare names
		return toks, nil
	}
	t, err := r.Parse(ctx, r.join(toks), m)
	if err != nil || t.Mailer == nil || !t.Mailer.Has('@') || t.Listed {
		return toks, err
	}
	address, err := r.shown(t.User)
	if err != nil || address == "" {
		return toks, err
	}
	shown, issues := r.engine.Syntax().SplitStripped(address)
	if len(issues) > 0 || len(shown) == 0 {
		return toks, nil
	}
	return shown, nil
}

// New returns a Rewriter. Tables that cannot be opened answer "not now".
func New(conf *cf.Config, env eval.TableEnv) (*Rewriter, error) {
	tables, _ := eval.OpenTables(conf.Prog, env)
	engine, err := eval.New(conf.Prog, eval.Options{Tables: tables})
	if err != nil {
		return nil, err
	}
	return &Rewriter{conf: conf, engine: engine}, nil
}

// Message is what the rules may ask about the message at hand, by the names of sendmail's macros: "f" the sender,
// "client_addr". A missing one is not set.
type Message map[string]string

// Target is where a recipient goes.
type Target struct {
	Mailer     *cf.Mailer
	Host, User string
	Refusal    *Refusal // not nil: nowhere; Mailer is nil then
	Said       []string // what sendmail complains of on the way: rules that call each other without end
	Listed     bool     // the user had a leading "@" (F=@): neither aliases nor ruleset 5 change it
}

// Refusal is what $#error says, or $#discard of a check_ ruleset.
type Refusal struct {
	Code           int    // SMTP
	Enhanced, Text string // RFC 3463 code, and the text without either code
	Exit           int    // sysexits
	Discard        bool
	Spoken         string // the RFC 3463 code of the text; mostly empty: Enhanced
	Raw            string // what stands behind $:, as the rules left it
	Direct         string // the program or the file that nobody may name from outside
	Said           string // the line for a transcript, where that has another code; mostly empty
}

func (r *Rewriter) state(m Message) *eval.State {
	macros := eval.NewMacros(r.conf.Prog)
	for name, value := range m {
		macros.Set(name, value)
	}
	return &eval.State{Macros: macros}
}

// run runs one ruleset; one that does not exist changes nothing, as in sendmail.
func (r *Rewriter) run(ctx context.Context, rs *prog.Ruleset, toks []addr.Token, st *eval.State) ([]addr.Token, error) {
	if rs == nil {
		return toks, nil
	}
	res, err := r.engine.Run(ctx, rs.Index, toks, st)
	var trouble *eval.Error
	if errors.As(err, &trouble) && !trouble.Temporary() {
		return res.Tokens, nil // a mistake in the rules: sendmail goes on with what there is
	}
	return res.Tokens, err
}

func (r *Rewriter) named(name string) *prog.Ruleset { return r.conf.Prog.Ruleset(name) }

// badAddress refuses what is no address.
func badAddress(text string) *Refusal {
	return &Refusal{Code: 553, Enhanced: "5.1.3", Text: text, Exit: sysexits.Usage}
}

// Parse finds out where a recipient goes.
func (r *Rewriter) Parse(ctx context.Context, address string, m Message) (Target, error) {
	toks, issues := r.engine.Syntax().SplitStripped(address)
	if len(issues) > 0 || len(toks) == 0 {
		return Target{Refusal: badAddress("User address required")}, nil
	}
	st := r.state(m)
	st.Macros.Set("addr_type", "e r")
	var err error
	var said complaints
	st.Tracer = &said
	for _, name := range []string{"3", "0"} {
		if toks, err = r.run(ctx, r.named(name), toks, st); err != nil {
			return Target{}, err
		}
	}
	st.Tracer = nil
	t, err := r.resolve(ctx, toks, st)
	t.Said = said
	return t, err
}

// complaints are what sendmail says of rules that call each other without end.
type complaints []string

func (c *complaints) Wants() trace.Kind { return trace.Message }

func (c *complaints) Event(e *trace.Event) {
	if strings.HasPrefix(e.Text, "rewrite: excessive recursion") {
		*c = append(*c, e.Text)
	}
}

// Unaliased takes a target that no alias changes through ruleset 5, where the mailer asks for it (F=5). When the ruleset
// resolves to something else, that counts (Operations Guide, "Ruleset 5").
func (r *Rewriter) Unaliased(ctx context.Context, t Target, m Message) (Target, error) {
	rs := r.named("5")
	toks, issues := r.engine.Syntax().SplitStripped(t.User)
	if rs == nil || t.Mailer == nil || !t.Mailer.Has('5') || len(issues) > 0 || len(toks) == 0 {
		return t, nil
	}
	st := r.state(m)
	st.Macros.Set("addr_type", "e r")
	toks, err := r.run(ctx, rs, toks, st)
	if err != nil || len(toks) == 0 || toks[0] != addr.Mailer {
		return t, err
	}
	return r.resolve(ctx, toks, st)
}

// Words is text as sendmail passes it on: taken apart into tokens, without comments, and put together again.
func (r *Rewriter) Words(text string) string {
	toks, _ := r.engine.Syntax().SplitStripped(text)
	return r.join(toks)
}

// resolve looks at what ruleset 0 returned: "$# mailer $@ host $: user".
func (r *Rewriter) resolve(ctx context.Context, toks []addr.Token, st *eval.State) (Target, error) {
	if len(toks) < 2 || toks[0] != addr.Mailer {
		return misconfigured("no mailer in parsed address"), nil
	}
	name := string(toks[1])
	host, user, hasUser := cut(toks[2:])
	if strings.EqualFold(name, "error") {
		raw := r.joinWith(user, " ")
		no := refusal(r.join(host), raw)
		no.Raw = raw
		if none := no.Enhanced[:1] + ".0.0"; !slices.Contains(host, ".") && no.Enhanced != none { // without a code behind $@ only who is told hears of one
			no.Spoken, no.Enhanced = no.Enhanced, none
			if len(host) == 0 && no.Exit != sysexits.TempFail {
				no.Exit = sysexits.Unavailable
			}
		}
		return Target{Refusal: no}, nil
	}
	mailer := r.conf.Mailer(name)
	switch {
	case mailer == nil:
		return misconfigured("unknown mailer " + name), nil
	case !hasUser:
		return misconfigured("no user"), nil
	case len(host) == 0 && !mailer.Has('l'):
		return misconfigured("no host"), nil
	}
	if direct := map[string]string{"prog": "programs", "*file*": "files", "*include*": ":include:s"}[mailer.Name]; direct != "" {
		text := "Cannot mail directly to " + direct
		return Target{Refusal: &Refusal{Code: 550, Enhanced: "5.7.1", Text: text, Exit: sysexits.Usage}}, nil
	}
	t := Target{Mailer: mailer, Host: r.join(host)}
	if !mailer.Has('h') {
		t.Host = strings.ToLower(t.Host)
	}
	st.Macros.Set("h", t.Host)
	if text := strings.TrimPrefix(r.join(user), `"`); mailer.Has('|') && strings.HasPrefix(text, "|") {
		// security.md: only aliases and .forward files name programs and files
		return Target{Refusal: &Refusal{Code: 550, Enhanced: "5.7.1", Text: "Cannot mail directly to programs", Exit: sysexits.Usage, Direct: text}}, nil
	} else if mailer.Has('/') && strings.HasPrefix(text, "/") {
		return Target{Refusal: &Refusal{Code: 550, Enhanced: "5.7.1", Text: "Cannot mail directly to files", Exit: sysexits.Usage, Direct: text}}, nil
	} else if mailer.Has(':') && strings.HasPrefix(strings.ToLower(text), ":include:") {
		return Target{Refusal: &Refusal{Code: 550, Enhanced: "5.7.1", Text: "Cannot mail directly to :include:s", Exit: sysexits.Usage, Direct: text}}, nil
	}
	if mailer.Has('@') && len(user) > 0 && user[0] == "@" {
		user, t.Listed = user[1:], true
	}
	var err error
	for _, rs := range []*prog.Ruleset{r.named("2"), own(mailer.EnvRcpt), r.named("4")} {
		if user, err = r.run(ctx, rs, user, st); err != nil {
			return Target{}, err
		}
	}
	t.User = r.join(user)
	if !mailer.Has('u') {
		t.User = strings.ToLower(t.User)
	}
	return t, nil
}

// misconfigured is a target that makes no sense, which is for the people of this site to mend.
func misconfigured(why string) Target {
	text := "buildaddr: " + why
	return Target{Refusal: &Refusal{Code: 554, Enhanced: "5.0.0", Text: text, Exit: sysexits.Software, Said: "554 5.3.5 " + text}}
}

// cut takes host and user out of what follows the mailer. Several hosts are glued together.
func cut(toks []addr.Token) (host, user []addr.Token, hasUser bool) {
	for i, t := range toks {
		switch t {
		case addr.User:
			return host, toks[i+1:], true
		case addr.Host:
		default:
			host = append(host, t)
		}
	}
	return host, nil, false
}

func (r *Rewriter) join(toks []addr.Token) string { return r.engine.Syntax().Join(toks) }

func (r *Rewriter) joinWith(toks []addr.Token, blank string) string {
	return r.engine.Syntax().JoinWith(toks, blank)
}

// exits are the words that $#error $@ may name (Operations Guide, "$#error").
var exits = map[string]int{
	"USAGE": sysexits.Usage, "NOUSER": sysexits.NoUser, "NOHOST": sysexits.NoHost, "UNAVAILABLE": sysexits.Unavailable,
	"SOFTWARE": sysexits.Software, "TEMPFAIL": sysexits.TempFail, "PROTOCOL": sysexits.Protocol, "CONFIG": sysexits.Config,
	"DATAERR": sysexits.DataErr, "NOPERM": sysexits.NoPerm,
}

// refusal reads the host and user parts of $#error: a D.S.N code, a number or a word; "550 5.1.1 text", with or without
// quotes.
func refusal(code, text string) *Refusal {
	r := &Refusal{Code: 553, Enhanced: "5.0.0", Exit: sysexits.Unavailable}
	text = strings.TrimSpace(strings.ReplaceAll(text, `"`, ""))
	if word, rest, ok := strings.Cut(text, " "); ok && len(word) == 3 {
		if n, err := strconv.Atoi(word); err == nil && n >= 400 && n < 600 {
			r.Code, text = n, strings.TrimLeft(rest, " ")
			r.Enhanced = word[:1] + ".0.0"
		}
	}
	if word, rest, ok := strings.Cut(text, " "); ok && isEnhanced(word) {
		r.Enhanced, text = word, rest
	}
	switch exit, named := exits[strings.ToUpper(code)]; {
	case isEnhanced(code):
		r.Enhanced = code
	case named:
		r.Exit = exit
	case strings.Contains(code, "."):
		r.Exit = sysexits.Config
	default:
		if n, err := strconv.Atoi(code); err == nil && n > 0 {
			r.Exit = n & 0xff // as exit(2) has it
		}
	}
	if r.Exit == sysexits.Unavailable {
		r.Exit = exitFor(r.Enhanced)
	}
	if r.Code/100 == 4 || r.Enhanced[0] == '4' || r.Exit == sysexits.TempFail {
		r.Exit = sysexits.TempFail
		r.Enhanced = "4" + r.Enhanced[1:]
		if r.Code/100 != 4 {
			r.Code = 450
		}
	} else {
		r.Enhanced = "5" + r.Enhanced[1:]
	}
	r.Text = text
	if r.Text == "" {
		r.Text = "the address is refused"
	}
	return r
}

func isEnhanced(s string) bool {
	p := strings.Split(s, ".")
	if len(p) != 3 || p[0] != "2" && p[0] != "4" && p[0] != "5" {
		return false
	}
	for _, n := range p[1:] {
		if n == "" || len(n) > 3 || strings.Trim(n, "0123456789") != "" {
			return false
		}
	}
	return true
}

// exitFor is the exit status that sendmail derives from a D.S.N code.
func exitFor(code string) int {
	detail := code[2:]
	if n, ok := map[string]int{
		"1.0": sysexits.DataErr, "1.1": sysexits.NoUser, "1.2": sysexits.NoHost, "1.3": sysexits.Usage, "1.5": sysexits.Config, "1.6": sysexits.NoUser,
		"1.7": sysexits.Usage, "1.8": sysexits.NoHost, "2.3": sysexits.DataErr, "4.0": sysexits.IOErr, "4.1": sysexits.TempFail, "4.3": sysexits.TempFail, "4.4": sysexits.Protocol, "4.6": sysexits.Config,
	}[detail]; ok {
		return n
	}
	switch detail[:2] {
	case "3.":
		return sysexits.OSErr
	case "5.":
		return sysexits.Protocol
	case "7.":
		return sysexits.DataErr
	}
	return sysexits.Unavailable
}

// Kind says which address is rewritten.
type Kind uint8

const (
	EnvelopeSender Kind = iota
	EnvelopeRecipient
	HeaderSender
	HeaderRecipient
)

// Remote rewrites an address as a mailer wants to see it. The rules decide what becomes
// of the null sender: sendmail's own give local mailers MAILER-DAEMON.
func (r *Rewriter) Remote(ctx context.Context, address string, mailer *cf.Mailer, kind Kind, m Message) (string, error) {
	var toks []addr.Token // none stand for the null address
	if address != "" {
		var issues []addr.Issue
		toks, issues = r.engine.Syntax().SplitStripped(address)
		if len(issues) > 0 || len(toks) == 0 {
			return address, nil // whatever it is, it is not ours to repair
		}
	} else if kind != EnvelopeSender {
		return "", nil
	}
	text, ok, err := r.steps(ctx, toks, mailer, kind, m)
	if err == nil && !ok {
		text = address
	}
	return text, err
}

// remote is Remote for an element of a header field, with the words around the address. It is not ok where the element
// is no address, or the rules do not take it as one; what is merely not closed is closed.
func (r *Rewriter) remote(ctx context.Context, element string, mailer *cf.Mailer, kind Kind, m Message) (text string, ok bool, err error) {
	toks, _ := r.engine.Syntax().SplitStripped(element)
	if len(toks) == 0 {
		return "", false, nil
	}
	return r.steps(ctx, toks, mailer, kind, m)
}

// own is a mailer's own ruleset; "S=0" and "R=0" say that it has none, although there is a ruleset 0.
func own(rs *prog.Ruleset) *prog.Ruleset {
	if rs != nil && rs.Number == 0 {
		return nil
	}
	return rs
}

// steps takes an address through rulesets 3, 1 or 2, the mailer's, and 4. It is not ok where they resolve it.
func (r *Rewriter) steps(ctx context.Context, toks []addr.Token, mailer *cf.Mailer, kind Kind, m Message) (text string, ok bool, err error) {
	if toks, err = r.show(ctx, toks, mailer, kind, m); err != nil {
		return "", false, err
	}
	st := r.state(m)
	common, set, word := "1", mailer.EnvSender, "e s"
	switch kind {
	case EnvelopeRecipient:
		common, set, word = "2", mailer.EnvRcpt, "e r"
	case HeaderSender:
		set, word = mailer.HdrSender, "h s"
	case HeaderRecipient:
		common, set, word = "2", mailer.HdrRcpt, "h r"
	}
	st.Macros.Set("addr_type", word)
	for _, rs := range []*prog.Ruleset{r.named("3"), r.named(common), own(set), r.named("4")} {
		if toks, err = r.run(ctx, rs, toks, st); err != nil {
			return "", false, err
		}
	}
	if len(toks) == 0 || toks[0].IsMeta() {
		return "", false, nil
	}
	return r.join(toks), true, nil
}

// Check asks a policy ruleset (check_mail, check_rcpt). args are joined by the metasymbol $|, as the daemon of sendmail
// does it. A ruleset that does not exist accepts. quarantine is the reason to hold the message; empty: none.
func (r *Rewriter) Check(ctx context.Context, ruleset string, args []string, m Message) (refused *Refusal, quarantine string, err error) {
	rs := r.named(ruleset)
	if rs == nil {
		return nil, "", nil
	}
	var toks []addr.Token
	for i, a := range args {
		if i > 0 {
			toks = append(toks, addr.Sep)
		}
		cut, issues := r.engine.Syntax().Split(a)
		if len(issues) > 0 {
			return badAddress("Syntax error in address"), "", nil
		}
		toks = append(toks, cut...)
	}
	toks, err = r.run(ctx, rs, toks, r.state(m))
	var later *eval.NotNow
	if errors.As(err, &later) && len(toks) >= 2 && toks[0] == addr.Mailer {
		if refused, _ := r.verdict(toks); refused != nil && refused.Code/100 == 4 { // "not now", in words of the rules' own
			return refused, "", nil
		}
	}
	if err = unlessTold(err); err != nil || len(toks) < 2 || toks[0] != addr.Mailer {
		return nil, "", err
	}
	refused, quarantine = r.verdict(toks)
	return refused, quarantine, nil
}

// unlessTold forgets that a table could not answer where the rules knew it (map flag -T) and have decided all the same:
// sendmail does not look at the status of a check_ ruleset.
func unlessTold(err error) error {
	var later *eval.NotNow
	if errors.As(err, &later) && later.Marked {
		return nil
	}
	return err
}

// InClass reports whether a word is in a class.
func (r *Rewriter) InClass(class, word string) bool { return r.engine.InClass(class, word) }
