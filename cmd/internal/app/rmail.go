package app

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"waybill/transport/fromline"
	"waybill/transport/pipe"
	"waybill/transport/sysexits"
	"waybill/transport/uucp"
)

// gateway is how rmail and rsmtp hand a message to the front end.
type gateway struct {
	std    stdio
	config string // rules file, empty: the default
	by     uucp.Caller
	trace  bool
}

// rmail is what uuxqt runs for the command "rmail USER...": the From lines become the return path, and the front end
// gets the message, with the same arguments as from sendmail's rmail.
func rmail(std stdio, args []string) int {
	g, users, err := gatewayFor(std, args)
	var m *uucp.Incoming
	if err == nil {
		m, err = uucp.ReadMail(users, std.in, g.by)
	}
	if err != nil {
		return g.refuse("rmail", err, "[-T] [-D domain] user ...")
	}
	return g.submit(m)
}

// rsmtp is what uuxqt runs for the command "rsmtp": a batch of messages.
func rsmtp(std stdio, args []string) int {
	g, users, err := gatewayFor(std, args)
	if err == nil && len(users) > 0 {
		err = fmt.Errorf("%w: rsmtp takes no arguments", uucp.ErrUsage)
	}
	exit := sysexits.OK
	if err == nil {
		err = uucp.ReadBatch(std.in, g.by, func(m *uucp.Incoming) error {
			// One message that is refused must not hold up the ones behind it: its sender is told by -oee.
			if e := g.submit(m); e == sysexits.TempFail || exit == sysexits.OK {
				exit = e
			}
			return nil
		})
	}
	if err != nil {
		return max(exit, g.refuse("rsmtp", err, ""))
	}
	return exit
}

func (g gateway) refuse(name string, err error, usage string) int {
	fmt.Fprintf(g.std.err, "%s: %v\n", name, err)
	if usage != "" && errors.Is(err, uucp.ErrUsage) {
		fmt.Fprintf(g.std.err, "usage: %s %s\n", name, usage)
	}
	return uucp.ExitStatus(err)
}

// gatewayFor reads the options. Under uuxqt, which says so by UU_MACHINE, every argument came over the network: there
// are no options then. A wrapper that needs some writes: UU_MACHINE= exec rmail -C FILE -M "$UU_MACHINE" -- "$@"
func gatewayFor(std stdio, args []string) (gateway, []string, error) {
	g := gateway{std: std, by: uucp.Caller{Machine: os.Getenv("UU_MACHINE")}}
	if g.by.Machine != "" {
		return g, args, nil
	}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		flag := args[0]
		args = args[1:]
		if flag == "--" {
			break
		}
		if flag == "-T" {
			g.trace = true
			continue
		}
		letter, value := flag[:min(2, len(flag))], flag[min(2, len(flag)):]
		if value == "" {
			if len(args) == 0 {
				return g, nil, fmt.Errorf("%w: option %s", uucp.ErrUsage, flag)
			}
			value, args = args[0], args[1:]
		}
		switch letter {
		case "-D":
			g.by.Domain = value
		case "-C":
			g.config = value
		case "-M":
			g.by.Machine = value
		default:
			return g, nil, fmt.Errorf("%w: invalid option %s", uucp.ErrUsage, letter)
		}
	}
	return g, args, nil
}

// submit runs the front end. Errors go back to the sender by mail (-oee), not by exit status: uuxqt would only set the
// job aside.
func (g gateway) submit(m *uucp.Incoming) int {
	program, err := sendmailProgram()
	if err != nil {
		fmt.Fprintln(g.std.err, "rmail:", err)
		return sysexits.Unavailable
	}
	argv := []string{program}
	if g.config != "" {
		argv = append(argv, "-C", g.config)
	}
	argv = append(argv, "-G", "-oee", "-odi", "-oi", "-p"+m.Protocol)
	if m.Host != "" {
		argv[len(argv)-1] += ":" + m.Host
	}
	if m.BodyType != "" {
		argv = append(argv, "-B"+string(m.BodyType))
	}
	sender := string(m.Sender)
	if sender == "" {
		sender = "<>"
	}
	argv = append(argv, "-f"+sender, "--")
	for _, r := range m.Recipients {
		argv = append(argv, string(r))
	}
	if g.trace {
		fmt.Fprintf(g.std.err, "%q\n", argv)
	}
	cmd := exec.Command(program)
	cmd.Args = argv
	cmd.Stdout, cmd.Stderr = g.std.out, g.std.err
	in, err := cmd.StdinPipe()
	if err != nil {
		fmt.Fprintln(g.std.err, "rmail:", err)
		return sysexits.OSErr
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(g.std.err, "rmail:", err)
		return sysexits.TempFail
	}
	if err := (fromline.Form{}).Copy(in, m.Message); errors.Is(err, fromline.ErrRead) {
		// Half a message must not look like a whole one: the front end dies before its input ends.
		_ = cmd.Process.Kill()
		in.Close()
		_ = cmd.Wait()
		fmt.Fprintln(g.std.err, "rmail:", err)
		return max(uucp.ExitStatus(err), sysexits.DataErr)
	}
	in.Close()
	err = cmd.Wait()
	var ended *exec.ExitError
	switch {
	case err == nil:
		return sysexits.OK
	case errors.As(err, &ended) && ended.ExitCode() >= 0:
		return ended.ExitCode()
	}
	fmt.Fprintln(g.std.err, "rmail:", err)
	return sysexits.TempFail
}

// smrsh is the restricted shell for programs of aliases.
func smrsh(std stdio, args []string) int {
	return pipe.Smrsh(args, "/etc/mail/smrsh", std.in, std.out, std.err)
}
