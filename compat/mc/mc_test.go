package mc

import (
	"os"
	"strings"
	"testing"

	"waybill/rules/lang"
)

func TestRead(t *testing.T) {
	for name, c := range map[string]struct{ in, want, not, problem string }{
		"quotes and dnl":         {"define(`SMART_HOST', `[relay.example]')dnl `ignored\nMAILER(`smtp')", "use smarthost [relay.example]", "ignored", ""},
		"a mailer before":        {"define(`SMART_HOST', `uucp-new:backbone')", "=> uucp backbone", "", ""},
		"a name of its own":      {"define(`HUB', `hub.example')\nFEATURE(`nullclient', HUB)", "use nullclient hub.example", "", ""},
		"quoted once more":       {"define(`HUB', `hub.example')\nFEATURE(`nullclient', `HUB')", "use nullclient HUB", "", ""},
		"divert":                 {"divert(-1)\nMASQUERADE_AS(`x.example')\nsome text\ndivert(0)dnl\n", "use masquerade x.example", "some text", ""},
		"ifdef":                  {"define(`A')ifdef(`A', `MASQUERADE_AS(`a.example')', `MASQUERADE_AS(`b.example')')", "use masquerade a.example", "b.example", ""},
		"ifelse":                 {"define(`A', `x')ifelse(A, `x', `MASQUERADE_AS(`a.example')', `MASQUERADE_AS(`b.example')')", "use masquerade a.example", "b.example", ""},
		"undefine":               {"define(`SMART_HOST', `x')undefine(`SMART_HOST')", "use standard", "smarthost", ""},
		"lists":                  {"RELAY_DOMAIN(`a.example 192.0.2 10')\nRELAY_DOMAIN_FILE(`-o /etc/mail/r')", "class relay { a.example 192.0.2.0/24 10.0.0.0/8 @?/etc/mail/r }", "", ""},
		"a table":                {"FEATURE(`mailertable', `hash -o /etc/mail/hops')", "table mailertable hash  -o /etc/mail/hops\nuse mailertable", "", ""},
		"a rule":                 {"LOCAL_RULE_0\nR$+ < @ old.example . > $*\t$#esmtp $@ new.example $: $1 < @ new.example . > $2\n", "$a+ < @ old . example > $b* => esmtp", "", ""},
		"a mailer of a rule":     {"LOCAL_RULE_0\nR$+ < @ old.example . >\t$#smtp8 $@ new.example $: $1\nR$+ < @ fax . >\t$#fax $@ x $: $1\n", "=> esmtp", "=> fax", "a rule names mailer fax"},
		"logic":                  {"\nifdef(`x')\neval(1+1)\n", "use standard", "", "f.mc:3: eval is logic of m4"},
		"no such feature":        {"FEATURE(`nosuch')", "use standard", "", "f.mc:1: FEATURE(nosuch): this feature is not in the library: convert the sendmail.cf"},
		"clients that read":      {"FEATURE(`drac')", "table drac btree  /etc/mail/drac\naccept rcpt { client is $address+ and drac($address) is $_any* ok }", "", ""},
		"clients that send none": {"FEATURE(`mtamark')", "mtamark(_perm._smtp._srv.$d.$c.$b.$a.in-addr.arpa) is 0 reject 550 5.7.1", "", ""},
		"a prefix":               {"FEATURE(`prefixmod', `+', `n')", "route { + $rest+ < @ $domain=local > -> once $rest < @ $domain >;", "", ""},
		"policies of domains":    {"FEATURE(`sts')", "transport esmtp smtp { tls opportunistic; concurrency 20; mta-sts yes }", "", ""},
		"policies and logins":    {"FEATURE(`sts')FEATURE(`authinfo')", "concurrency 20; mta-sts yes; auth /etc/mail/authinfo }", "", ""},
		"users of a domain":      {"FEATURE(`domainmap', `d.example', `text /x')", "where domainmap_1($user) is $to+ -> once call domainmap $to", "local_users", ""},
		"a domain without users": {"FEATURE(`domainmap', `d.example')", "use standard", "domainmap_1", "domainmap: it needs a domain and a map"},
		"nodes":                  {"FEATURE(`vnet')\nLOCAL_CONFIG\nDAgate.example\n", "=> esmtp  gate.example  $user@$node.VNET", "", ""},
		"nodes without a gate":   {"FEATURE(`vnet')", "class vnet { vnet.ibm.com vnet rscs ipnet }", "=> esmtp  gate", "FEATURE(vnet): no gateway"},
		"a directory":            {"LDAPROUTE_DOMAIN(`a.example')FEATURE(`ldap_routing', `', `ldap -1 -T<TMPF> -v ra -k mail=%0')", "class ldap_route { a.example }\ntable ldap_address ldap  -1 -v ra -k mail=%0\nuse ldap-routing", "table ldap_host", ""},
		"logins":                 {"FEATURE(`authinfo', `hash /etc/mail/logins')", "auth /etc/mail/logins", "", ""},
		"senders who may relay":  {"FEATURE(`access_db')FEATURE(`relay_mail_from', `domain')FEATURE(`relay_local_from')", "use relay-local-from\nuse relay-mail-from-domain", "", ""},
		"exchangers":             {"FEATURE(`badmx')", "use badmx", "", ""},
		"a client of its server": {"FEATURE(`msp', `[127.0.0.1]', `MSA')", "port 587 }\nuse msp [127.0.0.1]", "listen", ""},
		"an unclosed call":       {"FEATURE(`redirect'", "use standard", "", "f.mc:1: FEATURE(: the closing parenthesis is missing"},
		"a missing include":      {"include(`/nowhere/x.m4')", "use standard", "", "f.mc:1: include"},
		"an option without one":  {"define(`confTIME_ZONE', `x')", "use standard", "", "define confTIME_ZONE: this option has no setting here"},
		"settings":               {"define(`confMAX_MESSAGE_SIZE', `5000000')define(`confTO_QUEUERETURN', `3')DAEMON_OPTIONS(`Port=587, Addr=127.0.0.1, Name=MSA')FEATURE(`no_default_msa')", "set give-up 3d", "listen *", ""},
	} {
		s := Read(c.in, "f.mc")
		out := s.Rules("f.mc")
		var problems []string
		for _, p := range s.Problems {
			problems = append(problems, p.String())
		}
		said := strings.Join(problems, "\n")
		if !strings.Contains(out, c.want) || c.not != "" && strings.Contains(out, c.not) || !strings.Contains(said, c.problem) || c.problem == "" && said != "" {
			t.Errorf("%s: said %q\n%s", name, said, out)
		}
	}
}

// FuzzRead reads anything as an .mc file: what comes out is always rules that can be understood.
func FuzzRead(f *testing.F) {
	f.Add("divert(-1)\ndivert(0)dnl\nOSTYPE(`linux')\nFEATURE(`mailertable', `text -k0 -v1 /x')\nMAILER(`smtp')\nLOCAL_RULE_0\nR$+ < @ x . >\t$#local $: $1\n")
	f.Add("define(`a', `b')a(`x', ifelse(a, `b', `MASQUERADE_AS(`c.d')'))\nLOCAL_CONFIG\nD{x}y\nC{z}a b\nKk text -o /x\n")
	f.Add("FEATURE(`greet_pause', `5000')FEATURE(`dnsbl', `x.y')DAEMON_OPTIONS(`Port=smtp, Addr=::1, M=a')define(`LUSER_RELAY', `local:x')")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<14 {
			return
		}
		r := &reader{site: newSite(), file: "f.mc", macros: map[string]string{}, open: func(string) ([]byte, error) { return nil, os.ErrNotExist }}
		r.eval(text, 1)
		r.site.finish()
		out := r.site.Rules("f.mc")
		if _, wrong := lang.NewParser().Parse(lang.NewSource("f.rules", out)); wrong.Errors() {
			t.Fatalf("%v\n%s", wrong, out)
		}
	})
}
