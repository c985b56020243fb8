package table

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"waybill/rules/prog"
)

// Env is what tables need from outside. The zero value is fine for tables that are files.
type Env struct {
	Resolver Resolver           // nil: lookups in DNS say "not now"
	Table    func(string) Table // other tables by name, for sequences; nil: there are none
	// Native tells that the declaration is in our own language: text files then have the rest of the line as value.
	Native bool
	// Hosts is the hosts file that the class host reads; empty: /etc/hosts.
	Hosts string
	// Services is sendmail's ServiceSwitchFile, which says where hosts and users are looked up; empty: DNS, then files.
	Services string
	// KeepAliases leaves names that are CNAMEs as they are.
	KeepAliases bool
	// Domain is tried behind names that are not found in DNS; empty: the value of macro m.
	Domain string
	told   *told
	// Macro gives the value of a macro at run time; nil: none has one.
	Macro func(name string) string
	// Stderr is where programs of tables complain; nil: nowhere.
	Stderr io.Writer
	// Program prepares a program for tables of class program: its user, its environment; nil: ours, and a plain one.
	Program func(*exec.Cmd) error
	// LDAP is the program that asks directories for tables of class ldap (waybill-ldap(8)); empty: the one beside this program.
	LDAP string
	// UserDatabase is sendmail's UserDatabaseSpec, which the class userdb asks.
	UserDatabase string
	// Unsafe tells why a file must not be read because of the modes of its path; nil: all may be. Only files that
	// sendmail.cf names are asked about.
	Unsafe func(path string) error
}

// Shared returns an Env whose tables know of each other's complaints.
func (e Env) Shared() Env {
	e.told = &told{}
	return e
}

// SystemHosts is the hosts file of the machine.
func (Env) SystemHosts() string { return "/etc/hosts" }

// Open makes a table from its declaration. A declaration that makes no sense is an error and no table. A file that
// cannot be read is an error too, but there is a table, which says "not now" until a Reload succeeds: sendmail.cf
// files count on that.
func Open(def *prog.Table, env Env) (Table, error) {
	f, err := parseFlags(def)
	if err != nil {
		return nil, err
	}
	if f.bad != nil && env.Native { // sendmail complains, and goes on
		return nil, f.bad
	}
	f.unsafe = env.Unsafe
	switch def.Class {
	case "text":
		load, err := textLoader(f, env.Native)
		if err != nil {
			return nil, err
		}
		return openFile(f, load)
	case "aliases":
		return openFile(f, loadAliases)
	case "cidr":
		return openFile(f, loadPrefixes)
	case "pathalias":
		t, err := openFile(f, loadRoutes)
		if file, ok := t.(*file); ok {
			return routes{file}, err
		}
		return nil, err
	case "regex":
		return newRegex(f, env)
	case "hash", "btree", "implicit":
		f.suffixDB()
		return openFile(f, f.loadDB)
	case "cdb":
		f.suffixCDB()
		return openFile(f, f.loadCDB)
	case "null":
		return null{}, nil
	case "macro":
		return null{}, nil // package eval sets macros itself
	case "arith":
		return arith{}, nil
	case "dequote":
		return &dequote{f}, nil
	case "sequence":
		return newSequence(f, env)
	case "host":
		return newHost(f, env)
	case "dns":
		return newDNS(f, env)
	case "bestmx":
		h, err := newHost(f, env)
		return bestMX{h}, err
	case "user":
		return newUsers(f, env)
	case "program":
		if len(f.rest) == 0 {
			return nil, fmt.Errorf("%s: table %s: no program", def.Pos, def.Name)
		}
		return &program{f, env}, nil
	case "syslog":
		return syslogTable{}, nil
	case "socket":
		return newSocket(f, env)
	case "stab": // an alias file that sendmail keeps in memory
		return openFile(f, loadAliases)
	case "switch":
		return newSwitch(f, env)
	case "arpa":
		return arpa{f}, nil
	case "userdb":
		if !env.Native {
			return newUserField(f, env)
		}
	case "ldap":
		return newDirectory(f, env)
	case "nis", "nisplus":
		if !env.Native {
			return newAbsent(f), nil
		}
	}
	return nil, fmt.Errorf("%s: table %s: %w: %s", def.Pos, def.Name, ErrClass, def.Class)
}

// null is a table without entries.
type null struct{}

func (null) Lookup(context.Context, string, []string) (Result, bool, error) {
	return Result{}, false, nil
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// maxClassFile limits files that are read as a whole.
const maxClassFile = 64 << 20

// readRegular reads a file as a whole when it is a regular one of reasonable size.
func readRegular(path string) ([]byte, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(in, maxClassFile+1))
	if err == nil && len(data) > maxClassFile {
		err = fmt.Errorf("%s is larger than %d octets", path, maxClassFile)
	}
	return data, err
}

// Broken is a table whose declaration makes no sense: it has no entries, and is not open.
type Broken struct{ null }

// Open says that there is nothing to ask.
func (Broken) Open() bool { return false }

// Check looks at a declaration of sendmail.cf and returns what sendmail says when it makes no sense. known tells
// whether there is a table with a name.
func Check(def *prog.Table, known func(string) bool) (say string, broken bool) {
	f, _ := parseFlags(def)
	var says []string
	complain := func(format string, args ...any) { says = append(says, fmt.Sprintf(format, args...)) }
	var bad *optionError
	if errors.As(f.bad, &bad) {
		name := def.Name
		if def.Class == "syslog" { // it does not know its name yet
			name = "syslog"
		}
		complain("Illegal option %c map %s", bad.letter, name)
	}
	switch def.Class {
	case "text", "hash", "btree", "implicit", "cdb", "stab", "switch", "program", "socket", "userdb", "nis", "nisplus":
		if len(f.rest) == 0 {
			complain("No file name for %s map %s", def.Class, def.Name)
			broken = def.Class != "switch" && def.Class != "program" && def.Class != "socket"
		}
	case "ldap":
		says = says[:0] // it looks at its options itself
		var more []string
		_, more, broken = ParseLDAP(def.Name, def.Args)
		says = append(says, more...)
	case "sequence":
		for _, m := range def.Args {
			if m = strings.TrimPrefix(m, "-"); !known(m) {
				complain("Sequence map %s: unknown member map %s", def.Name, m)
			}
		}
	case "regex":
		re, err := compilePosix(strings.Join(f.rest, " "), f.set['b'], true)
		if err != nil {
			complain("pattern-compile-error: %s", err)
			broken = true
			break
		}
		for _, s := range strings.Split(f.subs, ",") {
			if n, err := strconv.Atoi(s); err == nil && n > re.NumSubexp() {
				complain("field (%d) out of range, only %d substrings in pattern", n, re.NumSubexp()+1)
				broken = true
			}
		}
	case "dns":
		switch {
		case f.record == "" && f.set['R']:
			complain("dns map %s: wrong type ", def.Name)
			complain("dns map %s: missing -R type", def.Name)
		case f.record == "":
			complain("dns map %s: missing -R type", def.Name)
		case !recordTypes[strings.ToUpper(f.record)]:
			complain("dns map %s: wrong type %s", def.Name, f.record)
			complain("dns map %s: missing -R type", def.Name)
		}
	case "syslog":
		if f.level != "" && !slices.Contains(syslogLevels, strings.ToLower(f.level)) {
			complain("syslog_map_parseargs: Unknown priority %s", f.level)
			broken = true
		}
	}
	return strings.Join(says, "\n"), broken
}

// syslogLevels are the words for -L of the class syslog.
var syslogLevels = []string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

// optionError is an option that no table has.
type optionError struct {
	def    *prog.Table
	letter byte
}

func (e *optionError) Error() string {
	return fmt.Sprintf("%s: table %s: unknown option -%c", e.def.Pos, e.def.Name, e.letter)
}
