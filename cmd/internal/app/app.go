// Package app joins the parts: it is the only place that knows every concrete one. Each file wires one thing, top to
// bottom, and decides nothing that a part could decide.
//
//	app.go       which command was asked for
//	site.go      a configuration becomes router, transports, expander, notices, log and queue
//	serve.go     the daemon: listeners, signals, watched files
//	smtp.go      what an SMTP client asks becomes questions to the rules and messages for the queue
//	handover.go  the same for local programs
//	queuecmd.go, rulescmd.go, modes.go   the commands for people, and sendmail's modes
package app

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"waybill/compat/submit"
	"waybill/transport/sysexits"
)

// stdio is where a command reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// command is one word of the command line.
type command struct {
	name    string
	usage   string // arguments, for --help
	summary string
	run     func(std stdio, args []string) int
}

func commands() []command {
	return []command{
		{"serve", "[-C FILE]", "run the daemon in the foreground", serve},
		{"deliver", "[-C FILE] [-v] ID", "try one message of the queue now", deliver},
		{"takeover", "[-C FILE] <LOCK", "deliver what front ends drop while no daemon runs", takeOver},
		{"handover", "[-C FILE] <SOCKET", "serve one message of a front end that found no daemon", handOver},
		{"relay", "[-bv] [-C FILE] <DROPPED", "pass a dropped message on for a front end that found no daemon", relayDropped},
		{"queue", "[-C FILE] VERB ...", "look at what waits, and decide what happens to it", queueCommand},
		{"cf", "report FILE", "tell how exactly a sendmail.cf is honoured", cfCommand},
		{"rules", "VERB ...", "check, test, format and explain rules", rulesCommand},
		{"explain", "[-C FILE] ADDRESS ...", "tell why mail goes where it goes", explain},
		{"tlsreport", "[-C FILE]", "send the reports about TLS that are counted so far", tlsReport},
		{"password", "[-f FILE] USER", "make a line of the file with those who may authenticate", password},
		{"completion", "bash|zsh|fish", "print what a shell needs to complete command lines", completion},
		{"version", "", "print the version", version},
	}
}

// Version is the release that this tree becomes.
const Version = "0.1.0"

// Main runs the command that argv names and returns its exit status. It is called as "waybill COMMAND ...", under the
// name of a companion program, or by the front end as "waybill --as NAME ...".
func Main(argv []string, in io.Reader, out, errw io.Writer) int {
	std := stdio{in, out, submit.Plain(errw)} // what goes wrong is told with names that anybody may have chosen
	name := filepath.Base(argv[0])
	args := argv[1:]
	if len(args) >= 2 && args[0] == "--as" {
		return sendmailMode(std, args[1], args[2:])
	}
	if companion, ok := companions[name]; ok {
		return companion(std, args)
	}
	if len(args) == 0 {
		help(errw)
		return sysexits.Usage
	}
	switch args[0] {
	case "help", "-h", "--help", "-help":
		help(out)
		return sysexits.OK
	case "--version":
		return version(std, nil)
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(std, args[1:])
		}
	}
	if companion, ok := companions[args[0]]; ok {
		return companion(std, args[1:])
	}
	fmt.Fprintf(errw, "waybill: no command %q; \"waybill help\" lists them\n", args[0])
	return sysexits.Usage
}

func help(w io.Writer) {
	fmt.Fprint(w, "Waybill, a mail transfer agent whose routing you can read.\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  waybill %-34s %s\n", strings.TrimSpace(c.name+" "+c.usage), c.summary)
	}
	fmt.Fprint(w, "\nEvery command has --help. The manual: waybill(8), waybill.rules(5), sendmail(8).\n")
}

func version(std stdio, _ []string) int {
	fmt.Fprintf(std.out, "waybill %s\n", Version)
	return sysexits.OK
}
