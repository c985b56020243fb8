package cf

import (
	"strings"
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
func allOptions() []optionInfo { return entries(optionTable) }

// entries cuts a table of names: "letter=name:~why", two blanks between them.
func entries(table string) []optionInfo {
	var all []optionInfo
	for line := range strings.Lines(table) {
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

// findOption finds an option by its name, whatever the case, or by the only name that begins so. two are the first
// ones when several do.
func findOption(all []optionInfo, name string) (o optionInfo, found bool, two []string) {
	for _, c := range all {
		switch {
		case equalFold(c.name, name):
			return c, true, nil
		case len(name) > 0 && len(name) < len(c.name) && equalFold(c.name[:len(name)], name):
			if o.name == "" {
				o = c
			}
			two = append(two, c.name)
		}
	}
	return o, len(two) == 1, two
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
		name, v, _ := strings.Cut(body[1:], "=")
		value = v
		name = plain(strings.TrimRight(name, " \t"))
		name, sub, _ = strings.Cut(name, ".")
		if name == "" {
			r.errorf("readcf: null option name")
			r.note("option", Ignored, "it has no name")
			return
		}
		var ok bool
		var several []string
		if o, ok, several = findOption(r.options, name); !ok {
			if len(several) > 1 {
				r.errorf("readcf: ambiguous option name %s (matches %s and %s)", name, several[0], several[1])
			} else {
				r.errorf("readcf: unknown option name %s", name)
			}
			r.keepUnknown(name, sub, plain(value))
			return
		}
		if !equalFold(name, o.name) {
			r.remark("Option %s used as abbreviation for %s", name, o.name)
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
	what := "option " + o.name
	if sub != "" {
		what += "." + sub
	}
	if !r.checkOption(o.name, sub, strings.TrimLeft(text, " \t")) {
		r.note(what, Ignored, "it stands behind the first ruleset, where sendmail ignores it")
		return
	}
	r.cfg.Options = append(r.cfg.Options, Option{o.name, sub, text, r.pos()})
	if r.said {
		r.note(what, Ignored, r.cfg.Messages[len(r.cfg.Messages)-1].Text)
		return
	}
	if r.remarked != "" && o.how == Exact {
		r.note(what, Approximated, r.remarked)
		return
	}
	r.note(what, o.how, o.why)
}

func (r *reader) keepUnknown(name, sub, value string) {
	r.cfg.Options = append(r.cfg.Options, Option{name, sub, value, r.pos()})
	r.note("option "+name, Ignored, "no such option")
}

// defaults are the macros that are there before the file is read.
func (r *reader) defaults() {
	h := r.opt.Host
	r.setMacro("n", "MAILER-DAEMON")
	r.setMacro("v", Version)
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
