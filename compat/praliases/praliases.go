// Package praliases prints aliases, as praliases(8) does. In flow its command line and the entries of an alias file,
// which the wiring reads; out flow lines "name:members".
package praliases

import (
	"fmt"
	"io"
	"strings"

	"waybill/compat/getopt"
	"waybill/transport/sysexits"
)

// Flags are the letters of the command line, those with a value followed by a colon.
const Flags = "C:f:"

// Options is the command line.
type Options struct {
	Config string   // -C
	File   string   // -f: an alias file in place of the configured ones
	Keys   []string // names to look up; none: print all
}

// Parse reads the arguments behind the program's name. The error text is a usage line.
func Parse(args []string) (Options, error) {
	var o Options
	keys, err := getopt.Parse(args, Flags, func(letter byte, value string) error {
		if letter == 'C' {
			o.Config = value
		} else {
			o.File = value
		}
		return nil
	})
	if err != nil {
		return o, fmt.Errorf("praliases: %w\nusage: praliases [-C cffile] [-f aliasfile] [key ...]", err)
	}
	o.Keys = keys
	return o, nil
}

// Source is an alias file.
type Source interface {
	// Each calls f for every entry, in the order of the file.
	Each(f func(name, members string) error) error
	// Lookup finds one entry by its exact name.
	Lookup(name string) (members string, found bool, err error)
}

// Print writes the entries that are asked for, in the order of the sources, and returns the exit status. A name that is
// in none of them gets a line that says so, and changes no exit status, as with sendmail's praliases.
func Print(out io.Writer, o Options, sources ...Source) (exit int, err error) {
	if len(o.Keys) == 0 {
		for _, s := range sources {
			err := s.Each(func(name, members string) error { return line(out, name, members) })
			if err != nil {
				return sysexits.IOErr, err
			}
		}
		return sysexits.OK, nil
	}
	for _, key := range o.Keys {
		found := false
		for _, s := range sources {
			members, ok, err := s.Lookup(key)
			if err != nil {
				return sysexits.TempFail, err
			}
			if ok {
				found = true
				if err := line(out, key, members); err != nil {
					return sysexits.IOErr, err
				}
				break
			}
		}
		if !found {
			if _, err := fmt.Fprintf(out, "%s: No such key\n", visible(key)); err != nil {
				return sysexits.IOErr, err
			}
		}
	}
	return sysexits.OK, nil
}

func line(out io.Writer, name, members string) error {
	_, err := fmt.Fprintf(out, "%s:%s\n", visible(name), visible(members))
	return err
}

// visible keeps control characters of an alias file from a terminal.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
