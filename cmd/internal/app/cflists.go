package app

import (
	"slices"
	"strings"

	"waybill/queue/expand"
)

// listWays are sendmail's ways with aliases and .forward files.
func (c *cfSite) listWays(defaultUser string) *expand.Sendmail {
	text, _ := c.conf.Option("DontBlameSendmail", "")
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return r == ' ' || r == ',' || r == '\t' })
	ways := &expand.Sendmail{
		Default: defaultUser, MatchGECOS: c.conf.Bool("MatchGECOS", false),
		Blame: func(word string) bool { return slices.Contains(words, strings.ToLower(word)) },
	}
	if c.users != nil {
		ways.Database = c.users
	}
	return ways
}
