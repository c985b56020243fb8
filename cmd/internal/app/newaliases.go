package app

import (
	"context"
	"errors"
	"fmt"
	"log/syslog"
	"os"
	"os/user"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"waybill/compat/cf"
	"waybill/compat/flags"
	"waybill/compat/makemap"
	"waybill/compat/newaliases"
	"waybill/compat/rewrite"
	"waybill/rules/eval"
	"waybill/transport/sysexits"
)

// initAliases is -bi. Waybill reads the alias file as it is, and notices by itself when it changes: what is left to do is
// to say whether it can be read, what is wrong with it and how much is in it, in sendmail's words.
func initAliases(std stdio, v *flags.Invocation) int {
	if !isCF(v.ConfigFile) {
		files, err := aliasPaths(v.ConfigFile)
		if err != nil {
			return cannotOpen(std, err)
		}
		return reportAliases(std, files, newaliases.Reader{Members: true}, nil)
	}
	conf, err := readCF(v.ConfigFile, cf.Options{Host: cf.LocalHost("/etc/hosts"), CheckTable: eval.CheckTable, Mode: "i", Words: askedForWords})
	if err != nil {
		return cannotOpen(std, err)
	}
	give(conf, []overrides{overridesOf(v)})
	for _, source := range conf.AliasSources() {
		if !slices.Contains(aliasClasses, source.Class) {
			fmt.Fprintf(std.out, "setalias: unknown alias class %s\n", source.Class)
			return sysexits.Software
		}
	}
	c := &cfSite{conf: conf}
	how := newaliases.Reader{Members: conf.Bool("CheckAliases", false), Local: func(name string) (string, bool) {
		if c.rw == nil {
			rw, err := rewrite.New(conf, eval.TableEnv{Resolver: nothingResolves{}, Hosts: "/etc/hosts", Macro: func(name string) string { return conf.Prog.Macros[name] }})
			if err != nil {
				return "", false
			}
			c.rw = rw
		}
		t, err := c.rw.Parse(context.Background(), name, rewrite.Message{})
		if err != nil || t.Mailer == nil || !t.Mailer.Has('A') {
			return "", false
		}
		return t.User, true
	}}
	files := slices.DeleteFunc(aliasFilesOf(conf), func(file string) bool {
		return slices.ContainsFunc(conf.AliasSources(), func(s cf.AliasSource) bool {
			return !slices.Contains(builtClasses, s.Class) && slices.Contains(s.Args, file)
		})
	})
	return reportAliases(std, files, how, conf)
}

// writeAliases writes the database of an alias file, as sendmail has it beside the text. Waybill reads the text; other programs, and
// sendmail itself should a site go back to it, read the database. Whoever named the file without a class gets NUL octets
// behind keys and values.
func writeAliases(std stdio, name string, entries []newaliases.Entry, conf *cf.Config) error {
	for _, s := range conf.AliasSources() {
		format, ok := mapEnv(std).Formats[s.Class]
		if !ok || s.Class == "cdb" || !slices.Contains(s.Args, name) {
			continue
		}
		null := ""
		if s.Plain || slices.Contains(s.Args, "-N") {
			null = "\x00"
		}
		last := map[string]int{} // a name that comes twice has what it has the second time
		all := []makemap.Entry{{Key: []byte("@" + null), Value: []byte("@" + null)}}
		for _, e := range entries {
			if i, before := last[e.Name]; before {
				all[i].Value = []byte(e.Value + null)
				continue
			}
			last[e.Name] = len(all)
			all = append(all, makemap.Entry{Key: []byte(e.Name + null), Value: []byte(e.Value + null)})
		}
		return makemap.Replace(name+".db", format, all)
	}
	return nil
}

// optional reports whether an alias file may be missing (-o).
func optional(name string, conf *cf.Config) bool {
	return conf != nil && slices.ContainsFunc(conf.AliasSources(), func(s cf.AliasSource) bool {
		return slices.Contains(s.Args, name) && slices.Contains(s.Args, "-o")
	})
}

// mayNot is what sendmail says to a user who is not trusted and asks for what only those get; empty: it may be had.
func mayNot(v *flags.Invocation) string {
	said := "Permission denied (real uid not trusted)"
	switch v.Mode {
	case flags.InitAliases, flags.PurgeHostStatus:
	case flags.Daemon, flags.DaemonForeground:
		said = "550 " + said
	default:
		return ""
	}
	if os.Getuid() == 0 || !isCF(v.ConfigFile) {
		return ""
	}
	conf, err := readCF(v.ConfigFile, cf.Options{Host: cf.LocalHost("/etc/hosts"), CheckTable: eval.CheckTable, Words: askedForWords})
	if err != nil || trustedCaller(conf) { // the mode itself tells the error
		return ""
	}
	return said
}

// trustedCaller reports whether whoever started us may do what sendmail leaves to trusted users.
func trustedCaller(conf *cf.Config) bool {
	u, err := user.LookupId(fmt.Sprint(os.Getuid()))
	if err != nil {
		return false
	}
	own, _ := conf.Option("TrustedUser", "")
	return slices.Contains(conf.Trusted, u.Username) || own != "" && own == u.Username
}

// aliasClasses are the classes that a source of aliases may have.
var aliasClasses = []string{"implicit", "hash", "btree", "dbm", "cdb", "text", "files", "stab", "ldap", "nis", "nisplus", "userdb", "sequence", "null", "program", "regex", "socket"}

// builtClasses are those that sendmail makes of a text file.
var builtClasses = []string{"implicit", "hash", "btree", "dbm", "cdb"}

// reportAliases tells of each file.
func reportAliases(std stdio, files []string, how newaliases.Reader, conf *cf.Config) int {
	log, err := syslog.New(syslog.LOG_MAIL|syslog.LOG_INFO, "sendmail")
	if err == nil {
		defer log.Close()
	}
	note := func(format string, args ...any) {
		if log != nil {
			fmt.Fprintf(log, format+"\n", args...)
		}
	}
	exit := sysexits.OK
	for _, name := range files {
		var warning string
		if conf != nil {
			_, missing := os.Stat(name)
			if dir, why := conf.UnsafeDir(name); dir != "" && missing == nil {
				warning = "WARNING: " + why + " " + dir
				fmt.Fprintln(std.out, warning)
			}
		}
		f, why, err := openAliases(name, conf)
		if err != nil {
			return failed(std, err)
		}
		if why == "No such file or directory" && optional(name, conf) {
			continue
		}
		if why != "" {
			fmt.Fprintf(std.out, "newaliases: cannot open %s: %s\n", name, why)
			continue
		}
		if warning != "" && !conf.Blamed("MapInUnsafeDirPath") { // the database would be as open, and delivery does not read the text either
			f.Close()
			fmt.Fprintf(std.out, "WARNING: cannot open alias database %s\nCannot create database for alias file %s\n", name, name)
			exit = sysexits.Software
			continue
		} else if warning != "" {
			fmt.Fprintln(std.out, warning)
		}
		r, err := how.Read(f, name)
		f.Close()
		if err != nil {
			return failed(std, err)
		}
		note("alias database %s rebuilt by %s", name, login())
		for _, c := range r.Complaints {
			fmt.Fprintln(std.out, c.Text)
			if c.Fault {
				note("NOQUEUE: SYSERR(%s): %s", login(), c.Text)
			}
		}
		if conf != nil {
			if err := writeAliases(std, name, r.Entries, conf); err != nil {
				fmt.Fprintf(std.out, "WARNING: cannot open alias database %s\nCannot create database for alias file %s\n", name, name)
				note("cannot write the database of %s: %v", name, err)
				exit = sysexits.Software
				continue
			}
		}
		fmt.Fprintln(std.out, r.Summary(name))
		note("%s", r.Summary(name))
		if exit == sysexits.OK {
			exit = r.Exit
		}
	}
	return exit
}

func login() string {
	if u, err := user.LookupId(fmt.Sprint(os.Getuid())); err == nil {
		return u.Username
	}
	return fmt.Sprint(os.Getuid())
}

// openAliases opens an alias file that only its owner may write. why says in sendmail's words what is the matter with it.
func openAliases(name string, conf *cf.Config) (f *os.File, why string, err error) {
	f, err = os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, "No such file or directory", nil
	case errors.Is(err, os.ErrPermission):
		return nil, "Permission denied", nil
	case errors.Is(err, unix.ENOTDIR):
		return nil, "Not a directory", nil
	case err != nil:
		return nil, "", err
	}
	var st unix.Stat_t
	switch err = unix.Fstat(int(f.Fd()), &st); {
	case err != nil:
	case conf != nil:
		if unsafe := conf.SafeFile(name, &st, cf.AliasSourceFile, cf.Ourselves()); unsafe != nil {
			why = cf.Reason(unsafe)
		}
	case st.Mode&unix.S_IFMT != unix.S_IFREG: // by rules of ours, whoever could write them could write the rules
		why = "Regular files only"
	}
	if err != nil || why != "" {
		f.Close()
		return nil, why, err
	}
	return f, "", nil
}

// replaced are the options of which a file may have several, and the command line's take the place of all.
var replaced = []string{"DaemonPortOptions", "AliasFile"}

// give sets the options of the command line, which count before those of the file.
func give(conf *cf.Config, given []overrides) {
	for _, g := range given {
		more := g.extra()
		for _, name := range replaced {
			if slices.ContainsFunc(more, func(o cf.Option) bool { return o.Name == name }) {
				conf.Options = slices.DeleteFunc(conf.Options, func(o cf.Option) bool { return o.Name == name })
			}
		}
		for i := range more {
			if more[i].Name == "ErrorHeader" {
				more[i].Value = strings.ReplaceAll(more[i].Value, "$", "$$")
			}
			if more[i].Name == "ForwardPath" { // only a file's values have macros
				more[i].Value = strings.ReplaceAll(more[i].Value, "$", "/nonexistent/$")
			}
		}
		for _, o := range more {
			if o.Name == "Timeout" && strings.Contains(o.Sub, ".") { // what the file says of all classes counts more
				conf.Options = slices.DeleteFunc(conf.Options, func(of cf.Option) bool { return of.Name == o.Name && of.Sub == o.Sub })
				conf.Options = append([]cf.Option{o}, conf.Options...)
				continue
			}
			conf.Options = append(conf.Options, o)
		}
	}
}
