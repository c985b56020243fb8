package flags

import (
	"fmt"
	"slices"
	"strings"

	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// OptionName is an option of sendmail.cf as -O and -o know it.
type OptionName struct {
	Name   string
	Letter byte // the letter of -o; 0 when it has none
	Safe   bool // a set-id program obeys without giving its rights up
}

// OptionNames returns all of them, in sendmail's order.
func OptionNames() []OptionName { return append([]OptionName(nil), optionNames[:]...) }

// setLongOption reads "Name=value". Names may be cut short as long as they are unique, in any case.
func (p *parse) setLongOption(setting string) *Error {
	name, value, _ := strings.Cut(setting, "=")
	name = strings.TrimSpace(name)
	value = strings.TrimSpace(value)
	name, sub, isSub := strings.Cut(name, ".") // Timeout.queuereturn, Milter.LogLevel
	var match []string
	for _, o := range optionNames {
		if strings.EqualFold(o.Name, name) {
			match = []string{o.Name}
			break
		}
		if len(name) < len(o.Name) && strings.EqualFold(o.Name[:len(name)], name) {
			match = append(match, o.Name)
		}
	}
	if strings.EqualFold(name, "Timeout") {
		match = []string{"Timeout"}
	}
	switch {
	case name == "":
		return &Error{Text: "readcf: null option name", Exit: sysexits.Software}
	case len(match) == 0:
		return &Error{Text: "readcf: unknown option name " + clean(name), Exit: sysexits.Software}
	case len(match) > 1:
		return &Error{Text: "readcf: ambiguous option name " + clean(name) + " (matches " + match[0] + " and " + match[1] + ")", Exit: sysexits.Software}
	}
	if match[0] == "NiceQueueRun" && len(name) < len(match[0]) {
		p.note("Option " + clean(name) + " used as abbreviation for " + match[0])
	}
	if isSub {
		if match[0] == "Timeout" && !slices.ContainsFunc(timeouts[:], func(t string) bool { return strings.EqualFold(t, strings.SplitN(sub, ".", 2)[0]) }) {
			return &Error{Text: "settimeout: invalid timeout " + clean(sub), Exit: sysexits.Software}
		}
		return p.setOption(match[0]+"."+sub, value)
	}
	return p.setOption(match[0], value)
}

// setShortOption reads "xvalue". A letter that is no option is ignored.
func (p *parse) setShortOption(setting string) *Error {
	if setting == "" {
		return nil
	}
	letter, value := setting[0], setting[1:]
	if letter == 'M' { // -oMxvalue is -Mxvalue
		return p.setMacro(value)
	}
	if letter == ' ' { // "-o Name=value" is what a line of sendmail.cf would say
		return p.setLongOption(value)
	}
	for _, o := range optionNames {
		if o.Letter == letter {
			return p.setOption(o.Name, value)
		}
	}
	if letter == 'r' {
		return p.setOption("Timeout", value)
	}
	if !strings.ContainsRune(oldLetters, rune(letter)) {
		return &Error{Text: fmt.Sprintf("readcf: unknown option name 0x%x", letter), Exit: sysexits.Software}
	}
	return nil
}

// setOption records an option by its long name and obeys those that concern submission.
func (p *parse) setOption(name, value string) *Error {
	v := p.v
	safe := false
	for _, o := range optionNames {
		if o.Name == name {
			safe = o.Safe
		}
	}
	if !safe {
		switch name {
		case "HoldExpensive", "SaveFromLine": // -c and -s change only what happens to the caller's own message
		default:
			p.unsafe("-O " + clean(name))
		}
	}
	if err := p.judge(name, value); err != nil {
		return err
	}
	v.Options = append(v.Options, Option{name, value})
	first := byte(0)
	if value != "" {
		first = value[0] | 0x20
	}
	switch name {
	case "IgnoreDots":
		v.IgnoreDots = truth(value)
	case "MeToo":
		v.MeToo = truth(value)
	case "Verbose":
		v.Verbose = truth(value)
	case "ErrorMode":
		switch Reporting(first) {
		case Print, Quiet, Mail, Write, Exit0:
			v.Errors = Reporting(first)
		}
	case "DeliveryMode":
		switch first {
		case 'i':
			v.When = envelope.WhenNow
		case 'b', 0:
			v.When = envelope.WhenBackground
		case 'q':
			v.When = envelope.WhenQueue
		case 'd':
			v.When = envelope.WhenDefer
		default:
			return usage("Unknown delivery mode " + clean(value[:1]))
		}
	}
	return nil
}

// truth reads a boolean option: nothing, "true", "yes" and their first letters are true.
func truth(value string) bool {
	return value == "" || strings.ContainsRune("tTyY", rune(value[0]))
}

// oldLetters are letters of -o that mean nothing any more, and are no error.
const oldLetters = "gWR"

// timeouts are what may follow "Timeout.".
var timeouts = [...]string{
	"aconnect", "auth", "command", "connect", "control", "datablock", "datafinal", "datainit", "fileopen", "helo", "hoststatus", "iconnect", "ident",
	"initial", "lhlo", "mail", "misc", "queuereturn", "queuewarn", "quit", "rcpt", "resolver", "rset", "starttls",
}

var optionNames = [...]OptionName{
	{"RemoteMode", '>', false},
	{"SevenBitInput", '7', true},
	{"EightBitMode", '8', true},
	{"AliasFile", 'A', false},
	{"AliasWait", 'a', false},
	{"BlankSub", 'B', false},
	{"MinFreeBlocks", 'b', true},
	{"CheckpointInterval", 'C', true},
	{"HoldExpensive", 'c', false},
	{"DeliveryMode", 'd', true},
	{"ErrorHeader", 'E', false},
	{"ErrorMode", 'e', true},
	{"TempFileMode", 'F', false},
	{"SaveFromLine", 'f', false},
	{"MatchGECOS", 'G', false},
	{"HelpFile", 'H', false},
	{"MaxHopCount", 'h', false},
	{"ResolverOptions", 'I', false},
	{"IgnoreDots", 'i', true},
	{"ForwardPath", 'J', false},
	{"SendMimeErrors", 'j', true},
	{"ConnectionCacheSize", 'k', false},
	{"ConnectionCacheTimeout", 'K', false},
	{"UseErrorsTo", 'l', false},
	{"LogLevel", 'L', true},
	{"MeToo", 'm', true},
	{"CheckAliases", 'n', false},
	{"OldStyleHeaders", 'o', true},
	{"DaemonPortOptions", 'O', false},
	{"PrivacyOptions", 'p', true},
	{"PostmasterCopy", 'P', false},
	{"QueueFactor", 'q', false},
	{"QueueDirectory", 'Q', false},
	{"DontPruneRoutes", 'R', false},
	{"Timeout", 'r', false},
	{"StatusFile", 'S', false},
	{"SuperSafe", 's', true},
	{"QueueTimeout", 'T', false},
	{"TimeZoneSpec", 't', false},
	{"UserDatabaseSpec", 'U', false},
	{"DefaultUser", 'u', false},
	{"FallbackMXhost", 'V', false},
	{"Verbose", 'v', true},
	{"TryNullMXList", 'w', false},
	{"QueueLA", 'x', false},
	{"RefuseLA", 'X', false},
	{"RecipientFactor", 'y', false},
	{"ForkEachJob", 'Y', false},
	{"ClassFactor", 'z', false},
	{"RetryFactor", 'Z', false},
	{"QueueSortOrder", 0, true},
	{"HostsFile", 0, false},
	{"MinQueueAge", 0, true},
	{"DefaultCharSet", 0, true},
	{"ServiceSwitchFile", 0, false},
	{"DialDelay", 0, true},
	{"NoRecipientAction", 0, true},
	{"SafeFileEnvironment", 0, false},
	{"MaxMessageSize", 0, false},
	{"ColonOkInAddr", 0, true},
	{"MaxQueueRunSize", 0, true},
	{"MaxDaemonChildren", 0, false},
	{"DontExpandCnames", 0, false},
	{"MustQuoteChars", 0, false},
	{"SmtpGreetingMessage", 0, false},
	{"UnixFromLine", 0, false},
	{"OperatorChars", 0, false},
	{"DontInitGroups", 0, false},
	{"SingleLineFromHeader", 0, true},
	{"AllowBogusHELO", 0, true},
	{"ConnectionRateThrottle", 0, false},
	{"UnsafeGroupWrites", 0, false},
	{"DoubleBounceAddress", 0, false},
	{"HostStatusDirectory", 0, false},
	{"SingleThreadDelivery", 0, false},
	{"RunAsUser", 0, false},
	{"RrtImpliesDsn", 0, false},
	{"PidFile", 0, false},
	{"DontBlameSendmail", 0, false},
	{"DontProbeInterfaces", 0, false},
	{"MaxRecipientsPerMessage", 0, true},
	{"DeadLetterDrop", 0, false},
	{"DontLockFilesForRead", 0, false},
	{"MaxAliasRecursion", 0, false},
	{"ConnectOnlyTo", 0, false},
	{"TrustedUser", 0, false},
	{"MaxMimeHeaderLength", 0, false},
	{"ControlSocketName", 0, false},
	{"MaxHeadersLength", 0, false},
	{"MaxForwardEntries", 0, false},
	{"ProcessTitlePrefix", 0, false},
	{"DefaultAuthInfo", 0, true},
	{"AuthMechanisms", 0, false},
	{"ClientPortOptions", 0, false},
	{"DataFileBufferSize", 0, false},
	{"XscriptFileBufferSize", 0, false},
	{"LDAPDefaultSpec", 0, false},
	{"ServerCertFile", 0, false},
	{"ServerKeyFile", 0, false},
	{"ClientCertFile", 0, false},
	{"ClientKeyFile", 0, false},
	{"CACertFile", 0, false},
	{"CACertPath", 0, false},
	{"DHParameters", 0, false},
	{"InputMailFilters", 0, false},
	{"Milter", 0, false},
	{"AuthOptions", 0, false},
	{"QueueFileMode", 0, false},
	{"CertFingerprintAlgorithm", 0, false},
	{"CipherList", 0, false},
	{"RandFile", 0, false},
	{"TLSSrvOptions", 0, false},
	{"BadRcptThrottle", 0, true},
	{"DeliverByMin", 0, false},
	{"MaxQueueChildren", 0, false},
	{"MaxRunnersPerQueue", 0, false},
	{"DirectSubmissionModifiers", 0, false},
	{"NiceQueueRun", 0, false},
	{"SharedMemoryKey", 0, false},
	{"AuthMaxBits", 0, false},
	{"MailboxDatabase", 0, false},
	{"UseMSP", 0, false},
	{"DelayLA", 0, false},
	{"FastSplit", 0, false},
	{"SoftBounce", 0, false},
	{"SharedMemoryKeyFile", 0, false},
	{"RejectLogInterval", 0, false},
	{"RequiresDirfsync", 0, false},
	{"ConnectionRateWindowSize", 0, false},
	{"CRLFile", 0, false},
	{"FallbackSmartHost", 0, false},
	{"AuthRealm", 0, false},
	{"CRLPath", 0, false},
	{"HeloName", 0, false},
	{"RefuseLowMem", 0, false},
	{"QueueLowMem", 0, false},
	{"MemoryResource", 0, false},
	{"MaxNOOPCommands", 0, false},
	{"MessageAccept", 0, false},
	{"CheckQueueRunners", 0, false},
	{"EightBitAddrOK", 0, false},
	{"AddrTypeModes", 0, false},
	{"BadRcptShutdown", 0, true},
	{"BadRcptShutdownGood", 0, true},
	{"ServerSSLOptions", 0, false},
	{"ClientSSLOptions", 0, false},
	{"MaxQueueAge", 0, false},
	{"BadRcptThrottleDelay", 0, true},
	{"InetQoS", 0, false},
	{"FIPSMode", 0, false},
	{"RejectNUL", 0, true},
	{"BounceQueue", 0, false},
	{"AddBcc", 0, false},
	{"UseCompressedIPv6Addresses", 0, false},
	{"SSLEngine", 0, false},
	{"SSLEnginePath", 0, false},
	{"TLSFallbacktoClear", 0, false},
	{"NameServer", 0, false},
	{"DANE", 0, false},
	{"NameSearchList", 0, false},
	{"Hacks", 0, false},
	{"KeepBcc", 0, false},
	{"ClientCACertFile", 0, false},
	{"ClientCACertPath", 0, false},
	{"SetCertAltnames", 0, false},
	{"SmtpUTF8", 0, false},
	{"StrictTransportSecurity", 0, false},
	{"CipherSuites", 0, false},
}
