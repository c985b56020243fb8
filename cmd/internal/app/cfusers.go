package app

import (
	"waybill/compat/cf"
	"waybill/rules/table"
)

// userDatabase is the option UserDatabaseSpec; empty: there is no user database.
func userDatabase(conf *cf.Config) string {
	spec, _ := conf.Option("UserDatabaseSpec", "")
	return spec
}

// openUserDB opens the user database, whose mailnames become the senders of mailers with F=i, and the recipients in
// headers of those with F=j.
func (s *site) openUserDB() {
	spec := userDatabase(s.cf.conf)
	if spec == "" {
		return
	}
	s.cf.users = table.OpenUserDB(spec)
	for _, why := range s.cf.users.Complaints() {
		s.log.Warn("the user database has a place that is not asked", "UserDatabaseSpec", spec, "err", why)
	}
	s.cf.rw.ShowUsers(s.cf.users.MailName)
}
