package pipe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"waybill/transport"
	"waybill/transport/fromline"
	"waybill/transport/identity"
	"waybill/transport/passwd"
	"waybill/transport/sysexits"
)

// run is one delivery to one or, in a Line, several programs, which share standard input and the output that is kept.
type run struct {
	*Pipe
	req    *transport.Request
	who    passwd.Entry
	home   string // $home
	ctx    context.Context
	cancel context.CancelCauseFunc
	stdin  *os.File
	fed    chan error    // how feeding ended
	over   chan struct{} // closed when no program runs any more
	out    *kept
	env    []string
}

// result is how a program ended.
type result struct {
	exit   int
	signal syscall.Signal
	err    error // it could not be run, or did not end in time
}

func (r result) good() bool { return r.err == nil && r.signal == 0 && r.exit == 0 }

var (
	errTime    = errors.New("time limit")
	errMessage = errors.New("message not readable")
	errNoUser  = errors.New("the users file has no such user")
)

const grace = 2 * time.Second // for output after the end, and between SIGTERM and SIGKILL

func (p *Pipe) newRun(ctx context.Context, req *transport.Request, who passwd.Entry) *run {
	r := &run{Pipe: p, req: req, who: who, out: &kept{limit: p.conf.MaxOutput}, fed: make(chan error, 1), over: make(chan struct{})}
	ctx, r.cancel = context.WithCancelCause(ctx)
	var stop context.CancelFunc
	r.ctx, stop = context.WithTimeoutCause(ctx, p.conf.Timeout, errTime)
	context.AfterFunc(r.ctx, stop)
	r.env = p.environment(who)
	r.feed()
	return r
}

// environment is what a program of who finds; nothing of ours but the time zone.
func (p *Pipe) environment(who passwd.Entry) []string {
	env := []string{"AGENT=sendmail"}
	if !p.conf.BareEnv {
		home := who.Home
		if home == "" {
			home = "/"
		}
		env = append(env, "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "SHELL=/bin/sh", "HOME="+home)
		if who.Name != "" {
			env = append(env, "USER="+who.Name, "LOGNAME="+who.Name)
		}
		if tz, ok := os.LookupEnv("TZ"); ok {
			env = append(env, "TZ="+tz)
		}
	}
	return append(env, p.conf.Env...)
}

// attributes make the program a session and a process group of its own that runs as who.
func attributes(who passwd.Entry) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true}
	if who.UID >= 0 {
		groups := make([]uint32, len(who.Groups))
		for i, g := range who.Groups {
			groups[i] = uint32(g)
		}
		attr.Credential = &syscall.Credential{Uid: uint32(who.UID), Gid: uint32(who.GID), Groups: groups}
	}
	return attr
}

// feed writes the message into a pipe, at the pace of whoever reads it. If the message cannot be read to its end the
// programs are killed, and have ended, before the pipe is closed: they must not take half a message for the whole.
func (r *run) feed() {
	in, out, err := os.Pipe()
	if err != nil {
		r.fed <- nil
		r.cancel(err)
		return
	}
	r.stdin = in
	go func() {
		defer out.Close()
		body, err := r.req.Body.Open()
		if err == nil {
			defer body.Close()
			err = r.form(r.req).Copy(out, body)
		} else {
			err = errors.Join(fromline.ErrRead, err)
		}
		if errors.Is(err, fromline.ErrRead) {
			r.fed <- err
			r.cancel(errMessage)
			<-r.over
			return
		}
		r.fed <- nil // EPIPE: the program did not want all of it, which is its right
	}()
	context.AfterFunc(r.ctx, func() { _ = out.SetWriteDeadline(time.Unix(1, 0)) })
}

// end gives everything back.
func (r *run) end() {
	if r.stdin != nil {
		r.stdin.Close()
	}
	r.cancel(nil)
	close(r.over)
}

// line runs a Line from left to right.
func (r *run) line(l Line) result {
	return l.walk(r.conf.Programs, r.out, func(name string, err error) {
		logger(r.req).Warn("program of a command not available", "program", name, "err", err)
	}, r.exec)
}

// walk takes the steps of a Line. run runs one program; what a built-in says goes to out, and so does what sendmail's
// smrsh says about a program that may not be run.
func (l Line) walk(programs string, out io.Writer, missing func(name string, err error), run func(program string, argv, env []string) result) result {
	var last result
	env := []string(nil)
	for _, s := range l.steps {
		if s.op == ifGood && !last.good() || s.op == ifBad && last.good() {
			continue
		}
		if len(s.argv) == 0 {
			env = append(env, s.env...)
			last = result{}
			continue
		}
		argv, final := s.argv, false
		switch argv[0] {
		case "exit":
			if len(argv) > 1 {
				last = result{}
				last.exit, _ = strconv.Atoi(argv[1])
			}
			return last
		case "echo":
			fmt.Fprintln(out, strings.Join(argv[1:], " "))
			last = result{}
			continue
		case ":", "true":
			last = result{}
			continue
		case "false":
			last = result{exit: 1}
			continue
		case "exec":
			argv, final = argv[1:], true
		}
		program, err := find(programs, argv[0])
		if err != nil {
			why := "stat failed"
			if errors.Is(err, fs.ErrInvalid) {
				why = "not a file"
			}
			fmt.Fprintf(out, "smrsh: \"%s\" not available for sendmail programs (%s)\n", filepath.Base(argv[0]), why)
			missing(argv[0], err)
			last = result{exit: sysexits.Unavailable}
		} else {
			last = run(program, argv, append(env, s.env...))
		}
		if final || last.err != nil {
			return last
		}
	}
	return last
}

// find locates the program of a Command: in the directory of allowed programs, or where its path says.
func find(programs, name string) (string, error) {
	if dir := programs; dir != "" {
		base := filepath.Base(name)
		if base == "." || base == ".." || base == "/" {
			return "", fs.ErrInvalid
		}
		return executable(filepath.Join(dir, base))
	}
	if filepath.IsAbs(name) {
		return executable(name)
	}
	if strings.Contains(name, "/") {
		return "", errors.New("a relative path")
	}
	for _, dir := range []string{"/usr/bin", "/bin"} {
		if path, err := executable(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fs.ErrNotExist
}

func executable(name string) (string, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return "", errors.New("not an executable file")
	}
	return name, nil
}

// exec runs one program to its end.
func (r *run) exec(program string, argv, env []string) result {
	if err := context.Cause(r.ctx); err != nil {
		return result{err: err}
	}
	cmd := exec.CommandContext(r.ctx, program)
	cmd.Args = argv
	cmd.Env = append(append([]string(nil), r.env...), env...)
	cmd.Dir = r.dir(r.who, r.home)
	cmd.Stdin = r.stdin
	cmd.Stdout, cmd.Stderr = r.out, r.out
	cmd.SysProcAttr = attributes(r.who)
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGTERM) }
	cmd.WaitDelay = grace
	if err := start(cmd, r.conf.Umask); err != nil {
		return result{err: fmt.Errorf("%s: %w", program, err)}
	}
	err := cmd.Wait()
	if cause := context.Cause(r.ctx); cause != nil {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // what did not heed SIGTERM, and its children
		return result{err: cause}
	}
	if cmd.ProcessState == nil {
		return result{err: err}
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok {
		return result{err: err}
	}
	if status.Signaled() {
		return result{signal: status.Signal()}
	}
	return result{exit: status.ExitStatus()}
}

// start starts the program from a thread that has its own umask (unshare(2), CLONE_FS) and then ends: the umask of the
// process is not ours to change. Descriptors that we inherited ourselves, and that Go therefore did not mark, are marked
// to be closed in programs.
func start(cmd *exec.Cmd, umask int) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked
		if unix.Unshare(unix.CLONE_FS) == nil {
			unix.Umask(umask)
		}
		_ = identity.DropAmbient()                                      // an old kernel knows no such capabilities
		_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC) // Linux 5.11
		done <- cmd.Start()
	}()
	return <-done
}

// dir is the first working directory that the user may enter.
func (p *Pipe) dir(who passwd.Entry, home string) string {
	for _, dir := range p.conf.Dirs {
		if dir == "$home" || dir == "$z" {
			dir = home
		}
		if dir == "." { // where we are
			return ""
		}
		if !filepath.IsAbs(dir) {
			continue
		}
		enter := func() error { // asking for "/." needs the right to search dir
			var st unix.Stat_t
			return unix.Stat(dir+"/.", &st)
		}
		var err error
		if who.UID >= 0 {
			err = identity.As(identity.ID{UID: who.UID, GID: who.GID, Groups: who.Groups}, enter)
		} else {
			err = enter()
		}
		if err == nil {
			return dir
		}
	}
	return "/"
}

// outcome is the error policy: what the end of a program means for its recipients (sysexits(3)). Three statuses ask
// for another try, a signal and a program that cannot be started do so too; everything else is final.
func (r *run) outcome(res result, program string) transport.Status {
	log := logger(r.req)
	select {
	case err := <-r.fed:
		if err != nil {
			log.Error("queued message not readable", "err", err)
			return transport.NewStatus(transport.Deferred, "4.3.0", "the queued message could not be read")
		}
	default: // it never read all of it, and perhaps a child still does
	}
	output := r.out.line()
	switch {
	case errors.Is(res.err, errTime):
		log.Warn("program killed at its time limit", "program", program, "limit", r.conf.Timeout, "output", output)
		return transport.NewStatus(transport.Deferred, "4.3.0", "the program "+program+" did not end in time")
	case errors.Is(res.err, errMessage):
		return transport.NewStatus(transport.Deferred, "4.3.0", "the queued message could not be read")
	case errors.Is(res.err, context.Canceled) || errors.Is(res.err, context.DeadlineExceeded):
		return transport.NewStatus(transport.Deferred, "4.3.2", "delivery was interrupted")
	case res.err != nil:
		log.Error("program cannot be started", "program", program, "err", res.err)
		return transport.NewStatus(transport.Deferred, "4.3.0", "the program "+program+" could not be started")
	case res.signal != 0:
		log.Warn("program ended by a signal", "program", program, "signal", res.signal, "output", output)
		text := "the program " + program + " was ended by a signal"
		if r.conf.Name != "" { // sendmail's words
			text = fmt.Sprintf("mailer %s died with signal %d", r.conf.Name, res.signal)
		}
		return reply(transport.NewStatus(transport.Deferred, "4.3.0", text), res)
	case res.exit == 0:
		return transport.NewStatus(transport.Delivered, "2.0.0", "Sent")
	}
	verdict, known := verdicts[res.exit]
	if !known {
		verdict = transportVerdict{transport.Failed, "5.0.0", "unknown mailer error " + strconv.Itoa(res.exit)}
	}
	text := verdict.text
	if res.exit == sysexits.TempFail && r.conf.Name != "" {
		text = r.conf.Name + " mailer (" + program + ") exited with EX_TEMPFAIL"
	} else if _, _, said, _, known := sysexits.Response(res.exit); known && r.conf.Name != "" && verdict.outcome == transport.Deferred {
		text = said
	} else if output != "" {
		text += ": " + output
	}
	level := slog.LevelInfo
	if r.conf.Name != "" { // the lines of sendmail's log tell of it
		level = slog.LevelDebug
	}
	log.Log(context.Background(), level, "program refused", "program", program, "exit", res.exit, "output", output)
	s := reply(transport.NewStatus(verdict.outcome, verdict.code, text), res)
	s.Transcript = r.out.lines()
	if verdict.outcome == transport.Failed {
		s.Exit = res.exit
		if !known {
			s.Exit = sysexits.Unavailable
		}
	}
	return s
}

// reply adds what a delivery report shows as the diagnostic code: "x-unix; 67" (RFC 3464 2.3.6).
func reply(s transport.Status, res result) transport.Status {
	s.Diagnostic = "x-unix"
	s.Reply = strconv.Itoa(res.exit)
	if res.signal != 0 {
		s.Reply = "signal " + strconv.Itoa(int(res.signal))
	}
	return s
}

type transportVerdict struct {
	outcome transport.Outcome
	code    string
	text    string
}

var verdicts = map[int]transportVerdict{
	sysexits.Usage:       {transport.Failed, "5.0.0", "command line usage error"},
	sysexits.DataErr:     {transport.Failed, "5.6.0", "data format error"},
	sysexits.NoInput:     {transport.Failed, "5.3.0", "cannot open input"},
	sysexits.NoUser:      {transport.Failed, "5.1.1", "user unknown"},
	sysexits.NoHost:      {transport.Failed, "5.1.2", "host unknown"},
	sysexits.Unavailable: {transport.Failed, "5.0.0", "service unavailable"},
	sysexits.Software:    {transport.Failed, "5.3.0", "internal error"},
	sysexits.OSErr:       {transport.Deferred, "4.3.0", "operating system error"},
	sysexits.OSFile:      {transport.Failed, "5.3.5", "system file missing"},
	sysexits.CantCreat:   {transport.Failed, "5.2.0", "cannot create output"},
	sysexits.IOErr:       {transport.Deferred, "4.3.0", "input/output error"},
	sysexits.TempFail:    {transport.Deferred, "4.3.0", "temporary failure"},
	sysexits.Protocol:    {transport.Failed, "5.5.0", "remote protocol error"},
	sysexits.NoPerm:      {transport.Failed, "5.7.1", "permission denied"},
	sysexits.Config:      {transport.Failed, "5.3.5", "local configuration error"},
}

// kept holds the first octets of what the programs print.
type kept struct {
	mu    sync.Mutex
	limit int
	text  []byte
	more  bool
}

func (k *kept) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	room := min(len(p), k.limit-len(k.text))
	k.text = append(k.text, p[:room]...)
	k.more = k.more || room < len(p)
	return len(p), nil
}

// line is the output as one line that a terminal and a header survive.
func (k *kept) line() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\uFFFD' {
			return ' '
		}
		return r
	}, string(k.text))
	text = strings.Join(strings.Fields(text), " ")
	if k.more {
		text += " [...]"
	}
	return text
}

// lines are the lines of the output.
func (k *kept) lines() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	text := strings.TrimRight(string(k.text), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// name is the first program of the line, for messages.
func (l Line) name() string {
	for _, s := range l.steps {
		for _, w := range s.argv {
			if w != "exec" {
				return filepath.Base(w)
			}
		}
	}
	return "command"
}
