package app

import (
	"context"
	"fmt"
	"iter"
	"os"

	"waybill/rules"
	"waybill/rules/compile"
	"waybill/rules/lang"
	"waybill/transport/sysexits"
)

// showRules prints the compiled program: all files as one, in the rule language or in sendmail's notation.
func showRules(std stdio, args []string) int {
	fs, config := options(std, "rules show", "[--cf] [FILE]")
	cf := fs.Bool("cf", false, "in the notation of sendmail.cf")
	if exit, ok := parse(std, fs, args); !ok {
		return exit
	}
	file := *config
	switch fs.NArg() {
	case 0:
	case 1:
		file = fs.Arg(0)
	default:
		fs.Usage()
		return sysexits.Usage
	}
	router, _, err := loadRules(file, rules.Options{SkipTests: true})
	if err != nil {
		return cannotOpen(std, err)
	}
	if *cf {
		err = router.Program().Disassemble(std.out)
	} else {
		err = compile.Print(std.out, router.Program())
	}
	if err != nil {
		fmt.Fprintf(std.err, "waybill: %v\n", err)
		return sysexits.Software
	}
	return sysexits.OK
}

// diffRules lists the addresses that two sets of rules treat differently. The exit status is 1 when there are any.
func diffRules(std stdio, args []string) int {
	fs, _ := options(std, "rules diff", "--addresses FILE | --log FILE  OLD NEW")
	addresses := fs.String("addresses", "", "file with one address a line; - is the standard input")
	log := fs.String("log", "", "mail log, ours or sendmail's; - is the standard input")
	sender := fs.String("from", "", "envelope sender")
	if exit, ok := parse(std, fs, args); !ok {
		return exit
	}
	if fs.NArg() != 2 || (*addresses == "") == (*log == "") {
		fs.Usage()
		return sysexits.Usage
	}
	name := *addresses + *log
	in := os.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			fmt.Fprintf(std.err, "waybill: %v\n", err)
			return sysexits.NoInput
		}
		defer f.Close()
		in = f
	}
	var routers [2]*rules.Router
	for i := range routers {
		var err error
		if routers[i], err = openRules(fs.Arg(i)); err != nil {
			return cannotOpen(std, err)
		}
	}
	var list iter.Seq[string]
	if *log != "" {
		list = rules.LogAddresses(in)
	} else {
		list = rules.Lines(in)
	}
	asked, differ := 0, 0
	counted := func(yield func(string) bool) {
		for a := range list {
			asked++
			if !yield(a) {
				return
			}
		}
	}
	for d := range rules.Diff(context.Background(), routers[0], routers[1], counted, rules.Query{Sender: *sender}) {
		differ++
		fmt.Fprint(std.out, d)
	}
	fmt.Fprintf(std.out, "%d of %d addresses differ\n", differ, asked)
	if differ > 0 {
		return 1
	}
	return sysexits.OK
}

// printGrammar prints the grammar of the rule language.
func printGrammar(std stdio) int {
	fmt.Fprintln(std.out, lang.NewParser().EBNF())
	return sysexits.OK
}

// untested lists the rules that no test block has reached; where there is no test at all, that is all there is to say.
func untested(std stdio, list []rules.RuleRef, all int) {
	if all == 0 {
		return
	}
	fmt.Fprintf(std.out, "tests reach %d of %d rules\n", all-len(list), all)
	if len(list) == all {
		return
	}
	for _, r := range list {
		fmt.Fprintf(std.out, "not reached %s:%d: %s: %s\n", r.File, r.Line, r.Ruleset, r.Source)
	}
}
