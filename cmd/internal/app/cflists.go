package app

import (
	"errors"

	"waybill/compat/cf"
	"waybill/queue/expand"
)

// listWays are sendmail's ways with aliases and .forward files.
func (c *cfSite) listWays(defaultUser string) *expand.Sendmail {
	ways := &expand.Sendmail{Default: defaultUser, MatchGECOS: c.conf.Bool("MatchGECOS", false), Safe: c.safeList}
	if c.users != nil {
		ways.Database = c.users
	}
	return ways
}

// safeList is what sendmail says of a .forward or :include: file that it does not read, and whether programs and files
// may be used that stand in one that it does.
func (c *cfSite) safeList(list expand.ListFile) (why error, mayRun bool) {
	use, kind := cf.IncludeFile, "IncludeFile"
	if list.Forward {
		use, kind = cf.ForwardFile, "ForwardFile"
	}
	if err := c.conf.SafeFile(list.Path, list.Opened, use, cf.FileReader{UID: list.UID, GID: list.GID, Groups: list.Groups}); err != nil {
		return errors.New(cf.Reason(err)), false
	}
	return nil, list.Opened != nil && c.conf.MayRunFrom(kind, list.Path, list.Opened)
}
