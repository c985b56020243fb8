package app

import (
	"errors"
	"fmt"
	"io"
	"log/syslog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"waybill/compat/praliases"
	"waybill/compat/vacation"
	"waybill/queue/spool"
	"waybill/rules/table"
	"waybill/transport/passwd"
	"waybill/transport/sysexits"
)

// answerForAbsent is vacation(1).
func answerForAbsent(std stdio, args []string) int {
	users := passwd.Open("/etc/passwd", "/etc/group")
	env := vacation.Env{
		In: std.in, Out: std.out, Err: std.err, Now: time.Now(),
		Home: func(login string) (string, bool) {
			u, found, err := users.Lookup(login)
			return u.Home, found && err == nil
		},
		Send: func(args []string, message io.Reader) error {
			program, err := sendmailProgram()
			if err != nil {
				return err
			}
			cmd := exec.Command(program, args...)
			cmd.Stdin = message
			return cmd.Run()
		},
	}
	if log, err := syslog.New(syslog.LOG_MAIL|syslog.LOG_NOTICE, "vacation"); err == nil {
		defer log.Close()
		env.Log = func(line string) { log.Notice(strings.TrimPrefix(line, "vacation: ")) }
	}
	return vacation.Run(args, env)
}

// sendmailProgram finds the front end: beside this program, or where it is on every Unix.
func sendmailProgram() (string, error) {
	places := []string{"/usr/sbin/sendmail", "/usr/lib/sendmail"}
	if self, err := os.Executable(); err == nil {
		places = append([]string{filepath.Join(filepath.Dir(self), "sendmail")}, places...)
	}
	for _, p := range places {
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() {
			return p, nil
		}
	}
	return "", errors.New("there is no sendmail in " + strings.Join(places, ", "))
}

// printAliases is praliases(8).
func printAliases(std stdio, args []string) int {
	o, err := praliases.Parse(args)
	if err != nil {
		fmt.Fprintln(std.err, err)
		return sysexits.Usage
	}
	files := []string{o.File}
	if o.File == "" {
		if o.Config == "" {
			o.Config = spool.DefaultCF(0, false)
		}
		if _, err := os.Stat(o.Config); o.Config != "" && errors.Is(err, os.ErrNotExist) {
			fmt.Fprintf(std.err, "praliases: %s: No such file or directory\n", o.Config)
			return sysexits.NoInput
		}
		if files, err = aliasPaths(o.Config); err != nil {
			return cannotOpen(std, err)
		}
	}
	var sources []praliases.Source
	for _, f := range files {
		sources = append(sources, aliasFile(f))
	}
	exit, err := praliases.Print(std.out, o, sources...)
	if errors.Is(err, os.ErrNotExist) {
		exit = sysexits.NoInput
	}
	if err != nil {
		fmt.Fprintf(std.err, "praliases: %v\n", err)
	}
	return exit
}

// aliasFile is an alias file in text form.
type aliasFile string

// Each implements praliases.Source: names in lower case, members on one line.
func (a aliasFile) Each(f func(name, members string) error) error {
	text, err := os.ReadFile(string(a))
	if errors.Is(err, os.ErrNotExist) { // a database that newaliases of sendmail made
		return eachOfDB(string(a)+".db", f, err)
	}
	if err != nil {
		return err
	}
	name, members := "", ""
	flush := func() error {
		if name == "" {
			return nil
		}
		err := f(name, members)
		name, members = "", ""
		return err
	}
	more := false // the line before ended in a backslash
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		continues := more || line != "" && (line[0] == ' ' || line[0] == '\t')
		line, more = strings.CutSuffix(line, `\`)
		switch {
		case strings.TrimSpace(line) == "" || !continues && line[0] == '#':
			continue
		case continues:
			if name != "" {
				members = strings.TrimSpace(members + " " + strings.TrimSpace(line))
			}
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		left, right, ok := strings.Cut(line, ":")
		if quoted, rest, found := cutQuoted(line); found {
			left, right, ok = quoted, strings.TrimPrefix(strings.TrimSpace(rest), ":"), true
		}
		if ok {
			name, members = strings.ToLower(strings.TrimSpace(left)), strings.TrimSpace(right)
		}
	}
	return flush()
}

// eachOfDB calls f for the entries of a Berkeley DB file, "@:@" too; missing is the error where there is none.
func eachOfDB(file string, f func(name, members string) error, missing error) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return missing
	}
	if err != nil {
		return err
	}
	all, err := table.ReadDB(data)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, e := range all {
		if err := f(strings.TrimSuffix(string(e.Key), "\x00"), strings.TrimSuffix(string(e.Value), "\x00")); err != nil {
			return err
		}
	}
	return nil
}

// cutQuoted takes a quoted name from the beginning of a line.
func cutQuoted(line string) (name, rest string, found bool) {
	inner, found := strings.CutPrefix(line, `"`)
	if !found {
		return "", "", false
	}
	return strings.Cut(inner, `"`)
}

// Lookup implements praliases.Source.
func (a aliasFile) Lookup(name string) (members string, found bool, err error) {
	err = a.Each(func(n, m string) error {
		if n == name && !found {
			members, found = m, true
		}
		return nil
	})
	return members, found, err
}
