package cf

import "strings"

// These tables are what a report knows about the options, mailer flags and classes of maps of sendmail 8.17: one a line,
// its letter ("." for none), its name, and for those that Waybill does not honour exactly a mark and how or why: "~"
// approximated, "-" ignored without harm, "!" ignored although somebody may rely on it. Tests hold them against what the code reads and does.

// optionTable has every option that Debian's binary knows, in its order: messages name the first ones that match.
const optionTable = `
7 SevenBitInput
8 EightBitMode ~ pass and mime are as with sendmail, and text is converted for a next hop that cannot take it; of a message that strict refuses the header is returned
A AliasFile
a AliasWait - aliases are read from their source; there is no build to wait for
B BlankSub
b MinFreeBlocks
C CheckpointInterval - the journal is written after every recipient
c HoldExpensive ! mail for expensive mailers is tried like all other
d DeliveryMode ~ interactive holds for what programs of this host send; mail that comes by SMTP goes in the background then
E ErrorHeader
e ErrorMode ~ print, unless the command line says otherwise
F TempFileMode - files are made with mode 0600
f SaveFromLine
G MatchGECOS
H HelpFile
h MaxHopCount
I ResolverOptions ~ the reader checks the words; the resolver has no such switches
i IgnoreDots
J ForwardPath
j SendMimeErrors ~ notices are always MIME
k ConnectionCacheSize
K ConnectionCacheTimeout
l UseErrorsTo
L LogLevel ~ everything of level 9 is logged
m MeToo
n CheckAliases
o OldStyleHeaders ~ blanks separate two names in VRFY and EXPN; in headers commas do
O DaemonPortOptions
p PrivacyOptions
P PostmasterCopy
q QueueFactor - load does not change who is tried
Q QueueDirectory
R DontPruneRoutes - source routes are never used
r Timeout
S StatusFile
s SuperSafe ~ always true
T QueueTimeout
t TimeZoneSpec - the zone of the system
U UserDatabaseSpec ~ a From line that is made here has the login name, not the mailname
u DefaultUser
V FallbackMXhost
v Verbose ~ on the command line only
w TryNullMXList ! a host that finds itself as its best mail exchanger bounces
x QueueLA - load does not delay mail
X RefuseLA ! load does not refuse connections
y RecipientFactor ~ in listings, the log and queue runs without a daemon, whose own order is by priority of the header and time
Y ForkEachJob - jobs are goroutines
z ClassFactor ~ in listings, the log and queue runs without a daemon, whose own order is by priority of the header and time
Z RetryFactor ~ in listings, the log and queue runs without a daemon, whose own order is by priority of the header and time
. QueueSortOrder ~ in queue runs without a daemon
. HostsFile
. MinQueueAge
. DefaultCharSet
. ServiceSwitchFile
. DialDelay - there are no dial-up lines
. NoRecipientAction
. SafeFileEnvironment ~ files are written below that directory, to which links may not lead in from elsewhere; it does not become the root
. MaxMessageSize
. ColonOkInAddr
. MaxQueueRunSize ~ in queue runs without a daemon, of the messages in their order
. MaxDaemonChildren
. DontExpandCnames
. MustQuoteChars
. SmtpGreetingMessage
. UnixFromLine
. OperatorChars
. DontInitGroups - groups are always those of the user
. SingleLineFromHeader
. AllowBogusHELO
. ConnectionRateThrottle
. UnsafeGroupWrites - files that a group may write to are refused
. DoubleBounceAddress
. HostStatusDirectory
. SingleThreadDelivery - several connections to one host may be open
. RunAsUser ~ such a user must exist, and be another than root for submission; the daemon runs as the user that starts it
. RrtImpliesDsn
. PidFile - whoever starts the daemon knows its process
. DontBlameSendmail ~ its words for maps, classes, aliases, :include: and .forward files, and for the directories of all of them, count; of the others (files that mail is written to, keys, statistics, help, programs) the safe choice is taken
. DontProbeInterfaces ~ names of the interfaces' IPv4 addresses come from the hosts file; DNS is not asked for them, and IPv6 addresses are left out
. MaxRecipientsPerMessage
. DeadLetterDrop
. MaxAliasRecursion
. ConnectOnlyTo
. TrustedUser ~ may make the alias database anew; otherwise root is trusted
. MaxMimeHeaderLength
. ControlSocketName ! "waybill queue" talks to the daemon
. MaxHeadersLength
. ProcessTitlePrefix - there is one process
. DefaultAuthInfo
. AuthMechanisms ~ PLAIN, LOGIN and CRAM-MD5, and EXTERNAL where it is listed
. ClientPortOptions ! the system chooses the address
. DataFileBufferSize - bodies are streamed
. XscriptFileBufferSize - there are no transcript files
. LDAPDefaultSpec
. ServerCertFile
. ServerKeyFile
. ClientCertFile
. ClientKeyFile
. CACertFile
. CACertPath
. DHParameters - chosen by the TLS library
. InputMailFilters ! write the filters in native rules
. Milter ! write the filters in native rules
. AuthOptions ~ only p counts
. QueueFileMode - files are made with mode 0600
. CertFingerprintAlgorithm - fingerprints are SHA-256
. CipherList ! chosen by the TLS library
. RandFile - the kernel is asked
. TLSSrvOptions ! no certificate is asked of clients
. BadRcptThrottle
. DeliverByMin
. MaxQueueChildren - there is one process
. MaxRunnersPerQueue - there is one process
. DirectSubmissionModifiers - local submission has no modifiers
. NiceQueueRun - there is one process
. SharedMemoryKey - there is one process
. AuthMaxBits - AUTH adds no security layer
. MailboxDatabase ~ pw
. UseMSP ~ the front end hands over to the daemon, or to its drop directory
. DelayLA - load does not delay anything
. FastSplit - recipients are always grouped
. SoftBounce ~ in replies of the SMTP server
. SharedMemoryKeyFile - there is one process
. RejectLogInterval - refused connections are logged each time
. RequiresDirfsync ~ directories are always synced
. ConnectionRateWindowSize ~ one minute
. CRLFile ! revocation lists are not read
. FallbackSmartHost
. AuthRealm - the realm is the host name
. CRLPath - revocation lists are not read
. HeloName
. MaxNOOPCommands ~ all useless commands have one budget
. BadRcptShutdown - see BadRcptThrottle
. BadRcptShutdownGood - see BadRcptThrottle
. ServerSSLOptions ! chosen by the TLS library
. ClientSSLOptions ! chosen by the TLS library
. MaxQueueAge
. RejectNUL - NUL octets are never accepted by SMTP
. UseCompressedIPv6Addresses - addresses are always compressed
. SSLEngine - there is no engine
. SSLEnginePath - there is no engine
. TLSFallbacktoClear ~ where the rules ask for nothing else
. SetCertAltnames - names of certificates are no macros
. SmtpUTF8
. StrictTransportSecurity ! MTA-STS is set in native rules
. CipherSuites ! chosen by the TLS library`

// timeoutTable has the parts of the option Timeout.
const timeoutTable = `
. queuereturn
. queuewarn
. command
. hoststatus
. initial
. connect
. helo
. mail
. rcpt
. datainit
. datablock
. datafinal
. quit
. iconnect - the first attempt has the time of connect
. aconnect - the hosts of a delivery have the time of connect each
. rset - as mail
. misc - each reply to SMTP has its time
. ident - clients are not asked who their user is
. fileopen - opening a file has no time of its own
. control - "waybill queue" talks to the daemon
. lhlo - as helo
. auth - as helo
. starttls - as helo
. resolver ~ the time of resolv.conf`

// unless are the options that ask for nothing with these values: such a one is honoured exactly.
var unless = map[string]string{"HoldExpensive": "fFnN0"}

// timeoutInfo tells how a part of the option Timeout is honoured.
func timeoutInfo(sub string) entry {
	part, _, _ := strings.Cut(strings.ToLower(sub), ".")
	for _, e := range entries(timeoutTable) {
		if e.name == part {
			return e
		}
	}
	return entry{name: sub}
}

// flagTable has the flags of mailers (Operations Guide 5.4).
const flagTable = `
a EHLO ~ EHLO is always tried first
A aliases
b blank line at the end
B backslashes - addresses are passed on with their backslashes
c comments - comments stay in addresses
C sender's domain ~ ruleset 3 and the mailer's rulesets see to header addresses
d no angle brackets ~ every address of SMTP stands in angle brackets (RFC 5321)
D Date
e expensive ! mail for expensive mailers is tried like all other
E From quoting
f -f
F From
g null sender - the null sender is always written <>
h case of the host
H preview - the MAIL11 preview is not asked
i user database
I sendmail - other ends are never told that this is sendmail
j user database
k no loop check
K chunking - reserved
l local
L line limit ~ as L=990
m several recipients
M Message-Id
n no From line
N several results - a program has one exit status
o as the recipient
O other ~ the header lines that ask for it
p reverse route - the reverse path is the sender's address
P Return-Path
q VRFY ~ VRFY answers as the privacy options say
Q quotes ~ the header lines that ask for it
r -r
R reserved port ! connections come from any port
s quotes - quotation marks stay around local parts
S no set-user-ID
u case of the user
U UUCP From line
v Content-Length - the length is not counted
w passwd
W host status - there is no host status to ignore
x Full-Name
X dots ~ dots are always stuffed for SMTP, as RFC 5321 says
z LMTP
Z DialDelay - there are no dial-up lines
0 no MX
1 NUL - NUL octets are not stripped
2 no EHLO - EHLO is always tried first
3 EBCDIC - quoted-printable is as in RFC 2045
5 ruleset 5
6 7-bit headers ! headers are not cut to 7 bits
7 7-bit ! messages are not cut to 7 bits
8 8-bit ~ the other end's EHLO decides
9 7-bit to 8-bit
: include
| program
/ file
@ user database
~ home directory - the home directory of the passwd file counts
% hold
! From line ~ mail for MH has an ordinary From line
+ m4 ~ reserved for the macros of m4
- m4 ~ reserved for the macros of m4`

// mapTable has every class of maps that Debian's binary knows.
const mapTable = `
. hash
. btree
. implicit
. text
. host
. dns
. null
. macro
. arith
. dequote
. sequence
. switch
. stab
. regex ~ RE2: no back-references, and the pattern never takes long
. user
. bestmx
. socket
. arpa
. syslog ~ what a rule logs goes nowhere; the rule's value is the same
. program
. userdb
. ldap ~ asked through waybill-ldap(8), which speaks version 3 of the protocol whatever -w says; krbv4 is not there
. nis ! NIS is not asked: lookups say "not now", as with sendmail where NIS is not bound
. nisplus ! NIS+ is not asked: lookups say "not now", as with sendmail where NIS+ is not there`

// entry is one line of a table.
type entry struct {
	name   string
	letter byte // 0: none
	how    Exactness
	harm   bool // ignoring it may matter
	why    string
}

// entries reads a table.
func entries(table string) []entry {
	all := make([]entry, 0, 160)
	for line := range strings.Lines(table) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		e := entry{name: line[2:]}
		if line[0] != '.' {
			e.letter = line[0]
		}
		if name, why, ok := strings.Cut(e.name, " - "); ok {
			e.name, e.how, e.why = name, Ignored, why
		} else if name, why, ok := strings.Cut(e.name, " ~ "); ok {
			e.name, e.how, e.why = name, Approximated, why
		} else if name, why, ok := strings.Cut(e.name, " ! "); ok {
			e.name, e.how, e.harm, e.why = name, Ignored, true, why
		}
		all = append(all, e)
	}
	return all
}

// allOptions lists the options.
func allOptions() []entry { return entries(optionTable) }

func (r *reader) isMapClass(name string) bool {
	_, ok := r.mapInfo(name)
	return ok
}

// mapInfo tells how a class of maps is honoured.
func (r *reader) mapInfo(class string) (entry, bool) {
	if r.classes == nil {
		r.classes = entries(mapTable)
	}
	for _, e := range r.classes {
		if e.name == class {
			return e, true
		}
	}
	return entry{how: Ignored, harm: true, why: "no such class"}, false
}

// flagInfo tells how a flag of a mailer is honoured. Letters without a meaning of their own only choose headers.
func (r *reader) flagInfo(flag byte) entry {
	if r.flags == nil {
		r.flags = &[256]entry{}
		for _, e := range entries(flagTable) {
			r.flags[e.letter] = e
		}
	}
	if e := r.flags[flag]; e.letter == flag {
		return e
	}
	return entry{letter: flag, name: "chooses headers"}
}

// Known is one thing that sendmail has, and how well Waybill honours it. Flags are named by their letters.
type Known struct {
	Name string
	How  Exactness
	Why  string
}

// Known things of sendmail 8.17.
type KnownSurface struct{ Options, Timeouts, Flags, Maps []Known }

// Surface lists all options, mailer flags and classes of maps.
func Surface() KnownSurface {
	var s KnownSurface
	for _, e := range allOptions() {
		s.Options = append(s.Options, Known{e.name, e.how, e.why})
	}
	for _, e := range entries(timeoutTable) {
		s.Timeouts = append(s.Timeouts, Known{e.name, e.how, e.why})
	}
	for _, e := range entries(flagTable) {
		s.Flags = append(s.Flags, Known{string(e.letter), e.how, e.why})
	}
	for _, e := range entries(mapTable) {
		s.Maps = append(s.Maps, Known{e.name, e.how, e.why})
	}
	return s
}
