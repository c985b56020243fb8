package app

import (
	"fmt"

	"waybill/compat/cf"
	"waybill/queue/maillog"
	"waybill/transport/passwd"
)

// cfLog has the log written in sendmail's words.
func (s *site) cfLog(conf *cf.Config) *maillog.Classic {
	users := passwd.Open("/etc/passwd", "/etc/group")
	return &maillog.Classic{Default: cfDefaultUser(conf, users), IDs: func(login string) string {
		if e, found, err := users.Lookup(login); err == nil && found {
			return fmt.Sprintf("%d/%d", e.UID, e.GID)
		}
		return ""
	}}
}

// logTag is what sendmail -L says; empty: the usual one.
func logTag(given []overrides) string {
	for _, g := range given {
		if g.tag != "" {
			return g.tag
		}
	}
	return ""
}
