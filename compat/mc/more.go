package mc

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"waybill/rules/compile"
)

// domainMap is FEATURE(domainmap, DOMAIN, MAP): the users of a domain are looked up in a map of its own, and who is not in
// it is refused. What the map says is an address like any other; a "+detail" goes along.
func (p *printer) domainMaps() {
	for i, a := range p.s.domainMaps {
		if len(a) < 2 || !plainName.MatchString(a[0]) {
			p.s.Problems = append(p.s.Problems, Problem{Text: "domainmap: it needs a domain and a map"})
			continue
		}
		if i == 0 {
			p.linef("ruleset domainmap { $to+ -> return call route call canonify $to }")
		}
		table := fmt.Sprintf("domainmap_%d", i+1)
		p.linef("table %s %s", table, compile.Words(tableSpec(a[1])))
		var own []string
		if len(p.s.localUsers) > 0 {
			own = []string{fmt.Sprintf("$user+ < @ $domain=local > where $user in local_users and $domain is %s => local $user", a[0])}
		}
		p.block("route", append(own,
			fmt.Sprintf("$user+ %% $host+ < @ %s > -> once call domainmap $user @ $host", a[0]),
			fmt.Sprintf("$host+ ! $user+ < @ %s > -> once call domainmap $host ! $user", a[0]),
			fmt.Sprintf("$user+ + $detail* < @ %s > where %s($user) is $name+ @ $host+ -> once call domainmap $name + $detail @ $host", a[0], table),
			fmt.Sprintf("$user+ + $detail* < @ %s > where %s($user) is $to+ -> once call domainmap $to", a[0], table),
			fmt.Sprintf("$user+ < @ %s > where %s($user) is $to+ -> once call domainmap $to", a[0], table),
			fmt.Sprintf("$_user+ < @ %s > => reject 550 5.1.1 \"email address lookup in domain map failed\"", a[0]),
		))
	}
}

// prefixes is FEATURE(prefixmod, PREFIX, FLAG): the prefix of a local name is taken off. The flag that sendmail notes down
// for its filters is left out.
func (p *printer) prefixes() {
	a := p.s.features["prefixmod"]
	if len(a) == 0 || a[0] == "" {
		return
	}
	prefix := compile.Quote(a[0])
	p.linef("route { %s $rest+ < @ $domain=local > -> once $rest < @ $domain >; %s $rest+ where not focus -> once $rest }", prefix, prefix)
}

// vnet is FEATURE(vnet): names of RSCS nodes go to the gateway that the macro A names ("DA" in LOCAL_CONFIG), hosts below
// ibm.com are sent to directly.
func (p *printer) vnet(gateway string) {
	if !p.s.has("vnet") {
		return
	}
	p.linef("class vnet { vnet.ibm.com vnet rscs ipnet }")
	rules := []string{
		"$user+ % ibmus . rscs < @ $_gate+ > -> once $user < @ us.ibm.com >",
		"$user+ % ibmca . rscs < @ $_gate+ > -> once $user < @ ca.ibm.com >",
		"$user+ % ibmuk . rscs < @ $_gate+ > -> once $user < @ uk.ibm.com >",
		"$user+ % $node- . rscs < @ $_gate+ > -> once $user < @ $node . rscs >",
		"$user+ < @ $node- . $=vnet > -> once $user < @ $node . vnet >",
	}
	if gateway == "" {
		p.s.Problems = append(p.s.Problems, Problem{Text: "FEATURE(vnet): no gateway: LOCAL_CONFIG needs a line DA with its name"})
	} else {
		rules = append(rules, "$user+ < @ $node- . vnet > => esmtp "+compile.Quote(gateway)+" $user@$node.VNET")
	}
	rules = append(rules, "$user+ < @ $domain+ > where not $domain in local and $domain is $_host+ . ibm . com => esmtp $domain $user@$domain")
	p.block("route", rules)
}

// clients are the features that look a client up: drac takes mail for anywhere from one that has read its mail lately,
// mtamark none from one whose network says that it sends no mail.
func (p *printer) clients() {
	if a, ok := p.s.features["drac"]; ok {
		spec := tableSpec(first(a))
		if len(spec) == 0 {
			spec = strings.Fields("btree /etc/mail/drac")
		}
		p.linef("table drac %s", compile.Words(spec))
		p.linef("accept rcpt { client is $address+ and drac($address) is $_any* ok }")
	}
	if _, ok := p.s.features["mtamark"]; ok {
		p.linef("table mtamark dns -RTXT")
		p.linef("accept rcpt {")
		p.linef("client is $a- . $b- . $c- . $d- and not client in inside and not auth and mtamark(_perm._smtp._srv.$d.$c.$b.$a.in-addr.arpa) is 0 reject 550 5.7.1 \"Rejected: $a.$b.$c.$d not listed as MTA\"")
		p.linef("}")
		p.s.Remarks = append(p.s.Remarks, "FEATURE(mtamark): clients in class inside and those who gave a password are not asked about; a lookup that fails is a temporary refusal")
	}
}

// strict adds what FEATURE(sts) asks for to the parameters of the transport esmtp.
func (s *Site) strict(parameters string) string {
	if s.has("sts") {
		return parameters + "; mta-sts yes"
	}
	return parameters
}

// plainTransports writes the transport esmtp where no other feature does and its parameters are not the standard ones.
func (p *printer) plainTransports() {
	s := p.s
	if _, msp := s.features["msp"]; s.has("sts") && !s.has("authinfo") && !msp {
		p.linef("transport esmtp smtp { %s }", s.strict("tls opportunistic; concurrency 20"))
	}
	if slices.Contains(s.mailers, "procmail") {
		p.linef("transport procmail pipe { command %s -Y -m $host $sender $user; return-path yes }", compile.Quote(cmp.Or(s.defines["PROCMAIL_MAILER_PATH"], "/usr/bin/procmail")))
	}
}
