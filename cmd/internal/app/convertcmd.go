package app

import (
	"fmt"
	"os"
	"strings"

	"waybill/compat/cf"
	"waybill/compat/convert"
	"waybill/compat/mc"
	"waybill/rules/eval"
	"waybill/transport/sysexits"
)

// convertMC prints the wishes of an .mc file in the rule language. The exit status is 1 when some of them are not in it.
func convertMC(std stdio, file, text string) int {
	site := mc.Read(text, file)
	site.Machine = cf.LocalHost("/etc/hosts").Name
	fmt.Fprint(std.out, site.Rules(file))
	for _, p := range site.Problems {
		fmt.Fprintln(std.err, p)
	}
	if len(site.Problems) > 0 {
		return 1
	}
	return sysexits.OK
}

// convertRules prints a sendmail.cf in the rule language. What cannot be carried over is told on the standard error; the
// exit status is 1 then.
func convertRules(std stdio, args []string) int {
	fs, _ := options(std, "rules convert", "[--plain] FILE.cf | FILE.mc")
	fs.Bool("plain", false, "line by line, and use nothing of the library")
	if exit, ok := parse(std, fs, args); !ok {
		return exit
	}
	if fs.NArg() != 1 {
		fs.Usage()
		return sysexits.Usage
	}
	file := fs.Arg(0)
	text, err := os.ReadFile(file)
	if err != nil {
		fmt.Fprintf(std.err, "waybill: %v\n", err)
		return sysexits.NoInput
	}
	if strings.HasSuffix(file, ".mc") {
		return convertMC(std, file, string(text))
	}
	how := cf.Options{Host: cf.LocalHost("/etc/hosts"), CheckTable: eval.CheckTable, NoFiles: true}
	conf, err := cf.ReadFile(file, how)
	if err != nil {
		fmt.Fprintf(std.err, "waybill: %v\n", err)
		return sysexits.NoInput
	}
	marked, err := cf.Read(strings.NewReader(string(text)), file, convert.Marked(how))
	if err != nil {
		fmt.Fprintf(std.err, "waybill: %v\n", err)
		return sysexits.NoInput
	}
	for _, m := range conf.Messages {
		fmt.Fprintln(std.err, m)
	}
	result := convert.File(string(text), conf, marked)
	fmt.Fprint(std.out, result.Text)
	for _, l := range result.Lost {
		fmt.Fprintf(std.err, "%s: %s\n", file, l)
	}
	if len(result.Lost) > 0 {
		return 1
	}
	return sysexits.OK
}
