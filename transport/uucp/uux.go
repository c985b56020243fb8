package uucp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"waybill/transport"
	"waybill/transport/identity"
	"waybill/transport/sysexits"
)

// With Config.Uux a job is made by the UUCP system's own uux, which reads the message from its standard input:
//
//	uux -r -gC -abob - beta!rmail (user) (user) ...
//
// The options come from the configuration; the site is one of the neighbours; each user stands between parentheses, which
// keep uux from taking "!" for a file of another site. uux cuts its arguments apart again at blanks and acts on
// ; | & < >, so that only plain words may be users, whatever Quoting says.

const (
	uuxTime   = 5 * time.Minute // for one run: it copies the message and waits for a lock at most
	uuxGrace  = 2 * time.Second // between SIGTERM and SIGKILL
	uuxOutput = 1000            // octets that are kept for the log
)

// uuxArgs is the argument vector.
func (j *job) uuxArgs() []string {
	argv := append([]string{"uux"}, j.conf.Options...)
	argv = append(argv, "-g"+string(j.conf.Grade))
	switch requestor := string(j.sender(j.site, j.req.Envelope.Sender)); {
	case requestor == "":
		argv = append(argv, "-n") // the null sender wants no reports (RFC 5321 4.5.5)
	case plainWord(requestor) && requestor[0] != '-':
		argv = append(argv, "-a"+requestor)
	}
	argv = append(argv, "-", j.site+"!"+j.conf.Command)
	if !j.conf.Batch {
		for _, word := range j.words {
			argv = append(argv, "("+word+")")
		}
	}
	return argv
}

// uuxError is how uux ended when it did not end well.
type uuxError struct {
	exit   int
	signal syscall.Signal
	said   string
}

func (e *uuxError) Error() string {
	if e.signal != 0 {
		return fmt.Sprintf("uux: ended by signal %d: %s", e.signal, e.said)
	}
	return fmt.Sprintf("uux: exit status %d: %s", e.exit, e.said)
}

// status is the error policy for what uux says. The site is a neighbour by our configuration, the user is a plain word:
// what uux does not like is the configuration or the machine, and both can be mended. Taylor's uux ends with 69
// (unavailable) for a spool that it cannot write as well as for a system that is not in its own files. Only statuses that speak of
// the message or the address are final.
func (e *uuxError) status(site string) transport.Status {
	s := transport.NewStatus(transport.Deferred, "4.3.0", "uux could not take the message for "+site)
	switch e.exit {
	case sysexits.Usage, sysexits.Config:
		s = transport.NewStatus(transport.Deferred, "4.3.5", "uux was called in a way that it does not understand")
	case sysexits.DataErr:
		s = transport.NewStatus(transport.Failed, "5.6.0", "uux refused the message for "+site)
		s.Exit = e.exit
	case sysexits.NoUser:
		s = transport.NewStatus(transport.Failed, "5.1.1", "uux refused the user at "+site)
		s.Exit = e.exit
	case sysexits.NoHost:
		s = transport.NewStatus(transport.Failed, "5.1.2", "uux knows no site "+site)
		s.Exit = e.exit
	}
	return s
}

// uux runs the program and returns when the job is on stable storage. Its input is a whole file, not a pipe from us: if we
// die, half a message must not look like a whole one. The job may be made all the same, and then a second time
// by the next attempt; writing the spool ourselves has no such window.
func (j *job) uux(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, uuxTime)
	defer cancel()
	in, err := nameless()
	if err != nil {
		return err
	}
	defer in.Close()
	if err := j.message(ctx, in); err != nil {
		return err
	}
	if _, err := in.Seek(0, 0); err != nil {
		return err
	}
	j.at("message written")
	cmd := exec.CommandContext(ctx, j.conf.Uux)
	cmd.Args = j.uuxArgs()
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=/", "SHELL=/bin/sh", "USER=" + j.conf.Login, "LOGNAME=" + j.conf.Login}
	said := &tail{left: uuxOutput}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if identity.CanChange() {
		owner, err := j.owner()
		if err != nil {
			return err
		}
		groups := make([]uint32, len(owner.Groups))
		for i, g := range owner.Groups {
			groups[i] = uint32(g)
		}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(owner.UID), Gid: uint32(owner.GID), Groups: groups}
	}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGTERM) }
	cmd.WaitDelay = uuxGrace
	if err := cmd.Start(); err != nil {
		return err
	}
	j.at("uux started")
	err = cmd.Wait()
	if ctx.Err() != nil {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		return ctx.Err()
	}
	if err != nil {
		e := &uuxError{said: said.line()}
		var ended *exec.ExitError
		if !errors.As(err, &ended) {
			return err
		}
		if status, ok := ended.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			e.signal = status.Signal()
		} else {
			e.exit = ended.ExitCode()
		}
		return e
	}
	j.at("uux ended")
	return syncSpool(j.conf.Spool)
}

// nameless makes a file that vanishes with us.
func nameless() (*os.File, error) {
	if fd, err := unix.Open("/var/tmp", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600); err == nil {
		return os.NewFile(uintptr(fd), "message for uux"), nil
	}
	f, err := os.CreateTemp("", "uux")
	if err == nil {
		err = os.Remove(f.Name())
	}
	return f, err
}

// syncSpool makes safe what uux has written, which it does not do itself.
func syncSpool(dir string) error {
	f, err := os.Open(dir)
	if err != nil { // UUCP's own directory may be closed to us
		unix.Sync()
		return nil
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: dir, Err: err}
	}
	return nil
}

// checkUux looks at what the configuration says about uux.
func (c *Config) checkUux() error {
	if c.Uux == "" {
		if len(c.Options) > 0 {
			return errors.New("uucp: options are for uux, and no uux is named")
		}
		return nil
	}
	if c.Layout != Taylor {
		return errors.New("uucp: uux knows the layout of its spool itself")
	}
	if c.Options == nil {
		c.Options = []string{"-r"} // calls are made by schedule
	}
	for _, o := range c.Options {
		if len(o) < 2 || o[0] != '-' || strings.ContainsFunc(o, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return fmt.Errorf("uucp: %q is no option of uux", o)
		}
	}
	c.Quoting = false
	return nil
}

// tail keeps the first octets of what a program prints.
type tail struct {
	text []byte
	left int
}

func (t *tail) Write(p []byte) (int, error) {
	n := min(len(p), t.left)
	t.text, t.left = append(t.text, p[:n]...), t.left-n
	return len(p), nil
}

// line is the text as one line for the log.
func (t *tail) line() string { return strings.Join(strings.Fields(string(t.text)), " ") }

// uuxStatus adds what uux said to the log.
func uuxStatus(log *slog.Logger, site string, e *uuxError) transport.Status {
	log.Warn("uux did not take a job", "site", site, "exit", e.exit, "signal", int(e.signal), "output", e.said)
	return e.status(site)
}
