package pipe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Dialer starts the Program of a Pipe and gives out a connection to its standard input and output, for mailers that
// speak LMTP or SMTP with a program (sendmail's F=z with a path): "mail.local -l", "cyrus deliver".
type Dialer struct {
	pipe *Pipe
	log  *slog.Logger
}

// NewDialer checks the configuration. Its Args must not need a recipient; what is about the form of a message is not used.
func NewDialer(c Config, log *slog.Logger) (*Dialer, error) {
	p, err := New(c)
	if err != nil {
		return nil, err
	}
	if c.Program == "" {
		return nil, errors.New("pipe: there is no program to speak with")
	}
	for i, t := range p.args {
		if t.literal() == "" && len(t) > 0 {
			return nil, fmt.Errorf("pipe: argument %q needs a recipient, and a dialogue has several", c.Args[i])
		}
	}
	return &Dialer{p, log}, nil
}

// Dial starts the program. network and address say nothing to it. Closing the connection ends the program: it sees the end
// of its input, and is killed with its group if it stays.
func (d *Dialer) Dial(context.Context, string, string) (net.Conn, error) {
	who, status, ok := d.pipe.who(d.log, "")
	if !ok {
		return nil, errors.New(status.Text())
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(ends[0]), "lmtp"), os.NewFile(uintptr(ends[1]), d.pipe.conf.Program)
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(d.pipe.conf.Program)
	cmd.Args = nil
	for _, t := range d.pipe.args {
		cmd.Args = append(cmd.Args, t.literal())
	}
	cmd.Env, cmd.Dir, cmd.SysProcAttr = d.pipe.environment(who), d.pipe.dir(who, who.Home), attributes(who)
	cmd.Stdin, cmd.Stdout = theirs, theirs
	errors := &kept{limit: d.pipe.conf.MaxOutput}
	cmd.Stderr, cmd.WaitDelay = errors, grace
	if err := start(cmd, d.pipe.conf.Umask); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", d.pipe.conf.Program, err)
	}
	return &dialogue{Conn: conn, cmd: cmd, stderr: errors, log: d.log}, nil
}

// dialogue is a connection to a program.
type dialogue struct {
	net.Conn
	cmd    *exec.Cmd
	stderr *kept
	log    *slog.Logger
	once   sync.Once
	err    error
}

// Close ends the program.
func (d *dialogue) Close() error {
	d.once.Do(func() {
		d.err = d.Conn.Close()
		late := time.AfterFunc(grace, func() { _ = unix.Kill(-d.cmd.Process.Pid, unix.SIGKILL) })
		err := d.cmd.Wait()
		late.Stop()
		if said := d.stderr.line(); err != nil || said != "" {
			d.log.Warn("program of a dialogue", "program", d.cmd.Path, "err", err, "stderr", said)
		}
	})
	return d.err
}
