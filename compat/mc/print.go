package mc

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"waybill/rules/compile"
	"waybill/rules/lang"
)

// plainName is what can be the name of a host.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

// printer writes a site in the rule language.
type printer struct {
	s *Site
	b strings.Builder
}

func (p *printer) linef(format string, args ...any) { fmt.Fprintf(&p.b, format+"\n", args...) }

// Rules is the site as a file of the rule language. origin is the name of the file that it was read from. Problems that
// show only here are added to those of the site.
func (s *Site) Rules(origin string) string {
	p := &printer{s: s}
	if name := s.defines["confDOMAIN_NAME"]; name != "" && !strings.ContainsAny(name, "$ ") {
		p.linef("host %s", compile.Quote(strings.ToLower(name)))
	}
	p.settings()
	p.classes()
	p.tables()
	config := p.local()
	p.routes(config)
	p.uses()
	p.late(config)
	body := p.understood(p.b.String())
	head := &printer{s: s}
	head.linef("# Made of %s by waybill rules convert.", origin)
	for _, x := range s.Problems {
		head.linef("# not carried over, %s", oneLine(x.String()))
	}
	for _, x := range s.Remarks {
		head.linef("# %s", oneLine(x))
	}
	head.linef("")
	return lang.Format(lang.NewSource(origin, head.b.String()+body))
}

// understood takes lines out that the language cannot read: names and texts of an .mc file may be anything.
func (p *printer) understood(text string) string {
	parser := lang.NewParser()
	for range 20 {
		_, wrong := parser.Parse(lang.NewSource("", text))
		if !wrong.Errors() {
			return text
		}
		lines := strings.Split(text, "\n")
		for _, w := range wrong {
			if at := w.Pos.Line - 1; w.Severity == lang.Error && at >= 0 && at < len(lines) && !strings.HasPrefix(lines[at], "#") {
				p.s.Problems = append(p.s.Problems, Problem{Text: "this would not be understood: " + oneLine(lines[at])})
				lines[at] = "# " + lines[at]
			}
		}
		text = strings.Join(lines, "\n")
	}
	return "# " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n# ") + "\n"
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func (p *printer) settings() {
	s := p.s
	var names []string
	for name := range s.defines {
		if _, ok := settings[name]; ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		set := settings[name]
		if v := set.form(strings.TrimSpace(s.defines[name])); v != "" && v != "0" {
			p.linef("set %s %s", set.name, compile.Words(strings.Fields(v)))
		}
	}
	privacy := strings.FieldsFunc(strings.ToLower(s.defines["confPRIVACY_FLAGS"]), func(c rune) bool { return c == ',' || c == ' ' })
	for _, word := range []string{"vrfy", "expn", "etrn"} {
		if slices.Contains(privacy, "no"+word) || slices.Contains(privacy, "goaway") && word != "etrn" {
			p.linef("set %s no", word)
		}
	}
	if a, ok := s.features["greet_pause"]; ok {
		if ms, err := strconv.Atoi(first(a)); err == nil && ms > 0 {
			p.linef("set greet-pause %ds", (ms+999)/1000)
		}
	}
	if s.has("nullclient") || s.has("msp") {
		return
	}
	var plain, submission []string
	for _, d := range s.daemons {
		if at, sub := listen(d); sub {
			submission = append(submission, at)
		} else {
			plain = append(plain, at)
		}
	}
	if len(s.daemons) == 0 {
		plain = []string{"*:25"}
	}
	if !s.has("no_default_msa") {
		submission = append(submission, "*:587")
	}
	if plain != nil {
		p.linef("set listen %s", compile.Words(plain))
	}
	if submission != nil { // sendmail takes it from everybody who may relay; here one logs in, with TLS
		s.Remarks = append(s.Remarks, "mail programs could send by port 587; for that, write: set listen-submission "+compile.Words(submission)+", set passwords, set tls-cert, set tls-key")
	}
}

// class writes a class, if it has members.
func (p *printer) class(name string, words, files []string) {
	if len(words)+len(files) == 0 {
		return
	}
	text := ""
	for _, w := range words {
		text += " " + compile.Quote(w)
	}
	for _, f := range files {
		text += " " + f
	}
	p.linef("class %s {%s }", name, text)
}

func (p *printer) classes() {
	s := p.s
	names, files := slices.Clone(s.names), slices.Clone(s.nameFiles)
	if s.defines["confDOMAIN_NAME"] != "" && s.Machine != "" { // sendmail knows the name of the machine, too
		names = append(names, s.Machine)
	}
	if s.has("use_cw_file") {
		file := s.defines["confCW_FILE"]
		if file == "" {
			file = "/etc/mail/local-host-names"
		}
		files = append(files, member(file))
	}
	p.class("local", names, files)
	p.class("virtual", s.virtual, s.virtualFiles)
	p.class("generics", s.generics, s.genericFiles)
	p.class("masqueraded", s.masqueraded, s.masqFiles)
	p.class("unmasked", s.exceptions, nil)
	p.class("exposed", s.exposed, nil)
	p.class("local_users", s.localUsers, nil)
	p.class("ldap_route", s.ldapRoute, s.ldapRouteFiles)
	relay, relayFiles := []string{}, slices.Clone(s.relayFiles)
	for _, w := range s.relay {
		relay = append(relay, network(w))
	}
	if s.has("virtusertable") { // for these sendmail takes mail of everybody
		relay, relayFiles = append(relay, s.virtual...), append(relayFiles, s.virtualFiles...)
	}
	p.class("relay", relay, relayFiles)
}

// network makes a network of the first octets of an address; other words stay.
func network(w string) string {
	part := strings.Split(w, ".")
	for _, x := range part {
		if n, err := strconv.Atoi(x); err != nil || n > 255 {
			if a, ok := strings.CutPrefix(w, "IPv6:"); ok {
				return a
			}
			return w
		}
	}
	if len(part) >= 4 {
		return w
	}
	full := strings.Join(append(part, slices.Repeat([]string{"0"}, 4-len(part))...), ".")
	if _, err := netip.ParseAddr(full); err != nil {
		return w
	}
	return fmt.Sprintf("%s/%d", full, 8*len(part))
}

// lookups are the features with a table: our name for it, and the file that sendmail takes.
var lookups = []struct{ feature, table, standard string }{
	{"domaintable", "domaintable", "hash -o /etc/mail/domaintable"},
	{"virtusertable", "virtusertable", "hash -o /etc/mail/virtusertable"},
	{"mailertable", "mailertable", "hash -o /etc/mail/mailertable"},
	{"genericstable", "genericstable", "hash -o /etc/mail/genericstable"},
	{"access_db", "access", "hash /etc/mail/access"},
	{"uucpdomain", "uucpdomain", "hash -o /etc/mail/uudomain"},
	{"bitdomain", "bitdomain", "hash -o /etc/mail/bitdomain"},
}

// directories writes the tables of FEATURE(ldap_routing) that are not the usual ones.
func (p *printer) directories() {
	a := p.s.features["ldap_routing"]
	for i, name := range []string{"ldap_host", "ldap_address"} {
		if i < len(a) && strings.TrimSpace(a[i]) != "" {
			p.linef("table %s %s", name, compile.Words(tableSpec(a[i])))
		}
	}
	if len(a) > 2 && !slices.Contains([]string{"", "passthru"}, a[2]) {
		p.s.Problems = append(p.s.Problems, Problem{Text: "FEATURE(ldap_routing): an address that the directory does not have goes on, it is not refused: " + a[2]})
	}
	if len(a) > 3 && a[3] != "" {
		p.s.Problems = append(p.s.Problems, Problem{Text: "FEATURE(ldap_routing): the detail of an address stays as it is: " + a[3]})
	}
}

// tableSpec is a map of sendmail's as words. -T marks failures for rules that look for it; here they are temporary anyway.
func tableSpec(text string) []string {
	return slices.DeleteFunc(strings.Fields(text), func(w string) bool { return strings.HasPrefix(w, "-T") })
}

// logins writes a transport that shows the logins of FEATURE(authinfo): the text that sendmail's makemap read.
func (p *printer) logins() {
	a, ok := p.s.features["authinfo"]
	if !ok {
		return
	}
	file := "/etc/mail/authinfo"
	for _, w := range strings.Fields(first(a)) {
		if strings.HasPrefix(w, "/") {
			file = strings.TrimSuffix(w, ".db")
		}
	}
	p.linef("transport esmtp smtp { %s; auth %s }", p.s.strict("tls opportunistic; concurrency 20"), compile.Quote(file))
	p.s.Remarks = append(p.s.Remarks, "FEATURE(authinfo): the logins are read from the text "+file+", of which only its owner may be able to read anything (chmod 600)")
}

func (p *printer) tables() {
	if list := p.s.defines["ALIAS_FILE"]; list != "" {
		at := strings.IndexByte(list, '/')
		if file, _, _ := strings.Cut(list[max(at, 0):], ","); at >= 0 {
			p.linef("table aliases aliases ?%s", compile.Quote(strings.TrimSpace(file)))
		}
	}
	for _, l := range lookups {
		a, ok := p.s.features[l.feature]
		if !ok {
			continue
		}
		spec := tableSpec(first(a))
		if len(spec) == 0 {
			spec = strings.Fields(l.standard)
		}
		p.linef("table %s %s", l.table, compile.Words(spec))
	}
}

// routes are the rules that stand before the library's.
func (p *printer) routes(c *localRules) {
	s := p.s
	if s.has("domaintable") {
		p.linef("use domaintable")
	}
	p.prefixes()
	p.block("route", c.rules("LOCAL_RULE_0"))
	p.domainMaps()
	p.vnet(c.conf.Prog.Macros["A"])
	if s.has("redirect") {
		p.linef("use redirect")
	}
	if s.has("nouucp") {
		p.linef("route { $_user+ < @ $_site- . UUCP > => reject 553 5.1.3 \"UUCP addresses are not supported\" }")
	}
	if s.has("virtusertable") {
		p.linef("use virtusertable")
		if s.has("virtuser_entire_domain") {
			p.linef("route { $user+ < @ $host+ . $domain=virtual > -> once call virtusertable $user < @ $host . $domain > }")
		}
	}
	if s.has("mailertable") {
		p.linef("use mailertable")
	}
	if s.has("bitdomain") {
		p.linef("route { $user+ < @ $node- . BITNET > where bitdomain($node) is $domain -> once $user < @ $domain > }")
	}
	for _, old := range []struct{ define, top string }{{"BITNET_RELAY", "BITNET"}, {"DECNET_RELAY", "DECNET"}, {"FAX_RELAY", "FAX"}} {
		if v := s.defines[old.define]; v != "" {
			transport, host := relay(v)
			user := "$user@$host." + old.top
			if old.top == "DECNET" {
				user = "$host::$user"
			}
			p.linef("route { $user+ < @ $host+ . %s > => %s %s %s }", old.top, compile.Quote(transport), compile.Quote(host), user)
		}
	}
	if s.has("uucpdomain") {
		p.linef("use uucp")
	}
	if v := s.defines["UUCP_RELAY"]; v != "" {
		transport, host := relay(v)
		p.linef("route { $user+ < @ $site- . UUCP > => %s %s $site!$user }", compile.Quote(transport), compile.Quote(host))
		p.linef("route { $user+ < @ $site+ . UUCP > => %s %s $site.UUCP!$user }", compile.Quote(transport), compile.Quote(host))
	} else if v := s.defines["SMART_HOST"]; v != "" && !slices.Contains(s.mailers, "uucp") {
		transport, host := relay(v)
		p.linef("route { $user+ < @ $site- . UUCP > => %s %s $site!$user }", compile.Quote(transport), compile.Quote(host))
	}
	if s.has("ldap_routing") {
		p.directories()
		p.linef("use ldap-routing")
	}
	p.hubs()
	p.block("route", c.rules("LOCAL_NET_CONFIG"))
	p.block("ruleset sender", c.rules("LOCAL_RULE_1"))
	p.block("ruleset recipient", c.rules("LOCAL_RULE_2"))
}

// hubs are the hosts that take mail for local names.
func (p *printer) hubs() {
	s := p.s
	but := ""
	if len(s.localUsers) > 0 {
		but = " and not $user in local_users"
	}
	if v := s.defines["LOCAL_RELAY"]; v != "" {
		transport, host := relay(v)
		p.linef("route { $user+ where not focus%s => %s %s $user@${host} }", but, compile.Quote(transport), compile.Quote(host))
	}
	if v := s.defines["MAIL_HUB"]; v != "" {
		transport, host := relay(v)
		if but != "" {
			but = " where" + strings.TrimPrefix(but, " and")
		}
		if s.has("stickyhost") { // "user@us" goes there whoever the user is
			but = ""
		}
		p.linef("route { $user+ < @ localhost >%s => %s %s $user@${host} }", but, compile.Quote(transport), compile.Quote(host))
		p.linef("route { $user+ < @ $domain=local >%s => %s %s $user@$domain }", but, compile.Quote(transport), compile.Quote(host))
	}
	if v := s.defines["LUSER_RELAY"]; v != "" {
		transport, host := relay(v)
		to := compile.Quote(transport) + " " + compile.Quote(host) + " $user@${host}"
		if transport == "local" {
			to = "local " + compile.Quote(host)
		}
		p.linef("table users user")
		p.linef("# whoever has neither a mailbox nor an alias here")
		p.linef("route {")
		p.linef("$user- < @ $=local > where not users($user) and not aliases($user) => %s", to)
		p.linef("$user- where not users($user) and not aliases($user) => %s", to)
		p.linef("}")
	}
}

// uses are the parts of the library behind which the standard rules come.
func (p *printer) uses() {
	s := p.s
	if s.has("genericstable") {
		p.linef("use genericstable")
	}
	p.masquerading()
	if s.has("access_db") {
		p.linef("use access")
	}
	used := 0
	for _, list := range s.dnsbl {
		if !plainName.MatchString(first(list)) {
			s.Problems = append(s.Problems, Problem{Text: "dnsbl: no name of a list: " + first(list)})
			continue
		}
		if used++; used == 1 {
			p.linef("use dnsbl %s", compile.Quote(first(list)))
			continue
		}
		p.linef("accept rcpt {")
		p.linef("client is $a- . $b- . $c- . $d- and not client in inside and not auth and dnsbl($d.$c.$b.$a.%s) is 127 . $_code+ reject 550 5.7.1 \"Mail from $a.$b.$c.$d is refused, see %s\"", first(list), first(list))
		p.linef("}")
	}
	if s.has("require_rdns") {
		p.linef("use reverse-name")
	}
	if s.has("block_bad_helo") {
		p.linef("use block-bad-helo")
	}
	for i, list := range s.rhsbl {
		switch {
		case !plainName.MatchString(first(list)):
			s.Problems = append(s.Problems, Problem{Text: "rhsbl: no name of a list: " + first(list)})
		case i == 0:
			p.linef("use rhsbl %s", compile.Quote(first(list)))
		default:
			p.linef("accept mail { $_user+ < @ $domain+ > where not client local and not client in inside and not auth and rhsbl($domain.%s) is 127 . $_code+ reject 550 5.7.1 \"Mail from $domain is refused, see %s\" }", first(list), first(list))
		}
	}
	if s.has("bestmx_is_local") {
		p.linef("use bestmx-is-local")
	}
	if s.has("relay_based_on_MX") {
		p.linef("use relay-based-on-mx")
	}
	if s.has("badmx") {
		p.linef("use badmx")
	}
	if s.has("relay_local_from") {
		p.linef("use relay-local-from")
	}
	if a, ok := s.features["relay_mail_from"]; ok && first(a) != "" {
		p.linef("use relay-mail-from-domain")
	} else if ok {
		p.linef("use relay-mail-from")
	}
	p.clients()
	p.logins()
	p.plainTransports()
	if len(s.relay)+len(s.relayFiles) > 0 || s.has("virtusertable") && len(s.virtual)+len(s.virtualFiles) > 0 || s.relayDomains {
		p.linef("use relay-domains")
	}
	if s.has("relay_entire_domain") {
		domain := "${domain}"
		if s.defines["confDOMAIN_NAME"] != "" { // the domain of the machine counts, not that of the other name
			_, domain, _ = strings.Cut(s.Machine, ".")
		}
		if domain == "${domain}" || plainName.MatchString(domain) {
			p.linef("accept rcpt { name is $_host+ . %s ok; $_user+ < @ $_host+ . %s > ok }", domain, domain)
		}
	}
	if s.defines["MAIL_HUB"] != "" || s.defines["LOCAL_RELAY"] != "" || s.defines["LUSER_RELAY"] != "" || s.has("nullclient") {
		p.linef("# mail for our own names is taken of everybody, although it goes to another host")
		p.linef("accept rcpt { $_user+ < @ $=local > ok; $_user+ where not focus ok }")
	}
	if s.has("promiscuous_relay") {
		p.linef("# An open relay: everybody may send anywhere through this host.")
		p.linef("accept rcpt { otherwise ok }")
	}
	if a, ok := s.features["local_procmail"]; ok {
		if path := first(a); path == "" || path == "/usr/bin/procmail" {
			p.linef("use local-procmail")
		} else {
			p.linef("transport local pipe { command %s -Y -d $user; local yes; from-line yes }", compile.Quote(path))
		}
	}
	if a, ok := s.features["msp"]; ok {
		p.submission(a)
	} else if a, ok := s.features["nullclient"]; ok {
		transport, host := relay(first(a))
		if transport != "esmtp" {
			s.Problems = append(s.Problems, Problem{Text: "FEATURE(nullclient): mail would go by " + transport})
		}
		p.linef("use nullclient %s", compile.Quote(host))
	} else if v := s.defines["SMART_HOST"]; v != "" {
		if transport, host := relay(v); transport == "esmtp" {
			p.linef("use smarthost %s", compile.Quote(host))
		} else {
			p.linef("route { $user+ < @ $=local > => local $user; $user+ < @ $domain+ > => %s %s $user@$domain }", compile.Quote(transport), compile.Quote(host))
		}
	}
	p.linef("use standard")
}

// submission is FEATURE(msp): a host, and "MSA" for port 587.
func (p *printer) submission(a []string) {
	host := first(a)
	if host == "" {
		host = "[localhost]"
	}
	if len(a) > 1 && a[1] == "MSA" {
		p.linef("transport esmtp smtp { %s }", p.s.strict("tls opportunistic; concurrency 20; port 587"))
	}
	p.linef("use msp %s", compile.Quote(host))
}

func (p *printer) masquerading() {
	s := p.s
	if s.masquerade == "" {
		return
	}
	as := compile.Quote(s.masquerade)
	var own []string
	if len(s.exceptions) > 0 {
		own = append(own, "$user+ < @ $domain=unmasked > -> return $user < @ $domain >")
	}
	if s.has("masquerade_entire_domain") && len(s.masqueraded) > 0 {
		own = append(own, "$user+ < @ $_host+ . $=masqueraded > -> return $user < @ "+as+" >")
	}
	p.block("ruleset sender", own)
	p.linef("use masquerade %s", as)
	if s.has("allmasquerade") {
		p.block("ruleset recipient", []string{"$user+ < @ $=local > -> return $user < @ " + as + " >"})
	}
}

func (p *printer) block(head string, rules []string) {
	if len(rules) == 0 {
		return
	}
	p.linef("%s {", head)
	for _, r := range rules {
		p.linef("%s", r)
	}
	p.linef("}")
}
