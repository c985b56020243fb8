package app

import (
	"io"
	"os"
	"slices"
	"strings"

	"waybill/compat/cf"
	"waybill/compat/submit"
	"waybill/queue/dsn"
	"waybill/transport/envelope"
)

// cfNotices writes notices as the options of a sendmail.cf have them: PrivacyOptions=nobodyreturn returns no message but its
// header, UseErrorsTo tells those whom the message names for it as well.
type cfNotices struct {
	site    *cfSite
	classic dsn.Classic
}

func (c cfNotices) Compose(n dsn.Notice) (dsn.Message, error) {
	if c.site.privacy("nobodyreturn") {
		env := *n.Envelope
		env.Ret, n.Envelope = envelope.RetHeaders, &env
	}
	named := c.errorsTo(n)
	switch {
	case len(named) == 0:
	case n.Kind == dsn.Failure:
		for _, to := range named {
			if to != n.Envelope.Sender && !slices.Contains(n.Also, to) {
				n.Also, n.Same = append(n.Also, to), true
			}
		}
	case n.Kind == dsn.Double: // in place of the postmaster
		c.classic.Postmaster = named[0]
	}
	return c.classic.Compose(n)
}

// Copy writes a notice of a failure for PostmasterCopy, with the header of the message only.
func (c cfNotices) Copy(n dsn.Notice) (dsn.Message, bool, error) {
	to := c.site.text("PostmasterCopy", "", "")
	if to == "" || n.Kind != dsn.Failure && n.Kind != dsn.Double {
		return dsn.Message{}, false, nil
	}
	env := *n.Envelope
	env.Ret = envelope.RetHeaders
	n.Kind, n.Envelope, n.Also = dsn.Double, &env, nil
	c.classic.Postmaster = envelope.Address(to)
	m, err := c.classic.Compose(n)
	return m, true, err
}

// errorsTo are those whom a message names in Errors-To, the last first, where UseErrorsTo lets it.
func (c cfNotices) errorsTo(n dsn.Notice) (named []envelope.Address) {
	if n.Body == nil || !c.site.conf.Bool("UseErrorsTo", false) {
		return nil
	}
	h, err := envelope.HeaderOf(n.Body)
	if err != nil {
		return nil
	}
	for _, m := range submit.ParseList(h.Value("Errors-To")) {
		if m.Problem == "" && m.Addr != "" {
			named = append([]envelope.Address{m.Addr}, named...)
		}
	}
	return named
}

// maxErrorHeader bounds what a notice says on behalf of ErrorHeader.
const maxErrorHeader = 16 << 10

// errorHeader is ErrorHeader: a file, or the text itself.
func (c *cfSite) errorHeader() []string {
	text := c.text("ErrorHeader", "", "")
	if strings.HasPrefix(text, "/") {
		f, err := os.Open(text)
		if err != nil {
			return nil
		}
		defer f.Close()
		raw, err := io.ReadAll(io.LimitReader(f, maxErrorHeader))
		if err != nil {
			c.log.Warn("ErrorHeader cannot be read", "file", text, "err", err)
			return nil
		}
		text = string(raw)
	} else {
		text = cf.Expand(text, func(name string) (string, bool) { v, ok := c.conf.Prog.Macros[name]; return v, ok })
	}
	if text = strings.TrimRight(text, "\n"); text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
