package app

import (
	"flag"
	"fmt"
	"strconv"
	"strings"

	"waybill/compat/cf"
	"waybill/compat/flags"
)

// overrides are what a command line says beside a sendmail.cf: -O and -o, -M.
type overrides struct {
	options []flags.Option
	macros  []flags.Macro
	tag     string // -L: of the log lines
	spool   string // another spool than that of the configuration
	hops    int    // -h: of every message that this process has, also of the notices that it makes; 0: as each says
	runs    queueRuns
}

func overridesOf(v *flags.Invocation) overrides {
	return overrides{options: v.Options, macros: v.Macros, tag: v.LogTag, runs: runsOf(v), hops: max(0, v.Hops)}
}

// lines are the macros as lines of a sendmail.cf that is read before the file.
func (o overrides) lines() []string {
	var lines []string
	for _, m := range o.macros {
		lines = append(lines, "D{"+m.Name+"}"+strings.Map(oneLine, m.Value))
	}
	return lines
}

func oneLine(c rune) rune {
	if c == '\n' || c == '\r' {
		return ' '
	}
	return c
}

// extra are the options; they stand behind those of the file, and so count.
func (o overrides) extra() []cf.Option {
	var list []cf.Option
	for _, given := range o.options {
		name, sub, _ := strings.Cut(given.Name, ".")
		list = append(list, cf.Option{Name: name, Sub: sub, Value: given.Value})
	}
	return list
}

// args are the overrides as arguments of our own commands (overrides.flags).
func (o overrides) args() []string {
	var list []string
	for _, given := range o.options {
		list = append(list, "-O", given.Name+"="+given.Value)
	}
	for _, m := range o.macros {
		list = append(list, "-M", m.Name+"="+m.Value)
	}
	if o.tag != "" {
		list = append(list, "-L", o.tag)
	}
	if o.hops > 0 {
		list = append(list, "-hops", strconv.Itoa(o.hops))
	}
	return append(list, o.runs.args()...)
}

// flags makes a command take -O NAME=VALUE and -M NAME=VALUE, any number of times.
func (o *overrides) flags(fs *flag.FlagSet) {
	fs.Func("O", "set `NAME=VALUE`, an option of a sendmail.cf", func(s string) error {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("%q is not NAME=VALUE", s)
		}
		o.options = append(o.options, flags.Option{Name: name, Value: value})
		return nil
	})
	o.runs.flags(fs)
	fs.IntVar(&o.hops, "hops", 0, "the `number` of hops that messages have made, at least")
	fs.StringVar(&o.tag, "L", "", "the `tag` of log lines")
	fs.Func("M", "set `NAME=VALUE`, a macro of a sendmail.cf", func(s string) error {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("%q is not NAME=VALUE", s)
		}
		o.macros = append(o.macros, flags.Macro{Name: name, Value: value})
		return nil
	})
}

func isDaemonPort(o cf.Option) bool { return o.Name == "DaemonPortOptions" }

// spoolOf is the spool that the overrides name; empty: that of the configuration.
func spoolOf(given []overrides) string {
	for _, g := range given {
		if g.spool != "" {
			return g.spool
		}
	}
	return ""
}
