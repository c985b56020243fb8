package mc

import (
	"slices"
	"strings"

	"waybill/rules/compile"
)

// Site is what an .mc file wishes.
type Site struct {
	Problems []Problem
	Remarks  []string // what differs, but is no reason not to use the result
	Machine  string   // the name of the machine, for files that give the site another one; may be empty

	defines    map[string]string
	features   map[string][]string // name -> arguments
	dnsbl      [][]string
	rhsbl      [][]string
	domainMaps [][]string // domain and map
	mailers    []string
	daemons    []string

	names, nameFiles       []string // LOCAL_DOMAIN, class w
	relay, relayFiles      []string
	virtual, virtualFiles  []string
	generics, genericFiles []string
	masquerade             string
	masqueraded, masqFiles []string
	exceptions, exposed    []string
	localUsers             []string
	ldapRoute              []string
	ldapRouteFiles         []string
	relayDomains           bool // class relay is read from the usual file

	sections map[string]*strings.Builder
	from     map[string]place // where the text of a section begins
}

type place struct {
	file string
	line int
}

func newSite() *Site {
	return &Site{defines: map[string]string{}, features: map[string][]string{}, sections: map[string]*strings.Builder{}, from: map[string]place{}}
}

// wishes are the macros that say what a site wants. The answer is what is missing; empty when nothing is; behind a "~" what
// an administrator should know, but no reason not to use the result.
var wishes = map[string]func(s *Site, args []string) string{
	"VERSIONID":                 func(*Site, []string) string { return "" },
	"CF_LEVEL":                  func(*Site, []string) string { return "" },
	"SITECONFIG":                nothing("lists of UUCP neighbours in files of m4 are not read"),
	"OSTYPE":                    func(*Site, []string) string { return "" },
	"DOMAIN":                    domain,
	"FEATURE":                   feature,
	"HACK":                      nothing("hacks are m4"),
	"MAILER":                    mailer,
	"MASQUERADE_AS":             func(s *Site, a []string) string { s.masquerade = first(a); return "" },
	"MASQUERADE_DOMAIN":         words(func(s *Site) *[]string { return &s.masqueraded }),
	"MASQUERADE_DOMAIN_FILE":    file(func(s *Site) *[]string { return &s.masqFiles }),
	"MASQUERADE_EXCEPTION":      words(func(s *Site) *[]string { return &s.exceptions }),
	"EXPOSED_USER":              words(func(s *Site) *[]string { return &s.exposed }),
	"LOCAL_USER":                words(func(s *Site) *[]string { return &s.localUsers }),
	"LOCAL_DOMAIN":              words(func(s *Site) *[]string { return &s.names }),
	"RELAY_DOMAIN":              words(func(s *Site) *[]string { return &s.relay }),
	"RELAY_DOMAIN_FILE":         file(func(s *Site) *[]string { return &s.relayFiles }),
	"VIRTUSER_DOMAIN":           words(func(s *Site) *[]string { return &s.virtual }),
	"VIRTUSER_DOMAIN_FILE":      file(func(s *Site) *[]string { return &s.virtualFiles }),
	"GENERICS_DOMAIN":           words(func(s *Site) *[]string { return &s.generics }),
	"GENERICS_DOMAIN_FILE":      file(func(s *Site) *[]string { return &s.genericFiles }),
	"LDAPROUTE_DOMAIN":          words(func(s *Site) *[]string { return &s.ldapRoute }),
	"LDAPROUTE_DOMAIN_FILE":     file(func(s *Site) *[]string { return &s.ldapRouteFiles }),
	"LDAPROUTE_EQUIVALENT":      nothing("write a domaintable, or rules that put the one domain in the place of the other"),
	"CANONIFY_DOMAIN":           func(*Site, []string) string { return "" }, // names are never made canonical here
	"CANONIFY_DOMAIN_FILE":      func(*Site, []string) string { return "" },
	"DAEMON_OPTIONS":            func(s *Site, a []string) string { s.daemons = append(s.daemons, strings.Join(a, ",")); return "" },
	"CLIENT_OPTIONS":            nothing("write it as source of transport esmtp"),
	"MODIFY_MAILER_FLAGS":       nothing("mailers are transports here and have no flags"),
	"QUEUE_GROUP":               nothing("there are no queue groups; a send block says when mail goes"),
	"MAIL_FILTER":               nothing("mail filters are not carried over"),
	"INPUT_MAIL_FILTER":         nothing("mail filters are not carried over"),
	"TRUST_AUTH_MECH":           func(*Site, []string) string { return "" }, // who gave a password may relay
	"EXPOSED_USER_FILE":         nothing("write the file into class exposed"),
	"LOCAL_USER_FILE":           nothing("names of local users in a file are not carried over"),
	"MASQUERADE_EXCEPTION_FILE": nothing("exceptions in a file are not carried over"),
	"LOCAL_SHELL":               nothing("is not carried over"),
	"UUCPSMTP":                  nothing("write a route rule"),
	"SITE":                      nothing("write the neighbours into class uucp_neighbours"),
}

func nothing(why string) func(*Site, []string) string {
	return func(*Site, []string) string { return why }
}

func first(a []string) string {
	if len(a) == 0 {
		return ""
	}
	return a[0]
}

func words(list func(*Site) *[]string) func(*Site, []string) string {
	return func(s *Site, a []string) string {
		to := list(s)
		for _, x := range a {
			*to = append(*to, strings.Fields(x)...)
		}
		return ""
	}
}

// file takes "FILE" or "-o FILE"; a format of scanf behind it is left out, the first word of a line counts.
func file(list func(*Site) *[]string) func(*Site, []string) string {
	return func(s *Site, a []string) string {
		to := list(s)
		*to = append(*to, member(first(a)))
		return ""
	}
}

// member is a file with words as a class names it.
func member(text string) string {
	optional := false
	for w := range strings.FieldsSeq(text) {
		if w == "-o" {
			optional = true
			continue
		}
		if optional {
			return "@?" + compile.Quote(w)
		}
		return "@" + compile.Quote(w)
	}
	return ""
}

func domain(_ *Site, a []string) string {
	switch first(a) {
	case "generic", "unspecified", "debian-mta", "debian-msp":
		return ""
	}
	return "the file of this domain is m4: put what it says into the .mc file"
}

// harmless are features whose effect Waybill has anyway, or that ask for less than it does.
var harmless = []string{
	"nocanonify", "always_add_domain", "notsticky", "no_default_msa", "accept_unqualified_senders", "accept_unresolvable_domains", "use_client_ptr", "compat_check",
	"bcc", "queuegroup", "local_no_masquerade", "loose_relay_check", "lookupdotdomain", "blocklist_recipients", "blacklist_recipients", "check_other", "conncontrol", "ratecontrol", "tls_session_features",
	"tls_failures", "check_cert_altnames", "preserve_local_plus_detail", "preserve_luser_host", "smrsh", "stickyhost", "relay_hosts_only",
	"masquerade_envelope",
}

// remarks say what differs for some of them.
var remarks = map[string]string{
	"lookupdotdomain":      "~names below a domain are always looked up",
	"conncontrol":          "~the limits of the access table are settings here: set client-connections N",
	"ratecontrol":          "~the limits of the access table are settings here: set client-rate N",
	"tls_session_features": "~the TLS words of the access table are not asked",
	"bcc":                  "~sendmail 8.17 does not know the option AddBcc that this makes, and makes no copies; for copies write an alias or a milter",
	"queuegroup":           "~there are no queue groups: a send block says when mail goes, concurrency of a transport how much at once",
	"sts":                  "~policies of domains are looked up here, not asked of the socket map",
	"prefixmod":            "~the flag that it notes down is left out",
	"stickyhost":           "~unqualified names are not sent to the hub",
}

// supported are features that the library has, or that become rules of the file.
var supported = []string{
	"use_cw_file", "use_ct_file", "redirect", "virtusertable", "virtuser_entire_domain", "domaintable", "mailertable", "genericstable", "generics_entire_domain",
	"allmasquerade", "limited_masquerade", "masquerade_entire_domain", "local_lmtp", "local_procmail", "nouucp", "nopercenthack", "promiscuous_relay",
	"relay_entire_domain", "access_db", "delay_checks", "greet_pause", "nullclient", "uucpdomain", "bitdomain", "require_rdns", "block_bad_helo", "bestmx_is_local", "relay_based_on_MX",
	"authinfo", "badmx", "ldap_routing", "msp", "relay_local_from", "relay_mail_from", "drac", "mtamark", "prefixmod", "sts", "vnet",
}

func feature(s *Site, a []string) string {
	name := first(a)
	switch {
	case name == "dnsbl" || name == "enhdnsbl":
		s.dnsbl = append(s.dnsbl, a[1:])
	case name == "rhsbl":
		s.rhsbl = append(s.rhsbl, a[1:])
	case name == "domainmap":
		s.domainMaps = append(s.domainMaps, a[1:])
	case slices.Contains(supported, name):
		s.features[name] = a[1:]
		return remarks[name]
	case slices.Contains(harmless, name):
		s.features[name] = a[1:]
		return remarks[name]
	default:
		return "this feature is not in the library: convert the sendmail.cf that m4 makes of this file"
	}
	return ""
}

func mailer(s *Site, a []string) string {
	var unknown []string
	for _, x := range a {
		for m := range strings.FieldsSeq(x) {
			switch m {
			case "local", "smtp", "uucp", "procmail":
				s.mailers = append(s.mailers, m)
			default:
				unknown = append(unknown, m)
			}
		}
	}
	if unknown != nil {
		return "write a transport for " + strings.Join(unknown, ", ")
	}
	return ""
}

func (s *Site) has(feature string) bool { _, ok := s.features[feature]; return ok }

// define is a define of the file.
func (s *Site) define(name, value, file string, line int) {
	s.defines[name] = value
	if why, ok := notCarried(name); ok {
		s.Problems = append(s.Problems, Problem{file, line, "define " + name + ": " + why})
	}
}

func (s *Site) undefine(name string) { delete(s.defines, name) }

// begin starts a section.
func (s *Site) begin(section string) {
	if s.sections[section] == nil {
		s.sections[section] = &strings.Builder{}
	}
}

func (s *Site) addText(section, text, file string, line int) {
	b := s.sections[section]
	if b == nil {
		b = &strings.Builder{}
		s.sections[section] = b
	}
	if _, ok := s.from[section]; !ok && strings.TrimSpace(text) != "" {
		s.from[section] = place{file, line}
	}
	if b.Len() < maxText {
		b.WriteString(text)
	}
}

// text is what a section holds.
func (s *Site) text(section string) string {
	if b := s.sections[section]; b != nil {
		return b.String()
	}
	return ""
}

// finish looks at what stands outside of all sections: lines of a sendmail.cf go where m4 would put them.
func (s *Site) finish() {
	if stray := strings.TrimSpace(s.text("")); stray != "" {
		s.begin("LOCAL_CONFIG")
		s.sections["LOCAL_CONFIG"].WriteString("\n" + stray + "\n")
		if _, ok := s.from["LOCAL_CONFIG"]; !ok {
			s.from["LOCAL_CONFIG"] = s.from[""]
		}
	}
	slices.Sort(s.exposed)
	s.exposed = slices.Compact(s.exposed)
}
