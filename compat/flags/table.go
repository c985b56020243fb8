package flags

// Value says where the value of a flag stands.
type Value uint8

const (
	ValueNone        Value = iota // no value
	ValueNeeded                   // glued to the letter, or the next argument
	ValueGlued                    // glued to the letter, or none
	ValueNumberAfter              // glued, or the next argument when that begins with a digit, or none
)

// Flag describes one flag letter. The manual page lists the same letters: a test compares them.
type Flag struct {
	Letter byte
	Value  Value
	Arg    string // the value's name in the manual
	Unsafe bool   // a set-id program gives its rights up before it obeys
	Help   string
}

// Table returns every flag, ordered by letter.
func Table() []Flag { return append([]Flag(nil), table[:]...) }

var table = [...]Flag{
	{'A', ValueNeeded, "c|m", false, "use the submission (c) or the daemon (m) configuration"},
	{'B', ValueNeeded, "type", false, "body type: 7BIT or 8BITMIME"},
	{'C', ValueNeeded, "file", true, "use another configuration file"},
	{'D', ValueNeeded, "file", true, "write debugging output to a file"},
	{'F', ValueNeeded, "name", false, "full name of the sender"},
	{'G', ValueNone, "", false, "message relayed from elsewhere: no repairs"},
	{'I', ValueNone, "", false, "old spelling of -bi; refused"},
	{'L', ValueNeeded, "tag", false, "tag of log lines"},
	{'M', ValueNeeded, "xvalue", false, "set a macro"},
	{'N', ValueNeeded, "conditions", false, "delivery reports: never, or a list of success, failure, delay"},
	{'O', ValueNeeded, "name=value", false, "set an option by its long name"},
	{'Q', ValueGlued, "reason", false, "quarantine the selected messages; without a reason, release them"},
	{'R', ValueNeeded, "full|hdrs", false, "how much of the message a failure report returns"},
	{'T', ValueNone, "", false, "accepted and ignored"},
	{'U', ValueNone, "", false, "refused, as by a sendmail without SMTPUTF8"},
	{'V', ValueNeeded, "envid", false, "envelope identifier for delivery reports"},
	{'X', ValueNeeded, "file", true, "log all traffic to a file"},
	{'b', ValueNeeded, "mode", false, "mode of operation"},
	{'c', ValueNone, "", false, "do not connect to expensive mailers now"},
	{'d', ValueNumberAfter, "category.level", false, "debugging"},
	{'e', ValueNeeded, "mode", false, "error mode: p, q, m, w or e"},
	{'f', ValueNeeded, "address", false, "envelope sender"},
	{'h', ValueNeeded, "count", false, "hop count"},
	{'i', ValueNone, "", false, "a line with a lone dot does not end the message"},
	{'m', ValueNone, "", false, "the sender stays in alias expansions"},
	{'n', ValueNone, "", false, "no aliases"},
	{'o', ValueNeeded, "xvalue", false, "set an option by its letter"},
	{'p', ValueNeeded, "protocol:host", false, "protocol and host that the message came with"},
	{'q', ValueGlued, "what", false, "run the queue"},
	{'r', ValueNeeded, "address", false, "as -f"},
	{'s', ValueNone, "", false, "keep a leading From line"},
	{'t', ValueNone, "", false, "recipients are in the To, Cc and Bcc fields"},
	{'v', ValueNone, "", false, "show what happens"},
}

func flagOf(letter byte) (Flag, bool) {
	for _, f := range table {
		if f.Letter == letter {
			return f, true
		}
	}
	return Flag{}, false
}

// ModeLetter describes one value of -b.
type ModeLetter struct {
	Letter byte
	Help   string
}

// Modes returns the letters that -b knows.
func Modes() []ModeLetter { return append([]ModeLetter(nil), modes[:]...) }

var modes = [...]ModeLetter{
	{'a', "ARPANET mode: CRLF line ends, sender from the header"},
	{'C', "check the configuration"},
	{'d', "daemon, in the background"},
	{'D', "daemon, in the foreground"},
	{'h', "print the persistent host status"},
	{'H', "purge the persistent host status"},
	{'i', "rebuild the alias database"},
	{'m', "deliver a message from standard input (the default)"},
	{'O', "print the names of all options"},
	{'p', "print the queue"},
	{'P', "print the number of queue entries"},
	{'s', "SMTP on standard input and output"},
	{'t', "address test mode"},
	{'v', "verify addresses"},
}

// ProgramName is a name by which the program can be called instead of sendmail.
type ProgramName struct {
	Name string
	Mode Mode
	Same string // the flag that does the same
}

// Names returns the names that mean something; every other name is sendmail.
func Names() []ProgramName { return append([]ProgramName(nil), names[:]...) }

var names = [...]ProgramName{
	{"hoststat", HostStatus, "-bh"},
	{"mailq", PrintQueue, "-bp"},
	{"newaliases", InitAliases, "-bi"},
	{"purgestat", PurgeHostStatus, "-bH"},
	{"runq", RunQueue, "-q"},
	{"smtpd", Daemon, "-bd"},
}

func nameOf(name string) (ProgramName, bool) {
	for _, n := range names {
		if n.Name == name {
			return n, true
		}
	}
	return ProgramName{}, false
}
