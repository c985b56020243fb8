package app

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"waybill/compat/cf"
	"waybill/compat/rewrite"
	"waybill/rules"
	"waybill/transport/smtpserver"
)

// cfPolicy answers the SMTP server with the check_ rulesets of a sendmail.cf (Operations Guide, "Special rulesets").
type cfPolicy struct {
	*cfSite
	client  *smtpserver.Client // nil where nobody is connected
	reverse reverse
}

var cfStages = map[rules.Stage]string{
	rules.StageConnect: "check_relay", rules.StageMail: "check_mail", rules.StageRcpt: "check_rcpt", rules.StageData: "check_data", rules.StageMessage: "check_eom",
}

func (p cfPolicy) Accept(ctx context.Context, stage rules.Stage, q rules.Query, _ rules.Tracer) (rules.Verdict, error) {
	ruleset, ok := cfStages[stage]
	if !ok {
		return rules.Verdict{}, nil
	}
	args := []string{"<" + q.Recipient + ">"}
	switch stage {
	case rules.StageConnect:
		if !q.Client.Addr.IsValid() {
			return rules.Verdict{}, nil // sendmail -bs does not ask
		}
		args = []string{q.Recipient, cfAddr(q.Client.Addr)}
	case rules.StageData:
		args = []string{strconv.Itoa(q.Recipients)}
	case rules.StageMessage:
		args = []string{strconv.FormatInt(q.Size, 10)}
	}
	m := p.macros(q)
	if err := p.addresses(ctx, stage, q, m); err != nil {
		return rules.Verdict{}, err
	}
	return cfVerdict(p.rw.Check(ctx, ruleset, args, m))
}

func cfVerdict(refused *rewrite.Refusal, quarantine string, err error) (rules.Verdict, error) {
	v := rules.Verdict{Quarantine: quarantine, Decided: refused != nil || quarantine != ""}
	if refused != nil {
		v.Refusal = &rules.Refusal{Code: refused.Code, Enhanced: refused.Enhanced, Text: refused.Text, Discard: refused.Discard}
	}
	return v, err
}

// AcceptHeader asks the ruleset that an H line names for the field, or the one of "H*:" for those without.
func (p cfPolicy) AcceptHeader(ctx context.Context, name, value string, q rules.Query, _ rules.Tracer) (rules.Verdict, error) {
	var own, other *cf.Header
	for i := range p.conf.Headers {
		h := &p.conf.Headers[i]
		switch {
		case h.Ruleset == "":
		case strings.EqualFold(h.Name, name):
			own = h
		case h.Name == "*":
			other = h
		}
	}
	if own == nil {
		own = other
	}
	if own == nil {
		return rules.Verdict{}, nil
	}
	m := p.macros(q)
	m["hdr_name"], m["currHeader"], m["hdrlen"] = name, value, strconv.Itoa(len(value))
	return cfVerdict(p.rw.CheckField(ctx, own.Ruleset, value, own.Keep, m))
}

// headerEnd is check_eoh, which is asked when the header section is there.
func (p cfPolicy) headerEnd(ctx context.Context, fields int, octets int64, q rules.Query) (rules.Verdict, error) {
	return cfVerdict(p.rw.Check(ctx, "check_eoh", []string{strconv.Itoa(fields), strconv.FormatInt(octets, 10)}, p.macros(q)))
}

// checksHeaders reports whether anything is asked about headers: most configurations do not.
func (p cfPolicy) checksHeaders() bool {
	for _, h := range p.conf.Headers {
		if h.Ruleset != "" {
			return true
		}
	}
	return p.conf.Prog.Ruleset("check_eoh") != nil
}

// macros are what the rulesets may ask about the client (Operations Guide, "Macros").
func (p cfPolicy) macros(q rules.Query) rewrite.Message {
	addr := ""
	if q.Client.Addr.IsValid() {
		addr = cfAddr(q.Client.Addr)
	}
	name := q.Client.Name
	if name == "" {
		name = "[" + addr + "]"
	}
	m := rewrite.Message{
		"f": q.Sender, "s": q.Client.Helo, "client_addr": addr, "client_name": name, "auth_authen": q.Client.Auth,
		"client_resolve": p.reverse.word(), "client_ptr": p.reverse.ptr, "nrcpts": strconv.Itoa(q.Recipients), "msg_size": strconv.FormatInt(q.Size, 10),
		"verify": "NONE",
	}
	if q.Client.Auth != "" {
		m["auth_type"], m["auth_author"] = "PLAIN", q.Client.Auth
	}
	c := p.client
	if c == nil {
		return m
	}
	daemon, flags, _ := strings.Cut(c.Role, " ")
	m["daemon_name"], m["daemon_flags"] = daemon, spaced(flags)
	m["client_port"], m["daemon_port"] = strconv.Itoa(int(c.Remote.Port())), strconv.Itoa(int(c.Local.Port()))
	m["client_rate"], m["client_connections"] = strconv.Itoa(c.Rate), strconv.Itoa(c.Connections)
	if c.Local.Addr().IsValid() {
		m["daemon_addr"], m["if_addr"] = cfAddr(c.Local.Addr()), cfAddr(c.Local.Addr())
	}
	tlsMacros(m, c.TLS, p.clientVerified(c.TLS))
	return m
}

// spaced writes flags as sendmail does: a capital is doubled, and all have a blank behind ("a EE").
func spaced(flags string) string {
	var words []string
	for _, c := range flags {
		word := string(c)
		if c >= 'A' && c <= 'Z' {
			word += word
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// cfAddr writes an address as sendmail does: IPv6 with a tag, and every group of it.
func cfAddr(a netip.Addr) string {
	if a = a.Unmap(); a.Is4() {
		return a.String()
	}
	b := a.As16()
	text := "IPv6"
	for i := 0; i < 16; i += 2 {
		text += fmt.Sprintf(":%x", int(b[i])<<8|int(b[i+1]))
	}
	return text
}

// features are what srv_features says for a client: letters, a capital turns something off.
func (p cfPolicy) features(ctx context.Context) (string, bool) {
	args, m := []string{"localhost", "0"}, rewrite.Message{"client_name": "localhost"} // of sendmail -bs
	if p.client != nil && p.client.Remote.IsValid() {
		args, m = []string{p.name(), cfAddr(p.client.Remote.Addr())}, p.macros(rules.Query{Client: rules.Client{Addr: p.client.Remote.Addr(), Name: p.client.Name}})
	}
	words, ok, err := p.rw.Answer(ctx, "srv_features", args, m)
	switch {
	case err != nil, ok && strings.EqualFold(strings.Join(words, ""), "temp"):
		return "", false
	case !ok:
		return "", true
	}
	return strings.Join(words, ""), true
}

func (p cfPolicy) name() string {
	if p.client.Name != "" {
		return p.client.Name
	}
	return "[" + cfAddr(p.client.Remote.Addr()) + "]"
}

// reverse is what looking for the name of a client came to.
type reverse struct {
	ptr   string // what the address's PTR record says, verified or not
	found bool   // and it leads back
	later bool   // the DNS did not answer
}

// word is the value of {client_resolve}.
func (r reverse) word() string {
	switch {
	case r.found:
		return "OK"
	case r.later:
		return "TEMP"
	case r.ptr != "":
		return "FORGED"
	}
	return "FAIL"
}

// cfPause is what greet_pause says for a client, in milliseconds (FEATURE(greet_pause)).
func (s *site) cfPause(ctx context.Context, client *smtpserver.Client) time.Duration {
	name, r := s.nameOf(ctx, client.Remote.Addr())
	client.Name = name
	p := cfPolicy{s.cf, client, r}
	q := rules.Query{Client: rules.Client{Addr: client.Remote.Addr(), Name: name}}
	words, ok, err := s.cf.rw.Answer(ctx, "greet_pause", []string{p.name(), cfAddr(client.Remote.Addr())}, p.macros(q))
	n, nerr := strconv.Atoi(strings.Join(words, ""))
	if err != nil || !ok || nerr != nil || n < 0 {
		return 0
	}
	return min(time.Duration(n)*time.Millisecond, maxPause)
}

// maxPause is less than the five minutes that a client waits for a greeting (RFC 5321 4.5.3.2.1).
const maxPause = 4 * time.Minute
