package main

import (
	"os"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"
)

// rights are those that a set-id program has beside its caller's.
type rights struct {
	group bool // the group of the drop directory: how the front end is installed
	// root means set-user-ID root, how sendmail was installed for decades. We run as the caller all the same, and only
	// keep the possibility to start an engine that is root's own (asRoot).
	root bool
	// umask is the caller's, for files that the caller names.
	umask int
	// given means that there were such rights and that an unsafe option took them away.
	given bool
}

// hygiene makes the process independent of what its caller left behind, before anything else happens, and tells which
// rights it has by set-id. Inherited enemies: closed descriptors 0-2, further open descriptors, the environment, resource
// limits, the umask, ignored and blocked signals, an alarm that is still running, a tracer (the kernel sees to that one).
func hygiene() (r rights) {
	privileged := os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid()
	// A file that we open must never become descriptor 0, 1 or 2, where a message or an error text would go.
	for fd := range 3 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == unix.EBADF {
			if null, err := unix.Open("/dev/null", unix.O_RDWR, 0); err != nil || null != fd {
				os.Exit(71)
			}
		}
	}
	// Whatever else is open belongs to the caller (or to Go's runtime); what we start does not get it.
	unix.CloseRange(3, ^uint(0)>>33, unix.CLOSE_RANGE_CLOEXEC)
	r.umask = unix.Umask(0o027)
	for _, what := range []int{unix.RLIMIT_FSIZE, unix.RLIMIT_CPU, unix.RLIMIT_AS, unix.RLIMIT_DATA, unix.RLIMIT_STACK} {
		var l unix.Rlimit
		if unix.Getrlimit(what, &l) == nil && l.Cur < l.Max {
			l.Cur = l.Max
			unix.Setrlimit(what, &l)
		}
	}
	unix.Setitimer(unix.ITIMER_REAL, unix.Itimerval{})
	// A write beyond the file size limit, or to a reader who has gone, is an error to be told, not a death.
	signal.Ignore(unix.SIGXFSZ, unix.SIGPIPE)
	if privileged {
		cleanEnvironment()
		r.group = os.Getgid() != os.Getegid()
		if uid := os.Getuid(); uid != os.Geteuid() {
			saved := uid
			if os.Geteuid() == 0 {
				r.root, saved = true, 0
			}
			if unix.Setresuid(uid, uid, saved) != nil {
				os.Exit(71)
			}
		}
	}
	return r
}

// asRoot runs f as root, for a set-user-ID program that has not dropped its rights.
func asRoot(f func() error) error {
	if err := unix.Setresuid(-1, 0, -1); err != nil {
		return err
	}
	err := f()
	if unix.Setresuid(-1, os.Getuid(), -1) != nil {
		os.Exit(71)
	}
	return err
}

// cleanEnvironment keeps what is data for us. LD_*, GODEBUG, PATH, TZ (a file name) and all else go.
func cleanEnvironment() {
	keep := []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
	for _, name := range []string{"NAME", "HOME", "USER", "LOGNAME"} {
		if value, ok := os.LookupEnv(name); ok {
			keep = append(keep, name+"="+value)
		}
	}
	os.Clearenv()
	for _, kv := range keep {
		name, value, _ := strings.Cut(kv, "=")
		os.Setenv(name, value)
	}
}

// dropPrivilege becomes the caller for good. It does nothing when there is nothing to drop.
func dropPrivilege() {
	gid, uid := os.Getgid(), os.Getuid()
	if r, e, s := unix.Getresuid(); r == e && e == s {
		if r, e, s := unix.Getresgid(); r == e && e == s {
			return // as when root calls: setting them anyway would stop every thread twice, a third of a millisecond
		}
	}
	if unix.Setresgid(gid, gid, gid) != nil || unix.Setresuid(uid, uid, uid) != nil || os.Getegid() != gid || os.Geteuid() != uid {
		os.Exit(71)
	}
	if uid != 0 && unix.Setresuid(-1, 0, -1) == nil {
		os.Exit(71) // the way back is still open
	}
}
