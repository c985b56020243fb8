package app

import (
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"waybill/compat/flags"
	"waybill/queue/spool"
	"waybill/transport/sysexits"
)

// SetID decides what a waybill that is installed set-user-ID may do for an ordinary user, before anything else looks at
// the command line or the environment. It is not installed so by us: the front end with its drop directory and a daemon
// need no such thing. But sendmail was set-user-ID root for decades, and a host that keeps it so, without a daemon, must
// neither lose mail nor give root away. So two commands keep the rights, and only with a configuration of the host's own:
// "handover", which takes one message from the front end and knows its caller from the kernel; printing the queue,
// and running it once.
// Everything else, and every set-group-ID waybill, gives its rights up at once.
func SetID(argv []string) {
	uid, gid := os.Getuid(), os.Getgid()
	if uid == os.Geteuid() && gid == os.Getegid() {
		return
	}
	die := func(err error) {
		if err != nil {
			os.Exit(sysexits.OSErr)
		}
	}
	if os.Geteuid() != 0 || !keepsRights(argv[1:]) {
		die(unix.Setresgid(gid, gid, gid))
		die(unix.Setresuid(uid, uid, uid))
		if os.Geteuid() != uid || os.Getegid() != gid {
			os.Exit(sysexits.OSErr)
		}
		return
	}
	for fd := range 3 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == unix.EBADF {
			if null, err := unix.Open("/dev/null", unix.O_RDWR, 0); err != nil || null != fd {
				os.Exit(sysexits.OSErr)
			}
		}
	}
	os.Clearenv()
	os.Setenv("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
	unix.Umask(0o022)
	for _, what := range []int{unix.RLIMIT_FSIZE, unix.RLIMIT_CPU, unix.RLIMIT_AS, unix.RLIMIT_DATA, unix.RLIMIT_STACK, unix.RLIMIT_NOFILE} {
		var l unix.Rlimit
		if unix.Getrlimit(what, &l) == nil {
			l.Cur = l.Max
			unix.Setrlimit(what, &l)
		}
	}
	// As root altogether, no signal of the caller reaches the delivery.
	die(unix.Setgroups(nil))
	die(unix.Setresgid(0, 0, 0))
	die(unix.Setresuid(0, 0, 0))
	die(os.Chdir("/"))
}

// keepsRights reports whether a command line may keep the rights of a set-user-ID program.
func keepsRights(args []string) bool {
	hostsOwn := []string{spool.DefaultConfig, "/etc/mail/sendmail.cf", "/etc/mail/submit.cf"}
	switch {
	case len(args) == 1 && args[0] == "handover":
		return true
	case len(args) >= 3 && args[0] == "handover" && args[1] == "-C":
		return slices.Contains(hostsOwn, args[2]) && harmless(args[3:])
	case len(args) >= 2 && args[0] == "--as":
		v, err := flags.Parse(append([]string{args[1]}, args[2:]...))
		once := v != nil && v.Mode == flags.RunQueue && v.Queue.Interval == 0 && !v.Queue.Persistent && !v.Quarantines
		return err == nil && (v.Mode == flags.PrintQueue || once) && len(v.Unsafe) == 0
	}
	return false
}

// harmless reports whether the overrides of a command line are of the kind that sendmail obeys with rights: options that
// name no files and concern the caller's own message, and the macros r and s.
func harmless(args []string) bool {
	safe := map[string]bool{"HoldExpensive": true, "SaveFromLine": true}
	for _, o := range flags.OptionNames() {
		safe[o.Name] = safe[o.Name] || o.Safe
	}
	for ; len(args) > 0; args = args[2:] {
		if len(args) < 2 {
			return false
		}
		name, _, _ := strings.Cut(args[1], "=")
		switch {
		case args[0] == "-O" && safe[name]:
		case args[0] == "-L", args[0] == "-hops":
		case args[0] == "-M" && (name == "r" || name == "s"):
		default:
			return false
		}
	}
	return true
}
