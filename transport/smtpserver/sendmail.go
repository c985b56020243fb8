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

// badPath answers a path that cannot be read.
func (c *conn) badPath(ctx context.Context, verb, text string, ours *smtp.Reply, err error) *smtp.Reply {
	if j, ok := c.session.(PathJudge); ok && c.cfg.Sendmail {
		return settle(j.BadPath(ctx, verb, text, err), ours)
	}
	return ours
}

// saysItself tells the commands that have an answer of their own to a missing argument.
func saysItself(verb string) bool {
	switch verb {
	case "EHLO", "HELO", "MAIL", "RCPT", "ETRN":
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
		return false // a client that sends it all the same sends octets behind it, which must not become commands
	default:
		if _, known := c.srv.commands[verb]; known || speaksHTTP(verb) {
			return false
		}
		c.verb = "?"
		c.reply(smtp.NewReply(500, "5.5.1", `Command unrecognized: "`+clip(line)+`"`))
	}
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
