package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"waybill/compat/flags"
	"waybill/compat/submit"
	"waybill/compat/testmode"
	"waybill/queue"
	"waybill/queue/spool"
	"waybill/transport/dns"
	"waybill/transport/smtpserver"
	"waybill/transport/sysexits"
)

// companions are the programs that accompany sendmail, by name.
var companions = map[string]func(std stdio, args []string) int{
	"mailq":      func(std stdio, args []string) int { return sendmailMode(std, "mailq", args) },
	"newaliases": func(std stdio, args []string) int { return sendmailMode(std, "newaliases", args) },
	"rmail":      rmail,
	"rsmtp":      rsmtp,
	"smrsh":      smrsh,
	"vacation":   answerForAbsent,
	"praliases":  printAliases,
	"mailstats":  mailStats,
	"makemap":    makeMap,
	"editmap":    editMap,
}

// sendmailMode does what sendmail does under this name with these arguments. The front end has dropped its privileges.
func sendmailMode(std stdio, name string, args []string) int {
	v, wrong := flags.Parse(append([]string{name}, args...))
	if wrong != nil || v.Mode != flags.SMTP && v.Mode != flags.Test { // which are dialogues
		std.out = submit.Plain(std.out)
	}
	if wrong != nil {
		to := std.out
		if wrong.Stderr {
			to = std.err
		}
		if wrong.Text != "" {
			fmt.Fprintln(to, wrong.Text)
		}
		return wrong.Exit
	}
	if v.ConfigFile == "" {
		v.ConfigFile = spool.DefaultCF(v.ConfigChoice, v.Mode == flags.SMTP)
	}
	if text := mayNot(v); text != "" {
		fmt.Fprintln(std.out, text)
		return sysexits.Usage
	}
	switch v.Mode {
	case flags.InitAliases, flags.HostStatus, flags.PurgeHostStatus, flags.CountQueue, flags.RunQueue: // the others find out by themselves
		if isCF(v.ConfigFile) {
			if exit, ok := refusedCF(std, v.ConfigFile, overridesOf(v)); !ok {
				return exit
			}
		}
	}
	switch v.Mode {
	case flags.PrintQueue:
		return listQueue(std, v.ConfigFile, sendmailView(v))
	case flags.CountQueue:
		fmt.Fprintln(std.out, "Data unavailable: shared memory not updated")
		return sysexits.OK
	case flags.RunQueue:
		if v.Quarantines {
			return quarantine(std, v)
		}
		if v.Queue.Interval > 0 || v.Queue.Persistent {
			return queueRunner(std, v)
		}
		if v.Queue.Lost {
			return sysexits.OK // a run does not try what is lost
		}
		if v.Queue.Quarantined {
			return quarantineRun(std, v)
		}
		if !v.Verbose && !v.Queue.Foreground { // cron would mail what sendmail does not say
			std.out = io.Discard
		}
		if isCF(v.ConfigFile) {
			return cfQueueRun(std, v)
		}
		if v.Queue.Foreground { // by this process, whoever else is at work
			return queueRunHere(std, v)
		}
		return controlQueue(std, v.ConfigFile, append([]string{"run"}, chosen(v.Queue).Words()...), overridesOf(v))
	case flags.Daemon:
		return daemon(std, v)
	case flags.DaemonForeground:
		return serve(std, append(configArgs(v), overridesOf(v).args()...))
	case flags.SMTP:
		return smtpOnPipe(std, v)
	case flags.Verify:
		return verify(std, v)
	case flags.InitAliases:
		return initAliases(std, v)
	case flags.Test:
		return addressTest(std, v, args)
	case flags.CheckConfig:
		if isCF(v.ConfigFile) {
			return checkCF(std, v.ConfigFile)
		}
		return checkRules(std, configArgs(v))
	case flags.HostStatus, flags.PurgeHostStatus:
		return hosts(std, v.ConfigFile, v.Mode == flags.PurgeHostStatus, v.Verbose)
	case flags.PrintOptions:
		for _, o := range flags.OptionNames() {
			fmt.Fprintln(std.out, o.Name)
		}
		return sysexits.OK
	}
	fmt.Fprintf(std.err, "%s: this release of Waybill has no -b%c yet\n", name, v.Mode)
	return sysexits.Unavailable
}

func configArgs(v *flags.Invocation) []string {
	if v.ConfigFile == "" {
		return nil
	}
	if full, err := filepath.Abs(v.ConfigFile); err == nil { // the daemon works in the root directory
		return []string{"-C", full}
	}
	return []string{"-C", v.ConfigFile}
}

// selection translates -qI, -qR, -qS.
func selection(list []flags.Selector) queue.Selection {
	var s queue.Selection
	for _, f := range list {
		s = append(s, queue.Condition{What: f.Kind, Not: f.Not, Sub: f.Text})
	}
	return s
}

// daemon starts the daemon in the background, as -bd does, and returns when it takes mail.
func daemon(std stdio, v *flags.Invocation) int {
	located, err := spool.Locate(v.ConfigFile)
	if err != nil {
		return cannotOpen(std, err)
	}
	self, err := os.Executable()
	if err != nil {
		return failed(std, err)
	}
	child := exec.Command(self, append(append([]string{"serve"}, configArgs(v)...), overridesOf(v).args()...)...)
	child.Dir = "/"
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	says, err := nameless() // not our own standard error: whoever reads that would wait for the end of the daemon
	if err != nil {
		return failed(std, err)
	}
	defer says.Close()
	child.Stderr = says
	if err := child.Start(); err != nil {
		return failed(std, err)
	}
	tell := func() {
		if _, err := says.Seek(0, io.SeekStart); err == nil {
			io.Copy(std.err, io.LimitReader(says, 1<<20))
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		select {
		case <-ended:
			tell()
			return child.ProcessState.ExitCode()
		case <-ctx.Done():
			tell()
			fmt.Fprintln(std.err, "waybill: the daemon does not answer yet")
			return sysexits.TempFail
		case <-time.After(20 * time.Millisecond):
		}
		pid := ""
		err := spool.Control(ctx, located.Socket, []string{"ping"}, func(line string) error { pid = line; return nil })
		if err == nil && pid == fmt.Sprint(child.Process.Pid) {
			return sysexits.OK
		}
	}
}

// nameless is an empty file that has no name any more.
func nameless() (*os.File, error) {
	f, err := os.CreateTemp("", "waybill-")
	if err == nil {
		err = os.Remove(f.Name())
	}
	return f, err
}

// smtpOnPipe is -bs: SMTP on standard input and output.
func smtpOnPipe(std stdio, v *flags.Invocation) int {
	given := overridesOf(v)
	s, err := openSite(v.ConfigFile, slog.LevelInfo, given)
	handed := errors.Is(err, os.ErrPermission) && os.Getuid() != 0
	if handed { // an ordinary user, who submits through the front end
		dir, terr := os.MkdirTemp("", "waybill-bs-")
		if terr != nil {
			return failed(std, terr)
		}
		defer os.RemoveAll(dir)
		given.spool, given.options = dir, append(given.options, flags.Option{Name: "QueueDirectory", Value: dir})
		if s, err = openSite(v.ConfigFile, slog.LevelWarn, given); err == nil {
			err = s.handingOn(v)
		}
	}
	if err != nil {
		var refused *cfRefused
		if errors.As(err, &refused) {
			io.WriteString(std.out, refused.overSMTP())
			return refused.exit
		}
		return cannotOpen(std, err)
	}
	exit := 0
	s.pipeExit = &exit
	if s.cf != nil {
		s.cf.pipe, s.cf.when, s.cf.verbose, s.cf.body = true, v.When, v.Verbose, v.Body
		os.Chdir(s.settings.Spool)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	defer s.close(context.Background())
	server, err := s.server(true)
	if err != nil {
		return cannotOpen(std, err)
	}
	pipe := struct {
		io.Reader
		io.Writer
	}{std.in, std.out}
	err = server.ServeConn(ctx, pipe, smtpserver.Client{Name: "localhost"})
	if s.cf != nil && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		err = nil // a program that just goes away; sendmail has no word for it
	}
	s.queue.Settle(ctx) // deliveries, and the notices that come of them
	return cmp.Or(failed(std, err), exit)
}

// addressTest is -bt: sendmail's address test mode, over a sendmail.cf.
func addressTest(std stdio, v *flags.Invocation, args []string) int {
	if v.ConfigFile != "" && !isCF(v.ConfigFile) {
		fmt.Fprintf(std.err, "waybill: -bt is for a sendmail.cf; for rules of our own use: waybill rules explain -C %s ADDRESS\n", v.ConfigFile)
		return sysexits.Usage
	}
	resolver, err := dns.New(dns.Config{})
	if err != nil {
		return failed(std, err)
	}
	return testmode.Main(args, std.in, std.out, testmode.Config{File: v.ConfigFile, Read: readCF, Resolver: ruleTables{resolver}, Stderr: std.err})
}
