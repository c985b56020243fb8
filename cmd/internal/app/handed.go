package app

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"waybill/compat/flags"
	"waybill/queue/spool"
	"waybill/transport/envelope"
	"waybill/transport/smtp"
	"waybill/transport/sysexits"
)

// An ordinary user's sendmail -bs has no rights on the spool. The dialogue is ours all the same, over an empty queue in a
// directory of its own; each message goes to the front end that stands beside us, which has the rights to submit, knows
// the daemon, and sees who calls.

// handingOn makes s give what its SMTP sessions accept to the front end.
func (s *site) handingOn(v *flags.Invocation) error {
	program, err := frontEnd()
	if err != nil {
		return err
	}
	var args []string
	if v.ConfigFile != "" && v.ConfigFile != spool.DefaultCF(v.ConfigChoice, true) {
		args = append(args, "-C", v.ConfigFile)
	} else if v.ConfigChoice != 0 {
		args = append(args, "-A"+string(rune(v.ConfigChoice)))
	}
	s.handOn = func(ctx context.Context, e *envelope.Envelope, body io.Reader) *smtp.Reply {
		return submitBy(ctx, program, args, e, body)
	}
	return nil
}

// frontEnd finds sendmail: beside this program, or where packages put it.
func frontEnd() (string, error) {
	dirs := []string{"/usr/sbin", "/usr/lib"}
	if self, err := os.Executable(); err == nil {
		dirs = append([]string{filepath.Dir(self)}, dirs...)
	}
	for _, dir := range dirs {
		file := filepath.Join(dir, "sendmail")
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			return file, nil
		}
	}
	return "", errors.New("there is no sendmail beside waybill to submit mail")
}

// submitBy runs the front end for one message.
func submitBy(ctx context.Context, program string, args []string, e *envelope.Envelope, body io.Reader) *smtp.Reply {
	args = append(args[:len(args):len(args)], "-i", "-oem", "-f", "<"+string(e.Sender)+">")
	if e.BodyType == envelope.Body7Bit || e.BodyType == envelope.Body8BitMIME {
		args = append(args, "-B", string(e.BodyType))
	}
	if e.Ret != envelope.RetDefault {
		args = append(args, "-R", string(e.Ret))
	}
	if e.EnvID != "" {
		args = append(args, "-V", e.EnvID)
	}
	if n := e.Recipients[0].Notify.String(); n != "" { // the front end has one for all
		args = append(args, "-N", n)
	}
	args = append(args, "--")
	for _, r := range e.Recipients {
		args = append(args, "<"+string(r.Addr)+">")
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = body
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return smtp.NewReply(250, "2.0.0", "Message accepted for delivery")
	case errors.As(err, &exit) && exit.ExitCode() > 0 && exit.ExitCode() != sysexits.TempFail && exit.ExitCode() != sysexits.OSErr && exit.ExitCode() != sysexits.CantCreat:
		return smtp.NewReply(554, "5.0.0", "The message is not accepted")
	}
	return smtp.NewReply(451, "4.3.0", "The message could not be stored. Please try again later.")
}
