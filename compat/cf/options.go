package cf

import (
	"strings"

	"waybill/rules/addr"
)

// optionTable names every option that Debian's sendmail 8.17 knows, its letter before "=", and behind a colon, for
// those that Waybill does not honour exactly, how and why: "~" approximated, "-" ignored.
const optionTable = `
7=SevenBitInput  8=EightBitMode:~8-bit text is passed on as it is  A=AliasFile  a=AliasWait:-aliases are read without a build step  B=BlankSub
b=MinFreeBlocks  C=CheckpointInterval:-the journal is written after every recipient  c=HoldExpensive  d=DeliveryMode  E=ErrorHeader
e=ErrorMode  F=TempFileMode  f=SaveFromLine  G=MatchGECOS:-full names are not guessed  H=HelpFile  h=MaxHopCount
I=ResolverOptions:-the resolver has no such switches  i=IgnoreDots  J=ForwardPath  j=SendMimeErrors:~bounces are always MIME
k=ConnectionCacheSize  K=ConnectionCacheTimeout  l=UseErrorsTo:-Errors-To is not honoured  L=LogLevel:~only none, normal and debug
m=MeToo  n=CheckAliases  o=OldStyleHeaders  O=DaemonPortOptions  p=PrivacyOptions  P=PostmasterCopy
q=QueueFactor  Q=QueueDirectory  R=DontPruneRoutes  r=Timeout  S=StatusFile:-statistics are counted elsewhere  s=SuperSafe:~always safe
T=QueueTimeout  t=TimeZoneSpec  U=UserDatabaseSpec:-there is no user database  u=DefaultUser  V=FallbackMXhost  v=Verbose
w=TryNullMXList  x=QueueLA  X=RefuseLA  y=RecipientFactor  Y=ForkEachJob:-jobs are goroutines  z=ClassFactor
Z=RetryFactor  QueueSortOrder:~priority, then time  HostsFile  MinQueueAge  DefaultCharSet  ServiceSwitchFile
DialDelay:-there are no dial-up lines  NoRecipientAction  SafeFileEnvironment  MaxMessageSize  ColonOkInAddr  MaxQueueRunSize
MaxDaemonChildren  DontExpandCnames  MustQuoteChars  SmtpGreetingMessage  UnixFromLine  OperatorChars
DontInitGroups:-groups are always those of the user  SingleLineFromHeader  AllowBogusHELO  ConnectionRateThrottle
UnsafeGroupWrites:-group-writable files are refused  DoubleBounceAddress  HostStatusDirectory  SingleThreadDelivery  RunAsUser
RrtImpliesDsn  PidFile  DontBlameSendmail:~the safe choice is taken where both exist  DontProbeInterfaces
MaxRecipientsPerMessage  DeadLetterDrop  MaxAliasRecursion  ConnectOnlyTo  TrustedUser  MaxMimeHeaderLength
ControlSocketName  MaxHeadersLength  ProcessTitlePrefix:-there is one process  DefaultAuthInfo  AuthMechanisms  ClientPortOptions
DataFileBufferSize:-bodies are streamed  XscriptFileBufferSize:-there are no transcript files  LDAPDefaultSpec  ServerCertFile  ServerKeyFile
ClientCertFile  ClientKeyFile  CACertFile  CACertPath  DHParameters:-chosen by the TLS library  InputMailFilters  Milter
AuthOptions  QueueFileMode  CertFingerprintAlgorithm  CipherList:-chosen by the TLS library  RandFile:-the kernel is asked
TLSSrvOptions  BadRcptThrottle  DeliverByMin  MaxQueueChildren  MaxRunnersPerQueue  DirectSubmissionModifiers
NiceQueueRun:-there is one process  SharedMemoryKey:-there is one process  AuthMaxBits  MailboxDatabase  UseMSP  DelayLA
FastSplit:-recipients are always grouped  SoftBounce  SharedMemoryKeyFile:-there is one process  RejectLogInterval
RequiresDirfsync:~directories are always synced  ConnectionRateWindowSize  CRLFile  FallbackSmartHost  AuthRealm  CRLPath  HeloName
MaxNOOPCommands  BadRcptShutdown  BadRcptShutdownGood  ServerSSLOptions:-chosen by the TLS library
ClientSSLOptions:-chosen by the TLS library  MaxQueueAge  RejectNUL  UseCompressedIPv6Addresses  SSLEngine:-there is no engine
SSLEnginePath:-there is no engine  TLSFallbacktoClear  SetCertAltnames  SmtpUTF8  StrictTransportSecurity  CipherSuites`

// optionInfo is one entry of the table.
type optionInfo struct {
	name   string
	letter byte // 0: none
	how    Exactness
	why    string
}

// allOptions cuts the table.
func allOptions() []optionInfo {
	var all []optionInfo
	for line := range strings.Lines(optionTable) {
		for _, e := range strings.Split(strings.TrimSpace(line), "  ") {
			if e == "" {
				continue
			}
			e, why, _ := strings.Cut(e, ":")
			o := optionInfo{name: e, why: why}
			if len(e) > 1 && e[1] == '=' {
				o.letter, o.name = e[0], e[2:]
			}
			if why != "" {
				o.how, o.why = Ignored, why[1:]
				if why[0] == '~' {
					o.how = Approximated
				}
			}
			all = append(all, o)
		}
	}
	return all
}

// findOption finds an option by its name, whatever the case, or by the only name that begins so. ambiguous is set
// when several do.
func findOption(all []optionInfo, name string) (o optionInfo, found, ambiguous bool) {
	n := 0
	for _, c := range all {
		switch {
		case equalFold(c.name, name):
			return c, true, false
		case len(name) > 0 && len(name) < len(c.name) && equalFold(c.name[:len(name)], name):
			o = c
			n++
		}
	}
	return o, n == 1, n > 1
}

func optionLetter(all []optionInfo, letter byte) (o optionInfo, found bool) {
	for _, c := range all {
		if c.letter == letter {
			return c, true
		}
	}
	return o, false
}

// optionLine reads "O Name=value", "O Name.sub=value" or "Oxvalue".
func (r *reader) optionLine(body string) {
	if r.options == nil {
		r.options = allOptions()
	}
	var o optionInfo
	var value, sub string
	if strings.HasPrefix(body, " ") {
		name, v, _ := strings.Cut(strings.TrimLeft(body, " "), "=")
		value = v
		name = plain(strings.TrimSpace(name))
		name, sub, _ = strings.Cut(name, ".")
		var ok, ambiguous bool
		if o, ok, ambiguous = findOption(r.options, name); !ok {
			if ambiguous {
				r.errorf("readcf: ambiguous option name %s (matches several)", name)
			} else {
				r.errorf("readcf: unknown option name %s", name)
			}
			r.keepUnknown(name, sub, plain(value))
			return
		}
	} else {
		if body == "" {
			r.errorf("readcf: unknown option name %s", "0x0")
			return
		}
		var ok bool
		o, ok = optionLetter(r.options, body[0])
		switch {
		case ok:
		case body[0] == 'g' || body[0] == 'M':
			r.note("option "+body[:1], Ignored, "obsolete")
			return
		default:
			r.errorf("readcf: unknown option name 0x%x", body[0])
			r.keepUnknown(body[:1], "", plain(body[1:]))
			return
		}
		value = body[1:]
	}
	text := plain(value)
	r.cfg.Options = append(r.cfg.Options, Option{o.name, sub, text, r.pos()})
	what := "option " + o.name
	if sub != "" {
		what += "." + sub
	}
	r.checkOption(o.name, sub, text)
	if r.said {
		r.note(what, Ignored, r.cfg.Messages[len(r.cfg.Messages)-1].Text)
		return
	}
	r.note(what, o.how, o.why)
}

func (r *reader) keepUnknown(name, sub, value string) {
	r.cfg.Options = append(r.cfg.Options, Option{name, sub, value, r.pos()})
	r.note("option "+name, Ignored, "no such option")
}

// checkOption looks at the values of options that the reader itself needs, or whose mistakes sendmail reports.
func (r *reader) checkOption(name, sub, value string) {
	switch name {
	case "OperatorChars":
		r.operators, r.syn = value, nil
		r.macros["o"] = value
		r.cfg.Prog.Macros["o"] = value
	case "BlankSub":
		r.blank = " "
		if value != "" {
			r.blank = value[:1]
		}
		r.syn = nil
	case "UnixFromLine":
		r.setMacro("l", strings.ReplaceAll(value, "$", string(rune(mark))))
	case "SmtpGreetingMessage":
		r.setMacro("e", strings.ReplaceAll(value, "$", string(rune(mark))))
	case "PrivacyOptions":
		for _, w := range strings.FieldsFunc(value, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' }) {
			if !privacyWord(w) {
				r.errorf("readcf: Op line: %s unrecognized", w)
			}
		}
	case "Timeout":
		r.checkTimeout(sub, value)
	case "QueueTimeout":
		a, b, _ := strings.Cut(value, "/")
		r.checkTime(a)
		r.checkTime(b)
	case "MinQueueAge", "MaxQueueAge", "ConnectionCacheTimeout", "DialDelay", "AliasWait", "RejectLogInterval", "ConnectionRateWindowSize", "DeliverByMin":
		r.checkTime(value)
	case "DaemonPortOptions", "ClientPortOptions":
		for _, e := range strings.Split(value, ",") {
			key, v, ok := strings.Cut(strings.TrimSpace(e), "=")
			if !ok || key == "" {
				continue
			}
			if key[0] == 'F' || key[0] == 'f' {
				switch strings.TrimSpace(v) {
				case "inet", "inet6", "unix", "local", "iso", "ns", "x.25":
				default:
					if n := strings.TrimSpace(v); n == "" || n[0] < '0' || n[0] > '9' {
						r.errorf("Unknown address family %s in Family=option", n)
					}
				}
			}
		}
	}
}

func privacyWord(w string) bool {
	words := " public needmailhelo needexpnhelo needvrfyhelo noexpn novrfy restrictexpand restrictmailq restrictqrun noetrn noverb authwarnings noreceipts nobodyreturn goaway noactualrecipient "
	return strings.Contains(words, " "+strings.ToLower(w)+" ")
}

// timeouts are the parts of the Timeout option.
const timeouts = " initial mail rcpt datainit datablock datafinal command quit rset helo ident iconnect connect aconnect misc fileopen hoststatus control lhlo auth starttls" +
	" queuereturn queuereturn.normal queuereturn.urgent queuereturn.non-urgent queuereturn.dsn queuewarn queuewarn.normal queuewarn.urgent queuewarn.non-urgent queuewarn.dsn" +
	" resolver.retrans resolver.retry resolver.retrans.first resolver.retry.first resolver.retrans.normal resolver.retry.normal "

func (r *reader) checkTimeout(sub, value string) {
	sub = strings.ToLower(sub)
	switch {
	case sub == "": // the old form: everything
		r.checkTime(value)
	case !strings.Contains(timeouts, " "+sub+" "):
		r.errorf("settimeout: invalid timeout %s", sub)
	case sub == "queuereturn" || sub == "queuewarn": // set for several classes, and read for each
		r.checkTime(value)
		r.checkTime(value)
	case strings.HasPrefix(sub, "resolver.retry"):
	default:
		r.checkTime(value)
	}
}

// checkTime looks at the units of a time like "1h30m".
func (r *reader) checkTime(v string) {
	for i := 0; i < len(v); i++ {
		c := v[i]
		if c >= '0' && c <= '9' {
			continue
		}
		if strings.IndexByte("smhdw", c|0x20) < 0 {
			r.errorf("Invalid time unit `%c'", c)
			return
		}
	}
}

// defaults are the macros that are there before the file is read.
func (r *reader) defaults() {
	h := r.opt.Host
	r.setMacro("n", "MAILER-DAEMON")
	r.setMacro("v", Version)
	r.setMacro("o", addr.OldOperators)
	if h.Name != "" {
		short, domain, _ := strings.Cut(h.Name, ".")
		r.setMacro("w", short)
		r.setMacro("j", h.Name)
		if domain != "" {
			r.setMacro("m", domain)
		}
		r.addWords("w", []string{h.Name, short})
	}
	if h.NodeName != "" {
		r.setMacro("k", h.NodeName)
	}
	r.addWords("w", h.Addresses)
	if r.opt.Mode != "" {
		r.setMacro("opMode", r.opt.Mode)
	}
	r.defaultMailers()
	for _, d := range r.opt.Define {
		r.one(d)
	}
}

// OptionNames lists the names of all options that are known (sendmail -bO).
func OptionNames() []string {
	var names []string
	for _, o := range allOptions() {
		names = append(names, o.name)
	}
	return names
}
