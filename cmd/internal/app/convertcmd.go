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
	for _, r := range site.Remarks {
		fmt.Fprintln(std.err, "remark:", r)
	}
	if len(site.Problems) > 0 {
		return 1
	}
	return sysexits.OK
}

// printableLine is a text on one line, without what a terminal might take for more.
func printableLine(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, s)
}

// convertRules prints a sendmail.cf in the rule language. What cannot be carried over is told on the standard error; the
// exit status is 1 then.
func convertRules(std stdio, args []string) int {
	fs, _ := options(std, "rules convert", "[--fold] FILE.cf | FILE.mc")
	short := fs.Bool("fold", false, "put the library in the place of rules that m4 has written, when that changes nothing")
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
	if *short {
		how.NoFiles, how.Mode = false, "m" // as for mail
		whole, err := cf.Read(strings.NewReader(string(text)), file, how)
		if err != nil {
			fmt.Fprintf(std.err, "waybill: %v\n", err)
			return sysexits.NoInput
		}
		folded, site, why := fold(string(text), whole)
		if why == nil {
			fmt.Fprint(std.out, folded)
			for _, r := range site.Remarks {
				fmt.Fprintln(std.err, "remark:", r)
			}
			return sysexits.OK
		}
		fmt.Fprintf(std.err, "%s: not folded as a whole, converted line by line:\n", file)
		for _, w := range why {
			fmt.Fprintf(std.err, "  %s\n", w)
		}
		var parts []string
		result, _, parts = foldParts(file, string(text), conf, marked, whole)
		for _, p := range parts {
			fmt.Fprintln(std.err, p)
			fmt.Fprintln(std.out, "#", printableLine(p))
		}
	}
	fmt.Fprint(std.out, result.Text)
	for _, l := range result.Lost {
		fmt.Fprintf(std.err, "%s: %s\n", file, l)
	}
	if len(result.Lost) > 0 {
		return 1
	}
	return sysexits.OK
}
