package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"waybill/compat/flags"
	"waybill/queue/spool"
	"waybill/transport/sysexits"
)

// libexec is where waybill may be when it does not stand beside the front end.
var libexec = [...]string{"/usr/libexec/waybill", "/usr/lib/waybill", "/usr/sbin", "/usr/local/sbin"}

// isCF reports whether a configuration is a sendmail.cf, which is told by its name.
func isCF(config string) bool { return strings.HasSuffix(config, ".cf") }

// engine finds waybill: beside the program itself, or where packages put it.
func engine() (string, error) { return companion("waybill") }

// companion finds a program that belongs to the front end.
func companion(program string) (string, error) {
	var tried []string
	dirs := libexec[:]
	if self, err := os.Executable(); err == nil {
		if resolved, err := filepath.EvalSymlinks(self); err == nil {
			self = resolved
		}
		dirs = append([]string{filepath.Dir(self)}, dirs...)
	}
	for _, dir := range dirs {
		file := filepath.Join(dir, program)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			return file, nil
		}
		tried = append(tried, dir)
	}
	return "", errors.New(program + " is in none of " + strings.Join(tried, ", "))
}

// rootsOwn refuses an engine that somebody else than root could have put where it is: a user who made a hard link to a
// set-user-ID program chooses what stands beside it.
func rootsOwn(file string) error {
	for _, name := range []string{file, filepath.Dir(file)} {
		info, err := os.Lstat(name)
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || stat.Uid != 0 || info.Mode().Perm()&0o022 != 0 || !info.Mode().IsRegular() && !info.IsDir() {
			return errors.New(name + " is not root's alone")
		}
	}
	return nil
}

// runEngineAsRoot is runEngine for what a set-user-ID program may do as root; waybill decides by itself whether this is
// such a thing (app.SetID).
func runEngineAsRoot(name string, args []string) int {
	file, err := engine()
	if err == nil {
		err = rootsOwn(file)
	}
	if err == nil {
		err = asRoot(func() error {
			return syscall.Exec(file, append([]string{"waybill", "--as", name}, args...), os.Environ())
		})
	}
	return fail(sysexits.OSFile, "cannot start waybill", err)
}

// runEngine becomes "waybill --as NAME ARGS...". It returns only when that fails.
func runEngine(name string, args []string) int {
	file, err := engine()
	if err == nil {
		err = syscall.Exec(file, append([]string{"waybill", "--as", name}, args...), os.Environ())
	}
	return fail(sysexits.OSFile, "cannot start waybill", err)
}

// runTest is runEngine for the address test mode: a sendmail.cf has a program for that which starts in half the time. It
// returns only when there is something else to do.
func runTest(v *flags.Invocation, args []string) {
	config := v.ConfigFile
	if config == "" {
		config = spool.DefaultCF(v.ConfigChoice, false)
	}
	if config != "" && !isCF(config) {
		return
	}
	if file, err := companion("waybill-bt"); err == nil {
		syscall.Exec(file, append([]string{v.Name}, args...), os.Environ())
	}
}

// startEngine runs waybill with the given arguments as a child: in the foreground, with its output going where ours
// goes, or by itself in a session of its own. The status is that of the child, or 0 when nobody waits for it.
func startEngine(args []string, wait bool) (int, error) {
	file, err := engine()
	if err != nil {
		return 0, err
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	attr := &os.ProcAttr{Dir: "/", Env: os.Environ(), Files: []*os.File{null, os.Stdout, os.Stderr}}
	if !wait {
		attr.Files = []*os.File{null, null, null}
		attr.Sys = &syscall.SysProcAttr{Setsid: true}
	}
	child, err := os.StartProcess(file, append([]string{"waybill"}, args...), attr)
	if err != nil || !wait {
		return 0, err
	}
	state, err := child.Wait()
	if err != nil {
		return 0, err
	}
	return state.ExitCode(), nil
}

// detachEngine runs waybill in a session of its own, with input as its standard input and nothing else of ours. Nobody
// waits for it.
func detachEngine(args []string, input *os.File) error {
	file, err := engine()
	if err != nil {
		return err
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	child, err := os.StartProcess(file, append([]string{"waybill"}, args...), &os.ProcAttr{
		Dir: "/", Env: os.Environ(), Files: []*os.File{input, null, null}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return err
	}
	return child.Release()
}

// connectEngine starts waybill with one end of a socket pair as its standard input and returns the other end. The child
// has a session of its own and none of our descriptors: when it delivers in the background, nobody waits for it.
func connectEngine(args []string, root bool) (net.Conn, error) {
	file, err := engine()
	if err == nil && root {
		err = rootsOwn(file)
	}
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "engine"), os.NewFile(uintptr(pair[1]), "engine")
	defer ours.Close() // FileConn makes its own copy
	defer theirs.Close()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	attr := &os.ProcAttr{Dir: "/", Env: os.Environ(), Files: []*os.File{theirs, null, null}, Sys: &syscall.SysProcAttr{Setsid: true}}
	start := func() error {
		child, err := os.StartProcess(file, append([]string{"waybill"}, args...), attr)
		if err == nil {
			child.Release()
		}
		return err
	}
	if root {
		err = asRoot(start)
	} else {
		err = start()
	}
	if err != nil {
		return nil, err
	}
	return net.FileConn(ours)
}
