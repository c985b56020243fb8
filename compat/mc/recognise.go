package mc

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"waybill/compat/cf"
	"waybill/rules/compile"
	"waybill/rules/prog"
)

// stockHashes are the hashes of the rules that m4 writes when nobody adds any, one a line (see Fingerprint).
//
//go:embed stock.txt
var stockHashes string

var (
	featureID = regexp.MustCompile(`^#####\s+\$Id: ([A-Za-z0-9_]+)\.m4,v`)
	listID    = regexp.MustCompile(`^# DNS based IP address spam list (\S+)`)
	pauseID   = regexp.MustCompile(`^R<\?> ?<\$\*>\s+\$# ?([0-9]+)`)
	quotes    = regexp.MustCompile(`"[^"]*"`)
	spaces    = regexp.MustCompile(`[ \t]+`)
	zone      = regexp.MustCompile(`(\$4\.\$3\.\$2\.\$1)\.[^ ]+`)
	rhsZone   = regexp.MustCompile(`(\$\(dnsbl \$2)\.([^ ]+)\.`)
	longs     = regexp.MustCompile(`[0-9]{3,}`)
	loopback  = regexp.MustCompile(`127\.0\.0\.[0-9]+\.`)
	addDomain = regexp.MustCompile(`^(R\$\+\s+\$@ \$1 < @ )[A-Za-z0-9.-]+ >`)
	listed    = regexp.MustCompile(`^(R<\?>[^\t]*)\t+\$#error \$@ (5\.7\.1|quarantine) .*`) // what to say of a listed client
)

// Fingerprint is a short hash of an R line, white space, quoted texts, long numbers and names of block lists left out.
func Fingerprint(line string) string {
	line = quotes.ReplaceAllString(line, "Q")
	line = loopback.ReplaceAllString(line, "127.0.0.N.")
	line = addDomain.ReplaceAllString(line, "${1}D >")
	line = listed.ReplaceAllString(line, "$1\tlisted")
	line = zone.ReplaceAllString(line, "$1.Z")
	line = rhsZone.ReplaceAllString(line, "$1.Z.")
	line = longs.ReplaceAllString(line, "N")
	f := strings.Split(line, "\t") // a comment stands behind the second run of tabs
	var parts []string
	for _, x := range f {
		if x = strings.TrimSpace(spaces.ReplaceAllString(x, " ")); x != "" && len(parts) < 2 {
			parts = append(parts, x)
		}
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\t")))
	return hex.EncodeToString(sum[:5])
}

// localSections are the rulesets of a made sendmail.cf in which the rules of a site stand, by the section of the .mc file
// that put them there.
var localSections = map[string]string{"ParseLocal": "LOCAL_RULE_0", "Parse1": "LOCAL_NET_CONFIG", "sender": "LOCAL_RULE_1", "recipient": "LOCAL_RULE_2", "Canonify2": "LOCAL_RULE_3"}

// Recognise reads from a sendmail.cf that m4 has made what the site wished. ok is false for other files.
func Recognise(text string, conf *cf.Config) (s *Site, ok bool) {
	s = newSite()
	stock := map[string]bool{}
	for h := range strings.FieldsSeq(stockHashes) {
		stock[h] = true
	}
	features := map[string]bool{}
	ruleset, known := "", false
	file := conf.File
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if m := featureID.FindStringSubmatch(line); m != nil {
			features[m[1]] = true
		}
		if m := listID.FindStringSubmatch(line); m != nil {
			s.dnsbl = append(s.dnsbl, []string{m[1]})
		}
		switch {
		case strings.HasPrefix(line, "S"):
			ruleset, _, _ = strings.Cut(line[1:], "=")
			ruleset, _, _ = strings.Cut(strings.TrimSpace(ruleset), " ")
			known = stock["S"+ruleset]
		case strings.HasPrefix(line, "R"):
			if m := pauseID.FindStringSubmatch(line); m != nil && ruleset == "greet_pause" {
				s.features["greet_pause"] = []string{m[1]}
			}
			if m := rhsZone.FindStringSubmatch(line); m != nil {
				s.rhsbl = append(s.rhsbl, []string{m[2]})
			}
			if stock[Fingerprint(line)] {
				continue
			}
			section := localSections[ruleset]
			switch {
			case section != "":
				s.addText(section, line+"\n", file, n)
			case !known || strings.HasPrefix(ruleset, "Local_"):
				if !strings.Contains(s.text("LOCAL_RULESETS"), "S"+ruleset+"\n") {
					s.addText("LOCAL_RULESETS", "S"+ruleset+"\n", file, n)
				}
				s.addText("LOCAL_RULESETS", line+"\n", file, n)
			default:
				s.Problems = append(s.Problems, Problem{file, n, "ruleset " + ruleset + " has a rule that m4 did not write: " + oneLine(line)})
			}
		}
	}
	if !features["proto"] {
		return nil, false
	}
	s.recognised(features, conf)
	return s, true
}

// base are the m4 files that are no features.
var base = map[string]bool{"proto": true, "cfhead": true, "cf": true, "linux": true, "generic": true, "smtp": true, "local": true, "uucp": true, "procmail": true, "nospecial": true,
	"debian": true, "autoconf": true, "compat_check": true, "sendmail": true, "submit": true}

// tableNames are what m4 calls the tables of features.
var tableNames = map[string]string{"mailertable": "mailertable", "virtuser": "virtusertable", "generics": "genericstable", "domaintable": "domaintable", "access": "access_db", "uudomain": "uucpdomain",
	"bitdomain": "bitdomain", "authinfo": "authinfo"}

// machinery are the tables, macros and classes that m4 writes for itself.
var machinery = " arith macro dequote resolve user dnsbl ednsbl mxlist badmx dnsA BadMXIP mxserved bestmx "

func (s *Site) recognised(features map[string]bool, conf *cf.Config) {
	at := func(line int, format string, args ...any) {
		s.Problems = append(s.Problems, Problem{conf.File, line, fmt.Sprintf(format, args...)})
	}
	for name := range features {
		if base[name] || strings.HasPrefix(name, "debian") {
			if name == "uucp" {
				s.mailers = append(s.mailers, "uucp")
			}
			continue
		}
		args := []string{name}
		switch name {
		case "compat_check", "delay_checks":
			s.features[name] = nil
			continue
		case "dnsbl", "enhdnsbl", "rhsbl", "greet_pause":
			continue // found where they stand
		case "nullclient":
			args = append(args, conf.Prog.Macros["H"])
		case "msp":
			args = append(args, conf.Prog.Macros["MTAHost"])
			for _, m := range conf.Mailers {
				if m.Name == "relay" && strings.HasSuffix(m.Args, " 587") {
					args = append(args, "MSA")
				}
			}
		case "relay_mail_from":
			if relayByDomain(conf) {
				args = append(args, "domain")
			}
		case "local_procmail":
			continue // the mailer tells
		case "usenet", "fax", "pop", "phquery", "mail11", "cyrus", "cyrusv2", "qpage", "smrsh":
			at(0, "mailer %s is not carried over: write a transport", name)
			continue
		}
		say, isRemark := strings.CutPrefix(feature(s, args), "~")
		switch {
		case isRemark:
			s.Remarks = append(s.Remarks, "FEATURE("+name+"): "+say)
		case say != "":
			at(0, "FEATURE(%s): %s", name, say)
		}
	}
	var directories [2]string
	for _, t := range conf.Prog.Tables {
		spec := t.Class + " " + strings.Join(t.Args, " ")
		switch t.Name {
		case "ldapmh":
			directories[0] = spec
			continue
		case "ldapmra":
			directories[1] = spec
			continue
		}
		if f, ok := tableNames[t.Name]; ok {
			s.features[f] = []string{spec}
		} else if !strings.Contains(machinery, " "+t.Name+" ") {
			s.addText("LOCAL_CONFIG", "K"+t.Name+" "+t.Class+" "+strings.Join(t.Args, " ")+"\n", conf.File, t.Pos.Line)
		}
	}
	if s.has("ldap_routing") {
		s.features["ldap_routing"] = directories[:]
	}
	client := s.has("nullclient")
	for letter, define := range map[string]string{"S": "SMART_HOST", "H": "MAIL_HUB", "R": "LOCAL_RELAY", "L": "LUSER_RELAY", "Y": "UUCP_RELAY", "B": "BITNET_RELAY", "C": "DECNET_RELAY", "F": "FAX_RELAY"} {
		if v := strings.TrimSuffix(conf.Prog.Macros[letter], "."); v != "" && !client {
			s.defines[define] = v
		}
	}
	if v := conf.Prog.Macros["M"]; v != "" && !client {
		s.masquerade = v
	}
	if v := conf.Prog.Macros["j"]; !strings.Contains(v, "$") && v != conf.Host.Name {
		s.defines["confDOMAIN_NAME"] = v
	}
	s.recognisedClasses(conf)
	delete(s.features, "use_cw_file") // its file stands in class w
	s.recognisedOptions(conf, at)
	s.finish()
}

// relayByDomain tells whether FEATURE(relay_mail_from) looks for domains, too.
func relayByDomain(conf *cf.Config) bool {
	rs := conf.Prog.Ruleset("Relay_ok")
	if rs == nil {
		return false
	}
	return slices.ContainsFunc(rs.Rules, func(r *prog.Rule) bool {
		has := func(text string) bool {
			return slices.ContainsFunc(r.RHS, func(t prog.Tok) bool { return t.Kind == prog.Literal && t.Text == text })
		}
		return has("From") && has("D")
	})
}

func (s *Site) recognisedClasses(conf *cf.Config) {
	lists := map[string]struct{ words, files *[]string }{
		"w": {&s.names, &s.nameFiles}, "R": {&s.relay, &s.relayFiles}, "M": {&s.masqueraded, &s.masqFiles}, "N": {&s.exceptions, nil}, "E": {&s.exposed, nil},
		"G": {&s.generics, &s.genericFiles}, "VirtHost": {&s.virtual, &s.virtualFiles}, "L": {&s.localUsers, nil}, "LDAPRoute": {&s.ldapRoute, &s.ldapRouteFiles},
	}
	own := " P O . [ Accept ResOk Tls TlsVerified Src SpamTag Canonify TrustAuthMech t "
	for _, l := range conf.Lines {
		to, ok := lists[l.Class]
		switch {
		case ok && l.File == nil && len(l.From) == 0:
			for _, w := range l.Words {
				if w != "localhost" {
					*to.words = append(*to.words, w)
				}
			}
		case ok && l.File != nil && to.files != nil:
			mark := "@"
			if l.File.Optional {
				mark = "@?"
			}
			if member := mark + compile.Quote(l.File.Path); member != "@?/etc/mail/relay-domains" {
				*to.files = append(*to.files, member)
			} else {
				s.relayDomains = true // the library has it
			}
		case ok || strings.Contains(own, " "+l.Class+" "):
		case l.File != nil:
			opt := ""
			if l.File.Optional {
				opt = "-o "
			}
			s.addText("LOCAL_CONFIG", "F{"+l.Class+"}"+opt+l.File.Path+"\n", conf.File, l.Pos.Line)
		default:
			s.addText("LOCAL_CONFIG", "C{"+l.Class+"}"+strings.Join(l.Words, " ")+"\n", conf.File, l.Pos.Line)
		}
	}
	for name, v := range conf.Prog.Macros { // a site's own
		if len(name) > 1 && name != "opMode" && !strings.Contains(v, "$") {
			s.addText("LOCAL_CONFIG", "D{"+name+"}"+v+"\n", conf.File, 0)
		}
	}
}

// optionDefines are the options that are settings here, by the define that makes them.
var optionDefines = map[string]string{
	"MaxMessageSize": "confMAX_MESSAGE_SIZE", "MaxHopCount": "confMAX_HOP", "MaxRecipientsPerMessage": "confMAX_RCPTS_PER_MESSAGE", "Timeout.queuereturn": "confTO_QUEUERETURN",
	"Timeout.queuewarn": "confTO_QUEUEWARN", "Timeout.command": "confTO_COMMAND", "MaxDaemonChildren": "confMAX_DAEMON_CHILDREN", "ConnectionRateThrottle": "confCONNECTION_RATE_THROTTLE",
	"BadRcptThrottle": "confBAD_RCPT_THROTTLE", "DoubleBounceAddress": "confDOUBLE_BOUNCE_ADDRESS", "ServerCertFile": "confSERVER_CERT", "ServerKeyFile": "confSERVER_KEY",
	"PrivacyOptions": "confPRIVACY_FLAGS", "AliasFile": "ALIAS_FILE",
}

// telling are options of which an administrator must know that they are not carried over.
var telling = []string{"RunAsUser", "SafeFileEnvironment", "DefaultUser", "InputMailFilters", "MaxDaemonChildren", "QueueLA", "RefuseLA", "DelayLA", "ConnectOnlyTo", "FallbackMXhost", "FallbackSmartHost",
	"AuthMechanisms", "DefaultAuthInfo", "DontBlameSendmail", "ForwardPath", "HostStatusDirectory", "SingleThreadDelivery", "NoRecipientAction", "MinFreeBlocks", "UserDatabaseSpec"}

func (s *Site) recognisedOptions(conf *cf.Config, at func(int, string, ...any)) {
	msa := false
	for _, o := range conf.Options {
		name := o.Name
		if o.Sub != "" {
			name += "." + o.Sub
		}
		if define, ok := optionDefines[name]; ok {
			s.defines[define] = o.Value
			continue
		}
		if o.Name == "DaemonPortOptions" {
			s.daemons = append(s.daemons, o.Value)
			if _, sub := listen(o.Value); sub {
				msa = true
			}
		}
		for _, t := range telling {
			if name == t && o.Value != "" {
				s.Remarks = append(s.Remarks, fmt.Sprintf("option %s=%s has no setting here (line %d)", name, o.Value, o.Pos.Line))
			}
		}
	}
	if len(s.daemons) > 0 || msa {
		s.features["no_default_msa"] = nil // all ports stand there
	}
	if n := len(conf.Queues); n > 0 {
		at(conf.Queues[0].Pos.Line, "queue groups: a send block says when mail goes")
	}
	if n := len(conf.Milters); n > 0 {
		at(conf.Milters[0].Pos.Line, "mail filters are not carried over")
	}
	for _, m := range conf.Mailers {
		if m.Name == "procmail" {
			s.mailers = append(s.mailers, "procmail")
			s.defines["PROCMAIL_MAILER_PATH"] = m.Path
		}
		if m.Name == "local" && strings.HasSuffix(m.Path, "/procmail") {
			s.features["local_procmail"] = []string{m.Path}
		}
	}
}

// Later reports whether a difference between sendmail's answer about an address and ours is none: sendmail looks at some
// local names again when it delivers (ruleset 5), and without a UUCP mailer it makes up a domain for a bang path.
func (s *Site) Later(address, sendmail string) bool {
	later := s.defines["MAIL_HUB"] != "" || s.defines["LOCAL_RELAY"] != "" || s.defines["LUSER_RELAY"] != "" || s.has("nullclient")
	switch {
	case later && strings.HasPrefix(sendmail, "local|"):
		return true
	case strings.HasSuffix(strings.ToUpper(address), ".UUCP"):
		return !slices.Contains(s.mailers, "uucp")
	}
	return false
}
