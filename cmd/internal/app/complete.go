package app

import (
	"crypto/rand"
	"io"
	"time"

	"waybill/compat/submit"
	"waybill/transport/envelope"
)

// completed adds Date, From and Message-Id to a message that lacks them, where that is ours to do: for programs of this
// host that speak SMTP (sendmail -bs), and with a sendmail.cf, whose mailers want these fields. Mail that passes through
// keeps its header (RFC 5321 6.4).
func (s *site) completed(local bool, sender envelope.Address, body io.Reader) (whole io.Reader, made int, err error) {
	if !local && s.cf == nil {
		return body, 0, nil
	}
	return submit.Complete(body, sender, submit.Site{
		Host: s.settings.Host, Now: time.Now(), Bare: s.cf != nil,
		Unique: func() string { return rand.Text()[:14] },
	})
}
