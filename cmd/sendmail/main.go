// Command sendmail is the front end that local programs call: sendmail, mailq, newaliases, hoststat, purgestat and runq,
// by the name it is called by. A message on standard input, as package flags and package submit read it, flows to the
// daemon's socket or, when no daemon answers, into the spool's drop directory; that is all it does with the privilege it
// may have as a set-group-ID program. Everything else it leaves to waybill, without privilege.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"waybill/compat/flags"
	"waybill/compat/submit"
	"waybill/queue/spool"
	"waybill/transport/envelope"
	"waybill/transport/sysexits"
)

func main() { os.Exit(program{passwd: "/etc/passwd"}.run()) }

// program is what differs between the real thing and a test.
type program struct {
	passwd string // users are found here
}

// run is the whole program; it returns the exit status.
func (p program) run() int {
	r := hygiene()
	v, wrong := flags.Parse(os.Args)
	if wrong != nil {
		return say(wrong)
	}
	if len(v.Unsafe) > 0 {
		dropPrivilege()
		r = rights{given: r.group || r.root, umask: r.umask}
	}
	if v.DebugFile != "" {
		if err := debugging(v.DebugFile, r.umask); err != nil {
			return say(&flags.Error{Text: fmt.Sprintf("cannot open %s: %s", v.DebugFile, reason(err)), Exit: sysexits.CantCreat})
		}
	}
	if exit := p.refuses(v, submit.Plain(os.Stdout)); exit != sysexits.OK {
		return exit
	}
	if exit := notMine(v, r, submit.Plain(os.Stdout)); exit != sysexits.OK {
		return exit
	}
	if !v.Mode.Submission() {
		if r.root && !permitted(v) {
			if v.Mode == flags.PrintQueue {
				return sysexits.OK
			}
			return sysexits.NoPerm
		}
		if r.root && (v.Mode == flags.PrintQueue || v.Mode == flags.RunQueue) {
			return runEngineAsRoot(v.Name, os.Args[1:])
		}
		dropPrivilege()
		if v.Mode == flags.Test {
			runTest(v, os.Args[1:])
		}
		return runEngine(v.Name, os.Args[1:])
	}
	if v.ConfigFile == "" {
		v.ConfigFile = spool.DefaultCF(v.ConfigChoice, true)
	}
	out := bufio.NewWriter(submit.Plain(os.Stdout))
	defer out.Flush()
	return p.deliver(v, r, os.Stdin, out)
}

// permitted asks PrivacyOptions whether an ordinary user may have the queue listed or run as root.
func permitted(v *flags.Invocation) bool {
	word, text := "", ""
	switch v.Mode {
	case flags.PrintQueue:
		word, text = "restrictmailq", "You are not permitted to see the queue"
	case flags.RunQueue:
		word, text = "restrictqrun", "You do not have permission to process the queue"
	default:
		return true
	}
	file := v.ConfigFile
	if file == "" {
		file = spool.DefaultCF(v.ConfigChoice, false)
	}
	if site, err := spool.Locate(file); file == "" || err != nil || !strings.Contains(site.Privacy, word) {
		return true
	}
	fmt.Println(text)
	if v.Mode == flags.PrintQueue {
		fmt.Println("\t\tTotal requests: 0")
	}
	return false
}

// say prints what was wrong with the command line.
func say(e *flags.Error) int {
	if e.Text != "" {
		to := os.Stdout // where sendmail writes, once its flags are read
		if e.Stderr {
			to = os.Stderr
		}
		fmt.Fprintln(submit.Plain(to), e.Text)
	}
	return e.Exit
}

// deliver submits the message on in. What sendmail says goes to out, failures of ours to standard error.
func (p program) deliver(v *flags.Invocation, r rights, in io.Reader, out io.Writer) (exit int) {
	if v.TrafficLog != "" {
		var end func()
		var err error
		if in, out, end, err = logged(v.TrafficLog, r.umask, in, out); err != nil {
			return fail(sysexits.CantCreat, "traffic log", err)
		}
		defer end()
	}
	for _, line := range v.Complaints {
		fmt.Fprintln(out, line)
	}
	if v.ConfigFile == "" && !spool.Anything() {
		fmt.Fprintln(out, "/etc/mail/sendmail.cf: line 0: cannot open: No such file or directory")
		return sysexits.OSFile
	}
	site, err := spool.Locate(v.ConfigFile)
	if err != nil && isCF(v.ConfigFile) && errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(out, "%s: line 0: cannot open: No such file or directory\n", v.ConfigFile)
		return sysexits.OSFile
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fail(sysexits.OSFile, "configuration", err)
	}
	if err != nil {
		return fail(sysexits.Config, "configuration", err)
	}
	if v.When == envelope.WhenDefault {
		v.When = map[byte]envelope.When{'i': envelope.WhenNow, 'b': envelope.WhenBackground, 'q': envelope.WhenQueue, 'd': envelope.WhenDefer}[site.Delivery]
	}
	bare := site.Sendmail // the rules of a sendmail.cf say what is added to names
	for _, m := range v.Macros {
		if m.Name == "j" { // the name of this host, as sendmail.cf has it, which the engine does not hear of
			site.Host, bare = m.Value, false
		}
	}
	if isCF(v.ConfigFile) {
		if _, given := v.Option("QueueDirectory"); !site.Queue && !given {
			if !site.LocalMailer {
				fmt.Fprintln(out, "No local mailer defined")
			}
			fmt.Fprintln(out, "QueueDirectory (Q) option must be set")
			return sysexits.Config
		}
	}
	caller := p.whoCalls()
	memory := &memory{r: in}
	id := new(spool.IDs).New(time.Now())
	m, err := submit.Read(v, memory, caller.Caller, submit.Site{
		Host:         site.Host,
		Now:          time.Now(),
		Unique:       func() string { return uniqueFor(site, id) },
		Trusted:      site.Trusted,
		Local:        site.Local,
		FullName:     p.fullName,
		ReceiptIsDSN: !site.Sendmail,
		Bare:         bare,
		Nameless:     site.Nameless,
		Options:      site.Options,
	})
	var known *submit.Error
	switch {
	case errors.As(err, &known):
		fmt.Fprintln(out, known.Text)
		if v.Errors == flags.Exit0 {
			return sysexits.OK
		}
		return known.Exit
	case err != nil:
		return fail(sysexits.IOErr, "standard input", err)
	}
	for _, line := range m.Complaints {
		fmt.Fprintln(out, line)
		v.Exit = m.Exit
	}
	m.Envelope.ID = id
	memory.begin(m)
	h := &handOver{v: v, rights: r, site: site, caller: caller, message: m, memory: memory, out: out}
	if exit = h.run(context.Background()); exit == sysexits.OK {
		exit = v.Exit
	}
	return exit
}

func fail(exit int, what string, err error) int {
	fmt.Fprintf(submit.Plain(os.Stderr), "sendmail: %s: %v\n", what, err)
	return exit
}
