package app

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"waybill/etc"
	"waybill/queue/spool"
	"waybill/rules"
	"waybill/rules/lang"
	"waybill/transport/dns"
	"waybill/transport/sysexits"
)

const rulesUsage = `usage: waybill rules VERB ...

  check [FILE]             find all errors, and run the test blocks
  test [--library] [FILE]  run the test blocks, list what passed and what did not, and which rules none reached
  show [--cf] [FILE]       print the compiled rules, all files as one
  diff --addresses FILE | --log FILE  OLD NEW   list the addresses that two files treat differently
  fmt [-w] FILE...         print files in the usual layout, or rewrite them
  explain [-C FILE] [--from SENDER] ADDRESS...  tell why mail goes where it goes
  convert [--fold] FILE.cf  print a sendmail.cf in this language; --fold: with the library in the place of what m4 wrote
  convert FILE.mc          print what an .mc file wishes in this language
  default                  print the embedded default rules
  grammar                  print the grammar of the language
`

// rulesCommand works on rule files.
func rulesCommand(std stdio, args []string) int {
	if len(args) == 0 {
		fmt.Fprint(std.err, rulesUsage)
		return sysexits.Usage
	}
	verb, args := args[0], args[1:]
	switch verb {
	case "check":
		return checkRules(std, args)
	case "test":
		return testRules(std, args)
	case "show":
		return showRules(std, args)
	case "diff":
		return diffRules(std, args)
	case "convert":
		return convertRules(std, args)
	case "grammar":
		return printGrammar(std)
	case "fmt":
		return formatRules(std, args)
	case "explain":
		return explain(std, args)
	case "default":
		std.out.Write(etc.DefaultRules())
		return sysexits.OK
	case "help", "--help", "-h":
		fmt.Fprint(std.out, rulesUsage)
		return sysexits.OK
	}
	fmt.Fprint(std.err, rulesUsage)
	return sysexits.Usage
}

// openRules reads rules for a command that only asks them: their tables may ask the DNS.
func openRules(file string) (*rules.Router, error) {
	if isCF(file) {
		return openCFRules(file)
	}
	router, _, err := loadRules(file, rules.Options{SkipTests: true})
	if err != nil {
		return nil, err
	}
	conf := dns.Config{}
	if at := router.Settings().Resolver; at != "" {
		conf.Servers = []string{at}
	}
	resolver, err := dns.New(conf)
	if err != nil {
		return nil, err
	}
	router, _, err = loadRules(file, rules.Options{Resolver: ruleTables{resolver}, SkipTests: true})
	return router, err
}

// ruleFile is the file that a command is about: its argument, or the one of -C.
func ruleFile(std stdio, verb, usage string, args []string, flags func(*flag.FlagSet)) (file string, exit int, ok bool) {
	fs, config := options(std, "rules "+verb, usage)
	if flags != nil {
		flags(fs)
	}
	if exit, ok := parse(std, fs, args); !ok {
		return "", exit, false
	}
	if fs.NArg() > 1 {
		fs.Usage()
		return "", sysexits.Usage, false
	}
	if fs.NArg() == 1 {
		return fs.Arg(0), 0, true
	}
	return *config, 0, true
}

func checkRules(std stdio, args []string) int {
	file, exit, ok := ruleFile(std, "check", "[FILE]", args, nil)
	if !ok {
		return exit
	}
	name, read, opt := ruleSource(file, rules.Options{})
	found := rules.Check(name, opt)
	if found.Errors() {
		return cannotOpen(std, found)
	}
	if len(found) > 0 {
		fmt.Fprintln(std.out, found.Error())
	}
	if read == "" {
		read = "the embedded rules (there is no " + spool.DefaultConfig + ")"
	}
	fmt.Fprintf(std.out, "%s: no errors\n", read)
	return sysexits.OK
}

func testRules(std stdio, args []string) int {
	opt := rules.Options{SkipTests: true}
	file, exit, ok := ruleFile(std, "test", "[--library] [FILE]", args, func(fs *flag.FlagSet) {
		fs.BoolVar(&opt.LibraryTests, "library", false, "run the tests of the library parts that the file uses as well: they are about the library as it is, and may fail where a site has rules of its own")
	})
	if !ok {
		return exit
	}
	router, _, err := loadRules(file, opt)
	if err != nil {
		return cannotOpen(std, err)
	}
	failed := 0
	results, missed, all := router.Coverage()
	for _, r := range results {
		word := "ok  "
		if r.Failed != "" {
			word = "FAIL"
			failed++
		}
		fmt.Fprintf(std.out, "%s %s:%d: %s: %s\n", word, r.File, r.LineNo, r.Block, r.Line)
		if r.Failed != "" {
			fmt.Fprintf(std.out, "     %s\n", r.Failed)
		}
	}
	untested(std, missed, all)
	fmt.Fprintf(std.out, "%d passed, %d failed\n", len(results)-failed, failed)
	if failed > 0 {
		return sysexits.Config
	}
	return sysexits.OK
}

func formatRules(std stdio, args []string) int {
	fs, _ := options(std, "rules fmt", "[-w] FILE...")
	write := fs.Bool("w", false, "rewrite the files that would change")
	if exit, ok := parse(std, fs, args); !ok {
		return exit
	}
	if fs.NArg() == 0 {
		fs.Usage()
		return sysexits.Usage
	}
	parser := lang.NewParser()
	exit := sysexits.OK
	for _, name := range fs.Args() {
		text, err := os.ReadFile(name)
		if err != nil {
			fmt.Fprintf(std.err, "waybill: %v\n", err)
			return sysexits.NoInput
		}
		src := lang.NewSource(name, string(text))
		if _, wrong := parser.Parse(src); wrong.Errors() {
			fmt.Fprintln(std.err, wrong.Error())
			exit = sysexits.Config
			continue
		}
		out := lang.Format(src)
		switch {
		case !*write:
			fmt.Fprint(std.out, out)
		case out != string(text):
			if err := replaceFile(name, out); err != nil {
				fmt.Fprintf(std.err, "waybill: %v\n", err)
				return sysexits.CantCreat
			}
		}
	}
	return exit
}

// replaceFile puts text in the place of a file at once, so that a daemon that watches it never reads half of it.
func replaceFile(name, text string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.WriteString(text); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Chmod(info.Mode().Perm()); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Sync(); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}
