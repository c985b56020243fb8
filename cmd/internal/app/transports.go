package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"waybill/queue"
	"waybill/rules"
	"waybill/rules/compile"
	"waybill/transport"
	"waybill/transport/maildir"
	"waybill/transport/mbox"
	"waybill/transport/pipe"
	"waybill/transport/smtpclient"
	"waybill/transport/uucp"
)

// params reads the parameters of one declared transport. The first that makes no sense is kept in err, and so is one
// that nobody read: a parameter that does nothing must not look as if it did.
type params struct {
	rules.Transport
	used map[string]bool
	err  error
}

func (p *params) fail(name, format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("%s:%d: transport %s: %s: %s", p.File, p.Line, p.Name, name, fmt.Sprintf(format, args...))
	}
}

func (p *params) text(name, otherwise string) string {
	p.used[name] = true
	return p.Param(name, otherwise)
}

func (p *params) number(name string) int {
	text := p.text(name, "")
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		p.fail(name, "%q is no number", text)
	}
	return n
}

func (p *params) size(name string) int64 {
	text := p.text(name, "")
	if text == "" {
		return 0
	}
	n, err := compile.Size(text)
	if err != nil {
		p.fail(name, "%v", err)
	}
	return n
}

// sizes reads "100K beta=2M": a limit for all, and others for some. Without a value it is nil.
func (p *params) sizes(name string) map[string]int64 {
	var limits map[string]int64
	for _, word := range p.words(name) {
		site, text, special := strings.Cut(word, "=")
		if !special {
			site, text = "", word
		}
		n, err := compile.Size(text)
		if err != nil {
			p.fail(name, "%v", err)
		}
		if limits == nil {
			limits = map[string]int64{}
		}
		limits[strings.ToLower(site)] = n
	}
	return limits
}

func (p *params) duration(name string) time.Duration {
	text := p.text(name, "")
	if text == "" {
		return 0
	}
	d, err := compile.Duration(text)
	if err != nil {
		p.fail(name, "%v", err)
	}
	return d
}

// yes reads a switch that a parameter without a value turns on.
func (p *params) yes(name string, otherwise bool) bool {
	value, set := p.Params[name]
	p.used[name] = true
	switch {
	case !set:
		return otherwise
	case value == "" || value == "yes":
		return true
	case value != "no":
		p.fail(name, "%q is neither yes nor no", value)
	}
	return false
}

func (p *params) mode(name string) os.FileMode {
	text := p.text(name, "")
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 8, 9)
	if err != nil {
		p.fail(name, "%q is no octal mode", text)
	}
	return os.FileMode(n)
}

func (p *params) words(name string) []string {
	p.used[name] = true
	return p.Args[name]
}

// done returns the first error, or names the first parameter that nobody read.
func (p *params) done() error {
	for name := range p.Params {
		if !p.used[name] {
			p.fail(name, "this release cannot do that yet; take the line out")
		}
	}
	return p.err
}

// mailers makes the transports that the rules declare. The closers end what they keep open.
func (s *site) mailers(router *rules.Router) (queue.Wiring, []func(), error) {
	wiring := queue.Wiring{Mailers: map[string]queue.Mailer{}}
	var closers []func()
	var errs []error
	var clients []*smtpclient.Client
	var local *mbox.Mbox // the first mailbox transport also writes the files that aliases name
	for _, t := range router.Transports() {
		p := &params{Transport: t, used: map[string]bool{}}
		m := queue.Mailer{Concurrency: p.number("concurrency")}
		var err error
		switch t.Kind {
		case "smtp", "lmtp":
			var c *smtpclient.Client
			if c, err = s.smtp(router, p); err == nil {
				clients = append(clients, c)
				closers = append(closers, func() { c.Close() })
				m.Transport = c
			}
			m.Local = t.Kind == "lmtp" && p.yes("local", true)
			m.MaxRecipients = p.number("max-recipients")
		case "mbox":
			var box *mbox.Mbox
			if box, err = s.mbox(p); err == nil {
				m.Transport = box
				if local == nil {
					local = box
				}
			}
			m.Local = p.yes("local", true)
		case "maildir":
			m.Transport, err = s.maildir(p)
			m.Local = p.yes("local", true)
		case "pipe":
			m.Transport, err = s.pipe(p)
			m.Local = p.yes("local", false)
			m.MaxRecipients = p.number("max-recipients")
		case "uucp":
			m.Transport, err = s.uucp(p)
			m.MaxRecipients = p.number("max-recipients")
		default:
			err = fmt.Errorf("%s:%d: transport %s: no kind %q", t.File, t.Line, t.Name, t.Kind)
		}
		if err == nil {
			m.Transport = leaving(router, p, m.Transport, m.Local)
		}
		if err == nil {
			err = p.done()
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		wiring.Mailers[strings.ToLower(t.Name)] = m
	}
	if local == nil {
		box, err := mbox.New(mbox.Config{Users: s.users, DefaultUser: defaultUser})
		if err != nil {
			errs = append(errs, err)
		}
		local = box
	}
	wiring.File = queue.Mailer{Transport: local}
	program, err := pipe.New(pipe.Config{Users: s.users, User: defaultUser, Programs: smrshDir()})
	if err != nil {
		errs = append(errs, err)
	}
	wiring.Program = queue.Mailer{Transport: program}
	if err := errors.Join(errs...); err != nil {
		for _, c := range closers {
			c()
		}
		return queue.Wiring{}, nil, err
	}
	s.setClients(clients)
	return wiring, closers, nil
}

// defaultUser is who writes files and runs programs for which nobody else answers (sendmail's DefaultUser).
const defaultUser = "mail"

// smrshDir is the directory that limits which programs aliases may start; empty where the administrator made none.
func smrshDir() string {
	const dir = "/etc/mail/smrsh"
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return dir
	}
	return ""
}

func (s *site) mbox(p *params) (*mbox.Mbox, error) {
	conf := mbox.Config{
		Path:           p.text("path", "/var/mail/$user"),
		Users:          s.users,
		Mode:           p.mode("mode"),
		DefaultUser:    p.text("default-user", defaultUser),
		Quota:          p.size("quota"),
		QuotaTemporary: p.yes("quota-temporary", false),
		Locks:          p.words("lock"),
		LockTimeout:    p.duration("lock-timeout"),
		Biff:           p.text("biff", ""),
		NoReturnPath:   !p.yes("return-path", true),
		NoSync:         !p.yes("sync", true),
	}
	if group := p.text("group", ""); group != "" {
		gid, err := strconv.Atoi(group)
		if err != nil || gid < -1 {
			p.fail("group", "%q is no group id", group)
		}
		conf.Group = gid
	}
	if p.err != nil {
		return nil, p.err
	}
	return mbox.New(conf)
}

func (s *site) maildir(p *params) (transport.Transport, error) {
	conf := maildir.Config{
		Path:         p.text("path", "$home/Maildir"),
		Users:        s.users,
		Quota:        p.size("quota"),
		NoReturnPath: !p.yes("return-path", true),

		QuotaTemporary: p.yes("quota-temporary", false),
	}
	if p.err != nil {
		return nil, p.err
	}
	return maildir.New(conf)
}

func (s *site) pipe(p *params) (transport.Transport, error) {
	args := p.words("command")
	if len(args) == 0 {
		p.fail("command", "it is missing: write command /path/of/program ARGUMENT...")
		return nil, p.err
	}
	conf := pipe.Config{
		Program:    args[0],
		Args:       append([]string{filepath.Base(args[0])}, args[1:]...),
		Users:      s.users,
		User:       p.text("user", defaultUser),
		MaxUsers:   p.number("max-recipients"),
		Env:        p.words("environment"),
		Timeout:    p.duration("timeout"),
		NoFromLine: !p.yes("from-line", true),
		ReturnPath: p.yes("return-path", false),
	}
	if dir := p.text("directory", ""); dir != "" {
		conf.Dirs = []string{dir}
	}
	if p.err != nil {
		return nil, p.err
	}
	return pipe.New(conf)
}

func (s *site) uucp(p *params) (*uucp.UUCP, error) {
	conf := uucp.Config{
		Spool:   p.text("spool", "/var/spool/uucp"),
		Node:    p.text("node", firstLabel(s.settings.Host)),
		Sites:   p.words("sites"),
		SysFile: p.text("systems", ""),
		Command: p.text("command", ""),
		Login:   p.text("user", ""),
		Owner:   p.text("owner", ""),
		Users:   s.users,
		Batch:   p.yes("batch", false),
		Quoting: p.yes("quoting", true),
		Host:    s.settings.Host,

		MaxCommand: p.number("max-command"),
		Uux:        p.text("uux", ""),
		Options:    p.words("options"),
		MaxSize:    p.sizes("max-size"),
	}
	switch word := p.text("layout", "taylor"); word {
	case "taylor":
	case "bnu", "hdb":
		conf.Layout = uucp.BNU
	case "drop":
		conf.Layout = uucp.Drop
	default:
		p.fail("layout", "%q is none of taylor, bnu, drop", word)
	}
	forms := uucp.AddressForms()
	word := p.text("address", forms[0])
	if i := slices.Index(forms, word); i >= 0 {
		conf.Address = uucp.AddressForm(i)
	} else {
		p.fail("address", "%q is none of %s", word, strings.Join(forms, ", "))
	}
	if conf.SysFile == "" && len(conf.Sites) == 0 {
		conf.SysFile = "/etc/uucp/sys"
	}
	if grade := p.text("grade", "C"); len(grade) == 1 {
		conf.Grade = grade[0]
	} else {
		p.fail("grade", "%q is no grade: one letter or digit", grade)
	}
	if p.err != nil {
		return nil, p.err
	}
	return uucp.New(conf)
}

func firstLabel(host string) string {
	label, _, _ := strings.Cut(host, ".")
	return label
}
