package smtpserver

import (
	"context"
	"net/netip"
	"strconv"
	"strings"

	"waybill/transport/smtp"
)

// xclientWords is what XCLIENT may say (postfix.org, XCLIENT_README).
const xclientWords = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"

// mayXclient reports whether the peer may speak for others: the peer, not for whom it speaks.
func (c *conn) mayXclient() bool {
	return c.cfg.XClient != nil && c.peer.IsValid() && c.cfg.XClient(c.peer)
}

// xclient: a filter or proxy that we trust tells for whom it speaks. The session begins anew, with the greeting.
func (c *conn) xclient(ctx context.Context, arg string) {
	if !c.mayXclient() {
		c.reply(smtp.NewReply(502, "5.5.1", "command not implemented"))
		return
	}
	next := *c.client
	next.Auth, next.Name, next.Helo, next.ESMTP = "", "", "", false
	for word := range strings.FieldsSeq(arg) {
		key, value, ok := strings.Cut(word, "=")
		if value, ok2 := smtp.DecodeXtext(value); !ok || !ok2 || !setXclient(&next, strings.ToUpper(key), value) {
			c.reply(smtp.NewReply(501, "5.5.4", "bad XCLIENT attribute"))
			return
		}
	}
	c.log.Info("client speaks for another", "addr", next.Remote.Addr().String())
	c.closeSession()
	*c.client = next
	c.identify()
	c.state, c.errors, c.junk, c.badRcpts = fresh, 0, 0, 0
	if !c.open(ctx) {
		return
	}
	if next.Helo != "" {
		c.state = ready
	}
}

func setXclient(c *Client, key, value string) bool {
	if value == "[UNAVAILABLE]" || value == "[TEMPUNAVAIL]" {
		return strings.Contains(" "+xclientWords+" ", " "+key+" ")
	}
	switch key {
	case "NAME":
		c.Name = value
		return smtp.ValidHelo(value, true)
	case "HELO":
		c.Helo = value
		return smtp.ValidHelo(value, true)
	case "LOGIN":
		c.Auth = value
		return value != "" && value == smtp.Printable(value)
	case "PROTO":
		c.ESMTP = strings.EqualFold(value, "ESMTP")
		return c.ESMTP || strings.EqualFold(value, "SMTP")
	case "ADDR":
		return setAddr(&c.Remote, value)
	case "DESTADDR":
		return setAddr(&c.Local, value)
	case "PORT":
		return setPort(&c.Remote, value)
	case "DESTPORT":
		return setPort(&c.Local, value)
	}
	return false
}

func setAddr(to *netip.AddrPort, value string) bool {
	if len(value) > 5 && strings.EqualFold(value[:5], "IPV6:") {
		value = value[5:]
	}
	a, err := netip.ParseAddr(value)
	if err != nil || a.Zone() != "" {
		return false
	}
	*to = netip.AddrPortFrom(a.Unmap(), to.Port())
	return true
}

func setPort(to *netip.AddrPort, value string) bool {
	n, err := strconv.ParseUint(value, 10, 16)
	*to = netip.AddrPortFrom(to.Addr(), uint16(n))
	return err == nil
}
