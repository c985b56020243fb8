// Package pipe delivers to programs: a message flows in, the standard input of a program flows out, and its exit
// status (sysexits(3)) becomes the outcome.
//
// Two kinds of recipients reach it. An address goes to the configured Program; the argument vector is built element by
// element from templates, in which macros are replaced as data. A Command, which an alias or a .forward file named,
// is run by the Program as well when there is one ("smrsh -c $u"), or else is taken apart and run by us: see Line. No
// shell is started on anything that came with a message: a Program that is one ("sh -c $u") gets Commands only, and what
// else of a message stands in the text that it interprets ("sh -c 'prog $h'") must not mean anything to it.
//
// A program runs as the right user, in a session and process group of its own, with a clean environment, no open
// descriptors but 0 to 2, a umask of its own, and a time limit, at which the whole group is killed. What it prints is kept, up
// to a limit, for the report to the sender.
package pipe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"waybill/transport"
	"waybill/transport/envelope"
	"waybill/transport/fromline"
	"waybill/transport/identity"
	"waybill/transport/mbox"
	"waybill/transport/passwd"
)

// Config describes a program transport.
type Config struct {
	// Program is the absolute path of the program. Empty: only Commands are accepted, and we run them ourselves.
	Program string
	// Args is the argument vector, Args[0] included: templates with $u (user, or the Command), $h (host), $f and $g
	// (sender), $i (queue id), $z (home directory of the user), $d (detail); also written $user, $host, $sender, $id,
	// $home, $detail and with braces. $$ is a dollar sign. An element with $u is repeated for all users of a run.
	Args []string
	// Users is the user database; needed as root, for As, AsRecipient and $home.
	Users passwd.Source
	// User is the login name to run as when the recipient brings none along. As root it must be set, or nothing runs
	// whose recipient brings none along. A process that is not root runs everything as itself.
	User string
	// AsRecipient runs the Program as the user of the recipient (sendmail's mailer flag o).
	AsRecipient bool
	// MaxUsers is how many users one run may get (flag m); 0 means 1.
	MaxUsers int
	// Programs is the directory whose programs Commands may name, as with smrsh(8): whatever path is written, the
	// last component is looked for there. Empty: any absolute path, and other names in /usr/bin and /bin.
	Programs string
	// Dirs are working directories, the first that can be entered counts; $home is replaced, and "." is where this
	// process is. Nil: $home, "/".
	Dirs []string
	// Env is added to the environment: AGENT, HOME, LOGNAME, USER, SHELL, PATH, TZ if we have it. NAME=value.
	Env []string
	// BareEnv leaves all of these but AGENT out, as sendmail does.
	BareEnv bool
	// Umask is that of the program; 0 means 022, as with sendmail.
	Umask int
	// Name is what messages call the transport, "prog"; empty: only the program is named.
	Name string
	// Timeout is how long one run may take; 0 means 15 minutes. Then the delivery is deferred.
	Timeout time.Duration
	// MaxOutput is how many octets of output are kept; 0 means 4096.
	MaxOutput int
	// The form of the message: a From line unless NoFromLine (flag n), the others when set (flags P, E, b).
	NoFromLine, ReturnPath, EscapeFrom, BlankEnd bool
	// FromLine writes another From line than package fromline does by itself.
	FromLine func(sender envelope.Address, when time.Time) string
	// Files, if set, takes the recipients that are files of an alias.
	Files *mbox.Mbox
	// Now is the clock of the From line; nil means time.Now.
	Now func() time.Time
}

// Pipe is a Transport. It is safe for concurrent use.
type Pipe struct {
	conf  Config
	args  []template
	text  map[int]bool // indices of arguments that the Program interprets
	shell bool         // $u stands in one of them
}

// New checks the configuration.
func New(c Config) (*Pipe, error) {
	p := &Pipe{text: map[int]bool{}}
	if c.Program != "" {
		if !filepath.IsAbs(c.Program) {
			return nil, fmt.Errorf("pipe: program %q is not an absolute path", c.Program)
		}
		if len(c.Args) == 0 {
			return nil, fmt.Errorf("pipe: program %s has no argument vector", c.Program)
		}
	}
	for i, text := range c.Args {
		t, err := compile(text)
		if err != nil {
			return nil, fmt.Errorf("pipe: argument %q: %w", text, err)
		}
		if i > 0 && isShellFlag(c.Args[i-1]) {
			p.text[i] = true
			p.shell = p.shell || t.uses("user")
		}
		p.args = append(p.args, t)
	}
	for _, v := range c.Env {
		if !strings.Contains(v, "=") {
			return nil, fmt.Errorf("pipe: environment %q is not NAME=value", v)
		}
	}
	if c.Programs != "" && !filepath.IsAbs(c.Programs) {
		return nil, fmt.Errorf("pipe: directory of programs %q is not an absolute path", c.Programs)
	}
	if c.MaxUsers == 0 {
		c.MaxUsers = 1
	}
	if c.Dirs == nil {
		c.Dirs = []string{"$home", "/"}
	}
	if c.Timeout == 0 {
		c.Timeout = 15 * time.Minute
	}
	if c.Umask == 0 {
		c.Umask = 0o022
	}
	if c.MaxOutput == 0 {
		c.MaxOutput = 4096
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	p.conf = c
	return p, nil
}

// isShellFlag recognises "-c" and clusters that end in it ("-ec"): what follows is text to be interpreted.
func isShellFlag(arg string) bool {
	return len(arg) >= 2 && arg[0] == '-' && arg[1] != '-' && strings.HasSuffix(arg, "c")
}

// Deliver runs the program once for every MaxUsers recipients, or once for every Command.
func (p *Pipe) Deliver(ctx context.Context, req *transport.Request) []transport.Status {
	statuses := make([]transport.Status, len(req.Recipients))
	var batch []int // recipients that share a run
	flush := func() {
		if len(batch) == 0 {
			return
		}
		s := p.program(ctx, req, batch)
		for _, i := range batch {
			statuses[i] = s
		}
		batch = nil
	}
	for i, rcpt := range req.Recipients {
		switch {
		case rcpt.Orig.File != "":
			if p.conf.Files == nil {
				statuses[i] = transport.NewStatus(transport.Failed, "5.3.5", "a program transport cannot write files")
				continue
			}
			one := *req
			one.Recipients = req.Recipients[i : i+1]
			statuses[i] = p.conf.Files.Deliver(ctx, &one)[0]
		case rcpt.Orig.Command != "" && p.conf.Program == "":
			statuses[i] = p.command(ctx, req, rcpt)
		case rcpt.Orig.Command != "":
			flush()
			batch = []int{i}
			flush()
		default:
			if s, ok := p.acceptable(req, rcpt); !ok {
				statuses[i] = s
				continue
			}
			if len(batch) > 0 && p.conf.AsRecipient {
				flush()
			}
			if batch = append(batch, i); len(batch) >= p.conf.MaxUsers {
				flush()
			}
		}
	}
	flush()
	return statuses
}

// acceptable judges a recipient that came as an address.
func (p *Pipe) acceptable(req *transport.Request, rcpt transport.Recipient) (transport.Status, bool) {
	switch {
	case p.conf.Program == "":
		return transport.NewStatus(transport.Deferred, "4.3.5", "no program is configured for addresses"), false
	case p.shell:
		logger(req).Error("an address was routed to a program that interprets it; refused", "program", p.conf.Program, "user", rcpt.User)
		return transport.NewStatus(transport.Failed, "5.3.5", "addresses are not given to an interpreter"), false
	case rcpt.User == "" || control(rcpt.User):
		return transport.NewStatus(transport.Failed, "5.1.3", "this user name cannot be given to a program"), false
	}
	return transport.Status{}, true
}

// program runs the configured Program for the recipients with the given indices.
func (p *Pipe) program(ctx context.Context, req *transport.Request, which []int) transport.Status {
	rcpt := req.Recipients[which[0]]
	as := rcpt.As
	if rcpt.Orig.Command == "" { // As names the owner of the mailbox: that counts only when the configuration says so
		switch {
		case !p.conf.AsRecipient:
			as = ""
		case as == "":
			as = rcpt.User
		}
	}
	who, status, ok := p.who(logger(req), as)
	if !ok {
		return status
	}
	values := map[string]string{
		"user": rcpt.User, "host": req.Host, "sender": string(req.Envelope.Sender), "id": req.Envelope.ID, "home": p.home(rcpt), "detail": rcpt.Detail,
		"client_addr": req.Envelope.Origin.ClientAddr, "client_name": req.Envelope.Origin.ClientName,
	}
	if rcpt.Orig.Command != "" {
		values["user"] = bare(string(rcpt.Orig.Command))
	}
	if values["sender"] == "" {
		values["sender"] = "MAILER-DAEMON"
	}
	var argv []string
	ended := false // a "--" stands before: nothing can be taken for an option
	for n, t := range p.args {
		users := []string{values["user"]}
		if t.uses("user") {
			for _, i := range which[1:] {
				users = append(users, req.Recipients[i].User)
			}
		}
		for _, u := range users {
			values["user"] = u
			word, err := t.expand(values)
			if err == nil && p.text[n] {
				err = t.meaningless(values)
			}
			// An argument that begins with what a stranger wrote must not be an option.
			if err == nil && strings.HasPrefix(word, "-") && !t.beginsLiterally() && !ended && n > 0 && rcpt.Orig.Command == "" {
				err = errors.New("it would be taken for an option")
			}
			if err != nil {
				logger(req).Warn("argument refused", "program", p.conf.Program, "argument", n, "err", err)
				return transport.NewStatus(transport.Failed, "5.1.3", "this address cannot be given to a program")
			}
			argv = append(argv, word)
		}
		values["user"] = users[0]
		ended = ended || t.literal() == "--"
	}
	run := p.newRun(ctx, req, who)
	run.home = values["home"]
	defer run.end()
	return run.outcome(run.exec(p.conf.Program, argv, nil), p.conf.Program)
}

// command runs the Command of an alias or a .forward file by ourselves.
func (p *Pipe) command(ctx context.Context, req *transport.Request, rcpt transport.Recipient) transport.Status {
	text := bare(string(rcpt.Orig.Command))
	line, err := SplitCommand(text)
	if err != nil {
		logger(req).Warn("command refused", "command", text, "err", err)
		s := transport.NewStatus(transport.Failed, "5.3.0", "the command cannot be run: "+err.Error())
		s.Exit = 69
		return s
	}
	who, status, ok := p.who(logger(req), rcpt.As)
	if !ok {
		return status
	}
	run := p.newRun(ctx, req, who)
	run.home = p.home(rcpt)
	defer run.end()
	return run.outcome(run.line(line), line.name())
}

// who finds the user to run as.
func (p *Pipe) who(log *slog.Logger, name string) (passwd.Entry, transport.Status, bool) {
	if name == "" {
		name = p.conf.User
	}
	if name == "" || p.conf.Users == nil {
		if identity.CanChange() {
			log.Error("no user to run programs as", "wanted", name)
			return passwd.Entry{}, transport.NewStatus(transport.Deferred, "4.3.5", "no user is configured to run programs as"), false
		}
		return passwd.Entry{Name: name, UID: -1, Home: os.Getenv("HOME")}, transport.Status{}, true
	}
	e, found, err := p.conf.Users.Lookup(name)
	if err != nil || !found {
		log.Warn("the user to run a program as is not known", "user", name, "err", cmp.Or(err, errNoUser))
		return passwd.Entry{}, transport.NewStatus(transport.Deferred, "4.3.0", "the user to run the program as is not known now"), false
	}
	e.Name = name
	if !identity.CanChange() {
		e.UID = -1
	}
	return e, transport.Status{}, true
}

// home is $home: that of the recipient, or of the user whose .forward file named the program. The program of an alias has
// none, even if it runs as a user who does.
func (p *Pipe) home(rcpt transport.Recipient) string {
	name := rcpt.As
	if name == "" && rcpt.Orig.Command == "" {
		name = rcpt.User
	}
	if name == "" || p.conf.Users == nil {
		return ""
	}
	e, _, err := p.conf.Users.Lookup(name)
	if err != nil {
		return ""
	}
	return e.Home
}

func (p *Pipe) form(req *transport.Request) fromline.Form {
	f := fromline.Form{
		FromLine: !p.conf.NoFromLine, ReturnPath: p.conf.ReturnPath, EscapeFrom: p.conf.EscapeFrom, BlankEnd: p.conf.BlankEnd,
		Sender: req.Envelope.Sender, When: p.conf.Now(),
	}
	if p.conf.FromLine != nil {
		f.Text = p.conf.FromLine(f.Sender, f.When)
	}
	return f
}

func logger(req *transport.Request) *slog.Logger {
	if req.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return req.Log
}

func control(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}
