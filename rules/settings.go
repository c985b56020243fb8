package rules

import (
	"slices"
	"strconv"
	"time"

	"waybill/rules/compile"
	"waybill/rules/prog"
)

// Settings are what "host", "spool" and "set" statements say, and the defaults of what they do not.
type Settings struct {
	Host       string   // our name
	Spool      string   // /var/spool/waybill
	Listen     []string // ADDR:PORT; none: do not listen
	ListenTLS  []string // ADDR:PORT with TLS from the first octet
	TLSCert    string   // PEM files for STARTTLS and ListenTLS; empty: no TLS
	TLSKey     string
	Passwords  string   // file of those who may authenticate; empty: nobody
	Resolver   string   // ADDR:PORT; empty: /etc/resolv.conf
	Spread     []string // further directories for queue files, beside Spool
	Queue      string   // "log": accepted mail goes through an intake log; "files": each message is a file at once; "auto": a log where the file system has a journal
	Users      string   // passwd(5) format; /etc/passwd
	Aliases    string   // name of the table with aliases; "aliases"
	Log        string   // "syslog", "stderr" or a file
	Postmaster string   // who hears of what cannot be returned; "postmaster"
	Trust      []string // login names that may set the sender silently

	MaxSize       int64 // octets of a message; 0: no limit
	MaxHops       int   // Received lines; 100 (RFC 5321 6.3)
	MaxRecipients int   // of a message; 1000
	Sessions      int   // SMTP sessions at a time; 200
	Deliveries    int   // deliveries at a time; 20

	ReturnLimit int64           // octets of a message that comes back whole to a sender who asks for that; 20 MB
	Retry       []time.Duration // delays between attempts; the last one repeats
	GiveUp      time.Duration   // 5 days
	WarnAfter   time.Duration   // 4 hours; 0: never
	IdleTimeout time.Duration   // of an SMTP session; 5 minutes
	CutThrough  bool            // "now" by SMTP passes the message on while the client waits

	all map[string][]string
}

// Get returns the values of a setting as they are written; nil when the files do not set it.
func (s Settings) Get(name string) []string { return slices.Clone(s.all[name]) }

// newSettings reads the settings of a program. Their values were checked before.
func newSettings(p *prog.Program, host string) Settings {
	s := Settings{
		Host: host, Spool: "/var/spool/waybill", Users: "/etc/passwd", Aliases: "aliases", Log: "syslog", Postmaster: "postmaster", Queue: "auto",
		MaxHops: 100, MaxRecipients: 1000, Sessions: 200, Deliveries: 20, GiveUp: 5 * 24 * time.Hour, WarnAfter: 4 * time.Hour,
		IdleTimeout: 5 * time.Minute, CutThrough: true, all: map[string][]string{},
		Retry: []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour},
	}
	text := map[string]*string{"spool": &s.Spool, "resolver": &s.Resolver, "users": &s.Users, "aliases": &s.Aliases, "log": &s.Log, "postmaster": &s.Postmaster, "queue": &s.Queue,
		"tls-cert": &s.TLSCert, "tls-key": &s.TLSKey, "passwords": &s.Passwords}
	lists := map[string]*[]string{"listen": &s.Listen, "listen-tls": &s.ListenTLS, "trust": &s.Trust, "queue-dirs": &s.Spread}
	numbers := map[string]*int{"max-hops": &s.MaxHops, "max-recipients": &s.MaxRecipients, "sessions": &s.Sessions, "deliveries": &s.Deliveries}
	times := map[string]*time.Duration{"give-up": &s.GiveUp, "warn-after": &s.WarnAfter, "idle-timeout": &s.IdleTimeout}
	for _, set := range p.Settings {
		if len(set.Values) == 0 {
			continue
		}
		first := set.Values[0]
		s.all[set.Name] = set.Values
		if v := text[set.Name]; v != nil {
			*v = first
		} else if v := lists[set.Name]; v != nil {
			*v = slices.Clone(set.Values)
		} else if v := numbers[set.Name]; v != nil {
			if n, err := strconv.Atoi(first); err == nil {
				*v = n
			}
		} else if v := times[set.Name]; v != nil {
			if d, err := compile.Duration(first); err == nil {
				*v = d
			}
		}
		switch set.Name {
		case "max-size":
			if n, err := compile.Size(first); err == nil {
				s.MaxSize = n
			}
		case "return-limit":
			if n, err := compile.Size(first); err == nil {
				s.ReturnLimit = max(1, n)
			}
		case "cut-through":
			s.CutThrough = first == "yes"
		case "retry":
			var list []time.Duration
			for _, v := range set.Values {
				if d, err := compile.Duration(v); err == nil {
					list = append(list, d)
				}
			}
			if len(list) > 0 {
				s.Retry = list
			}
		}
	}
	return s
}

// Transport is a transport as a rule file declares it. The wiring makes the real one.
type Transport struct {
	Name   string
	Kind   string            // smtp, lmtp, mbox, maildir, pipe, uucp; empty for a mailer of sendmail.cf
	Flags  string            // sendmail's F=
	Params map[string]string // values joined with blanks
	Args   map[string][]string
	File   string // where it is declared
	Line   int
}

// Param returns a parameter, or otherwise when it is not set.
func (t Transport) Param(name, otherwise string) string {
	if v, ok := t.Params[name]; ok {
		return v
	}
	return otherwise
}

// Transports returns the declared transports, in the order of the files.
func (r *Router) Transports() []Transport {
	var out []Transport
	for _, t := range r.engine.Program().Transports {
		x := Transport{Name: t.Name, Kind: t.Kind, Flags: t.Flags, Params: map[string]string{}, Args: map[string][]string{}, File: t.Pos.File, Line: t.Pos.Line}
		for _, p := range t.Params {
			x.Params[p.Name] = p.Value
			x.Args[p.Name] = slices.Clone(p.Values)
		}
		out = append(out, x)
	}
	return out
}

// Settings returns the settings.
func (r *Router) Settings() Settings { return r.settings }
