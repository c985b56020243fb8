// Package testsite lays out throw-away sites and lets real mail flow through them: a directory with a rules file, a
// spool, mailboxes, users, aliases and a UUCP spool; the built commands as processes; a loopback DNS server; an SMTP
// host that records what it gets. What comes out is read from where users would read it: mailbox files, the log, the
// other host. The tests of whole programs, the trial (make try) and the benchmarks are written with it. Nothing in it
// shares code with the mail path that it tests.
package testsite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Options describe a site. Bin, Dir and Host are required.
type Options struct {
	Bin      string         // directory with the built commands waybill and sendmail
	Dir      string         // a directory for this site alone; it is created
	Host     string         // name of the host: "a.example.test"
	Addr     string         // loopback address and port where it listens; see Ports
	Resolver string         // ADDR:PORT of a name server
	SMTPPort int            // port of other hosts; the names in the zone say on which address
	Users    []string       // login names with mailboxes; default root, alice, bob
	IDs      map[string]int // user and group ids of users; the others have those of whoever runs the test
	Aliases  string         // text of the aliases file
	Local    []string       // more names of this host
	Settings string         // lines "set NAME VALUE", in place of the defaults below
	Rules    string         // more statements, in front of the route block
	Route    string         // more rules, at the beginning of the route block
	Quota    string         // of a mailbox: "200K"; empty: none
}

// Site is one host.
type Site struct {
	Options
	Rules   string // path of the rules file
	LogFile string

	daemon *exec.Cmd
	ended  chan struct{} // closed when the daemon has ended
}

const defaultSettings = `set retry 1s 2s 4s
set warn-after 4h
set give-up 5d
`

// Layout writes a site's files. Nothing runs yet.
func Layout(o Options) (*Site, error) {
	if o.Users == nil {
		o.Users = []string{"root", "alice", "bob"}
	}
	if o.Settings == "" {
		o.Settings = defaultSettings
	}
	s := &Site{Options: o, Rules: filepath.Join(o.Dir, "waybill.rules"), LogFile: filepath.Join(o.Dir, "mail.log")}
	for _, dir := range []string{"mail", "home", "uucp"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, dir), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(filepath.Join(o.Dir, "mail"), 0o777|os.ModeSticky); err != nil {
		return nil, err
	}
	passwd, err := s.passwd()
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"users": passwd, "aliases": o.Aliases, "waybill.rules": s.rules()} {
		if err := os.WriteFile(filepath.Join(o.Dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// passwd gives every user the ids of whoever runs the test, so that no root is needed.
func (s *Site) passwd() (string, error) {
	me, err := user.Current()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	names := []string{me.Username}                 // first, because whoever submits mail is found by id
	for _, name := range append(s.Users, "mail") { // with the rights of "mail", aliases write files and run programs
		if name != me.Username {
			names = append(names, name)
		}
	}
	for _, name := range names {
		home := filepath.Join(s.Dir, "home", name)
		if err := os.MkdirAll(home, 0o755); err != nil {
			return "", err
		}
		uid, gid := me.Uid, me.Gid
		if id, ok := s.IDs[name]; ok {
			uid, gid = strconv.Itoa(id), strconv.Itoa(id)
			if err := os.Chown(home, id, id); err != nil {
				return "", err
			}
		}
		fmt.Fprintf(&b, "%s:x:%s:%s:%s Example:%s:/bin/sh\n", name, uid, gid, strings.ToUpper(name[:1])+name[1:], home)
	}
	return b.String(), nil
}

// rules is the rules file: what a small host with UUCP neighbours would have.
func (s *Site) rules() string {
	quota := ""
	if s.Quota != "" {
		quota = "\n\tquota " + s.Quota
	}
	listen := ""
	if s.Addr != "" {
		listen = "set listen " + s.Addr + "\n"
	}
	resolver := ""
	if s.Resolver != "" {
		resolver = "set resolver " + s.Resolver + "\n"
	}
	return strings.NewReplacer(
		"HOST", s.Host, "DIR", s.Dir, "LISTEN\n", listen, "RESOLVER\n", resolver, "SETTINGS\n", s.Settings,
		"LOCAL", strings.Join(s.Local, " "), "QUOTA", quota, "PORT", strconv.Itoa(s.SMTPPort),
		"RULES\n", s.Options.Rules, "ROUTE\n", s.Route,
	).Replace(`# a throw-away site
host HOST
spool DIR/spool
LISTEN
RESOLVER
set users DIR/users
set log DIR/mail.log
SETTINGS

class local  { HOST localhost LOCAL }
class inside { 127.0.0.0/8 ::1 }

table aliases aliases DIR/aliases

transport local mbox {
	path "DIR/mail/$user"QUOTA
}
transport esmtp smtp {
	port PORT
}
transport uucp uucp {
	spool DIR/uucp
	sites host
	grade C
}

ruleset canonify {
	$user+ @ $domain+  -> once $user < @ $domain >
	$site- ! $user+    -> once $user < @ $site . UUCP >
}
RULES

route {
	ROUTE
	$user+ < @ $domain=local >   => local $user
	$user+ < @ $site- . UUCP >   => uucp $site $user queue
	$user+ < @ $domain+ >        => esmtp $domain $user@$domain
	$user+                       => local $user
}

accept rcpt {
	client local                 ok
	client in inside             ok
	$user+ < @ $domain=local >   ok
	otherwise                    reject 550 5.7.1 "Relaying denied"
}
`)
}

// Start runs the daemon and waits until it takes mail.
func (s *Site) Start(ctx context.Context) error {
	errFile, err := os.OpenFile(filepath.Join(s.Dir, "stderr"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer errFile.Close()
	s.daemon = exec.Command(filepath.Join(s.Bin, "waybill"), "serve", "-C", s.Rules)
	s.daemon.Stdout, s.daemon.Stderr = errFile, errFile
	s.daemon.Dir = s.Dir
	if err := s.daemon.Start(); err != nil {
		return err
	}
	s.ended = make(chan struct{})
	go func() { s.daemon.Wait(); close(s.ended) }()
	socket := filepath.Join(s.Dir, "spool", "submit.sock")
	err = Wait(ctx, func() bool {
		select {
		case <-s.ended:
			return true
		default:
		}
		return answers("unix", socket) && (s.Addr == "" || answers("tcp", s.Addr))
	})
	select {
	case <-s.ended:
		return fmt.Errorf("waybill serve ended at once: %v\n%s", s.daemon.ProcessState, s.Stderr())
	default:
	}
	if err != nil {
		return fmt.Errorf("waybill serve does not take mail: %w\n%s", err, s.Stderr())
	}
	return nil
}

func answers(network, addr string) bool {
	c, err := net.DialTimeout(network, addr, time.Second)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// Signal sends the daemon a signal.
func (s *Site) Signal(sig os.Signal) error { return s.daemon.Process.Signal(sig) }

// PID is the daemon's process id.
func (s *Site) PID() int { return s.daemon.Process.Pid }

// Running reports whether the daemon still runs.
func (s *Site) Running() bool {
	if s.daemon == nil {
		return false
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// Stop ends the daemon as an operator would, and by force if that takes more than a minute, which is an error.
func (s *Site) Stop() error {
	if !s.Running() {
		return nil
	}
	s.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
		if !s.daemon.ProcessState.Success() {
			return fmt.Errorf("waybill serve: %v", s.daemon.ProcessState)
		}
		return nil
	case <-time.After(time.Minute):
		s.Kill()
		return errors.New("waybill serve did not end within a minute of SIGTERM")
	}
}

// Kill ends the daemon at once.
func (s *Site) Kill() {
	if s.Running() {
		s.Signal(syscall.SIGKILL)
		<-s.ended
	}
}

// Stderr is what the daemon printed.
func (s *Site) Stderr() string {
	text, _ := os.ReadFile(filepath.Join(s.Dir, "stderr"))
	return string(text)
}

// Result is how a command ended.
type Result struct {
	Exit     int
	Out, Err string
}

// Sendmail runs the front end with a message on standard input, as a user's program would.
func (s *Site) Sendmail(message io.Reader, args ...string) (Result, error) {
	return s.Command(message, "sendmail", append([]string{"-C", s.Rules}, args...)...)
}

// Waybill runs the admin's tool.
func (s *Site) Waybill(args ...string) (Result, error) { return s.Command(nil, "waybill", args...) }

// Command runs one of the built commands by name.
func (s *Site) Command(in io.Reader, name string, args ...string) (Result, error) {
	c := exec.Command(filepath.Join(s.Bin, name), args...)
	return run(c, in)
}

// Run runs any program in the site's directory, with more environment.
func (s *Site) Run(in io.Reader, env []string, name string, args ...string) (Result, error) {
	c := exec.Command(name, args...)
	c.Dir = s.Dir
	c.Env = append(os.Environ(), env...)
	return run(c, in)
}

func run(c *exec.Cmd, in io.Reader) (Result, error) {
	var out, errw bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = in, &out, &errw
	c.WaitDelay = 5 * time.Second // a daemon that it leaves behind may keep the pipes open
	err := c.Run()
	r := Result{Out: out.String(), Err: errw.String()}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.Exit = exit.ExitCode()
		return r, nil
	case errors.Is(err, exec.ErrWaitDelay):
		return r, nil
	}
	return r, err
}

// Wait asks every 20 ms until done says so or ctx ends.
func Wait(ctx context.Context, done func() bool) error {
	for {
		if done() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Ports finds one port that is free on n loopback addresses (127.0.0.2 and on): SMTP has one port everywhere, and the
// DNS says only the address.
func Ports(n int) (addrs []string, port int, err error) {
	for range 50 {
		addrs = nil
		first, err := net.Listen("tcp", "127.0.0.2:0")
		if err != nil {
			return nil, 0, err
		}
		port = first.Addr().(*net.TCPAddr).Port
		open := []net.Listener{first}
		addrs = append(addrs, "127.0.0.2")
		for i := 1; i < n; i++ {
			addr := fmt.Sprintf("127.0.0.%d", i+2)
			l, err := net.Listen("tcp", net.JoinHostPort(addr, strconv.Itoa(port)))
			if err != nil {
				break
			}
			open = append(open, l)
			addrs = append(addrs, addr)
		}
		for _, l := range open {
			l.Close()
		}
		if len(addrs) == n {
			return addrs, port, nil
		}
	}
	return nil, 0, fmt.Errorf("no port is free on %d loopback addresses", n)
}
