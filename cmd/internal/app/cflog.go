package app

import (
	"fmt"
	"strconv"
	"strings"

	"waybill/compat/cf"
	"waybill/queue"
	"waybill/queue/maillog"
	"waybill/transport"
	"waybill/transport/passwd"
)

// cfLog has the log written in sendmail's words.
func (s *site) cfLog(conf *cf.Config) *maillog.Classic {
	users := passwd.Open("/etc/passwd", "/etc/group")
	return &maillog.Classic{Weights: cfWeights(conf), Default: cfDefaultUser(conf, users), IDs: func(login string) string {
		if e, found, err := users.Lookup(login); err == nil && found {
			return fmt.Sprintf("%d/%d", e.UID, e.GID)
		}
		return ""
	}}
}

// cfWeights are the factors of a message's priority.
func cfWeights(conf *cf.Config) queue.Weights {
	w := queue.DefaultWeights()
	for name, to := range map[string]*int64{"RecipientFactor": &w.Recipient, "ClassFactor": &w.Class, "RetryFactor": &w.Retry} {
		v, _ := conf.Option(name, "")
		if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 32); err == nil {
			*to = n
		}
	}
	return w
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

// cfSaid is what sendmail's mailq says of a message because of one recipient. mailer is empty or
// *error* where the rules found none.
func cfSaid(name, mailer string, s transport.Status) string {
	switch {
	case s.Outcome() != transport.Deferred:
		return maillog.Failure(s)
	case (mailer == "" || mailer == "*error*") && !ownWords(s.Text()):
		return name + "... " + s.Text()
	}
	return waits(s.Text())
}
