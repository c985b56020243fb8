package smtpserver

import (
	"context"
	"strings"

	"waybill/transport/smtp"
)

// What Config.Sendmail changes. Programs that talk to "sendmail -bs" and people who read its answers know them by heart:
// sendmail's Operations Guide lists the commands, its behaviour the words. The order of commands stays that of
// states.go, with MAIL before any greeting (RFC 5321 4.1.4 lets a server be so lenient); a message is read as strictly.

// in chooses between our words and sendmail's.
func (c *conn) in(ours, sendmails *smtp.Reply) *smtp.Reply {
	if c.cfg.Sendmail {
		return sendmails
	}
	return ours
}

// badParameters is the answer to a MAIL without FROM or a RCPT without TO.
func badParameters(arg string) *smtp.Reply {
	word, _, _ := strings.Cut(arg, ":")
	return smtp.NewReply(501, "5.5.2", `Syntax error in parameters scanning "`+word+`"`)
}

// badName tells what is wrong with a name that a client gives itself; empty when it will do. It goes into Received and into
// the log, so that few signs may stand in it.
func (c *conn) badName(verb, name string) string {
	const signs = "[].-_#:"
	switch {
	case name == "" && c.cfg.AllowBogusHelo:
	case name == "":
		return verb + " requires domain address"
	case len(name) > maxHelo:
		return "Invalid domain name"
	}
	for i := range len(name) {
		if ch := name[i]; !(ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9') && strings.IndexByte(signs, ch) < 0 {
			return "Invalid domain name"
		}
	}
	return ""
}

// maxHelo is the longest name of a client that sendmail takes, in octets.
const maxHelo = 256

// white is what separates the words of a command.
const white = " \t\r\v\f"

// sevenBits is a command line as sendmail reads it: without the eighth bit, up to a NUL, without white space in front. The
// name behind EHLO and HELO keeps its bits, and is refused.
func sevenBits(line []byte) string {
	out := make([]byte, 0, len(line))
	for _, ch := range line {
		if ch == 0 {
			break
		}
		out = append(out, ch&0x7f)
	}
	text := strings.Trim(string(out), white)
	if verb := strings.ToUpper(text[:min(4, len(text))]); verb == "EHLO" || verb == "HELO" {
		return strings.Trim(string(line), white)
	}
	return text
}

// sendmailLine is the longest command line that sendmail reads, in octets.
const sendmailLine = 2048

// maxBadCommands is how many commands a client may make up before it is sent away.
const maxBadCommands = 25

// peerName is how sendmail calls the client.
func (c *conn) peerName() string {
	if n, ok := c.session.(Named); ok {
		return n.Peer()
	}
	return "client"
}

// say sends a line that is no reply: what a delivery does while the client waits, with -v or behind VERB.
func (c *conn) say(line string) {
	if _, err := c.w.bw.WriteString("050 " + smtp.Printable(line) + "\r\n"); err != nil {
		c.lost(err)
	}
}

// soften makes a refusal temporary.
func soften(r *smtp.Reply) *smtp.Reply {
	if !r.Permanent() {
		return r
	}
	out := *r
	out.Code -= 100
	if strings.HasPrefix(out.Enhanced, "5") {
		out.Enhanced = "4" + out.Enhanced[1:]
	}
	return &out
}

// saysItself tells the commands that have an answer of their own to a missing argument.
func saysItself(verb string) bool {
	switch verb {
	case "EHLO", "HELO", "MAIL", "RCPT", "ETRN", "AUTH":
		return true
	}
	return false
}

// runAsSendmail runs what only sendmail knows or answers in another way; false leaves the command to the table.
func (c *conn) runAsSendmail(ctx context.Context, verb, arg, line string) (done bool) {
	switch verb {
	case "VRFY", "EXPN":
		if arg != "" {
			return false
		}
		c.reply(smtp.NewReply(501, "5.5.2", "Argument required"))
	case "VERB":
		c.junk++
		v, ok := c.session.(Verboser)
		if !ok || !c.offers("VERB") {
			c.reply(smtp.NewReply(502, "5.7.0", "Verbose unavailable"))
			break
		}
		c.answer(v.Verb(ctx), smtp.NewReply(250, "2.0.0", "Verbose mode"))
	case "BDAT":
		if c.trusted {
			return c.noSuch(line)
		}
		return false // a client that sends it all the same sends octets behind it, which must not become commands
	case "SEND", "SAML", "SOML", "TURN":
		c.reply(smtp.NewReply(502, "5.5.1", `Command not implemented: "`+clip(line)+`"`))
	case "ETRN":
		c.verb = verb
		c.etrn(ctx, arg) // at any time
	default:
		if _, known := c.srv.commands[verb]; known {
			return false
		}
		return c.noSuch(line)
	}
	return true
}

// noSuch answers a command that nobody knows. It is true.
func (c *conn) noSuch(line string) bool {
	c.verb = "?"
	c.badCommands++
	if c.badCommands > maxBadCommands {
		c.close(smtp.NewReply(421, "4.7.0", c.cfg.Hostname+" Too many bad commands; closing connection"))
		return true
	}
	c.reply(smtp.NewReply(500, "5.5.1", `Command unrecognized: "`+clip(line)+`"`))
	return true
}

// clip shortens what a client said before it is said back; a reply never shows octets outside printable ASCII.
func clip(line string) string {
	const most = 100
	if len(line) > most {
		return line[:most] + "..."
	}
	return line
}

// sendmailOrder is the answer to a command that comes too early; nil leaves it to outOfOrder.
func (c *conn) sendmailOrder() *smtp.Reply {
	switch {
	case c.verb == "MAIL" && c.state&(mail|rcpt) != 0:
		return smtp.NewReply(503, "5.5.0", "Sender already specified")
	case c.verb == "RCPT":
		return smtp.NewReply(503, "5.0.0", "Need MAIL before RCPT")
	case c.verb == "DATA" && c.state&(fresh|ready) != 0:
		return smtp.NewReply(503, "5.0.0", "Need MAIL command")
	case c.verb == "DATA":
		return smtp.NewReply(503, "5.0.0", "Need RCPT (recipient)")
	}
	return nil
}
