// Package flags reads a command line of sendmail. In flows argv, as cron, mailx, PHP or an administrator wrote it; out
// flows an Invocation, or an Error with sendmail's words and exit status. It is pure: it opens nothing, asks nothing
// and prints nothing. The format is that of sendmail(8): letters with glued or following values, no long options,
// flags only before the first address.
package flags

import (
	"path"
	"strings"
	"time"

	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

// Mode is what the program was asked to be.
type Mode byte

// The modes are named by the letter of -b, where they have one.
const (
	Deliver          Mode = 'm' // a message comes on standard input
	ARPA             Mode = 'a' // as Deliver, with CRLF and the sender from the header
	SMTP             Mode = 's' // SMTP on standard input and output
	Verify           Mode = 'v' // verify addresses, deliver nothing
	Daemon           Mode = 'd'
	DaemonForeground Mode = 'D'
	PrintQueue       Mode = 'p'
	CountQueue       Mode = 'P'
	InitAliases      Mode = 'i'
	HostStatus       Mode = 'h'
	PurgeHostStatus  Mode = 'H'
	Test             Mode = 't'
	CheckConfig      Mode = 'C'
	PrintOptions     Mode = 'O'
	RunQueue         Mode = 'q' // -q without -bd, -bp: run the queue, or mark messages (-Q)
)

// Submission reports whether the mode takes a message from standard input and hands it on: what the set-id front end
// does by itself.
func (m Mode) Submission() bool { return m == Deliver }

// Reporting is the error mode, -e or -oe.
type Reporting byte

const (
	Print Reporting = 'p' // print errors; what nobody got goes to dead.letter
	Quiet Reporting = 'q' // print nothing, only the exit status tells
	Mail  Reporting = 'm' // mail the errors back
	Write Reporting = 'w' // write to the user's terminal, or mail
	Exit0 Reporting = 'e' // mail the errors back and exit 0
)

// Option is one -O or -o setting. Name is the long name where the short one has one.
type Option struct {
	Name  string
	Value string
}

// Macro is one -M definition; Name is a letter, or a longer name without its braces.
type Macro struct{ Name, Value string }

// Selector limits a queue run or a listing to messages whose id, recipient, sender or quarantine reason contains Text.
// Selectors of one Kind are alternatives; those of different kinds must all hold.
type Selector struct {
	Kind byte // 'I', 'R', 'S' or 'Q'
	Not  bool
	Text string
}

// QueueRun is what the -q flags ask for.
type QueueRun struct {
	Asked       bool          // there was a -q
	Interval    time.Duration // run every so often; 0 means once
	Persistent  bool          // -qp
	Foreground  bool          // -qf
	Group       string        // -qG
	Lost        bool          // -qL
	Quarantined bool          // -qQ
	Select      []Selector
}

// Invocation is a command line, understood.
type Invocation struct {
	Program string   // argv[0] as given
	Name    string   // its last element: sendmail, mailq, newaliases...
	Mode    Mode     // what to be
	Args    []string // recipients, or whatever the mode takes

	ConfigFile   string // -C; empty: the default
	ConfigChoice byte   // -Ac, -Am; 0: by mode

	Sender     string // -f or -r as given
	SenderFlag byte   // 'f', 'r', or 0 when there was none
	FullName   string // -F
	Recipients bool   // -t: recipients are in the header

	IgnoreDots bool
	Errors     Reporting
	When       envelope.When
	Verbose    bool
	Body       envelope.BodyType
	Notify     envelope.Notify
	NotifyFlag bool // there was a -N
	Ret        envelope.Ret
	EnvID      string
	Hops       int // -h; -1: count the Received lines
	Gateway    bool
	NoAliases  bool
	MeToo      bool

	Protocol    string // -p before the colon
	ProtoHost   string // -p behind the colon
	LogTag      string
	TrafficLog  string // -X
	DebugFile   string // -D
	Debug       []string
	Macros      []Macro
	Options     []Option
	Queue       QueueRun
	Quarantine  string // -Q's reason
	Quarantines bool   // there was a -Q

	// Unsafe names the flags that a set-id program may only obey with the rights of its caller: "-C", "-X",
	// "-O QueueDirectory". Whoever is privileged drops that before it goes on.
	Unsafe []string

	// Complaints are lines for standard output that did not stop the parse; Exit is what they make of the exit
	// status when all else goes well.
	Complaints []string
	Exit       int
}

// Option returns the value of the last -O or -o setting of that long name.
func (v *Invocation) Option(name string) (value string, given bool) {
	for _, o := range v.Options {
		if o.Name == name {
			value, given = o.Value, true
		}
	}
	return value, given
}

// Error ends the program: Text (possibly empty) for standard error or, as sendmail does it once it knows its mode,
// for standard output; and the exit status.
type Error struct {
	Text   string
	Stderr bool
	Exit   int
}

func (e *Error) Error() string { return e.Text }

func usage(text string) *Error { return &Error{Text: text, Exit: sysexits.Usage} }

// Parse reads argv; argv[0] is the program's name. It fails with *Error only.
func Parse(argv []string) (*Invocation, *Error) {
	v := &Invocation{Mode: Deliver, Errors: Print, Hops: -1}
	if len(argv) == 0 {
		argv = []string{"sendmail"}
	}
	v.Program = argv[0]
	v.Name = path.Base(argv[0])
	var p parse
	if n, ok := nameOf(v.Name); ok {
		v.Mode = n.Mode
		p.modeSet = true
		if n.Mode == RunQueue {
			v.Queue.Asked = true
			p.modeSet = false
		}
	}
	p.v = v
	rest := argv[1:]
	for len(rest) > 0 {
		arg := rest[0]
		if len(arg) < 2 || arg[0] != '-' {
			break
		}
		rest = rest[1:]
		if arg[1] == '-' {
			break // "--" and, as with the getopt of 4.3BSD, everything that begins so
		}
		var err *Error
		if rest, err = p.word(arg[1:], rest); err != nil {
			return nil, err
		}
	}
	v.Args = rest
	p.finish()
	return v, nil
}

// parse is the state of one Parse.
type parse struct {
	v       *Invocation
	modeSet bool
}

// word reads the flags of one argument, without its "-", and may take its value from the arguments that follow.
func (p *parse) word(word string, following []string) ([]string, *Error) {
	for word != "" {
		letter := word[0]
		word = word[1:]
		f, ok := flagOf(letter)
		if !ok {
			return nil, &Error{Text: p.v.Program + ": illegal option -- " + clean(string(rune(letter))), Stderr: true, Exit: sysexits.Usage}
		}
		value := ""
		switch f.Value {
		case ValueNone:
		case ValueGlued:
			value, word = word, ""
			if letter == 'q' && value == "" && len(following) > 0 && following[0] != "" && following[0][0] != '-' {
				value, following = following[0], following[1:] // as Debian's sendmail reads "-q 30m"
			}
		case ValueNumberAfter:
			value, word = word, ""
			if value == "" && len(following) > 0 && startsWithDigit(following[0]) {
				value, following = following[0], following[1:]
			}
		case ValueNeeded:
			value, word = word, ""
			if value == "" {
				if len(following) == 0 {
					return nil, &Error{Text: p.v.Program + ": option requires an argument -- " + string(rune(letter)), Stderr: true, Exit: sysexits.Usage}
				}
				value, following = following[0], following[1:]
			}
		}
		if f.Unsafe {
			p.unsafe("-" + string(rune(letter)))
		}
		if err := p.set(letter, value); err != nil {
			return nil, err
		}
	}
	return following, nil
}

func startsWithDigit(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }

func (p *parse) unsafe(name string) { p.v.Unsafe = append(p.v.Unsafe, name) }

// finish settles what depends on several flags.
func (p *parse) finish() {
	v := p.v
	if !p.modeSet && (v.Queue.Asked || v.Quarantines) {
		v.Mode = RunQueue
	}
	if v.Verbose && v.Mode == Deliver {
		v.When = envelope.WhenNow // whoever watches wants to see the delivery, also with -odq
	}
	if strings.HasPrefix(v.Sender, "<>") {
		v.Sender = ""
	}
}
