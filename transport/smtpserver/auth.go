package smtpserver

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"waybill/transport/smtp"
	"waybill/transport/smtpserver/sasl"
)

// maxAuthLine is the longest line inside AUTH, with CRLF (RFC 4954 4).
const maxAuthLine = 12288 + 2

// mechanisms is what AUTH offers now: nothing without TLS, unless the configuration says otherwise (RFC 4954 4,
// RFC 8314).
func (c *conn) mechanisms() []string {
	if c.cfg.LMTP || !c.offers("AUTH") || c.client.Auth != "" || c.client.TLS == nil && !c.cfg.AuthInClear {
		return nil
	}
	var list []string
	if c.cfg.Auth != nil {
		list = sasl.Mechanisms(c.cfg.Auth)
	}
	if _, ok := c.certificateUser(); ok {
		list = append(list, "EXTERNAL")
	}
	return list
}

// certificateUser is who the client is by its certificate (RFC 4422 appendix A).
func (c *conn) certificateUser() (string, bool) {
	if c.cfg.AuthExternal == nil || c.client.TLS == nil {
		return "", false
	}
	return c.cfg.AuthExternal(c.client.TLS)
}

// auth: RFC 4954 4.
func (c *conn) auth(ctx context.Context, arg string) {
	name, initial, hasInitial := strings.Cut(arg, " ")
	name = strings.ToUpper(name)
	offered := c.mechanisms()
	switch {
	case c.cfg.Sendmail && name == "":
		c.reply(smtp.NewReply(501, "5.5.2", "AUTH mechanism must be specified"))
		return
	case c.cfg.Sendmail && c.cfg.Auth == nil && c.cfg.AuthExternal == nil && c.offers("AUTH"):
		c.reply(smtp.NewReply(504, "5.3.3", "AUTH mechanism "+clip(arg)+" not available"))
		return
	case c.cfg.Auth == nil && c.cfg.AuthExternal == nil || c.cfg.LMTP || !c.offers("AUTH"):
		c.reply(smtp.NewReply(502, "5.5.1", "command not implemented"))
		return
	case c.client.Auth != "":
		c.reply(smtp.NewReply(503, "5.5.1", "you are authenticated already"))
		return
	case c.client.TLS == nil && !c.cfg.AuthInClear:
		c.reply(smtp.NewReply(538, "5.7.11", "encryption is needed for authentication"))
		return
	case !slices.Contains(offered, name):
		c.reply(smtp.NewReply(504, "5.5.4", "mechanism not offered")) // nothing of it is echoed
		return
	}
	if c.exceeds(c.srv.authRates, 0, c.cfg.AuthFailureRate) {
		// no password is looked at any more: guessing over many connections leads nowhere
		c.log.Info("authentication refused: too many failures", "mechanism", name)
		c.reply(smtp.NewReply(454, "4.7.0", "temporary authentication failure"))
		c.authFailures++
		return
	}
	var response []byte
	if hasInitial {
		var ok bool
		if response, ok = decode(initial); !ok {
			c.reply(smtp.NewReply(501, "5.5.2", "bad base64"))
			return
		}
	}
	user, err := c.exchange(ctx, name, response)
	if c.state == closing {
		return
	}
	c.concludeAuth(ctx, name, user, err)
}

// decode: RFC 4954 4: "=" is an initial response of no octets.
func decode(s string) ([]byte, bool) {
	if s == "=" {
		return []byte{}, true
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || s == "" {
		return nil, false
	}
	return b, true
}

var errCancelled = errors.New("cancelled by the client")

// exchange talks until the mechanism is done. The user is also returned with an error, for the log.
func (c *conn) exchange(ctx context.Context, name string, response []byte) (string, error) {
	if name == "EXTERNAL" {
		return c.external(response)
	}
	x, ok := sasl.New(name, c.cfg.Auth, c.cfg.Hostname)
	if !ok {
		return "", errors.New("mechanism has gone")
	}
	for range 8 { // no mechanism has more rounds
		challenge, done, err := x.Next(ctx, response)
		if done || err != nil {
			return x.User(), err
		}
		if response, err = c.ask(challenge); err != nil {
			return x.User(), err
		}
	}
	return x.User(), sasl.ErrSyntax
}

// external: RFC 4422 appendix A: the identity comes with the connection; the client may only name the same one.
func (c *conn) external(response []byte) (string, error) {
	if response == nil {
		var err error
		if response, err = c.ask(nil); err != nil {
			return "", err
		}
	}
	user, ok := c.certificateUser()
	if !ok || len(response) > 0 && string(response) != user {
		return user, sasl.ErrFailed
	}
	return user, nil
}

// ask sends a challenge and reads the response.
func (c *conn) ask(challenge []byte) ([]byte, error) {
	c.send(smtp.NewReply(334, "", base64.StdEncoding.EncodeToString(challenge)))
	if c.state == closing {
		return nil, errCancelled
	}
	line, err := c.w.line(maxAuthLine, c.cfg.Lenient)
	switch {
	case errors.Is(err, errLongLine), errors.Is(err, errOctet):
		return nil, sasl.ErrSyntax // RFC 4954 4
	case err != nil:
		c.fail(err)
		return nil, err
	case string(line) == "*":
		return nil, errCancelled
	case len(line) == 0:
		return []byte{}, nil
	}
	response, ok := decode(string(line))
	if !ok || string(line) == "=" {
		return nil, sasl.ErrSyntax
	}
	return response, nil
}

// concludeAuth answers. A failure is slow, is counted for the session, and leaves a line in the log for fail2ban. The
// answer is the same whatever was wrong.
func (c *conn) concludeAuth(ctx context.Context, mechanism, user string, err error) {
	switch {
	case err == nil && user != "":
		c.client.Auth = user
		c.log.Info("authenticated", "mechanism", mechanism, "user", smtp.Printable(user))
		c.send(smtp.NewReply(235, "2.7.0", "authenticated"))
	case errors.Is(err, errCancelled):
		c.reply(smtp.NewReply(501, "5.0.0", "authentication cancelled"))
	case errors.Is(err, sasl.ErrSyntax):
		c.reply(smtp.NewReply(501, "5.5.2", "malformed authentication data"))
	case err == nil, errors.Is(err, sasl.ErrFailed):
		c.authFailures++
		c.exceeds(c.srv.authRates, 1, c.cfg.AuthFailureRate)
		c.logAuthFailure(mechanism, user)
		if ferr := c.w.bw.Flush(); ferr != nil {
			c.lost(ferr)
			return
		}
		select {
		case <-time.After(c.cfg.AuthDelay):
		case <-ctx.Done():
		}
		c.reply(smtp.NewReply(535, "5.7.8", "authentication failed"))
	default:
		c.log.Error("authentication is not possible", "mechanism", mechanism, "err", err)
		c.reply(smtp.NewReply(454, "4.7.0", "temporary authentication failure"))
	}
}

// logAuthFailure writes sendmail's line, which fail2ban's filter for sendmail knows: nothing may stand behind the address.
func (c *conn) logAuthFailure(mechanism, user string) {
	relay := "localhost"
	if remote := c.client.Remote; remote.IsValid() {
		relay = "[" + remote.Addr().Unmap().String() + "]"
		if strings.Contains(relay, ":") {
			relay = "[IPv6:" + relay[1:]
		}
	}
	if user == "" {
		user = "?"
	}
	c.cfg.Log.Info("AUTH failure ("+mechanism+"): authentication failure: the password is not accepted", "user", smtp.Printable(user), "relay", relay)
}
