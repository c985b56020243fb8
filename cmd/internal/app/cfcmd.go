package app

import (
	"encoding/json"
	"errors"
	"fmt"

	"waybill/compat/cf"
	"waybill/rules/eval"
	"waybill/rules/prog"
	"waybill/transport/sysexits"
)

// cfCommand is "waybill cf VERB": what can be said about a sendmail.cf.
func cfCommand(std stdio, args []string) int {
	if len(args) > 0 && args[0] == "report" {
		return cfReport(std, args[1:])
	}
	fmt.Fprintln(std.err, "usage: waybill cf report [--json] [--brief] FILE.cf")
	return sysexits.Usage
}

// cfReport tells of each line, option, map and mailer flag of a sendmail.cf how exactly it is honoured. The exit status
// is 1 when the file should not be switched to as it is.
func cfReport(std stdio, args []string) int {
	fs, _ := options(std, "cf report", "[--json] [--brief] FILE.cf")
	asJSON := fs.Bool("json", false, "for programs")
	brief := fs.Bool("brief", false, "leave out what is exact")
	if exit, ok := parse(std, fs, args); !ok {
		return exit
	}
	if fs.NArg() != 1 {
		fs.Usage()
		return sysexits.Usage
	}
	conf, err := cf.ReadFile(fs.Arg(0), cf.Options{Host: cf.LocalHost("/etc/hosts"), CheckTable: eval.CheckTable, Words: askedForWords})
	if err != nil {
		fmt.Fprintf(std.err, "waybill: %v\n", err)
		return sysexits.NoInput
	}
	r := cf.NewReport(conf)
	if *asJSON {
		out := json.NewEncoder(std.out)
		out.SetIndent("", "  ")
		if err := out.Encode(r); err != nil {
			fmt.Fprintf(std.err, "waybill: %v\n", err)
			return sysexits.IOErr
		}
	} else {
		fmt.Fprint(std.out, r.Text(*brief))
	}
	if !r.Verdict.Ready {
		return 1
	}
	return sysexits.OK
}

// askedForWords asks the map that an F line names for the words of a class.
func askedForWords(t *prog.Table, key string) (string, bool, error) {
	return eval.AskOnce(t, key, eval.TableEnv{})
}

// checkCF is sendmail -bC: what is wrong with the file, in sendmail's words, and 70 when something is; else 0.
func checkCF(std stdio, file string) int {
	conf, err := cf.ReadFile(file, cf.Options{Host: cf.LocalHost("/etc/hosts"), CheckTable: eval.CheckTable, Words: askedForWords, Mode: "C"})
	if err != nil {
		fmt.Fprintln(std.out, cf.CannotRead(file, err))
		return sysexits.OSFile
	}
	if conf.Writable {
		fmt.Fprintf(std.err, "%s: WARNING: dangerous write permissions\n", file)
	}
	var refused *cfRefused
	if errors.As(refuseCF(conf), &refused) {
		says := refused.says
		for _, m := range conf.Messages { // all of them: those about an old file, too
			if !outOfDate(m) {
				says = says[1:]
			}
			fmt.Fprintln(std.out, m)
		}
		for _, line := range says {
			fmt.Fprintln(std.out, line)
		}
		return refused.exit
	}
	for _, m := range conf.Messages { // remarks
		fmt.Fprintln(std.out, m)
	}
	return sysexits.OK
}
