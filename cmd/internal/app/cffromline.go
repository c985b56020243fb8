package app

import (
	"strings"
	"time"

	"waybill/compat/cf"
	"waybill/transport/envelope"
)

// fromLine writes the From line of mailboxes and programs as the option UnixFromLine has it, with the sender as the mailer
// wants him: "From $g $d" unless it says something else.
func (c *cfSite) fromLine(sender envelope.Address, when time.Time) string {
	template, _ := c.conf.Option("UnixFromLine", "")
	if template == "" {
		template = "From $g $d"
	}
	text := cf.Expand(template, func(name string) (string, bool) {
		switch name {
		case "g":
			return string(sender), true
		case "d":
			return when.Format(time.ANSIC), true
		}
		v, ok := c.conf.Prog.Macros[name]
		return v, ok
	})
	return strings.Map(func(r rune) rune { // nothing of a sender begins another line
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, text)
}
