package app

import (
	"bufio"
	"cmp"
	"os"
	"strconv"
	"strings"
	"time"

	"waybill/compat/flags"
	"waybill/transport/envelope"
	"waybill/transport/smtp"
	"waybill/transport/smtpserver"
	"waybill/transport/smtpserver/authsock"
	"waybill/transport/smtpserver/sasl"
)

// text is the value of an option, or otherwise.
func (c *cfSite) text(name, sub, otherwise string) string {
	v, ok := c.conf.Option(name, sub)
	return cmp.Or(strings.TrimSpace(v), map[bool]string{false: otherwise}[ok])
}

func (c *cfSite) number(name string, otherwise int) int {
	if n, err := strconv.Atoi(c.text(name, "", "")); err == nil {
		return n
	}
	return otherwise
}

func (c *cfSite) timeout(sub string, otherwise time.Duration) time.Duration {
	if d, ok := flags.Duration(c.text("Timeout", sub, ""), time.Minute); ok && d > 0 {
		return d
	}
	return otherwise
}

// receiving puts the options about receiving into conf (Operations Guide, "Options").
func (c *cfSite) receiving(conf *smtpserver.Config) {
	conf.Sendmail, conf.Greeting, conf.Bare = true, c.greeting(), smtp.BareKeepNUL
	conf.AllowBogusHelo, conf.SoftBounce = c.conf.Bool("AllowBogusHELO", false), c.conf.Bool("SoftBounce", false)
	conf.TotalConnRate = max(0, c.number("ConnectionRateThrottle", 0))
	conf.MaxSessionsPerClient = -1 // sendmail has ClientConn and ClientRate in the access map
	if n := c.number("BadRcptThrottle", 0); n > 0 {
		conf.BadRcptThrottle = n
	}
	conf.DataTimeout = c.timeout("datablock", time.Hour)
	if n := c.number("MaxRecipientsPerMessage", 0); n > 0 {
		conf.MaxRecipients = n // also fewer than the hundred of RFC 5321 4.5.3.1.8
	}
	conf.AuthInClear = !strings.Contains(c.text("AuthOptions", "", ""), "p")
	conf.UTF8 = c.conf.Bool("SmtpUTF8", false)
	conf.DeliverBy = !strings.HasPrefix(c.text("DeliverByMin", "", ""), "-")
}

// delivery is when mail that comes by SMTP goes, by the option DeliveryMode: what is only queued, or deferred, waits for a
// queue run. Otherwise it goes in the background.
func (c *cfSite) delivery() envelope.When {
	switch mode := c.text("DeliveryMode", "", ""); {
	case strings.HasPrefix(mode, "q"):
		return envelope.WhenQueue
	case strings.HasPrefix(mode, "d"):
		return envelope.WhenDefer
	}
	return envelope.WhenDefault
}

// saslConf is where Cyrus SASL looks for what sendmail's passwords are checked with.
var saslConf = []string{"/etc/sasl2/Sendmail.conf", "/usr/lib/sasl2/Sendmail.conf"}

// sasl is who knows passwords: saslauthd, where the configuration of Cyrus SASL names it (pwcheck_method).
func (c *cfSite) sasl() sasl.Store {
	for _, file := range saslConf {
		f, err := os.Open(file)
		if err != nil {
			continue
		}
		defer f.Close()
		path, asked := "/run/saslauthd", false
		for in := bufio.NewScanner(f); in.Scan(); {
			key, value, _ := strings.Cut(in.Text(), ":")
			switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
			case "pwcheck_method":
				asked = strings.Contains(value, "saslauthd")
			case "saslauthd_path":
				path = value
			}
		}
		if asked {
			if info, err := os.Stat(path); err == nil && info.IsDir() {
				path += "/mux"
			}
			return authsock.Saslauthd{Path: path}
		}
	}
	return nil
}

// daemonOptions is what a DaemonPortOptions says beside the address.
type daemonOptions struct {
	name, modifiers string
}

// daemonOf reads "Port=587, Name=MSA, M=Ea". Keys count by their first letter.
func daemonOf(v string) daemonOptions {
	d := daemonOptions{name: "MTA"}
	for field := range strings.SplitSeq(v, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch value = strings.TrimSpace(value); {
		case key == "":
		case key[0] == 'N' || key[0] == 'n':
			d.name = value
		case key[0] == 'M' || key[0] == 'm':
			d.modifiers = value
		}
	}
	return d
}

// wanted are the listeners of DaemonPortOptions.
func (c *cfSite) wanted() []want {
	var list []want
	for _, o := range c.conf.Options {
		if !isDaemonPort(o) {
			continue
		}
		d := daemonOf(o.Value)
		list = append(list, want{addr: daemonPort(o.Value), optional: strings.Contains(d.modifiers, "O"), role: smtpserver.Role{
			// the session learns the modifiers from the name: {daemon_name} and {daemon_flags}
			Name: d.name + " " + d.modifiers, ImplicitTLS: strings.Contains(d.modifiers, "s"), Change: d.change,
		}})
	}
	if len(list) == 0 {
		list = []want{{addr: "*:25", role: smtpserver.Role{Name: "MTA "}}}
	}
	return list
}

// change is what the modifiers change (Operations Guide, "DaemonPortOptions").
func (d daemonOptions) change(c *smtpserver.Config) {
	has := func(letter string) bool { return strings.Contains(d.modifiers, letter) }
	c.NeedAuth = has("a")
	if has("A") {
		c.Auth = nil
	}
	if has("S") && !has("s") {
		c.TLS = nil
	}
}

// modifiers are those of the port that a client came to.
func modifiers(client *smtpserver.Client) string {
	_, m, _ := strings.Cut(client.Role, " ")
	return m
}
