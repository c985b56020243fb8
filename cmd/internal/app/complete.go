package app

import (
	"crypto/rand"
	"io"
	"strings"
	"time"

	"waybill/compat/submit"
	"waybill/transport/envelope"
)

// completed adds Date, From and Message-Id to a message that lacks them, where that is ours to do: for programs of this
// host that speak SMTP (sendmail -bs), and with a sendmail.cf, whose mailers want these fields. Mail that passes through
// keeps its header (RFC 5321 6.4). to are the recipients as the client wrote them.
func (s *site) completed(local bool, sender envelope.Address, to []string, body io.Reader) (submit.Completed, error) {
	if !local && s.cf == nil {
		return submit.Completed{Reader: body}, nil
	}
	how := submit.Site{
		Host: s.settings.Host, Now: time.Now(), Bare: s.cf != nil,
		Unique: func() string { return rand.Text()[:14] },
	}
	if s.cf != nil {
		how.To, how.Options = to, map[string]string{}
		for _, name := range []string{"NoRecipientAction", "SingleLineFromHeader"} {
			if v, ok := s.cf.conf.Option(name, ""); ok {
				how.Options[name] = v
			}
		}
	}
	if domain := strings.ToLower(sender.Domain()); s.cf != nil && !sender.Null() && (domain == "" || s.cf.rw.InClass("w", domain)) {
		how.FullName = s.fullName
	}
	return submit.Complete(body, sender, how)
}

// fullName is what the passwd file calls a user.
func (s *site) fullName(login string) string {
	e, found, err := s.users.Lookup(strings.ToLower(login))
	if err != nil || !found {
		return ""
	}
	return submit.GecosName(e.Gecos, e.Name)
}
