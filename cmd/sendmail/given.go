package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"waybill/compat/flags"
	"waybill/compat/submit"
	"waybill/queue/spool"
	"waybill/transport/sysexits"
)

// refuses says on out, in sendmail's words, why options of the command line cannot be obeyed; 0: they can. Users that do not
// exist, and RunAsUser as one who may not enter the queue directory, end sendmail in every mode but -bt.
func (p program) refuses(v *flags.Invocation, out io.Writer) int {
	if v.Mode == flags.Test {
		return sysexits.OK
	}
	for _, o := range v.Options {
		as := map[string]string{"DefaultUser": "u", "RunAsUser": "RunAsUser"}[o.Name]
		if as == "" {
			continue
		}
		user, group, _ := strings.Cut(o.Value, ":")
		if i := strings.IndexByte(user, '.'); group == "" && i > 0 {
			user, group = user[:i], user[i+1:]
		}
		if _, ok := p.userOf(user); !ok {
			fmt.Fprintf(out, "readcf: option %s: unknown user %s\n", as, user)
			return sysexits.Software
		}
		if !p.hasGroup(group) {
			fmt.Fprintf(out, "readcf: option %s: unknown group %s\n", as, group)
			return sysexits.Software
		}
	}
	if name, given := v.Option("MailboxDatabase"); given && name != "pw" {
		fmt.Fprintf(out, "Can't initialize mailbox database \"%s\": Service unavailable\n", name)
		return sysexits.Unavailable
	}
	name, _ := v.Option("RunAsUser")
	name, _, _ = strings.Cut(name, ":")
	uid, _ := p.userOf(cmp.Or(name, "0"))
	if set, given := v.Option("UseMSP"); given && (set == "" || strings.ContainsRune("tTyY", rune(set[0]))) && uid == 0 {
		fmt.Fprintln(out, "Mail submission program must have RunAsUser set to non root user")
		return sysexits.Config
	}
	if uid == 0 || os.Geteuid() != 0 {
		return sysexits.OK
	}
	if v.Mode == flags.Verify {
		fmt.Fprintln(out, "Notice: -bv may give misleading output for non-privileged user")
	}
	file := cmp.Or(v.ConfigFile, spool.DefaultCF(v.ConfigChoice, v.Mode.Submission()))
	site, err := spool.Locate(file)
	if dir, given := v.Option("QueueDirectory"); given {
		site.Spool, err = dir, nil
	}
	if err != nil || mayEnter(site.Spool, uid) {
		return sysexits.OK // whoever reads the configuration next says what is wrong with it
	}
	return noWay(site.Spool, out)
}

// notMine is the end of a set-group-ID sendmail that is to do what needs the daemon's own queue, which is not open to its
// group, where no daemon of ours answers instead; 0: it goes on.
func notMine(v *flags.Invocation, r rights, out io.Writer) int {
	if !r.group || r.root {
		return sysexits.OK
	}
	file := cmp.Or(v.ConfigFile, spool.DefaultCF(v.ConfigChoice, v.Mode.Submission()))
	switch v.Mode {
	case flags.Verify, flags.RunQueue, flags.HostStatus, flags.PurgeHostStatus:
	default:
		if !v.Mode.Submission() || v.ConfigChoice != 'm' {
			return sysexits.OK
		}
	}
	site, err := spool.Locate(file)
	if !isCF(file) || err != nil || !site.Queue {
		return sysexits.OK
	}
	if _, err := os.Stat(site.Socket); err == nil || unix.Faccessat(unix.AT_FDCWD, site.Spool, unix.X_OK, unix.AT_EACCESS) != unix.EACCES {
		return sysexits.OK
	}
	if v.Mode == flags.Verify {
		fmt.Fprintln(out, "Notice: -bv may give misleading output for non-privileged user")
	}
	return noWay(site.Spool, out)
}

// noWay is how sendmail says that it may not enter its queue directory.
func noWay(dir string, out io.Writer) int {
	fmt.Fprintf(out, "can not chdir(%s/): Permission denied\n", dir)
	fmt.Fprintln(os.Stderr, "Program mode requires special privileges, e.g., root or TrustedUser.")
	return sysexits.Config
}

// userOf finds a user by name or number. A number needs no entry.
func (p program) userOf(name string) (uid int, ok bool) {
	if n, err := strconv.Atoi(name); err == nil {
		return n, true
	}
	user, ok := submit.FindUser(p.passwd, func(login string, _ int) bool { return login == name })
	return user.UID, ok
}

// hasGroup looks a group up in group(5); a number and none at all need no entry.
func (p program) hasGroup(name string) bool {
	if _, err := strconv.Atoi(name); err == nil || name == "" {
		return true
	}
	text, err := os.ReadFile(strings.TrimSuffix(p.passwd, "passwd") + "group")
	return err == nil && strings.Contains("\n"+string(text), "\n"+name+":")
}

// mayEnter tells whether a user may change to a directory, as its own mode has it.
func mayEnter(dir string, uid int) bool {
	var st syscall.Stat_t
	if syscall.Stat(dir, &st) != nil {
		return true
	}
	return st.Mode&0o001 != 0 || int(st.Uid) == uid && st.Mode&0o100 != 0
}

// reason is the system's word for an error, as sendmail spells it.
func reason(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// debugging opens the file of -D, where sendmail puts what -d asks for: with the rights of the caller, and their umask.
func debugging(name string, umask int) error {
	defer syscall.Umask(syscall.Umask(umask))
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o666)
	if err != nil {
		return err
	}
	return f.Close()
}
