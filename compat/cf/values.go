package cf

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"waybill/rules/prog"
)

// checkOption looks at the value of an option: the reader itself needs some, and sendmail complains about some. It
// returns false when the option does not count. The messages are those of the real one, found by giving each option
// odd values.
func (r *reader) checkOption(name, sub, value string) bool {
	switch name {
	case "OperatorChars":
		if r.ruled || r.operatorsSet {
			r.say("Warning: OperatorChars is being redefined.\n         It should only be set before ruleset definitions.")
			if r.ruled {
				return false
			}
		}
		r.operators, r.operatorsSet, r.syn = value, true, nil
	case "BlankSub":
		r.blank = " "
		if value != "" {
			r.blank = value[:1]
		}
		r.syn = nil
	case "PrivacyOptions":
		r.listWords(value, privacyWords, "readcf: Op line: %s unrecognized")
	case "DontBlameSendmail":
		r.listWords(value, blameWords, "readcf: DontBlameSendmail option: %s unrecognized")
	case "ResolverOptions":
		for _, w := range strings.Fields(value) {
			w = strings.TrimLeft(w, "+-")
			if !equalFold(w, "true") && !hasWord(resolverWords, w) {
				r.errorf("readcf: I option value %s unrecognized", w)
			}
		}
	case "ServerSSLOptions", "ClientSSLOptions":
		for _, w := range strings.FieldsFunc(value, func(c rune) bool { return c == ' ' || c == '\t' || c == ',' }) {
			w = strings.TrimLeft(w, "+-")
			if !strings.HasPrefix(strings.ToUpper(w), "SSL_OP_") && !(w != "" && w[0] >= '0' && w[0] <= '9') {
				r.errorf("readcf: %s option value %s unrecognized", name, w)
			}
		}
	case "Timeout":
		r.checkTimeouts(sub, value)
	case "QueueTimeout":
		a, b, _ := strings.Cut(value, "/")
		for range 2 { // set for two kinds of messages, and read for each
			r.checkTime(a)
		}
		for range 2 {
			r.checkTime(b)
		}
	case "MinQueueAge", "MaxQueueAge", "ConnectionCacheTimeout", "DialDelay", "AliasWait", "RejectLogInterval", "ConnectionRateWindowSize", "DeliverByMin":
		r.checkTime(value)
	case "DaemonPortOptions", "ClientPortOptions":
		r.checkPort(value)
	case "EightBitMode":
		if c := first(value); c == "" || !strings.Contains("mps", c) {
			r.die("Unknown 8-bit mode %s", c)
		}
	case "DeliveryMode":
		if c := first(value); c != "" && !strings.Contains("bidq", c) {
			r.die("Unknown delivery mode %s", c)
		}
	case "QueueSortOrder":
		if c := strings.ToLower(first(value)); c == "" || !strings.Contains("hpftrmn", c) {
			r.errorf("Invalid queue sort order \"%s\"", value)
		}
	case "NoRecipientAction":
		if !hasWord("none add-to add-apparently-to add-to-undisclosed add-bcc", value) {
			r.errorf("Invalid NoRecipientAction: %s", value)
		}
	case "DefaultUser", "RunAsUser":
		as := map[string]string{"DefaultUser": "u", "RunAsUser": "RunAsUser"}[name]
		user, group, _ := cutUser(value)
		if _, _, err := r.lookup(user, ""); err != nil || user == "" {
			r.errorf("readcf: option %s: unknown user %s", as, user)
		} else if group != "" {
			if _, _, err := r.lookup(user, group); err != nil {
				r.errorf("readcf: option %s: unknown group %s", as, group)
			}
		}
	case "TrustedUser":
		if _, _, err := r.lookup(value, ""); err != nil || value == "" {
			r.errorf("readcf: option TrustedUser: unknown user %s", value)
		}
	case "ConnectOnlyTo":
		a := strings.TrimPrefix(value, "IPv6:")
		if _, err := netip.ParseAddr(strings.Trim(a, "[]")); err != nil {
			r.errorf("readcf: option ConnectOnlyTo: invalid IP address %s", value)
		}
	case "MaxMimeHeaderLength":
		a, b, two := strings.Cut(value, "/")
		if n := number(a); n > 0 && n < 128 {
			r.say("Warning: MaxMimeHeaderLength: header length limit set lower than 128")
		}
		if n := number(b); two && n > 0 && n < 40 {
			r.say("Warning: MaxMimeHeaderLength: field length limit set lower than 40")
		}
	case "MaxHeadersLength":
		if n := number(value); n > 0 && n < 16384 {
			r.say("Warning: MaxHeadersLength: headers length limit set lower than 16384")
		}
	case "Milter":
		switch {
		case sub == "" && !strings.Contains(r.source, "."):
			r.errorf("milter_set_option: invalid Milter option, must specify suboption")
		case !hasWord("loglevel macros.connect macros.helo macros.envfrom macros.envrcpt macros.data macros.eom macros.eoh", sub):
			r.errorf("milter_set_option: invalid Milter option %s", sub)
		}
	case "AuthOptions":
		r.letters(name, value, "AacdfpyYTmN")
	case "TLSSrvOptions":
		r.letters(name, value, "Vvs")
	case "SmtpUTF8":
		if value == "" || isTrue(value) && value[0] != '1' && value[0] != 'y' && value[0] != 'Y' {
			r.errorf("readcf: option: SmtpUTF8 set but no USE_EAI support")
		} else {
			r.say("Warning: Option: SmtpUTF8 requires USE_EAI support")
		}
	case "MailboxDatabase":
		if value != "pw" && value != "ldap" {
			r.mailboxes = value
		}
	case "AliasFile":
		r.checkAliases(value)
	case "LDAPDefaultSpec":
		r.directory = strings.Fields(value)
		for _, w := range strings.Fields(value) {
			if len(w) > 1 && w[0] == '-' && (w[1] >= '0' && w[1] <= '9') && w[1] != '1' {
				r.errorf("Illegal option %c map O LDAPDefaultSpec", w[1])
			}
		}
	}
	return true
}

// first is the first character of a value; empty when there is none.
func first(s string) string { return s[:min(len(s), 1)] }

// number is the number that a value begins with; 0 when it begins with none.
func number(s string) int {
	n := 0
	for i := 0; i < len(s) && s[i] >= '0' && s[i] <= '9' && n < 1<<30; i++ {
		n = n*10 + int(s[i]-'0')
	}
	return n
}

// cutUser cuts "user:group"; a point, a slash or a comma separates too.
func cutUser(s string) (user, group string, two bool) {
	if i := strings.IndexAny(s, ":./,"); i >= 0 {
		return strings.TrimSpace(s[:i]), strings.TrimSpace(s[i+1:]), true
	}
	return strings.TrimSpace(s), "", false
}

func (r *reader) lookup(user, group string) (uid, gid int, err error) {
	if r.opt.Lookup != nil {
		return r.opt.Lookup(user, group)
	}
	return lookupUser(user, group)
}

// hasWord reports whether w is one of the words of a list.
func hasWord(list, w string) bool {
	for _, x := range strings.Fields(list) {
		if equalFold(x, w) {
			return true
		}
	}
	return false
}

// The words of options that are lists of words.
const (
	privacyWords = `public needmailhelo needexpnhelo needvrfyhelo noexpn novrfy restrictexpand restrictmailq restrictqrun noetrn noverb authwarnings noreceipts
		nobodyreturn goaway noactualrecipient`
	blameWords = `safe assumesafechown groupwritabledirpathsafe groupwritableforwardfilesafe groupwritableincludefilesafe groupwritableforwardfile
		groupwritableincludefile groupwritablealiasfile groupreadablesaslDBfile groupreadablekeyfile
		worldwritablealiasfile worldwritableforwardfile worldwritableincludefile forwardfileinunsafedirpath forwardfileinunsafedirpathsafe forwardfileingroupwritabledirpath
		includefileinunsafedirpath includefileinunsafedirpathsafe includefileingroupwritabledirpath linkedaliasfileinwritabledir
		linkedclassfileinwritabledir linkedforwardfileinwritabledir linkedincludefileinwritabledir linkedmapinwritabledir
		linkedserviceswitchfileinwritabledir filedeliverytohardlink filedeliverytosymlink writemaptohardlink writemaptosymlink
		writestatstohardlink writestatstosymlink mapinunsafedirpath helpfileinunsafedirpath forwardfileingroupwritabledirpath
		classfileinunsafedirpath runprograminunsafedirpath runwritableprogram errorheaderinunsafedirpath nonrootsafeaddr truststickybit
		insufficiententropy dontwarnforwardfileinunsafedirpath groupreadabledefaultauthinfofile groupwritablesasldbfile`
	resolverWords = `aaonly defnames debug dnsrch haswildcardmx igntc primary recurse stayopen usevc use_edns0 use_dnssec workaroundbrokenaaaa rotate
		no_nibble no_nibble2 dnssec_ok nocheckname blast edns0 insecure1 insecure2 notldquery noaliases_never`
)

// listWords complains about words of a value that the list has not. Words are letters and digits.
func (r *reader) listWords(value, list, complaint string) {
	for _, w := range strings.FieldsFunc(value, func(c rune) bool { return !(c < 0x80 && isNameChar(byte(c)) && c != '_') }) {
		if !hasWord(list, w) {
			r.errorf(complaint, w)
		}
	}
}

// letters warns of the first letter that an option of letters does not have.
func (r *reader) letters(name, value, known string) {
	for i := 0; i < len(value); i++ {
		if c := value[i]; c != ' ' && c != '\t' && c != ',' && strings.IndexByte(known, c) < 0 {
			r.say("Warning: Option: %s unknown parameter '%c'", name, c)
			return
		}
	}
}

// timeouts are the parts of the Timeout option.
const timeouts = `initial mail rcpt datainit datablock datafinal command quit rset helo ident iconnect connect aconnect misc fileopen hoststatus control lhlo auth starttls
	queuereturn queuereturn.normal queuereturn.urgent queuereturn.non-urgent queuereturn.dsn queuewarn queuewarn.normal queuewarn.urgent queuewarn.non-urgent queuewarn.dsn
	resolver.retrans resolver.retry resolver.retrans.first resolver.retry.first resolver.retrans.normal resolver.retry.normal`

func (r *reader) checkTimeouts(sub, value string) {
	if sub != "" || strings.Contains(r.source, "Timeout.") {
		r.checkTimeout(sub, value)
		return
	}
	if value == "" || value[0] >= '0' && value[0] <= '9' { // the old form: one time
		r.checkTime(strings.Split(value, ",")[0])
	}
	for i, part := range strings.Split(value, ",") { // or a list of names and times
		name, t, ok := strings.Cut(strings.TrimSpace(part), "=")
		if ok && !(i == 0 && name != "" && name[0] >= '0' && name[0] <= '9') {
			r.checkTimeout(strings.TrimSpace(name), strings.TrimSpace(t))
		}
	}
}

func (r *reader) checkTimeout(sub, value string) {
	sub = strings.ToLower(sub)
	a, b, two := strings.Cut(value, "/")
	times := 1
	switch {
	case !hasWord(timeouts, sub):
		r.errorf("settimeout: invalid timeout %s", sub)
		return
	case sub == "queuereturn" || sub == "queuewarn": // set for several classes, and read for each
		times = 2
	case sub == "resolver.retrans":
		times = 2
	}
	for range times {
		r.checkTime(a)
		if two {
			r.checkTime(b)
		}
	}
}

// checkTime looks at the units of a time like "1h30m". A wrong one is told, but is no error.
func (r *reader) checkTime(v string) {
	for i := 0; i < len(v); {
		for i < len(v) && v[i] >= '0' && v[i] <= '9' {
			i++
		}
		if i == len(v) {
			return
		}
		if c := v[i]; strings.IndexByte("smhdw", c|0x20) < 0 && c != '-' {
			r.remark("Invalid time unit `%c'", c)
		}
		i++
	}
}

// checkPort looks at the equates of DaemonPortOptions and ClientPortOptions.
func (r *reader) checkPort(value string) {
	for _, e := range strings.Split(value, ",") {
		key, v, ok := strings.Cut(strings.TrimSpace(e), "=")
		key, v = strings.TrimSpace(key), strings.TrimSpace(v)
		if !ok || key == "" {
			continue
		}
		switch key[0] {
		case 'F', 'f':
			switch v {
			case "inet", "inet6", "unix", "local", "iso", "ns", "x.25":
			default:
				if v == "" || v[0] < '0' || v[0] > '9' {
					r.errorf("Unknown address family %s in Family=option", v)
				}
			}
		case 'P', 'p':
			if v != "" && !isNumber(v) {
				if !knownPort(v) {
					r.errorf("service \"%s\" unknown", v)
				}
			}
		case 'A', 'a':
			if v != "" && !isNumber(v) && !r.knownHost(v) {
				r.errorf("host \"%s\" unknown", v)
			}
		case 'D':
			if c := first(v); c != "" && !strings.Contains("bidq", c) {
				r.errorf("Unknown delivery mode %s", c)
			}
		case 'I', 'L', 'M', 'N', 'R', 'S', 'c', 'd', 'i', 'l', 'm', 'n', 'q', 'r', 's':
		default:
			r.errorf("PortOptions parameter \"%s=%s\" unknown", key, v)
		}
	}
}

// knownPort reports whether a service has a port for TCP.
func knownPort(name string) bool {
	switch name {
	case "smtp", "submission", "smtps", "submissions": // without looking into /etc/services
		return true
	}
	_, err := net.LookupPort("tcp", name)
	return err == nil
}

func isNumber(s string) bool { return s != "" && leadingNumber(s) == s }

// knownHost reports whether a name or address stands for a host. Without a resolver, all do.
func (r *reader) knownHost(name string) bool {
	a := strings.TrimPrefix(strings.Trim(name, "[]"), "IPv6:")
	if _, err := netip.ParseAddr(a); err == nil || r.opt.KnownHost == nil {
		return true
	}
	return r.opt.KnownHost(name)
}

// checkAliases looks at the list of alias files: "class:flags file, ...".
func (r *reader) checkAliases(value string) {
	sources := aliasSources(value, r.directory, func(name string) (string, bool) { v, ok := r.macros[name]; return plain(v), ok })
	for _, source := range sources {
		if !r.isMapClass(source.Class) {
			r.errorf("setalias: unknown alias class %s", source.Class)
			continue
		}
		t := &prog.Table{Name: "Alias" + strconv.Itoa(r.aliases), Class: source.Class, Args: source.Args, Pos: r.pos()}
		r.aliases++
		r.checkTable(t)
	}
}
